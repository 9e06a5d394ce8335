"""Lists and folders: what is found, and what is said where something is missing."""

from __future__ import annotations

import pytest

from rgbx.datasets.listing import find_folder, holdout_indices, image_files, list_lines


def test_lines_know_where_they_stand(tmp_path):
    path = tmp_path / "train.txt"
    path.write_bytes(b"\xef\xbb\xbfa\tb\r\n\n  \nc\n")
    assert list_lines(path, "names") == [("a\tb", f"{path}:1"), ("c", f"{path}:4")]
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


def test_parts_partition_the_list():
    training, held = holdout_indices(795, "exclude"), holdout_indices(795, "only")
    assert sorted(training + held) == holdout_indices(795, None) == list(range(795))
    assert len(held) == 80


def test_held_out_frames_are_contiguous_blocks():
    held = holdout_indices(795, "only")
    starts = [i for i in held if i - 1 not in held]
    assert starts == [80, 240, 400, 560, 720]
    assert all(start + offset in held for start in starts for offset in range(16))


def test_holdout_exceptions():
    with pytest.raises(ValueError, match="too short"):
        holdout_indices(80, "only")
    with pytest.raises(ValueError, match="'train'"):
        holdout_indices(800, "train")
