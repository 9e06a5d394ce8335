"""Asymmetric bidirectional fusion: where channel shuffle and pixel shift act inside a network.

Source: Wang et al., "Learning Deep Multimodal Feature Representation with Asymmetric Multi-layer Fusion", ACM MM 2020
(arXiv 2108.05009), section 3.3 and figure 3. Written anew from the paper's equations; the operations work on stacked
features, and M > 2 modalities exchange round a ring (ours).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor, nn

from rgbx.fusion.base import FusionMethod, fusion_method
from rgbx.fusion.fused_block import FusedBlock, last_block
from rgbx.layers import StackLayout
from rgbx.ops import DEFAULT_FRACTION, channel_shuffle, pixel_shift, shift_add_shuffle

SECOND_SHIFTS = (None, "reversed")


class AsymmetricExchange(nn.Module):
    """Both exchange steps on a stack, with no parameters of their own.

    Args:
        layout: says how many modalities the stack holds.
        fraction: share of channels exchanged by the shuffle.
        second_shift: what accompanies the second shuffle. ``None`` as in the authors' released network; ``"reversed"``
            adds, after the second shuffle, the other modality's features shifted the opposite way (the other reading
            of the paper): ĉ_m = S(c)_m + P′(c_{m-1}).
    """

    def __init__(
        self,
        layout: StackLayout,
        *,
        fraction: Fraction | float = DEFAULT_FRACTION,
        second_shift: str | None = None,
    ) -> None:
        super().__init__()
        if second_shift not in SECOND_SHIFTS:
            raise ValueError(f"second_shift is {second_shift!r}; expected one of {SECOND_SHIFTS}")
        self.layout, self.fraction, self.second_shift = layout, fraction, second_shift

    def shuffle(self, a: Tensor) -> Tensor:
        """Step 1: S(a)."""
        return channel_shuffle(a, self.layout.count, fraction=self.fraction)

    def shift_and_shuffle(self, b: Tensor, a: Tensor) -> Tensor:
        """Step 2: S(c) with c_m = b_m + P(a_{m-1})."""
        count = self.layout.count
        if self.second_shift is None or count == 1:
            return shift_add_shuffle(b, a, count, fraction=self.fraction)
        c = b + pixel_shift(a, count, fraction=self.fraction)
        shifted = pixel_shift(c, fraction=self.fraction, direction=-1)
        received = shifted.unflatten(0, (count, -1)).roll(1, 0).flatten(0, 1)
        return channel_shuffle(c, count, fraction=self.fraction) + received

    def forward(self, x: Tensor) -> Tensor:
        """Fusion of stage outputs: F(x)_m = S(x + P(x)_{m-1})_m."""
        return self.shift_and_shuffle(x, x)

    def extra_repr(self) -> str:
        return f"fraction={self.fraction}, second_shift={self.second_shift}"


class AsymmetricBottleneck(FusedBlock):
    """A timm bottleneck with both exchange steps; its layers keep their names, so checkpoints fit either way.

    a = ReLU BN1(W1 x); b = ReLU BN2(W2 * S(a)); out = ReLU(BN3(W3 S(b + P(a)_{m-1})) + x). The shift is taken from a
    before its shuffle and added after the second ReLU (arXiv 2108.05009, figure 3).
    """

    exchange: AsymmetricExchange

    def forward(self, x: Tensor) -> Tensor:
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

    def forward(self, x: Tensor) -> Tensor:
        a = self.aa(self.act1(self.drop_block(self.bn1(self.conv1(x)))))
        b = self.bn2(self.conv2(self.exchange.shuffle(a)))
        return self.act2(self.add_shortcut(self.exchange.shift_and_shuffle(b, a), x))


@fusion_method("asymmetric")
@dataclass(frozen=True, kw_only=True)
class AsymmetricFusion(FusionMethod):
    """Asymmetric bidirectional fusion as a method a backbone can be built with.

    Attributes:
        fraction: share of channels exchanged by each shuffle (the paper's 1/5).
        second_shift: see `AsymmetricExchange`.
        placement: ``"block"`` inside the last residual block of a stage (ResNets), ``"stage"`` on stage outputs,
            ``"auto"`` the former where the block allows it.
    """

    fraction: Fraction | float = DEFAULT_FRACTION
    second_shift: str | None = None
    placement: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.placement not in ("auto", "block", "stage"):
            raise ValueError(f"placement is {self.placement!r}; expected 'auto', 'block' or 'stage'")

    def fuse_stage(self, stage: nn.Module, channels: int, layout: StackLayout) -> nn.Module | None:
        """Fuses the last residual block of the stage, or else its output."""
        exchange = AsymmetricExchange(layout, fraction=self.fraction, second_shift=self.second_shift)
        name, block = last_block(stage)
        fused = _fused_form(block)
        if fused is None and self.placement == "block":
            raise ValueError(f"{type(block).__name__} cannot be fused inside; use placement='stage'")
        if block is None or fused is None or self.placement == "stage":
            return exchange
        setattr(stage, name, fused(block, exchange))
        return None


def _fused_form(block: nn.Module | None) -> type[FusedBlock] | None:
    fused = {"Bottleneck": AsymmetricBottleneck, "BasicBlock": AsymmetricBasicBlock}.get(type(block).__name__)
    # In a strided bottleneck a and b differ in size, so that one cannot receive the other's shift.
    strided = fused is AsymmetricBottleneck and getattr(block, "stride", 1) != 1
    return None if strided else fused
