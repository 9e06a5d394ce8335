"""Frames against what lies on the disk: missing, twice, no files, and left over; told with counts and names."""

from __future__ import annotations

import os

import pytest

from rgbx.datasets.files import FileDataset, MissingFileError
from rgbx.datasets.frames import Frame
from rgbx.maps import RGB, THERMAL


class Pairs(FileDataset):
    def __init__(self, root, ids, **more):
        files = {"rgb": "rgb_{}.png", "thermal": "ir/{}.jpg"}
        super().__init__(
            [
                Frame(own, {name: root / form.format(own) for name, form in files.items()}, f"l.txt:{n}")
                for n, own in enumerate(ids)
            ],
            {"rgb": RGB, "thermal": THERMAL},
            modalities=("rgb", "thermal"),
            classes=(),
            palette=(),
            **more,
        )


@pytest.fixture
def root(tmp_path):
    (tmp_path / "ir").mkdir()
    for own in "abcd":
        (tmp_path / f"rgb_{own}.png").touch()
        (tmp_path / "ir" / f"{own}.jpg").touch()
    return tmp_path


def test_all_are_there(root, caplog):
    assert Pairs(root, "abcd").left_over == {} and not caplog.messages


def test_every_missing_file_counts(root):
    (root / "ir/b.jpg").unlink()
    (root / "rgb_c.png").unlink()
    (root / "ir/d.jpg").unlink()
    with pytest.raises(MissingFileError) as error:
        Pairs(root, "abcd")
    assert str(error.value) == (
        f"l.txt:1: {root}/ir/b.jpg: no such file; thermal of 2 of 4 frames is missing, such as ['b', 'd'], "
        "rgb of 1 of 4 frames is missing, such as ['c']"
    )
    assert len(error.value.dataset) == 4


def test_links_count_as_files_and_broken_ones_do_not(root):
    (root / "ir/b.jpg").unlink()
    (root / "ir/b.jpg").symlink_to(root / "ir/a.jpg")
    assert len(Pairs(root, "abcd")) == 4
    (root / "ir/a.jpg").unlink()
    with pytest.raises(MissingFileError, match=r"thermal of 2 of 4 frames is missing, such as \['a', 'b'\]"):
        Pairs(root, "abcd")


@pytest.mark.parametrize(("make", "kind"), [(os.mkfifo, "a named pipe"), (os.mkdir, "a folder")])
def test_what_is_no_file(root, make, kind):
    (root / "ir/c.jpg").unlink()
    make(root / "ir/c.jpg")
    with pytest.raises(ValueError, match=rf"l\.txt:2: .*c\.jpg: expected a file, found {kind}"):
        Pairs(root, "abcd")


def test_a_frame_that_is_there_twice(root):
    with pytest.raises(ValueError, match=r"l\.txt:3: frame 'b' is there already, at l\.txt:1"):
        Pairs(root, "abcb")


def test_files_that_no_frame_takes(root, caplog):
    """Beside frames a and b: c without a place in the list, e without a partner, a copy in another format, others'."""
    for name in (
        "rgb_e.png",
        "rgb_f.tiff",
        "rgb_a.jpg",
        "notes.png",
        "rgb_.png",
        "._rgb_g.png",
        "ir/e.txt",
        "ir/h.PNG",
    ):
        (root / name).touch()
    dataset = Pairs(root, "ab", named=["d"])
    assert dataset.left_over == {
        "rgb": [f"{root}/rgb_{name}" for name in ("c.png", "e.png", "f.tiff")],
        "thermal": [f"{root}/ir/{name}" for name in ("c.jpg", "h.PNG")],
    }
    (message,) = caplog.messages
    assert message == (
        f"Pairs: files that no frame takes: 3 of rgb in {root}, ['rgb_c.png', 'rgb_e.png', 'rgb_f.tiff']; "
        f"2 of thermal in {root}/ir, ['c.jpg', 'h.PNG']"
    )
