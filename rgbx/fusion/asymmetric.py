"""Asymmetric bidirectional fusion: channel shuffle and pixel shift on a stack, and where they act inside a network.

Source: Wang et al., "Learning Deep Multimodal Feature Representation with Asymmetric Multi-layer Fusion", ACM MM 2020
(arXiv 2108.05009), section 3.3 and figure 3. Written anew from the paper's equations; the operations work on stacked
features, and M > 2 modalities exchange round a ring (ours).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import torch
from torch import Tensor, nn

from rgbx._text import one_of
from rgbx.fusion.base import FusionMethod, fusion_method
from rgbx.layers import StackLayout, split_modalities
from rgbx.ops import DEFAULT_FRACTION, channel_shuffle, pixel_shift, shift_add_shuffle

SECOND_SHIFTS = (None, "reversed")
_COMMON_LAYERS = ("conv1", "bn1", "act1", "conv2", "bn2", "act2", "aa", "drop_block", "se", "drop_path", "downsample")
_Form = TypeVar("_Form", bound="FusedBlock")


class AsymmetricExchange(nn.Module):
    """Both exchange steps on a stack, with no parameters of their own.

    Args:
        layout: says how many modalities the stack holds.
        fraction: share of channels exchanged by the shuffle; the others are those that the shift moves.
        shuffle: whether channels are exchanged, in both steps.
        shift: whether shifted features are added in step 2. Without shuffle the same channels are shifted as with it.
        second_shift: what accompanies the second shuffle. ``None`` as in the authors' released network; ``"reversed"``
            adds, after the second shuffle, the other modality's features shifted the opposite way (the other reading
            of the paper): ĉ_m = S(c)_m + P′(c_{m-1}).
        receivers: names of the modalities that receive; the others keep their own channels in every shuffle and get
            no shift, but go on giving to the next in the ring. None for all.

    Raises:
        ValueError: for receivers that the layout does not know, or switches that contradict each other.
    """

    def __init__(
        self,
        layout: StackLayout,
        *,
        fraction: Fraction | float = DEFAULT_FRACTION,
        shuffle: bool = True,
        shift: bool = True,
        second_shift: str | None = None,
        receivers: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        if second_shift not in SECOND_SHIFTS:
            raise ValueError(f"second_shift is {second_shift!r}; expected one of {one_of(SECOND_SHIFTS, second_shift)}")
        if second_shift is not None and not shift:
            raise ValueError(f"second_shift is {second_shift!r}, but shift is False; a second shift needs the first")
        self.layout, self.fraction, self.second_shift = layout, fraction, second_shift
        self.shuffles, self.shifts = shuffle, shift
        self.receivers = None if receivers is None else _known_receivers(receivers, layout)

    def shuffle(
        self,
        a: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        """Step 1: S(a)."""
        count = self.layout.count
        if not self.shuffles or count == 1:
            return a
        return self._where_received(channel_shuffle(a, count, fraction=self.fraction), a)

    def shift_and_shuffle(
        self,
        b: Tensor,  # [M*N, C, H, W]
        a: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        """Step 2: S(c) with c_m = b_m + P(a_{m-1})."""
        count = self.layout.count
        if not self.shifts or count == 1:
            return self.shuffle(b)
        if self.shuffles and self.second_shift is None:
            # P changes no channel that S exchanges, so that what is given does not depend on who receives.
            return self._where_received(shift_add_shuffle(b, a, count, fraction=self.fraction), b)
        c = self._where_received(b + pixel_shift(a, count, fraction=self.fraction), b)
        return c if self.second_shift is None else self._second_step(c)

    def _second_step(
        self,
        c: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        """S(c)_m + P′(c_{m-1})."""
        shifted = pixel_shift(c, fraction=self.fraction, direction=-1)
        received = shifted.unflatten(0, (self.layout.count, -1)).roll(1, 0).flatten(0, 1)
        return self._where_received(self.shuffle(c) + received, c)

    def _where_received(
        self,
        exchanged: Tensor,  # [M*N, C, H, W]
        own: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        """The exchanged features of the modalities that receive, beside their own of those that do not."""
        if self.receivers is None:
            return exchanged
        news, olds = split_modalities(exchanged, self.layout), split_modalities(own, self.layout)
        return torch.cat([(news if name in self.receivers else olds)[name] for name in self.layout.present])

    def forward(
        self,
        x: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        """Fusion of stage outputs: F(x)_m = S(x + P(x)_{m-1})_m."""
        return self.shift_and_shuffle(x, x)

    def extra_repr(self) -> str:
        switches = f"shuffle={self.shuffles}, shift={self.shifts}, second_shift={self.second_shift}"
        return f"fraction={self.fraction}, {switches}, receivers={self.receivers}"


def _known_receivers(receivers: Sequence[str], layout: StackLayout) -> tuple[str, ...]:
    unknown = [name for name in receivers if name not in layout.modalities]
    if isinstance(receivers, str) or unknown or not receivers:
        raise ValueError(
            f"receivers are {receivers!r}; expected names out of {layout.modalities}, at least one, or None for all"
        )
    return layout.order(receivers)


class FusedBlock(nn.Module):
    """A timm residual block taken over layer by layer under the same names, for subclasses to run with exchange.

    Checkpoints of fused and unfused networks therefore fit each other.
    """

    conv1: nn.Module
    bn1: nn.Module
    act1: nn.Module
    conv2: nn.Module
    bn2: nn.Module
    act2: nn.Module
    conv3: nn.Module
    bn3: nn.Module
    act3: nn.Module
    aa: nn.Module
    drop_block: nn.Module
    se: nn.Module | None
    drop_path: nn.Module | None
    downsample: nn.Module | None

    def __init__(self, block: nn.Module, exchange: nn.Module) -> None:
        super().__init__()
        for name, child in block.named_children():
            self.add_module(name, child)
        for name in ("se", "drop_path", "downsample"):
            if getattr(block, name) is None:
                setattr(self, name, None)
        self.exchange = exchange

    def add_shortcut(
        self,
        branch: Tensor,  # [M*N, C, H, W]
        x: Tensor,  # [M*N, C_in, H_in, W_in]
    ) -> Tensor:
        """Adds the block's shortcut to its branch, after attention and stochastic depth where the block has them."""
        if self.se is not None:
            branch = self.se(branch)
        if self.drop_path is not None:
            branch = self.drop_path(branch)
        return branch + (x if self.downsample is None else self.downsample(x))


class AsymmetricBottleneck(FusedBlock):
    """A timm bottleneck with both exchange steps; its layers keep their names, so checkpoints fit either way.

    a = ReLU BN1(W1 x); b = ReLU BN2(W2 * S(a)); out = ReLU(BN3(W3 S(b + P(a)_{m-1})) + x). The shift is taken from a
    before its shuffle and added after the second ReLU (arXiv 2108.05009, figure 3).
    """

    exchange: AsymmetricExchange

    def forward(
        self,
        x: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        a = self.act1(self.bn1(self.conv1(x)))
        b = self.aa(self.act2(self.drop_block(self.bn2(self.conv2(self.exchange.shuffle(a))))))
        fused = self.exchange.shift_and_shuffle(b, a)
        return self.act3(self.add_shortcut(self.bn3(self.conv3(fused)), x))


class AsymmetricBasicBlock(FusedBlock):
    """A timm basic block (ResNet-18 and -34) with both exchange steps; its layers keep their names.

    The paper fuses bottlenecks only; this form is ours: out = ReLU(S(BN2(W2 * S(a)) + P(a)_{m-1}) + x) with
    a = ReLU BN1(W1 x), and no ReLU after BN2.
    """

    exchange: AsymmetricExchange

    def forward(
        self,
        x: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        a = self.aa(self.act1(self.drop_block(self.bn1(self.conv1(x)))))
        b = self.bn2(self.conv2(self.exchange.shuffle(a)))
        return self.act2(self.add_shortcut(self.exchange.shift_and_shuffle(b, a), x))


@fusion_method("asymmetric")
@dataclass(frozen=True, kw_only=True)
class AsymmetricFusion(FusionMethod):
    """Asymmetric bidirectional fusion: channel shuffle and pixel shift, twice inside the last block of each stage.

    Attributes:
        fraction: share of channels exchanged by each shuffle (the paper's 1/5); the others are those that are shifted.
        shuffle: whether channels are exchanged.
        shift: whether shifted features are added. With neither, nothing is exchanged.
        second_shift: None or ``"reversed"``, see `AsymmetricExchange`.
        receivers: names of the modalities that receive from the others, such as ``("rgb",)`` for fusion in one
            direction; None for all.
        placement: ``"block"`` inside the last residual block of a stage (ResNets), ``"stage"`` on stage outputs,
            ``"auto"`` the former where the block allows it.
    """

    fraction: Fraction | float = DEFAULT_FRACTION
    shuffle: bool = True
    shift: bool = True
    second_shift: str | None = None
    receivers: tuple[str, ...] | None = None
    placement: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.placement not in ("auto", "block", "stage"):
            raise ValueError(f"placement is {self.placement!r}; expected 'auto', 'block' or 'stage'")

    def fuse_stage(self, stage: nn.Module, channels: int, layout: StackLayout) -> nn.Module | None:
        """Fuses the last residual block of the stage, or else its output."""
        exchange = AsymmetricExchange(
            layout,
            fraction=self.fraction,
            shuffle=self.shuffle,
            shift=self.shift,
            second_shift=self.second_shift,
            receivers=self.receivers,
        )
        name, block = last_block(stage)
        fused = fused_form(block, AsymmetricBottleneck, AsymmetricBasicBlock)
        if fused is AsymmetricBottleneck and getattr(block, "stride", 1) != 1:
            fused = None  # a and b differ in size there, so that one cannot receive the other's shift
        if fused is None and self.placement == "block":
            raise ValueError(f"{type(block).__name__} cannot be fused inside; use placement='stage'")
        if block is None or fused is None or self.placement == "stage":
            return exchange
        setattr(stage, name, fused(block, exchange))
        return None


def fused_form(block: nn.Module | None, bottleneck: type[_Form], basic: type[_Form]) -> type[_Form] | None:
    """The form that takes over a block of timm's ResNets, a bottleneck or a basic block; None for any other.

    Blocks of other networks bear the same names and have other layers, such as RegNet's.
    """
    form = {"Bottleneck": bottleneck, "BasicBlock": basic}.get(type(block).__name__)
    return form if all(hasattr(block, layer) for layer in _COMMON_LAYERS) else None


def last_block(stage: nn.Module) -> tuple[str, nn.Module | None]:
    """Name and module of the last block of a stage; the block is None where the stage is no sequence of blocks."""
    blocks = list(stage.named_children()) if isinstance(stage, nn.Sequential) else []
    return blocks[-1] if blocks else ("", None)
