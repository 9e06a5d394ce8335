"""Frames in folders, as a declaration has them: one's own dataset, and the base of families that are only folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from rgbx.datasets.declaration import ANY_IMAGE, SPLIT, Declaration, read_declaration
from rgbx.datasets.files import FileDataset, Frame
from rgbx.datasets.listing import IMAGE_SUFFIXES, Holdout, find_image, held_out, image_files, list_lines
from rgbx.datasets.sample import Transforms

DECLARATION = "dataset.toml"


class FolderDataset(FileDataset):
    """Frames in folders, declared in `dataset.toml` in their root; `docs/datasets.md` describes the file.

    A frame is a stem: its files are `{folder}/{stem}{suffix}` of each modality and of the label. Splits are list
    files, arrays of stems, or names of folders, which replace `{split}` in the folders; there, all files of the first
    modality are frames, and where its suffix is "*" those of every asked map with that suffix, so that one that is
    missing is noticed. A list may give paths instead of stems: the first modality's folder and suffix are dropped.

    A family is a subclass with its `declaration`, and nothing else.

    Args:
        root: the folder that the declaration's paths are relative to.
        split: an entry of its [splits]; "train" unless the family has a default of its own.
        modalities: some of the declared ones; None takes all, in the order of the declaration.
        targets: those to translate to; none for segmentation.
        holdout: see `rgbx.datasets.listing.holdout_indices`, for a dataset without a validation split.
        declaration: another file, relative to root or absolute, or the declaration itself.
        transforms: see `DenseDataset`.
        choices: of the declaration's `choices`, such as `depth_kind`.

    Raises:
        FileNotFoundError, ValueError: naming the declaration and the key, or the list and the line.
    """

    declaration: ClassVar[str | Path | Declaration] = DECLARATION
    default_split: ClassVar[str] = "train"

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        *,
        modalities: Sequence[str] | None = None,
        targets: Sequence[str] = (),
        holdout: Holdout = None,
        declaration: str | Path | Declaration | None = None,
        transforms: Transforms = (),
        **choices: str,
    ) -> None:
        self.root, self.split = Path(root), self.default_split if split is None else split
        declared = self.declaration if declaration is None else declaration
        if not isinstance(declared, Declaration):
            declared = read_declaration(self.root / declared)
        modalities = tuple(declared.modalities) if modalities is None else modalities
        frames = _frames(self.root, declared, self.split, modalities, choices)
        super().__init__(
            held_out(frames, holdout),
            {name: item.encoding for name, item in declared.modalities.items()},
            declared.label.encoding if declared.label else None,
            modalities=modalities,
            classes=declared.classes,
            palette=declared.palette,
            transforms=transforms,
            targets=targets,
        )

    @property
    def stems(self) -> list[str]:
        """File names without suffix, in the order of the frames."""
        return [frame.sample_id for frame in self.frames]


def _frames(
    root: Path, declared: Declaration, split: str, modalities: Sequence[str], choices: Mapping[str, str]
) -> list[Frame]:
    if isinstance(declared.splits, str):
        entry: str | tuple[str, ...] = declared.splits.replace(SPLIT, split)
    elif split in declared.splits:
        entry = declared.splits[split]
    else:
        raise ValueError(f"{declared.name}: [splits] has {list(declared.splits)}, found split {split!r}")
    if isinstance(entry, tuple):
        return _listed(root, declared, split, [(stem, f"{declared.name}: [splits] {split}") for stem in entry], choices)
    if entry.endswith(".txt"):
        return _listed(root, declared, split, list_lines(root / entry, "one stem each"), choices)
    folders = {name: root / folder for name, folder in declared.folders(entry, choices).items()}
    suffixes = {name: item.suffix for name, item in declared.maps.items()}
    asked = [name for name in folders if name in modalities or name == "label"]
    found = {name: image_files(folders[name]) for name in asked if suffixes[name] == ANY_IMAGE}
    first = next(iter(folders))
    if suffixes[first] == ANY_IMAGE:
        stems = sorted(set().union(*(found or {first: image_files(folders[first])}).values()))
    else:
        stems = _stems_below(folders[first], suffixes[first], f"{declared.name}: [splits] {split}")
    for name, files in found.items():
        missing = [stem for stem in stems if stem not in files]
        if missing:
            raise FileNotFoundError(
                f"{folders[name]}: {name} of {len(missing)} of {len(stems)} frames is missing, such as {missing[:3]}"
            )
    fixed = [name for name, suffix in suffixes.items() if suffix != ANY_IMAGE]
    return [
        Frame(
            stem,
            {name: found[name][stem] for name in found}
            | {name: folders[name] / f"{stem}{suffixes[name]}" for name in fixed},
        )
        for stem in stems
    ]


def _stems_below(folder: Path, suffix: str, where: str) -> list[str]:
    paths = folder.rglob(f"*{suffix}")
    stems = sorted(path.relative_to(folder).as_posix().removesuffix(suffix) for path in paths)
    if not stems:
        absent = "" if folder.is_dir() else "; there is no such folder"
        raise FileNotFoundError(f"{where}: no files {folder}/*{suffix}{absent}")
    return stems


def _listed(
    root: Path,
    declared: Declaration,
    split: str,
    lines: Sequence[tuple[str, str]],  # stem, or path of the first modality's file, and where it stands
    choices: Mapping[str, str],
) -> list[Frame]:
    """Frames of a list; which suffix `ANY_IMAGE` stands for is found by looking for the first frame's file."""
    folders = declared.folders(split, choices)
    suffixes = {name: item.suffix for name, item in declared.maps.items()}
    first = next(iter(folders))
    endings = IMAGE_SUFFIXES if suffixes[first] == ANY_IMAGE else (suffixes[first],)
    stems = []
    for line, _ in lines:
        stem = line.strip().removeprefix(f"{folders[first]}/")
        stems.append(stem.removesuffix(next((ending for ending in endings if stem.endswith(ending)), "")))
    for name, suffix in suffixes.items():
        if suffix == ANY_IMAGE:
            suffixes[name] = find_image(root / folders[name], stems[0]).suffix
    return [
        Frame(stem, {name: root / folders[name] / f"{stem}{suffixes[name]}" for name in folders}, origin)
        for stem, (_, origin) in zip(stems, lines, strict=True)
    ]
