"""Declared folders: rendered rooms read as one's own data, real pairs, and every mistake in a declaration."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from dataset_frames import colours, decoded, grey, naive_labels, save

from rgbx.datasets import FolderDataset, SyntheticRooms
from rgbx.datasets.rooms import CLASSES
from rgbx.transforms import HorizontalFlip, PackSample

RNG = np.random.default_rng(0)
OWN = """
[classes]
names = ["floor", "wall", "robot"]

[label]
folder = "labels"
suffix = "_ids.png"
offset = 1
void = [0]

[modalities.rgb]
folder = "photos"
suffix = ".jpg"
unit = "rgb8"

[modalities.depth]
folder = "depth"
unit = "metre"
scale = 1000

[modalities.nir]
folder = "nir"
unit = "relative"

[splits]
train = "train.txt"
test = ["night/3"]
"""


@pytest.fixture
def own(tmp_path):
    for stem in ("day/1", "day/2", "night/3"):
        save(tmp_path / "photos" / f"{stem}.jpg", colours(RNG))
        save(tmp_path / "depth" / f"{stem}.png", grey(RNG, 0, 9000, np.uint16))
        save(tmp_path / "nir" / f"{stem}.png", grey(RNG))
        save(tmp_path / "labels" / f"{stem}_ids.png", grey(RNG, 0, 4))
    (tmp_path / "train.txt").write_text("day/1\n\nphotos/day/2.jpg\n")
    (tmp_path / "dataset.toml").write_text(OWN)
    return tmp_path


def test_lists_and_values(own):
    dataset = FolderDataset(own)
    assert [frame.sample_id for frame in dataset.frames] == ["day/1", "day/2"]
    assert dataset.modalities == ("rgb", "depth", "nir") and dataset.classes == ("floor", "wall", "robot")
    sample = dataset[1]
    np.testing.assert_array_equal(sample["rgb"], decoded(own / "photos/day/2.jpg"))
    np.testing.assert_allclose(sample["depth"], decoded(own / "depth/day/2.png") / 1000, rtol=1e-6)
    np.testing.assert_allclose(sample["nir"], decoded(own / "nir/day/2.png") / 255, rtol=1e-6)
    np.testing.assert_array_equal(sample["label"], naive_labels(decoded(own / "labels/day/2_ids.png"), 1, {0}))
    assert [frame.sample_id for frame in FolderDataset(own, "test", modalities=("rgb",)).frames] == ["night/3"]


def test_transforms_of_a_config_know_maps_of_any_name(own):
    transforms = [dict(type=HorizontalFlip, probability=1.0), dict(type=PackSample)]
    plain, packed = FolderDataset(own)[0], FolderDataset(own, transforms=transforms)[0]
    np.testing.assert_array_equal(packed["nir"][0].numpy(), plain["nir"][:, ::-1])


def test_rooms_read_as_own_data_equal_the_rooms(tmp_path):
    """Folders of splits, 16-bit depth, hundredths of a kelvin, 16-bit normals: all as another reader has them."""
    rooms = SyntheticRooms(
        split="test", num_frames=2, size=(24, 32), root=tmp_path, modalities=("rgb", "depth", "thermal", "normal")
    )
    truth = [rooms.read(index) for index in range(2)]
    (tmp_path / "dataset.toml").write_text(f"""
        classes.names = {list(CLASSES)!r}
        label = {{folder = "{{split}}/label"}}
        modalities.rgb = {{folder = "{{split}}/rgb", unit = "rgb8"}}
        modalities.depth = {{folder = "{{split}}/depth", unit = "metre", scale = 1000}}
        modalities.thermal = {{folder = "{{split}}/thermal", unit = "sensor", scale = 100, add = -273.15}}
        modalities.normal = {{folder = "{{split}}/normal", unit = "unit_vector"}}
        splits.test = "test"
    """)
    dataset = FolderDataset(tmp_path, "test")
    assert len(dataset) == 2
    for index in range(2):
        sample = dataset[index]
        for name in ("rgb", "label"):
            np.testing.assert_array_equal(sample[name], truth[index][name])
        for name in ("depth", "thermal", "normal"):
            np.testing.assert_allclose(sample[name], truth[index][name], atol=2e-6, rtol=1e-6)


MSRS = """
[modalities.rgb]
folder = "{split}/vi"
unit = "rgb8"

[modalities.thermal]
folder = "{split}/ir"
unit = "sensor"

[splits]
test = "test"
"""


def test_real_visible_and_infrared_pairs(layouts, tmp_path):
    (tmp_path / "test").symlink_to(layouts / "msrs" / "test")
    (tmp_path / "dataset.toml").write_text(MSRS)
    dataset = FolderDataset(tmp_path, "test", targets=("rgb",))
    assert [frame.sample_id for frame in dataset.frames] == ["00012N", "00047N", "00055D", "00081D"]
    assert (dataset.sources, dataset.targets, dataset.classes) == (("thermal",), ("rgb",), ())
    for sample in dataset:
        for name, folder in (("rgb", "vi"), ("thermal", "ir")):
            path = layouts / "msrs" / "test" / folder / f"{sample['sample_id']}.png"
            np.testing.assert_array_equal(sample[name], decoded(path))
        assert "label" not in sample


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('folder = "depth"', 'foldr = "depth"', r"\[modalities\.depth\] foldr: no such key; did you mean 'folder'\?"),
        ("[label]", "[lable]", r"dataset\.toml: lable: no such key; did you mean 'label'\?"),
        ("[splits]", "[other]", r"dataset\.toml: other: no such key; expected classes, label, modalities, splits"),
        ('"metre"', '"meter"', r"unit: expected one of .*'metre'.*; did you mean 'metre'\?, found 'meter'"),
        ("scale = 1000", "", r"\[modalities\.depth\] scale is missing; expected a number > 0: raw units per metre"),
        ("scale = 1000", "scale = 0", r"\[modalities\.depth\] scale: expected a number > 0.*, found 0"),
        ("scale = 1000", 'scale = "mm"', r"scale: expected a number > 0.*, found 'mm'"),
        ("scale = 1000", "scale = 1000\nbits = 12", r"bits: expected one of \[8, 16\], found 12"),
        ('unit = "rgb8"', 'unit = "rgb8"\nscale = 2', r"\[modalities\.rgb\] scale: unit 'rgb8' has no scale"),
        ('unit = "rgb8"\n', "", r"\[modalities\.rgb\] unit is missing; expected one of \['rgb8'"),
        ('"photos"', '"/photos"', r"folder: expected a folder relative to the root.*, found '/photos'"),
        ('"photos"', '"{splt}/photos"', r"folder: expected .* no placeholder but \{split\}, found '\{splt\}/photos'"),
        ('".jpg"', '"jpg"', r"suffix: expected what follows the stem.*, found 'jpg'"),
        ("void = [0]", "void = []", r"\[label\] void: label offset 1 makes ids negative for values \[0\]"),
        ("void = [0]", "void = [300]", r"\[label\] void: expected an array of stored values 0\.\.255"),
        ("offset = 1", "offset = -1", r"\[label\] offset: expected 0\.\.255"),
        ("offset = 1", "offset = true", r"\[label\] offset: expected an integer.*, found True"),
        ('"wall"', '"floor"', r"\[classes\] names: expected an array of at most 255 distinct class names"),
        ("[label]", "palette = [[0, 0, 0]]\n[label]", r"palette: expected one .* for each of the 3 classes"),
        ('"train.txt"', '"train"', r"\[splits\] train: expected a list NAME\.txt .* as no folder holds \{split\}"),
        ('["night/3"]', "[3]", r"\[splits\] test: expected an array of stems, found \[3\]"),
        ('["night/3"]', "[]", r"\[splits\] test: expected a list file NAME\.txt, .*, found \[\]"),
        ("[classes]", "[classes", r"dataset\.toml: not valid TOML: .*line 2"),
    ],
)
def test_mistakes_in_a_declaration(own, old, new, message):
    assert old in OWN
    (own / "dataset.toml").write_text(OWN.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        FolderDataset(own)


def test_mistakes_in_the_files(own):
    with pytest.raises(ValueError, match=r"dataset\.toml: \[splits\] has \['train', 'test'\], found split 'val'"):
        FolderDataset(own, "val")
    with pytest.raises(ValueError, match=r"has the modalities .*nir.*, found \['thermal'\]"):
        FolderDataset(own, modalities=("rgb", "thermal"))
    save(own / "depth/day/2.png", grey(RNG))
    with pytest.raises(ValueError, match=r"train\.txt:3: depth .*2\.png: expected one channel of 16 bits"):
        FolderDataset(own)[1]
    (own / "depth/day/1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"train\.txt:1: .*1\.png: no such file"):
        FolderDataset(own)
    shutil.move(own / "dataset.toml", own / "other.toml")
    with pytest.raises(FileNotFoundError, match=r"dataset\.toml: no such file"):
        FolderDataset(own)
    assert len(FolderDataset(own, declaration="other.toml", modalities=("rgb",))) == 2


def test_a_split_without_files(tmp_path):
    (tmp_path / "dataset.toml").write_text(MSRS)
    with pytest.raises(FileNotFoundError, match=r"\[splits\] test: .*vi: no such folder"):
        FolderDataset(tmp_path, "test")


def test_eight_bit_depth_of_a_known_scale(own):
    (own / "dataset.toml").write_text(OWN.replace("scale = 1000", "scale = 25\nbits = 8"))
    stored = save(own / "depth/day/1.png", grey(RNG))
    np.testing.assert_allclose(FolderDataset(own)[0]["depth"], stored / 25, rtol=1e-6)
