"""Orders meet the market: matching, costs, the simulated venue, the engine, reconciliation."""
