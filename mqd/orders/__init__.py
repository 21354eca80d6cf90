"""Order life: the transition table, the state machine and the blotter of open orders."""
