"""The tool that renders rooms to disk: every split, a contact sheet, and runs that go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from rgbx.cli.render_rooms import main
from rgbx.datasets import SyntheticRooms
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
