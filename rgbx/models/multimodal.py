"""The one model of rgbx: maps in their units are normalised, a network gives features, and heads read them.

Each modality keeps its own prediction o_m in every head, and the head's ensemble is Σ_m softmax(α)_m · o_m. With a
subset of the modalities present, softmax(α) runs over that subset. A fusion method that merges the modalities leaves
one prediction, which is the ensemble, and no α.

Source: arXiv 2108.05009, section 3.4; several heads on one backbone are ours.
"""

from __future__ import annotations

import random
import sys
import typing
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgbx._protocol import Protocol, Size
from rgbx._text import nearest, one_of
from rgbx._types import Batch, InputWarning, Meta, Options
from rgbx.fusion import fusion_penalty
from rgbx.layers import (
    CLIP,
    Hallucination,
    StackLayout,
    StageGates,
    Trace,
    begin_subset,
    keep_subset_statistics,
    settled,
    split_modalities,
    untracked,
)
from rgbx.layers.convolution import contiguous_gradients
from rgbx.layers.stack import Gated
from rgbx.maps import METRE_STEPS, STANDARD_MAPS, TIMES, UNITS, MapSpec
from rgbx.models.clips import read_clip, refuse_clips, times_of
from rgbx.models.inputs import frames_of, map_inputs, split_arguments
from rgbx.models.modality_dropout import ModalityDropout
from rgbx.models.predict import Predictor, check_inputs
from rgbx.models.result import Result, predict_frames
from rgbx.objectives import Objective, Step
from rgbx.ops import resized_is_compiled
from rgbx.tasks import ENSEMBLE, Map, Target, Task
from rgbx.tasks.adversarial import Opponent
from rgbx.tasks.map_range import build_range, range_options

ENSEMBLES = ("learned", "mean")
PADDINGS = ("zeros", "reflect", "none")
MODES = ("tensor", "loss", "predict", "generator", "discriminator")

Inputs = Mapping[str, Tensor]  # modality: [N, c, H, W]
Outputs = dict[str, dict[str, Tensor]]  # head: branch or "ensemble": [N, C, H, W]

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
BESIDE = ("sample_id", "paths", "divided", "label", "time")  # what batches of any dataset hold beside maps
_HEARD: ContextVar[list[tuple[str, str]] | None] = ContextVar("heard", default=None)
MATRIX = 4  # longest side of what a batch may hold of each sample beside maps, such as a camera's matrix
LOOKED_AT = 32  # rows and columns, about, by which values are judged
MOST_OUTSIDE = 0.5  # share of the values


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
        """The vectors of the scene in the mirror: their x is turned, but where there are none (0, 0, 0)."""
        turned = torch.where((x == 0).all(1), x[:, 0], -x[:, 0] - 2 * (self.mean / self.std)[0, 0, 0])
        return torch.cat([turned[:, None], x[:, 1:]], 1)


class Range(nn.Module):
    """low..high of a map to -1..1, see `MapRange`, and -1 where it was not measured."""

    def __init__(self, name: str, given: Options | None) -> None:
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
        turned = torch.where((x == -1).all(1), x[:, 0], self.range.negate(x[:, 0]))
        return torch.cat([turned[:, None], x[:, 1:]], 1)


class Meaning(NamedTuple):
    """What is known of a map that a batch may hold.

    Attributes:
        channels: that it may have.
        dtype: "uint8", "float32" for any floating one, or "" for any real one.
        unit: see `MapSpec`; "" where nobody says it.
        positive: whether values of 0 and less are no measurement.
    """

    channels: tuple[int, ...]
    dtype: str
    unit: str
    positive: bool


class Span(NamedTuple):
    """The values of a modality that a model was made for: centre ± spread, and low..high, which most should not leave.

    Attributes:
        channels: of the statistics; 0 where they do not say.
        words: for messages.
    """

    channels: int
    centre: float
    spread: float
    low: float
    high: float
    words: str

    @classmethod
    def of(cls, options: Options) -> Span:
        """Of statistics, mean ± 6 std, or of a range."""
        if "mean" not in options:
            low, high = float(options["low"]), float(options["high"])
            return cls(0, (low + high) / 2, (high - low) / 4, low, high, f"{low:g} to {high:g}")
        mean, std = (np.atleast_1d(np.asarray(options[key], float)) for key in ("mean", "std"))
        centre, spread = float(mean.mean()), float(std.max())
        low, high = float((mean - 6 * std).min()), float((mean + 6 * std).max())
        return cls(max(mean.size, std.size), centre, spread, low, high, f"{centre:.3g} ± {spread:.3g}")

    def objection(
        self,
        values: Tensor,  # [n], measured
        meaning: Meaning,
        divided: str = "",
    ) -> tuple[str, str]:
        """What speaks against the values, and its kind; nothing if they may be right.

        Args:
            values: of the map.
            meaning: of the map.
            divided: what its stored values were divided by, as the caller said it; "" where he said nothing.
        """
        if meaning.dtype == "uint8":
            byte = "nothing is above 1, of 255: was it divided before it became uint8?"
            return (byte, "byte") if values.max() == 1 else ("", "")
        x, metres = values.float(), meaning.unit == "metre"
        outside = float(((x < self.low) | (x > self.high)).float().mean())
        small = metres and self.centre > 2 and float(x.max()) <= 1
        if outside <= MOST_OUTSIDE and not small:
            return "", ""
        median, guess = float(x.median()), ""
        for factor, unit in METRE_STEPS.items() if metres else ():
            if not guess and abs(median / factor - self.centre) <= 1.5 * self.spread:
                guess = f": are these {unit.replace('1/', 'steps of 1/')}?"
        if small:
            guess = ": is it scaled to 0..1?"
            if abs(median * 1000 - self.centre) <= 1.5 * self.spread:
                guess = ": were metres divided by 1000? Files that hold metres have scale=1"
        if divided and median < self.centre:
            guess = f": {divided} divided its values: is that how they are stored?"
        kind = guess or ("low" if median < self.centre else "high")
        return f"the median is {median:.4g}, where the model expects {self.words}{' m' * metres}{guess}", kind


@contextmanager
def hearing() -> Iterator[list[tuple[str, str]]]:
    """A block in which what a `Preprocessor` objects to is listed, every time, map and sentence, in place of warnings.

    It is that of the thread, or task, alone.
    """
    heard: list[tuple[str, str]] = []
    token = _HEARD.set(heard)
    try:
        yield heard
    finally:
        _HEARD.reset(token)


class Preprocessor(nn.Module):
    """Checks a batch, moves it to the model's device, normalises every modality and reads every head's target.

    A map ``NAME`` is not measured where its mask ``NAME_valid`` in the batch is false, nor where it is NaN or infinite.
    Without a mask, metres and the map ``depth`` are measured where they are positive, unit vectors where any component
    is not 0.

    What a map is, its channels and dtype, is known of standard maps (see `MapSpec`), or by `describe`; statistics of
    other channels, or of values in 0..1 for an 8-bit map, speak against the standard, and then they count.

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
        statistics: Mapping[str, Options] | None = None,
        ranges: Mapping[str, Options] | None = None,
    ) -> None:
        super().__init__()
        self.modalities, self._tasks = tuple(modalities), dict(tasks)
        build = Range if kind == "range" else _statistics
        options = input_options(self.modalities, kind, statistics, ranges)
        self.inputs = nn.ModuleDict({name: build(name, given) for name, given in options.items()})
        self._spans = {name: Span.of(given) for name, given in options.items()}
        self.register_load_state_dict_post_hook(_read_spans)
        self._stated: dict[str, MapSpec] = {}
        self._lengths: dict[str, int] = {}
        self._told: set[tuple[str, str]] = set()  # maps, and the kinds of objections to them that were told

    def describe(self, maps: Mapping[str, MapSpec], clips: Mapping[str, int] | None = None) -> None:
        """Says what the maps of the dataset are that batches come from, as its `metainfo` does.

        Args:
            maps: their specs.
            clips: how many frames those had that the model was trained on as clips; None for what was said before.

        Raises:
            ValueError: a map is relative, 0 to 1, and the model normalises other values, such as metres.
        """
        for name in (name for name, spec in maps.items() if spec.unit == "relative" and name in self._spans):
            if self._spans[name].centre > 1:
                raise ValueError(
                    f"the map {name!r} is relative, 0 to 1, and the model normalises {self._spans[name].words}, as of "
                    f"metres: it has no metres; take its own statistics, which `rgbx init` measures, or range"
                )
        self._stated.update(maps)
        if clips is not None:
            self._lengths = dict(clips)

    def forward(self, data: Batch, training: bool = False) -> dict[str, Any]:
        """What a model takes.

        Args:
            data: a collated batch: ``NAME`` [N, c, H, W] in its unit and ``NAME_valid`` bool or uint8 [N, 1, H, W] of
                modalities and targets, ``NAME_corrupted`` of the same kind, ``sample_id``, ``paths`` {NAME: N files};
                what is no map is left alone. Modalities may be clips, see `rgbx.models.clips`.
            training: whether it is a training step, which does not wait for a GPU: values that lie there already are
                not looked at.

        Returns:
            ``inputs`` {modality: float32 [N, c, H, W]}, ``targets`` {head: `Target`} of those in the batch,
            ``sample_id``; of clips inputs [N, T, c, H, W] and ``times`` {modality: float32 [N, T]};
            and in a training step on a batch that has masks ``NAME_corrupted`` of modalities
            ``corrupted`` {modality: bool [N, 1, H, W]}, true where they were damaged.

        Raises:
            ValueError: the batch holds none of the model's modalities, a map of an unknown name, or one of another
                layout, number of channels, dtype, batch or size than the others and its meaning ask for.

        Warns:
            InputWarning: once a map and kind of objection, where its values lie outside what the model expects, or it
                is a still of what the model was trained on as clips.
        """
        if not isinstance(data, Mapping):
            raise ValueError(f"the batch is a {type(data).__name__}; expected a dict of maps, {list(self.modalities)}")
        clips = {name: read_clip(name, data) for name in self.modalities if getattr(data.get(name), "ndim", 0) == CLIP}
        if clips:
            data = {**data, **{key: x for clip in clips.values() for key, x in clip.folded.items()}}
        meanings = self._checked(data, {name: clip.length for name, clip in clips.items()})
        self._look(data, meanings, training)
        if not training:
            self._tell_stills(data, meanings.keys() - clips.keys())
        device = next(self.buffers()).device
        batch = {
            key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for key, value in data.items()
        }
        for name, meaning in meanings.items():
            if (mask := measured(batch[name], batch.get(f"{name}_valid"), meaning)) is not None:
                batch[f"{name}_valid"] = mask
        inputs = {
            name: self.inputs[name](batch[name], batch.get(f"{name}_valid"))
            for name in self.modalities
            if name in batch
        }
        inputs |= {name: inputs[name].unflatten(0, (-1, clip.length)) for name, clip in clips.items()}
        found = {name: task.read_target(batch) for name, task in self._tasks.items()}
        targets: dict[str, Target] = {name: target for name, target in found.items() if target is not None}
        given: dict[str, Any] = {"inputs": inputs, "targets": targets, "sample_id": batch.get("sample_id")}
        if clips:
            given["times"] = {name: clip.times.to(device) for name, clip in clips.items()}
        corrupted = {name: batch[key] != 0 for name in inputs if (key := f"{name}_corrupted") in batch}
        return {**given, "corrupted": corrupted} if training and corrupted else given

    def _checked(self, data: Batch, lengths: Mapping[str, int]) -> dict[str, Meaning]:
        """What the maps of a batch that the model reads are, [N, c, H, W] each; refuses what they cannot be.

        Args:
            data: the batch.
            lengths: T of the modalities that are clips, which are [N*T, c, H, W] here.
        """
        targets = {task.target: task for task in self._tasks.values()}
        self._check_names(data, targets)
        present = [name for name in self.modalities if name in data]
        if not present:
            names = sorted(map(str, data))
            hint = "".join(nearest(name, self.modalities) for name in names)
            raise ValueError(f"the batch has {names}; expected at least one of {list(self.modalities)}{hint}")
        maps = [name for name, task in targets.items() if isinstance(task, Map) and name in data]
        meanings = {name: self.meaning(name) for name in dict.fromkeys([*present, *maps])}
        for name, meaning in meanings.items():
            check_map(name, data, meaning, present[0], lengths, registered=name in present)
        count = len(data[present[0]]) // lengths.get(present[0], 1)
        for name in targets:
            if name in data and not (isinstance(data[name], Tensor) and data[name].ndim and len(data[name]) == count):
                raise ValueError(
                    f"{name}{_file(name, data)} is {_found(data[name])}; expected a tensor of the {count} samples that "
                    f"{present[0]} has"
                )
            if f"{name}_corrupted" in data:
                raise ValueError(
                    f"the batch has {name}_corrupted, but {name} is what a head is to predict: its truth would be "
                    "damaged too; leave it out of the keys of DamageBlocks"
                )
        ids = data.get("sample_id")
        if ids is not None and (isinstance(ids, str) or len(ids) != count):
            raise ValueError(f"sample_id is {ids!r}; expected a list of {count}, one for each sample of {present[0]}")
        return meanings

    def _check_names(self, data: Batch, targets: Mapping[str, Task]) -> None:
        """Refuses maps of names that nobody gave, and tells of standard ones that the model does not take."""
        own = dict.fromkeys([*self.modalities, *targets])
        paths = data.get("paths")
        dataset = {*self._stated, *(paths if isinstance(paths, Mapping) else ())}
        for key, value in data.items():
            name = str(key).removesuffix("_valid").removesuffix("_corrupted").removesuffix(TIMES)
            if name in own or name in dataset or key in BESIDE:
                continue
            if name in STANDARD_MAPS:
                self._tell(
                    name, "name", f"the batch holds {key!r}, which this model does not take; it takes {list(own)}"
                )
            elif _is_map(value) or str(key).lower() in own:
                known = [*self.modalities, *targets, *(f"{name}_valid" for name in self.modalities)]
                near = nearest(str(key), [*known, *(f"{name}_corrupted" for name in self.modalities)])
                raise ValueError(
                    f"the batch holds {key!r}, {_found(value)}, which this model does not know; "
                    f"it takes {', '.join(known)}{near}"
                )

    def meaning(self, name: str) -> Meaning:
        """What a map is: by the dataset; or else as the standard map, unless the statistics contradict it."""
        stated, standard, span = self._stated.get(name), STANDARD_MAPS.get(name), self._spans.get(name)
        if span is None:
            unit = next(str(getattr(task, "unit", "")) for task in self._tasks.values() if task.target == name)
            known = stated or (MapSpec.of_unit(name, unit) if unit in UNITS else None)
            channels = next(task.channels for task in self._tasks.values() if task.target == name)
            return Meaning((channels,), known.dtype if known else "", unit, name == "depth" or unit == "metre")
        known = stated or standard
        if known is None or (stated is None and span.channels not in (0, 1, known.channels)):
            return Meaning((span.channels,) if span.channels > 1 else (1, 3), "", "", name == "depth")
        if span.channels not in (0, 1, known.channels):
            raise ValueError(
                f"the statistics of {name} have {span.channels} values; its maps have {known.channels} "
                f"channel{'s' if known.channels > 1 else ''}"
            )
        if stated is None and known.dtype == "uint8" and span.centre <= 1:
            return Meaning((known.channels,), "", "", False)
        return Meaning((known.channels,), known.dtype, known.unit, name == "depth" or known.unit == "metre")

    def span(self, name: str) -> Span:
        """The values of a modality that the model was made for."""
        return self._spans[name]

    def _look(self, data: Batch, meanings: Mapping[str, Meaning], training: bool) -> None:
        """Warns of maps whose values the model was not made for, by some pixels of each."""
        for name, meaning in meanings.items():
            if name not in self._spans or (training and data[name].device.type != "cpu"):
                continue
            rows, columns = (max(side // LOOKED_AT, 1) for side in data[name].shape[2:])
            x, valid = data[name][..., ::rows, ::columns], data.get(f"{name}_valid")
            mask = measured(x, None if valid is None else valid[..., ::rows, ::columns].to(x.device), meaning)
            values = x if mask is None else x[mask.expand_as(x)]
            given = data.get("divided")
            divided = str(given.get(name, "")) if isinstance(given, Mapping) else ""
            said, kind = self._spans[name].objection(values, meaning, divided) if values.numel() else ("", "")
            if not said and meaning.positive and valid is None and (negative := x < 0).any():
                lowest, share = float(x[negative].min()), float(negative.float().mean())
                said = f"{lowest:.4g} is below 0, on {share:.0%} of the pixels: they are taken as not measured"
                kind = "negative"
            if said:
                self._tell(name, kind, f"{name}{_file(name, data)}: {said}")

    def _tell_stills(self, data: Batch, names: Collection[str]) -> None:
        """Warns of maps that are stills, where the model was trained on clips of them."""
        for name, length in self._lengths.items():
            if length > 1 and name in names:
                said = f"one frame, where the model was trained on clips of {length}"
                way = "`rgbx test --save-predictions` predicts on clips"
                self._tell(name, "still", f"{name}{_file(name, data)}: {said}; {way}")

    def _tell(self, name: str, kind: str, text: str) -> None:
        if (heard := _HEARD.get()) is not None:
            heard.append((name, text))
        elif (name, kind) not in self._told:
            self._told.add((name, kind))
            warnings.warn(text, InputWarning, stacklevel=_callers_level())

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
        inputs: Mapping[str, Tensor],  # [N, c, H, W] or [N, T, c, H, W], normalised
    ) -> dict[str, Tensor]:
        """Normalised inputs of the scene in a mirror: normals (the map ``normal``) turn their x too."""
        mirrored = {name: x.flip(-1) for name, x in inputs.items()}
        if "normal" in mirrored:
            scaling: Any = self.inputs["normal"]
            x = mirrored["normal"]
            mirrored["normal"] = scaling.mirror(x.flatten(0, -4)).unflatten(0, x.shape[:-3])
        return mirrored


def _read_spans(module: nn.Module, _keys: object) -> None:
    """Lets a preprocessor expect what a state dict that was loaded says."""
    if not isinstance(module, Preprocessor):
        return
    for name, scaling in module.inputs.items():
        values = dict(scaling.named_buffers())
        if any(value.is_meta for value in values.values()):
            continue
        if isinstance(scaling, Range):
            module._spans[name] = Span.of(dict(zip(("low", "high"), scaling.range.bounds.tolist(), strict=True)))
        else:
            module._spans[name] = Span.of({key: values[key].flatten().tolist() for key in ("mean", "std")})


def measured(
    x: Tensor,  # [N, C, H, W], in the map's unit
    valid: Tensor | None,  # bool or uint8 [N, 1, H, W]
    meaning: Meaning,
) -> Tensor | None:
    """Where a map was measured, bool [N, 1, H, W]: by its mask or else its values; None where all of it counts."""
    mask = None if valid is None else valid != 0
    if mask is None and meaning.positive:
        mask = (x > 0).all(1, keepdim=True)
    elif mask is None and meaning.unit == "unit_vector":
        mask = (x != 0).any(1, keepdim=True)
    if not x.is_floating_point():
        return mask
    finite = x.isfinite().all(1, keepdim=True)
    return finite if mask is None else mask & finite


def check_map(
    name: str,
    data: Batch,
    meaning: Meaning,
    first: str,
    lengths: Mapping[str, int],
    *,
    registered: bool,
) -> None:
    """Refuses a map of a batch that is no tensor [N, c, H, W] of its channels and dtype, or whose masks do not fit.

    Args:
        name: of the map.
        data: the batch.
        meaning: of the map.
        first: the name of the batch's first map.
        lengths: T of those that are clips, which are [N*T, c, H, W] here.
        registered: whether it must be of the first map's size, as modalities are; targets need not be.

    Raises:
        ValueError: naming the map and its first file, what was found and what was expected.
    """
    x, where = data[name], f"{name}{_file(name, data)}"
    channels = " or ".join(map(str, meaning.channels))
    if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[1] not in meaning.channels or x.layout != torch.strided:
        raise ValueError(
            f"{where} is {_found(x)}; expected a tensor [N, {channels}, H, W]"
            f"{f' of {meaning.dtype}' if meaning.dtype else ''}{_way_out(x, meaning.channels)}"
        )
    if not x.numel():
        raise ValueError(f"{where} is {_found(x)}; expected at least one sample of at least one pixel")
    real = x.dtype != torch.bool and not x.is_complex() and not x.is_quantized
    if not {"uint8": x.dtype == torch.uint8, "float32": x.is_floating_point()}.get(meaning.dtype, real):
        raise ValueError(f"{where} is {_found(x)}, expected {meaning.dtype or 'real numbers'}{_values(x, meaning)}")
    like = data[first]
    counts = [t.shape[0] // lengths.get(key, 1) for key, t in ((name, x), (first, like))]
    if counts[0] != counts[1] or (registered and x.shape[2:] != like.shape[2:]):
        raise ValueError(
            f"{where} is {list(x.shape)}, but {first}{_file(first, data)} is {list(like.shape)}: the maps of a batch "
            f"must be registered, of {'one size and ' if registered else ''}as many samples; resize or crop them first"
        )
    _check_mask(f"{name}_valid", data, x, "measured")
    _check_mask(f"{name}_corrupted", data, x, "damaged")


def _check_mask(
    key: str,
    data: Batch,
    x: Tensor,  # [N, C, H, W], the map
    meaning: str,
) -> None:
    """Refuses what is no mask of a map, where the batch has one; `meaning` is what true says."""
    mask, expected = data.get(key), [x.shape[0], 1, *x.shape[2:]]
    if mask is None:
        return
    if not isinstance(mask, Tensor) or list(mask.shape) != expected or mask.dtype not in (torch.bool, torch.uint8):
        hint = ""
        if isinstance(mask, Tensor) and [*mask.shape[:1], 1, *mask.shape[1:]] == expected:
            hint = f": {key}[:, None]"
        raise ValueError(f"{key} is {_found(mask)}; expected a tensor bool {expected}, True = {meaning}{hint}")


def _callers_level() -> int:
    """The `stacklevel`, for who calls this, of the first frame that is neither of this package nor of torch."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("rgbx", "torch"):
        frame, level = frame.f_back, level + 1
    return level


def _file(name: str, data: Batch) -> str:
    """The first file of a map, in brackets, where the batch says it."""
    paths = data.get("paths")
    found = paths.get(name) if isinstance(paths, Mapping) else None
    first = found[0] if isinstance(found, (list, tuple)) and found else found
    return f" ({first})" if isinstance(first, str) and first else ""


def _found(value: object) -> str:
    """ "a tensor uint8 [1, 3, 4, 5]"."""
    if isinstance(value, Tensor):
        dense = "" if value.layout == torch.strided else "sparse "
        return f"a {dense}tensor {str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return f"a numpy array {value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__


def _is_map(value: object) -> bool:
    """Whether a value is an image rather than a number or a small matrix of each sample."""
    if isinstance(value, np.ndarray):
        return value.ndim >= 2
    return isinstance(value, Tensor) and (value.ndim > 3 or (value.ndim == 3 and min(value.shape[1:]) > MATRIX))


def _way_out(value: object, channels: Sequence[int]) -> str:
    """How a map in another layout becomes [N, C, H, W]."""
    if not isinstance(value, (Tensor, np.ndarray)):
        return "; numpy.asarray and torch.from_numpy make one of an image"
    x, shape, images = "x" if isinstance(value, Tensor) else "torch.from_numpy(x)", list(value.shape), (*channels, 4)
    if len(shape) == 2:
        made, shape = "[None, None]", [1, 1, *shape]
    elif len(shape) == 3 and shape[0] in images:
        made, shape = "[None]", [1, *shape]
    elif len(shape) == 3 and shape[2] in images:
        made, shape = ".permute(2, 0, 1)[None]", [1, shape[2]]
    elif len(shape) == 3 and 1 in channels:
        made, shape = "[:, None]", [shape[0], 1]
    elif len(shape) == 4 and shape[1] not in images and shape[3] in (1, *images):
        made, shape = ".permute(0, 3, 1, 2)", [shape[0], shape[3]]
    else:
        made = ""
    if len(shape) > 1 and shape[1] not in channels and 3 in channels:
        made += {1: ".expand(-1, 3, -1, -1)", 4: "[:, :3]"}.get(shape[1], "")
    return f": {x}{made}" if made or x != "x" else ""


def _values(
    x: Tensor,  # [N, C, H, W]
    meaning: Meaning,
) -> str:
    """The range of values of a wrong dtype, and how they become the right one."""
    if x.dtype == torch.bool or x.is_complex():
        return ""
    low, high = (float(value) for value in x.double().nan_to_num().aminmax())
    if meaning.dtype == "float32":
        way = "x.float() / 1000 makes metres of millimetres" if meaning.positive else "x.float() in the map's unit"
    elif low < 0:
        way = "is it normalised already? The model does that"
    elif high <= 1:
        way = "is it divided by 255? (255 * x).round().to(torch.uint8)"
    else:
        way = "x.round().to(torch.uint8)" if high <= 255 else "scale it to 0..255 first"
    return f"; its values lie in {low:.4g}..{high:.4g}: {way}"


def input_options(
    modalities: Sequence[str],
    kind: str,
    statistics: Mapping[str, Options] | None,
    ranges: Mapping[str, Options] | None,
) -> dict[str, dict[str, Any]]:
    """What normalises each modality: what is given over the defaults.

    Raises:
        ValueError: an unknown kind, or values for a modality that the model has not.
    """
    if kind not in KINDS:
        raise ValueError(f"normalization is {kind!r}; expected one of {one_of(KINDS, kind)}")
    given = (ranges if kind == "range" else statistics) or {}
    if unknown := sorted(set(given) - set(modalities)):
        raise ValueError(
            f"{'ranges' if kind == 'range' else kind} are given for {unknown}; this model has {list(modalities)}"
        )
    if kind == "range":
        return {name: range_options(name, given.get(name)) for name in modalities}
    return {name: {**DEFAULT_STATISTICS.get(name, {}), **given.get(name, {})} for name in modalities}


def _scalars(objective: str, found: object) -> dict[str, Tensor]:
    """What an objective gives; refuses what training could not add up, which anybody's may give."""
    wrong = f"{_found(found)} instead of a dict" if not isinstance(found, dict) else ""
    losses: dict[str, Tensor] = found if isinstance(found, dict) else {}
    for key, x in losses.items():
        if not isinstance(x, Tensor) or x.ndim or not x.is_floating_point():
            wrong = f"{key!r}, {_found(x)}"
    if wrong:
        raise ValueError(
            f"objective {objective!r} gives {wrong}; expected a dict of scalar tensors by name, such as "
            "{'distance': x.mean()}"
        )
    return losses


def _statistics(name: str, given: Options | None) -> Statistics:
    known = dict(given or {})
    if not {"mean", "std"} <= set(known):
        near = nearest(name, DEFAULT_STATISTICS)
        raise ValueError(
            f"no normalization statistics for modality {name!r}; for your own, pass "
            f"statistics={{{name!r}: {{'mean': [...], 'std': [...]}}}} in its own unit{near}"
        )
    if unknown := sorted(set(known) - {"mean", "std", "max"}):
        raise ValueError(f"statistics of {name!r} have the unknown entries {unknown}; known are mean, std and max")
    return Statistics(**known)


class Backbone(typing.Protocol):
    """What a model asks of a network, a module; `SharedBackbone` and `ImageGenerator` give it."""

    layout: StackLayout
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    multiple: int
    smallest: int
    single_branch: bool
    norm_eval: bool
    purification: StageGates | None
    hallucination: Hallucination | None

    @property
    def reads_clips(self) -> bool: ...

    def __call__(self, inputs: Inputs) -> list[Tensor]: ...

    def modules(self) -> Iterator[nn.Module]: ...


class Pass(NamedTuple):
    """What a run of the network gives.

    Attributes:
        outputs: of every head.
        features: what the heads read, [M*N, C_i, h_i, w_i] of each stage; merged [N, C_i, h_i, w_i].
        beliefs: of each modality, float32 [N, 1, H, W] in 0..1, see `StageGates.beliefs`; none where they are not asked
            for, and of networks without gates.
        gates: what they left.
        penalty: what the fusion method adds to the loss of this run, a scalar; None where it adds nothing.
        trace: of a run in training, or with branches that were filled in.
    """

    outputs: Outputs
    features: Sequence[Tensor]
    beliefs: dict[str, Tensor]
    gates: Sequence[Gated]
    penalty: Tensor | None
    trace: Trace | None


class Shown(NamedTuple):
    """What a generator's pass leaves for its opponents, without gradients.

    Attributes:
        inputs: that it saw.
        images: of each head that has an opponent, as that judges them.
        step: for the opponents of objectives; None where there are none.
    """

    inputs: dict[str, Tensor]
    images: Outputs
    step: Step | None = None


class Head(nn.Module):
    """A decoder, the task that gives its output a meaning, and how branches vote.

    Args:
        decoder: maps the backbone's feature stacks [M*N, C_i, h_i, w_i] to [M*N, C, h, w].
        task: what the output means.
        voters: modalities with a learned weight in the ensemble, which a single one needs not; none for the mean of
            all, or where they are merged to one branch.
        weight: factor of the head's losses.
        detach_ensemble: whether the ensemble's loss stops at the predictions and trains only α.
        opponent: a discriminator that the head is trained against, or None.
    """

    def __init__(
        self,
        decoder: nn.Module,
        task: Task,
        *,
        voters: Sequence[str] = (),
        weight: float = 1.0,
        detach_ensemble: bool = True,
        opponent: Opponent | None = None,
    ) -> None:
        super().__init__()
        self.decoder, self.task = decoder, task
        self.alone = len(voters) == 1
        self.alpha = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in voters if not self.alone})
        self.weight, self.detach_ensemble, self.opponent = weight, detach_ensemble, opponent

    def forward(
        self,
        features: Sequence[Tensor],  # [M*N, C_i, h_i, w_i]
        names: Sequence[str],
        wanted: Collection[str] | None = None,
    ) -> tuple[list[str], Tensor]:
        """Outputs at the decoder's resolution.

        Args:
            features: of the backbone, shallow to deep.
            names: of the M modalities in the stack; none where they are merged to one branch.
            wanted: branches, and "ensemble"; None for all.

        Returns:
            The S names of those branches and ensemble that are there and wanted, and their outputs stacked by name,
            [S*N, C, h, w].
        """
        stack = self.task.activate(self.decoder(features))
        if not names:
            return ([ENSEMBLE], stack) if wanted is None or ENSEMBLE in wanted else ([], stack[:0])
        size = stack.shape[0] // len(names)
        parts = stack.split([size] * len(names))  # unlike chunks, these let an export keep N dynamic
        kept = {name: x for name, x in zip(names, parts, strict=True) if wanted is None or name in wanted}
        if wanted is not None and ENSEMBLE not in wanted:
            return [*kept], torch.cat([*kept.values()]) if kept else stack[:0]
        votes: Sequence[Tensor] = parts
        votes = [vote.detach() for vote in votes] if self.detach_ensemble else list(votes)
        weights = torch.stack([self.alpha[name] for name in names]).softmax(0) if self.alpha else None
        joint = votes[0] if self.alone else self.task.ensemble(votes, weights)
        every = [stack] if len(kept) == len(names) else [*kept.values()]
        return [*kept, ENSEMBLE], torch.cat([*every, joint]) if every else joint


class MultimodalModel(nn.Module):
    """Shared backbone and any number of heads, from any subset of the modalities.

    Images whose sides the backbone's stride does not divide are padded at the right and bottom and outputs cropped.

    Args:
        backbone: features of the modalities present.
        heads: by name.
        preprocessor: normalises a collated batch and reads its targets.
        padding: with ``"zeros"``; by ``"reflect"``-ion, or the border where the image is too small for it; or
            ``"none"``, for backbones of padded convolutions such as ResNets, which see images as they are.
        modality_dropout: draws the subset of modalities of a training step; None trains on all that are given.
        objectives: further losses of training, see `rgbx.objectives`.

    Attributes:
        layout, modalities: the backbone's.
        data_preprocessor: see `Preprocessor`.
        recipe: how it was built, for its checkpoints.
        trained_on: see `describe`.
        sees_subsets: whether batches may lack modalities, as those of frames that differ in what they have.

    Raises:
        ValueError: a name that would be taken twice, or an unknown padding.
    """

    def __init__(
        self,
        backbone: Backbone,
        heads: Mapping[str, Head],
        preprocessor: Preprocessor,
        *,
        padding: str = "zeros",
        modality_dropout: ModalityDropout | None = None,
        objectives: Sequence[Objective] = (),
    ) -> None:
        super().__init__()
        if ENSEMBLE in backbone.layout.modalities:
            raise ValueError(f"no modality may be called {ENSEMBLE!r}: that is the name of the joint prediction")
        if taken := [each.name for each in objectives if each.name in heads]:
            raise ValueError(f"no head may be called {taken[0]!r}: that is the name of an objective")
        if padding not in PADDINGS:
            raise ValueError(f"padding is {padding!r}; expected one of {one_of(PADDINGS, padding)}")
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)
        self.objectives = nn.ModuleDict({each.name: each for each in objectives})
        self.data_preprocessor, self.padding, self.modality_dropout = preprocessor, padding, modality_dropout
        self.layout: StackLayout = backbone.layout
        self.modalities: tuple[str, ...] = backbone.layout.modalities
        reduces = backbone.hallucination is not None or any(each.reduces for each in objectives)
        self._subsets = ModalityDropout(self.modalities, 1.0) if reduces else None
        self.recipe: dict[str, Any] | None = None
        self.trained_on: dict[str, Any] = {}
        self.sees_subsets = False

    @property
    def tasks(self) -> dict[str, Task]:
        """The task of each head."""
        return {name: head.task for name, head in self.named_heads()}

    def named_heads(self) -> Iterator[tuple[str, Head]]:
        """Name and head, in order."""
        yield from self.heads.items()  # type: ignore[misc]  # a ModuleDict forgets what it holds

    def named_objectives(self) -> Iterator[tuple[str, Objective]]:
        """Name and objective, in order."""
        yield from self.objectives.items()  # type: ignore[misc]  # as above

    @property
    def opponents(self) -> list[nn.Module]:
        """The networks of heads and objectives that are trained against the rest, in a pass of their own."""
        owners: list[Head | Objective] = [head for _, head in self.named_heads()]
        owners += [each for _, each in self.named_objectives()]
        return [owner.opponent for owner in owners if owner.opponent is not None]

    @property
    def alternates(self) -> bool:
        """Whether a training step takes a second pass, for opponents."""
        return bool(self.opponents)

    @property
    def needs_unused_parameter_search(self) -> bool:
        """Whether some training steps leave parameters without a gradient."""
        some = self.modality_dropout is not None or self.backbone.single_branch or self.alternates or self.sees_subsets
        some = some or self.backbone.hallucination is not None
        return some or any(True for _ in self.objectives.parameters())

    @property
    def stride(self) -> int:
        """What the sides of the backbone's inputs must be multiples of."""
        return self.backbone.multiple if self.padding != "none" else 1

    def train(self, mode: bool = True) -> MultimodalModel:
        """As of every module; convolutions of what is trained find their gradients as the processor does best."""
        if mode:
            contiguous_gradients(self.modules())
        return super().train(mode)

    def keep_subset_statistics(self) -> None:
        """Lets batch norms have running statistics for each subset of the modalities, as where some are left out.

        A model with modality dropout has them from the beginning. Nothing happens with more than four modalities.
        """
        keep_subset_statistics([*self.backbone.modules(), *self.heads.modules()], self.layout)

    def set_epoch_seed(self, seed: int) -> None:
        """Restarts all draws of modalities that are left out; the seed must be the same in all processes of a run."""
        if self.modality_dropout is not None:
            self.modality_dropout.set_seed(seed)
        if self._subsets is not None:
            self._subsets.set_seed(seed + 1)  # or both would leave out the same

    def set_progress(self, share: float) -> None:
        """Says how far the training is, 0 to 1, before each of its steps; the same in all processes of a run."""
        if self.modality_dropout is not None:
            self.modality_dropout.progress = share

    @property
    def draws(self) -> list[random.Random]:
        """The generators that `set_epoch_seed` restarts."""
        return [drawn.generator for drawn in (self.modality_dropout, self._subsets) if drawn is not None]

    def hallucinated(self, present: Collection[str]) -> tuple[str, ...]:
        """Names of the modalities whose branches are filled in when these are present at test."""
        fills = self.backbone.hallucination is not None
        return tuple(name for name in self.modalities if fills and name not in present)

    def compile_network(self, **options: Any) -> None:
        """Compiles backbone and decoders in place by torch.compile; the state dict keeps its keys.

        Each subset of the modalities is compiled on its own, in training and in evaluation; torch's limit on that is
        raised so that none of them falls back to eager execution.
        """
        dynamo = torch._dynamo.config
        dynamo.recompile_limit = max(dynamo.recompile_limit, 4 * 2 ** len(self.modalities))
        network: nn.Module = getattr(self.backbone, "network", typing.cast(nn.Module, self.backbone))
        network.compile(**options)
        for _, head in self.named_heads():
            head.decoder.compile(**options)

    def forward(
        self,
        inputs: Inputs,  # [N, c, H, W] each, normalised
        targets: Mapping[str, Target] | None = None,
        sample_id: Sequence[str] | None = None,
        mode: str = "tensor",
        shown: Shown | None = None,
        corrupted: Mapping[str, Tensor] | None = None,  # bool [N, 1, H, W]
        times: Mapping[str, Tensor] | None = None,  # [N, T] each, of clips
    ) -> Any:
        """Runs the model in one of its modes, on what `data_preprocessor` gives.

        ``"tensor"``: what every branch and the ensemble put out at the inputs' size, {name: [N, C, H, W]} of a model of
        one head and {head: {name: ...}} of several: logits, or maps in -1..1. ``"predict"``: what `Predictor` gives
        with the protocol ``rgbx``. ``"loss"``: {``loss_NAME``: scalar}, to be added up; with several heads
        ``loss_HEAD_NAME``, and of objectives ``loss_OBJECTIVE_NAME``. ``"generator"``: these, and what the opponents
        are to see; ``"discriminator"``: their losses for what was ``shown``.

        Raises:
            ValueError: another mode, inputs with none of the modalities, or losses without a target.
        """
        if mode == "predict":
            return Predictor(self).predict(inputs, targets, sample_id, times=times)
        if mode == "tensor":
            outputs = self.run(inputs, times=times).outputs
            return outputs if len(outputs) > 1 else next(iter(outputs.values()))
        if mode not in MODES:
            raise ValueError(f"mode is {mode!r}; expected one of {one_of(MODES, mode)}")
        if mode == "discriminator":
            return self._discriminator_losses(targets or {}, shown)
        self._check_opponents(inputs)
        seen = self._drawn(inputs)
        coarse = self._coarse(seen)
        run = self.run(seen, times=times, coarse=coarse)
        losses, shown = self._losses(seen, run.outputs, targets or {}, coarse)
        if run.penalty is not None:
            losses["loss_fusion"] = run.penalty
        if self.backbone.purification is not None:
            losses |= self.backbone.purification.losses(run.gates, corrupted)
        if self.backbone.hallucination is not None and self.training:
            losses |= self._hallucination_losses(self.backbone.hallucination, seen, run, targets or {})
        if len(self.objectives):
            step = self._step(seen, run, targets or {}, sample_id or (), times)
            losses |= self._objective_losses(step)
            shown = shown._replace(step=step.detached() if mode == "generator" else None)
        return losses if mode == "loss" else (losses, shown)

    def describe(self, dataset: Meta) -> None:
        """Says on what it was trained.

        Args:
            dataset: ``maps``, ``stored``, ``clips``, ``classes`` and ``palette``, see
                `rgbx.models.checkpoint.dataset_in`.
        """
        self.trained_on = dict(dataset)
        clips = dataset.get("clips", {}) if self.backbone.reads_clips else {}
        self.data_preprocessor.describe(dataset.get("maps", {}), clips)

    @typing.overload
    def predict(
        self,
        batch: Batch,
        /,
        *,
        keep_probability: bool | None = None,
        protocol: str | Protocol = "rgbx",
        dtype: torch.dtype | None = None,
        modalities: Sequence[str] | None = None,
        heads: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
    ) -> list[dict[str, Any]]: ...

    @typing.overload
    def predict(
        self,
        /,
        *,
        batch_size: int = 1,
        keep_probability: bool | None = None,
        sample_id: object = None,
        protocol: str | Protocol = "rgbx",
        dtype: torch.dtype | None = None,
        modalities: Sequence[str] | None = None,
        heads: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        **maps: object,
    ) -> Result | list[Result] | Iterator[Result]: ...

    def predict(
        self,
        batch: Batch | None = None,
        /,
        *,
        batch_size: int = 1,
        keep_probability: bool | None = None,
        sample_id: object = None,
        protocol: str | Protocol = "rgbx",
        dtype: torch.dtype | None = None,
        modalities: Sequence[str] | None = None,
        heads: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        **maps: object,
    ) -> list[dict[str, Any]] | Result | list[Result] | Iterator[Result]:
        """Predicts on files, arrays, tensors or images, of any subset of the modalities.

            model.predict(rgb="a.jpg", depth="b.png", depth_scale=1000)["labels"].ids

        A file is read as those of the training were: the checkpoint knows how they hold their maps. An array [H, W] or
        [H, W, C], tensor [H, W] or [C, H, W], or PIL image holds a map in its unit: colours uint8 0 to 255, depth in
        metres, NaN where nothing was measured. Arrays of whole numbers, of maps that are no colours, hold what a file
        would. Options of `rgbx.maps.Encoding` and ``unit`` replace what the checkpoint says of one map:
        ``depth_scale=1000`` are millimetres, ``thermal_scale=100, thermal_add=-273.15`` hundredths of a kelvin.

        Args:
            batch: a collated batch in place of maps; then the answer is that of `Predictor`, tensors on its device.
            batch_size: how many frames of one size are computed together.
            keep_probability: whether results hold the probabilities of all classes; None keeps those of a single frame,
                others are computed anew when asked for.
            sample_id: the name of the frame, or of each; by default the stem of its first file, or a number.
            protocol, dtype, modalities, heads: see `Predictor`.
            names: "ensemble" and the branches that are wanted, see `Predictor`; None for all, which take longer.
            maps: ``NAME=`` and ``NAME_valid=`` (not 0 where measured): a file, array, tensor or image each; or a list
                of them each; or a folder each, whose images are matched by their stems; or an iterator each. None, also
                in lists, is a map that is not there. ``NAME_OPTION=`` as above.

        Returns:
            A `Result` of one frame; a list of them of lists; of folders and iterators an iterator, which reads as it is
            asked and holds no frame back but those of a batch.

        Raises:
            FileNotFoundError: no such file, or an image of a folder without its partner, which is named.
            ValueError: what a map, or maps together, cannot be; the message names file, finding and way out.
        """
        predictor = Predictor(self, protocol, dtype=dtype, modalities=modalities, heads=heads, names=names)
        if batch is not None:
            if not isinstance(batch, Mapping):
                raise ValueError(
                    f"predict takes maps by their names, such as predict({self.modalities[0]}=...), or a collated "
                    f"batch; found {type(batch).__name__} without a name"
                )
            if maps:
                raise ValueError(f"predict takes a batch or maps by name, not both; found a batch and {sorted(maps)}")
            return predictor(batch, keep_probability=bool(keep_probability))
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected a whole number of at least 1")
        values, options = split_arguments(maps, self.modalities)
        given = frames_of(values, sample_id)
        found = predict_frames(
            predictor,
            map_inputs(self.modalities, options, self.trained_on),
            given.frames,
            about=self.trained_on,
            batch_size=batch_size,
            keep_probability=given.kind == "one" if keep_probability is None else keep_probability,
        )
        return next(found) if given.kind == "one" else list(found) if given.kind == "list" else found

    def outputs(self, inputs: Inputs, *, resize: str = "bilinear", heads: Collection[str] | None = None) -> Outputs:
        """What every branch and the ensemble of every head put out, at the inputs' own size, whatever it is.

        Args:
            inputs: modality to normalised [N, c, H, W].
            resize: from the decoder's size, "bilinear" or "bicubic".
            heads: those that are wanted; None for all.

        Raises:
            ValueError: inputs with none of the modalities, or that `check_inputs` refuses.
        """
        return self.run(inputs, resize=resize, heads=heads).outputs

    def run(
        self,
        inputs: Inputs,
        *,
        resize: str = "bilinear",
        heads: Collection[str] | None = None,
        names: Collection[str] | None = None,
        coarse: Collection[str] = (),
        purified: bool | None = None,
        beliefs: bool = False,
        times: Mapping[str, Tensor] | None = None,  # [N, T] each
        filled: Collection[str] | None = None,
    ) -> Pass:
        """As `outputs`, with what the network did on the way.

        Args:
            inputs, resize, heads: see `outputs`.
            names: of the branches, and "ensemble", that are wanted; None for all.
            coarse: heads whose outputs stay at the decoder's size, which stands for `padded_size` of the inputs.
            purified: False leaves the network's gates open, see `StackLayout.holding`.
            beliefs: whether what its gates believe is wanted, too.
            times: of the frames of inputs that are clips [N, T, c, H, W], seconds after the label; None for those of
                the block of `StackLayout.holding` around.
            filled: modalities whose branches are filled in, of a network that hallucinates; none for what is present
                alone; None for `hallucinated` at test, and in training for none.
        """
        present = {name: inputs[name] for name in self.modalities if name in inputs}
        if not present:
            raise ValueError(f"inputs hold {sorted(inputs)}; expected at least one of {list(self.modalities)}")
        check_inputs(present)
        times = self.layout.times if times is None else times
        if times is not None or any(x.ndim == CLIP for x in present.values()):
            if not self.backbone.reads_clips:
                refuse_clips(present)
            times = times_of(present, times)
        height, width = next(iter(present.values())).shape[-2:]
        padded = {name: self._pad(x) for name, x in present.items()}
        size = next(iter(padded.values())).shape[-2:]
        absent = filled if filled is not None else () if self.training else self.hallucinated(present)
        if absent:
            assert self.backbone.hallucination is not None
            padded = self.backbone.hallucination.zeros(padded, tuple(absent))
        if self.training:
            self._check_batch_norm(next(iter(padded.values())))
            if len(padded) < len(self.modalities):
                begin_subset(self.modules(), self.layout.order(padded))
        found: Outputs = {}
        trace = Trace(absent) if self.training or absent else None
        with self.layout.holding(padded, purified=purified, times=times, trace=trace):
            features = self.backbone(padded)
            gates, purification = self.layout.gates, self.backbone.purification
            believed = purification.beliefs(gates, (height, width)) if beliefs and purification else {}
            believed = {name: x for name, x in believed.items() if name in present}
            branches = () if self.backbone.single_branch else tuple(padded)
            for name, head in self.named_heads():
                if heads is not None and name not in heads:
                    continue
                shown, stack = head(features, branches, names)
                if name not in coarse:
                    if stack.shape[-2:] != size and not (self.training and head.task.coarse):
                        stack = F.interpolate(stack, size=size, mode=resize, align_corners=False)
                    stack = stack[..., :height, :width]
                parts = stack.split([stack.shape[0] // max(len(shown), 1)] * len(shown)) if shown else ()
                found[name] = dict(zip(shown, parts, strict=True))
            network = typing.cast(nn.Module, self.backbone)
            penalty = fusion_penalty(network, self.layout) if self.training else None
            return Pass(found, features, believed, gates, penalty, trace)

    def padded_size(self, size: Size) -> Size:
        """(H, W) of inputs of a size once they are padded at the bottom and right as the backbone needs."""
        if self.padding == "none":
            return size
        multiple, smallest = self.backbone.multiple, self.backbone.smallest
        height, width = (max(side + -side % multiple, smallest) for side in size)
        return height, width

    def _pad(
        self,
        x: Tensor,  # [N, c, H, W] or [N, T, c, H, W]
    ) -> Tensor:
        if self.padding == "none":
            return x
        if x.ndim == CLIP:
            return self._pad(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        height, width = x.shape[-2:]
        rows, columns = self.padded_size((height, width))
        bottom, right = rows - height, columns - width
        if not bottom and not right:
            return x
        if self.padding == "zeros":
            return F.pad(x, (0, right, 0, bottom))
        return F.pad(x, (0, right, 0, bottom), mode="reflect" if bottom < height and right < width else "replicate")

    def _check_batch_norm(
        self,
        x: Tensor,  # [N, c, H, W] or [N, T, c, H, W], padded
    ) -> None:
        """Training statistics need more than one value, also at the deepest stage."""
        batch, (height, width) = x.shape[:-3].numel(), x.shape[-2:]
        stride = self.backbone.strides[-1]
        if not self.backbone.norm_eval and batch * -(-height // stride) * -(-width // stride) < 2:
            raise ValueError(
                f"a batch of 1 image of {height}×{width} leaves one pixel at stride {stride}, too few for the "
                "statistics of batch norm; train on larger images, on more of them, or with norm_eval=True"
            )

    def _check_opponents(self, inputs: Inputs) -> None:
        """Opponents judge one image beside another, so that none is beside a clip."""
        judged = next((name for name, head in self.named_heads() if head.opponent is not None), None)
        clip = next((name for name, x in inputs.items() if x.ndim == CLIP), None)
        if judged is not None and clip is not None:
            raise ValueError(
                f"input {clip} is a clip of {inputs[clip].shape[1]} frames, {list(inputs[clip].shape)}, and the "
                f"opponent of head {judged!r} judges images beside one frame: leave `adversarial` out, or take the "
                "frames nearest to the label by the transform NearestFrames"
            )

    def _drawn(self, inputs: Inputs) -> dict[str, Tensor]:
        """The inputs of a training step: those that modality dropout leaves."""
        present = [name for name in self.modalities if name in inputs]
        if self.training and self.modality_dropout is not None:
            present = [name for name in self.modality_dropout.draw() if name in present] or present
        return {name: inputs[name] for name in present}

    def _losses(
        self,
        inputs: dict[str, Tensor],  # [N, c, H, W] each
        outputs: Outputs,
        targets: Mapping[str, Target],
        coarse: Collection[str],
    ) -> tuple[dict[str, Tensor], Shown]:
        """Losses of all heads, of which some have outputs at their decoder's size, and what opponents are to see."""
        losses: dict[str, Tensor] = {}
        shown, size = Shown(inputs, {}), next(iter(inputs.values())).shape[-2:]
        for name, head in self.named_heads():
            target = self._target(name, head, targets)
            if target.truth.shape[-2:] != size:
                raise ValueError(
                    f"the target {head.task.target!r} of head {name!r} has size {list(target.truth.shape[-2:])}, the "
                    f"inputs have {list(size)}; training needs them registered and of one size"
                )
            if name in coarse:
                found = head.task.coarse_losses(outputs[name], self.padded_size((size[0], size[1])), target)
            else:
                found = head.task.losses(outputs[name], target)
            if head.opponent is not None and isinstance(head.task, Map):
                images = head.task.shown(outputs[name], target.valid)
                found |= head.opponent.head_losses(inputs, images, head.task.normalise(*target))
                shown.images[name] = {branch: image.detach() for branch, image in images.items()}
            losses |= {self._named(name, key): x if head.weight == 1 else head.weight * x for key, x in found.items()}
        return losses, shown

    def _coarse(self, inputs: Inputs) -> list[str]:
        """The heads of which a step needs no outputs at the inputs' size, as their losses resize them bit by bit."""
        if len(self.objectives) or not resized_is_compiled(next(iter(inputs.values())).device):
            return []
        return [name for name, head in self.named_heads() if head.task.loses_coarse and head.opponent is None]

    def _step(
        self,
        inputs: Inputs,
        run: Pass,
        targets: Mapping[str, Target],
        sample_ids: Sequence[str] = (),
        times: Mapping[str, Tensor] | None = None,  # [N, T] each
    ) -> Step:
        """What objectives see of a step."""
        with self.layout.holding(inputs):
            features = [
                {ENSEMBLE: x} if self.backbone.single_branch else split_modalities(x, self.layout) for x in run.features
            ]
            trace = Trace() if run.trace is None else run.trace
            points = trace.points[-len(run.features) :]  # without that before the first stage
            sources = points or [split_modalities(x, self.layout) for x in trace.merging]
        ungated = None if self.backbone.purification is None else partial(self._ungated, inputs)
        reduced = None if self._subsets is None else partial(self._reduced, inputs, times)
        return Step(inputs, features, run.outputs, targets, self.tasks, ungated, sources, sample_ids, reduced)

    def _hallucination_losses(
        self, hallucination: Hallucination, inputs: Inputs, run: Pass, targets: Mapping[str, Target]
    ) -> dict[str, Tensor]:
        """Of one more run of a step's images, with some modalities left out and filled in; norms act as at test."""
        assert self._subsets is not None
        kept = [name for name in self._subsets.draw() if name in inputs]
        absent = [name for name in inputs if name not in kept]
        if not kept or not absent or run.trace is None:
            return {}
        own = set(hallucination.modules())
        with settled(module for module in self.modules() if module not in own):
            again = self.run({name: inputs[name] for name in kept}, filled=absent)
        assert again.trace is not None
        losses = {"loss_hallucination": hallucination.loss(run.trace, again.trace)}
        for name, head in self.named_heads() if hallucination.options.heads else ():
            factor = head.weight * hallucination.options.heads
            for key, x in head.task.losses(again.outputs[name], self._target(name, head, targets)).items():
                losses[f"loss_hallucination_{self._named(name, key).removeprefix('loss_')}"] = factor * x
        return losses

    def _reduced(
        self,
        inputs: Inputs,
        times: Mapping[str, Tensor] | None,  # [N, T] each
    ) -> Outputs:
        """The outputs for a proper subset of the inputs, drawn anew; none where there is no such subset.

        Norms act as at test: running statistics of all subsets together would fit none of them.
        """
        assert self._subsets is not None
        kept = [name for name in self._subsets.draw() if name in inputs]
        if not kept or len(kept) == len(inputs):
            return {}
        with settled(self.modules()):
            return self.run({name: inputs[name] for name in kept}, times=times).outputs

    def _ungated(self, inputs: Inputs) -> Outputs:
        """The outputs with the network's gates open; statistics of batch norm do not see these features."""
        with untracked(self.modules()):
            return self.run(inputs, purified=False).outputs

    def _objective_losses(self, step: Step, *, opponents: bool = False) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        for name, each in self.named_objectives():
            if opponents and each.opponent is None:
                continue
            found = each.opponent_losses(step) if opponents else each(step)
            losses |= {f"loss_{name}_{key}": each.weight * x for key, x in _scalars(name, found).items()}
        return losses

    def _discriminator_losses(self, targets: Mapping[str, Target], shown: Shown | None) -> dict[str, Tensor]:
        if not self.alternates:
            raise ValueError("this model was built without a discriminator")
        if shown is None:
            raise ValueError("mode 'discriminator' needs what mode 'generator' has shown")
        losses = {} if shown.step is None else self._objective_losses(shown.step, opponents=True)
        for name, head in self.named_heads():
            if head.opponent is not None and isinstance(head.task, Map):
                target = head.task.normalise(*self._target(name, head, targets))
                loss = head.opponent.own_loss(shown.inputs, shown.images[name], target)
                losses[self._named(name, "loss_discriminator")] = loss
        if not losses:  # the step is made all the same, as several processes must agree on it
            parameters = [p for opponent in self.opponents for p in opponent.parameters()]
            losses["loss_nothing"] = torch.stack([p.sum() for p in parameters]).sum() * 0
        return losses

    def _target(self, name: str, head: Head, targets: Mapping[str, Target]) -> Target:
        if name not in targets:
            raise ValueError(f"the batch has no {head.task.target!r}; training needs the target of head {name!r}")
        return targets[name]

    def _named(self, head: str, loss: str) -> str:
        return loss if len(self.heads) == 1 else f"loss_{head}_{loss.removeprefix('loss_')}"
