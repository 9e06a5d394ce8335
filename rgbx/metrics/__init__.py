"""Pure metric functions: counts in, scores out. They know torch and nothing else."""

from rgbx.metrics.interim import boundary_counts, boundary_f_score, calibration_error, reliability_counts
from rgbx.metrics.segmentation import confusion_matrix, scores

__all__ = [
    "boundary_counts",
    "boundary_f_score",
    "calibration_error",
    "confusion_matrix",
    "reliability_counts",
    "scores",
]
