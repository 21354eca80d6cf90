"""The desk: the one event loop and what it needs around it. ``loop`` knows the order of stages."""
