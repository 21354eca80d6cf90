"""Promotion: the evidence that a strategy must bring before it trades, and its record."""
