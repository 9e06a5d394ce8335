"""A small clean dataset on disk, which each test damages in one way."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from rgbx.datasets.files import FileDataset, Frame
from rgbx.datasets.rooms import CLASSES, PALETTE, render
from rgbx.doctor import diagnose
from rgbx.maps import RGB, STANDARD_MAPS, Encoding, LabelEncoding

COUNTS = {"train": 12, "test": 5}


class Rooms(FileDataset):
    """`{split}/{rgb,depth,label}/000.png`, depth in millimetres."""

    def __init__(
        self, root, split="train", *, divisor=1000.0, bits=16, offset=0, order=("rgb", "depth", "label"), **kw
    ):
        folder = Path(root) / split
        names = sorted(path.stem for path in (folder / "rgb").iterdir())
        frames = []
        for line, name in enumerate(names, 1):
            files = [next(iter((folder / kind).glob(f"{name}.*")), folder / kind / f"{name}.png") for kind in order]
            keys = ("rgb", "depth", "label")
            frames.append(Frame(f"{split}/{name}", dict(zip(keys, files, strict=True)), f"{split}.txt:{line}"))
        scale = {"scale": divisor} if bits == 16 else {"scale": 25.5, "bits": 8, "half_step": 0.5, "holes": False}
        encodings = {"rgb": RGB, "depth": Encoding(STANDARD_MAPS["depth"], **scale)}
        kw = {"modalities": ("rgb", "depth"), "classes": CLASSES, "palette": PALETTE, **kw}
        super().__init__(frames, encodings, LabelEncoding(offset, tuple(range(offset))), **kw)


def write(path, array):
    """A PNG, in RGB order where it has colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array[..., ::-1] if array.ndim == 3 else array)


def edit(paths, change):
    """Rewrites images by a function of their array."""
    for path in paths:
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        array = change(stored[..., ::-1] if stored.ndim == 3 else stored)
        path.unlink()
        write(path.with_suffix(".png"), np.ascontiguousarray(array))


@pytest.fixture(scope="session")
def clean_rooms(tmp_path_factory):
    root = tmp_path_factory.mktemp("rooms")
    for split, count in COUNTS.items():
        for index in range(count):
            frame = render(7, 2 * index + (split == "test"))
            write(root / split / "rgb" / f"{index:03d}.png", frame["rgb"])
            write(root / split / "depth" / f"{index:03d}.png", np.rint(frame["depth"] * 1000).astype(np.uint16))
            write(root / split / "label" / f"{index:03d}.png", frame["label"])
    return root


@pytest.fixture
def rooms(clean_rooms, tmp_path):
    return Path(shutil.copytree(clean_rooms, tmp_path / "rooms"))


@pytest.fixture(scope="session")
def small_nyu(nyuv2_320x240, tmp_path_factory):
    """20 real train frames as a Rooms folder: 8-bit depth, labels with 0 = void."""
    root = tmp_path_factory.mktemp("nyu")
    for number, stem in enumerate((nyuv2_320x240 / "train.txt").read_text().split()[::40][:20]):
        for kind, suffix in (("rgb", ".jpg"), ("depth", ".png"), ("label", ".png")):
            target = root / "train" / kind / f"{number:03d}{suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(nyuv2_320x240 / kind / f"{stem}{suffix}", target)
    return root


@pytest.fixture
def nyu(small_nyu, tmp_path):
    return Path(shutil.copytree(small_nyu, tmp_path / "nyu"))


def examine(root, splits=("train",), samples=0, **options):
    return diagnose({split: partial(Rooms, root, split, **options) for split in splits}, samples=samples)


def problems(diagnosis):
    """What is no mere fact, as "check severity"."""
    return sorted(f"{found.check} {found.severity}" for found in diagnosis.findings if found.severity != "info")


def find(diagnosis, check, severity=None):
    found = [item for item in diagnosis.findings if item.check == check and severity in (None, item.severity)]
    assert len(found) == 1, [item.message for item in found]
    return found[0]


@pytest.fixture(scope="session")
def doctor():
    """The functions above, for tests in other files."""
    from types import SimpleNamespace

    return SimpleNamespace(
        examine=examine, problems=problems, find=find, edit=edit, write=write, Rooms=Rooms, diagnose=diagnose
    )
