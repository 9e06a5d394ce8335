"""One's own dataset: folders of images and a declaration of what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rgbx.datasets.files import FileDataset, Frame
from rgbx.datasets.folder.declaration import SPLIT, Declaration, DeclaredMap, read_declaration
from rgbx.datasets.holdout import Holdout, holdout_indices
from rgbx.datasets.listing import list_lines
from rgbx.datasets.sample import Transform

DECLARATION = "dataset.toml"


class FolderDataset(FileDataset):
    """Frames in folders, declared in `dataset.toml` in their root; `docs/datasets.md` describes the file.

    A frame is a stem: its files are `{folder}/{stem}{suffix}` of each modality and of the label. Splits are list
    files, arrays of stems, or names of folders, which replace `{split}` in the folders; there, all files of the first
    modality are frames. A list may give paths instead of stems: the first modality's folder and suffix are dropped.

    Args:
        root: the folder that the declaration's paths are relative to.
        split: an entry of its [splits].
        modalities: some of the declared ones; None takes all, in the order of the declaration.
        targets: those to translate to; none for segmentation.
        holdout: see `rgbx.datasets.holdout`, for a dataset without a validation split.
        declaration: another file, relative to root or absolute.
        transforms: see `DenseDataset`.

    Raises:
        FileNotFoundError, ValueError: naming the declaration and the key, or the list and the line.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        modalities: Sequence[str] | None = None,
        targets: Sequence[str] = (),
        holdout: Holdout = None,
        declaration: str | Path = DECLARATION,
        transforms: Sequence[Transform | dict[str, Any]] = (),
    ) -> None:
        self.root, self.split = Path(root), split
        declared = read_declaration(self.root / declaration)
        maps = dict(declared.modalities)
        frames = _frames(self.root, declared, split)
        readers = {name: item.read for name, item in maps.items()}
        super().__init__(
            [frames[i] for i in holdout_indices(len(frames), holdout)],
            readers | ({"label": declared.label.read} if declared.label else {}),
            modalities=tuple(maps) if modalities is None else modalities,
            classes=declared.classes,
            palette=declared.palette,
            transforms=transforms,
            maps={name: item.spec for name, item in maps.items() if item.spec is not None},
            targets=targets,
        )


def _frames(root: Path, declared: Declaration, split: str) -> list[Frame]:
    if split not in declared.splits:
        raise ValueError(f"{declared.file}: [splits] has {list(declared.splits)}, found split {split!r}")
    entry = declared.splits[split]
    first = next(iter(declared.modalities.values()))
    if isinstance(entry, tuple):
        return [_frame(root, declared, split, first, stem, f"{declared.file}: [splits] {split}") for stem in entry]
    if entry.endswith(".txt"):
        lines = list_lines(root / entry, "one stem each")
        return [_frame(root, declared, split, first, line.strip(), origin) for line, origin in lines]
    folder = root / first.folder.replace(SPLIT, entry)
    stems = sorted(
        path.relative_to(folder).as_posix().removesuffix(first.suffix) for path in folder.rglob(f"*{first.suffix}")
    )
    if not stems:
        raise FileNotFoundError(
            f"{declared.file}: [splits] {split}: no files {folder}/*{first.suffix}"
            + ("" if folder.is_dir() else "; there is no such folder")
        )
    return [_frame(root, declared, entry, first, stem, "") for stem in stems]


def _frame(root: Path, declared: Declaration, split: str, first: DeclaredMap, text: str, origin: str) -> Frame:
    """The files of one stem, or of the path of the first modality's file."""
    stem = text.removeprefix(first.folder.replace(SPLIT, split) + "/").removesuffix(first.suffix)
    maps = {**declared.modalities, **({"label": declared.label} if declared.label else {})}
    files = {name: root / item.folder.replace(SPLIT, split) / f"{stem}{item.suffix}" for name, item in maps.items()}
    return Frame(stem, files, origin)
