"""Compares two result files: differences of IoU per class with intervals over images."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rgbx.cli.errors import run_command
from rgbx.evaluate.comparison import compare_results, comparison_text
from rgbx.evaluate.result_reading import read_result
from rgbx.maps import replace_file


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0, 2 for a user's error or results that cannot be compared."""
    return run_command(compare, argv)


def compare(argv: Sequence[str] | None = None) -> int:
    """Parses, reads, compares, prints."""
    arguments = _parser().parse_args(argv)
    comparison = compare_results(
        read_result(arguments.a),
        read_result(arguments.b),
        force=arguments.force,
        draws=arguments.draws,
        level=arguments.level,
        seed=arguments.seed,
    )
    if arguments.json:
        written = {"a": arguments.a, "b": arguments.b, **comparison}
        replace_file(Path(arguments.json), (json.dumps(written, indent=2, allow_nan=False) + "\n").encode())
    print(comparison_text(comparison, (arguments.a, arguments.b)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compare two result files of tools/test.py: B minus A.")
    parser.add_argument("a", metavar="A", help="a results.json")
    parser.add_argument("b", metavar="B", help="another one, of the same protocol and images")
    parser.add_argument("--force", action="store_true", help="compare although protocol or dataset differ, and say so")
    parser.add_argument("--json", metavar="FILE", help="also write the comparison there, as fractions of 1")
    parser.add_argument("--draws", type=int, default=2000, metavar="N", help="bootstrap draws (2000)")
    parser.add_argument("--level", type=float, default=0.95, metavar="P", help="of the intervals (0.95)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws (0)")
    return parser
