"""Asymmetric bidirectional fusion: where channel shuffle and pixel shift act inside a network.

Source: Wang et al., "Learning Deep Multimodal Feature Representation with Asymmetric Multi-layer Fusion", ACM MM 2020
(arXiv 2108.05009), section 3.3 and figure 3. Written anew from the paper's equations; the operations work on stacked
features, and M > 2 modalities exchange round a ring (ours).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor, nn

from rgbx.fusion.asymmetric_exchange import AsymmetricExchange
from rgbx.fusion.base import FusionMethod, fusion_method
from rgbx.fusion.fused_block import FusedBlock, last_block
from rgbx.layers import StackLayout
from rgbx.ops import DEFAULT_FRACTION


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
