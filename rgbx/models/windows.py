"""Sliding windows over images that are larger than a network takes at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Inputs = Mapping[str, Tensor]  # modality: [N, c, H, W]
Scored = tuple[list[str], Tensor]  # S names and their scores, stacked by name [S*N, K, h, w]


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along one axis: every `stride` pixels, the last moved back to end at the border."""
    if length <= window:
        return [0]
    return [min(i * stride, length - window) for i in range(math.ceil((length - window) / stride) + 1)]


def tent(height: int, width: int) -> Tensor:
    """Weights float32 [height, width] that fall linearly from 1 at the centre to the border.

    Row i of n weighs min(i + 1, n - i), columns alike; the product is divided by its largest value.
    """
    rows, columns = (
        torch.minimum(torch.arange(1, side + 1), torch.arange(side, 0, -1)).float() for side in (height, width)
    )
    weights = rows[:, None] * columns
    return weights / weights.max()


def slide(
    inputs: Inputs,
    score: Callable[[Inputs], Scored],
    *,
    window: tuple[int, int],
    stride: tuple[int, int],
    weight: str = "tent",
) -> Scored:
    """Scores an image by overlapping windows.

    Args:
        inputs: modality to [N, c, H, W].
        score: scores one window, at its size.
        window: (height, width); a side longer than the image's is cut to that.
        stride: (rows, columns) from one window to the next.
        weight: "tent" averages overlapping windows with the weights of `tent`; "sum" adds them unweighted.

    Returns:
        The names and scores that `score` gives, [S*N, K, H, W].
    """
    height, width = next(iter(inputs.values())).shape[-2:]
    h, w = min(window[0], height), min(window[1], width)
    corners = [(y, x) for y in window_starts(height, h, stride[0]) for x in window_starts(width, w, stride[1])]
    names: list[str] = []
    total = torch.empty(0)
    weights = tent(h, w) if weight == "tent" else torch.ones(h, w)
    seen = torch.zeros(height, width)
    for y, x in corners:
        names, scores = score({name: image[..., y : y + h, x : x + w] for name, image in inputs.items()})
        if len(corners) == 1:
            return names, scores
        if not total.numel():
            total = scores.new_zeros(*scores.shape[:2], height, width)
        total[..., y : y + h, x : x + w] += scores * weights.to(scores) if weight == "tent" else scores
        seen[y : y + h, x : x + w] += weights
    return names, total / seen.to(total) if weight == "tent" else total
