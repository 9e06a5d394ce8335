"""Turns public datasets into plain files of stated units."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rgbx.cli.errors import INTERRUPTED, run_command
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

_AGAIN = "An interrupted run can be repeated: what is complete is kept. No file of others is overwritten."


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0, 2 for a user's error, 130 for Ctrl-C."""
    return run_command(prepare, argv)


def prepare(argv: Sequence[str] | None = None) -> int:
    """Parses, writes, reports."""
    arguments = _parser().parse_args(argv)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=f"Prepare a public dataset. {_AGAIN}")
    datasets = parser.add_subparsers(dest="dataset", required=True, metavar="DATASET")
    nyudv2 = datasets.add_parser(
        "nyudv2",
        help="nyu_depth_v2_labeled.mat to lists of rgb, masks, depth",
        description="Write OUT/{rgb,masks,depth}/000001.png ..., train.txt (795 frames) and val.txt (the 654 test "
        "frames) from the published file. Masks hold 0..39 and 255 = void. Depth is the filled one, 16 bits at 5000 "
        "per metre; 0 = no measurement, and depths beyond 13.1 m, which the published file does not have, are written "
        f"as 13.107 m and counted. {_AGAIN}",
    )
    nyudv2.add_argument("mat", type=Path, metavar="MAT", help="nyu_depth_v2_labeled.mat")
    nyudv2.add_argument("--mapping", type=Path, metavar="FILE", help="classMapping40.mat (beside MAT)")
    nyudv2.add_argument("--splits", type=Path, metavar="FILE", help="splits.mat (beside MAT)")
    cityscapes = datasets.add_parser(
        "cityscapes",
        help="disparity to depth, label ids to train ids",
        description="Write OUT/depth/SPLIT/CITY/*_depth.png and OUT/gtFine/SPLIT/CITY/*_gtFine_labelTrainIds.png, read "
        "by Cityscapes(ROOT, prepared=OUT); OUT may be ROOT. Depth = baseline * fx / disparity, 16 bits at 256 per "
        "metre; 0 = no measurement, and depths beyond 256.0 m are written as 255.996 m and counted. Train ids are "
        f"0..18 and 255 = ignore. {_AGAIN}",
    )
    cityscapes.add_argument("root", type=Path, metavar="ROOT", help="holds leftImg8bit, gtFine, disparity and camera")
    cityscapes.add_argument("--splits", nargs="+", default=(), metavar="SPLIT", help="such as: train val (all)")
    mfnet = datasets.add_parser(
        "mfnet",
        help="four-channel images to rgb and thermal",
        description="Write OUT/rgb/*.png, OUT/ther/*.png (8 bits) and OUT/labels/*.png of all listed frames, and the "
        f"lists. Nothing is lost: labels and lists are copied byte for byte. {_AGAIN}",
    )
    mfnet.add_argument("root", type=Path, metavar="ROOT", help="holds images, labels and the lists")
    for command in (nyudv2, cityscapes, mfnet):
        command.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    return parser
