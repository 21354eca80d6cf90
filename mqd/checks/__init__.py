"""Checks: what makes a backtest lie, looked for before the result is believed."""
