"""How many pixels of each class a data set's labels hold; counted once, kept in a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from rgbx.datasets.cache import CachedFrames
from rgbx.datasets.files import FileDataset
from rgbx.datasets.fingerprint import FileStamps, dataset_fingerprint, file_stamps
from rgbx.datasets.sample import DenseDataset, Sample
from rgbx.maps import replace_file


@dataclass(frozen=True)
class LabelCounts:
    """What a data set's labels hold.

    Attributes:
        pixels: of each class, [K].
        image_pixels: all pixels, unlabelled ones too, of the images in which the class occurs, [K].
    """

    pixels: tuple[int, ...]
    image_pixels: tuple[int, ...]


def count_labels(dataset: DenseDataset, *, cache: str | Path | None = None) -> LabelCounts:
    """Counts the pixels of each class over all labels.

    Args:
        dataset: frames without a label are passed over; transforms do not run.
        cache: a JSON file for the counts; used as long as the dataset's fingerprint and the label files' sizes and
            times are the same, written anew otherwise. None keeps nothing.

    Raises:
        ValueError: no labelled pixel at all.
    """
    if isinstance(dataset, CachedFrames):
        dataset = dataset.dataset
    fingerprint = dataset_fingerprint(dataset)
    if cache is not None and (kept := _kept(Path(cache), fingerprint)) is not None:
        return kept
    pixels, images = (np.zeros(dataset.num_classes, np.int64) for _ in range(2))
    paths = []
    for index in range(len(dataset)):
        sample = _labelled(dataset, index)
        if "label" not in sample:
            continue
        found = np.bincount(sample["label"].reshape(-1), minlength=256)[: dataset.num_classes]
        pixels += found
        images += (found > 0) * sample["label"].size
        paths.append(sample["paths"].get("label"))
    if not pixels.any():
        raise ValueError(f"{type(dataset).__name__}: no labelled pixel in {len(dataset)} frames")
    counts = LabelCounts(tuple(pixels.tolist()), tuple(images.tolist()))
    if cache is not None:
        _keep(Path(cache), fingerprint, file_stamps(path for path in paths if path), counts)
    return counts


def _labelled(dataset: DenseDataset, index: int) -> Sample:
    """The frame, if possible without opening its other maps."""
    if isinstance(dataset, FileDataset):
        frame = dataset.frames[index]
        if "label" not in frame.files:
            return {"paths": {}}
        return {"paths": {"label": str(frame.files["label"])}, **dataset.read_frame(frame, ["label"])}
    return dataset.read(index)


def _kept(path: Path, fingerprint: str) -> LabelCounts | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        stamps = {name: list(stamp) for name, stamp in file_stamps(record["files"]).items()}
        if record["fingerprint"] != fingerprint or record["files"] != stamps:
            return None
        return LabelCounts(tuple(record["pixels"]), tuple(record["image_pixels"]))
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return None


def _keep(path: Path, fingerprint: str, stamps: FileStamps, counts: LabelCounts) -> None:
    record = {"fingerprint": fingerprint, **asdict(counts), "files": stamps}
    replace_file(path, json.dumps(record).encode())
