"""Channel exchange: a channel that a modality's norm scales to almost nothing takes the other modality's value.

Source: Wang et al., "Deep Multimodal Fusion by Channel Exchanging" (CEN), NeurIPS 2020 (arXiv 2011.05005), sections
3.2 and 3.3. Original code: yikaiw/CEN (MIT); written anew. As there, in every bottleneck after the norm of the 3×3
convolution and before its ReLU, over shared convolutions and private norms. Ours differs: basic blocks, which the
authors do not fuse, exchange after their first norm, the one inside the residual branch; the paper exchanges a channel
only in the part of the channels where its modality's scales are penalised, but the released code, and ours, wherever a
scale is small; the penalty counts once, not once per prediction.

In the U-Net for translation (section 4.2) the exchange follows the private instance norm of encoder blocks 2 to 7.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rgbx.fusion.asymmetric import FusedBlock, fused_form
from rgbx.fusion.base import FusionMethod, Penalised, fusion_method
from rgbx.layers import ModalityAffine, ModalityLayer, ModalityNorm, StackLayout, mean_of_others, split_modalities

_RESNET, _UNET = (2e-2, 6e-4), (1e-2, 1e-3)  # thresholds and penalties of the released codes


def private_scales(norm: nn.Module) -> dict[str, Tensor]:
    """The scales γ [C] of a batch norm's form for several modalities, by modality.

    Raises:
        ValueError: for a norm with no scale of its own for each modality.
    """
    if isinstance(norm, (ModalityNorm, ModalityAffine)):
        layers = norm.norms
    elif isinstance(norm, ModalityLayer):
        layers = norm.copies
    else:
        raise ValueError(
            f"channel_exchange compares each modality's own norm scales, found {type(norm).__name__} for all; "
            "choose norm='private' or 'affine'"
        )
    return {name: layer.get_parameter("weight") for name, layer in layers.items()}


class ChannelExchange(nn.Module):
    """y_{m,c} = x_{m,c} where |γ_{m,c}| ≥ threshold, else the mean of the other modalities' x_{k,c}.

    A replaced channel has no gradient into its own modality: only the penalty still moves its γ.
    """

    def __init__(self, layout: StackLayout, threshold: float, weight: float) -> None:
        super().__init__()
        self.layout, self.threshold, self.weight = layout, threshold, weight

    def forward(
        self,
        x: Tensor,  # [M*N, C, H, W]
        norm: nn.Module,
    ) -> Tensor:
        """The output [M*N, C, H, W] of `norm`, exchanged by the norm's scales. One modality alone passes."""
        count = self.layout.count
        if count == 1:
            return x
        scales = private_scales(norm)
        small = [(scales[name].abs() < self.threshold)[:, None, None] for name in self.layout.present]  # [C, 1, 1]
        parts = list(split_modalities(x, self.layout).values())
        return torch.cat([torch.where(*each) for each in zip(small, mean_of_others(parts), parts, strict=True)])

    def sparsity(self, norm: nn.Module) -> Tensor:
        """weight · Σ_m Σ_c |γ_{m,c}|, c over the m-th of M equal parts of the channels, whatever is present."""
        scales = list(private_scales(norm).values())
        size, count = len(scales[0]), len(scales)
        parts = [s[m * size // count : (m + 1) * size // count].abs().sum() for m, s in enumerate(scales)]
        return self.weight * torch.stack(parts).sum()

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, weight={self.weight}"


class ChannelExchangeBottleneck(FusedBlock, Penalised):
    """A timm bottleneck that exchanges channels after its second norm; its layers keep their names."""

    exchange: ChannelExchange

    def forward(
        self,
        x: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        a = self.act1(self.bn1(self.conv1(x)))
        b = self.exchange(self.bn2(self.conv2(a)), self.bn2)
        b = self.aa(self.act2(self.drop_block(b)))
        return self.act3(self.add_shortcut(self.bn3(self.conv3(b)), x))

    def penalty(self) -> Tensor:
        return self.exchange.sparsity(self.bn2)


class ChannelExchangeBasicBlock(FusedBlock, Penalised):
    """A timm basic block that exchanges channels after its first norm; its layers keep their names."""

    exchange: ChannelExchange

    def forward(
        self,
        x: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        a = self.exchange(self.bn1(self.conv1(x)), self.bn1)
        a = self.aa(self.act1(self.drop_block(a)))
        return self.act2(self.add_shortcut(self.bn2(self.conv2(a)), x))

    def penalty(self) -> Tensor:
        return self.exchange.sparsity(self.bn1)


class ChannelExchangeAfterNorm(Penalised):
    """Exchanges the channels of a stage that ends in a private norm, such as an encoder block of the U-Net."""

    def __init__(self, exchange: ChannelExchange, norm: nn.Module) -> None:
        super().__init__()
        self.exchange = exchange
        self._norm = [norm]  # in a list: its parameters belong to the stage

    def forward(
        self,
        x: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        return self.exchange(x, self._norm[0])

    def penalty(self) -> Tensor:
        return self.exchange.sparsity(self._norm[0])


@fusion_method("channel_exchange")
@dataclass(frozen=True, kw_only=True)
class ChannelExchangeFusion(FusionMethod):
    """Channel exchange in every residual block of a ResNet's stage, or after the norm of a U-Net's encoder block.

    It has no parameters. It is the plain network at first, as norms start with scales of 1 or pretrained ones: the
    penalty has to shrink some below the threshold, for which the authors train 300 epochs. With optimizers like Adam a
    scale moves by about the learning rate per step at most, so that short trainings exchange nothing. With M > 2
    modalities a channel takes the mean of the others, as in the paper.

    Attributes:
        threshold: of |γ|; None for the released codes': 2e-2 in a ResNet, 1e-2 in the U-Net.
        penalty_weight: weight of the L1 norm of the penalised scales, summed over all blocks; None for the released
            codes': in a ResNet 6e-4, that is 2e-4 counted once for each of two modalities and their ensemble, in the
            U-Net 1e-3.
    """

    threshold: float | None = None
    penalty_weight: float | None = None

    def fuse_stage(self, stage: nn.Module, channels: int, layout: StackLayout) -> nn.Module | None:
        """Exchanges inside all blocks of the stage, or after the norm that ends it.

        Raises:
            ValueError: for a stage of other blocks, or norms that all modalities share.
        """
        if len(layout.modalities) == 1:
            return None
        blocks = list(stage.named_children())
        if blocks and blocks[-1][0] == "norm":
            private_scales(blocks[-1][1])  # raises
            return ChannelExchangeAfterNorm(self._exchange(layout, *_UNET), blocks[-1][1])
        forms = [fused_form(block, ChannelExchangeBottleneck, ChannelExchangeBasicBlock) for _, block in blocks]
        known = [form for form in forms if form is not None]
        if not blocks or len(known) < len(blocks):
            unknown = dict.fromkeys(type(b).__name__ for (_, b), form in zip(blocks, forms, strict=True) if not form)
            raise ValueError(
                "channel_exchange acts inside the blocks of timm's ResNets, or after the norm that ends a block of a "
                f"U-Net; found {type(stage).__name__}({', '.join(unknown)}) with other layers"
            )
        for (name, block), form in zip(blocks, known, strict=True):
            private_scales(block.get_submodule("bn1"))  # raises; all norms of a network are of one form
            setattr(stage, name, form(block, self._exchange(layout, *_RESNET)))
        return None

    def _exchange(self, layout: StackLayout, threshold: float, weight: float) -> ChannelExchange:
        """With these defaults."""
        return ChannelExchange(
            layout,
            threshold if self.threshold is None else self.threshold,
            weight if self.penalty_weight is None else self.penalty_weight,
        )
