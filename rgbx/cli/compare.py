"""Compares two result files, head by head: differences of scores with intervals over images."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rgbx.cli.errors import run_command
from rgbx.evaluate.comparison import compare_results, comparison_text
from rgbx.evaluate.result import read_result
from rgbx.maps import replace_file


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0, 2 for a user's error or results that cannot be compared."""
    return run_command(compare, argv)


def compare(argv: Sequence[str] | None = None) -> int:
    """Parses, reads, compares, prints."""
    arguments = _parser().parse_args(argv)
    options = {name: getattr(arguments, name) for name in ("heads", "force", "draws", "level", "seed")}
    comparison = compare_results(read_result(arguments.a), read_result(arguments.b), **options)
    if arguments.json:
        written = {"a": arguments.a, "b": arguments.b, **comparison.as_dict()}
        replace_file(Path(arguments.json), (json.dumps(written, indent=2, allow_nan=False) + "\n").encode())
    print(comparison_text(comparison, (arguments.a, arguments.b)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compare two result files of tools/test.py: B minus A.")
    parser.add_argument("a", metavar="A", help="a results.json")
    parser.add_argument("b", metavar="B", help="another one, of the same protocol and images")
    parser.add_argument("--heads", nargs="+", metavar="NAME", help="heads to compare (all that both have)")
    parser.add_argument("--force", action="store_true", help="compare although protocol or dataset differ, and say so")
    parser.add_argument("--json", metavar="FILE", help="also write the comparison there, in the files' own units")
    parser.add_argument("--draws", type=int, default=2000, metavar="N", help="bootstrap draws (2000)")
    parser.add_argument("--level", type=float, default=0.95, metavar="P", help="of the intervals (0.95)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws (0)")
    return parser
