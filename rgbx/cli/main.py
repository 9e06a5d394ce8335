"""`rgbx COMMAND ...`: every command under one name; its module is imported once its arguments are known to be right."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from rgbx import __version__
from rgbx._text import nearest
from rgbx.cli.arguments import ALIASES, COMMANDS, parse, program
from rgbx.cli.errors import FAILED, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the command's exit code, or 2 for a command that there is not."""
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0] in ("-h", "--help"):
        print(overview())
        return 0 if given else FAILED
    if given[0] == "--version":
        print(f"rgbx {__version__}")
        return 0
    name = ALIASES.get(given[0], given[0])
    if name not in COMMANDS:
        known = nearest(name, [*COMMANDS, *ALIASES])
        print(f"error: rgbx has no command {name!r}{known} (rgbx --help lists all)", file=sys.stderr)
        return FAILED
    return run_command(lambda _: _carry_out(name, given))


def _carry_out(name: str, given: Sequence[str]) -> int:
    arguments = parse(name, given[1:], [*program(), given[0]])
    return int(importlib.import_module(f"rgbx.cli.{COMMANDS[name].module}").main(arguments))


def overview() -> str:
    """How the command is used, on one screen."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.purpose}" for name, command in COMMANDS.items()]
    return "\n".join(["usage: rgbx COMMAND ...", "", *lines, "", "rgbx COMMAND --help tells its options."])


if __name__ == "__main__":
    raise SystemExit(main())
