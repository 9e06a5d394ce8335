"""The published NYU Depth V2 file as the lists that `NYUDv2Lists` reads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from rgbx.datasets.families.nyudv2_mat import NYUDv2Mat
from rgbx.datasets.prepare.encoding import DepthEncoder
from rgbx.datasets.prepare.output import Job
from rgbx.maps.files import encode_png

NYUDV2_DEPTH_SCALE = 5000.0  # raw units per metre, as in the lists of AsymFusion
_LISTS: dict[str, Literal["train", "test"]] = {"train.txt": "train", "val.txt": "test"}


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
        lines = [_names(number) for number in dataset.numbers]
        jobs += [Job(names, partial(_content, dataset, index, depth)) for index, names in enumerate(lines)]
        text = "".join("\t".join(names) + "\n" for names in lines)
        lists.append(Job((list_name,), partial(dict, [(list_name, text.encode())])))
    return jobs + lists


def _names(number: int) -> tuple[str, str, str]:
    return f"rgb/{number:06d}.png", f"masks/{number:06d}.png", f"depth/{number:06d}.png"


def _content(dataset: NYUDv2Mat, index: int, depth: DepthEncoder) -> Mapping[str, bytes]:
    sample = dataset[index]
    files = encode_png(sample["rgb"]), encode_png(sample["label"]), depth(sample["depth"])
    return dict(zip(_names(dataset.numbers[index]), files, strict=True))
