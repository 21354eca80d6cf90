"""Adapters: the venues that mqd can trade on."""
