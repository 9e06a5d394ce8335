"""The one way to infer: from a batch to scores at the label's size, by the rules of a protocol.

Validation during training, `tools/test.py` and a Python user go through `Predictor`.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rgbx.generators import pad_to_multiple
from rgbx.metrics import largest_class
from rgbx.models.protocol import Protocol, Size, find_protocol
from rgbx.models.windows import slide

ENSEMBLE = "ensemble"
_LARGEST_EXPONENT = 80.0  # exp of it is finite in float32, also summed over scales and windows

Inputs = Mapping[str, Tensor]  # modality: normalised [N, c, H, W]


class Network(typing.Protocol):
    """What a predictor needs of a model; `Segmentor` is one."""

    stride: int
    training: bool
    data_preprocessor: Any

    def decoder_logits(self, inputs: Inputs) -> dict[str, Tensor]:
        """Logits [N, K, h, w] of every branch and the ensemble, for inputs whose sides the stride divides."""


def image_logits(network: Network, inputs: Inputs, *, mode: str = "bilinear") -> tuple[list[str], Tensor]:
    """Logits at the inputs' own size, whatever it is.

    Sides that the stride does not divide are padded with zeros, or by reflection where ``network.reflects``, at the
    right and bottom, and the result is cropped.

    Args:
        network: the model.
        inputs: modality to normalised [N, c, H, W].
        mode: how logits are resized from the decoder's size, "bilinear" or "bicubic".

    Returns:
        The S names of branches and ensemble, and their logits, stacked by name: [S*N, K, H, W].
    """
    height, width = _size(inputs)
    pad = pad_to_multiple if getattr(network, "reflects", False) else _pad_to_multiple
    logits = network.decoder_logits({name: pad(x, network.stride) for name, x in inputs.items()})
    stack = torch.cat(list(logits.values()))
    padded = tuple(math.ceil(side / network.stride) * network.stride for side in (height, width))
    return list(logits), _resize(stack, padded, mode)[..., :height, :width]


class Predictor:
    """Predicts with a model by the rules of a protocol.

    Args:
        model: in evaluation mode.
        protocol: one of `PROTOCOLS`, by name, or one of your own.
        dtype: of autocast, such as `torch.bfloat16`; None computes in the weights' own precision. Scores are float32.

    Raises:
        ValueError: an unknown protocol.
    """

    def __init__(self, model: Network, protocol: str | Protocol = "rgbx", *, dtype: torch.dtype | None = None) -> None:
        self.model, self.protocol, self.dtype = model, find_protocol(protocol), dtype

    def __call__(self, batch: Mapping[str, Any], *, keep_probability: bool = False) -> list[dict[str, Any]]:
        """Predicts a collated batch in its own units; see `predict`."""
        return self.predict(**self.model.data_preprocessor(batch), keep_probability=keep_probability)

    @torch.no_grad()
    def predict(
        self,
        inputs: Inputs,
        label: Tensor | None = None,  # [N, H, W]
        sample_id: Sequence[str] | None = None,
        *,
        keep_probability: bool = False,
    ) -> list[dict[str, Any]]:
        """Class ids at the label's size, or at the inputs' where there is none.

        Returns:
            Per sample a dict of `sample_id`, `label` and `prediction` {name: uint8 [H, W]}; with
            `keep_probability` also `probability` {"ensemble": float32 [K, H, W]} and `confidence`, its largest
            over the classes, {"ensemble": float32 [H, W]}.
        """
        size = _size(inputs) if label is None else (label.shape[-2], label.shape[-1])
        scores = self.scores(inputs, size)
        classes = {name: largest_class(x)[1].to(torch.uint8) for name, x in scores.items()}
        samples: list[dict[str, Any]] = [
            {
                "sample_id": str(i) if sample_id is None else sample_id[i],
                "label": None if label is None else label[i],
                "prediction": {name: x[i] for name, x in classes.items()},
            }
            for i in range(len(next(iter(inputs.values()))))
        ]
        if keep_probability:
            probabilities = self._normalised(scores[ENSEMBLE])
            for sample, probability, confidence in zip(samples, probabilities, probabilities.amax(1), strict=True):
                sample |= {"probability": {ENSEMBLE: probability}, "confidence": {ENSEMBLE: confidence}}
        return samples

    @torch.no_grad()
    def scores(self, inputs: Inputs, size: Size) -> dict[str, Tensor]:
        """What the protocol adds up, for every branch and the ensemble: the class of a pixel is its argmax.

        Args:
            inputs: modality to normalised [N, c, H, W].
            size: (H, W) of the result, the label's.

        Returns:
            Name to float32 [N, K, *size].

        Raises:
            ValueError: the model is in training mode.
        """
        if self.model.training:
            raise ValueError("the model is in training mode, in which predictions depend on the batch: call .eval()")
        names: list[str] = []
        total: Tensor | None = None
        for scale in self.protocol.scales:
            names, scores = self._scores_at(self._scaled(inputs, scale), size)
            total = scores if total is None else total.add_(scores)
        return dict(zip(names, typing.cast(Tensor, total).chunk(len(names)), strict=True))

    def probabilities(self, inputs: Inputs, size: Size) -> dict[str, Tensor]:
        """The scores as probabilities: float32 [N, K, *size], summing to 1 over the classes."""
        return {name: self._normalised(x) for name, x in self.scores(inputs, size).items()}

    def _normalised(self, scores: Tensor) -> Tensor:
        if self.protocol.sum_of == "logits":
            summands = len(self.protocol.scales) * (2 if self.protocol.flip else 1)
            return (scores / summands).softmax(1)
        return scores / scores.sum(1, keepdim=True)

    def _scaled(self, inputs: Inputs, scale: float) -> dict[str, Tensor]:
        rules = self.protocol
        integer = round if rules.size_rounding == "round" else int
        height, width = (math.ceil(integer(side * scale) / rules.multiple) * rules.multiple for side in _size(inputs))
        size = max(height, 1), max(width, 1)
        modes = {name: rules.one_channel_resize if x.shape[1] == 1 else "bilinear" for name, x in inputs.items()}
        return {name: _resize(x, size, modes[name], rules.align_corners) for name, x in inputs.items()}

    def _scores_at(self, inputs: Inputs, size: Size) -> tuple[list[str], Tensor]:
        """Scores [S*N, K, *size] of the inputs at one scale."""
        rules = self.protocol
        if rules.resized == "logits":
            return self._scores_of(inputs, size)
        sides = zip(_size(inputs), rules.window or (0, 0), strict=True)
        exceeding = [side > window for side, window in sides]
        if rules.window and rules.stride and (all(exceeding) if rules.slide_if == "both" else any(exceeding)):
            names, scores = slide(
                inputs, self._scores_of, window=rules.window, stride=rules.stride, weight=rules.window_weight
            )
        else:
            names, scores = self._scores_of(inputs)
        return names, _resize(scores, size, "bilinear", rules.align_corners)

    def _scores_of(self, inputs: Inputs, size: Size | None = None) -> tuple[list[str], Tensor]:
        """Scores of one view and, where the protocol flips, its mirror image; logits are resized to `size` if given."""
        names, logits = self._logits(inputs, size)
        views = [logits]
        if self.protocol.flip:
            views.append(self._logits(_mirrored(self.model, inputs), size, mirrored=True)[1])
        if self.protocol.flip_sum == "logits":
            views = [torch.stack(views).sum(0) if len(views) > 1 else logits]
        scores = [self._score(view) for view in views]
        return names, scores[0] if len(scores) == 1 else scores[0] + scores[1]

    def _logits(self, inputs: Inputs, size: Size | None, *, mirrored: bool = False) -> tuple[list[str], Tensor]:
        rules = self.protocol
        padded, (top, left) = _pad_centred(inputs, rules.pad_to)
        device = next(iter(inputs.values())).device.type
        with torch.autocast(device, self.dtype, enabled=self.dtype is not None):
            names, logits = image_logits(self.model, padded, mode=rules.logits_to_label)
        height, width = _size(inputs)
        logits = logits[..., top : top + height, left : left + width].float()
        logits = logits.flip(-1) if mirrored else logits
        return names, logits if size is None else _resize(logits, size, rules.logits_to_label, rules.align_corners)

    def _score(self, logits: Tensor) -> Tensor:
        if self.protocol.sum_of == "softmax":
            return logits.softmax(1)
        return logits.clamp(max=_LARGEST_EXPONENT).exp() if self.protocol.sum_of == "exp" else logits


def _mirrored(network: Network, inputs: Inputs) -> Inputs:
    mirror = getattr(getattr(network, "data_preprocessor", None), "mirror", None)
    return mirror(inputs) if mirror else {name: x.flip(-1) for name, x in inputs.items()}


def _size(inputs: Inputs) -> Size:
    height, width = next(iter(inputs.values())).shape[-2:]
    return height, width


def _resize(x: Tensor, size: Sequence[int], mode: str, align_corners: bool = False) -> Tensor:
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode=mode, align_corners=None if mode == "nearest" else align_corners)


def _pad_to_multiple(x: Tensor, stride: int) -> Tensor:
    bottom, right = (-side % stride for side in x.shape[-2:])
    return F.pad(x, (0, right, 0, bottom)) if bottom or right else x


def _pad_centred(inputs: Inputs, size: Size | None) -> tuple[Inputs, tuple[int, int]]:
    """Inputs of at least `size`, with zeros on both sides, and where (top, left) the image lies in them."""
    if size is None:
        return inputs, (0, 0)
    (height, width), (rows, columns) = _size(inputs), size
    vertical, horizontal = max(rows - height, 0), max(columns - width, 0)
    if not vertical and not horizontal:
        return inputs, (0, 0)
    top, left = vertical // 2, horizontal // 2
    margins = (left, horizontal - left, top, vertical - top)
    return {name: F.pad(x, margins) for name, x in inputs.items()}, (top, left)
