"""The one place that imports timm, once torchvision is known to import."""

from rgbx._torchvision import ensure_torchvision

ensure_torchvision()

import timm  # noqa: E402

__all__ = ["timm"]
