"""How good a model is: rows in order of time, scores out of sample, two models, drift."""
