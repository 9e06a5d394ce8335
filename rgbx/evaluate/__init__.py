"""Evaluation: what is counted per image, result files, damaged inputs, comparison of results."""
