"""rgbx: dense prediction from RGB plus depth, thermal or any further registered map."""

import importlib
import os
from typing import TYPE_CHECKING

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations would ask the network for its newest version

__version__ = "0.2.0"

if TYPE_CHECKING:
    from rgbx.models.load import load

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> object:
    """`rgbx.load` brings torch and timm only when it is asked for: the doctor and the datasets do without."""
    if name == "load":
        return importlib.import_module("rgbx.models").load
    raise AttributeError(f"module 'rgbx' has no attribute {name!r}")
