"""Attention over the frames of sensors that are not synchronised, with exclusive and agnostic codes of the modalities.

Source: Yang et al., "Learning Modality-Exclusive and Modality-Agnostic Representations for Multimodal Asynchronous
Streams" (MEA, 2024), whose parts are in `rgbx.layers.streams` and `rgbx.layers.decoupled`. There the streams are words,
sound and faces and the answer is one vector. Ours, for dense prediction: tokens are the locations of a window of a
stage's map over all frames of a modality, with codes of place and time; the targets of cross-modal attention are the
tokens of the frame that belongs to the label, and the result is added to the stage's features, little at first. Codes
come from pooled tokens of the deepest stage: exclusive ones from self-attention, agnostic ones from cross-modal
attention; the fused codes are added to that stage's features everywhere.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rgbx._text import one_of
from rgbx.fusion.base import FusionMethod, fusion_method
from rgbx.layers import StackLayout, are_together, untracked
from rgbx.layers.decoupled import DecoupledGraph, DoubleDiscriminator, ExclusiveAgnostic, PooledEncoders, hsic
from rgbx.layers.streams import FORMS, MU, CrossAttention, Hierarchy, ModalityWeights, PredictiveChain, check_heads

TARGETS = ("nearest", "learned")
SPATIAL_WAVES = 3  # octaves of sines and cosines of a row and a column; the longest has 16 locations
TEMPORAL_WAVES = 6  # and of seconds; the longest has 4 s
CODE_FEATURES = 2 * (2 * SPATIAL_WAVES + TEMPORAL_WAVES)
LITTLE = 0.01  # standard deviation of the weights that lead back to features
AGREEMENT_CHANNELS = 16
SHARPNESS = 10.0  # of agreement in -1..1, as logits of frames, at first

MOST_WEIGHT = sys.float_info.max

Frames = Mapping[str, Tensor]  # modality: [N, T, C, h, w], T its own
Weights = Mapping[str, Tensor]  # modality: [N, T], of its frames; rows sum to 1


@fusion_method("mea")
@dataclass(frozen=True, kw_only=True)
class MEAFusion(FusionMethod):
    """Attention over all frames of clips whose sensors are not synchronised, and within windows of stills.

    The network sees each frame alone; attention acts on the outputs of the stages chosen. Any subset of the modalities
    may be present: one alone has self-attention only. In training the loss grows by α L_dis + β (L_agn + L_exc).

    Attributes:
        stages: at which features attend, the two deepest by default.
        target: which frame of a modality belongs to the label: a mean over frames whose weights are ``"learned"``, or
            the one whose stamp is ``"nearest"``, see `TargetFrames`.
        attention, mu: see `rgbx.layers.streams.PredictiveAttention`.
        layers: of predictive self-attention, of which the first has nothing to predict from.
        width: d of the tokens.
        heads: of self-attention.
        window: most locations of a map's side that attend each other; a map is cut into equal windows of about that.
        code: width of exclusive and agnostic codes.
        own_neighbour: see `rgbx.layers.decoupled.DecoupledGraph`.
        alpha, beta: weights of the losses on codes.
    """

    target: str = "learned"
    attention: str = "renormalised"
    mu: float = MU
    layers: int = 2
    width: int = 64
    heads: int = 8
    window: int = 8
    code: int = 32
    own_neighbour: bool = True
    alpha: float = 0.02
    beta: float = 0.03

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, known in (("target", TARGETS), ("attention", FORMS)):
            if (value := getattr(self, field)) not in known:
                raise ValueError(f"fusion field {field} is {value!r}; expected one of {one_of(known, str(value))}")
        for field in ("layers", "width", "heads", "window", "code"):
            if type(value := getattr(self, field)) is not int or value < 1:
                raise ValueError(f"fusion field {field} is {value!r}; expected a whole number of at least 1")
        for field, most in (("mu", 1.0), ("alpha", MOST_WEIGHT), ("beta", MOST_WEIGHT)):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
                raise ValueError(f"fusion field {field} is {value!r}; expected a number of at least 0, mu of at most 1")
        if not isinstance(self.own_neighbour, bool):
            raise ValueError(f"fusion field own_neighbour is {self.own_neighbour!r}; expected True or False")
        check_heads(self.width, self.heads)

    def fuse_frames(self, channels: Sequence[int], layout: StackLayout) -> nn.Module:
        """Fuses the chosen stages, of which all others leave the frames of the label."""
        numbers = self.chosen(len(channels), "backbone") if self.stages else range(1, len(channels) + 1)[-2:]
        return AsynchronousFusion(channels, sorted(numbers), layout, self)


class AsynchronousFusion(nn.Module):
    """All stages of all frames to the features at the label's time.

    Args:
        channels: of all stages.
        numbers: of the stages that attend, ascending, 1 being the first.
        layout: the modalities, and the times of their frames.
        options: see `MEAFusion`.
    """

    def __init__(
        self, channels: Sequence[int], numbers: Sequence[int], layout: StackLayout, options: MEAFusion
    ) -> None:
        super().__init__()
        self.layout = layout
        self.target = TargetFrames(channels, layout, learned=options.target == "learned")
        self.streams = nn.ModuleDict({f"{i}": StageStreams(channels[i - 1], layout, options) for i in numbers})
        self.codes = FusedCodes(channels[numbers[-1] - 1], layout, options)

    def forward(
        self,
        features: Sequence[Frames],  # [N, T, C_i, h_i, w_i] each
    ) -> list[Tensor]:
        """Stacks [M*N, C_i, h_i, w_i].

        Raises:
            ValueError: clips without times.
        """
        weights = self.target(features)
        stacks = [torch.cat([blend(stage[name], w) for name, w in weights.items()]) for stage in features]
        for key, streams in self.streams.items():
            found: StageChange = streams(features[int(key) - 1], weights)
            stacks[int(key) - 1] = stacks[int(key) - 1] + torch.cat(list(found.change.values()))
        everywhere = self.codes(found.own, found.joint)
        stacks[int(key) - 1] = stacks[int(key) - 1] + torch.cat(list(everywhere.values()))[..., None, None]
        return stacks


class CommonSpace(nn.Module):
    """Maps of all modalities in a few common channels, so that their product is a correlation over locations."""

    def __init__(self, channels: int, names: Sequence[str]) -> None:
        super().__init__()
        self.copies = nn.ModuleDict({name: nn.Linear(channels, AGREEMENT_CHANNELS) for name in names})

    def forward(
        self,
        name: str,
        x: Tensor,  # [N, T, C, h, w]
    ) -> Tensor:
        """[N, T, h*w, c], without the mean over locations, and of length 1 over all values of a frame."""
        y = self.copies[name](x.permute(0, 1, 3, 4, 2)).flatten(2, 3).float()
        y = y - y.mean(2, keepdim=True)
        return y / y.square().sum((2, 3), keepdim=True).add(1e-12).sqrt()


class TargetFrames(nn.Module):
    """Which frames of each modality belong to the label, as weights: 1 for that whose stamp is nearest, or learned.

    Learned: the first modality present is the reference, whose frame nearest to the label counts. Each other modality's
    frames are weighed by a softmax over how far they agree with that frame: at each stage by the correlation, over
    locations, of both maps in a common space of few channels (1×1 convolutions, private to a modality), weighed by a
    learned number. Stamps have no part in it, so that any delay within the clip is like any other.

    Args:
        channels: of all stages.
        layout: the modalities, and the times of their frames.
        learned: see above.
    """

    def __init__(self, channels: Sequence[int], layout: StackLayout, *, learned: bool) -> None:
        super().__init__()
        self.layout, self.learned = layout, learned and len(layout.modalities) > 1
        if self.learned:
            self.common = nn.ModuleList(CommonSpace(c, layout.modalities) for c in channels)
            self.sharpness = nn.Parameter(torch.full((len(channels),), SHARPNESS / len(channels)))

    def forward(
        self,
        features: Sequence[Frames],  # [N, T, C_i, h_i, w_i] each
    ) -> dict[str, Tensor]:
        """Weights [N, T] of each modality present, in declared order.

        Raises:
            ValueError: clips without times.
        """
        present = self.layout.present
        weights = {name: self._nearest(name, features[-1][name]) for name in present}
        if not self.learned or len(present) == 1:
            return weights
        first, *others = present
        logits = dict.fromkeys(others, torch.zeros((), device=weights[first].device))
        for stage, common, sharpness in zip(features, self.common, self.sharpness, strict=True):
            reference = common(first, blend(stage[first], weights[first])[:, None])
            for name in others:
                agreement = (common(name, stage[name]) * reference).sum((2, 3))
                logits[name] = logits[name] + sharpness * agreement
        return {first: weights[first]} | {name: x.softmax(-1) for name, x in logits.items()}

    def _nearest(
        self,
        name: str,
        frames: Tensor,  # [N, T, C, h, w]
    ) -> Tensor:
        """One-hot [N, T]."""
        if frames.shape[1] == 1:
            return frames.new_ones(()).expand(frames.shape[0], 1)
        times = self.layout.times
        if times is None:
            raise ValueError(f"{name} is a clip of {frames.shape[1]} frames without times; give times={{name: [N, T]}}")
        nearest = times[name].abs().argmin(1)
        return nn.functional.one_hot(nearest, frames.shape[1]).to(frames.dtype)


class StageChange(NamedTuple):
    """What a stage gives, of each modality present.

    Attributes:
        change: of its features, [N, C, h, w].
        own: its tokens after self-attention, pooled, [N, d].
        joint: those after cross-modal attention, [N, d].
    """

    change: dict[str, Tensor]
    own: dict[str, Tensor]
    joint: dict[str, Tensor]


class StageModality(nn.Module):
    """What a modality has of its own at a stage: maps to tokens, attention, and tokens to maps."""

    def __init__(self, channels: int, others: Sequence[str], options: MEAFusion) -> None:
        super().__init__()
        width = options.width
        self.read = nn.Sequential(nn.Linear(channels, width), nn.LayerNorm(width))
        self.chain = PredictiveChain(width, options.heads, options.layers, options.attention, options.mu)
        self.hierarchy = Hierarchy(others, width) if others else None
        for module in self.hierarchy.modules() if self.hierarchy else ():
            if isinstance(module, CrossAttention):  # like attends like: at first, a place attends itself
                nn.init.orthogonal_(module.query.weight)
                module.key.load_state_dict(module.query.state_dict())
        self.write = _little(nn.Linear(width, channels))


class StageStreams(nn.Module):
    """Self-attention and hierarchical cross-modal attention in the windows of one stage.

    Args:
        channels: C of the stage.
        layout: the modalities, and the times of their frames.
        options: see `MEAFusion`.
    """

    def __init__(self, channels: int, layout: StackLayout, options: MEAFusion) -> None:
        super().__init__()
        names = layout.modalities
        self.layout, self.window = layout, options.window
        self.copies = nn.ModuleDict(
            {name: StageModality(channels, [k for k in names if k != name], options) for name in names}
        )
        self.place = nn.Linear(CODE_FEATURES, options.width, bias=False)
        with torch.no_grad():  # codes of place as long as what is seen there, codes of time a tenth
            nn.init.normal_(self.place.weight, std=(2 * SPATIAL_WAVES) ** -0.5)
            self.place.weight[:, 4 * SPATIAL_WAVES :] *= 0.1
        self.weigh = nn.ModuleList(ModalityWeights(names, options.width) for _ in range(2 if len(names) > 1 else 0))

    def forward(
        self,
        frames: Frames,  # [N, T, C, h, w] each
        weights: Weights,  # [N, T] each
    ) -> StageChange:
        """What changes at the stage, and pooled tokens."""
        height, width = next(iter(frames.values())).shape[-2:]
        windows = Windows.of(height, width, self.window)
        tokens, targets = {}, {}
        for name in weights:
            tokens[name] = self._tokens(name, frames[name], windows)
        tokens = self._weighed(0, tokens)
        for name, w in weights.items():
            moments = tokens[name].unflatten(1, (w.shape[1], -1))  # [N*windows, T, P, d]
            each = w.repeat_interleave(windows.number, 0)[..., None, None].to(moments.dtype)
            target = (each * moments).sum(1)
            hierarchy = self._stream(name).hierarchy
            targets[name] = target if hierarchy is None else hierarchy(tokens, name, target)
        joint = self._weighed(1, targets)
        change = {
            name: windows.map(self._stream(name).write(x), height, width).permute(0, 3, 1, 2)
            for name, x in joint.items()
        }
        return StageChange(change, *({n: windows.mean(x) for n, x in each.items()} for each in (tokens, joint)))

    def _stream(self, name: str) -> StageModality:
        found = self.copies[name]
        assert isinstance(found, StageModality)
        return found

    def _tokens(
        self,
        name: str,
        frames: Tensor,  # [N, T, C, h, w]
        windows: Windows,
    ) -> Tensor:
        """[N*windows, T*P, d] after self-attention; P locations of a window."""
        stream = self._stream(name)
        x = windows.cut(stream.read(frames.permute(0, 1, 3, 4, 2)))  # [N, windows, T, P, d]
        return stream.chain((x + self._code(name, frames, windows)[:, None]).flatten(2, 3).flatten(0, 1))

    def _code(
        self,
        name: str,
        frames: Tensor,  # [N, T, C, h, w]
        windows: Windows,
    ) -> Tensor:
        """Codes of place and time, [N, T, P, d]; of stills time has no part."""
        rows, columns = torch.meshgrid(*(torch.arange(s, device=frames.device) for s in windows.sides), indexing="ij")
        place = torch.cat([waves(x.flatten() / 16, SPATIAL_WAVES) for x in (rows, columns)], -1)  # [P, ...]
        count, length = frames.shape[:2]
        place = place[None, None].expand(count, length, -1, -1)
        time = place.new_zeros(count, length, 1, 2 * TEMPORAL_WAVES)
        if self.layout.times is not None:
            seconds = self.layout.times[name].to(place.dtype)
            time = waves(seconds / 4, TEMPORAL_WAVES)[:, :, None]
        return self.place(torch.cat([place, time.expand(-1, -1, place.shape[2], -1)], -1).to(frames.dtype))

    def _weighed(
        self,
        step: int,
        tokens: Mapping[str, Tensor],  # [N*windows, T_m*P, d] each
    ) -> dict[str, Tensor]:
        return dict(tokens) if len(tokens) == 1 else self.weigh[step](tokens)


class FusedCodes(nn.Module):
    """Exclusive and agnostic codes of pooled tokens, the losses on them, and what both graphs make of them.

    Pooled tokens are standardised before they are encoded, and agnostic codes after, by statistics private to a
    modality, as all norms of a shared network are here: the modalities differ by a thousand times what samples of one
    do, and no adversary closes that gap. The losses train encoders and discriminators alone and end at the tokens,
    which an adversary drove apart without bound.

    Args:
        channels: C of the stage that the result is added to.
        layout: the modalities.
        options: see `MEAFusion`.
    """

    def __init__(self, channels: int, layout: StackLayout, options: MEAFusion) -> None:
        super().__init__()
        names, code = layout.modalities, options.code
        self.layout, self.alpha, self.beta = layout, options.alpha, options.beta
        self.encoders = PooledEncoders(names, options.width, code)
        self.standard = nn.ModuleList(Standardised(names, width) for width in (options.width, options.width, code))
        self.discriminator = DoubleDiscriminator(names, code) if len(names) > 1 else None
        self.exclusive, self.agnostic = (DecoupledGraph(code, own_neighbour=options.own_neighbour) for _ in range(2))
        self.copies = nn.ModuleDict({name: _little(nn.Linear(2 * code, channels)) for name in names})

    def forward(
        self,
        own: Mapping[str, Tensor],  # [N, d] each
        joint: Mapping[str, Tensor],  # [N, d] each
    ) -> dict[str, Tensor]:
        """What is added to the features of each modality present, [N, C]; in training also to the loss."""
        own, joint = self.standard[0](own), self.standard[1](joint)
        codes = self._codes(own, joint)
        if self.training:
            self._penalise(own, joint)
        graphs = (self.exclusive, self.agnostic)
        fused = torch.cat([graph(list(x.values())) for graph, x in zip(graphs, codes, strict=True)], -1)
        return {name: self.copies[name](fused) for name in own}

    def _codes(
        self,
        own: Mapping[str, Tensor],  # [N, d] each, standardised
        joint: Mapping[str, Tensor],  # [N, d] each, standardised
    ) -> ExclusiveAgnostic:
        exclusive, agnostic = self.encoders(own, joint)
        return ExclusiveAgnostic(exclusive, self.standard[2](agnostic))

    def _penalise(
        self,
        own: Mapping[str, Tensor],  # [N, d] each, standardised
        joint: Mapping[str, Tensor],  # [N, d] each, standardised
    ) -> None:
        device = next(iter(own.values())).device
        if self.discriminator is None or len(own) == 1:
            self.layout.penalise(torch.zeros((), device=device))
            return
        with untracked(self.modules()):  # these statistics were counted
            codes = self._codes(*({name: x.detach() for name, x in each.items()} for each in (own, joint)))
        with torch.autocast(device.type, enabled=False):  # covariances of small batches need more than 8 bits
            exclusive, agnostic = ({name: x.float() for name, x in kind.items()} for kind in codes)
            disparity = torch.stack([hsic(exclusive[name], h) for name, h in agnostic.items()]).mean()
            losses = self.discriminator.losses(exclusive, agnostic)
            self.layout.penalise(self.alpha * disparity + self.beta * losses)


class Standardised(nn.Module):
    """Vectors without the mean and at the variance of their modality: over the batch in training, else as tracked."""

    def __init__(self, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({name: nn.BatchNorm1d(width, affine=False) for name in names})

    def forward(
        self,
        vectors: Mapping[str, Tensor],  # [N, d] each
    ) -> dict[str, Tensor]:
        """The same shapes; a single sample has no variance, so that it is measured by those before."""
        return {name: self._normed(self.norms[name], x) for name, x in vectors.items()}

    def _normed(
        self,
        norm: nn.Module,
        x: Tensor,  # [N, d]
    ) -> Tensor:
        if self.training and len(x) == 1 and not are_together([norm]):
            assert isinstance(norm, nn.BatchNorm1d)
            return nn.functional.batch_norm(x, norm.running_mean, norm.running_var, eps=norm.eps)
        return norm(x)


class Windows(NamedTuple):
    """A map cut into equal windows, the last ones reaching over its border, which is repeated there.

    Attributes:
        grid: windows down and across.
        sides: height and width of each, in locations.
    """

    grid: tuple[int, int]
    sides: tuple[int, int]

    @classmethod
    def of(cls, height: int, width: int, most: int) -> Windows:
        """As few windows as there can be of sides of at most `most`, and as small as these can be."""
        down, across = (math.ceil(side / most) for side in (height, width))
        return cls((down, across), (math.ceil(height / down), math.ceil(width / across)))

    @property
    def number(self) -> int:
        """Windows of a map."""
        return self.grid[0] * self.grid[1]

    def cut(
        self,
        x: Tensor,  # [N, T, h, w, d]
    ) -> Tensor:
        """[N, windows, T, P, d], P locations of a window, row by row."""
        for axis in (2, 3):
            whole = self.grid[axis - 2] * self.sides[axis - 2]
            if whole > x.shape[axis]:
                x = x.index_select(axis, torch.arange(whole, device=x.device).clamp(max=x.shape[axis] - 1))
        x = x.unflatten(3, (self.grid[1], self.sides[1])).unflatten(2, (self.grid[0], self.sides[0]))
        return x.permute(0, 2, 4, 1, 3, 5, 6).flatten(4, 5).flatten(1, 2)

    def map(
        self,
        x: Tensor,  # [N*windows, P, d]
        height: int,
        width: int,
    ) -> Tensor:
        """Back to maps, [N, height, width, d]."""
        x = x.unflatten(0, (-1, *self.grid)).unflatten(3, self.sides)  # [N, down, across, rows, columns, d]
        return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :height, :width]

    def mean(
        self,
        x: Tensor,  # [N*windows, T*P, d]
    ) -> Tensor:
        """The mean token of each sample, [N, d]."""
        return x.unflatten(0, (-1, self.number)).mean((1, 2))


def blend(
    x: Tensor,  # [N, T, C, h, w]
    weights: Tensor,  # [N, T]
) -> Tensor:
    """The weighted mean of the frames, [N, C, h, w]; a single frame as it is."""
    if x.shape[1] == 1:
        return x.squeeze(1)
    return (x * weights[..., None, None, None].to(x.dtype)).sum(1)


def waves(
    x: Tensor,  # [...], in periods of the longest wave
    octaves: int,
) -> Tensor:
    """Sines and cosines of x and of its doubles, [..., 2 * octaves]."""
    angles = 2 * math.pi * x[..., None] * 2.0 ** torch.arange(octaves, device=x.device)
    return torch.cat([angles.sin(), angles.cos()], -1)


def _little(layer: nn.Linear) -> nn.Linear:
    """The layer with weights that lead to hardly anything at first."""
    nn.init.normal_(layer.weight, std=LITTLE)
    nn.init.zeros_(layer.bias)
    return layer
