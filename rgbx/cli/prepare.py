"""Turns public datasets into plain files of stated units."""

from __future__ import annotations

import argparse
import sys

from rgbx.cli.errors import INTERRUPTED, command
from rgbx.datasets.prepare import (
    CHECKSUMS,
    DepthEncoder,
    Preparation,
    cityscapes_preparation,
    mfnet_preparation,
    nyudv2_preparation,
    write_preparation,
)


@command("prepare")
def main(arguments: argparse.Namespace) -> int:
    """Parses, writes, reports; exit code 0, 2 for a user's error, 130 for Ctrl-C."""
    preparation = _preparation(arguments)
    try:
        summary = write_preparation(arguments.out, preparation)
    except KeyboardInterrupt:
        print("\nInterrupted: the same command goes on where it stopped.", file=sys.stderr)
        return INTERRUPTED
    print(f"{arguments.out}: {summary.written} files written, {summary.kept} were there already.")
    if summary.compared:
        print(f"Of {summary.compared} an earlier version noted no sources: made anew, they are the same.")
    if summary.saturated:
        limit = DepthEncoder(preparation.options["depth_scale"]).limit
        print(f"{summary.saturated} pixels beyond {limit:.1f} m were written as {limit:.3f} m.")
    print(f"To check them: cd {arguments.out} && sha256sum --quiet -c {CHECKSUMS}")
    return 0


def _preparation(arguments: argparse.Namespace) -> Preparation:
    if arguments.dataset == "nyudv2":
        return nyudv2_preparation(arguments.mat, mapping=arguments.mapping, splits=arguments.splits)
    if arguments.dataset == "cityscapes":
        return cityscapes_preparation(arguments.root, splits=arguments.splits)
    return mfnet_preparation(arguments.root)
