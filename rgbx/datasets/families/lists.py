"""Two layouts of lists that research code shares: columns of paths, and names in {RGB,Depth,HHA,Label} folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Unpack

import numpy as np

from rgbx._files import inside
from rgbx.datasets.files import FileDataset
from rgbx.datasets.frames import ColumnFrames, FilesOfStems, Frame, StemFrames, paths_of
from rgbx.datasets.listing import (
    Holdout,
    find_folder,
    held_out,
    holdout_positions,
    id_of_path,
    lines_beside,
    list_lines,
)
from rgbx.datasets.sample import Common, Sample
from rgbx.datasets.texts import Texts
from rgbx.maps import HHA, RGB, STANDARD_MAPS, Encoding, LabelEncoding
from rgbx.maps.folders import ANY, IMAGE_SUFFIXES, MAP_SUFFIXES, FilesBelow

METRES = Encoding(STANDARD_MAPS["depth"], scale=1)
ARRAYS = (".npy", ".npz")
COLUMNS = ("rgb", "label", "depth")  # written as rgb, masks, depth
FOLDERS = {
    "rgb": ("RGB", "rgb"),
    "depth": ("Depth", "depth"),
    "hha": ("HHA", "hha"),
    "label": ("Label", "labels", "Labels", "label"),
}


class Chosen(Common, total=False):
    """What the families of these layouts take beside arguments of their own.

    `modalities` are those that are read: files of others need not exist. `holdout` makes a validation split: "exclude"
    for training, "only" for choosing a model, see `rgbx.datasets.listing.holdout_indices`. `transforms` and `targets`:
    see `DenseDataset`.
    """

    modalities: Sequence[str]
    holdout: Holdout


class ListDataset(FileDataset):
    """The lists of AsymFusion, CEN, TokenFusion and GeminiFusion: lines of rgb<TAB>masks<TAB>depth.

    Depth is 16 bits; masks hold train ids and 255 = ignore, in some copies with an offset. A mask may be smaller than
    its image: the maps are then cut to the mask's size around the centre while reading (from row (H - h) // 2, column
    (W - w) // 2), as the recipe of these works does, so that labels are never resized.

    Args:
        root: what the paths in the list are relative to.
        list_file: its name inside root.
        depth: depends on the copy.
        label_offset: train id = value - label_offset; values below it are void.
        classes, palette: see `DenseDataset`.
        modalities, holdout, common: see `Chosen`.
    """

    def __init__(
        self,
        root: str | Path,
        list_file: str,
        depth: Encoding,
        label_offset: int,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]],
        *,
        modalities: Sequence[str] = ("rgb", "depth"),
        holdout: Holdout = None,
        **common: Unpack[Common],
    ) -> None:
        self.root, self.list_file = Path(root), Path(root) / inside(root, list_file, "list_file")
        super().__init__(
            held_out(list_frames(self.root, self.list_file), holdout),
            {"rgb": RGB, "depth": depth},
            LabelEncoding(label_offset, void=tuple(range(label_offset))),
            named=_stems_beside(self.list_file),
            modalities=modalities,
            classes=classes,
            palette=palette,
            **common,
        )

    def read_frame(self, frame: Frame, names: Sequence[str]) -> Sample:
        """The arrays of the named maps, all of the label's size; messages name the columns."""
        try:
            sample = super().read_frame(frame, names)
            for name in names:
                sample[name] = _cut(sample[name], sample["label"].shape, frame.files[name])
        except (FileNotFoundError, ValueError) as error:
            listed = ", ".join(str(frame.files[name]) for name in COLUMNS)
            message = f"{error} (columns must be rgb, masks, depth; this line has {listed})"
            raise type(error)(message) from error
        return sample


class CMXDataset(FileDataset):
    """The folders of SA-Gate, CMX and DFormer: {RGB,Depth,HHA,Label}/NAME with lists of names.

    A line of a list is a name (`0`), an rgb file (`RGB/0.jpg`), or an rgb file and its label, separated by white space
    (`RGB/0.jpg Label/0.png`); as in these works only the name counts, and each map is looked for in its own folder.
    Which suffix a file has is found by looking; where Depth holds arrays (.npy), they are metres. Labels count void as
    0: train id = value - 1. HHA (Gupta et al., ECCV 2014) is stored in the order of its name: red is the horizontal
    disparity, green the height above the ground, blue the angle with gravity, and it is read in that order.

    Args:
        root: holds the folders and the lists.
        split: the name of the list, without ".txt".
        depth: what Depth holds differs between the copies.
        classes, palette: see `DenseDataset`.
        modalities, holdout, common: see `Chosen`; modalities of "rgb", "depth" and "hha".
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        depth: Encoding,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]],
        *,
        modalities: Sequence[str] = ("rgb", "depth"),
        holdout: Holdout = None,
        **common: Unpack[Common],
    ) -> None:
        self.root = Path(root)
        list_file = self.root / inside(root, f"{split}.txt", "split")
        frames = named_frames(self.root, list_file, modalities, holdout)
        arrays = any(PurePosixPath(path).suffix in ARRAYS for path in paths_of(frames, "depth"))
        super().__init__(
            frames,
            {"rgb": RGB, "depth": METRES if arrays else depth, "hha": HHA},
            LabelEncoding(offset=1, void=(0,)),
            named=_stems_beside(list_file),
            modalities=modalities,
            classes=classes,
            palette=palette,
            **common,
        )


def list_frames(root: Path, list_file: Path) -> ColumnFrames:
    """One frame per line; the stem of its rgb file is its id, or where stems repeat, its path.

    Args:
        root: what the paths in the list are relative to.
        list_file: text.

    Raises:
        FileNotFoundError: no such list.
        ValueError: an empty list, or a line that has not three columns, or that leads out of the root.
    """
    lines = list_lines(list_file, "rgb<TAB>masks<TAB>depth", partial(_columns, root))
    id_of = id_of_path(map(_first, lines.texts), lambda at: _first(lines.texts[at]))
    return ColumnFrames(root, COLUMNS, lines.texts, lines.origins, id_of)


def _first(row: str) -> str:
    return row.partition("\t")[0]


def _columns(root: Path, line: str, origin: str) -> str:
    """The paths of a line, relative to the root, with tabs between them."""
    columns = [column.strip() for column in line.split("\t")]
    if len(columns) != 3 or not all(columns):
        raise ValueError(
            f"{origin}: expected 3 tab-separated columns rgb, masks, depth, found {len(columns)}: {line!r}"
        )
    return "\t".join(inside(root, column, origin) for column in columns)


def named_frames(root: Path, list_file: Path, modalities: Sequence[str], holdout: Holdout = None) -> StemFrames:
    """Frames of a list of names, with the files of the modalities and the label.

    Args:
        root: holds the folders.
        list_file: one frame per line.
        modalities: of `FOLDERS`; other names are left to `FileDataset` to refuse.
        holdout: see `rgbx.datasets.listing.holdout_indices`.

    Raises:
        FileNotFoundError: the list or a folder is not there.
        ValueError: an empty list, or a line of more than two columns.
    """
    lines = list_lines(list_file, "names, such as RGB/0.jpg Label/0.png")
    chosen = holdout_positions(len(lines), holdout)
    names = Texts(_name(*lines[at]) for at in chosen)
    files = {}
    for kind in (*(name for name in modalities if name in FOLDERS), "label"):
        folder = find_folder(root, *FOLDERS[kind])
        files[kind] = FilesOfStems(folder, names, "", ANY, FilesBelow(folder))
    return StemFrames(files, names, lines.origins.part(chosen))


def _stems_beside(list_file: Path) -> Iterator[str]:
    """Stems of all that the lists in a folder name."""
    return (stem for line in lines_beside(list_file) for stem in {_stem(word) for word in line.split()})


def _stem(word: str) -> str:
    path = PurePosixPath(word.replace("\\", "/"))
    return path.stem if path.suffix.lower() in MAP_SUFFIXES else path.name


def _name(line: str, origin: str) -> str:
    """The frame's name: the path of its rgb file inside the rgb folder, without an image's suffix."""
    columns = line.split()
    if len(columns) > 2:
        raise ValueError(f"{origin}: expected a name, or an rgb file and its label, found {len(columns)} columns")
    path = PurePosixPath(inside(".", columns[0], origin))
    if path.suffix.lower() in IMAGE_SUFFIXES:
        path = path.with_suffix("")
    parts = path.parts[1:] if len(path.parts) > 1 and path.parts[0] in FOLDERS["rgb"] else path.parts
    return str(PurePosixPath(*parts))


def _cut(array: np.ndarray, size: tuple[int, ...], path: Path) -> np.ndarray:
    """Cuts [H, W, ...] to size around the centre."""
    (height, width), (rows, columns) = array.shape[:2], size
    if rows > height or columns > width:
        raise ValueError(f"{path}: {height}x{width} is smaller than its mask, {rows}x{columns}")
    top, left = (height - rows) // 2, (width - columns) // 2
    return np.ascontiguousarray(array[top : top + rows, left : left + columns])
