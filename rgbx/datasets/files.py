"""Datasets whose maps lie in files: a family lists its frames and says how each kind of file is read.

`rgbx.datasets.listing` has what families list frames with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rgbx.datasets.reading import inverse_lookup
from rgbx.datasets.sample import DenseDataset, MapSpec, Sample, Transform
from rgbx.datasets.stored_as import stored_as

Reader = Callable[[Path], np.ndarray]


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


class FileDataset(DenseDataset):
    """Reads each map of a frame with the reader of its kind.

    A family subclasses it with a constructor that lists the frames, or that calls `read_frame` differently where one
    file holds several maps.

    Args:
        frames: in the order of the split.
        readers: per map name, and for "label", what turns a file into an array as the sample contract has it; a label
            reader that is `partial(..., lookup=...)` also says how predictions are stored.
        modalities, classes, palette, transforms, maps, targets: see `DenseDataset`.

    Raises:
        ValueError: no frame, or a modality that the layout does not have (no reader).
        FileNotFoundError, ValueError: what is wrong with the first frame, so that a wrong root fails here and not in
            a worker.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        readers: Mapping[str, Reader],
        *,
        modalities: Sequence[str],
        classes: Sequence[str],
        palette: Sequence[Sequence[int]],
        transforms: Sequence[Transform | dict[str, Any]] = (),
        maps: Mapping[str, MapSpec] | None = None,
        targets: Sequence[str] = (),
    ) -> None:
        if isinstance(modalities, str):
            raise ValueError(f"modalities must be a sequence of names such as ({modalities!r},), found {modalities!r}")
        offered = [name for name in readers if name != "label"]
        unknown = [name for name in modalities if name not in offered]
        if unknown:
            known = " and ".join(map(repr, offered))
            raise ValueError(f"{type(self).__name__} has the modalities {known}, found {unknown}")
        super().__init__(
            modalities=modalities, classes=classes, palette=palette, transforms=transforms, maps=maps, targets=targets
        )
        if not frames:
            raise ValueError(f"{type(self).__name__}: no frames")
        self.frames = list(frames)
        self.readers = dict(readers)
        self.read(0)

    @property
    def metainfo(self) -> dict[str, Any]:
        """Beside the base's, how files hold modalities with a scale (`stored_as`), for translating others."""
        scaled = [name for name, spec in self.maps.items() if spec.unit in ("metre", "sensor", "relative")]
        return {**super().metainfo, "stored": {name: stored_as(self.readers[name]) for name in scaled}}

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, index: int) -> Sample:
        """The frame's modalities and, where it has one, its label; see `rgbx.datasets.sample`."""
        frame = self.frames[index]
        names = [*(["label"] if "label" in frame.files else []), *self.modalities]
        try:
            missing = [name for name in names if name not in frame.files]
            if missing:
                raise ValueError(f"frame {frame.sample_id!r} has no file for {missing}")
            paths = {name: str(frame.files[name]) for name in names}
            return {"sample_id": frame.sample_id, "paths": paths, **self.read_frame(frame, names)}
        except (FileNotFoundError, ValueError) as error:
            if not frame.origin:
                raise
            raise type(error)(f"{frame.origin}: {error}") from error

    def read_frame(self, frame: Frame, names: Sequence[str]) -> Sample:
        """The arrays of the named maps; override where one file holds several, to decode it once."""
        return {name: self.readers[name](frame.files[name]) for name in names}

    def encode_label(self, label: np.ndarray) -> np.ndarray:
        """Train ids uint8 [H, W] as the label files store them: the reader's lookup, backwards."""
        lookup = getattr(self.readers.get("label"), "keywords", {}).get("lookup")
        return label if lookup is None else inverse_lookup(lookup)[label]
