"""The tool that renders rooms to disk: every split, a contact sheet, and runs that go on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rgbx.cli.render_rooms import main
from rgbx.datasets import SyntheticRooms, build_dataset
from rgbx.datasets.rooms import MAPS


def test_the_tool_renders_every_split_and_a_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        str(tmp_path / "rooms"),
        "--train",
        "3",
        "--val",
        "1",
        "--test",
        "2",
        "--size",
        "24x32",
        "--seed",
        "5",
        "--contact-sheet",
        str(tmp_path / "sheet.png"),
    ]
    assert main(arguments) == 0
    assert len(list((tmp_path / "rooms").rglob("*.png"))) == 6 * len(MAPS)
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
    main(arguments)
    assert "train: 0 frames rendered, 3 were there already" in capsys.readouterr().out
    assert main([*arguments[:-4], "--seed", "6"]) == 2
    assert "'seed' is 5, expected 6" in capsys.readouterr().err
    rooms = SyntheticRooms(split="test", size=(24, 32), seed=5, root=tmp_path / "rooms")
    assert len(rooms) == 2 and not rooms.write(1)


def test_rooms_as_a_declared_folder(tmp_path: Path) -> None:
    """Reading by the declaration gives the frames that were rendered, split by split."""
    for _ in range(2):  # a second time it writes the same
        arguments = ["--declare", "--train", "3", "--val", "0", "--test", "2", "--size", "24x32", "--seed", "5"]
        assert main([str(tmp_path), *arguments]) == 0
    for split, count in (("train", 3), ("test", 2)):
        rooms = SyntheticRooms(split=split, num_frames=count, size=(24, 32), seed=5)
        found = build_dataset(tmp_path, split)
        assert len(found) == count and found.classes == rooms.classes
        assert [list(colour) for colour in found.palette] == [list(colour) for colour in rooms.palette]
        for mine, its in zip(found, rooms, strict=True):
            for name in ("rgb", "depth", "label"):
                np.testing.assert_array_equal(mine[name], its[name])
    assert not (tmp_path / "val.txt").exists()
