"""Declared folders: rendered rooms read as one's own data, real pairs, and every mistake in a declaration."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from dataset_frames import colours, decoded, grey, naive_labels, save
from made_tiff import tiff

from rgbx.datasets import CachedFrames, FolderDataset, SyntheticRooms
from rgbx.datasets.rooms import CLASSES
from rgbx.transforms import HorizontalFlip, PackSample, PadTo, collate

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


def test_classes_without_colours_have_the_default_ones(own):
    assert FolderDataset(own).palette == [[0, 114, 178], [230, 159, 0], [0, 158, 115]]  # Okabe and Ito


def test_frames_of_a_free_suffix_are_those_of_the_first_folder_whatever_is_asked(tmp_path):
    """Also where no asked map has a free suffix; what the depth folder holds besides is no frame."""
    for name, suffix in (("b", ".jpg"), ("a", ".png")):
        save(tmp_path / "train" / "rgb" / f"{name}{suffix}", colours(RNG))
    for name in "bac":
        save(tmp_path / "train" / "depth" / f"{name}_depth.png", grey(RNG, 0, 9000, np.uint16))
    (tmp_path / "dataset.toml").write_text("""
        modalities.rgb = {folder = "{split}/rgb", suffix = "*", unit = "rgb8"}
        modalities.depth = {folder = "{split}/depth", suffix = "_depth.png", unit = "metre", scale = 1000}
        splits.train = "train"
    """)
    for asked in (("depth",), ("rgb", "depth"), ("rgb",)):
        dataset = FolderDataset(tmp_path, modalities=asked)
        assert [frame.sample_id for frame in dataset.frames] == ["a", "b"], asked
    raw = decoded(tmp_path / "train/depth/b_depth.png")
    depth = FolderDataset(tmp_path, modalities=("depth",))[1]["depth"]
    np.testing.assert_allclose(depth, raw / 1000, rtol=1e-6)


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
        ("[modalities.depth]", '[modalities.""]', r"dataset\.toml: \[modalities\]: expected names of .*, found ''"),
        ("scale = 1000", "scale = 0", r"\[modalities\.depth\] scale: expected a number > 0.*, found 0"),
        (
            "scale = 1000",
            "scale = inf",
            r"dataset\.toml: \[modalities\.depth\] scale: expected a number > 0.*, found inf",
        ),
        ("scale = 1000", f"scale = 0x{'f' * 5000}", r"dataset\.toml: a whole number beyond 64 bits"),
        ("scale = 1000", f"scale.{'.a' * 300} = 1".replace("..", "."), r"dataset\.toml: .*20 tables or arrays in each"),
        ("modalities.depth]", "modalities.label]", r"\[modalities\]: expected names .* than label.*, found 'label'"),
        ("modalities.depth]", "modalities.rgb_valid]", r"\[modalities\]: expected names .*, found 'rgb_valid'"),
        ("modalities.depth]", "modalities.rgb_corrupted]", r"NAME_corrupted, .*, found 'rgb_corrupted'"),
        ("modalities.depth]", 'modalities."../depth"]', r"\[modalities\]: expected names of letters.*'\.\./depth'"),
        ("modalities.depth]", 'modalities."d.e"]', r"\[modalities\]: expected names of letters.*, found 'd\.e'"),
        ("scale = 1000", 'scale = "mm"', r"scale: expected a number > 0.*, found 'mm'"),
        ("scale = 1000", "scale = 1000\nbits = 12", r"bits: expected one of \[8, 16\], found 12"),
        ('unit = "rgb8"', 'unit = "rgb8"\nscale = 2', r"\[modalities\.rgb\] scale: unit 'rgb8' has no scale"),
        ('unit = "rgb8"\n', "", r"\[modalities\.rgb\] unit is missing; expected one of \['rgb8'"),
        ('"photos"', '"/photos"', r"folder: expected a folder relative to the root.*, found '/photos'"),
        ('"photos"', '"{splt}/photos"', r"folder: expected .* no placeholder but \{split\}, found '\{splt\}/photos'"),
        ('".jpg"', '"jpg"', r"suffix: expected what follows the stem.*, found 'jpg'"),
        ("void = [0]", "void = []", r"\[label\] void: label offset 1 makes ids negative for values \[0\]"),
        ("void = [0]", "void = [0.5]", r"\[label\] void: expected an array of stored whole numbers"),
        ("void = [0]", "void = [[0, 0, 0]]", r"\[label\] void: expected an array of stored whole numbers"),
        ("void = [0]", "void = [true]", r"\[label\] void: expected an array of stored whole numbers"),
        ("offset = 1", "values = [1, 2]", r"\[label\] values: expected the stored .* each of the 3 classes.*\[1, 2\]"),
        ("offset = 1", "values = [1, 2, 2.5]", r"\[label\] values: expected the stored whole number of each"),
        ("offset = 1", "values = [0, 1, 2]", r"\[label\] values: stored values .* must differ, found 0 more than once"),
        ("offset = 1\nvoid = [0]", "offset = 1\nvoid = [0]\nvalues = [1, 2, 3]", r"\[label\] values: .* one of offset"),
        ("offset = 1", "colours = true", r"\[label\] colours: expected true, where \[classes\] has a palette"),
        ("offset = 1", "colours = [[0, 0, 0]]", r"\[label\] colours: expected .* for each of the 3 classes"),
        (
            "offset = 1",
            "colours = [[0, 0, 0], [9, 9, 9], [8, 8, 8]]",
            r"\[label\] void: expected an array of stored \[red, green, blue\]",
        ),
        ("scale = 1000", "scale = 1\nmissing = [nan]", r"depth\] missing: expected stored numbers.*found \[nan\]"),
        ("scale = 1000", 'scale = 1\nmissing = ["a"]', r"depth\] missing: expected stored numbers"),
        ('unit = "rgb8"', 'unit = "rgb8"\nmissing = [0]', r"\[modalities\.rgb\] missing: unit 'rgb8' has no missing"),
        ("scale = 1000", "scale = 1\nkey = 3", r"\[modalities\.depth\] key: expected the name of an array"),
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
    with pytest.raises(ValueError, match=r"dataset\.toml: \[splits\] has train, test; found split 'val'"):
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


def declared(root, old, new):
    assert old in OWN
    (root / "dataset.toml").write_text(OWN.replace(old, new, 1))
    return FolderDataset(root)


def test_two_classes_stored_as_0_and_255(own):
    stored = save(own / "labels/day/1_ids.png", grey(RNG, 0, 2) * 255)
    names = OWN.replace('["floor", "wall", "robot"]', '["floor", "wall"]')
    (own / "dataset.toml").write_text(names.replace("offset = 1\nvoid = [0]", "values = [0, 255]"))
    dataset = FolderDataset(own)
    label = dataset[0]["label"]
    np.testing.assert_array_equal(label, stored // 255)
    np.testing.assert_array_equal(dataset.encode_label(label), stored)


def test_void_of_a_negative_number(own):
    stored = grey(RNG, -1, 3, np.int16)
    for number in (1, 2):
        (own / f"labels/day/{number}_ids.tiff").write_bytes(tiff(stored))
    dataset = declared(own, '"_ids.png"\noffset = 1\nvoid = [0]', '"_ids.tiff"\nvoid = [-1]')
    np.testing.assert_array_equal(dataset[0]["label"], np.where(stored == -1, 255, stored))


@pytest.mark.parametrize(
    ("palette", "key"),
    [("palette = [[9, 0, 0], [0, 9, 0], [0, 0, 9]]", "true"), ("", "[[9, 0, 0], [0, 9, 0], [0, 0, 9]]")],
)
def test_labels_of_colours(own, palette, key):
    ids = grey(RNG, 0, 4)
    table = np.array([[9, 0, 0], [0, 9, 0], [0, 0, 9], [7, 7, 7]], np.uint8)
    save(own / "labels/day/1_ids.png", table[ids])
    text = OWN.replace("[label]", f"{palette}\n[label]", 1)
    (own / "dataset.toml").write_text(text.replace("offset = 1\nvoid = [0]", f"colours = {key}\nvoid = [[7, 7, 7]]"))
    dataset = FolderDataset(own)
    np.testing.assert_array_equal(dataset[0]["label"], np.where(ids == 3, 255, ids))
    np.testing.assert_array_equal(dataset.encode_label(dataset[0]["label"]), table[ids])


def test_maps_in_archives_with_their_keys(own):
    depth = RNG.random((12, 16)).astype(np.float32)
    depth[0, :3] = [-1, np.nan, np.inf]
    for number in (1, 2):
        np.savez(own / f"depth/day/{number}.npz", metres=depth, other=depth)
    more = 'suffix = ".npz"\nunit = "metre"\nscale = 1\nkey = "metres"\nmissing = [-1]'
    found = declared(own, 'unit = "metre"\nscale = 1000', more)[0]["depth"]
    expected = depth.copy()
    expected[0, :3] = 0
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("cached", [False, True])
def test_what_a_sensor_did_not_measure_reaches_the_batch(own, tmp_path, cached):
    """As a mask, through a flip, a crop that pads, packing, the cache, and beside frames of whole numbers."""
    values = np.arange(12 * 16, dtype=np.float32).reshape(12, 16)
    hole = RNG.random((12, 16)) < 0.2
    (own / "nir/day/1.tiff").write_bytes(tiff(np.where(hole, np.float32(np.nan), values)))
    (own / "nir/day/2.tiff").write_bytes(tiff(values.astype(np.uint16)))
    transforms = [dict(type=HorizontalFlip, probability=1.0), dict(type=PadTo, size=(14, 16)), dict(type=PackSample)]
    text = OWN.replace('folder = "nir"\nunit = "relative"', 'folder = "nir"\nsuffix = ".tiff"\nunit = "sensor"')
    (own / "dataset.toml").write_text(text)
    dataset = FolderDataset(own, transforms=transforms)
    assert FolderDataset(own)[0]["nir_valid"].dtype == np.uint8 and "nir_valid" not in FolderDataset(own)[1]
    if cached:
        dataset = CachedFrames(dataset, folder=tmp_path / "cache")
        assert [sample["sample_id"] for sample in dataset] == ["day/1", "day/2"]
    batch = collate([dataset[0], dataset[1]])
    valid = np.zeros((14, 16), bool)
    valid[:12] = ~hole[:, ::-1]
    assert batch["nir_valid"].shape == (2, 1, 14, 16)
    np.testing.assert_array_equal(batch["nir_valid"][0, 0], valid)
    assert batch["nir_valid"][1].all() and batch["nir"].isfinite().all()
    np.testing.assert_array_equal(batch["nir"][0, 0][valid], values[:, ::-1][~hole[:, ::-1]])
