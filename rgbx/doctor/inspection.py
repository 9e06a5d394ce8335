"""Frames as the doctor sees them: files as stored and the decoded sample, read once, whatever is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rgbx.datasets.cache import CachedFrames
from rgbx.datasets.clip import nearest_frames
from rgbx.datasets.files import FileDataset, Frame, MissingFileError
from rgbx.datasets.sample import DenseDataset, Sample, validate_sample
from rgbx.doctor.columns import mixed_up
from rgbx.doctor.finding import Finding
from rgbx.doctor.integrity import file_fault, png_fault
from rgbx.maps.files import read_ids, read_image
from rgbx.maps.folders import MAP_SUFFIXES


@dataclass
class InspectedFrame:
    """One frame.

    Attributes:
        sample_id: as the dataset names it.
        files: the file behind each asked modality and "label".
        raw: each image file as stored, [H, W] or [H, W, C]; of labels the ids before any lookup.
        damage: per file why it cannot be decoded.
        swapped: names whose files seem to stand in each other's place; nothing else is asked of such a frame.
        sample: what the dataset reads; None where it refuses, or where a file is damaged.
        refusal: why the dataset, or the sample contract, refuses the frame; "" where neither does.
        origin: the list line of the frame, "" where there is none.
    """

    sample_id: str
    files: dict[str, Path] = field(default_factory=dict)
    raw: dict[str, np.ndarray] = field(default_factory=dict)
    damage: dict[Path, str] = field(default_factory=dict)
    swapped: tuple[str, ...] = ()
    sample: Sample | None = None
    refusal: str = ""
    origin: str = ""

    def where(self, name: str) -> str:
        """The file of a map, or the sample id where the map has no file."""
        return str(self.files.get(name, self.sample_id))


def full_name(split: str, sample_id: str) -> str:
    """ "train 000001"; only the id where it begins with the split."""
    return sample_id if sample_id.startswith(split) else f"{split} {sample_id}"


class Split:
    """A dataset under the name of its split.

    Args:
        name: "train", or "val, test" where two names stand for the same frames.
        dataset: any dataset; a `FileDataset` lists its files, of others those of the frames that were read are known.
    """

    def __init__(self, name: str, dataset: DenseDataset) -> None:
        self.name, self.dataset = name, dataset
        self.listed: Sequence[Frame] | None = dataset.frames if isinstance(dataset, FileDataset) else None
        self._read: list[Frame] = []
        self.index_of: dict[str, int] = {}
        self.sampled = 0

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def known(self) -> Sequence[Frame]:
        """All frames that are listed, or those that were read."""
        return self._read if self.listed is None else self.listed

    def pick(self, samples: int, seed: int) -> list[int]:
        """Which frames to read: `samples` drawn without repetition in the order of the split; 0 takes all."""
        count = len(self)
        if samples <= 0 or samples >= count:
            return list(range(count))
        return sorted(np.random.default_rng(seed).choice(count, samples, replace=False).tolist())

    def inspect(self, index: int) -> InspectedFrame:
        """Reads one frame; never raises."""
        if isinstance(self.dataset, FileDataset):
            listed = self.dataset.frames[index]
            frame = InspectedFrame(listed.sample_id, self.dataset.files_of(listed), origin=listed.origin)
        else:
            frame = InspectedFrame(f"#{index}")
        try:
            frame.sample = self.dataset.read(index)
            frame.sample_id = str(frame.sample.get("sample_id", frame.sample_id))
            if self.listed is None:
                frame.files = _image_files(frame.sample)
                self._read.append(Frame(frame.sample_id, frame.files))
            validate_sample(frame.sample, self.dataset.maps_in(frame.sample), self.dataset.num_classes)
            frame.sample = nearest_frames(frame.sample, {})
        except Exception as error:  # a damaged dataset may raise anything
            frame.refusal = one_line(error)
        self._read_files(frame)
        if frame.damage:
            frame.sample = None
        self.index_of[frame.sample_id] = index
        return frame

    def inspect_all(self, indices: list[int]) -> Iterator[InspectedFrame]:
        self.sampled = len(indices)
        return map(self.inspect, indices)

    def _read_files(self, frame: InspectedFrame) -> None:
        decoded: dict[Path, np.ndarray] = {}  # one file may hold several maps
        for name, path in frame.files.items():
            if path.suffix.lower() not in MAP_SUFFIXES:
                continue
            try:
                fault = file_fault(path) or png_fault(path)
                if fault:
                    frame.damage[path] = fault
                elif name == "label":
                    frame.raw[name] = _stored_label(path, self._key(name))
                else:
                    if path not in decoded:
                        decoded[path] = self._stored_map(name, path)
                    frame.raw[name] = decoded[path]
            except Exception as error:
                frame.damage[path] = one_line(error).removeprefix(f"{path}: ")
        frame.swapped = mixed_up(frame.raw, self.dataset.maps)

    def _stored_map(self, name: str, path: Path) -> np.ndarray:
        """[H, W] or [H, W, C] as a file holds it; of several channels as the dataset declares them, where it does."""
        encoding = self.dataset.encodings[name] if isinstance(self.dataset, FileDataset) else None
        if encoding is not None and encoding.spec.has_bands:
            with suppress(ValueError):  # the dataset refuses it, and says why
                return encoding.stored(path)
        return read_image(path, self._key(name))

    def _key(self, name: str) -> str:
        """Which array of an archive a map is, as the dataset declares."""
        if not isinstance(self.dataset, FileDataset):
            return ""
        encoding = self.dataset.label if name == "label" else self.dataset.encodings[name]
        return "" if encoding is None else encoding.key


def _image_files(sample: Sample) -> dict[str, Path]:
    """The files behind a sample that hold one frame each, unlike those that hold many; no members of shards."""
    paths = {name: Path(path) for name, path in dict(sample.get("paths", {})).items()}
    return {
        name: path for name, path in paths.items() if path.suffix.lower() in MAP_SUFFIXES and ".tar!" not in str(path)
    }


def _stored_label(path: Path, key: str) -> np.ndarray:
    try:
        return read_ids(path, key)
    except ValueError:  # colours or 16 bits, which the label check names
        return read_image(path, key)


def one_line(error: BaseException) -> str:
    """An error's message without line breaks; its type where the message alone says little."""
    text = " ".join(str(error).split())
    return text if isinstance(error, (ValueError, OSError)) and text else f"{type(error).__name__}: {text}"


def open_split(name: str, build: Callable[[], object]) -> Split | Finding:
    """Builds a dataset; where only a file of its first frame is missing, goes on with the frames that it listed.

    Args:
        name: of the split.
        build: makes the dataset; may also give a wrapper that has it as `dataset`, such as kept frames, which may be
            older than the files.

    Returns:
        The split, or a finding with the constructor's message.
    """
    try:
        built = build()
        while isinstance(built, CachedFrames) or (not isinstance(built, DenseDataset) and hasattr(built, "dataset")):
            built = built.dataset
        if not isinstance(built, DenseDataset):
            raise TypeError(f"expected a rgbx.datasets.DenseDataset, found {type(built).__name__}")
    except Exception as error:
        listed = _listed_in(error)
        if listed is None:
            text = f"cannot be opened: {one_line(error)}"
            fix = "Correct what the message names; nothing of this was examined."
            return Finding("open", "error", "certain", name, text, fix, {"error": type(error).__name__})
        built = listed
    return Split(name, built)


def _listed_in(error: BaseException | None) -> FileDataset | None:
    """The dataset that an error, or the one behind it, says has listed its frames."""
    while error is not None:
        if isinstance(error, MissingFileError) and error.dataset is not None:
            return error.dataset
        error = error.__cause__ or error.__context__
    return None
