"""The doctor's contact sheet: frames as rows; image, maps, label and label over image as columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from rgbx._text import modality_title
from rgbx.doctor.diagnosis import Diagnosis
from rgbx.doctor.inspection import InspectedFrame, Split, full_name
from rgbx.maps import MapSpec
from rgbx.maps.colour import class_legend, colour_input, colour_labels, colour_map, scale_of

ROWS = 8
_PIXELS = 400  # longest side of a panel
_INCHES = 2.6


def save_sheet(diagnosis: Diagnosis, path: str | Path, *, rows: int = ROWS) -> None:
    """Draws some frames of each split as a PNG: first those that a warning or an error is about.

    Args:
        diagnosis: of `rgbx.doctor.diagnose`.
        path: the file; its folder is made.
        rows: frames in all.
    """
    per_split = max(1, rows // max(len(diagnosis.splits), 1))
    chosen = [row for split in diagnosis.splits for row in _rows(split, diagnosis, per_split)]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(chosen).savefig(path, dpi=100)


Row = tuple[Split, InspectedFrame, str]  # with what was found about the frame


def _rows(split: Split, diagnosis: Diagnosis, count: int) -> list[Row]:
    checks: dict[str, list[str]] = {}
    first: dict[int, None] = {}  # one frame of each finding, in their order
    for finding in diagnosis.findings:
        known = [name for name in sorted(finding.frames) if name in split.index_of]
        if finding.severity == "info" or split.name not in (finding.split, *finding.split.split(", ")):
            continue
        for sample_id in known:
            checks.setdefault(sample_id, []).append(finding.check)
        if known:
            first[split.index_of[known[0]]] = None
    named = list(first)[: (count + 1) // 2]
    rest = [index for index in split.index_of.values() if index not in named]
    even = [rest[k * len(rest) // (count - len(named))] for k in range(count - len(named))] if rest else []
    frames = [split.inspect(index) for index in dict.fromkeys([*named, *even])]
    return [(split, frame, ", ".join(dict.fromkeys(checks.get(frame.sample_id, [])))) for frame in frames]


def contact_sheet(rows: Sequence[Row]) -> Figure:
    """A grid with one frame per row, its name above it, and a legend of the classes that occur."""
    columns = list(dict.fromkeys(name for split, _, _ in rows for name in split.dataset.maps))
    labelled = any("label" in frame.files or "label" in (frame.sample or {}) for _, frame, _ in rows)
    titles = [modality_title(name) for name in columns] + (["label", "label over RGB"] if labelled else [])
    shape = next((next(iter(frame.raw.values())).shape for _, frame, _ in rows if frame.raw), (3, 4))
    legend = _legend(rows)
    legend_rows = -(-len(legend) // (2 * max(len(titles), 1)))
    row_inches = _INCHES * shape[0] / shape[1] + 0.28
    figure = Figure(
        figsize=(_INCHES * max(len(titles), 2), row_inches * max(len(rows), 1) + 0.35 + 0.22 * legend_rows),
        layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, wspace=0.0, hspace=0.0),
    )
    grid = figure.subplots(len(rows), len(titles), squeeze=False)
    for cells, (split, frame, about) in zip(grid, rows, strict=True):
        panels = frame_panels(split, frame, columns)
        for cell, title in zip(cells, titles, strict=True):
            _draw(cell, panels.get(title, "not there"), shape)
        for cell, name in zip(cells, columns, strict=False):
            cell.set_title(_range(frame, split.dataset.maps.get(name)), fontsize=8, loc="right", color="0.35")
        name = full_name(split.name, textwrap.shorten(frame.sample_id, 48)) + (f"   [{about}]" if about else "")
        cells[0].set_title(name, fontsize=9, loc="left", color="firebrick" if about else "black")
    for cell, title in zip(grid[0], titles, strict=True):
        cell.annotate(title, (0.5, 1.0), (0, 17), "axes fraction", textcoords="offset points", ha="center", fontsize=12)
    if legend:
        patches = [
            Patch(facecolor=f"#{bytes(map(int, colour)).hex()}", edgecolor="0.4", label=name)
            for name, colour in legend.items()
        ]
        figure.legend(
            handles=patches, loc="outside lower center", ncols=2 * len(titles), frameon=False, fontsize=8.5,
            columnspacing=1.2, handlelength=1.4,
        )  # fmt: skip
    return figure


def frame_panels(split: Split, frame: InspectedFrame, columns: Sequence[str]) -> dict[str, np.ndarray | str]:
    """Title -> picture uint8 [H, W, 3], or a text in its place.

    Of a frame that the dataset refuses the files are shown as stored.
    """
    panels: dict[str, np.ndarray | str] = {}
    arrays = frame.sample if frame.sample is not None else frame.raw
    why = frame.refusal or "no such file"
    for name in columns:
        if name in arrays:
            panels[modality_title(name)] = _picture(
                arrays[name], split.dataset.maps.get(name), arrays.get(f"{name}_valid")
            )
        else:
            fault = frame.damage.get(frame.files[name]) if name in frame.files else None
            panels[modality_title(name)] = fault or why
    label = arrays.get("label")
    if label is not None and label.ndim == 2:
        coloured = _small(colour_labels(np.minimum(label, 255), split.dataset.palette))
        panels["label"] = coloured
        rgb = panels.get("RGB")
        if isinstance(rgb, np.ndarray) and np.shape(arrays["rgb"])[:2] == label.shape:
            panels["label over RGB"] = cv2.addWeighted(rgb, 0.5, coloured, 0.5, 0)
        else:
            panels["label over RGB"] = "sizes differ" if isinstance(rgb, np.ndarray) else "no RGB"
    elif label is not None:
        panels["label"] = _picture(label, None)
    elif "label" in frame.files:
        panels["label"] = frame.damage.get(frame.files["label"]) or why
    return panels


def _range(frame: InspectedFrame, spec: MapSpec | None) -> str:
    """ "0.9 to 4.3 m", what the colours of a measured map stand for; "" for pictures."""
    if spec is None or frame.sample is None or spec.channels > 1:
        return ""
    values = frame.sample[spec.name]
    values = values[values > 0] if spec.unit == "metre" else values
    if spec.dtype != "float32" or not values.size:
        return ""
    low, high = np.percentile(values, (2, 98))
    return f"{low:.3g} to {high:.3g}" + (" m" if spec.unit == "metre" else "")


def _picture(
    array: np.ndarray,  # [H, W] or [H, W, C]
    spec: MapSpec | None,
    valid: np.ndarray | None = None,  # uint8 [H, W]
) -> np.ndarray:
    if array.ndim == 3 and (array.shape[2] == 2 or (spec is not None and spec.has_bands)):
        mask = None if valid is None else valid[None] > 0
        return _small(colour_input("" if spec is None else spec.name, array.transpose(2, 0, 1), mask, spec))
    if array.ndim == 3 and array.shape[2] >= 3:
        planes = array[..., :3]
        if planes.dtype != np.uint8:
            unit = spec is not None and spec.unit == "unit_vector"
            planes = 127.5 + 127.5 * planes if unit else 255 * planes / max(float(planes.max()), 1e-9)
        return _small(np.clip(planes, 0, 255).astype(np.uint8))
    values = np.squeeze(array).astype(float)
    metric = spec is not None and spec.unit == "metre"
    colours = scale_of("") if spec is None else scale_of(spec.name, spec.unit)
    return _small(colour_map(values, values > 0 if metric else None, colours))


def _small(
    picture: np.ndarray,  # [H, W, 3]
) -> np.ndarray:
    """Every n-th pixel of a large picture, so that labels and depth show no values that are not there."""
    every = max(1, round(max(picture.shape[:2]) / _PIXELS))
    return np.ascontiguousarray(picture[::every, ::every])


def _draw(
    cell: Axes,
    panel: np.ndarray | str,  # [H, W, 3]
    shape: tuple[int, ...],
) -> None:
    if isinstance(panel, np.ndarray):
        cell.imshow(panel, interpolation="antialiased")
        cell.set_axis_off()
        return
    cell.imshow(np.full((*shape[:2], 3), 237, np.uint8))  # as large as a picture
    cell.set_axis_off()
    text = "\n".join(textwrap.wrap(textwrap.shorten(panel, 160), 32))
    cell.text(0.5, 0.5, text, ha="center", va="center", fontsize=7.5, color="firebrick", transform=cell.transAxes)


def _legend(rows: Sequence[Row]) -> dict[str, Sequence[int]]:
    legend: dict[str, Sequence[int]] = {}
    for split, frame, _ in rows:
        label = (frame.sample or {}).get("label")
        if label is not None:
            legend.update(class_legend([label], split.dataset.metainfo))
    last = legend.pop("not labelled", None)
    return legend if last is None else {**legend, "not labelled": last}
