"""MFNet: real four-channel frames decoded by PIL, its variants, lists and mirrored copies.

The real frames come without labels: another network's predictions stand in for them here.
"""

from __future__ import annotations

import numpy as np
import pytest
from dataset_frames import colours, decoded, grey, save

from rgbx.datasets import MFNet
from rgbx.datasets.families.mfnet import MFNET_CLASSES, MFNET_PALETTE

RNG = np.random.default_rng(0)


@pytest.fixture
def real(layouts, tmp_path):
    """The two real frames under published names, with stand-in labels and the lists."""
    (tmp_path / "images").symlink_to(layouts / "mfnet" / "images")
    (tmp_path / "labels").symlink_to(layouts / "mfnet" / "peer_pred")
    (tmp_path / "train.txt").write_text("01477D\n01234N\n01234N_flip\n\n")
    (tmp_path / "val.txt").write_text("01477D\n")
    (tmp_path / "test_night.txt").write_text("01234N\n")
    return tmp_path


def fixture(root, folders, suffix=".png"):
    for stem in ("00001D", "00002N"):
        save(root / folders[0] / f"{stem}{suffix}", colours(RNG))
        save(root / folders[1] / f"{stem}{suffix}", grey(RNG))
        save(root / folders[2] / f"{stem}.png", grey(RNG, 0, 9))
    (root / "test.txt").write_text("00001D\n00002N.png\n")
    return root


def test_real_frames(real, layouts):
    dataset = MFNet(real)
    assert [frame.sample_id for frame in dataset.frames] == ["01477D", "01234N", "01234N_flip"]
    for index, stem in enumerate(("01477D", "01234N")):
        sample = dataset[index]
        image = decoded(layouts / "mfnet" / "images" / f"{stem}.png")
        assert image.shape == (480, 640, 4)
        np.testing.assert_array_equal(sample["rgb"], image[..., :3])
        np.testing.assert_array_equal(sample["thermal"], image[..., 3])
        np.testing.assert_array_equal(sample["label"], decoded(real / "labels" / f"{stem}.png"))
        assert (sample["rgb"].dtype, sample["thermal"].dtype, sample["label"].dtype) == ("uint8", "float32", "uint8")
    assert dataset.maps["thermal"].unit == "sensor"
    one = MFNet(real, modalities=("thermal",))[0]
    assert "rgb" not in one
    np.testing.assert_array_equal(one["thermal"], dataset[0]["thermal"])


def test_zero_counts_as_a_class(real):
    dataset = MFNet(real)
    assert dataset.num_classes == 9 == len(MFNET_PALETTE)
    assert MFNET_CLASSES[0] == "unlabelled"
    assert (dataset[1]["label"] == 0).any() and not (dataset[1]["label"] == 255).any()


def test_mirrored_copies(real):
    dataset = MFNet(real)
    plain, mirrored = dataset[1], dataset[2]
    for name in ("rgb", "thermal", "label"):
        for column in (0, 7, 639):
            np.testing.assert_array_equal(mirrored[name][:, column], plain[name][:, 639 - column])
    assert len(MFNet(real, flips="skip")) == 2
    with pytest.raises(ValueError, match="'keep' or 'skip', found 'drop'"):
        MFNet(real, flips="drop")


def test_mirrored_copies_with_files_of_their_own(tmp_path):
    root = fixture(tmp_path, ("rgb", "ther", "labels"))
    own = save(root / "rgb" / "00001D_flip.png", colours(RNG))
    save(root / "ther" / "00001D_flip.png", grey(RNG))
    save(root / "labels" / "00001D_flip.png", grey(RNG, 0, 9))
    (root / "train.txt").write_text("00001D_flip\n")
    np.testing.assert_array_equal(MFNet(root)[0]["rgb"], own)


def test_joined_splits(real):
    assert [frame.sample_id for frame in MFNet(real, "val+test_night").frames] == ["01477D", "01234N"]
    with pytest.raises(FileNotFoundError, match=r"test_day\.txt: no such list file; .*'test_night\.txt'"):
        MFNet(real, "val+test_day")


@pytest.mark.parametrize(
    ("folders", "suffix"), [(("RGB", "Modal", "Label"), ".bmp"), (("rgb", "ther", "labels"), ".png")]
)
def test_variants(tmp_path, folders, suffix):
    root = fixture(tmp_path, folders, suffix)
    dataset = MFNet(root, "test")
    assert dataset.variant == "/".join(folders)
    sample = dataset[1]
    assert sample["sample_id"] == "00002N"
    for name, folder, end in zip(("rgb", "thermal", "label"), folders, (suffix, suffix, ".png"), strict=True):
        np.testing.assert_array_equal(sample[name], decoded(root / folder / f"00002N{end}"))


def test_thermal_with_three_equal_channels(tmp_path):
    root = fixture(tmp_path, ("rgb", "ther", "labels"))
    values = grey(RNG)
    save(root / "ther" / "00001D.png", np.repeat(values[..., None], 3, axis=2))
    np.testing.assert_array_equal(MFNet(root, "test")[0]["thermal"], values)
    save(root / "ther" / "00001D.png", colours(RNG))
    with pytest.raises(ValueError, match=r"test\.txt:1: .*ther.00001D\.png: expected a grey image, found 3 channels"):
        MFNet(root, "test")[0]


def test_exceptions(tmp_path):
    root = fixture(tmp_path, ("rgb", "ther", "labels"))
    with pytest.raises(ValueError, match=r"found \['depth'\]"):
        MFNet(root, "test", modalities=("rgb", "depth"))
    with pytest.raises(ValueError, match=r"variant is .*; expected None or one of"):
        MFNet(root, "test", variant="rgb/thermal")
    (root / "labels" / "00002N.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"test\.txt:2: .*00002N\.png: no such file; label of 1 of 2 frames"):
        MFNet(root, "test")
    save(root / "labels" / "00002N.png", grey(RNG, 0, 9))
    (root / "images").mkdir()
    with pytest.raises(ValueError, match="say which by variant="):
        MFNet(root, "test")
    assert len(MFNet(root, "test", variant="rgb/ther/labels")) == 2
    with pytest.raises(FileNotFoundError, match=r"expected the folders .*; found \['labels'"):
        MFNet(_only(tmp_path, "labels"))
    for stem in ("00001D", "00002N"):
        save(root / "images" / f"{stem}.png", colours(RNG, 3))
    with pytest.raises(ValueError, match=r"images.00001D\.png: expected 4 channels of 8 bits"):
        MFNet(root, "test", variant="images/labels")[0]


def _only(tmp_path, name):
    (tmp_path / "empty" / name).mkdir(parents=True)
    return tmp_path / "empty"
