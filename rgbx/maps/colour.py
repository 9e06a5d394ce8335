"""Maps as pictures: colours as they are, other maps through a perceptually uniform scale of colours."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from rgbx._types import Meta
from rgbx.maps.spec import IGNORE_INDEX, MapSpec

HOLE = (0, 0, 0)
IGNORED = (96, 96, 96)  # grey, as palettes often hold black
SCALES = {"viridis": cv2.COLORMAP_VIRIDIS, "inferno": cv2.COLORMAP_INFERNO}


def scale_of(name: str, unit: str = "") -> str:
    """The scale of a map of one channel: near is bright, and so is hot."""
    if unit == "metre" or name == "depth":
        return "viridis_r"
    return "inferno" if name == "thermal" else "viridis"


def usual_limits(
    values: np.ndarray,  # [...], any unit
    valid: np.ndarray | None = None,  # bool [...]
) -> tuple[float, float]:
    """The values that get the lowest and the highest colour: the 2nd and 98th percentile; 0 and 1 where there are none.

    Args:
        values: a map.
        valid: where it was measured.
    """
    measured = values[np.isfinite(values) if valid is None else valid & np.isfinite(values)]
    low, high = np.percentile(measured, (2, 98)) if measured.size else (0.0, 1.0)
    return float(low), float(high)


def colour_map(
    values: np.ndarray,  # [H, W], any unit
    valid: np.ndarray | None = None,  # bool [H, W]
    name: str = "viridis",
    limits: Sequence[float] | None = None,
) -> np.ndarray:
    """One measured map as uint8 RGB [H, W, 3], scaled between its 2nd and 98th percentile.

    Args:
        values: the map.
        valid: pixels that were not measured become black.
        name: of `SCALES`, with "_r" the other way round.
        limits: lowest and highest colour, instead of the percentiles.
    """
    valid = np.isfinite(values) if valid is None else valid & np.isfinite(values)
    if not valid.any():
        return np.full((*values.shape, 3), HOLE, np.uint8)
    low, high = usual_limits(values, valid) if limits is None else limits
    scaled = np.clip((np.where(valid, values, low) - low) / max(high - low, 1e-12), 0, 1)
    levels = (255 * (1 - scaled if name.endswith("_r") else scaled)).round().astype(np.uint8)
    picture = cv2.applyColorMap(levels, SCALES[name.removesuffix("_r")])[..., ::-1].copy()
    picture[~valid] = HOLE
    return picture


def colour_labels(
    label: np.ndarray,  # [H, W], class ids
    palette: Sequence[Sequence[int]],
    *,
    ignore_index: int = IGNORE_INDEX,
) -> np.ndarray:
    """Class ids in the colours of a palette, uint8 RGB [H, W, 3]; ignored pixels are grey."""
    return _colours_of_ids(palette, ignore_index).take(np.asarray(label, np.uint8), axis=0)


def overlay_labels(
    label: np.ndarray,  # [H, W], class ids
    palette: Sequence[Sequence[int]],
    image: np.ndarray,  # uint8 RGB [H, W, 3]
    alpha: float,
    *,
    ignore_index: int = IGNORE_INDEX,
) -> np.ndarray:
    """The mean of an image and `colour_labels`, which counts `alpha`, in float32, rounded: uint8 RGB [H, W, 3].

    A class and a level of the image have one mean in a channel: means are looked up, not computed pixel by pixel.
    """
    ids = np.asarray(label, np.uint8)
    colours = _colours_of_ids(palette, ignore_index)[: int(ids.max(initial=0)) + 1].T[..., None]  # [3, K, 1]
    levels = np.arange(256, dtype=np.float32)
    means = ((1 - alpha) * levels + alpha * colours.astype(np.float32)).round().astype(np.uint8)  # [3, K, 256]
    row = ids.astype(np.uint16) << 8
    return np.stack([means[c].ravel().take(row | image[..., c]) for c in range(3)], axis=-1)


def _colours_of_ids(palette: Sequence[Sequence[int]], ignore_index: int) -> np.ndarray:
    """uint8 [256, 3]."""
    table = np.full((256, 3), IGNORED, np.uint8)
    table[: len(palette)] = np.asarray(palette, np.uint8)
    table[ignore_index] = IGNORED
    return table


def class_legend(
    labels: Sequence[np.ndarray],  # [H, W] each, class ids
    about: Meta,
) -> dict[str, Sequence[int]]:
    """Name to colour of the classes that occur in label maps, and of ignored pixels.

    Args:
        labels: the maps.
        about: ``classes``, ``palette`` and ``ignore_index``, as a dataset's `metainfo` has them.
    """
    present = set(np.unique(np.concatenate([np.ravel(ids) for ids in labels])).tolist())
    pairs = zip(about["classes"], about["palette"], strict=True)
    found = {name: colour for k, (name, colour) in enumerate(pairs) if k in present}
    return found | ({"not labelled": IGNORED} if about.get("ignore_index", IGNORE_INDEX) in present else {})


def colour_input(
    name: str,
    image: np.ndarray,  # [C, H, W]
    valid: np.ndarray | None = None,  # bool [1, H, W]
    spec: MapSpec | None = None,
) -> np.ndarray:
    """A packed map as uint8 RGB [H, W, 3]: rgb as it is, unit vectors as colours, one channel through its scale.

    Of several channels that are measurements, three become red, green and blue: those of the spec's `shown`, or the
    first, each from its 2nd to its 98th percentile; of two channels the first is red and blue, the second green.

    Args:
        name: of the map.
        image: the map.
        valid: where it was measured.
        spec: what the map is; None where nobody says it.
    """
    unit, channels = "" if spec is None else spec.unit, len(image)
    if channels == 2 or (channels > 1 and spec is not None and spec.has_bands):
        first = (0, 1, 2) if channels > 2 else (0, 1, 0)
        shown = spec.shown if spec is not None and spec.channels == channels and spec.shown else first
        return _bands(image[list(shown)].transpose(1, 2, 0), None if valid is None else valid[0])
    if channels == 1:
        if valid is None and (unit == "metre" or name == "depth"):
            valid = image > 0
        mask = None if valid is None else valid[0]
        return colour_map(image[0].astype(float), mask, scale_of(name, unit))
    planes = image[:3].transpose(1, 2, 0)
    if planes.dtype != np.uint8:  # unit vectors, -1..1
        planes = np.clip(127.5 + 127.5 * planes, 0, 255).astype(np.uint8)
    return planes


def _bands(
    planes: np.ndarray,  # [H, W, 3], any unit
    valid: np.ndarray | None,  # bool [H, W]
) -> np.ndarray:
    """uint8 RGB [H, W, 3] of channels that each have a range of their own; black where nothing was measured."""
    known = np.isfinite(planes).all(axis=2)
    known = known if valid is None else known & valid
    measured = planes[known].astype(np.float64)
    low, high = np.percentile(measured, (2, 98), axis=0) if measured.size else np.zeros((2, 3))
    share = (np.where(known[..., None], planes, 0) - low) / np.maximum(high - low, 1e-12)
    return np.where(known[..., None], (255 * np.clip(share, 0, 1)).round(), HOLE).astype(np.uint8)
