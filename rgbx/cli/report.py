"""Makes the report of a result file."""

from __future__ import annotations

import argparse

from rgbx.cli.errors import command
from rgbx.report import write_report


@command("report")
def main(arguments: argparse.Namespace) -> int:
    """Reads, writes; exit code 0, 2 for a user's error."""
    print(write_report(arguments.results, arguments.folder))
    return 0
