"""The folder layout of SA-Gate, CMX and DFormer: {RGB,Depth,HHA,Label}/NAME with lists of names.

A line of a list is a name (`0`), an rgb file (`RGB/0.jpg`), or an rgb file and its label, separated by white space
(`RGB/0.jpg Label/0.png`); as in these works only the name counts, and each map is looked for in its own folder. Which
suffix a folder's images have is found by looking. Labels count void as 0: train id = value - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from rgbx.datasets.files import Frame, Reader
from rgbx.datasets.holdout import Holdout, holdout_indices
from rgbx.datasets.listing import IMAGE_SUFFIXES, find_folder, find_image, list_lines
from rgbx.datasets.reading import offset_lookup, read_label, read_rgb

FOLDERS = {
    "rgb": ("RGB", "rgb"),
    "depth": ("Depth", "depth"),
    "hha": ("HHA", "hha"),
    "label": ("Label", "labels", "Labels", "label"),
}


def cmx_frames(root: Path, list_file: Path, modalities: Sequence[str], holdout: Holdout = None) -> list[Frame]:
    """Frames of a list, with the files of the modalities and the label.

    Args:
        root: holds the folders.
        list_file: one frame per line.
        modalities: of `FOLDERS`; other names are left to `FileDataset` to refuse.
        holdout: see `rgbx.datasets.holdout`.

    Raises:
        FileNotFoundError: the list or a folder is not there.
        ValueError: an empty list, or a line of more than two columns.
    """
    lines = list_lines(list_file, "names, such as RGB/0.jpg Label/0.png")
    lines = [lines[index] for index in holdout_indices(len(lines), holdout)]
    named = [(_name(line, origin), origin) for line, origin in lines]
    places = {}
    for kind in (*(name for name in modalities if name in FOLDERS), "label"):
        folder = find_folder(root, *FOLDERS[kind])
        places[kind] = folder, find_image(folder, named[0][0]).suffix
    return [
        Frame(name, {kind: folder / f"{name}{suffix}" for kind, (folder, suffix) in places.items()}, origin)
        for name, origin in named
    ]


def cmx_readers(depth: Reader) -> dict[str, Reader]:
    """Readers of the layout; what Depth holds differs between its copies.

    HHA (Gupta et al., ECCV 2014) is stored in the order of its name: red is the horizontal disparity, green the height
    above the ground, blue the angle with gravity, and it is read in that order.
    """
    return {
        "rgb": read_rgb,
        "depth": depth,
        "hha": read_rgb,
        "label": partial(read_label, lookup=offset_lookup(1, void=(0,))),
    }


def _name(line: str, origin: str) -> str:
    """The frame's name: the path of its rgb file inside the rgb folder, without an image's suffix."""
    columns = line.split()
    if len(columns) > 2:
        raise ValueError(f"{origin}: expected a name, or an rgb file and its label, found {len(columns)} columns")
    path = PurePosixPath(columns[0])
    if path.suffix.lower() in IMAGE_SUFFIXES:
        path = path.with_suffix("")
    inside = path.parts[1:] if len(path.parts) > 1 and path.parts[0] in FOLDERS["rgb"] else path.parts
    return str(PurePosixPath(*inside))
