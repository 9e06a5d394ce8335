"""MFNet's four-channel images (Ha et al., IROS 2017) as separate rgb and thermal files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from rgbx.datasets.families.mfnet import FLIP, MFNET_LISTS, listed_stems, read_four_channels
from rgbx.datasets.prepare.output import Job
from rgbx.maps.files import encode_png


def mfnet_jobs(root: str | Path) -> list[Job]:
    """Jobs for rgb/, ther/ (8 bits, the fourth channel) and labels/ of all listed frames, and for the lists.

    Labels and lists are copied byte for byte. Of listed mirrored copies that are not there the originals are
    taken, which `rgbx.datasets.MFNet` mirrors while reading.

    Args:
        root: the folder that holds images, labels and the lists.

    Raises:
        FileNotFoundError: no list.
        ValueError: an empty list.
    """
    root = Path(root)
    lists = [name for name in (f"{split}.txt" for split in MFNET_LISTS) if (root / name).is_file()]
    if not lists:
        raise FileNotFoundError(f"{root}: none of the lists {', '.join(f'{split}.txt' for split in MFNET_LISTS)}")
    origins: dict[str, str] = {}
    for name in lists:
        for stem, origin in listed_stems(root / name):
            copied = not stem.endswith(FLIP) or _image(root, stem).is_file()
            origins.setdefault(stem if copied else stem.removesuffix(FLIP), origin)
    frames = [Job(_names(stem), partial(_content, root, stem, origin)) for stem, origin in sorted(origins.items())]
    return frames + [Job((name,), partial(_copy, root / name, name)) for name in lists]


def _image(root: Path, stem: str) -> Path:
    return root / "images" / f"{stem}.png"


def _names(stem: str) -> tuple[str, str, str]:
    return f"rgb/{stem}.png", f"ther/{stem}.png", f"labels/{stem}.png"


def _copy(path: Path, name: str) -> Mapping[str, bytes]:
    return {name: path.read_bytes()}


def _content(root: Path, stem: str, origin: str) -> Mapping[str, bytes]:
    image, label = _image(root, stem), root / "labels" / f"{stem}.png"
    for path in (image, label):
        if not path.is_file():
            raise FileNotFoundError(f"{origin}: {path}: no such file")
    four = read_four_channels(image)
    files = encode_png(np.ascontiguousarray(four[..., :3])), encode_png(four[..., 3]), label.read_bytes()
    return dict(zip(_names(stem), files, strict=True))
