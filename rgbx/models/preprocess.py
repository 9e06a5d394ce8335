"""From a collated batch in its own units to normalised network inputs, on the device and inside the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rgbx.tasks import Target, Task
from rgbx.tasks.map_range import build_range, range_options

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
KINDS = ("statistics", "range")


class Statistics(nn.Module):
    """(x - mean) / std, and 0 where a map was not measured.

    Values beyond ``max`` count as that: depth from disparity reaches kilometres where the disparity is a pixel's
    fraction.

    Args:
        mean, std: one value per channel, in the map's unit.
        max: one value, or one per channel.
    """

    mean: Tensor
    std: Tensor
    max: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], max: Sequence[float] | float = torch.inf) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std), ("max", max)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1))

    def forward(
        self,
        x: Tensor,  # [N, c, H, W], in the map's unit
        valid: Tensor | None,  # bool [N, 1, H, W]
    ) -> Tensor:
        """Normalised float32 [N, C, H, W]."""
        scaled = (x.float().minimum(self.max) - self.mean) / self.std
        return scaled if valid is None else scaled.where(valid, 0.0)

    def mirror(
        self,
        x: Tensor,  # [N, 3, H, W], normalised unit vectors of a mirrored image
    ) -> Tensor:
        """The vectors of the scene in the mirror: their x is turned."""
        centre = (self.mean / self.std)[0, 0, 0]
        return torch.cat([-x[:, :1] - 2 * centre, x[:, 1:]], 1)


class Range(nn.Module):
    """low..high of a map to -1..1, see `MapRange`, and -1 where it was not measured."""

    def __init__(self, name: str, given: Mapping[str, Any] | None) -> None:
        super().__init__()
        self.range = build_range(name, given)

    def forward(
        self,
        x: Tensor,  # [N, c, H, W], in the map's unit
        valid: Tensor | None,  # bool [N, 1, H, W]
    ) -> Tensor:
        """Normalised float32 [N, c, H, W]."""
        scaled = self.range.normalise(x)
        return scaled if valid is None else scaled.where(valid, -1)

    def mirror(
        self,
        x: Tensor,  # [N, 3, H, W], unit vectors of a mirrored image
    ) -> Tensor:
        """The vectors of the scene in the mirror: their x is turned, but where there are none (-1, -1, -1)."""
        turned = torch.where((x == -1).all(1), x[:, 0], -x[:, 0])
        return torch.cat([turned[:, None], x[:, 1:]], 1)


class Preprocessor(nn.Module):
    """Moves a batch to the model's device, normalises every modality and reads every head's target.

    A map ``NAME`` is not measured where its mask ``NAME_valid`` in the batch is false; depth without a mask is taken as
    measured where it is positive.

    Args:
        modalities: names of the modalities the model knows; any non-empty subset may be in a batch.
        tasks: of the heads, by name.
        kind: ``"statistics"``, as networks pretrained on ImageNet expect, or ``"range"``: -1..1.
        statistics: per modality ``{"mean": [...], "std": [...]}`` in the modality's own unit, one value per channel,
            and optionally ``"max"``; taken from `DEFAULT_STATISTICS` where not given.
        ranges: per modality ``{"low": ..., "high": ..., "scale": "linear" | "log"}`` in its own unit, see `MapRange`;
            rgb, hha, normal, depth (0 to 10 m) and edge have defaults.

    Raises:
        ValueError: an unknown kind, a modality without statistics or range, or values for one that the model has not.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        tasks: Mapping[str, Task],
        kind: str = "statistics",
        *,
        statistics: Mapping[str, Mapping[str, Any]] | None = None,
        ranges: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        self.modalities, self._tasks = tuple(modalities), dict(tasks)
        build = Range if kind == "range" else _statistics
        options = input_options(self.modalities, kind, statistics, ranges)
        self.inputs = nn.ModuleDict({name: build(name, given) for name, given in options.items()})

    def forward(self, data: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """What a model takes.

        Args:
            data: a collated batch: ``NAME`` [N, c, H, W] and ``NAME_valid`` bool [N, 1, H, W] of modalities and
                targets, ``sample_id``.
            training: has no effect; it is the sign of a training step to those who wrap this.

        Returns:
            ``inputs`` {modality: float32 [N, c, H, W]}, ``targets`` {head: `Target`} of those in the batch, and
            ``sample_id``.

        Raises:
            ValueError: the batch holds none of the model's modalities.
        """
        device = next(self.buffers()).device
        batch = {
            key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for key, value in data.items()
        }
        inputs = {
            name: self.inputs[name](batch[name], measured(name, batch)) for name in self.modalities if name in batch
        }
        if not inputs:
            raise ValueError(f"the batch has {sorted(batch)}; expected at least one of {list(self.modalities)}")
        found = {name: task.read_target(batch) for name, task in self._tasks.items()}
        targets: dict[str, Target] = {name: target for name, target in found.items() if target is not None}
        return {"inputs": inputs, "targets": targets, "sample_id": batch.get("sample_id")}

    def clipped(
        self,
        name: str,
        image: np.ndarray,  # [C, H, W], in the map's unit
    ) -> np.ndarray:
        """A map as the network tells its values apart: those beyond its range are the range's ends."""
        scaling = self.inputs[name]
        if not isinstance(scaling, Range):
            return image
        low, high = scaling.range.bounds.tolist()
        return image.clip(low, high).astype(image.dtype)

    def mirror(
        self,
        inputs: Mapping[str, Tensor],  # [N, c, H, W], normalised
    ) -> dict[str, Tensor]:
        """Normalised inputs of the scene in a mirror: normals (the map ``normal``) turn their x too."""
        mirrored = {name: x.flip(-1) for name, x in inputs.items()}
        if "normal" in mirrored:
            scaling: Any = self.inputs["normal"]
            mirrored["normal"] = scaling.mirror(mirrored["normal"])
        return mirrored


def measured(name: str, batch: Mapping[str, Tensor]) -> Tensor | None:
    """Where a map of a batch was measured, bool [N, 1, H, W]; None where all of it counts."""
    return batch.get(f"{name}_valid", batch[name] > 0 if name == "depth" else None)


def input_options(
    modalities: Sequence[str],
    kind: str,
    statistics: Mapping[str, Mapping[str, Any]] | None,
    ranges: Mapping[str, Mapping[str, Any]] | None,
) -> dict[str, dict[str, Any]]:
    """What normalises each modality: what is given over the defaults.

    Raises:
        ValueError: an unknown kind, or values for a modality that the model has not.
    """
    if kind not in KINDS:
        raise ValueError(f"normalization is {kind!r}; expected one of {KINDS}")
    given = (ranges if kind == "range" else statistics) or {}
    if unknown := sorted(set(given) - set(modalities)):
        raise ValueError(f"{kind} are given for {unknown}; this model has {list(modalities)}")
    if kind == "range":
        return {name: range_options(name, given.get(name)) for name in modalities}
    return {name: {**DEFAULT_STATISTICS.get(name, {}), **given.get(name, {})} for name in modalities}


def _statistics(name: str, given: Mapping[str, Any] | None) -> Statistics:
    known = dict(given or {})
    if not {"mean", "std"} <= set(known):
        raise ValueError(
            f"no normalization statistics for modality {name!r}; pass "
            f"statistics={{{name!r}: {{'mean': [...], 'std': [...]}}}} in its own unit"
        )
    if unknown := sorted(set(known) - {"mean", "std", "max"}):
        raise ValueError(f"statistics of {name!r} have the unknown entries {unknown}; known are mean, std and max")
    return Statistics(**known)
