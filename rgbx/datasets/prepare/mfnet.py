"""MFNet's four-channel images (Ha et al., IROS 2017) as separate rgb and thermal files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from rgbx.datasets.files import list_lines
from rgbx.datasets.prepare.encoding import encode_png
from rgbx.datasets.prepare.output import Job
from rgbx.datasets.reading import read_image

_LISTS = ("train.txt", "val.txt", "test.txt", "test_day.txt", "test_night.txt")


def mfnet_jobs(root: str | Path) -> list[Job]:
    """Jobs for rgb/, ther/ (8 bits, the fourth channel) and labels/ of all listed frames, and for the lists.

    Labels and lists are copied byte for byte.

    Args:
        root: the folder that holds images, labels and the lists.

    Raises:
        FileNotFoundError: no list.
        ValueError: an empty list.
    """
    root = Path(root)
    lists = [name for name in _LISTS if (root / name).is_file()]
    if not lists:
        raise FileNotFoundError(f"{root}: none of the lists {', '.join(_LISTS)}")
    origins: dict[str, str] = {}
    for name in lists:
        for line, origin in list_lines(root / name, "one name each"):
            origins.setdefault(line.strip(), origin)
    frames = [Job(_names(stem), partial(_content, root, stem, origin)) for stem, origin in sorted(origins.items())]
    return frames + [Job((name,), partial(_copy, root / name, name)) for name in lists]


def _names(stem: str) -> tuple[str, str, str]:
    return f"rgb/{stem}.png", f"ther/{stem}.png", f"labels/{stem}.png"


def _copy(path: Path, name: str) -> Mapping[str, bytes]:
    return {name: path.read_bytes()}


def _content(root: Path, stem: str, origin: str) -> Mapping[str, bytes]:
    image, label = root / "images" / f"{stem}.png", root / "labels" / f"{stem}.png"
    for path in (image, label):
        if not path.is_file():
            raise FileNotFoundError(f"{origin}: {path}: no such file")
    four = read_image(image)
    if four.dtype != np.uint8 or four.shape[2:] != (4,):
        raise ValueError(f"{image}: expected four channels of 8 bits, found {four.dtype} of shape {four.shape}")
    files = encode_png(np.ascontiguousarray(four[..., :3])), encode_png(four[..., 3]), label.read_bytes()
    return dict(zip(_names(stem), files, strict=True))
