"""From a collated batch in its own units to the -1..1 of translation networks, and back; part of the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn

from rgbx.models.map_range import build_range


class TranslationPreprocessor(BaseDataPreprocessor):
    """Moves a batch to the model's device and brings every map from its own unit to -1..1.

    Where a map was not measured (``NAME_valid`` in the batch is false; depth without a mask: where it is not
    positive) its normalised value is -1; of a target the losses leave these pixels out.

    Args:
        sources: names of the maps to translate from; any non-empty subset may be in a batch.
        target: name of the map to translate to.
        ranges: per map ``{"low": ..., "high": ..., "scale": "linear" | "log"}`` in its own unit, see `MapRange`;
            rgb, hha, normal, depth (0 to 10 m) and edge have defaults.

    Raises:
        ValueError: no sources, a target that is also a source, or a map without a range.
    """

    def __init__(
        self, sources: Sequence[str], target: str, ranges: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        super().__init__(non_blocking=True)
        self.sources, self.target = tuple(sources), target
        if not self.sources or target in self.sources:
            raise ValueError(f"expected at least one source beside the target {target!r}, found {list(sources)}")
        if unknown := sorted(set(ranges or {}) - {*self.sources, target}):
            raise ValueError(f"ranges are given for {unknown}; this model has {[*self.sources, target]}")
        self.ranges = nn.ModuleDict({n: build_range(n, (ranges or {}).get(n)) for n in (*self.sources, target)})

    def forward(self, data: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """What `Translator` takes.

        Returns:
            ``inputs`` {source: float32 [N, c, H, W] in -1..1}, ``target`` the same of the target, ``valid`` bool
            [N, 1, H, W] where it was measured, ``truth`` the target in its own unit (these three None where the batch
            has none, ``valid`` also where all of it counts), and ``sample_id``.

        Raises:
            ValueError: the batch holds none of the sources.
        """
        batch = self.cast_data(dict(data))
        inputs = {
            name: self.normalise(name, batch[name], _valid(name, batch)) for name in self.sources if name in batch
        }
        if not inputs:
            raise ValueError(f"the batch has {sorted(batch)}; expected at least one of {list(self.sources)}")
        truth = batch.get(self.target)
        valid = None if truth is None else _valid(self.target, batch)
        target = None if truth is None else self.normalise(self.target, truth, valid)
        ids = batch.get("sample_id")
        return {"inputs": inputs, "target": target, "valid": valid, "truth": truth, "sample_id": ids}

    def normalise(self, name: str, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Values [N, c, H, W] of a map in its own unit to float32 in -1..1, and -1 where not `valid`."""
        ranges: Any = self.ranges[name]
        scaled = ranges.normalise(x)
        return scaled if valid is None else scaled.where(valid, -1)

    def denormalise(self, name: str, y: Tensor) -> Tensor:
        """A network's -1..1 to float32 in the map's own unit; colours stay fractions of a step, unrounded."""
        ranges: Any = self.ranges[name]
        return ranges.denormalise(y)


def _valid(name: str, batch: Mapping[str, Any]) -> Tensor | None:
    valid: Tensor | None = batch.get(f"{name}_valid", batch[name] > 0 if name == "depth" else None)
    return valid
