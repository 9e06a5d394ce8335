"""Which files a declaration makes frames of: prefixes, shared folders, lists of every kind, timestamps, left-overs."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_frames import decoded, save

from rgbx.datasets import FolderDataset
from rgbx.datasets.files import MissingFileError

HEAD = """
[classes]
names = ["a", "b"]
[label]
{label}
[modalities.rgb]
unit = "rgb8"
{rgb}
[modalities.depth]
unit = "metre"
scale = 1000
{depth}
[splits]
{splits}
"""
FOLDERS = {"rgb": 'folder = "rgb"', "depth": 'folder = "depth"', "label": 'folder = "label"'}


def declare(root, splits, **maps):
    root.mkdir(exist_ok=True)
    (root / "dataset.toml").write_text(HEAD.format(splits=splits, **{**FOLDERS, **maps}))


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(dataset, name):
    return {frame.sample_id: frame.files[name].relative_to(dataset.root).as_posix() for frame in dataset.frames}


IN_ONE = {name: f'folder = "all"\nprefix = "{name}_"' for name in ("rgb", "depth", "label")}


def test_prefixes_in_one_folder(tmp_path):
    for own in ("1", "2", "day/3"):
        place, _, base = f"all/{own}".rpartition("/")
        touch(tmp_path, *(f"{place}/{name}_{base}.png" for name in IN_ONE))
    declare(tmp_path, 'all = "all"\npicked = ["day/3", "rgb_2.png", "all/rgb_1.png"]', **IN_ONE)
    dataset = FolderDataset(tmp_path, "all")
    assert found(dataset, "depth") == {"1": "all/depth_1.png", "2": "all/depth_2.png", "day/3": "all/day/depth_3.png"}
    picked = FolderDataset(tmp_path, "picked")
    assert found(picked, "label") == {"day/3": "all/day/label_3.png", "2": "all/label_2.png", "1": "all/label_1.png"}
    assert dataset.left_over == picked.left_over == {}


def test_the_form_that_says_most_has_the_file(tmp_path):
    """rgb has no word of its own in its names; those of the others are theirs, whether asked or not."""
    touch(
        tmp_path,
        *(f"all/{own}{word}.png" for own in "12" for word in ("", "_depth")),
        *(f"all/m_{own}.png" for own in "12"),
    )
    maps = {"rgb": 'folder = "all"', "depth": 'folder = "all"\nsuffix = "_depth.png"'}
    declare(tmp_path, 'all = "all"', label='folder = "all"\nprefix = "m_"', **maps)
    for modalities in (("rgb",), ("rgb", "depth")):
        dataset = FolderDataset(tmp_path, "all", modalities=modalities)
        assert found(dataset, "rgb") == {"1": "all/1.png", "2": "all/2.png"} and not dataset.left_over


def test_a_map_in_the_root_leaves_folders_of_others_alone(tmp_path):
    touch(tmp_path, *(f"{place}{own}.png" for own in "12" for place in ("", "depth/", "label/")))
    declare(tmp_path, "all = ['1', '2']", rgb='folder = "."')
    dataset = FolderDataset(tmp_path, "all")
    assert found(dataset, "rgb") == {"1": "1.png", "2": "2.png"} and not dataset.left_over


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "rgb/{}.png",
        "/rgb/{}.png",
        "rgb\\{}.png",
        "{}.png",
        "{}.PNG",
        "rgb/{}",
        "./rgb/{}.png",
        "  {}  ",
        "{}.jpg",
    ],
)
@pytest.mark.parametrize("own", ["1", "day/2", "a.b"])
def test_lines_of_every_kind(tmp_path, line, own):
    touch(tmp_path, *(f"{folder}/{own}.png" for folder in FOLDERS))
    declare(tmp_path, 'train = "train.txt"')
    (tmp_path / "train.txt").write_text(f"\n{line.format(own)}\n")
    dataset = FolderDataset(tmp_path)
    assert found(dataset, "depth") == {own: f"depth/{own}.png"}
    assert dataset.frames[0].origin == f"{tmp_path / 'train.txt'}:2"


def test_stems_with_a_suffix_inside_stay_whole(tmp_path):
    touch(tmp_path, *(f"{folder}/1.png.png" for folder in FOLDERS))
    declare(tmp_path, "train = ['1.png']")
    assert found(FolderDataset(tmp_path), "rgb") == {"1.png": "rgb/1.png.png"}


@pytest.mark.parametrize("line", ["../other/rgb/1.png", "C:\\rgb\\1.png", "rgb/../../1.png", "a\0"])
@pytest.mark.parametrize("array", [False, True])
def test_lines_that_lead_elsewhere(tmp_path, line, array):
    root = tmp_path / "root"
    touch(tmp_path, "1.png", "other/rgb/1.png", *(f"root/{folder}/0.png" for folder in FOLDERS))
    if array and "\0" in line:
        line = "a\\u0000"
    declare(
        root,
        f'train = ["0", "{line}"]'.replace("\\r", "\\\\r").replace("\\1", "\\\\1") if array else 'train = "train.txt"',
    )
    (root / "train.txt").write_text(f"0\n{line}\n")
    with pytest.raises(ValueError, match=r"dataset\.toml: \[splits\] train" if array else r"train\.txt:2"):
        FolderDataset(root)


@pytest.mark.parametrize(
    ("splits", "maps", "message"),
    [
        ('train = "../x"', {"rgb": 'folder = "{split}/rgb"'}, r"\[splits\] train: '\.\./x' leads out"),
        ('train = "../x.txt"', {}, r"\[splits\] train: '\.\./x\.txt' leads out"),
        ('train = ["1"]', {"rgb": 'folder = "../rgb"'}, r"\[modalities\.rgb\] folder: '\.\./rgb' leads out"),
        ('train = ["1"]', {"rgb": 'folder = "D:/rgb"'}, r"\[modalities\.rgb\] folder: .*a drive"),
        (
            'train = ["1"]',
            {"label": 'folder = "\\\\label"'},
            r"\[label\] folder: expected a folder relative to the root",
        ),
        (
            'train = ["1"]',
            {"rgb": 'folder = "rgb"\nprefix = "a/b_"'},
            r"prefix: expected what a file's name begins with",
        ),
        ('train = ["1"]', {"rgb": 'folder = "rgb"\nprefix = 3'}, r"prefix: expected .*, found 3"),
        ('train = ["1"]', {"rgb": 'folder = "rgb"\nsuffix = "/../a.png"'}, r"suffix: expected what follows the stem"),
    ],
)
def test_declared_places_that_lead_elsewhere(tmp_path, splits, maps, message):
    declare(tmp_path, splits, **maps)
    with pytest.raises(ValueError, match=message):
        FolderDataset(tmp_path)


def test_a_split_on_the_command_line_stays_inside(tmp_path):
    declare(tmp_path, 'train = "train"', **{name: f'folder = "{{split}}/{name}"' for name in FOLDERS})
    with pytest.raises(ValueError, match=r"\[splits\] has train; found split '\.\./x'"):
        FolderDataset(tmp_path, "../x")


def test_linked_and_upper_case_files_are_frames(tmp_path):
    for folder in FOLDERS:
        touch(tmp_path, f"{folder}/1.png", f"{folder}/2.PNG", f"store/{folder}/3.Png")
        (tmp_path / folder / "night").symlink_to(tmp_path / "store" / folder)
    declare(tmp_path, 'all = "rgb"')
    assert found(FolderDataset(tmp_path, "all"), "label") == {
        "1": "label/1.png",
        "2": "label/2.PNG",
        "night/3": "label/night/3.Png",
    }


def test_two_files_of_one_frame(tmp_path):
    touch(tmp_path, *(f"{folder}/{own}.png" for folder in FOLDERS for own in "12"), "depth/2.PNG")
    declare(tmp_path, "one = ['1']\ntwo = ['2']")
    assert len(FolderDataset(tmp_path, "one")) == 1
    with pytest.raises(ValueError, match=r"depth: 2\.PNG and 2\.png have one stem"):
        FolderDataset(tmp_path, "two")


@pytest.mark.parametrize(("again", "line"), [("1", 3), ("rgb/1.png", 3), ("/rgb/1.PNG", 3)])
def test_a_frame_twice_in_a_list(tmp_path, again, line):
    touch(tmp_path, *(f"{folder}/{own}.png" for folder in FOLDERS for own in "12"))
    declare(tmp_path, 'train = "train.txt"')
    (tmp_path / "train.txt").write_text(f"1\n2\n{again}\n")
    with pytest.raises(ValueError, match=rf"train\.txt:{line}: frame '1' is there already, at .*train\.txt:1"):
        FolderDataset(tmp_path)


def test_what_folders_and_lists_leave_over(tmp_path, caplog):
    """1..4 are frames of one of the lists; 5 is in none, 6 has no rgb, 7 is rgb in another format."""
    touch(tmp_path, *(f"{folder}/{own}.png" for folder in FOLDERS for own in "12345"), "label/6.png", "rgb/7.tiff")
    (tmp_path / "train.txt").write_text("1\n2\n")
    (tmp_path / "test.txt").write_text("rgb/3.png\n")
    declare(tmp_path, 'train = "train.txt"\ntest = "test.txt"\nval = ["4"]\nall = "rgb"\nbroken = "none.txt"')
    listed = {name: [f"{tmp_path}/{name}/5.png"] for name in FOLDERS}
    listed["label"].append(f"{tmp_path}/label/6.png")
    listed["rgb"].append(f"{tmp_path}/rgb/7.tiff")
    for split in ("train", "test", "val"):
        caplog.clear()
        assert FolderDataset(tmp_path, split).left_over == listed
        (message,) = caplog.messages
        assert f"2 of label in {tmp_path}/label, ['5.png', '6.png']; 2 of rgb in {tmp_path}/rgb" in message
    assert FolderDataset(tmp_path, "train", modalities=("depth",)).left_over.keys() == {"label", "depth"}
    every = FolderDataset(tmp_path, "all")
    assert len(every) == 5
    assert every.left_over == {"label": [f"{tmp_path}/label/6.png"], "rgb": [f"{tmp_path}/rgb/7.tiff"]}


def test_a_folder_without_partners_is_left_over(tmp_path):
    touch(tmp_path, *(f"{folder}/day/1.png" for folder in FOLDERS), "depth/night/1.png", "depth/night/2.png")
    declare(tmp_path, 'all = "rgb"')
    left = [f"{tmp_path}/depth/night/{own}.png" for own in "12"]
    assert FolderDataset(tmp_path, "all").left_over == {"depth": left}


def test_held_out_frames_are_not_left_over(tmp_path):
    touch(tmp_path, *(f"{folder}/{own:03d}.png" for folder in FOLDERS for own in range(100)))
    declare(tmp_path, 'all = "rgb"')
    parts = [FolderDataset(tmp_path, "all", holdout=part) for part in ("exclude", "only")]
    assert [len(part) for part in parts] == [84, 16] and not any(part.left_over for part in parts)


def test_every_missing_frame_of_a_list_is_counted(tmp_path):
    touch(tmp_path, *(f"{folder}/{own}.png" for folder in FOLDERS for own in "123"))
    (tmp_path / "train.txt").write_text("1\n7\n2\n8\n9\n5\n")
    declare(tmp_path, 'train = "train.txt"')
    with pytest.raises(
        MissingFileError,
        match=r"train\.txt:2: .*7\.png: no such file; label of 4 of 6 frames is missing, such as \['7', '8', '9', …\]",
    ):
        FolderDataset(tmp_path)


TUM = {"rgb": 'folder = "rgb"', "depth": 'folder = "depth"'}


@pytest.fixture
def tum(tmp_path):
    """Four colour images and four depth images at times of their own; labels are named as the colour images."""
    rgb, depth = ("10.00", "10.04", "10.08", "20.00"), ("9.99", "10.05", "10.11", "10.09")
    touch(tmp_path, *(f"rgb/{time}.png" for time in rgb), *(f"depth/{time}.png" for time in depth))
    touch(tmp_path, *(f"label/{time}.png" for time in rgb))
    for name, times in (("rgb", rgb), ("depth", depth)):
        lines = "".join(f"{time} {name}/{time}.png\n" for time in times)
        (tmp_path / f"{name}.txt").write_text(f"# timestamp filename\n{lines}")
    return tmp_path


def test_maps_are_paired_by_their_timestamps(tum, caplog):
    """By hand: gaps of 0.01 s each; 10.11 is 0.03 s from 10.08, which is taken; 20.00 is alone."""
    declare(tum, 'all = {rgb = "rgb.txt", depth = "depth.txt", max_gap = 0.02}')
    dataset = FolderDataset(tum, "all")
    assert found(dataset, "depth") == {
        "10.00": "depth/9.99.png",
        "10.04": "depth/10.05.png",
        "10.08": "depth/10.09.png",
    }
    assert found(dataset, "label") == {own: f"label/{own}.png" for own in ("10.00", "10.04", "10.08")}
    assert "within 0.02 s, 1 rgb frame has no depth, 1 depth frame has no rgb: they are left out" in caplog.messages[0]
    assert [frame.origin for frame in dataset.frames] == [f"{tum / 'rgb.txt'}:{line}" for line in (2, 3, 4)]


def test_a_gap_that_no_pair_keeps(tum):
    declare(tum, 'all = {rgb = "rgb.txt", depth = "depth.txt", max_gap = 0.001}')
    with pytest.raises(
        ValueError,
        match=r"all: no depth was recorded within 0\.001 s \(max_gap\) of any rgb; the closest two are 0\.01 s apart",
    ):
        FolderDataset(tum, "all")


@pytest.mark.parametrize("line", ["{0} rgb/{0}.png {1} depth/{1}.png", "{1} depth/{1}.png {0} rgb/{0}.png"])
def test_associations(tum, line):
    pairs = (("10.00", "10.05"), ("20.00", "9.99"))
    (tum / "associations.txt").write_text("# by hand\n" + "".join(f"{line.format(*pair)}\n" for pair in pairs))
    declare(tum, 'all = "associations.txt"')
    dataset = FolderDataset(tum, "all")
    assert found(dataset, "depth") == {rgb: f"depth/{depth}.png" for rgb, depth in pairs}
    assert found(dataset, "label") == {rgb: f"label/{rgb}.png" for rgb, _ in pairs}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 rgb/10.00.png 2 other/1.png", r"associations\.txt:1: other/1\.png is of no map"),
        ("1 rgb/10.00.png 2 rgb/20.00.png", r"associations\.txt:1: rgb/20\.00\.png is of \['rgb'\]"),
        ("1 depth/9.99.png", r"associations\.txt:1: expected a file of rgb, found \['depth'\]"),
        ("1 rgb/10.00.png 2 ../depth/1.png", r"associations\.txt:1: '\.\./depth/1\.png' leads out"),
    ],
)
def test_associations_that_cannot_be_read(tum, line, message):
    (tum / "associations.txt").write_text(f"{line}\n")
    declare(tum, 'all = "associations.txt"')
    with pytest.raises(ValueError, match=message):
        FolderDataset(tum, "all")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ('{rgb = "rgb.txt"}', r"\[splits\.all\]: expected lists of rgb and of another map"),
        ('{depth = "depth.txt"}', r"\[splits\.all\] rgb is missing; expected a list file"),
        ('{rgb = "rgb.txt", dept = "depth.txt"}', r"\[splits\.all\] dept: no such key; did you mean 'depth'"),
        ('{rgb = "rgb.txt", depth = "depth.txt", max_gap = -1}', r"max_gap: expected seconds, at least 0, found -1"),
        ('{rgb = "../rgb.txt", depth = "depth.txt"}', r"\[splits\.all\] rgb: '\.\./rgb\.txt' leads out"),
    ],
)
def test_wrong_tables_of_timestamps(tum, split, message):
    declare(tum, f"all = {split}")
    with pytest.raises(ValueError, match=message):
        FolderDataset(tum, "all")


def test_prefixed_files_are_read(tmp_path):
    """Values against PIL, so that a map never has its neighbour's file."""

    rng = np.random.default_rng(0)
    for own in "12":
        save(tmp_path / f"all/rgb_{own}.png", rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        save(tmp_path / f"all/depth_{own}.png", rng.integers(0, 9000, (6, 8), dtype=np.uint16))
        save(tmp_path / f"all/label_{own}.png", rng.integers(0, 2, (6, 8), dtype=np.uint8))
    declare(tmp_path, 'all = "all"', **IN_ONE)
    sample = FolderDataset(tmp_path, "all")[1]
    np.testing.assert_array_equal(sample["rgb"], decoded(tmp_path / "all/rgb_2.png"))
    np.testing.assert_allclose(sample["depth"], decoded(tmp_path / "all/depth_2.png") / 1000, rtol=1e-6)
    np.testing.assert_array_equal(sample["label"], decoded(tmp_path / "all/label_2.png"))
