"""Classes and palette against the published ones."""

from __future__ import annotations

from rgbx.datasets.declaration import bitwise_palette
from rgbx.datasets.families.nyudv2 import NYUDV2_CLASSES, NYUDV2_PALETTE


def test_classes_are_the_published_ones(nyuv2_320x240):
    lines = (nyuv2_320x240 / "classes.txt").read_text().splitlines()
    published = dict(line.split(maxsplit=1) for line in lines)
    names = [published[str(k + 1)].replace("_", " ").replace("fridger", "friger") for k in range(40)]
    assert list(NYUDV2_CLASSES) == names


def test_palette_is_the_standard_one():
    assert bitwise_palette(9) == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
        [0, 128, 128],
        [128, 128, 128],
        [64, 0, 0],
    ]
    assert NYUDV2_PALETTE[0] == [128, 0, 0]
    assert len({tuple(colour) for colour in bitwise_palette(256)}) == 256
