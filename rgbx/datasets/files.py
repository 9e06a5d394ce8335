"""Datasets whose maps lie in files: a family lists its frames and says how the files of each map hold its values.

`rgbx.datasets.listing` has what families list frames with.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from rgbx._choices import MISSING
from rgbx._text import nearest, one_of
from rgbx.datasets.frame_files import Folders, FrameFiles, check_ids, first_of, left_over
from rgbx.datasets.frame_sets import by_set, sets_of_frames, told_by_set
from rgbx.datasets.frames import Frame, ListedFrames, chosen, has_file, without_files
from rgbx.datasets.sample import DenseDataset, Described, Sample
from rgbx.maps import Encoding, LabelEncoding

_LOG = logging.getLogger("rgbx")


class MissingFileError(FileNotFoundError):
    """Files of a dataset's frames are not there.

    Attributes:
        dataset: it has listed its frames, so what else is wrong with them can be examined.
    """

    dataset: FileDataset | None = None


class FileDataset(DenseDataset):
    """Reads each map of a frame as its encoding says; the constructor opens no frame.

    A family subclasses it with a constructor that lists the frames, or that calls `read_frame` differently where one
    file holds several maps.

    Args:
        frames: in the order of the split.
        encodings: per map what it means and how its files hold it.
        label: how files of labels hold class ids; None where there are none.
        around: folders with the files that may be frames; by default those that lie beside the frames' own.
        named: names of frames that other splits or lists have, with their folders or without; asked for where files
            may be theirs.
        missing: what becomes of frames without a file of some modality: "error" refuses the dataset, "skip" leaves such
            frames out, and "allow" keeps them, without that map. Files of labels and targets must be there.
        described: `modalities`, `classes`, `palette`, `transforms` and `targets`, see `DenseDataset`.

    Attributes:
        frames: as given; those of a list of millions are made when they are asked for.
        left_over: per map the files that look like a frame's and are none, see `rgbx.datasets.frame_files.left_over`;
            the log tells them in one line.

    Raises:
        ValueError: no frame, two of one id, something that is no file, or a modality that the layout does not have.
        MissingFileError: a file of any frame is not there, so that it fails here and not in a worker; of a dataset that
            may lack some, that of a label or target, or a modality that no frame has.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        encodings: Mapping[str, Encoding],
        label: LabelEncoding | None = None,
        *,
        around: Folders | None = None,
        named: Iterable[str] = (),
        missing: str = "error",
        **described: Unpack[Described],
    ) -> None:
        modalities = described["modalities"]
        if missing not in MISSING:
            raise ValueError(
                f"{type(self).__name__} has missing={missing!r}; expected one of {one_of(MISSING, missing)}"
            )
        if (
            missing != "error"
        ):  # else it is the class's: what was kept of datasets before there was a choice stays valid
            self.missing = missing
        if isinstance(modalities, str):
            raise ValueError(f"modalities must be a sequence of names such as ({modalities!r},), found {modalities!r}")
        unknown = [name for name in modalities if name not in encodings]
        if unknown:
            known, near = " and ".join(map(repr, encodings)), nearest(unknown[0], encodings)
            raise ValueError(f"{type(self).__name__} has the modalities {known}, found {unknown}{near}")
        super().__init__(maps={name: encodings[name].spec for name in modalities}, **described)
        if not frames:
            raise ValueError(f"{type(self).__name__}: no frames")
        self.frames: Sequence[Frame] = frames if isinstance(frames, ListedFrames) else list(frames)
        self.encodings, self.label = dict(encodings), label
        self.left_over: dict[str, list[str]] = {}
        self._compare(around, named)

    @property
    def metainfo(self) -> dict[str, Any]:
        """Beside the base's, how files hold the modalities (`Encoding.as_dict`), so that others are read alike.

        Of colours only the array of an `.npz`: their files need no words.
        """
        used = {name: self.encodings[name] for name in self.maps}
        told = {name: item.as_dict() for name, item in used.items() if item.unit not in ("rgb8", "encoded") or item.key}
        return {**super().metainfo, "stored": told}

    def __len__(self) -> int:
        return len(self.frames)

    def name_of(self, index: int) -> str:
        """See `DenseDataset.name_of`."""
        return self.frames[index].sample_id

    @property
    def frame_sets(self) -> np.ndarray | None:
        """See `DenseDataset.frame_sets`."""
        if self.missing != "allow":
            return None
        return sets_of_frames([has_file(self.frames, name) for name in self.modalities])

    def files_of(self, frame: Frame) -> dict[str, Path]:
        """The files that a training opens: of the label, where the frame has one, and of the modalities."""
        names = (*(("label",) if self.label else ()), *self.modalities)
        return {name: Path(frame.files[name]) for name in names if name in frame.files}

    def read(self, index: int) -> Sample:
        """The frame's modalities and, where it has one, its label; see `rgbx.datasets.sample`."""
        frame = self.frames[index]
        files = self.files_of(frame)
        try:
            missing = [name for name in self.modalities if name not in files]
            if missing and (self.missing != "allow" or len(missing) == len(self.modalities)):
                raise ValueError(f"frame {frame.sample_id!r} has no file for {missing}")
            paths = {name: str(frame.files[name]) for name in files}
            return {"sample_id": frame.sample_id, "paths": paths, **self.read_frame(frame, list(files))}
        except (FileNotFoundError, ValueError) as error:
            if not frame.origin:
                raise
            raise type(error)(f"{frame.origin}: {error}") from error

    def read_frame(self, frame: Frame, names: Sequence[str]) -> Sample:
        """The arrays of the named maps, and their masks; override where one file holds several, to decode it once."""
        arrays: Sample = {}
        for name in names:
            if name == "label" and self.label is not None:
                arrays[name] = self.label.read(frame.files[name])
                continue
            arrays[name], measured = self.encodings[name].read_masked(frame.files[name])
            if measured is not None:
                arrays[f"{name}_valid"] = measured
        return arrays

    def encode_label(self, label: np.ndarray) -> np.ndarray:
        """Train ids, uint8 [H, W], as the label files store them."""
        return label if self.label is None else self.label.encode(label)

    def _compare(self, around: Folders | None, named: Iterable[str]) -> None:
        names = (*(("label",) if self.label else ()), *self.modalities)
        check_ids(self.frames)
        files = FrameFiles(self.frames)
        absent = files.missing(names)
        fatal = absent if self.missing == "error" else self._without(files, absent)
        if fatal:
            error = MissingFileError(files.told(fatal))
            error.dataset = self
            raise error
        self.left_over = left_over(files, names, files.beside() if around is None else around, named)
        if self.left_over:
            told = (
                f"{len(files)} of {name} in {Path(files[0]).parent}, {first_of([Path(file).name for file in files])}"
                for name, files in self.left_over.items()
            )
            _LOG.warning("%s: files that no frame takes: %s", type(self).__name__, "; ".join(told))

    def _without(self, files: FrameFiles, absent: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Keeps the frames that `missing` says, those of which a file is absent without it.

        Args:
            files: of all frames.
            absent: by map, the frames whose file is not there, int64 [n].

        Returns:
            Those of the absent files that must be there.
        """
        needed = ("label", *self.targets)
        if fatal := {name: at for name, at in absent.items() if name in needed or len(at) == len(self.frames)}:
            return fatal
        frames = without_files(self.frames, absent)
        has = np.stack([has_file(frames, name) for name in self.modalities if name not in self.targets])
        kept = has.all(0) if self.missing == "skip" else has.any(0)
        if not kept.any():
            return dict(absent)
        self.frames = frames if kept.all() else chosen(frames, np.flatnonzero(kept))
        if left := int((~kept).sum()):
            why = files.counts(absent) or "the others name no file of a modality"
            _LOG.warning("%s: %d of %d frames are left out: %s", type(self).__name__, left, len(files.frames), why)
        if (sets := self.frame_sets) is not None:
            told = told_by_set(by_set(sets, self.modalities))
            _LOG.warning("%s: frames differ in what they have: %s", type(self).__name__, told)
        return {}
