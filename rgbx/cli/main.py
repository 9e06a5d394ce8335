"""`rgbx COMMAND ...`: every command under one name; only the one that is asked for is imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from rgbx import __version__
from rgbx._text import nearest
from rgbx.cli.errors import FAILED

COMMANDS = {  # the name of a command, whose module is rgbx.cli.NAME, and what it is for
    "init": "plan a training of a folder within a budget of time",
    "train": "train what a config describes, or resume a training",
    "evaluate": "score a checkpoint, by subset of its modalities",
    "translate": "turn folders of maps into files of another map",
    "doctor": "look for mistakes in a dataset",
    "prepare": "bring downloaded datasets into their folders",
    "profile": "measure parameters, operations, time and memory",
    "report": "make a page of result files",
    "compare": "say whether two results differ by more than chance",
    "convert": "turn checkpoints of other programs into one of this",
    "study": "run a grid of trainings and tests, and tell what came out",
    "render-rooms": "write a dataset of made rooms",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the command's exit code, or 2 for a command that there is not."""
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0] in ("-h", "--help"):
        print(overview())
        return 0 if given else FAILED
    if given[0] == "--version":
        print(f"rgbx {__version__}")
        return 0
    name = given[0]
    if name not in COMMANDS:
        print(f"error: rgbx has no command {name!r}{nearest(name, COMMANDS)} (rgbx --help lists all)", file=sys.stderr)
        return FAILED
    command = importlib.import_module(f"rgbx.cli.{name.replace('-', '_')}")
    sys.argv[0] = f"{sys.argv[0]} {name}"  # what its help calls it
    return int(command.main(given[1:]))


def overview() -> str:
    """How the command is used."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {purpose}" for name, purpose in COMMANDS.items()]
    return "\n".join(["usage: rgbx COMMAND ...", "", *lines, "", "rgbx COMMAND --help tells its options."])
