"""Frozen values, integer scales, time, and the protocols that every stage shares."""
