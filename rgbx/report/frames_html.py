"""One frame of a report: its pictures, embedded, and the classes that occur in it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path, PurePosixPath
from typing import Any

from rgbx.evaluate.pictures import IGNORED, modality_title
from rgbx.evaluate.result_reading import Result
from rgbx.report.markup import percent, swatch

PNG = b"\x89PNG\r\n\x1a\n"
CLASSES_SHOWN = 14


def frame_html(entry: Mapping[str, Any], result: Result, folder: Path) -> str:
    """Heading, pictures and legend of one entry of `pictures`."""
    sample = escape(entry["sample_id"])
    figures = "".join(_figure(name, entry, folder) for name in sorted(entry["files"], key=_place))
    return (
        f'<article class="frame"><h3>{escape(entry["kind"].capitalize())} <span>{sample}, '
        f'mIoU {percent(entry["mIoU"])}</span></h3>\n<div class="pictures">{figures}</div>\n'
        f"{_legend(entry['sample_id'], result)}</article>\n"
    )


def _place(name: str) -> int:
    """Inputs in their order, truth, branches in their order, ensemble, error map."""
    if name == "prediction/ensemble":
        return 3
    return {"label": 1, "prediction": 2, "error": 4}.get(name.split("/")[0], 0)


def _figure(name: str, entry: Mapping[str, Any], folder: Path) -> str:
    title = picture_title(name)
    smooth = "" if name in ("label", "error") or name.startswith("prediction/") else ' class="smooth"'
    alt = escape(f"{title} of the {entry['kind']} frame, {entry['sample_id']}")
    uri = picture_uri(folder, entry["files"][name])
    return f'<figure><img{smooth} src="{uri}" alt="{alt}"><figcaption>{escape(title)}</figcaption></figure>'


def picture_title(name: str) -> str:
    """A picture's name in the result file as a caption: "RGB", "truth", "ensemble", "RGB branch", "errors"."""
    if name in ("label", "error"):
        return {"label": "truth", "error": "errors of the ensemble"}[name]
    kind, _, branch = name.partition("/")
    if kind != "prediction":
        return modality_title(name)
    return branch if branch == "ensemble" else f"{modality_title(branch)} branch"


def picture_uri(folder: Path, relative: str) -> str:
    """A PNG below `folder` as a data URI.

    Raises:
        ValueError: the path leaves the folder, or the file is no PNG.
        FileNotFoundError: no such file.
    """
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"pictures: expected a path below the result file, found {relative!r}")
    data = (folder / path).read_bytes()
    if not data.startswith(PNG):
        raise ValueError(f"pictures: {folder / path} is no PNG file")
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _legend(sample_id: str, result: Result) -> str:
    """The classes of the frame's truth and ensemble, most pixels first."""
    pixels: dict[int, int] = {}
    for true, predicted, count in _cells(sample_id, result):
        for k in {true, predicted}:
            pixels[k] = pixels.get(k, 0) + count
    ranked = sorted(pixels, key=lambda k: -pixels[k])
    names, colours = result["dataset"]["classes"], result["dataset"]["palette"]
    items = [f"<li>{swatch(colours[k])}{escape(names[k])}</li>" for k in ranked[:CLASSES_SHOWN]]
    if len(ranked) > CLASSES_SHOWN:
        items.append(f"<li>and {len(ranked) - CLASSES_SHOWN} more</li>")
    items.append(f"<li>{swatch(IGNORED)}not labelled</li>")
    return f'<ul class="legend">{"".join(items)}</ul>\n'


def _cells(sample_id: str, result: Result) -> list[list[int]]:
    return next((image["confusion"] for image in result["images"] if image["sample_id"] == sample_id), [])
