"""Training losses."""

from rgbx.losses.contrast import contrastive_loss
from rgbx.losses.perceptual import PerceptualLoss
from rgbx.losses.segmentation import IGNORE_INDEX, build_loss
from rgbx.losses.translation import ADVERSARIAL_LOSSES, AdversarialLoss, feature_matching, l1_loss

__all__ = [
    "ADVERSARIAL_LOSSES",
    "IGNORE_INDEX",
    "AdversarialLoss",
    "PerceptualLoss",
    "build_loss",
    "contrastive_loss",
    "feature_matching",
    "l1_loss",
]
