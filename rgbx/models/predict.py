"""The one way to infer: from a batch to predictions at the target's size, by the rules of a protocol.

Validation during training, `rgbx test`, `rgbx translate` and a Python user go through `Predictor`.
"""

from __future__ import annotations

import math
import typing
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgbx._protocol import PROTOCOLS, Protocol, Size
from rgbx._text import one_of
from rgbx._types import Batch
from rgbx.layers import CLIP, StackLayout
from rgbx.models.windows import slide
from rgbx.tasks import ENSEMBLE, Prediction, Target, Task
from rgbx.tasks.base import Frame, NotFiniteError

_CV_CHANNELS = 64  # of an array that OpenCV resizes: some versions take no more than 128

Inputs = Mapping[str, Tensor]  # modality: normalised [N, c, H, W]
Outputs = dict[str, dict[str, Tensor]]  # head: branch: [N, C, h, w]
Sizes = Mapping[str, Size]  # head: (H, W) of its target
MASKS = ""  # stands for a head, of which none is called so, where outputs hold how far each modality is believed


class Run(typing.Protocol):
    """What a predictor needs of a run of the network."""

    @property
    def outputs(self) -> Outputs: ...

    @property
    def beliefs(self) -> dict[str, Tensor]:
        """How far each modality is believed, [N, 1, H, W] in 0..1; none of networks without gates."""


class Spoil(typing.Protocol):
    """Damage of normalised inputs, to see what a model makes of it."""

    def __call__(self, inputs: Inputs, sample_ids: Sequence[str]) -> Inputs:
        """The inputs of these samples, damaged, with the same names and shapes."""


class Network(typing.Protocol):
    """What a predictor needs of a model; `MultimodalModel` is one."""

    training: bool
    data_preprocessor: Any
    modalities: tuple[str, ...]
    layout: StackLayout

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The task of each head."""

    def run(
        self,
        inputs: Inputs,
        *,
        resize: str = "bilinear",
        heads: Collection[str] | None = None,
        names: Collection[str] | None = None,
        coarse: Collection[str] = (),
        beliefs: bool = False,
    ) -> Run:
        """What branches and the ensemble of heads, None for all, put out at the inputs' size, or the `coarse` heads'
        at their decoder's."""

    def padded_size(self, size: Size) -> Size:
        """(H, W) for which such outputs of a decoder stand, where inputs have this size."""

    def modules(self) -> Iterator[nn.Module]: ...

    def hallucinated(self, present: Collection[str]) -> tuple[str, ...]:
        """Names of the modalities whose branches are filled in when these are present."""


class Predictor:
    """Predicts with a model by the rules of a protocol.

    Args:
        model: in evaluation mode.
        protocol: one of `PROTOCOLS`, by name, or one of your own.
        dtype: of autocast, such as `torch.bfloat16`; None computes in the weights' own precision. Scores are float32.
        modalities: those that the model sees, of those that a batch has; None for all.
        heads: those that predict; None for all that the protocol is for.
        names: the branches that are wanted, by their modality, and "ensemble"; None for all. What is not wanted is not
            resized, scored or finished. Names of branches that a head does not have, as it merges them, are left out.
        spoil: what happens to the inputs when they are normalised, before they are scaled or padded; where a protocol
            resizes maps of 8 bits before they are normalised, the damaged ones are resized in their place.

    Raises:
        ValueError: an unknown protocol, modality, head or name, or a protocol that is not for one of the heads.
    """

    def __init__(
        self,
        model: Network,
        protocol: str | Protocol = "rgbx",
        *,
        dtype: torch.dtype | None = None,
        modalities: Sequence[str] | None = None,
        heads: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        spoil: Spoil | None = None,
    ) -> None:
        if not isinstance(protocol, Protocol) and protocol not in PROTOCOLS:
            raise ValueError(f"protocol {protocol!r} is not known; expected one of {one_of(PROTOCOLS, protocol)}")
        self.protocol = protocol if isinstance(protocol, Protocol) else PROTOCOLS[protocol]
        self.model, self.dtype, self.spoil = model, dtype, spoil
        if dtype not in (None, torch.float32, torch.bfloat16, torch.float16):
            raise ValueError(f"dtype is {dtype!r}; expected torch.bfloat16, torch.float16 or None, the weights' own")
        if isinstance(modalities, str):
            raise ValueError(
                f"modalities is {modalities!r}; expected a list of some of {list(model.modalities)}, or None"
            )
        self.modalities = tuple(model.modalities if modalities is None else modalities)
        if unknown := [name for name in self.modalities if name not in model.modalities]:
            raise ValueError(f"modalities {unknown} given; this model knows {one_of(model.modalities, unknown[0])}")
        known = model.tasks
        if isinstance(heads, str) or (heads is not None and not heads):
            raise ValueError(f"heads is {heads!r}; expected a list of some of {list(known)}, or None for all")
        if unknown := [name for name in heads or () if name not in known]:
            raise ValueError(f"heads {unknown} given; this model has {list(known)}")
        allowed = self.protocol.tasks
        fitting = [name for name, task in known.items() if allowed is None or task.kind in allowed]
        wanted = list(known) if heads is None and not fitting else fitting if heads is None else list(heads)
        for name in wanted:
            if name not in fitting:
                raise ValueError(
                    f"protocol {self.protocol.name!r} is for {' and '.join(allowed or ())}, but head {name!r} is of "
                    f"task {known[name].kind!r}"
                )
        self.tasks = {name: known[name] for name in wanted}
        self.names = None if names is None else self._checked(names)

    def _checked(self, names: Sequence[str]) -> tuple[str, ...]:
        there = (ENSEMBLE, *self.modalities, *self.model.hallucinated(self.modalities))
        given = () if isinstance(names, str) else tuple(names)
        if not given:
            raise ValueError(f"names is {names!r}; expected a list of some of {list(there)}, or None for all")
        if unknown := [name for name in given if name not in there]:
            raise ValueError(f"names {unknown} given; the predictions are {one_of(there, unknown[0])}")
        return given

    def __call__(
        self, batch: Batch, *, keep_probability: bool = False, keep_confidence: bool = False
    ) -> list[dict[str, Any]]:
        """Predicts a collated batch in its own units; see `predict`."""
        found = self.model.data_preprocessor(batch)
        stored = _of_8_bits(batch, self.modalities)
        return self.predict(**found, stored=stored, keep_probability=keep_probability, keep_confidence=keep_confidence)

    @torch.no_grad()
    def totals(self, batch: Batch) -> Outputs:
        """What the protocol adds up for a collated batch in its own units, at its size, see `scores`."""
        found = self.model.data_preprocessor(batch)
        inputs: Inputs = {name: x for name, x in found["inputs"].items() if name in self.modalities}
        inputs, stored = self._spoiled(inputs, batch["sample_id"], _of_8_bits(batch, self.modalities))
        with self._dropout(batch["sample_id"]), self._at(found.get("times"), inputs):
            return self.scores(inputs, _size(next(iter(inputs.values()))), stored)

    @torch.no_grad()
    def predict(
        self,
        inputs: Inputs,
        targets: Mapping[str, Target] | None = None,
        sample_id: Sequence[str] | None = None,
        *,
        times: Mapping[str, Tensor] | None = None,  # [N, T] each
        stored: Inputs | None = None,
        keep_probability: bool = False,
        keep_confidence: bool = False,
    ) -> list[dict[str, Any]]:
        """Predictions at the size of each head's target, or at the inputs' where there is none.

        Args:
            inputs: modality to normalised [N, c, H, W], or clips [N, T, c, H, W].
            targets: of heads, by name.
            sample_id: of each sample.
            times: of the frames of clips, seconds after the label.
            stored: the inputs of 8 bits before they were normalised, see `scores`.
            keep_probability: whether predictions have a `probability`, where the task has it.
            keep_confidence: whether they have a `confidence`; where ids are all else that is wanted, and the protocol
                allows it, no probability is held at the target's size (see `Task.finishes_coarse`).

        Returns:
            Per sample a dict of ``sample_id`` and ``heads`` {head: `Prediction`}; of a model of one head also
            the fields of that prediction, ``prediction`` {branch or "ensemble": Tensor}, ``target`` and so on; of a
            network with gates ``masks`` {modality: float32 [H, W]} at the inputs' size: how far each is believed, 0 to
            1, the mean over the protocol's views; below 1/2 it is masked, where there is one view.

        Raises:
            ValueError: none of the modalities, maps that are not normalised or of different sizes, or a network that
                answers NaN or infinity.
        """
        inputs = {name: x for name, x in inputs.items() if name in self.modalities}
        first = next(iter(inputs.values()), None)
        if first is None:
            raise ValueError(f"the batch has none of the modalities {list(self.modalities)}")
        ids = [str(i) for i in range(len(first))] if sample_id is None else list(sample_id)
        inputs, stored = self._spoiled(inputs, ids, stored)
        targets = {name: target for name, target in (targets or {}).items() if name in self.tasks}
        sizes: dict[str, Size | None] = {
            name: _size(targets[name].truth if name in targets else first) for name in self.tasks
        }
        for name, task in self.tasks.items():
            if not keep_probability and sizes[name] == _size(first) and task.finishes_coarse(self.protocol):
                sizes[name] = None
        frame = Frame(self.model.padded_size(_size(first)), _size(first))
        with self._dropout(ids), self._at(times, inputs):
            totals = self._totals(inputs, {**sizes, MASKS: _size(first)}, stored)
        masks = {name: _mean_belief(x) for name, x in totals.pop(MASKS, {}).items()}
        found = {}
        for name, task in self.tasks.items():
            if not totals[name]:
                raise ValueError(
                    f"head {name!r} has no prediction of {list(self.names or ())}: it merges its branches, or the "
                    f"batch has {list(inputs)} alone"
                )
            target = targets.get(name)
            try:
                if sizes[name] is None:
                    found[name] = task.finish_coarse(totals[name], frame, target, keep_confidence=keep_confidence)
                else:
                    kept = keep_probability or keep_confidence
                    found[name] = task.finish(totals[name], target, self.protocol, keep_probability=kept)
                _check_finite(found[name])
            except NotFiniteError as error:
                listed = ", ".join(repr(ids[i]) for i in error.samples)
                raise ValueError(
                    f"head {name!r}: the network answers NaN or infinity for sample {listed}, which is no prediction: "
                    "training may have diverged, or dtype be too narrow"
                ) from None
        return [
            _sample(
                each,
                {name: items[i] for name, items in found.items()},
                {name: x[i] for name, x in masks.items()},
            )
            for i, each in enumerate(ids)
        ]

    @torch.no_grad()
    def scores(self, inputs: Inputs, sizes: Sizes | Size, stored: Inputs | None = None) -> Outputs:
        """What the protocol adds up, for every branch and the ensemble of every head.

        Args:
            inputs: modality to normalised [N, c, H, W].
            sizes: (H, W) of each head's result, its target's, and of `MASKS`; or of all.
            stored: ``NAME`` uint8 [N, c, H, W] of inputs of 8 bits, and ``NAME_valid`` bool [N, 1, H, W] if they have
                it: a protocol whose resizer is "opencv" resizes them in place of the normalised.

        Returns:
            Head to name to float32 [N, C, H, W]; of a network with gates also `MASKS` to modality to
            [N, 2, H, W], the sum of its beliefs and of how often there was one.

        Raises:
            ValueError: the model is in training mode, or maps that `check_inputs` refuses.
        """
        return self._totals(
            inputs, sizes if isinstance(sizes, Mapping) else dict.fromkeys((*self.tasks, MASKS), sizes), stored
        )

    def _totals(self, inputs: Inputs, sizes: Mapping[str, Size | None], stored: Inputs | None) -> Outputs:
        """As `scores`; outputs of heads without a size stay at their decoder's, see `Task.finishes_coarse`."""
        check_inputs(inputs)
        if self.model.training:
            raise ValueError("the model is in training mode, in which predictions depend on the batch: call .eval()")
        total: Outputs = {}
        for scale in self.protocol.scales:
            total = _added(total, self._scores_at(self._scaled(inputs, scale, stored or {}), sizes))
        return total

    def _scaled(self, inputs: Inputs, scale: float, stored: Inputs) -> Inputs:
        rules = self.protocol
        modes = {name: rules.one_channel_resize if x.shape[-3] == 1 else "bilinear" for name, x in inputs.items()}
        if rules.resizer == "opencv":
            if scale == 1:
                return inputs
            found = {n: _resize_by_opencv(x, modes[n], scale=scale) for n, x in inputs.items() if n not in stored}
            whole = {key: _resize_by_opencv(x, modes.get(key, "nearest"), scale=scale) for key, x in stored.items()}
            found.update(self.model.data_preprocessor(whole)["inputs"] if whole else {})
            return {name: found[name] for name in inputs}
        integer = round if rules.size_rounding == "round" else int
        sides = _size(next(iter(inputs.values())))
        height, width = (math.ceil(integer(side * scale) / rules.multiple) * rules.multiple for side in sides)
        size = max(height, 1), max(width, 1)
        return {name: _resize(x, size, modes[name], rules.align_corners) for name, x in inputs.items()}

    def _scores_at(self, inputs: Inputs, sizes: Mapping[str, Size | None]) -> Outputs:
        """Scores [N, C, *size] of the inputs at one scale."""
        rules = self.protocol
        if rules.resized == "logits":
            return self._scores_of(inputs, sizes)
        whole = {head: size for head, size in sizes.items() if size is not None}
        sides = zip(_size(next(iter(inputs.values()))), rules.window or (0, 0), strict=True)
        exceeding = [side > window for side, window in sides]
        if rules.window and rules.stride and (all(exceeding) if rules.slide_if == "both" else any(exceeding)):
            scores = slide(
                inputs,
                self._scores_of,
                window=rules.window,
                stride=rules.stride,
                weight=rules.window_weight,
                swapped=rules.swapped,
            )
        else:
            scores = self._scores_of(inputs)
        if rules.resizer == "opencv":
            return _each(scores, lambda x, head: _resize_by_opencv(x, "bilinear", size=whole[head]))
        return _each(scores, lambda x, head: _resize(x, whole[head], "bilinear", rules.align_corners))

    def _scores_of(self, inputs: Inputs, sizes: Mapping[str, Size | None] | None = None) -> Outputs:
        """Scores of one view and, where the protocol flips, its mirror image; resized first if `sizes` are given."""
        padded, (top, left) = _pad_centred(inputs, self.protocol.pad_to)
        height, width = _size(next(iter(inputs.values())))
        place = slice(top, top + height), slice(left, left + width)
        views = [self._outputs(padded, place, sizes)]
        if self.protocol.flip:
            views.append(self._outputs(self.model.data_preprocessor.mirror(padded), place, sizes, mirrored=True))
        if self.protocol.flip_sum == "logits" and len(views) > 1:
            views = [_added(*views)]
        scores = [_each(view, self._score) for view in views]
        return scores[0] if len(scores) == 1 else _added(*scores)

    def _score(
        self,
        x: Tensor,  # [N, C, H, W]
        head: str,
    ) -> Tensor:
        return x if head == MASKS else self.tasks[head].score(x, self.protocol)

    def _outputs(
        self,
        padded: Inputs,
        place: tuple[slice, slice],
        sizes: Mapping[str, Size | None] | None,
        *,
        mirrored: bool = False,
    ) -> Outputs:
        rules, first = self.protocol, next(iter(padded.values()))
        coarse = [name for name, size in (sizes or {}).items() if size is None]
        asked: dict[str, Any] = {"heads": self.tasks, "names": self.names, "coarse": coarse}
        with torch.autocast(first.device.type, self.dtype, enabled=self.dtype is not None):
            run = self.model.run(padded, resize=rules.logits_to_label, beliefs=True, **asked)

        def finished(
            x: Tensor,  # [N, C, rows, columns], padded
            head: str,
        ) -> Tensor:
            if head in coarse:
                return x.float()
            turned = x if not mirrored else x.flip(-1) if head == MASKS else self.tasks[head].mirror(x)
            x, size = turned[..., place[0], place[1]].float(), None if sizes is None else sizes[head]
            return x if size is None else _resize(x, size, rules.logits_to_label, rules.align_corners)

        masks = {name: torch.cat([x, torch.ones_like(x)], dim=1) for name, x in run.beliefs.items()}
        return _each({**run.outputs, **({MASKS: masks} if masks else {})}, finished)

    def _spoiled(self, inputs: Inputs, ids: Sequence[str], stored: Inputs | None) -> tuple[Inputs, Inputs | None]:
        """Damaged inputs, for which what files had stored does not stand."""
        return (inputs, stored) if self.spoil is None else (self.spoil(inputs, ids), None)

    def _at(self, times: Mapping[str, Tensor] | None, inputs: Inputs) -> AbstractContextManager[None]:
        """A context in which runs of the network take inputs for clips of frames at these times."""
        return nullcontext() if times is None else self.model.layout.holding(inputs, times=times)

    @contextmanager
    def _dropout(self, sample_ids: Sequence[str]) -> Iterator[None]:
        """Dropout where the protocol has it, the same for the same samples, leaving the global generators alone."""
        if not self.protocol.dropout:
            yield
            return
        layers = [module for module in self.model.modules() if isinstance(module, nn.modules.dropout._DropoutNd)]
        with torch.random.fork_rng():
            torch.manual_seed(zlib.crc32("\n".join(sample_ids).encode()))
            try:
                for layer in layers:
                    layer.train()
                yield
            finally:
                for layer in layers:
                    layer.eval()


def _sample(
    sample_id: str,
    heads: dict[str, Prediction],
    masks: dict[str, Tensor],  # [H, W] each
) -> dict[str, Any]:
    own = next(iter(heads.values()))._asdict() if len(heads) == 1 else {}
    return {"sample_id": sample_id, "heads": heads, **own, **({"masks": masks} if masks else {})}


def _mean_belief(
    x: Tensor,  # [N, 2, H, W], see `Predictor.scores`
) -> Tensor:
    """[N, H, W], 1 where no window of a protocol lies."""
    total, count = x.unbind(1)
    return torch.where(count > 0, total / count.clamp(min=torch.finfo(count.dtype).tiny), 1).clamp(0, 1)


def _check_finite(found: Sequence[Prediction]) -> None:
    """Refuses maps that are not finite; the device is asked once."""
    maps = [[x for x in item.prediction.values() if x.is_floating_point()] for item in found]
    finite = [torch.stack([x.isfinite().all() for x in each]).all() for each in maps if each]
    if finite and not (good := torch.stack(finite)).all():
        raise NotFiniteError([i for i, each in enumerate(good.tolist()) if not each])


def check_inputs(inputs: Inputs) -> None:
    """Refuses maps that a network cannot take as one batch, before anything is resized, padded or repeated.

    Raises:
        ValueError: a map that is not [N, c, H, W] or [N, T, c, H, W], of a floating dtype, or of another batch or size
            than the first.
    """
    first = next(iter(inputs))
    for name, x in inputs.items():
        dtype = str(x.dtype).removeprefix("torch.")
        if x.ndim not in (4, 5) or not x.is_floating_point():
            raise ValueError(
                f"input {name} is {dtype} {list(x.shape)}; expected normalised values, floating [N, c, H, W] or clips "
                "[N, T, c, H, W], as data_preprocessor gives them"
            )
        if x.shape[0] != inputs[first].shape[0] or x.shape[-2:] != inputs[first].shape[-2:]:
            raise ValueError(
                f"input {name} has batch and size {[x.shape[0], *x.shape[-2:]]}, {first} has "
                f"{[inputs[first].shape[0], *inputs[first].shape[-2:]]}; resize them to one size first"
            )


def _each(outputs: Outputs, function: Callable[[Tensor, str], Tensor]) -> Outputs:
    """A function of every output [N, C, H, W] and its head's name."""
    return {head: {name: function(x, head) for name, x in found.items()} for head, found in outputs.items()}


def _added(a: Outputs, b: Outputs) -> Outputs:
    return {head: {name: a[head][name] + x for name, x in found.items()} for head, found in b.items()} if a else b


def _size(
    x: Tensor,  # [..., H, W]
) -> Size:
    return x.shape[-2], x.shape[-1]


def _resize(
    x: Tensor,  # [N, C, H, W] or [N, T, C, H, W]
    size: Size,
    mode: str,
    align_corners: bool = False,
) -> Tensor:
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    if x.ndim == CLIP:
        return _resize(x.flatten(0, 1), size, mode, align_corners).unflatten(0, x.shape[:2])
    return F.interpolate(x, size=tuple(size), mode=mode, align_corners=None if mode == "nearest" else align_corners)


def _of_8_bits(batch: Batch, modalities: Sequence[str]) -> dict[str, Tensor]:
    """The maps uint8 [N, c, H, W] of a batch, and their masks; frames of clips are resized normalised."""
    maps = {name: x for name in modalities if isinstance(x := batch.get(name), Tensor) and x.ndim == 4}
    names = [name for name, x in maps.items() if x.dtype == torch.uint8]
    return {key: batch[key] for name in names for key in (name, f"{name}_valid") if key in batch}


def _resize_by_opencv(
    x: Tensor,  # [N, C, H, W] or [N, T, C, H, W], floating, uint8 or bool
    mode: str,
    *,
    scale: float = 0.0,
    size: Size | None = None,
) -> Tensor:
    """To a size; or by a scale, where sides are rounded, half to even, and steps between pixels are 1/scale."""
    if x.ndim == CLIP:
        return _resize_by_opencv(x.flatten(0, 1), mode, scale=scale, size=size).unflatten(0, x.shape[:2])
    how = cv2.INTER_NEAREST if mode == "nearest" else cv2.INTER_LINEAR
    sides = None if size is None else (size[1], size[0])

    def resized(
        image: Tensor,  # [c, H, W]
    ) -> Tensor:
        array = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
        array = cv2.resize(array, sides, fx=scale, fy=scale, interpolation=how)
        return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1)

    images = x.byte() if x.dtype == torch.bool else x
    found = [torch.cat([resized(part) for part in image.split(_CV_CHANNELS)]) for image in images]
    return torch.stack(found).contiguous().to(x)


def _pad_centred(inputs: Inputs, size: Size | None) -> tuple[Inputs, tuple[int, int]]:
    """Inputs of at least `size`, with zeros on both sides, and where (top, left) the image lies in them."""
    (height, width), (rows, columns) = _size(next(iter(inputs.values()))), size or (0, 0)
    vertical, horizontal = max(rows - height, 0), max(columns - width, 0)
    if not vertical and not horizontal:
        return inputs, (0, 0)
    top, left = vertical // 2, horizontal // 2
    margins = (left, horizontal - left, top, vertical - top)
    return {name: F.pad(x, margins) for name, x in inputs.items()}, (top, left)
