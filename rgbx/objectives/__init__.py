"""Losses on what the modalities of a training step have to do with each other: one file each, found by name.

Every file of this package is imported, so that a new objective is a new file.
"""

import importlib
import pkgutil

from rgbx.objectives.base import (
    OBJECTIVES,
    Objective,
    Site,
    Step,
    build_objective,
    complete_objectives,
    objective,
    objective_text,
)

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "OBJECTIVES",
    "Objective",
    "Site",
    "Step",
    "build_objective",
    "complete_objectives",
    "objective",
    "objective_text",
]
