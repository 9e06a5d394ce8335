"""The exchange of asymmetric fusion: channel shuffle and pixel shift on a stack, each of which can be left out.

Source: Wang et al., "Learning Deep Multimodal Feature Representation with Asymmetric Multi-layer Fusion", ACM MM 2020
(arXiv 2108.05009), section 3.3. M > 2 modalities exchange round a ring (ours).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor, nn

from rgbx.layers import StackLayout, split_modalities
from rgbx.ops import DEFAULT_FRACTION, channel_shuffle, pixel_shift, shift_add_shuffle

SECOND_SHIFTS = (None, "reversed")


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
            raise ValueError(f"second_shift is {second_shift!r}; expected one of {SECOND_SHIFTS}")
        if second_shift is not None and not shift:
            raise ValueError(f"second_shift is {second_shift!r}, but shift is False; a second shift needs the first")
        self.layout, self.fraction, self.second_shift = layout, fraction, second_shift
        self.shuffles, self.shifts = shuffle, shift
        self.receivers = None if receivers is None else _known_receivers(receivers, layout)

    def shuffle(self, a: Tensor) -> Tensor:
        """Step 1: S(a)."""
        count = self.layout.count
        if not self.shuffles or count == 1:
            return a
        return self._where_received(channel_shuffle(a, count, fraction=self.fraction), a)

    def shift_and_shuffle(self, b: Tensor, a: Tensor) -> Tensor:
        """Step 2: S(c) with c_m = b_m + P(a_{m-1})."""
        count = self.layout.count
        if not self.shifts or count == 1:
            return self.shuffle(b)
        if self.shuffles and self.second_shift is None:
            # P changes no channel that S exchanges, so that what is given does not depend on who receives.
            return self._where_received(shift_add_shuffle(b, a, count, fraction=self.fraction), b)
        c = self._where_received(b + pixel_shift(a, count, fraction=self.fraction), b)
        return c if self.second_shift is None else self._second_step(c)

    def _second_step(self, c: Tensor) -> Tensor:
        """S(c)_m + P′(c_{m-1})."""
        shifted = pixel_shift(c, fraction=self.fraction, direction=-1)
        received = shifted.unflatten(0, (self.layout.count, -1)).roll(1, 0).flatten(0, 1)
        return self._where_received(self.shuffle(c) + received, c)

    def _where_received(self, exchanged: Tensor, own: Tensor) -> Tensor:
        """The exchanged features of the modalities that receive, beside their own of those that do not."""
        if self.receivers is None:
            return exchanged
        news, olds = split_modalities(exchanged, self.layout), split_modalities(own, self.layout)
        return torch.cat([(news if name in self.receivers else olds)[name] for name in self.layout.present])

    def forward(self, x: Tensor) -> Tensor:
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
