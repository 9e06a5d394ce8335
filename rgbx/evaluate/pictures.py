"""Pictures of inputs, truth and predictions side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch

IGNORED = (96, 96, 96)  # grey, as palettes often hold black
HOLE = (0, 0, 0)
COLOURS = {"depth": "viridis_r", "thermal": "inferno"}  # of matplotlib
TITLES = {"rgb": "RGB", "hha": "HHA"}


def colour_labels(label: np.ndarray, palette: Sequence[Sequence[int]], *, ignore_index: int = 255) -> np.ndarray:
    """Class ids [H, W] as uint8 RGB [H, W, 3]; ignored pixels are grey."""
    table = np.full((256, 3), IGNORED, np.uint8)
    table[: len(palette)] = np.asarray(palette, np.uint8)
    table[ignore_index] = IGNORED
    return table[np.asarray(label, np.uint8)]


def colour_map(
    values: np.ndarray,
    valid: np.ndarray | None = None,
    name: str = "viridis",
    limits: Sequence[float] | None = None,
) -> np.ndarray:
    """One measured map [H, W] as uint8 RGB, scaled between its 2nd and 98th percentile.

    Args:
        values: float, any unit.
        valid: bool [H, W]; pixels that were not measured become black.
        name: a perceptually uniform map of matplotlib.
        limits: lowest and highest colour, instead of the percentiles.
    """
    valid = np.isfinite(values) if valid is None else valid & np.isfinite(values)
    if not valid.any():
        return np.full((*values.shape, 3), HOLE, np.uint8)
    low, high = np.percentile(values[valid], (2, 98)) if limits is None else limits
    scaled = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    picture = (255 * colormaps[name](scaled)[..., :3]).round().astype(np.uint8)
    picture[~valid] = HOLE
    return picture


def colour_input(name: str, image: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """A packed modality [C, H, W] as uint8 RGB: rgb as it is, depth and other maps coloured."""
    if image.shape[0] == 1:
        if name == "depth" and valid is None:
            valid = image > 0
        return colour_map(
            image[0].astype(float),
            None if valid is None else valid[0],
            COLOURS.get(name, "viridis"),
        )
    planes = image.transpose(1, 2, 0)
    if planes.dtype != np.uint8:  # unit vectors, -1..1
        planes = np.clip(127.5 + 127.5 * planes, 0, 255).astype(np.uint8)
    return planes


def modality_title(name: str) -> str:
    """How a modality is written above a picture."""
    return TITLES.get(name, name)


def draw_panels(
    panels: Sequence[tuple[str, np.ndarray]], path: str | Path, *, legend: Mapping[str, Sequence[int]] | None = None
) -> None:
    """Writes titled pictures side by side as a PNG.

    Args:
        panels: (title, uint8 [H, W, 3]) from left to right.
        path: the file; its folder is made.
        legend: class name -> [r, g, b], drawn below.
    """
    height, width = panels[0][1].shape[:2]
    inches = 3.0
    columns = max(1, len(panels) * 2)
    rows = -(-len(legend or {}) // columns)
    figure = Figure(figsize=(inches * len(panels), inches * height / width + 0.4 + 0.24 * rows), layout="constrained")
    for axes, (title, picture) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(title, fontsize=14)
        axes.set_axis_off()
    if legend:
        patches = [
            Patch(facecolor=f"#{bytes(colour).hex()}", edgecolor="0.4", label=name) for name, colour in legend.items()
        ]
        figure.legend(handles=patches, loc="outside lower center", ncols=columns, frameon=False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def sample_panels(
    sample: Mapping[str, Any], predictions: Mapping[str, np.ndarray], metainfo: Mapping[str, Any]
) -> list[tuple[str, np.ndarray]]:
    """Inputs, truth and predictions of one sample.

    Args:
        sample: packed arrays: the modalities [C, H, W], their `..._valid` masks, and `label`.
        predictions: title -> class ids [H, W], from left to right.
        metainfo: the dataset's, for modalities, palette and ignore_index.
    """
    colours = {"palette": metainfo["palette"], "ignore_index": metainfo.get("ignore_index", 255)}
    panels = [
        (modality_title(name), colour_input(name, sample[name], sample.get(f"{name}_valid")))
        for name in metainfo["modalities"]
        if name in sample
    ]
    if sample.get("label") is not None:
        panels.append(("truth", colour_labels(sample["label"], **colours)))
    return panels + [(title, colour_labels(ids, **colours)) for title, ids in predictions.items()]


def class_legend(label_maps: Sequence[np.ndarray], metainfo: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> colour of the classes that occur in the given maps, and of ignored pixels."""
    present = set(np.unique(np.concatenate([np.ravel(ids) for ids in label_maps])).tolist())
    pairs = zip(metainfo["classes"], metainfo["palette"], strict=True)
    legend = {name: colour for k, (name, colour) in enumerate(pairs) if k in present}
    ignored = metainfo.get("ignore_index", 255) in present
    return {**legend, "not labelled": IGNORED} if ignored else legend
