"""Sweeps: many combinations of one strategy's parameters, searched, stored and judged."""
