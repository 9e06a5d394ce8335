"""The light decoder of SegNeXt and DFormer, whose context is a matrix of low rank: a "hamburger"."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgbx.heads.code_encoder import stages_joined
from rgbx.heads.image_decoder import ConvGroupNormReLU, group_norm
from rgbx.layers import StackLayout
from rgbx.layers.stages import check_stages, chosen_stages

GROUPS = 32
TRAIN_STEPS, EVAL_STEPS, EPSILON = 6, 7, 1e-6


class LowRank(nn.Module):
    """Non-negative maps [N, C, H, W] as the product of C×R bases and R×HW codes that comes near them.

    Multiplicative updates of both in turn (Lee and Seung), six in training, seven at test, and one more of the codes;
    gradients pass all of them. Every map has its own bases, which start from the same random ones each time: these are
    the model's. The authors draw new ones for every call, so that their answers differ from call to call.
    """

    def __init__(self, channels: int, rank: int) -> None:
        super().__init__()
        self.register_buffer("bases", F.normalize(torch.rand(channels, rank), dim=0))
        self.bases: Tensor

    def forward(
        self,
        x: Tensor,  # [N, C, H, W], not negative
    ) -> Tensor:
        """Maps of rank R or less, [N, C, H, W]."""
        with _full_precision(x.device.type):  # quotients of sums of products
            values = x.float().flatten(2)  # [N, C, HW]
            bases = self.bases.float().expand(len(values), -1, -1)
            codes = (values.transpose(1, 2) @ bases).softmax(-1)  # [N, HW, R]
            for _ in range(TRAIN_STEPS if self.training else EVAL_STEPS):
                codes = _codes(values, bases, codes)
                bases = bases * (values @ codes) / (bases @ (codes.transpose(1, 2) @ codes) + EPSILON)
            codes = _codes(values, bases, codes)
            return (bases @ codes.transpose(1, 2)).view_as(x).to(x.dtype)


def _full_precision(device: str) -> AbstractContextManager[object]:
    """Without autocast, on devices that have it."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def _codes(
    values: Tensor,  # [N, C, HW]
    bases: Tensor,  # [N, C, R]
    codes: Tensor,  # [N, HW, R]
) -> Tensor:
    """One update of the codes, [N, HW, R]."""
    return codes * (values.transpose(1, 2) @ bases) / (codes @ (bases.transpose(1, 2) @ bases) + EPSILON)


class HamDecoder(nn.Module):
    """All stages but the finest on one grid, joined, and corrected by a map of low rank made of them.

    Norms are group norms, private to a modality; all else is shared.

    Source: Guo et al., "SegNeXt" (NeurIPS 2022, arXiv 2209.08575), as DFormer has it (ICLR 2024, arXiv 2309.09668); the
    map of low rank: Geng et al., "Is Attention Better Than Matrix Decomposition?" (ICLR 2021, arXiv 2109.04553).
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        layout: StackLayout,
        *,
        width: int = 256,
        rank: int = 16,
        stages: Sequence[int] | None = None,
        dropout: float = 0.1,
        norm: str = "private",
    ) -> None:
        """Builds the decoder.

        Args:
            channels: channels of each backbone stage, shallow to deep.
            num_classes: K.
            layout: the backbone's stack layout.
            width: channels of the decoder.
            rank: R.
            stages: whose features are read, on the grid of the first of them, 1 being the shallowest; None for all but
                that.
            dropout: probability of dropping a channel before the classifier.
            norm: ``"private"``, or ``"shared"``.

        Raises:
            ValueError: a stage that there is not.
        """
        super().__init__()
        count = len(channels)
        coarser = tuple(range(min(2, count), count + 1))
        self.stages = chosen_stages(check_stages(stages, "decoder's") or coarser, count, "decoder's", "backbone")
        joined = sum(channels[i - 1] for i in self.stages)
        self.squeeze = ConvGroupNormReLU(joined, width, 1, layout, norm, GROUPS)
        self.before = nn.Conv2d(width, width, 1)
        self.low_rank = LowRank(width, rank)
        self.after = nn.Conv2d(width, width, 1, bias=False)
        self.norm = group_norm(width, layout, norm, GROUPS)
        self.align = ConvGroupNormReLU(width, width, 1, layout, norm, GROUPS)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Stage stacks [M*N, C_i, h_i, w_i], shallow to deep, to logits [M*N, K, h, w] on the grid of `stages`."""
        x = self.squeeze(stages_joined(features, self.stages))
        context = self.norm(self.after(self.low_rank(self.before(x).relu())))
        return self.classifier(self.dropout(self.align((x + context).relu())))
