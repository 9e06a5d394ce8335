"""Cityscapes: the id table against frames that carry both kinds of labels; depth by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from rgbx.datasets import Cityscapes
from rgbx.datasets.families.cityscapes import CITYSCAPES_CLASSES, LABEL_IDS

FRAME = "ulm_000001_000019"


@pytest.fixture
def root(tmp_path):
    """One 2x3 frame with all packages."""
    camera = {"extrinsic": {"baseline": 0.2, "pitch": 0.03}, "intrinsic": {"fx": 2000.0}}
    disparity = np.array([[0, 1, 2], [257, 10241, 65535]], np.uint16)
    files = {
        ("leftImg8bit", "leftImg8bit.png"): np.full((2, 3, 3), 9, np.uint8),
        ("gtFine", "gtFine_labelIds.png"): np.array([[0, 7, 26], [33, 29, 255]], np.uint8),
        ("gtFine", "gtFine_labelTrainIds.png"): np.array([[255, 0, 13], [18, 255, 255]], np.uint8),
        ("disparity", "disparity.png"): disparity,
    }
    for (package, suffix), array in files.items():
        folder = tmp_path / package / "train" / "ulm"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / f"{FRAME}_{suffix}")
    (tmp_path / "camera" / "train" / "ulm").mkdir(parents=True)
    (tmp_path / "camera" / "train" / "ulm" / f"{FRAME}_camera.json").write_text(json.dumps(camera))
    return tmp_path


def test_smoke(root):
    sample = Cityscapes(root)[0]
    assert sample["sample_id"] == FRAME
    assert set(sample) == {"rgb", "depth", "label", "sample_id", "paths"}
    np.testing.assert_array_equal(sample["label"], [[255, 0, 13], [18, 255, 255]])


def test_depth_by_hand(root):
    """baseline * fx = 400 m px; disparities of 1/256, 1, 40 and 65534/256 pixels."""
    depth = Cityscapes(root)[0]["depth"]
    expected = [[0, 0, 400 * 256], [400, 10, 400 * 256 / 65534]]
    np.testing.assert_allclose(depth, expected, rtol=1e-6)
    assert depth.dtype == np.float32


def test_label_kinds_agree(root):
    one, other = (Cityscapes(root, label_kind=kind)[0]["label"] for kind in ("labelIds", "labelTrainIds"))
    np.testing.assert_array_equal(one, other)


def test_label_kinds_agree_on_a_real_frame(layouts):
    """The frame's own labelTrainIds, made by others, are the truth for the table.

    Both files of this small sample were shrunk separately, so outlines differ by a few pixels: for
    every id the most frequent train id must be the table's, and 99.7 % of all pixels.
    """
    ours, truth = (
        Cityscapes(layouts / "cityscapes", "val", modalities=("rgb",), label_kind=kind)[0]
        for kind in ("labelIds", "labelTrainIds")
    )
    ids = np.asarray(Image.open(ours["paths"]["label"]))
    found = {k: np.unique(ours["label"][ids == k]).tolist() for k in np.unique(ids)}
    expected = {k: [np.bincount(truth["label"][ids == k]).argmax()] for k in np.unique(ids)}
    assert found == expected and len(found) > 10
    assert (ours["label"] == truth["label"]).mean() > 0.997


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_predictions_in_the_server_s_format(root, kind):
    """Label ids under `{city}_{seq}_{frame}*.png`, as cityscapesScripts' evalPixelLevelSemanticLabeling looks for."""
    dataset = Cityscapes(root, label_kind=kind)
    train_ids = np.array([[0, 1, 2, 13, 18, 255]], np.uint8)
    encoded = dataset.encode_label(train_ids)
    assert encoded.dtype == np.uint8
    assert encoded.tolist() == [[7, 8, 11, 26, 33, 0]]
    every = np.arange(19, dtype=np.uint8)
    np.testing.assert_array_equal(LABEL_IDS.lookup[dataset.encode_label(every)], every)
    assert dataset.prediction_name(FRAME) == f"{FRAME}_leftImg8bit.png"


def test_full_size_frames(layouts):
    dataset = Cityscapes(layouts / "cityscapes", modalities=("rgb",))
    assert len(dataset) == 2
    for index in range(2):
        sample = dataset[index]
        assert sample["rgb"].shape == (1024, 2048, 3)
        raw = np.asarray(Image.open(sample["paths"]["label"]))
        road = CITYSCAPES_CLASSES.index("road")
        np.testing.assert_array_equal(sample["label"] == road, raw == 7)
        assert sample["label"][900, 1024] == road  # straight ahead of the car
        np.testing.assert_array_equal(sample["rgb"], np.asarray(Image.open(sample["paths"]["rgb"])))


def test_exception(root, layouts):
    with pytest.raises(FileNotFoundError, match=r"disparity.train: no such folder.*camera"):
        Cityscapes(layouts / "cityscapes")
    with pytest.raises(FileNotFoundError, match=r"no cities \['bonn'\]; it has \['ulm'\]"):
        Cityscapes(root, cities=("bonn",))
    with pytest.raises(ValueError, match="found \\['hha'\\]"):
        Cityscapes(root, modalities=("hha",))
    with pytest.raises(ValueError, match="label_kind"):
        Cityscapes(root, label_kind="ids")
    dataset = Cityscapes(root)
    camera = root / "camera" / "train" / "ulm" / f"{FRAME}_camera.json"
    camera.write_text("{}")
    with pytest.raises(ValueError, match=r"camera\.json: expected extrinsic\.baseline"):
        dataset[0]
    camera.unlink()
    with pytest.raises(FileNotFoundError, match=r"camera\.json.*camera package"):
        dataset[0]
    (root / "disparity" / "train" / "ulm" / f"{FRAME}_disparity.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"disparity\.png"):
        dataset[0]


def test_one_modality_as_a_string_is_told_what_to_write(layouts):
    with pytest.raises(ValueError, match=r"sequence of names such as \('rgb',\), found 'rgb'"):
        Cityscapes(layouts / "cityscapes", "train", modalities="rgb")
