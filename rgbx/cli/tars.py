"""Predictions as tar files of many frames in the form of WebDataset, with an index each and a manifest of all.

A tar is written whole or not at all, so it is also what a run that was interrupted goes on with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rgbx.cli.outputs import CHECKSUMS, TARS, Outputs, Progress
from rgbx.cli.sources import Source
from rgbx.datasets.shards import Record, Shard, ShardSplit, key_of, write_manifest, write_shard
from rgbx.datasets.shards.archive import index_name
from rgbx.datasets.shards.packing import ARRAY, ENCODED
from rgbx.maps import Encoding
from rgbx.maps.files import replace_file
from rgbx.models.result import Result, ahead

USUAL = 1000  # frames in a tar


class Unit(NamedTuple):
    """A tar, by its name in the folder, and the positions of its frames."""

    name: str
    frames: range


def units_of(source: Source, size: int) -> list[Unit]:
    """The tars of all frames, of so many each; 0 takes as many as the shards have that are read, or else the usual."""
    count = len(source.ids)
    sizes = source.sizes if source.sizes and not size else [size or USUAL] * -(-count // (size or USUAL))
    ends = np.minimum(np.cumsum([0, *sizes]), count).tolist()
    return [Unit(f"{TARS}/{number:06d}.tar", range(*pair)) for number, pair in enumerate(pairwise(ends))]


def write_tar(outputs: Outputs, unit: Unit, results: Iterator[Result], threads: int) -> dict[str, Any]:
    """Writes a tar and its index.

    Returns:
        What `Progress.add` notes.

    Raises:
        OSError, ValueError: see `write_shard` and `Outputs.files`.
    """
    samples = ahead(partial(_sample, outputs), results, threads)
    shard = write_shard(outputs.folder, unit.name, samples)
    return {"id": unit.name, "files": [unit.name, index_name(unit.name)], "shard": dataclasses.asdict(shard)}


def _sample(outputs: Outputs, result: Result) -> tuple[Record, dict[str, bytes]]:
    """A frame's record, and its pictures by their endings: `labels.png`, `labels_overlay.png`."""
    files, held = {}, {}
    for path, content in outputs.files(result):
        name = path.relative_to(outputs.folder).parts[0]
        ending = f"{key_of(name)}.png"
        files[ending], held[ending] = content, ENCODED if name in outputs.encodings else ARRAY
    return Record(result.sample_id, held=held), files


def write_index(outputs: Outputs, progress: Progress, units: Sequence[Unit]) -> Path:
    """Writes the manifest of all tars, and their checksums.

    Raises:
        ValueError: a note of an earlier run that tells no tar.
    """
    told: dict[str, Any] = {note["id"]: note.get("shard") for note, _, _ in progress.notes()}
    try:
        shards = [Shard(**told[unit.name]) for unit in units]
    except TypeError as error:
        raise ValueError(f"{progress.path.parent}: a note of a tar that tells nothing of it ({error})") from error
    for unit, shard in zip(units, shards, strict=True):
        if shard.samples != len(unit.frames):
            raise ValueError(f"{outputs.folder / unit.name} has {shard.samples} frames, expected {len(unit.frames)}")
    encodings = {head: _of_head(encoding, head) for head, encoding in outputs.encodings.items()}
    lines = [f"{x.sha256}  {x.name}\n{x.index_sha256}  {index_name(x.name)}\n" for x in shards]
    replace_file(outputs.folder / CHECKSUMS, "".join(lines).encode())
    write_manifest(outputs.folder, {TARS: ShardSplit(made_of="predictions", encodings=encodings, shards=shards)})
    return outputs.folder / CHECKSUMS


def _of_head(encoding: Encoding, head: str) -> Encoding:
    return dataclasses.replace(encoding, spec=dataclasses.replace(encoding.spec, name=head))
