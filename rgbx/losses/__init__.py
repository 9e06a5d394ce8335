"""Training losses."""

from rgbx.losses.segmentation import IGNORE_INDEX, build_loss

__all__ = ["IGNORE_INDEX", "build_loss"]
