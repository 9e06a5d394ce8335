"""Makes torchvision importable beside a CPU-only torch, before a library that imports it.

The torchvision wheel of PyPI is built against the CUDA build of torch. Beside a CPU-only torch its compiled part does
not load, and importing it stops with ``operator torchvision::nms does not exist``. What rgbx's dependencies use is
torchvision's Python part, so the schemas of the two missing operators are declared and the import is tried again;
calling one of them then says that it has no implementation.
"""

from __future__ import annotations

import importlib
import sys

import torch

from rgbx._compiler import compiler_later

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_library: torch.library.Library | None = None


def ensure_torchvision() -> None:
    """Imports torchvision, declaring its missing operators where its compiled part does not fit this torch."""
    global _library
    with compiler_later():
        try:
            importlib.import_module("torchvision")
        except RuntimeError as error:
            if "torchvision::nms" not in str(error):
                raise
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
            _library = torch.library.Library("torchvision", "FRAGMENT")  # the declarations live as long as this object
            for operator in ("nms", "qnms"):
                _library.define(operator + _SCHEMA)
            importlib.import_module("torchvision")
