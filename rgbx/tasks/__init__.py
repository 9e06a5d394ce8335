"""Tasks: what a prediction is, from its target to its scores."""
