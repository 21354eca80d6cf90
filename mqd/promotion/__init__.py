"""Promotion: the evidence that a strategy must bring before it trades, and its record.

``promote.promote`` gathers it, ``gates`` holds it against its bounds, ``record`` keeps it and
says whether a configuration is still what was promoted.
"""
