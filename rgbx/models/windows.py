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


def swapped_spans(
    size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]
) -> tuple[list[slice], list[slice]]:
    """Rows and columns of windows whose sides and steps are swapped while their number is not, see `Protocol`.

    Args:
        size: (H, W) of the image, longer than the window on both sides.
        window: (h, w); windows have w rows and h columns.
        stride: (rows, columns), as they are counted; steps are the other way round.
    """
    spans = []
    for axis, other in ((0, 1), (1, 0)):
        count = math.ceil((size[axis] - window[axis]) / stride[axis]) + 1
        ends = [min(i * stride[other] + window[other], size[axis]) for i in range(count)]
        spans.append([slice(end - window[other], end) for end in ends])
    return spans[0], spans[1]


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
    swapped: bool = False,
) -> Outputs:
    """Scores an image by overlapping windows.

    Args:
        inputs: modality to [N, c, H, W].
        score: scores one window, at its size.
        window: (height, width); a side longer than the image's is cut to that.
        stride: (rows, columns) from one window to the next.
        weight: "tent" averages overlapping windows with the weights of `tent`; "sum" adds them unweighted.
        swapped: windows are those of `swapped_spans`; of "sum" alone.

    Returns:
        What `score` gives, of the whole image: head to name to [N, C, H, W].
    """
    first = next(iter(inputs.values()))
    height, width = first.shape[-2:]
    h, w = min(window[0], height), min(window[1], width)
    if swapped:
        spans = swapped_spans((height, width), window, stride)
    else:
        spans = (
            [slice(y, y + h) for y in window_starts(height, h, stride[0])],
            [slice(x, x + w) for x in window_starts(width, w, stride[1])],
        )
    places = [(rows, columns) for rows in spans[0] for columns in spans[1]]
    total: Outputs = {}
    weights = tent(h, w).to(first.device) if weight == "tent" else None
    seen = first.new_zeros(height, width, dtype=torch.float32)  # what the weights of all windows add up to
    for rows, columns in places:
        found = score({name: image[..., rows, columns] for name, image in inputs.items()})
        if len(places) == 1:
            return found
        for head, by_name in found.items():
            for name, scores in by_name.items():
                sums = total.setdefault(head, {})
                if name not in sums:
                    sums[name] = scores.new_zeros(*scores.shape[:2], height, width)
                sums[name][..., rows, columns] += scores if weights is None else scores * weights
        if weights is not None:
            seen[rows, columns] += weights
    if weights is None:
        return total
    return {head: {name: x / seen for name, x in by_name.items()} for head, by_name in total.items()}
