"""Turns public datasets into plain files of stated units, any dataset into shards or into another size.

And colours into an estimated map.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rgbx.cli.doctor import dataset_builders
from rgbx.cli.errors import INTERRUPTED, ConfigError, command
from rgbx.datasets import CachedFrames, DenseDataset
from rgbx.datasets.files import MissingFileError
from rgbx.datasets.prepare import (
    CHECKSUMS,
    DepthEncoder,
    Estimate,
    Preparation,
    Resizing,
    Summary,
    cityscapes_preparation,
    mfnet_preparation,
    nyudv2_preparation,
    write_estimate,
    write_preparation,
    write_resized,
    write_shards,
)
from rgbx.datasets.shards import read_manifest
from rgbx.transforms import Resize

TOLD = 3  # failures, by name


@command("prepare")
def main(arguments: argparse.Namespace) -> int:
    """Parses, writes, reports; exit code 0, 1 for frames that failed, 2 for a user's error, 130 for Ctrl-C."""
    try:
        if arguments.dataset == "shards":
            return _shards(arguments)
        if arguments.dataset == "resized":
            return _resized(arguments)
        if arguments.dataset == "estimate":
            return _estimate(arguments)
        preparation = _preparation(arguments)
        summary = write_preparation(arguments.out, preparation)
    except KeyboardInterrupt:
        print("\nInterrupted: the same command goes on where it stopped.", file=sys.stderr)
        return INTERRUPTED
    _tell(arguments.out, summary)
    if summary.compared:
        print(f"Of {summary.compared} an earlier version noted no sources: made anew, they are the same.")
    if summary.saturated:
        limit = DepthEncoder(preparation.options["depth_scale"]).limit
        print(f"{summary.saturated} pixels beyond {limit:.1f} m were written as {limit:.3f} m.")
    _tell_check(arguments.out)
    return 0


def _tell(out: Path, summary: Summary) -> None:
    print(f"{out}: {summary.written} files written, {summary.kept} were there already.")


def _estimate(arguments: argparse.Namespace) -> int:
    """Writes a map of every frame; 1 where some could not be made."""
    name, _, estimator = arguments.estimate.partition("=")
    limits = None if arguments.range is None else (arguments.range[0], arguments.range[1])
    asked = Estimate(name, estimator, arguments.source, arguments.format, limits, arguments.size)
    found = write_estimate(arguments.root, asked)
    _tell(arguments.root / name, found)
    if found.failed:
        return _tell_failed(found, f"{name} is not declared")
    print(f"{arguments.root / 'dataset.toml'} declares {name}, relative: it has no metres.")
    _tell_check(arguments.root / name)
    return 0


def _tell_failed(found: Summary, so_that: str) -> int:
    """Says which frames failed, some of them; exit code 1."""
    shown = found.failed[:TOLD]
    more = f"\n... and {len(found.failed) - TOLD} more" if len(found.failed) > TOLD else ""
    print(
        f"{len(found.failed)} frames failed, so that {so_that}; the same command tries these again:\n"
        + "\n".join(shown) + more,
        file=sys.stderr,
    )  # fmt: skip
    return 1


def _tell_check(out: Path) -> None:
    print(f"To check them: cd {out} && sha256sum --quiet -c {CHECKSUMS}")


def _shards(arguments: argparse.Namespace) -> int:
    """Writes the splits that were asked for, or all."""
    datasets = _datasets(arguments)
    workers = arguments.jobs if arguments.jobs > 1 else 0
    options = dict(shard_mb=arguments.shard_mb, uncompressed=arguments.uncompressed, jpeg=arguments.jpeg)
    summary = write_shards(arguments.out, datasets, arguments.source, workers=workers, **options)
    _tell(arguments.out, summary)
    for name, split in read_manifest(arguments.out).items():
        total = sum(shard.bytes for shard in split.shards)
        samples = sum(shard.samples for shard in split.shards)
        print(f"{name}: {samples} samples in {len(split.shards)} shards, {total / 2**20:.1f} MiB")
    _tell_check(arguments.out)
    return 0


def _resized(arguments: argparse.Namespace) -> int:
    """Writes the frames at another size; 1 where some could not be made."""
    datasets = _datasets(arguments)
    resize = Resize(arguments.size, interpolation="area", maps=next(iter(datasets.values())).maps)
    resizing = Resizing(arguments.size, resize, arguments.depth_scale)
    workers = arguments.jobs if arguments.jobs > 1 else 0
    found = write_resized(arguments.out, datasets, arguments.source, resizing, workers=workers)
    _tell(arguments.out, found)
    if found.failed:
        return _tell_failed(found, "nothing is declared")
    _tell_check(arguments.out)
    return 0


def _datasets(arguments: argparse.Namespace) -> dict[str, DenseDataset]:
    """The datasets of the splits; of a folder those that are there, unless some are named.

    Raises:
        ConfigError: a split that there is not, or a dataset that is a part of another.
        FileNotFoundError: none of the splits is there, or files of a frame are not.
    """
    if not arguments.splits:
        builders = dataset_builders(arguments.source, modalities=arguments.modalities)
    else:
        builders = {
            name: builder
            for split in arguments.splits
            for name, builder in dataset_builders(arguments.source, split, modalities=arguments.modalities).items()
        }
    found: dict[str, DenseDataset] = {}
    absent: list[FileNotFoundError] = []
    for name, build in builders.items():
        try:
            dataset = build()
        except MissingFileError:
            raise
        except FileNotFoundError as error:
            if arguments.splits:
                raise
            absent.append(error)
            continue
        dataset = dataset.dataset if isinstance(dataset, CachedFrames) else dataset
        if not isinstance(dataset, DenseDataset):
            raise ConfigError(
                f"{arguments.source}, {name}: a {type(dataset).__name__} cannot be packed; pack the whole"
            )
        found[name] = dataset
    if not found:
        raise absent[0]
    return found


def _preparation(arguments: argparse.Namespace) -> Preparation:
    if arguments.dataset == "nyudv2":
        return nyudv2_preparation(arguments.mat, mapping=arguments.mapping, splits=arguments.splits)
    if arguments.dataset == "cityscapes":
        return cityscapes_preparation(arguments.root, splits=arguments.splits)
    return mfnet_preparation(arguments.root)
