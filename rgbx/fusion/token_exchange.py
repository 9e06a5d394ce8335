"""Token exchange: a location that a modality scores as uninformative takes the other modality's features.

Source: Wang et al., "Multimodal Token Fusion for Vision Transformers" (TokenFusion), CVPR 2022 (arXiv 2204.08721),
section 3. Original code: yikaiw/TokenFusion, no licence found; written anew. As there, over shared weights, private
norms and private score networks: the output of a residual branch is multiplied by the location's score, replaced where
that is below a threshold, and the shortcut added. Ours differs: a residual convolution branch instead of attention,
in the last block of a stage instead of in all; score networks of one hidden layer of C/4 instead of three; no
position embedding to align; the penalty is a mean over locations and samples instead of a sum, so that it does not
grow with either; with M > 2 modalities a location takes the mean of the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rgbx.fusion.asymmetric import FusedBlock, fused_form, last_block
from rgbx.fusion.base import ChannelNorm, FusionMethod, fusion_method
from rgbx.layers import StackLayout, mean_of_others, separate_layers, split_modalities


class TokenExchange(nn.Module):
    """E_m(b) = s_m ⊙ b_m where s_m ≥ threshold, else the mean of the other modalities' s_k ⊙ b_k.

    s_m [1, H, W], between 0 and 1, comes from x_m by a network of 1×1 convolutions that is private to the modality.
    Above the threshold it learns through the product; below, only through the penalty and what others take.
    """

    def __init__(self, channels: int, layout: StackLayout, threshold: float, weight: float) -> None:
        super().__init__()
        self.layout, self.threshold, self.weight = layout, threshold, weight
        hidden = max(1, channels // 4)
        self.score = nn.Sequential(
            ChannelNorm(channels), nn.Conv2d(channels, hidden, 1), nn.GELU(), nn.Conv2d(hidden, 1, 1), nn.Sigmoid()
        )
        separate_layers(self.score, layout)

    def forward(
        self,
        branch: Tensor,  # [M*N, C, H, W]
        x: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        """Exchanges `branch` [M*N, C, H, W] by scores of `x`, of that shape. One modality alone passes, unscored.

        In training the loss grows by weight · Σ_m mean |s_m|.
        """
        count = self.layout.count
        if count == 1:
            if self.training:
                self.layout.penalise(branch.new_zeros((), dtype=torch.float32))
            return branch
        score = self.score(x)
        if self.training:
            self.layout.penalise(self.weight * (count * score.float().mean()))
        small = split_modalities(score < self.threshold, self.layout).values()
        scored = list(split_modalities(score * branch, self.layout).values())
        return torch.cat([torch.where(*each) for each in zip(small, mean_of_others(scored), scored, strict=True)])

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, weight={self.weight}"


class TokenExchangeOutput(nn.Module):
    """For stages whose last block is not a known one: x + E(x), as though the branch were the identity."""

    def __init__(self, exchange: TokenExchange) -> None:
        super().__init__()
        self.exchange = exchange

    def forward(
        self,
        x: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        """Stage outputs [M*N, C, H, W]; one modality alone passes."""
        exchanged = self.exchange(x, x)
        return x if exchanged is x else x + exchanged


class TokenExchangeBottleneck(FusedBlock):
    """A timm bottleneck, out = ReLU(E(branch) + x) with scores of x; its layers keep their names."""

    exchange: TokenExchange

    def forward(
        self,
        x: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        a = self.act1(self.bn1(self.conv1(x)))
        b = self.aa(self.act2(self.drop_block(self.bn2(self.conv2(a)))))
        return self.act3(self.add_shortcut(self.exchange(self.bn3(self.conv3(b)), x), x))


class TokenExchangeBasicBlock(FusedBlock):
    """A timm basic block, out = ReLU(E(branch) + x) with scores of x; its layers keep their names."""

    exchange: TokenExchange

    def forward(
        self,
        x: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        a = self.aa(self.act1(self.drop_block(self.bn1(self.conv1(x)))))
        return self.act2(self.add_shortcut(self.exchange(self.bn2(self.conv2(a)), x), x))


@fusion_method("token_exchange")
@dataclass(frozen=True, kw_only=True)
class TokenExchangeFusion(FusionMethod):
    """Token exchange in the last residual block of a ResNet's stage, on the output of other networks' stages.

    Scores are about one half at first: nothing is exchanged, and the branch counts half.

    Attributes:
        threshold: of the scores; the default is the released segmentation code's.
        penalty_weight: weight of the mean scores, summed over modalities and stages. A narrow choice, for random
            weights and AdamW: in a short training on synthetic rooms the default exchanged half of the locations of
            the last stage and few elsewhere; at 1e-3 the scores of the two last stages fell below the threshold at
            70 and 100 % of locations, for both modalities, which drops their branches; at 2e-5 few were exchanged.
            The released code's 1e-6 on sums, at batch 6 and 500×500 pixels, is 0.1 to 0.001 on means, shallow to deep.
    """

    threshold: float = 2e-2
    penalty_weight: float = 1e-4

    def fuse_stage(self, stage: nn.Module, channels: int, layout: StackLayout) -> nn.Module | None:
        """Fuses the last residual block of the stage where its shortcut is the identity, or else the output."""
        if len(layout.modalities) == 1:
            return None
        exchange = TokenExchange(channels, layout, self.threshold, self.penalty_weight)
        name, block = last_block(stage)
        fused = fused_form(block, TokenExchangeBottleneck, TokenExchangeBasicBlock)
        if block is None or fused is None or block.downsample is not None:
            return TokenExchangeOutput(exchange)
        setattr(stage, name, fused(block, exchange))
        return None
