"""Unimodal purification: what of a modality is not to be believed is masked before the modalities meet.

Source: MIM, multimodal information modulation (IEEE TMM 2023), whose masks are hard-concrete gates (`hard_concrete`) on
the steps of a sequence: `SequencePurification`. On the maps of a dense network, `StageGates`, all is ours but the gate
and the literal loss: a mask for every location, logits that see the other modalities, a deterministic test, and the
supervision by damage that was made and is known.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgbx._text import check_options, one_of
from rgbx._types import Options
from rgbx.layers.hard_concrete import drawn, hard_concrete, margin, openness
from rgbx.layers.stack import Gated, ModalityLayer, StackLayout, mean_of_others, split_modalities
from rgbx.layers.stages import check_stages

CONTEXTS = ("cross", "own")
WEIGHTS = {"synthetic": 1.0, "literal": 0.5}  # of the loss, by the supervision
NOISES = {"synthetic": "never", "literal": "training"}  # when gates draw noise, by the supervision
WHEN, MOST_HIDDEN = ("never", "training", "always"), 2**12
MISSED = 1.5  # what a damaged pixel that is believed costs, where a clean one that is not costs 1
INPUTS = 0  # the stage number of a gate on the inputs


@dataclass(frozen=True, kw_only=True)
class Purification:
    """Gates on the inputs of a backbone's stages.

    Attributes:
        context: ``"cross"``: the logits of a modality see its own features and those of all others present, of which
            there may be none; ``"own"``: its own alone, as in the paper.
        stages: stages whose inputs are gated, 1 being the first at stride 4; None for all.
        supervision: ``"synthetic"``: cross-entropy of the logits against where a batch says that a modality was
            damaged; ``"literal"``: the penalty of the paper beside the losses of the heads, by which gates close
            stages of a modality as a whole; see `StageGates.losses`.
        weight: of that loss; None for 1.0 of the cross-entropy and 0.5 of the penalty.
        hidden: channels inside a gate.
        noise: when gates draw it: ``"never"``; in ``"training"``, so that predictions are deterministic; ``"always"``,
            as the authors do. It closes 6 % of the locations of open gates. None for never where logits are told what
            was damaged, and for training where they have to find it by the penalty of the paper.

    Raises:
        ValueError: a value of another kind, or an unknown name.
    """

    context: str = "cross"
    stages: tuple[int, ...] | None = None
    supervision: str = "synthetic"
    weight: float | None = None
    hidden: int = 16
    noise: str | None = None

    def __post_init__(self) -> None:
        for name, known in (("context", CONTEXTS), ("supervision", WEIGHTS)):
            if (found := getattr(self, name)) not in tuple(known):
                raise ValueError(f"purification field {name} is {found!r}; expected one of {one_of(known, found)}")
        object.__setattr__(self, "stages", check_stages(self.stages, "purification"))
        weight = WEIGHTS[self.supervision] if self.weight is None else self.weight
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= sys.float_info.max:
            raise ValueError(f"purification field weight is {weight!r}; expected a number of at least 0, or None")
        object.__setattr__(self, "weight", float(weight))
        if type(self.hidden) is not int or not 1 <= self.hidden <= MOST_HIDDEN:
            raise ValueError(f"purification field hidden is {self.hidden!r}; expected 1 to {MOST_HIDDEN}")
        noise = NOISES[self.supervision] if self.noise is None else self.noise
        if noise not in WHEN:
            raise ValueError(f"purification field noise is {noise!r}; expected one of {one_of(WHEN, noise)}")
        object.__setattr__(self, "noise", noise)


def build_purification(given: str | Options | Purification | None) -> Purification | None:
    """Reads purification from plain values.

    Args:
        given: ``"cross"`` or ``"own"``, the context; a dict of the fields of `Purification`; or None for none.

    Raises:
        ValueError: an unknown name or field.
    """
    if given is None or isinstance(given, Purification):
        return given
    if isinstance(given, str):
        return Purification(context=given)
    if not isinstance(given, Mapping):
        raise ValueError(f"purification is {given!r}; expected None, a dict of fields, or one of {', '.join(CONTEXTS)}")
    check_options(given, list(Purification.__dataclass_fields__), "purification")
    return Purification(**given)


class StageInput(NamedTuple):
    """The map that a gate acts on.

    Attributes:
        channels: C.
        stride: what its sides are multiplied by to be those of the network's inputs.
    """

    channels: int
    stride: int


class SpatialGate(nn.Module):
    """Masks the locations of a stack of maps, each modality's by logits of its own layers.

    The features of the modality, and the mean over the others present of theirs, pass a 1x1 convolution each and are
    added; ReLU, a 3x3 convolution, ReLU and a 1x1 convolution, which starts at 0, give the logits. So a gate starts
    open: at test such a network is the one without.

    Args:
        source: of what it acts on; it is given [M*N, C, h, w] in any case.
        stage: its number, see `Gated`.
        layout: the modalities in the stack.
        options: see `Purification`.
    """

    def __init__(self, source: StageInput, stage: int, layout: StackLayout, options: Purification) -> None:
        super().__init__()
        self.layout, self.source, self.stage, self.noise = layout, source, stage, options.noise
        hidden, channels = options.hidden, source.channels
        last = nn.Conv2d(hidden, 1, 1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.own = ModalityLayer(nn.Conv2d(channels, hidden, 1), layout)
        cross = options.context == "cross" and len(layout.modalities) > 1
        self.others = ModalityLayer(nn.Conv2d(channels, hidden, 1, bias=False), layout) if cross else None
        middle = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.decide = ModalityLayer(nn.Sequential(nn.ReLU(), middle, nn.ReLU(), last), layout)

    def forward(
        self,
        x: Tensor,  # [M*N, C, h, w]
    ) -> Tensor:
        """The maps where their masks are 1 and 0 elsewhere, [M*N, C, h, w]."""
        if not self.layout.purified:
            return x
        logits = self.logits(x)
        self.layout.leave_gate(Gated(self.stage, self.layout.present, logits))
        draws = self.noise == "always" or (self.noise == "training" and self.training)
        noise = drawn(logits) if draws else None
        return x * hard_concrete(logits, noise).to(x.dtype)

    def logits(
        self,
        x: Tensor,  # [M*N, C, h, w]
    ) -> Tensor:
        """Logits [M*N, 1, h, w]."""
        hidden = self.own(x)
        if self.others is not None and self.layout.count > 1:
            hidden = hidden + torch.cat(mean_of_others(list(split_modalities(self.others(x), self.layout).values())))
        return self.decide(hidden)


class StageGates(nn.Module):
    """The gates of a backbone, what they add to the training loss, and what they say of an image.

    Args:
        inputs: what each gated stage reads.
        layout: the modalities in the stack.
        options: see `Purification`.
    """

    def __init__(self, inputs: Mapping[int, StageInput], layout: StackLayout, options: Purification) -> None:
        super().__init__()
        self.options = options
        self.gates = nn.ModuleDict(
            {f"{stage}": SpatialGate(found, stage, layout, options) for stage, found in inputs.items()}
        )

    def of_stages(self) -> Iterator[SpatialGate]:
        """The gates, of shallow stages first."""
        yield from self.gates.values()  # type: ignore[misc]  # a ModuleDict forgets what it holds

    def gate(self, stage: int) -> SpatialGate:
        """The gate of a stage."""
        found = self.gates[f"{stage}"]
        assert isinstance(found, SpatialGate)
        return found

    def losses(
        self,
        gates: Sequence[Gated],
        corrupted: Mapping[str, Tensor] | None = None,  # [N, 1, H, W]
    ) -> dict[str, Tensor]:
        """The weighted loss of the gates of a call, ``{"loss_purification": scalar}``; nothing without gates.

        Literal: the mean of σ(a − β ln(−γ / ζ)), a = logit + 3, over locations and stages. On rendered rooms it closed
        whole stages of both modalities, damaged or not, and cost 0.00 to 0.14 mIoU; it is no detector.

        Synthetic: the mean cross-entropy of σ(a − β ln 2), which is 1/2 where the mask closes, against the share of a
        location's pixels that were not damaged. What is damaged counts 1.5 times, so that a mask closes where damage
        has a probability of 40%: a location that is masked by mistake is told by the other modalities.

        Args:
            gates: of the call, as `StackLayout.gates` has them.
            corrupted: where modalities were damaged, bool or 0..1, at the size of the images, which padding at right
                and bottom may exceed: it does not count. A modality without an entry was not damaged; the modalities of
                entries may be absent. Only synthetic supervision reads it.

        Raises:
            ValueError: synthetic supervision of a batch that says nowhere what was damaged.
        """
        if not gates:
            return {}
        if self.options.supervision == "literal":
            terms = [openness(gate.logits).mean() for gate in gates]
        else:
            terms = self._cross_entropies(gates, corrupted or {})
        assert self.options.weight is not None
        return {"loss_purification": self.options.weight * torch.stack(terms).mean()}

    def _cross_entropies(
        self,
        gates: Sequence[Gated],
        corrupted: Mapping[str, Tensor],  # [N, 1, H, W]
    ) -> list[Tensor]:
        names = gates[0].names
        if not corrupted:
            wanted = " or ".join(f"{name}_corrupted" for name in names)
            raise ValueError(
                f"purification is supervised by damage, but the batch has no {wanted}: add the transform DamageBlocks "
                "to the training pipeline, or set supervision='literal'"
            )
        none = torch.zeros_like(next(iter(corrupted.values())))
        truth = 1 - torch.cat([corrupted.get(name, none).float() for name in names])
        terms = []
        for gate in gates:
            height, width = gate.logits.shape[-2:]
            share, counted = _pooled(truth, (height, width), self.gate(gate.stage).source.stride)
            distance = margin(gate.logits)
            loss = share * F.softplus(-distance) + MISSED * (1 - share) * F.softplus(distance)
            terms.append((loss * counted).sum() / (counted.sum() * len(truth)))
        return terms

    def beliefs(
        self,
        gates: Sequence[Gated],
        size: tuple[int, int],
    ) -> dict[str, Tensor]:
        """How far each modality present is believed, float32 [N, 1, H, W] in 0..1; nothing without gates.

        σ(a − β ln 2) of the least believing stage: below 1/2 a stage masks the location.

        Args:
            gates: of the call, as `StackLayout.gates` has them.
            size: H and W of the images, without padding.
        """
        if not gates:
            return {}
        names, maps = gates[0].names, []
        for gate in gates:
            stride = self.gate(gate.stage).source.stride
            full = [max(side * stride, wanted) for side, wanted in zip(gate.logits.shape[-2:], size, strict=True)]
            maps.append(F.interpolate(margin(gate.logits), size=full, mode="bilinear", align_corners=False))
        cropped = torch.stack([x[..., : size[0], : size[1]] for x in maps])
        least = cropped.amin(0).sigmoid()
        return dict(zip(names, least.split([least.shape[0] // len(names)] * len(names)), strict=True))


def _pooled(
    x: Tensor,  # [N, 1, H, W]
    size: tuple[int, int],
    stride: int,
) -> tuple[Tensor, Tensor]:
    """The mean of x over the pixels of each location, [N, 1, h, w], and which share of them is image, [1, 1, h, w]."""
    height, width = (side * stride for side in size)
    x = x[..., :height, :width]
    missing = (0, width - x.shape[-1], 0, height - x.shape[-2])
    inside = F.avg_pool2d(F.pad(torch.ones_like(x[:1]), missing), stride)
    return F.avg_pool2d(F.pad(x, missing), stride) / inside.clamp(min=1e-6), inside


class Purified(NamedTuple):
    """A purified sequence.

    Attributes:
        pooled: the mean over the steps, [N, d].
        logits: of the gate, without the 3, [N, T].
        mask: 0 or 1, [N, T].
    """

    pooled: Tensor
    logits: Tensor
    mask: Tensor

    def penalty(self) -> Tensor:
        """The sparsity penalty, a scalar to be weighted and added to the loss."""
        return openness(self.logits).mean()


class SequencePurification(nn.Module):
    """The purification of the paper: masks the steps of a sequence of T tokens, all seen in both directions.

    A bidirectional LSTM and two linear layers give a number per step, two more layers make of these T numbers the T
    logits of the gate, and the result is the mean over T of act(x · mask).

    Args:
        length: T, at least 5.
        width: d, even.
        activation: act, which the authors have not published; by default tanh.
        test_noise: draws noise at test too, as the authors do.

    Raises:
        ValueError: a length or width for which it has no layers.

    Source: MIM (IEEE TMM 2023) and its released code, of which a pooling layer that is never called is left out.
    """

    def __init__(
        self, length: int, width: int, *, activation: nn.Module | None = None, test_noise: bool = False
    ) -> None:
        super().__init__()
        if length < 5 or width < 2 or width % 2:
            raise ValueError(
                f"sequence purification has length {length} and width {width}; expected a length of at least 5 and an "
                "even width"
            )
        half, few = width // 2, length // 5
        self.lstm = nn.LSTM(width, half, bidirectional=True)
        self.score = nn.Sequential(nn.Linear(width, half), nn.ReLU(), nn.Linear(half, 1), nn.ReLU())
        self.decide = nn.Sequential(nn.Linear(length, few), nn.ReLU(), nn.Linear(few, length))
        self.activation = nn.Tanh() if activation is None else activation
        self.test_noise = test_noise

    def forward(
        self,
        x: Tensor,  # [T, N, d]
        noise: Tensor | None = None,  # [N, T]
    ) -> Purified:
        """Masks and pools a sequence.

        Args:
            x: tokens.
            noise: u of the gate in 0..1; None draws it in training and takes 1/2 at test.
        """
        scores = self.score(self.lstm(x)[0])[..., 0].T  # [N, T]
        logits = self.decide(scores)
        if noise is None and (self.training or self.test_noise):
            noise = drawn(logits)
        mask = hard_concrete(logits, noise)
        pooled = self.activation(x * mask.T[..., None].to(x.dtype)).mean(0)
        return Purified(pooled, logits, mask)
