"""Compares two result files, head by head: differences of scores with intervals over images."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rgbx.cli.errors import command
from rgbx.evaluate.comparison import compare_results, comparison_text
from rgbx.evaluate.result import read_result
from rgbx.maps import replace_file


@command("compare")
def main(arguments: argparse.Namespace) -> int:
    """Parses, reads, compares, prints; exit code 0, 2 for a user's error or results that cannot be compared."""
    options = {name: getattr(arguments, name) for name in ("heads", "force", "draws", "level", "seed")}
    comparison = compare_results(read_result(arguments.a), read_result(arguments.b), **options)
    if arguments.json:
        written = {"a": arguments.a, "b": arguments.b, **comparison.as_dict()}
        replace_file(Path(arguments.json), (json.dumps(written, indent=2, allow_nan=False) + "\n").encode())
    print(comparison_text(comparison, (arguments.a, arguments.b)))
    return 0
