"""rgbx: dense prediction from RGB plus depth, thermal or any further registered map."""

import importlib
import os
from typing import TYPE_CHECKING

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # albumentations would ask the network for its newest version
if "OMP_WAIT_POLICY" not in os.environ:  # threads that wait spin for milliseconds, on cores that others could use
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # what GNU OpenMP takes where its own threads outnumber the cores

__version__ = "0.2.0"

if TYPE_CHECKING:
    from rgbx._memory import keep_memory
    from rgbx.models.load import load

__all__ = ["__version__", "keep_memory", "load"]


def __getattr__(name: str) -> object:
    """`rgbx.load` brings torch and timm only when it is asked for: the doctor and the datasets do without."""
    if name == "load":
        return importlib.import_module("rgbx.models").load
    if name == "keep_memory":
        return importlib.import_module("rgbx._memory").keep_memory
    raise AttributeError(f"module 'rgbx' has no attribute {name!r}")
