"""Lists and folders: what is found, and what is said where something is missing."""

from __future__ import annotations

import pytest

from rgbx.datasets.listing import find_folder, find_image, folder_frames, image_files, list_lines


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
    assert find_image(folder, "a") == folder / "a.JPG"
    assert find_image(folder, "z") == folder / "z.png"
    with pytest.raises(ValueError, match=r"a\.JPG and a\.png have one stem"):
        image_files(touch(folder, "a.png"))
    with pytest.raises(FileNotFoundError, match="empty: no images"):
        image_files(touch(tmp_path / "empty"))
    assert find_folder(tmp_path, "RGB1", "rgb") == folder
    with pytest.raises(FileNotFoundError, match="no folder a or b"):
        find_folder(tmp_path, "a", "b")


def test_frames_need_all_their_files(tmp_path):
    folders = {
        "rgb": touch(tmp_path / "rgb", "0.png", "1.png"),
        "depth": tmp_path / "nowhere",
        "label": touch(tmp_path / "label", "0.png", "1.png"),
    }
    frames = folder_frames(folders, ("rgb",))
    assert [frame.sample_id for frame in frames] == ["0", "1"]
    assert frames[1].files == {"rgb": tmp_path / "rgb" / "1.png", "label": tmp_path / "label" / "1.png"}
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        folder_frames(folders, ("rgb", "depth"))
    (tmp_path / "label" / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"label of 1 of 2 frames is missing, such as \['1'\]"):
        folder_frames(folders, ("rgb",))
