"""Running the commands of a page in a folder that has the project's configs and tools."""

from __future__ import annotations

import runpy
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from page_commands import OWN, ROOT, in_blocks, lines

from rgbx.cli.main import main


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with copies of configs and tools."""
    for folder in ("configs", "tools"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run_tools(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Runs lines such as `[PYTHONPATH=FOLDER] python tools/... ARGUMENTS` or `rgbx ...`, which must end well.

    `smaller` says what of a line is replaced by what takes less time, `code` how each ends. A test that
    runs commands of its page, by `page_commands.OWN`, has to run them all.
    """
    ran = set()

    def run(commands: str, smaller: dict[str, str] | None = None, code: int = 0) -> None:
        for command in lines(commands):
            ran.add(command)
            for words, fewer in (smaller or {}).items():
                command = command.replace(words, fewer)
            words = shlex.split(command)
            if words[0].startswith("PYTHONPATH="):
                monkeypatch.syspath_prepend(words.pop(0).removeprefix("PYTHONPATH="))
            if words[0] == "rgbx":
                assert main(words[1:]) == code, command
                continue
            python, tool, *arguments = words
            assert python == "python"
            monkeypatch.setattr("sys.argv", [tool, *arguments])
            try:
                runpy.run_path(tool, run_name="__main__")
            except SystemExit as end:
                assert end.code in (code, None), command

    failed = request.session.testsfailed
    yield run
    if own := OWN.get(f"{request.node.path.name}::{request.node.originalname}"):
        page, first, last = own
        assert request.session.testsfailed > failed or not set(in_blocks(page)[first:last]) - ran
