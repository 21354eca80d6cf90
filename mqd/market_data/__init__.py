"""Market data: load, validate, adjust, aggregate and replay bars; history and live streams.

``loading`` and ``bars`` serve files, ``pipeline`` with ``providers`` and ``catalog`` history,
``realtime``, ``quotes`` and ``health`` a live stream.
"""
