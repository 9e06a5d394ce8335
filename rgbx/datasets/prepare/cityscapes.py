"""Cityscapes' disparities as depth and its labels as train ids, for `Cityscapes(root, prepared=...)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from rgbx.datasets.families.cityscapes import (
    LABEL_IDS,
    METRIC_DEPTH,
    frame_names,
    frame_path,
    read_disparity_depth,
)
from rgbx.datasets.prepare.encoding import DepthEncoder
from rgbx.datasets.prepare.output import Job
from rgbx.maps.files import encode_png

_TRAIN_IDS = ("gtFine", "gtFine_labelTrainIds.png")


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
    found = sorted(path.name for path in images.iterdir() if path.is_dir()) if images.is_dir() else []
    missing = [split for split in splits if split not in found]
    if missing or not found:
        raise FileNotFoundError(f"{images}: expected the splits {list(splits) or 'train and val'}, found {found}")
    return [
        Job(_names(split, name), partial(_content, Path(root), split, name, depth))
        for split in splits or found
        for name in frame_names(images / split)
    ]


def _names(split: str, name: str) -> tuple[str, str]:
    depth, label = (
        frame_path(Path(), package, split, name, suffix).as_posix() for package, suffix in (METRIC_DEPTH, _TRAIN_IDS)
    )
    return depth, label


def _content(root: Path, split: str, name: str, depth: DepthEncoder) -> Mapping[str, bytes]:
    at = partial(frame_path, root, split=split, name=name)
    metres = read_disparity_depth(
        at(package="disparity", suffix="disparity.png"), at(package="camera", suffix="camera.json")
    )
    label = LABEL_IDS.read(at(package="gtFine", suffix="gtFine_labelIds.png"))
    return dict(zip(_names(split, name), (depth(metres), encode_png(label)), strict=True))
