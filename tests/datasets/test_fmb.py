"""FMB on images written in its format (no real frames were at hand), against PIL and a loop over pixels."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_frames import decoded, naive_labels, save, write_fmb

from rgbx.datasets import FMB
from rgbx.datasets.families.fmb import FMB_CLASSES, FMB_PALETTE


@pytest.fixture
def root(tmp_path):
    return write_fmb(tmp_path, np.random.default_rng(0))


def test_frames(root):
    dataset = FMB(root)
    assert len(dataset) == 2 and dataset.num_classes == 14
    sample = dataset[1]
    folder = root / "train"
    np.testing.assert_array_equal(sample["rgb"], decoded(folder / "Visible" / "00001.png"))
    np.testing.assert_array_equal(sample["thermal"], decoded(folder / "Infrared" / "00001.png"))
    raw = decoded(folder / "Label" / "00001.png")
    assert {0, 14} <= set(raw.flat)
    np.testing.assert_array_equal(sample["label"], naive_labels(raw, 1, {0}))


def test_classes_are_those_of_the_paper():
    """Section 4 of arXiv 2308.02097, in the order of the label values."""
    paper = "Road, Sidewalk, Building, Traffic Light, Traffic Sign, Vegetation, Sky, Person, Car, Truck, Bus, "
    paper += "Motorcycle, Bicycle, Pole"
    assert ", ".join(FMB_CLASSES) == paper.lower()
    assert len({tuple(colour) for colour in FMB_PALETTE}) == 14


def test_missing_files_are_found_when_it_is_built(root):
    (root / "train" / "Infrared" / "00001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"Infrared: thermal of 1 of 2 frames is missing, such as \['00001'\]"):
        FMB(root)
    assert len(FMB(root, modalities=("rgb",))) == 2
    with pytest.raises(FileNotFoundError, match=r"test.Visible: no such folder"):
        FMB(root, "test")


def test_wrong_labels_are_named(root):
    path = root / "train" / "Label" / "00000.png"
    save(path, np.full((12, 16), 15, np.uint8))
    with pytest.raises(ValueError, match=r"00000\.png.*ids \[14\] are outside 0\.\.13"):
        FMB(root)[0]


def test_holdout(root):
    with pytest.raises(ValueError, match="a list of 2 frames is too short"):
        FMB(root, holdout="only")
