"""Makes the report of a result file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rgbx.cli.errors import command
from rgbx.report import write_report


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Parses, reads, writes; exit code 0, 2 for a user's error."""
    parser = argparse.ArgumentParser(description="Write report.html and CSV files from a result file.")
    parser.add_argument("results", metavar="RESULTS_JSON", help="written by tools/test.py")
    parser.add_argument("folder", metavar="DIR", help="where the report goes; an earlier one is replaced")
    arguments = parser.parse_args(argv)
    print(write_report(arguments.results, arguments.folder))
    return 0
