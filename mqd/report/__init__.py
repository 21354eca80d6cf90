"""Frames in, figures and HTML out: trades, plots, tear sheet, tables. Imports no stage."""
