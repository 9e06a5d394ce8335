"""Recordings of sensors with clocks of their own as clips: of each modality the frames around the time of a label."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rgbx.datasets.clip import windows_around
from rgbx.datasets.declaration import Declaration
from rgbx.datasets.declared_frames import DeclaredFrames
from rgbx.datasets.files import MissingFileError
from rgbx.datasets.folder import FolderDataset
from rgbx.datasets.frame_files import FrameFiles
from rgbx.datasets.frames import Frame
from rgbx.datasets.listing import Holdout, held_out
from rgbx.datasets.sample import Sample, Transforms
from rgbx.datasets.timestamps import Stamped, window_at
from rgbx.maps import TIMES

_LOG = logging.getLogger("rgbx")


class SequenceDataset(FolderDataset):
    """Clips of a folder whose `dataset.toml` has a split with times, see `docs/clips.md`.

    A sample is what `FolderDataset` makes a frame of, and the frames of each modality around its time: that of its
    label, or where labels have no times of their own, of its first modality. Samples too near to an end of the
    recording to have all frames of their clips are left out, and counted in the log; so are, with `holdout="exclude"`,
    those that share a frame with a sample held out. Delays that the split states are taken off the times.

    Args:
        root, split, modalities, targets, holdout, declaration, transforms: see `FolderDataset`, which reads the same
            folder as ordinary frames.
        frames: how many frames of each modality; 1 of the first, and 5 of others that are not named. One number is of
            all but the first, also as `offsets`.
        offsets: which frame the window begins with, counted from the one nearest to the sample's time; by default the
            window lies around it: -2 of 5.

    Attributes:
        windows: by sample, of each modality the frames of its clip.

    Raises:
        FileNotFoundError, ValueError: as of `FolderDataset`; a split or a modality without times; no sample with whole
            clips.
    """

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
        frames: Mapping[str, int] | int | None = None,
        offsets: Mapping[str, int] | int | None = None,
    ) -> None:
        self.windows: dict[str, dict[str, list[Stamped]]] = {}
        self.times: dict[str, float] = {}
        self._asked = modalities, frames, offsets
        super().__init__(
            root,
            split,
            modalities=modalities,
            targets=targets,
            holdout=holdout,
            declaration=declaration,
            transforms=transforms,
        )

    @property
    def clip_lengths(self) -> dict[str, int]:
        """See `DenseDataset.clip_lengths`."""
        return {name: len(window) for name, window in next(iter(self.windows.values())).items()}

    def kept(self, listed: DeclaredFrames) -> Sequence[Frame]:
        """See `FolderDataset.kept`: the frames with whole clips."""
        given, frames, offsets = self._asked
        names = tuple(listed.declared.modalities) if given is None else tuple(given)
        counts, begins = windows_around(names, frames, offsets)
        if without := [name for name in names if name not in listed.stamps]:
            raise ValueError(
                f"{listed.where}: clips need times of every modality, found none of {without}; name lists or folders "
                "with times for them in a table [splits.NAME], or read ordinary frames with FolderDataset"
            )
        self._check_files(listed, names)
        kept, times = [], {name: [item.time for item in listed.stamps[name]] for name in names}
        for frame, time in zip(listed.frames, listed.times, strict=True):
            spans = {name: window_at(times[name], time, begins[name], counts[name]) for name in names}
            if all(spans.values()):
                self.windows[frame.sample_id] = {n: [listed.stamps[n][k] for k in s] for n, s in spans.items() if s}
                self.times[frame.sample_id] = time
                kept.append(frame)
        left = len(listed.frames) - len(kept)
        told = f"{listed.where}: {left} of {len(listed.frames)} samples are too near to an end for clips of {counts}"
        if not kept:
            raise ValueError(f"{told}, which begin at {begins}; a longer recording, or fewer frames, would give some")
        if left:
            _LOG.warning(told)
        return kept

    def part(self, frames: Sequence[Frame], holdout: Holdout) -> Sequence[Frame]:
        """See `FolderDataset.part`: for training without the samples that share a file with those held out."""
        held = held_out(frames, holdout)
        if holdout != "exclude":
            return held
        taken = {file for frame in held_out(frames, "only") for file in self._shown(frame)}
        kept = [frame for frame in held if taken.isdisjoint(self._shown(frame))]
        told = f"{self.root}: {len(held) - len(kept)} of {len(held)} samples share frames with the part held out"
        if not kept:
            raise ValueError(f"{told}, which leaves none to train on; a longer recording, or fewer frames, would")
        if len(kept) < len(held):
            _LOG.warning(f"{told}, and are left out")
        return kept

    def _shown(self, frame: Frame) -> set[str]:
        """Paths of the files in the clips of a sample."""
        return {item.path for window in self.windows[frame.sample_id].values() for item in window}

    def read(self, index: int) -> Sample:
        """See `DenseDataset.read`; of each modality [T, H, W, ...] and `NAME_time` float64 [T]."""
        frame = self.frames[index]
        sample: Sample = {"sample_id": frame.sample_id, "time": self.times[frame.sample_id]}
        paths = {name: str(path) for name, path in self.files_of(frame).items()}
        for name, window in self.windows[frame.sample_id].items():
            files = [self.root / item.path for item in window]
            paths |= {f"{name}@{k}": str(file) for k, file in enumerate(files)}
            sample |= self._clip(name, files)
            sample[f"{name}{TIMES}"] = np.array([item.time for item in window])
        if "label" in paths:
            sample |= self.read_frame(frame, ["label"])
        return {**sample, "paths": paths}

    def _clip(self, name: str, files: Sequence[Path]) -> Sample:
        """The map of some files [T, H, W, ...], and its mask uint8 [T, H, W] where any of them needs one."""
        read = [self.encodings[name].read_masked(file) for file in files]
        arrays, masks = [array for array, _ in read], [mask for _, mask in read]
        for array, file in zip(arrays, files, strict=True):
            if array.shape != arrays[0].shape:
                raise ValueError(
                    f"{file}: expected the size of the clip's other frames, {arrays[0].shape} as {files[0].name} has, "
                    f"found {array.shape}"
                )
        if all(mask is None for mask in masks):
            return {name: np.stack(arrays)}
        whole = np.ones(arrays[0].shape[:2], np.uint8)
        return {name: np.stack(arrays), f"{name}_valid": np.stack([whole if mask is None else mask for mask in masks])}

    def _check_files(self, listed: DeclaredFrames, names: Sequence[str]) -> None:
        for name in names:
            frames = [Frame(item.path, {name: self.root / item.path}, item.origin) for item in listed.stamps[name]]
            if missing := FrameFiles(frames).check([name]):
                raise MissingFileError(missing)
