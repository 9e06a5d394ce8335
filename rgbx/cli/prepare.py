"""Turns public datasets into plain files of stated units."""

from __future__ import annotations

import argparse
import sys

from rgbx.cli.errors import INTERRUPTED, command
from rgbx.datasets.families.cityscapes import METRIC_DEPTH_SCALE
from rgbx.datasets.prepare import (
    CHECKSUMS,
    NYUDV2_DEPTH_SCALE,
    DepthEncoder,
    Job,
    cityscapes_jobs,
    mfnet_jobs,
    nyudv2_jobs,
    write_jobs,
)


@command("prepare")
def main(arguments: argparse.Namespace) -> int:
    """Parses, writes, reports; exit code 0, 2 for a user's error, 130 for Ctrl-C."""
    depth = DepthEncoder(METRIC_DEPTH_SCALE if arguments.dataset == "cityscapes" else NYUDV2_DEPTH_SCALE)
    try:
        summary = write_jobs(arguments.out, _jobs(arguments, depth), title=arguments.dataset)
    except KeyboardInterrupt:
        print("\nInterrupted: the same command goes on where it stopped.", file=sys.stderr)
        return INTERRUPTED
    print(f"{arguments.out}: {summary.written} files written, {summary.kept} were there already.")
    if depth.saturated:
        print(f"{depth.saturated} pixels beyond {depth.limit:.1f} m were written as {depth.limit:.3f} m.")
    print(f"To check them: cd {arguments.out} && sha256sum --quiet -c {CHECKSUMS}")
    return 0


def _jobs(arguments: argparse.Namespace, depth: DepthEncoder) -> list[Job]:
    if arguments.dataset == "nyudv2":
        return nyudv2_jobs(arguments.mat, depth, mapping=arguments.mapping, splits=arguments.splits)
    if arguments.dataset == "cityscapes":
        return cityscapes_jobs(arguments.root, depth, splits=arguments.splits)
    return mfnet_jobs(arguments.root)
