"""What jobs that share one evaluation have counted, in files that the last of them puts together.

A folder holds `counts.json`, what is evaluated, and for each job a folder with a file for every `PART` of its images
and every subset of modalities, written whole when they are counted. Counts are kept image by image and put back into
the dataset's order, so the scores of all are, to the bit, those of one process that did it alone. The files are JSON of
plain values, arrays as base64: nothing in them is run.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rgbx._files import read_file, read_json
from rgbx._refusing import refusing
from rgbx._types import Meta
from rgbx._whole import place_new
from rgbx.evaluate.result_form import Json
from rgbx.maps.files import replace_file
from rgbx.tasks import Counter

FORMAT, RECORD = "rgbx-counts/1", "counts.json"
PART = 256  # images, of which so many are at most counted again after a kill
MOST_BYTES = 2**28  # of a part
_KINDS = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")
_ODD = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

Records = dict[str, list[Any]]  # head to what was counted of some images


class Counts(NamedTuple):
    """What was counted of some images.

    Attributes:
        records: of each head.
        seconds: that it took.
        scoring: those of them for counting.
    """

    records: Records
    seconds: float
    scoring: float


class Parts:
    """The files of an evaluation that jobs share.

    Args:
        folder: of all jobs; made by the first of them.
        shard: the number of this job, from 1, and of all jobs.
        images: of the whole.
        counters: of each head; they say of what their records consist.
        evaluated: whatever changes a count, in plain values by name.

    Raises:
        ValueError: another job evaluates something else there, which is named; or a counter whose records cannot be
            kept.
    """

    def __init__(
        self, folder: Path, shard: tuple[int, int], images: int, counters: Mapping[str, Counter], evaluated: Meta
    ) -> None:
        self.folder, self.images, self.counters = folder, images, counters
        self.number, self.shards = shard
        for head, counter in counters.items():
            if not counter.records:
                raise ValueError(
                    f"--shard: {type(counter).__name__} of head {head!r} does not say of what its records consist "
                    "(Counter.records), so they cannot be handed on in files"
                )
        whole = {"shards": self.shards, "part": PART, "images": images, **evaluated}
        self._text = json.dumps(whole, sort_keys=True)
        self._begin(json.loads(self._text))

    def _begin(self, whole: dict[str, Json]) -> None:
        file = self.folder / RECORD
        if not file.is_file():
            place_new(file, json.dumps({"format": FORMAT, "evaluated": whole}, indent=1).encode())
        found = read_json(file)
        if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("evaluated"), dict):
            raise ValueError(f"{file}: expected what shards of an evaluation have in common, of format {FORMAT!r}")
        earlier, whole = _flat(found["evaluated"]), _flat(whole)
        if names := [name for name in {**whole, **earlier} if whole.get(name) != earlier.get(name)]:
            told = "; ".join(f"{name} is {earlier.get(name)!r} there, {whole.get(name)!r} here" for name in names)
            raise ValueError(f"{file}: other shards evaluate something else: {told}. Choose another --json for this")

    @property
    def identity(self) -> str:
        """Of what is evaluated, in every part."""
        return hashlib.sha256(self._text.encode()).hexdigest()

    def share(self, number: int) -> int:
        """How many images a job has."""
        return len(range(number - 1, self.images, self.shards))

    def done(self, subset: int) -> int:
        """How many images of a subset this job has counted, from its first on."""
        count = 0
        while count < self.share(self.number) and self._file(self.number, subset, count).is_file():
            self._read(self.number, subset, count)
            count += self._size(self.number, count)
        return count

    def write(self, subset: int, first: int, counted: Iterator[Counts]) -> None:
        """Keeps what is counted of a subset, part by part.

        Args:
            subset: its number.
            first: how many images of it are `done`.
            counted: of some images each, in their order.
        """
        kept = Counts({head: [] for head in self.counters}, 0.0, 0.0)
        for found in counted:
            for head, records in found.records.items():
                kept.records[head].extend(records)
            kept = Counts(kept.records, kept.seconds + found.seconds, kept.scoring + found.scoring)
            size = self._size(self.number, first)
            while size and len(next(iter(kept.records.values()))) >= size:
                self._write(subset, first, Counts({head: x[:size] for head, x in kept.records.items()}, *kept[1:]))
                kept = Counts({head: x[size:] for head, x in kept.records.items()}, 0.0, 0.0)
                first += size
                size = self._size(self.number, first)

    def missing(self, subsets: int) -> list[int]:
        """The numbers of the jobs that are not at their end."""
        return [
            number
            for number in range(1, self.shards + 1)
            if not all(
                self._file(number, subset, first).is_file()
                for subset in range(subsets)
                for first in range(0, self.share(number), PART)
            )
        ]

    def gather(self, subset: int) -> Counts:
        """What all jobs have counted of a subset, in the dataset's order.

        Raises:
            ValueError: a file that is damaged, or of something else; FileNotFoundError: one that is not there.
        """
        found = [self._of(number, subset) for number in range(1, self.shards + 1)]
        records = {
            head: [x for turn in zip_longest(*(each.records[head] for each in found)) for x in turn if x is not None]
            for head in self.counters
        }
        return Counts(records, sum(each.seconds for each in found), sum(each.scoring for each in found))

    def _of(self, number: int, subset: int) -> Counts:
        parts = [self._read(number, subset, first) for first in range(0, self.share(number), PART)]
        records = {head: [record for part in parts for record in part.records[head]] for head in self.counters}
        return Counts(records, sum(part.seconds for part in parts), sum(part.scoring for part in parts))

    def _size(self, number: int, first: int) -> int:
        return min(PART, self.share(number) - first)

    def _file(self, number: int, subset: int, first: int) -> Path:
        return self.folder / f"shard_{number}" / f"subset_{subset}_{first:08d}.json"

    def _about(self, number: int, subset: int, first: int) -> dict[str, Json]:
        return {"format": FORMAT, "identity": self.identity, "shard": number, "subset": subset, "first": first}

    def _write(self, subset: int, first: int, counts: Counts) -> None:
        records = {head: [to_data(record) for record in found] for head, found in counts.records.items()}
        own = {**self._about(self.number, subset, first), **counts._asdict(), "records": records}
        content = json.dumps(own, allow_nan=False).encode()
        digest = json.dumps({"sha256": hashlib.sha256(content).hexdigest()}).encode()
        replace_file(self._file(self.number, subset, first), digest + b"\n" + content + b"\n")

    def _read(self, number: int, subset: int, first: int) -> Counts:
        """A part.

        Raises:
            ValueError: its bytes are not those that were written, or it is of something else; naming the file.
        """
        file = self._file(number, subset, first)
        with refusing(str(file), "its fields cannot be used"):
            head, _, rest = read_file(file, MOST_BYTES).partition(b"\n")
            content = rest.removesuffix(b"\n")
            if json.loads(head or b"{}").get("sha256") != hashlib.sha256(content).hexdigest():
                raise ValueError(f"its bytes are not those that were written: delete it, and run shard {number} again")
            found = json.loads(content)
            if {key: found[key] for key in self._about(0, 0, 0)} != self._about(number, subset, first):
                raise ValueError("it is of another evaluation, shard or subset: delete it")
            known = {head: {kind.__name__: kind for kind in x.records} for head, x in self.counters.items()}
            records = {head: [from_data(x, kinds) for x in found["records"][head]] for head, kinds in known.items()}
            size = self._size(number, first)
            for name, kept in records.items():
                kinds = tuple(known[name].values())
                if len(kept) != size or not all(isinstance(record, kinds) for record in kept):
                    raise ValueError(f"expected the records of {size} images for each of {', '.join(known)}")
                for record in kept:
                    self.counters[name].check(record)
            return Counts(records, float(found["seconds"]), float(found["scoring"]))


def _flat(value: Mapping[str, Json], place: str = "") -> dict[str, Json]:
    """The values of nested objects under dotted names."""
    found: dict[str, Json] = {}
    for key, item in value.items():
        found |= _flat(item, f"{place}{key}.") if isinstance(item, dict) else {f"{place}{key}": item}
    return found


def to_data(value: object) -> Json:
    """A record as JSON has it: dataclasses by their names, arrays and tensors as base64, numbers to the bit.

    Raises:
        ValueError: what no file can hold.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"number": str(float(value))}
    if isinstance(value, np.generic):
        return to_data(value.item())
    if isinstance(value, (Tensor, np.ndarray)):
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        if not _KINDS.fullmatch(array.dtype.name):
            raise ValueError(f"records hold an array of {array.dtype}, which files of counts cannot")
        name, data = "tensor" if isinstance(value, Tensor) else "array", np.ascontiguousarray(array).tobytes()
        return {name: [array.dtype.name, list(array.shape), base64.b64encode(data).decode()]}
    if isinstance(value, (list, tuple)):
        return {"tuple" if isinstance(value, tuple) else "list": [to_data(item) for item in value]}
    if isinstance(value, Mapping):
        return {"dict": {str(key): to_data(item) for key, item in value.items()}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: to_data(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
        return {type(value).__name__: fields}
    raise ValueError(f"records hold a {type(value).__name__}, which files of counts cannot")


def from_data(data: Json, kinds: Mapping[str, type]) -> Any:
    """What `to_data` was given.

    Args:
        data: a value of JSON.
        kinds: the dataclasses that it may hold, by name.

    Raises:
        ValueError: another form.
    """
    if not isinstance(data, dict):
        return data
    if len(data) != 1:
        raise ValueError(f"expected an object of one field, found {sorted(data)[:5]}")
    ((name, value),) = data.items()
    if name == "number":
        return _ODD[value]
    if name in ("tensor", "array"):
        found = _array(*value)
        return torch.from_numpy(found) if name == "tensor" else found
    if name in ("list", "tuple"):
        items = [from_data(item, kinds) for item in value]
        return tuple(items) if name == "tuple" else items
    if name == "dict":
        return {key: from_data(item, kinds) for key, item in value.items()}
    if name not in kinds:
        raise ValueError(f"{name!r} is none of {', '.join(kinds)}")
    return kinds[name](**{key: from_data(item, kinds) for key, item in value.items()})


def _array(kind: str, shape: Sequence[int], text: str) -> np.ndarray:
    if not _KINDS.fullmatch(kind):
        raise ValueError(f"an array of {kind!r}")
    data = np.frombuffer(base64.b64decode(text, validate=True), kind)
    return data.reshape([int(size) for size in shape]).copy()
