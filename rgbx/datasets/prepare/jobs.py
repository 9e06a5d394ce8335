"""What is made of each public dataset: jobs that give the bytes of plain files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from rgbx.datasets.families.cityscapes import LABEL_IDS, METRIC_DEPTH, frame_names, frame_path, read_disparity_depth
from rgbx.datasets.families.mfnet import FLIP, MFNET_LISTS, listed_stems, read_four_channels
from rgbx.datasets.families.nyudv2_mat import NYUDv2Mat
from rgbx.datasets.prepare.output import Job
from rgbx.maps import STANDARD_MAPS, Encoding
from rgbx.maps.files import encode_png
from rgbx.maps.folders import is_hidden

NYUDV2_DEPTH_SCALE = 5000.0  # raw units per metre, as in the lists of AsymFusion
_LISTS: dict[str, Literal["train", "test"]] = {"train.txt": "train", "val.txt": "test"}
_TRAIN_IDS = ("gtFine", "gtFine_labelTrainIds.png")


class DepthEncoder:
    """Depth in metres to 16-bit PNGs of a fixed scale.

    0 stays 0 = no measurement, and a measurement never becomes 0. Depths that 16 bits cannot hold are written as the
    largest value, 65535, which so means "that far or farther".

    Args:
        scale: raw units per metre.

    Attributes:
        limit: the largest depth in metres.
        saturated: pixels that were too far, over all calls.
    """

    def __init__(self, scale: float) -> None:
        self.encoding = Encoding(STANDARD_MAPS["depth"], scale=scale)
        self.limit = self.encoding.highest  # metres
        self.saturated = 0

    def __call__(self, metres: np.ndarray) -> bytes:
        """A PNG of finite depths, float32 [H, W], that are not negative."""
        half_step = 0.5 / self.encoding.steps
        self.saturated += int((metres.astype(np.float64) > self.limit + half_step).sum())
        return encode_png(self.encoding.encode(np.minimum(metres, self.limit)))


def cityscapes_jobs(root: str | Path, depth: DepthEncoder, *, splits: Sequence[str] = ()) -> list[Job]:
    """Jobs for depth/{split}/{city}/*_depth.png and gtFine/{split}/{city}/*_gtFine_labelTrainIds.png.

    Args:
        root: the folder that holds leftImg8bit, gtFine, disparity and camera.
        depth: of scale `METRIC_DEPTH_SCALE`.
        splits: only these; by default all that leftImg8bit has.

    Raises:
        FileNotFoundError: no leftImg8bit, or no frame in a split.
    """
    images = Path(root) / "leftImg8bit"
    folders = images.iterdir() if images.is_dir() else ()
    found = sorted(path.name for path in folders if path.is_dir() and not is_hidden(path.name))
    missing = [split for split in splits if split not in found]
    if missing or not found:
        raise FileNotFoundError(f"{images}: expected the splits {list(splits) or 'train and val'}, found {found}")
    return [
        Job(_cityscapes_names(split, name), partial(_cityscapes_content, Path(root), split, name, depth))
        for split in splits or found
        for name in frame_names(images / split)
    ]


def _cityscapes_names(split: str, name: str) -> tuple[str, str]:
    depth, label = (
        frame_path(Path(), package, split, name, suffix).as_posix() for package, suffix in (METRIC_DEPTH, _TRAIN_IDS)
    )
    return depth, label


def _cityscapes_content(root: Path, split: str, name: str, depth: DepthEncoder) -> Mapping[str, bytes]:
    at = partial(frame_path, root, split=split, name=name)
    metres = read_disparity_depth(
        at(package="disparity", suffix="disparity.png"), at(package="camera", suffix="camera.json")
    )
    label = LABEL_IDS.read(at(package="gtFine", suffix="gtFine_labelIds.png"))
    return dict(zip(_cityscapes_names(split, name), (depth(metres), encode_png(label)), strict=True))


def mfnet_jobs(root: str | Path) -> list[Job]:
    """Jobs for rgb/, ther/ (8 bits, the fourth channel) and labels/ of all listed frames, and for the lists.

    Labels and lists are copied byte for byte. Of listed mirrored copies that are not there the originals are
    taken, which `rgbx.datasets.MFNet` mirrors while reading.

    Args:
        root: the folder that holds images, labels and the lists.

    Raises:
        FileNotFoundError: no list.
        ValueError: an empty list.
    """
    root = Path(root)
    lists = [name for name in (f"{split}.txt" for split in MFNET_LISTS) if (root / name).is_file()]
    if not lists:
        raise FileNotFoundError(f"{root}: none of the lists {', '.join(f'{split}.txt' for split in MFNET_LISTS)}")
    origins: dict[str, str] = {}
    for name in lists:
        for stem, origin in listed_stems(root / name):
            copied = not stem.endswith(FLIP) or _mfnet_image(root, stem).is_file()
            origins.setdefault(stem if copied else stem.removesuffix(FLIP), origin)
    frames = [
        Job(_mfnet_names(stem), partial(_mfnet_content, root, stem, origin)) for stem, origin in sorted(origins.items())
    ]
    return frames + [Job((name,), partial(_mfnet_copy, root / name, name)) for name in lists]


def _mfnet_image(root: Path, stem: str) -> Path:
    return root / "images" / f"{stem}.png"


def _mfnet_names(stem: str) -> tuple[str, str, str]:
    return f"rgb/{stem}.png", f"ther/{stem}.png", f"labels/{stem}.png"


def _mfnet_copy(path: Path, name: str) -> Mapping[str, bytes]:
    return {name: path.read_bytes()}


def _mfnet_content(root: Path, stem: str, origin: str) -> Mapping[str, bytes]:
    image, label = _mfnet_image(root, stem), root / "labels" / f"{stem}.png"
    for path in (image, label):
        if not path.is_file():
            raise FileNotFoundError(f"{origin}: {path}: no such file")
    four = read_four_channels(image)
    files = encode_png(np.ascontiguousarray(four[..., :3])), encode_png(four[..., 3]), label.read_bytes()
    return dict(zip(_mfnet_names(stem), files, strict=True))


def nyudv2_jobs(
    mat: str | Path, depth: DepthEncoder, *, mapping: str | Path | None = None, splits: str | Path | None = None
) -> list[Job]:
    """Jobs for rgb/, masks/ (0..39, 255 = void) and depth/ (filled) of all frames, and train.txt and val.txt.

    val.txt lists the test frames, as the repositories that use this layout have it. Files are named after the frames'
    numbers, counted from 1.

    Args:
        mat: nyu_depth_v2_labeled.mat.
        depth: of scale `NYUDV2_DEPTH_SCALE`.
        mapping: classMapping40.mat; by default beside the .mat file.
        splits: splits.mat; by default beside the .mat file.

    Raises:
        ImportError, FileNotFoundError, ValueError: see `NYUDv2Mat`.
    """
    jobs, lists = [], []
    for list_name, split in _LISTS.items():
        dataset = NYUDv2Mat(mat, split, mapping=mapping, splits=splits)
        lines = [_nyudv2_names(number) for number in dataset.numbers]
        jobs += [Job(names, partial(_nyudv2_content, dataset, index, depth)) for index, names in enumerate(lines)]
        text = "".join("\t".join(names) + "\n" for names in lines)
        lists.append(Job((list_name,), partial(dict, [(list_name, text.encode())])))
    return jobs + lists


def _nyudv2_names(number: int) -> tuple[str, str, str]:
    return f"rgb/{number:06d}.png", f"masks/{number:06d}.png", f"depth/{number:06d}.png"


def _nyudv2_content(dataset: NYUDv2Mat, index: int, depth: DepthEncoder) -> Mapping[str, bytes]:
    sample = dataset[index]
    files = encode_png(sample["rgb"]), encode_png(sample["label"]), depth(sample["depth"])
    return dict(zip(_nyudv2_names(dataset.numbers[index]), files, strict=True))
