"""Frames in folders, as a declaration has them: one's own dataset, and the base of families that are only folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from rgbx.datasets.declaration import Declaration, read_declaration
from rgbx.datasets.declared_frames import DeclaredFrames
from rgbx.datasets.files import FileDataset
from rgbx.datasets.frames import Frame, ids_of
from rgbx.datasets.listing import Holdout, held_out
from rgbx.datasets.sample import Transforms

DECLARATION = "dataset.toml"


class FolderDataset(FileDataset):
    """Frames in folders, declared in `dataset.toml` in their root; `docs/datasets.md` describes the file.

    A frame is a stem: its files are `{folder}/{prefix}{stem}{suffix}` of each modality and of the label. Splits are
    list files, arrays of stems, or names of folders, which replace `{split}` in the folders; there, all files of the
    first modality are frames, and where its suffix is "*" those of every asked map with that suffix, so that one that
    is missing is noticed. A list may give paths instead of stems: the first modality's folder, prefix and suffix are
    dropped. Lists with timestamps pair files of different names.

    A family is a subclass with its `declaration`, and nothing else.

    Args:
        root: the folder that the declaration's paths are relative to.
        split: an entry of its [splits]; "train" unless the family has a default of its own.
        modalities: some of the declared ones; None takes all, in the order of the declaration.
        targets: those to translate to; none for segmentation.
        holdout: see `rgbx.datasets.listing.holdout_indices`, for a dataset without a validation split.
        declaration: another file, relative to root or absolute, or the declaration itself.
        transforms: see `DenseDataset`.
        missing: what becomes of frames that lack a modality, see `FileDataset`; unless it is an error, frames of a
            split that is a folder are those of which any modality has a file.
        choices: of the declaration's `choices`, such as `depth_kind`.

    Attributes:
        stamps: of a split with times, all files of each modality that has them, in the order of time.
        declared_in: the file of the declaration, or its name.
        streams: how such a split is paired, and the delays that it states; None of others.

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
        missing: str = "error",
        **choices: str,
    ) -> None:
        self.root, self.split = Path(root), self.default_split if split is None else split
        declared = self.declaration if declaration is None else declaration
        if not isinstance(declared, Declaration):
            declared = read_declaration(self.root / declared)
        modalities = tuple(declared.modalities) if modalities is None else modalities
        listed = DeclaredFrames(self.root, declared, self.split, modalities, choices, of_any=missing != "error")
        self.stamps = {name: listed.stamps[name] for name in listed.stamps if name in declared.modalities}
        self.declared_in, self.streams = declared.name, listed.streams
        super().__init__(
            self.part(self.kept(listed), holdout),
            {name: item.encoding for name, item in declared.modalities.items()},
            declared.label.encoding if declared.label else None,
            around=listed.around(),
            named=listed.named(),
            missing=missing,
            modalities=modalities,
            classes=declared.classes,
            palette=declared.palette,
            transforms=transforms,
            targets=targets,
        )

    @property
    def metainfo(self) -> dict[str, Any]:
        """Beside the base's, of a split with times how files are paired, `max_gap` and `delays` in seconds."""
        if self.streams is None:
            return super().metainfo
        delays = {name: delay for name, delay in self.streams.delays.items() if name in self.modalities}
        return {**super().metainfo, "times": {"max_gap": self.streams.max_gap, "delays": delays}}

    def kept(self, listed: DeclaredFrames) -> Sequence[Frame]:
        """Which of the frames that a declaration lists are the dataset's; override to keep a part, or more of each."""
        return listed.frames

    def part(self, frames: Sequence[Frame], holdout: Holdout) -> Sequence[Frame]:
        """Which of the dataset's frames `holdout` asks for; override where frames share files."""
        return held_out(frames, holdout)

    @property
    def stems(self) -> list[str]:
        """File names without suffix, in the order of the frames."""
        return list(ids_of(self.frames))
