"""Pure metric functions: counts in, scores out. They know torch and nothing else."""

from rgbx.metrics.bootstrap import bootstrap_interval, stack_confusions
from rgbx.metrics.boundary import boundary_counts, boundary_f_score
from rgbx.metrics.calibration import calibration_error, largest_class, reliability_counts
from rgbx.metrics.confusion import confusion_matrix
from rgbx.metrics.segmentation import class_iou, scores

__all__ = [
    "bootstrap_interval",
    "boundary_counts",
    "boundary_f_score",
    "calibration_error",
    "class_iou",
    "confusion_matrix",
    "largest_class",
    "reliability_counts",
    "scores",
    "stack_confusions",
]
