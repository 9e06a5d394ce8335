"""DELIVER on images written in its format (no real frames were at hand), against PIL and loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_frames import colours, decoded, naive_labels, save, write_deliver

from rgbx.datasets import DELIVER
from rgbx.datasets.families.deliver import DELIVER_CLASSES

SCENES = ("cloud/MAP_10_point102", "night/MAP_2_point12_motionblur", "sun/MAP_2_point3", "sun/MAP_3_eventlowres")


@pytest.fixture
def root(tmp_path):
    return write_deliver(tmp_path, np.random.default_rng(0), "val", SCENES)


def place(root, kind, name):
    return root / kind / "cloud" / "val" / "MAP_10_point102" / f"045050_{name}_front.png"


def test_frames(root):
    dataset = DELIVER(root, "val", modalities=("rgb", "hha", "depth", "lidar", "event"))
    assert len(dataset) == 4 and dataset.num_classes == 25 == len(set(DELIVER_CLASSES))
    sample = dataset[0]
    assert sample["sample_id"] == "cloud/MAP_10_point102/045050"
    np.testing.assert_array_equal(sample["rgb"], decoded(place(root, "img", "rgb"))[..., :3])
    np.testing.assert_array_equal(sample["hha"], decoded(place(root, "hha", "depth")))
    np.testing.assert_allclose(sample["depth"], decoded(place(root, "depth", "depth")) / 255, rtol=1e-6)
    for channel in range(3):
        np.testing.assert_array_equal(sample["lidar"][..., channel], decoded(place(root, "lidar", "lidar")))
    raw = decoded(place(root, "semantic", "semantic"))[..., 0]
    assert {0, 25, 255} <= set(raw.flat)
    np.testing.assert_array_equal(sample["label"], naive_labels(raw, 1, {0}))
    event = decoded(place(root, "event", "event"))
    for row in range(12):
        for column in range(16):
            assert (sample["event"][row, column] == event[row // 2, column // 2]).all()


def test_conditions(root):
    def names(*conditions):
        return [frame.sample_id.rpartition("/")[0] for frame in DELIVER(root, "val", conditions=conditions).frames]

    assert names("sun") == ["sun/MAP_2_point3", "sun/MAP_3_eventlowres"]
    assert names("motionblur") == ["night/MAP_2_point12_motionblur"]
    assert names("eventlowres", "motionblur") == ["night/MAP_2_point12_motionblur", "sun/MAP_3_eventlowres"]
    assert names("sun", "eventlowres") == ["sun/MAP_3_eventlowres"]
    with pytest.raises(FileNotFoundError, match=r"with conditions \('fog',\); found \['img.cloud.val'"):
        names("fog")
    with pytest.raises(ValueError, match=r"conditions must be some of \['cloud'.* found \('snow',\)"):
        names("snow")


def test_depth_of_the_simulator(root):
    """Published encoding: metres = 1000 (R + 256 G + 65536 B) / (2^24 - 1)."""
    raw = save(place(root, "depth", "depth"), colours(np.random.default_rng(1)))
    sample = DELIVER(root, "val", modalities=("depth",), depth_encoding="carla")[0]
    red, green, blue = (int(value) for value in raw[3, 5])
    assert sample["depth"][3, 5] == pytest.approx(1000 * (red + 256 * green + 65536 * blue) / (2**24 - 1), rel=1e-6)
    with pytest.raises(ValueError, match=r"expected a grey image.*depth_encoding='carla'"):
        DELIVER(root, "val", modalities=("depth",))[0]
    with pytest.raises(ValueError, match=r"depth_encoding must be 'grey' or 'carla', found 'raw'"):
        DELIVER(root, "val", depth_encoding="raw")


def test_missing_files_are_named(root):
    place(root, "lidar", "lidar").unlink()
    with pytest.raises(FileNotFoundError, match=r"045050_lidar_front\.png: no such file"):
        DELIVER(root, "val", modalities=("rgb", "lidar"))
    assert DELIVER(root, "val", modalities=("rgb",))[0]["rgb"].shape == (12, 16, 3)
