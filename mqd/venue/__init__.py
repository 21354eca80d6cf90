"""An Alpaca-compatible venue over the simulated broker, for rehearsals without the internet."""
