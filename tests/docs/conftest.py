"""Running the commands of a page in a folder that has the project's configs and tools."""

from __future__ import annotations

import runpy
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rgbx.cli.main import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with copies of configs and tools."""
    for folder in ("configs", "tools"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run_tools(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Runs lines such as `[PYTHONPATH=FOLDER] python tools/... ARGUMENTS` or `rgbx ...`, which must end well."""

    def run(commands: str) -> None:
        for command in commands.replace("\\\n", " ").splitlines():
            words = shlex.split(command)
            if words[0].startswith("PYTHONPATH="):
                monkeypatch.syspath_prepend(words.pop(0).removeprefix("PYTHONPATH="))
            if words[0] == "rgbx":
                assert main(words[1:]) == 0, command
                continue
            python, tool, *arguments = words
            assert python == "python"
            monkeypatch.setattr("sys.argv", [tool, *arguments])
            try:
                runpy.run_path(tool, run_name="__main__")
            except SystemExit as end:
                assert end.code in (0, None), command

    return run
