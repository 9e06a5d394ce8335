"""`rgbx COMMAND ...`: every command under one name; its module is imported once its arguments are known to be right."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from types import ModuleType

import argcomplete

from rgbx import __version__
from rgbx._late import imported
from rgbx._memory import keep_memory
from rgbx._text import nearest
from rgbx.cli.arguments import ALIASES, COMMANDS, WITH_NETWORKS, Parser, parse, program
from rgbx.cli.errors import FAILED, Given, run_command

SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")
IN_BASH = 'eval "$(rgbx --completion bash)"'


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the command's exit code, or 2 for a command that there is not."""
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what the words so far can go on with
        argcomplete.autocomplete(_parser_of_all(), always_complete_options=False, exit_method=sys.exit)
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0] in ("-h", "--help"):
        print(overview())
        return 0 if given else FAILED
    if given[0] == "--version":
        print(f"rgbx {__version__}")
        return 0
    if given[0] == "--completion":
        return _print_completion(given[1:])
    name = ALIASES.get(given[0], given[0])
    if name not in COMMANDS:
        known = nearest(name, [*COMMANDS, *ALIASES])
        print(f"error: rgbx has no command {name!r}{known} (rgbx --help lists all)", file=sys.stderr)
        return FAILED
    return run(name, given[1:], [*program(), given[0]])


def run(name: str, words: Sequence[str] | None = None, called: Sequence[str] = ()) -> int:
    """Carries out one command: what the scripts in tools/ do.

    Args:
        name: a key of `rgbx.cli.arguments.COMMANDS`.
        words: its arguments, and `called`: the words before them, see `rgbx.cli.arguments.parse`.

    Returns:
        The exit code.
    """

    def carried_out(given: Given) -> int:
        arguments = parse(name, words, called)
        if name in WITH_NETWORKS:
            keep_memory()
        return int(module_of(name).main(arguments))

    return run_command(carried_out)


def module_of(name: str) -> ModuleType:
    """The module of a command, imported with all that it uses."""
    return imported(f"rgbx.cli.{COMMANDS[name].module}")


def _parser_of_all() -> Parser:
    """The command line as a shell completes it."""
    parser = Parser(prog="rgbx", add_help=False)
    for option in ("--help", "--version"):
        parser.add_argument(option, action="store_true")
    parser.add_argument("--completion", choices=SHELLS)
    commands = parser.add_subparsers()
    for name, command in COMMANDS.items():
        command.add(commands.add_parser(name, help=command.purpose))
    return parser


def _print_completion(shells: Sequence[str]) -> int:
    if len(shells) != 1 or shells[0] not in SHELLS:
        print(f"error: --completion takes one of {', '.join(SHELLS)}; found {' '.join(shells)!r}", file=sys.stderr)
        return FAILED
    print(argcomplete.shellcode(["rgbx"], shell=shells[0]))
    return 0


def overview() -> str:
    """How the command is used, on one screen."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.purpose}" for name, command in COMMANDS.items()]
    hints = ("rgbx COMMAND --help tells its options and has an example.", f"Completion in bash: {IN_BASH}")
    return "\n".join(["usage: rgbx COMMAND ...", "", *lines, "", *hints])


if __name__ == "__main__":
    raise SystemExit(main())
