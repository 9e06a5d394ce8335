"""Pure metric functions: counts in, scores out. They know torch and numpy and nothing else."""

from rgbx.metrics.bootstrap import draw_weights, image_counts, mean_iou, percentile_interval, resampled_iou
from rgbx.metrics.boundary import boundary_counts, boundary_f_score
from rgbx.metrics.calibration import calibration_error, reliability_counts
from rgbx.metrics.confusion import confusion_matrix
from rgbx.metrics.depth_error import depth_scores, depth_sums
from rgbx.metrics.fid import frechet_distance, kernel_distance, squared_mmd
from rgbx.metrics.image_quality import error_scores, error_sums, psnr, ssim
from rgbx.metrics.normal_error import angles, normal_scores, normal_sums
from rgbx.metrics.retrieval import (
    average_precision,
    chance_precision,
    pair_auc,
    rank,
    recall_at,
    reciprocal_rank,
    retrieval_scores,
    search_scores,
)
from rgbx.metrics.segmentation import class_iou, scores

__all__ = [
    "angles",
    "average_precision",
    "boundary_counts",
    "boundary_f_score",
    "calibration_error",
    "chance_precision",
    "class_iou",
    "confusion_matrix",
    "depth_scores",
    "depth_sums",
    "draw_weights",
    "error_scores",
    "error_sums",
    "frechet_distance",
    "image_counts",
    "kernel_distance",
    "mean_iou",
    "normal_scores",
    "normal_sums",
    "pair_auc",
    "percentile_interval",
    "psnr",
    "rank",
    "recall_at",
    "reciprocal_rank",
    "reliability_counts",
    "resampled_iou",
    "retrieval_scores",
    "scores",
    "search_scores",
    "squared_mmd",
    "ssim",
]
