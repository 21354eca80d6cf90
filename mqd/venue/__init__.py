"""An Alpaca-compatible venue over the simulated broker, for rehearsals without the internet.

``venue.Venue`` is the core: requests in, answers out, one step at a time, no web framework. The
skin (``app``, ``sockets``, ``process``) serves it on 127.0.0.1; ``faults`` make it misbehave.
"""
