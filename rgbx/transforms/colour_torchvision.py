"""Changes of colour by torchvision's transforms v2: hue and saturation are not rounded to 8 bits on the way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from rgbx._torchvision import ensure_torchvision
from rgbx.transforms.colour import Colours

ensure_torchvision()

from torchvision.transforms.v2 import functional  # noqa: E402


def _changed(
    change: Callable[[Tensor, float], Tensor],
    image: np.ndarray,  # [H, W, 3]
    amount: float,
) -> np.ndarray:
    """uint8 [H, W, 3]."""
    planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return np.ascontiguousarray(change(planes, amount).permute(1, 2, 0).numpy())


COLOURS = Colours(
    partial(_changed, functional.adjust_brightness),
    partial(_changed, functional.adjust_contrast),
    partial(_changed, functional.adjust_saturation),
    partial(_changed, functional.adjust_hue),
)
