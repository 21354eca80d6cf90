"""Market data: load, validate, adjust, aggregate and replay bars."""
