"""Training losses."""

from rgbx.losses.segmentation import build_loss

__all__ = ["build_loss"]
