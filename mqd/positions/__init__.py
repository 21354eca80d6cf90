"""What is held: the position store, rebuilt from the log at will, and tax lots."""
