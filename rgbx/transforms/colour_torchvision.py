"""Changes of colour by torchvision's transforms v2: hue and saturation are not rounded to 8 bits on the way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rgbx._torchvision import ensure_torchvision
from rgbx.transforms.colour import Colours

ensure_torchvision()

from torchvision.transforms.v2 import functional  # noqa: E402


def _brightness(
    image: np.ndarray,  # [H, W, 3]
    factor: float,
) -> np.ndarray:
    """uint8 [H, W, 3]."""
    return _changed(image, factor, functional.adjust_brightness)


def _contrast(
    image: np.ndarray,  # [H, W, 3]
    factor: float,
) -> np.ndarray:
    """uint8 [H, W, 3]."""
    return _changed(image, factor, functional.adjust_contrast)


def _saturation(
    image: np.ndarray,  # [H, W, 3]
    factor: float,
) -> np.ndarray:
    """uint8 [H, W, 3]."""
    return _changed(image, factor, functional.adjust_saturation)


def _hue(
    image: np.ndarray,  # [H, W, 3]
    share: float,
) -> np.ndarray:
    """uint8 [H, W, 3]."""
    return _changed(image, share, functional.adjust_hue)


def _changed(
    image: np.ndarray,  # [H, W, 3]
    amount: float,
    change: Callable[[Tensor, float], Tensor],
) -> np.ndarray:
    """uint8 [H, W, 3]."""
    planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return np.ascontiguousarray(change(planes, amount).permute(1, 2, 0).numpy())


COLOURS = Colours(_brightness, _contrast, _saturation, _hue)
