"""Datasets whose maps lie in files: a family lists its frames and says how the files of each map hold its values.

`rgbx.datasets.listing` has what families list frames with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from rgbx.datasets.sample import DenseDataset, Described, Sample
from rgbx.maps import Encoding, LabelEncoding


@dataclass(frozen=True)
class Frame:
    """One frame on disk.

    Attributes:
        sample_id: unique in its split; names the results.
        files: the file behind each map and behind "label"; a test frame may have no label. Files of modalities that
            nobody asks for may be listed: they are not opened.
        origin: where the frame was listed ("…/train.txt:12"), for messages; "" where folders were listed.
        mirrored: whether the frame is the mirror image of its files, which another frame may have too.
    """

    sample_id: str
    files: Mapping[str, Path] = field(repr=False)
    origin: str = ""
    mirrored: bool = False


class MissingFileError(FileNotFoundError):
    """A file of a dataset's first frame is not there.

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
        described: `modalities`, `classes`, `palette`, `transforms` and `targets`, see `DenseDataset`.

    Raises:
        ValueError: no frame, or a modality that the layout does not have.
        MissingFileError: a file of the first frame is not there, so that a wrong root fails here and not in a worker.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        encodings: Mapping[str, Encoding],
        label: LabelEncoding | None = None,
        **described: Unpack[Described],
    ) -> None:
        modalities = described["modalities"]
        if isinstance(modalities, str):
            raise ValueError(f"modalities must be a sequence of names such as ({modalities!r},), found {modalities!r}")
        unknown = [name for name in modalities if name not in encodings]
        if unknown:
            known = " and ".join(map(repr, encodings))
            raise ValueError(f"{type(self).__name__} has the modalities {known}, found {unknown}")
        super().__init__(maps={name: encodings[name].spec for name in modalities}, **described)
        if not frames:
            raise ValueError(f"{type(self).__name__}: no frames")
        self.frames = list(frames)
        self.encodings, self.label = dict(encodings), label
        self._check_files(self.frames[0])

    @property
    def metainfo(self) -> dict[str, Any]:
        """Beside the base's, how files hold modalities with a scale (`Encoding.as_dict`), for translating others."""
        scaled = [name for name, spec in self.maps.items() if spec.unit in ("metre", "sensor", "relative")]
        return {**super().metainfo, "stored": {name: self.encodings[name].as_dict() for name in scaled}}

    def __len__(self) -> int:
        return len(self.frames)

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
            if missing:
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

    def _check_files(self, frame: Frame) -> None:
        for path in self.files_of(frame).values():
            if not path.exists():
                error = MissingFileError(f"{frame.origin}: {path}: no such file".removeprefix(": "))
                error.dataset = self
                raise error
