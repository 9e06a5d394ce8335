"""Whether an exported file answers as the model does, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rgbx._types import Batch, Meta
from rgbx.export.program import Arrays, Runner
from rgbx.models.multimodal import MultimodalModel
from rgbx.models.predict import Predictor
from rgbx.tasks import ENSEMBLE, Map, Prediction

TOLERANCE = {"equal_classes": 0.9999, "confidence": 1e-3, "range": 1e-3, "code": 1e-3}
_SIZES = ((64, 96), (75, 107), (120, 160), (96, 64))


class Parity:
    """Compares answers, and keeps the worst.

    Args:
        model: whose answers count.
        about: the JSON of the file.

    Attributes:
        frames: that were compared.
        largest: by kind, the largest difference: of confidences and scores, of a map as a share of its range, of codes
            as a share of the longest.
        equal, pixels: of class ids.
    """

    def __init__(self, model: MultimodalModel, about: Meta) -> None:
        self.about, self.tasks = about, model.tasks
        self.predictor = Predictor(model, "rgbx", modalities=about["modalities"])
        self.frames, self.largest, self.equal, self.pixels = 0, dict[str, float](), 0, 0

    def see(self, batch: Batch, run: Runner) -> None:
        """Compares what file and model say of a collated batch of maps in their units."""
        known = ("sample_id", *self.about["modalities"])
        given = {key: x for key, x in batch.items() if key.removesuffix("_valid") in known}
        found = run(feed(given, self.about))
        for i, one in enumerate(self.predictor(given, keep_probability=True)):
            self._compare({name: x[i] for name, x in found.items()}, one["heads"])
            self.frames += 1

    def _compare(self, found: Arrays, expected: Mapping[str, Prediction]) -> None:
        for name, about in self.about["outputs"].items():
            head, branch = expected[about["head"]], about.get("branch", ENSEMBLE)
            x, task = found[name], self.tasks[about["head"]]
            if about.get("task") == "classes":
                self.equal += int((x == head.prediction[branch].numpy()).sum())
                self.pixels += x.size
            elif "task" not in about:  # what stands beside classes
                known = head.probability if about.get("unit") == "probability" else head.confidence
                if known is not None and branch in known:
                    self._worst("confidence", x, known[branch], 1.0)
            else:
                y = head.prediction[branch]
                span = float(task.range.bounds.diff()) if isinstance(task, Map) else float(y.norm(dim=0).max())
                self._worst("range" if isinstance(task, Map) else "code", x, y, span)

    def _worst(
        self,
        kind: str,
        x: np.ndarray,  # [...]
        y: Tensor,  # [...]
        span: float,
    ) -> None:
        difference = float(np.abs(x - y.numpy()).max()) / max(span, 1e-12)
        self.largest[kind] = max(self.largest.get(kind, 0.0), difference if np.isfinite(difference) else np.inf)

    @property
    def equal_classes(self) -> float | None:
        """Share of the pixels whose class is the same; None where no head has classes."""
        return self.equal / self.pixels if self.pixels else None

    def as_dict(self, against: str) -> dict[str, Any]:
        """What the JSON says of it."""
        return {
            "frames": self.frames,
            "against": against,
            "largest_difference": max(self.largest.values(), default=0.0),
            **({} if self.equal_classes is None else {"equal_classes": self.equal_classes}),
            "tolerance": {key: x for key, x in TOLERANCE.items() if key in self.largest or key == "equal_classes"},
        }

    def failures(self) -> list[str]:
        """What lies beyond tolerance, for a message."""
        found = [
            f"{kind} differs by {x:.3g}, more than {TOLERANCE[kind]:g}"
            for kind, x in self.largest.items()
            if x > TOLERANCE[kind]
        ]
        if self.equal_classes is not None and self.equal_classes < TOLERANCE["equal_classes"]:
            found.append(f"classes are equal on {self.equal_classes:.4%} of the pixels, less than 99.99 %")
        return found


def feed(batch: Batch, about: Meta) -> Arrays:
    """What a file is given of a collated batch: what a mask says is not measured is so by its value."""
    found = {}
    for name, each in about["inputs"].items():
        x, valid = batch[name], batch.get(f"{name}_valid")
        if each["dtype"] == "float32":
            x = x.float() if valid is None else x.float().where(valid != 0, torch.nan)
        found[name] = np.ascontiguousarray(x.numpy())
    return found


def synthetic(model: MultimodalModel, about: Meta) -> Iterable[Batch]:
    """Noise in the ranges of the maps, with holes where maps can have them, of several sizes, or the one."""
    generator = torch.Generator().manual_seed(0)
    smallest, only = about["size"]["smallest"], [about["size"].get(axis) for axis in ("height", "width")]
    for count, sides in enumerate(_SIZES if None in only else [only] * 2, 1):
        size = tuple(max(side, smallest) for side in sides)
        yield {name: _noise(model, name, each, (count, *size), generator) for name, each in about["inputs"].items()}


def _noise(model: MultimodalModel, name: str, about: Meta, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    count, *size = shape
    full = (count, about["shape"][1], *size)
    if about["dtype"] == "uint8":
        return torch.randint(0, 256, full, generator=generator, dtype=torch.uint8)
    span = model.data_preprocessor.span(name)
    x = span.centre + span.spread * (4 * torch.rand(full, generator=generator) - 2)
    hole = torch.rand((count, 1, *size), generator=generator) < 0.1
    return x.where(~hole, 0.0 if about["unit"] == "metre" else torch.nan)
