"""What is made of each public dataset: jobs that give the bytes of plain files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from rgbx.datasets.families.cityscapes import (
    LABEL_IDS,
    METRIC_DEPTH,
    METRIC_DEPTH_SCALE,
    frame_names,
    frame_path,
    read_disparity_depth,
)
from rgbx.datasets.families.mfnet import FLIP, MFNET_LISTS, listed_stems, read_four_channels
from rgbx.datasets.families.nyudv2_mat import NYUDv2Mat
from rgbx.datasets.prepare.output import Content, Job, Preparation
from rgbx.maps import STANDARD_MAPS, Encoding
from rgbx.maps.files import encode_png, read_ids, read_image, turns_told
from rgbx.maps.folders import is_hidden

NYUDV2_DEPTH_SCALE = 5000.0  # raw units per metre, as in the lists of AsymFusion
_LISTS: dict[str, Literal["train", "test"]] = {"train.txt": "train", "val.txt": "test"}
_TRAIN_IDS = ("gtFine", "gtFine_labelTrainIds.png")


class DepthEncoder:
    """Depth in metres to 16-bit PNGs of a fixed scale.

    0 stays 0 = no measurement, and a measurement never becomes 0. Depths that 16 bits cannot hold are written as the
    largest value, 65535, which so means "that far or farther", and counted.

    Args:
        scale: raw units per metre.

    Attributes:
        limit: the largest depth in metres.
    """

    def __init__(self, scale: float) -> None:
        self.encoding = Encoding(STANDARD_MAPS["depth"], scale=scale)
        self.limit = self.encoding.highest  # metres

    def __call__(self, metres: np.ndarray) -> Content:
        """A PNG of finite depths, float32 [H, W], that are not negative, and how many of them were too far."""
        half_step = 0.5 / self.encoding.steps
        saturated = int((metres.astype(np.float64) > self.limit + half_step).sum())
        return Content(encode_png(self.encoding.encode(np.minimum(metres, self.limit))), saturated)


def check_sizes(arrays: Mapping[Path, np.ndarray]) -> None:
    """Whether all maps of a frame have one size; told before any of its files is written.

    Args:
        arrays: [H, W] or [H, W, C], by the files that they were read from.

    Raises:
        ValueError: naming the files.
    """
    (first, one), *others = arrays.items()
    for path, other in others:
        if other.shape[:2] != one.shape[:2]:
            (height, width), (found_height, found_width) = one.shape[:2], other.shape[:2]
            raise ValueError(
                f"{path}: {found_height} × {found_width} pixels, but {first} of the same frame has {height} × {width}; "
                f"all maps and the label must be registered and of one size{turns_told({p.stem: p for p in arrays})}"
            )


def cityscapes_preparation(root: str | Path, *, splits: Sequence[str] = ()) -> Preparation:
    """Makes depth/{split}/{city}/*_depth.png and gtFine/{split}/{city}/*_gtFine_labelTrainIds.png.

    Args:
        root: the folder that holds leftImg8bit, gtFine, disparity and camera.
        splits: only these; by default all that leftImg8bit has.

    Raises:
        FileNotFoundError: no leftImg8bit, or no frame in a split.
    """
    root = Path(root)
    images = root / "leftImg8bit"
    folders = images.iterdir() if images.is_dir() else ()
    found = sorted(path.name for path in folders if path.is_dir() and not is_hidden(path.name))
    missing = [split for split in splits if split not in found]
    if missing or not found:
        raise FileNotFoundError(f"{images}: expected the splits {list(splits) or 'train and val'}, found {found}")
    depth = DepthEncoder(METRIC_DEPTH_SCALE)
    jobs = [
        _cityscapes_job(root, split, name, depth) for split in splits or found for name in frame_names(images / split)
    ]
    return Preparation("cityscapes", root, jobs, {"depth_scale": METRIC_DEPTH_SCALE})


def _cityscapes_job(root: Path, split: str, name: str, depth: DepthEncoder) -> Job:
    suffixes = {
        "leftImg8bit": "leftImg8bit.png",
        "disparity": "disparity.png",
        "camera": "camera.json",
        "gtFine": "gtFine_labelIds.png",
    }
    sources = [frame_path(root, package, split, name, suffix) for package, suffix in suffixes.items()]
    names = _cityscapes_names(split, name)
    return Job(names, partial(_cityscapes_content, names, depth, *sources), tuple(sources[1:]))


def _cityscapes_names(split: str, name: str) -> tuple[str, str]:
    depth, label = (
        frame_path(Path(), package, split, name, suffix).as_posix() for package, suffix in (METRIC_DEPTH, _TRAIN_IDS)
    )
    return depth, label


def _cityscapes_content(
    names: Sequence[str], depth: DepthEncoder, image: Path, disparity: Path, camera: Path, label: Path
) -> Mapping[str, Content]:
    metres, train_ids = read_disparity_depth(disparity, camera), LABEL_IDS.read(label)
    check_sizes({label: train_ids, disparity: metres, image: read_image(image)})
    return dict(zip(names, (depth(metres), Content(encode_png(train_ids))), strict=True))


def mfnet_preparation(root: str | Path) -> Preparation:
    """Makes rgb/, ther/ (8 bits, the fourth channel) and labels/ of all listed frames, and the lists.

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
    jobs = [_mfnet_job(root, stem, origin) for stem, origin in sorted(origins.items())]
    jobs += [Job((name,), partial(_mfnet_copy, root / name, name), (root / name,)) for name in lists]
    return Preparation("mfnet", root, jobs)


def _mfnet_image(root: Path, stem: str) -> Path:
    return root / "images" / f"{stem}.png"


def _mfnet_job(root: Path, stem: str, origin: str) -> Job:
    names = (f"rgb/{stem}.png", f"ther/{stem}.png", f"labels/{stem}.png")
    sources = (_mfnet_image(root, stem), root / "labels" / f"{stem}.png")
    return Job(names, partial(_mfnet_content, names, *sources, origin), sources)


def _mfnet_copy(path: Path, name: str) -> Mapping[str, Content]:
    return {name: Content(path.read_bytes())}


def _mfnet_content(names: Sequence[str], image: Path, label: Path, origin: str) -> Mapping[str, Content]:
    for path in (image, label):
        if not path.is_file():
            raise FileNotFoundError(f"{origin}: {path}: no such file")
    four = read_four_channels(image)
    check_sizes({image: four, label: read_ids(label)})
    files = encode_png(np.ascontiguousarray(four[..., :3])), encode_png(four[..., 3]), label.read_bytes()
    return dict(zip(names, map(Content, files), strict=True))


def nyudv2_preparation(
    mat: str | Path, *, mapping: str | Path | None = None, splits: str | Path | None = None
) -> Preparation:
    """Makes rgb/, masks/ (0..39, 255 = void) and depth/ (filled) of all frames, and train.txt and val.txt.

    val.txt lists the test frames, as the repositories that use this layout have it. Files are named after the frames'
    numbers, counted from 1.

    Args:
        mat: nyu_depth_v2_labeled.mat.
        mapping: classMapping40.mat; by default beside the .mat file.
        splits: splits.mat; by default beside the .mat file.

    Raises:
        ImportError, FileNotFoundError, ValueError: see `NYUDv2Mat`.
    """
    depth = DepthEncoder(NYUDV2_DEPTH_SCALE)
    jobs: list[Job] = []
    lists: list[Job] = []
    for list_name, split in _LISTS.items():
        dataset = NYUDv2Mat(mat, split, mapping=mapping, splits=splits)
        sources = (dataset.path, dataset.mapping)
        lines = [_nyudv2_names(number) for number in dataset.numbers]
        jobs += [Job(n, partial(_nyudv2_content, dataset, index, depth), sources) for index, n in enumerate(lines)]
        lists.append(Job((list_name,), partial(_nyudv2_list, list_name, lines), (dataset.splits,)))
    return Preparation("nyudv2", Path(mat), jobs + lists, {"depth_scale": NYUDV2_DEPTH_SCALE})


def _nyudv2_names(number: int) -> tuple[str, str, str]:
    return f"rgb/{number:06d}.png", f"masks/{number:06d}.png", f"depth/{number:06d}.png"


def _nyudv2_list(name: str, lines: Iterable[Sequence[str]]) -> Mapping[str, Content]:
    return {name: Content("".join("\t".join(names) + "\n" for names in lines).encode())}


def _nyudv2_content(dataset: NYUDv2Mat, index: int, depth: DepthEncoder) -> Mapping[str, Content]:
    sample = dataset[index]  # whose maps have one size
    files = Content(encode_png(sample["rgb"])), Content(encode_png(sample["label"])), depth(sample["depth"])
    return dict(zip(_nyudv2_names(dataset.numbers[index]), files, strict=True))
