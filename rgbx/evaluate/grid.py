"""Rows of pictures as one picture, with a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from rgbx._whole import writing

Panel = tuple[str, np.ndarray]  # title and uint8 RGB [H, W, 3]


def draw_rows(
    rows: Sequence[Sequence[Panel]],
    path: str | Path,
    *,
    legend: Mapping[str, Sequence[int]] | None = None,
    inches: float = 2.0,
) -> None:
    """Writes rows of titled pictures as one PNG; titles stand above the first row.

    Words are as large as is needed to read them where the whole picture is shown 838 pixels wide, as on a web page.

    Args:
        rows: of (title, uint8 [H, W, 3]) from left to right.
        path: the file; its folder is made.
        legend: class name -> [r, g, b], drawn below.
        inches: width of a picture.
    """
    columns = max(len(row) for row in rows)
    height, width = rows[0][0][1].shape[:2]
    points = max(11.0, 1.2 * inches * columns)
    lines = -(-len(legend or {}) // columns)
    size = (inches * columns, inches * height / width * len(rows) + points / 72 * (2 + 1.6 * lines))
    figure = Figure(figsize=size, layout="constrained")
    for number, (row, line) in enumerate(zip(rows, figure.subplots(len(rows), columns, squeeze=False), strict=True)):
        for axes in line:
            axes.set_axis_off()
        for axes, (title, picture) in zip(line, row, strict=False):
            axes.imshow(picture, interpolation="nearest")
            if number == 0:
                axes.set_title(title, fontsize=points)
    if legend:
        patches = [
            Patch(facecolor=f"#{bytes(colour).hex()}", edgecolor="0.4", label=name) for name, colour in legend.items()
        ]
        figure.legend(handles=patches, loc="outside lower center", ncols=columns, frameon=False, fontsize=points)
    with writing(Path(path), suffix=Path(path).suffix or ".png") as file:
        figure.savefig(file.name, dpi=100)
