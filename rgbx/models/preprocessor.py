"""From a collated batch in its own units to normalised network inputs, on the device and inside the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

DEFAULT_STATISTICS: dict[str, dict[str, Sequence[float]]] = {
    # ImageNet, on the 0..255 scale
    "rgb": {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)},
    # metres, over the training frames of NYU Depth V2
    "depth": {"mean": (2.845,), "std": (1.418,)},
    # 0..255, over eight of the HHA images passed around with NYU Depth V2
    "hha": {"mean": (132.35, 101.63, 127.98), "std": (60.75, 45.35, 38.42)},
    # unit vectors
    "normal": {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
}


class MultimodalPreprocessor(BaseDataPreprocessor):
    """Moves a batch to the model's device and normalises every modality: (x - mean) / std.

    A map ``NAME`` with a mask ``NAME_valid`` in the batch is set to 0 after normalization where it was not measured;
    depth without a mask is taken as measured where it is positive.
    Values beyond a modality's ``max`` count as that: depth from disparity reaches kilometres where the disparity is
    a pixel's fraction.

    Args:
        modalities: names of the modalities the model knows; any non-empty subset may be in a batch.
        statistics: per modality ``{"mean": [...], "std": [...]}`` in the modality's own unit, one value per channel,
            and optionally ``"max"``: one value, or one per channel; taken from `DEFAULT_STATISTICS` where not given.

    Raises:
        ValueError: if a modality has no statistics.
    """

    def __init__(
        self, modalities: Sequence[str], statistics: Mapping[str, Mapping[str, Sequence[float]]] | None = None
    ) -> None:
        super().__init__(non_blocking=True)
        self.modalities = tuple(modalities)
        given = statistics or {}
        for name in self.modalities:
            known = {**DEFAULT_STATISTICS.get(name, {}), **given.get(name, {})}
            if not {"mean", "std"} <= set(known):
                raise ValueError(
                    f"no normalization statistics for modality {name!r}; pass "
                    f"statistics={{{name!r}: {{'mean': [...], 'std': [...]}}}} in its own unit"
                )
            for key in ("mean", "std"):
                values = torch.tensor(known[key], dtype=torch.float32).view(-1, 1, 1)
                self.register_buffer(f"{name}_{key}", values)
            limit = torch.tensor(known.get("max", torch.inf), dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(f"{name}_max", limit)

    def forward(self, data: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """Returns ``inputs`` {modality: float32 [N, c, H, W]}, ``label`` int64 [N, H, W] or None, and ``sample_id``.

        Raises:
            ValueError: if the batch holds none of the model's modalities.
        """
        batch = self.cast_data(dict(data))
        inputs = {name: self._normalise(name, batch) for name in self.modalities if name in batch}
        if not inputs:
            raise ValueError(f"the batch has {sorted(batch)}; expected at least one of {list(self.modalities)}")
        return {"inputs": inputs, "label": batch.get("label"), "sample_id": batch.get("sample_id")}

    def mirror(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Normalised inputs [N, c, H, W] of the scene in a mirror: normals (the map ``normal``) turn their x too."""
        mirrored = {name: x.flip(-1) for name, x in inputs.items()}
        if "normal" in mirrored:
            centre = (self.normal_mean / self.normal_std)[0, 0, 0]
            mirrored["normal"][:, 0] = -mirrored["normal"][:, 0] - 2 * centre
        return mirrored

    def _normalise(self, name: str, batch: Mapping[str, Any]) -> Tensor:
        mean, std, limit = (getattr(self, f"{name}_{key}") for key in ("mean", "std", "max"))
        x: Tensor = (batch[name].float().minimum(limit) - mean) / std
        valid = batch.get(f"{name}_valid", batch[name] > 0 if name == "depth" else None)
        return x if valid is None else x * valid
