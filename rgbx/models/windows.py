"""Sliding windows over images that are larger than a network takes at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Inputs = Mapping[str, Tensor]  # modality: [N, c, H, W]
Outputs = dict[str, dict[str, Tensor]]  # head: branch: [N, C, h, w]


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
    score: Callable[[Inputs], Outputs],
    *,
    window: tuple[int, int],
    stride: tuple[int, int],
    weight: str = "tent",
) -> Outputs:
    """Scores an image by overlapping windows.

    Args:
        inputs: modality to [N, c, H, W].
        score: scores one window, at its size.
        window: (height, width); a side longer than the image's is cut to that.
        stride: (rows, columns) from one window to the next.
        weight: "tent" averages overlapping windows with the weights of `tent`; "sum" adds them unweighted.

    Returns:
        What `score` gives, of the whole image: head to name to [N, C, H, W].
    """
    first = next(iter(inputs.values()))
    height, width = first.shape[-2:]
    h, w = min(window[0], height), min(window[1], width)
    corners = [(y, x) for y in window_starts(height, h, stride[0]) for x in window_starts(width, w, stride[1])]
    total: Outputs = {}
    weights = tent(h, w).to(first.device) if weight == "tent" else None
    seen = first.new_zeros(height, width, dtype=torch.float32)  # what the weights of all windows add up to
    for y, x in corners:
        found = score({name: image[..., y : y + h, x : x + w] for name, image in inputs.items()})
        if len(corners) == 1:
            return found
        for head, by_name in found.items():
            for name, scores in by_name.items():
                sums = total.setdefault(head, {})
                if name not in sums:
                    sums[name] = scores.new_zeros(*scores.shape[:2], height, width)
                sums[name][..., y : y + h, x : x + w] += scores if weights is None else scores * weights
        if weights is not None:
            seen[y : y + h, x : x + w] += weights
    if weights is None:
        return total
    return {head: {name: x / seen for name, x in by_name.items()} for head, by_name in total.items()}
