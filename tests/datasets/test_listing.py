"""Lists and folders: what is found, and what is said where something is missing."""

from __future__ import annotations

import pytest

from rgbx.datasets.listing import distinct_ids, find_folder, holdout_indices, lines_beside, list_lines
from rgbx.maps.folders import files_below, files_by_stem, image_files, join_name, split_name


def test_lines_know_where_they_stand(tmp_path):
    path = tmp_path / "train.txt"
    path.write_bytes(b"\xef\xbb\xbfa\tb\r\n\n  \nc\n")
    assert list(list_lines(path, "names")) == [("a\tb", f"{path}:1"), ("c", f"{path}:4")]
    path.write_text("\n \n")
    with pytest.raises(ValueError, match=r"train\.txt: the list is empty; expected lines of names"):
        list_lines(path, "names")
    with pytest.raises(FileNotFoundError, match=r"val\.txt: no such list file; .* has the lists \['train\.txt'\]"):
        list_lines(tmp_path / "val.txt", "names")


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_images_by_stem(tmp_path):
    folder = touch(tmp_path / "rgb", "b.png", "a.JPG", "notes.txt", ".c.png")
    assert image_files(folder) == {"a": folder / "a.JPG", "b": folder / "b.png"}
    with pytest.raises(ValueError, match=r"a\.JPG and a\.png have one stem"):
        image_files(touch(folder, "a.png"))
    with pytest.raises(FileNotFoundError, match="empty: no images"):
        image_files(touch(tmp_path / "empty"))
    assert find_folder(tmp_path, "RGB1", "rgb") == folder
    with pytest.raises(FileNotFoundError, match="no folder a or b"):
        find_folder(tmp_path, "a", "b")


def test_folders_below_are_searched_through_links_and_not_in_circles(tmp_path):
    store, root = tmp_path / "store", tmp_path / "rgb"
    touch(store, "2.png"), touch(root, "1.png"), touch(root / "night", "3.PNG")
    (root / "day").symlink_to(store)
    (root / "again").symlink_to(root)
    (store / "back").symlink_to(root)
    assert files_below(root) == ["1.png", "day/2.png", "night/3.PNG"]
    assert files_below(tmp_path / "none") == []


def test_hidden_files_are_nobodys(tmp_path):
    touch(tmp_path, "0.png", "._0.png", ".DS_Store", "Thumbs.db", "desktop.ini")
    for folder in (".ipynb_checkpoints", "__MACOSX", "@eaDir", ".git"):
        touch(tmp_path / folder, "1.png")
    assert files_below(tmp_path) == ["0.png"]


@pytest.mark.parametrize(
    ("name", "prefix", "suffix", "stem"),
    [
        ("0001.png", "", ".png", "0001"),
        ("0001.PNG", "", ".png", "0001"),
        ("0001.png", "", "_Ids.PNG", ""),
        ("0001_IDS.png", "", "_Ids.PNG", "0001"),
        ("day/rgb_1.png", "rgb_", ".png", "day/1"),
        ("rgb_/1.png", "rgb_", ".png", ""),
        ("RGB_1.png", "rgb_", ".png", ""),
        ("rgb_.png", "rgb_", ".png", ""),
        (".png", "", ".png", ""),
        ("scene/rgb.png", "", "/rgb.png", "scene"),
    ],
)
def test_stems_of_names(name, prefix, suffix, stem):
    assert split_name(name, prefix, (suffix,)) == stem
    if stem:
        assert join_name(stem, prefix, suffix).lower() == name.lower()


def test_arrays_are_taken_where_there_is_no_image(tmp_path):
    names = ["0.npy", "1.npz", "notes.txt"]
    assert files_by_stem(tmp_path, names) == {"0": tmp_path / "0.npy", "1": tmp_path / "1.npz"}
    assert files_by_stem(tmp_path, [*names, "0.png"]) == {"0": tmp_path / "0.png"}
    wanted = files_by_stem(tmp_path, ["0.png", "0.npy", "1.npy", "2.npz"], wanted={"0", "1", "7"})
    assert wanted == {"0": tmp_path / "0.png", "1": tmp_path / "1.npy"}
    with pytest.raises(ValueError, match=r"a\.jpg and a\.PNG have one stem"):
        files_by_stem(tmp_path, ["a.jpg", "a.PNG", "b.png"])
    assert set(files_by_stem(tmp_path, ["a.jpg", "a.PNG", "b.png"], wanted={"b"})) == {"b"}


def test_ids_have_folders_only_where_names_repeat():
    assert distinct_ids(["rgb/0.png", "rgb/1.png"]) == ["0", "1"]
    assert distinct_ids(["day/0.png", "night/0.png"]) == ["day/0", "night/0"]


def test_lines_of_the_other_lists(tmp_path):
    (tmp_path / "train.txt").write_text("a\n\nb\n")
    (tmp_path / "val.txt").write_bytes("c\r\n".encode("utf-16"))
    (tmp_path / "broken.txt").write_bytes(b"\xe9")
    (tmp_path / "folder.txt").mkdir()
    assert list(lines_beside(tmp_path / "test.txt")) == ["a", "b", "c"]


def test_parts_partition_the_list():
    training, held = holdout_indices(795, "exclude"), holdout_indices(795, "only")
    assert sorted(training + held) == holdout_indices(795, None) == list(range(795))
    assert len(held) == 80


def test_held_out_frames_are_contiguous_blocks():
    held = holdout_indices(795, "only")
    starts = [i for i in held if i - 1 not in held]
    assert starts == [80, 240, 400, 560, 720]
    assert all(start + offset in held for start in starts for offset in range(16))


@pytest.mark.parametrize(("count", "held"), [(2, [1]), (3, [1]), (20, [10, 11]), (80, list(range(40, 48)))])
def test_of_a_short_list_one_block_is_held_out(count, held):
    assert holdout_indices(count, "only") == held
    assert sorted(held + holdout_indices(count, "exclude")) == list(range(count))


def test_holdout_exceptions():
    with pytest.raises(ValueError, match="too short"):
        holdout_indices(1, "only")
    with pytest.raises(ValueError, match="'train'"):
        holdout_indices(800, "train")
