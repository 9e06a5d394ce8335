"""Pairs of visible and infrared images in every form that goes round; real pairs of MSRS."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_frames import colours, decoded, grey, save

from rgbx.datasets import MFNet, VisibleInfrared, build_dataset, split_names
from rgbx.datasets.families.mfnet import MFNET_CLASSES

RNG = np.random.default_rng(0)


def write(root, *places, label=""):
    """Two frames per place: (visible, infrared) folders."""
    for visible, infrared in places:
        for stem in ("00001D", "00002N"):
            save(root / visible / f"{stem}.png", colours(RNG))
            save(root / infrared / f"{stem}.png", grey(RNG))
            if label:
                save((root / visible).parent / label / f"{stem}.png", grey(RNG, 0, 9))
    return root


@pytest.mark.parametrize(
    ("places", "splits", "visible"),
    [
        ([("train/vi", "train/ir"), ("test/vi", "test/ir")], ("train", "test"), "train/vi"),
        ([("visible/train", "infrared/train"), ("visible/test", "infrared/test")], ("train", "test"), "visible/train"),
        ([("Vis", "Ir")], ("all",), "Vis"),
        ([("test/Visible", "test/infrared")], ("test",), "test/Visible"),
    ],
)
def test_every_form(tmp_path, places, splits, visible):
    write(tmp_path, *places)
    assert split_names(tmp_path) == splits
    dataset = build_dataset(tmp_path, splits[0], targets=("rgb",))
    assert type(dataset) is VisibleInfrared and (dataset.sources, dataset.classes) == (("thermal",), ())
    sample = dataset[1]
    assert sample["sample_id"] == "00002N" and "label" not in sample
    np.testing.assert_array_equal(sample["rgb"], decoded(tmp_path / visible / "00002N.png"))
    np.testing.assert_array_equal(sample["thermal"], decoded(tmp_path / places[0][1] / "00002N.png"))


def test_labels_are_those_of_mfnet(tmp_path):
    write(tmp_path, ("train/vi", "train/ir"), label="Segmentation_labels")
    dataset = VisibleInfrared(tmp_path)
    assert dataset.classes == MFNET_CLASSES
    np.testing.assert_array_equal(dataset[0]["label"], decoded(tmp_path / "train/Segmentation_labels/00001D.png"))


def test_real_pairs(layouts):
    dataset = VisibleInfrared(layouts / "msrs", targets=("rgb",))
    assert [frame.sample_id for frame in dataset.frames] == ["00012N", "00047N", "00055D", "00081D"]
    assert dataset.split == "test" and not dataset.left_over
    np.testing.assert_array_equal(dataset[2]["rgb"], decoded(layouts / "msrs/test/vi/00055D.png"))


def test_exception(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folders vi or vis or visible beside ir or infrared"):
        VisibleInfrared(tmp_path)
    write(tmp_path, ("Vis", "Ir"))
    with pytest.raises(ValueError, match=rf"{tmp_path}.*VisibleInfrared: \[splits\] has all; found split"):
        VisibleInfrared(tmp_path, "train")
    (tmp_path / "Ir/00001D.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"Ir.00001D\.png: no such file; thermal of 1 of 2 frames is missing"):
        VisibleInfrared(tmp_path)


@pytest.mark.parametrize("folders", [("image", "label"), ("image", "labels"), ("images", "labels")])
def test_mfnet_without_its_lists(tmp_path, folders):
    for stem in ("00001D", "00002N", "00002N_flip"):
        save(tmp_path / folders[0] / f"{stem}.png", colours(RNG, 4))
        save(tmp_path / folders[1] / f"{stem}.png", grey(RNG, 0, 9))
    assert split_names(tmp_path) == ("all",)
    dataset = build_dataset(tmp_path, "all")
    assert type(dataset) is MFNet and [frame.sample_id for frame in dataset.frames] == [
        "00001D",
        "00002N",
        "00002N_flip",
    ]
    assert len(MFNet(tmp_path, "all", flips="skip")) == 2
    image = decoded(tmp_path / folders[0] / "00002N.png")
    np.testing.assert_array_equal(dataset[1]["thermal"], image[..., 3])
    np.testing.assert_array_equal(dataset[1]["label"], decoded(tmp_path / folders[1] / "00002N.png"))
    with pytest.raises(FileNotFoundError, match=r"no list train\.txt.*split='all' with holdout"):
        build_dataset(tmp_path, "train")
