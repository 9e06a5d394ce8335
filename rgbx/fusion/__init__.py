"""Ways for modalities to exchange features inside a shared backbone: one file each, found by name.

Every file of this package is imported, so that a new method is a new file.
"""

import importlib
import pkgutil

from rgbx.fusion.asymmetric import AsymmetricExchange, AsymmetricFusion
from rgbx.fusion.base import (
    FUSION_METHODS,
    FusionMethod,
    Penalised,
    build_fusion,
    fusion_method,
    fusion_penalty,
)

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "FUSION_METHODS",
    "AsymmetricExchange",
    "AsymmetricFusion",
    "FusionMethod",
    "Penalised",
    "build_fusion",
    "fusion_method",
    "fusion_penalty",
]
