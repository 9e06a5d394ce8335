"""Pure metric functions: counts in, scores out. They know torch and numpy and nothing else."""

from rgbx.metrics.bootstrap import draw_weights, image_counts, mean_iou, percentile_interval, resampled_iou
from rgbx.metrics.boundary import boundary_counts, boundary_f_score
from rgbx.metrics.calibration import calibration_error, largest_class, reliability_counts
from rgbx.metrics.confusion import confusion_matrix
from rgbx.metrics.segmentation import class_iou, scores

__all__ = [
    "boundary_counts",
    "boundary_f_score",
    "calibration_error",
    "class_iou",
    "confusion_matrix",
    "draw_weights",
    "image_counts",
    "largest_class",
    "mean_iou",
    "percentile_interval",
    "reliability_counts",
    "resampled_iou",
    "scores",
]
