"""Pure metric functions: counts in, scores out. They know torch and nothing else."""

from rgbx.metrics.segmentation import confusion_matrix, scores

__all__ = ["confusion_matrix", "scores"]
