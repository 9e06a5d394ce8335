"""One shard: a tar file of whole samples in the form of WebDataset, and the index of its members.

A sample is `KEY.json`, which is its record, and one member for each of its files, `KEY.rgb.png` for example. The record
holds the sample's name, what of it is no array, and the CRC-32 of every member and of itself. All headers are alike
(no times, no owners), so that equal samples give equal bytes.

The index, `NAME.idx` beside `NAME.tar`, is in the format v1.2 of NVIDIA DALI's `wds2idx`: a line `v1.2 SAMPLES`, then
for each sample a line of `ENDING OFFSET SIZE MEMBER` for each of its members. A sample's members follow each other, so
one range of bytes has all of them.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import urllib.parse
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from rgbx._files import MOST_BYTES
from rgbx._types import Options
from rgbx._whole import writing
from rgbx.datasets.shards.manifest import Shard
from rgbx.maps.files import replace_file

RECORD = "json"  # the ending of a sample's record
_VERSION = "v1.2"
_BLOCK = tarfile.BLOCKSIZE
_MOST_OF_SAMPLE = MOST_BYTES - (1 << 20)  # beside headers and the record
_SAFE = "/-_"  # beside letters and digits of ASCII
_DOTS = str.maketrans({".": "%2E", "~": "%7E"})  # which `quote` leaves alone
_ENDING = re.compile(r"[\w%-]+(\.[\w%-]+)*", re.ASCII)
_EDGES = re.compile(r"^/|/$|(?<=/)/")
_OWN_SUM = b', "record_crc32": '


class Member(NamedTuple):
    """Where a file lies in a shard: its ending, its first byte and how many it has, and its name."""

    ending: str
    offset: int
    size: int
    name: str


@dataclass(frozen=True)
class Record:
    """What a sample's record says.

    Attributes:
        sample_id: the sample's name.
        values: what JSON can hold of the sample, such as the `time` of its label.
        held: of members that are no copies of files, how they hold their array, see `rgbx.datasets.shards.packing`.
        sums: CRC-32 of the members, by their endings.
    """

    sample_id: str
    values: Options = field(default_factory=dict)
    held: Mapping[str, str] = field(default_factory=dict)
    sums: Mapping[str, int] = field(default_factory=dict)

    def as_bytes(self) -> bytes:
        """JSON whose last entry is the CRC-32 of what stands before it."""
        told = {"sample_id": self.sample_id, "values": dict(self.values), "held": dict(self.held), "crc32": self.sums}
        body = json.dumps(told, allow_nan=False).encode()[:-1]
        return body + _OWN_SUM + f"{zlib.crc32(body)}}}".encode()

    @classmethod
    def of_bytes(cls, data: bytes, where: str) -> Record:
        """The record that `as_bytes` wrote.

        Raises:
            ValueError: other bytes; `where` begins the message.
        """
        body, _, own = data.rpartition(_OWN_SUM)
        if own != f"{zlib.crc32(body)}}}".encode():
            raise ValueError(f"{where}: damaged, or another shard than the manifest's: no record of the right CRC-32")
        told: Any = json.loads(body + b"}")
        return cls(told["sample_id"], told["values"], told["held"], told["crc32"])


def key_of(sample_id: str) -> str:
    """A sample's name as WebDataset can have it: ASCII letters, digits, `-`, `_`, `/`; others as %XX of their UTF-8."""
    quoted = urllib.parse.quote(sample_id, _SAFE, errors="surrogatepass").translate(_DOTS)
    return _EDGES.sub("%2F", quoted)


def sample_id_of(key: str) -> str:
    """The name of the sample that `key_of` made a key of."""
    return urllib.parse.unquote(key, errors="surrogatepass")


class ShardWriter:
    """Writes samples into an open file, one after the other.

    Args:
        file: open for binary writing, and empty.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._at = file, 0
        self._sum = hashlib.sha256()
        self._keys: set[str] = set()
        self._lines: list[str] = []

    def add(self, record: Record, files: Mapping[str, bytes]) -> None:
        """Adds a sample.

        Args:
            record: its name, and what else is kept of it; `sums` are made here.
            files: the content of its members by their endings, such as `rgb.png`.

        Raises:
            ValueError: an ending that no member can have, a name that was added before, a value that is no JSON, or too
                many bytes.
        """
        key = key_of(record.sample_id)
        if not key or key in self._keys:
            raise ValueError(f"sample {record.sample_id!r}: {'a shard has it already' if key else 'it has no name'}")
        for ending in files:
            if ending == RECORD or not _ENDING.fullmatch(ending):
                raise ValueError(f"sample {record.sample_id!r}: no member can end with {ending!r}")
        if (size := sum(map(len, files.values()))) > _MOST_OF_SAMPLE:
            raise ValueError(f"sample {record.sample_id!r}: {size} bytes, a shard holds samples of {_MOST_OF_SAMPLE}")
        sums = {ending: zlib.crc32(data) for ending, data in files.items()}
        try:
            own = Record(record.sample_id, record.values, record.held, sums).as_bytes()
        except (TypeError, ValueError) as error:
            raise ValueError(f"sample {record.sample_id!r}: a value that no shard can hold: {error}") from error
        self._keys.add(key)
        self._lines.append(
            " ".join(self._member(key, ending, data) for ending, data in [(RECORD, own), *files.items()])
        )

    def _member(self, key: str, ending: str, data: bytes) -> str:
        """Writes a member; returns what the index says of it."""
        info = tarfile.TarInfo(f"{key}.{ending}")
        info.size = len(data)
        self._write(info.tobuf(tarfile.PAX_FORMAT, "ascii", "strict"))
        offset = self._at
        self._write(data)
        self._write(bytes(-len(data) % _BLOCK))
        return f"{ending} {offset} {len(data)} {info.name}"

    def _write(self, data: bytes) -> None:
        self._sum.update(data)
        self._file.write(data)
        self._at += len(data)

    def finish(self) -> tuple[bytes, int, str]:
        """Ends the tar file; gives its index, how many bytes it has and their SHA-256."""
        self._write(bytes(2 * _BLOCK))
        lines = [f"{_VERSION} {len(self._lines)}", *self._lines]
        return "".join(f"{line}\n" for line in lines).encode(), self._at, self._sum.hexdigest()


Samples = Iterable[tuple[Record, Mapping[str, bytes]]]


def packed_shard(samples: Samples) -> tuple[bytes, bytes]:
    """A shard and its index, in memory; raises as `ShardWriter.add`."""
    file = io.BytesIO()
    writer = ShardWriter(file)
    for record, files in samples:
        writer.add(record, files)
    index, _, _ = writer.finish()
    return file.getvalue(), index


def write_shard(folder: Path, name: str, samples: Samples) -> Shard:
    """Writes a shard and its index, both whole or not at all, the index first.

    Args:
        folder: that of the manifest.
        name: of the shard, relative to the folder, such as `train/000000.tar`; what is there is replaced.
        samples: one after the other; they are asked for as they are written.

    Returns:
        What the manifest says of it.

    Raises:
        ValueError: see `ShardWriter.add`, or a name that does not end with `.tar`.
        OSError: it cannot be written; nothing is left of it then.
    """
    path = folder / name
    index_path = folder / index_name(name)
    with writing(path) as file:
        writer = ShardWriter(file)
        count = 0
        for record, files in samples:
            writer.add(record, files)
            count += 1
        index, size, digest = writer.finish()
        replace_file(index_path, index)
    return Shard(name, count, size, digest, hashlib.sha256(index).hexdigest())


def index_name(name: str) -> str:
    """The name of a shard's index.

    Raises:
        ValueError: the name is no shard's.
    """
    if not name.endswith(".tar"):
        raise ValueError(f"expected the name of a shard to end with .tar, found {name!r}")
    return f"{name.removesuffix('.tar')}.idx"


class ShardIndex:
    """The members of a shard, by the positions of the samples.

    Args:
        data: the index file.
        where: begins messages.

    Raises:
        ValueError: another format, or not as many lines as the first says.
    """

    def __init__(self, data: bytes, where: str) -> None:
        self._data, self._where = data, where
        self._ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
        first = self._line(-1) if len(self._ends) else ""
        if first != f"{_VERSION} {len(self._ends) - 1}" or not data.endswith(b"\n"):
            raise ValueError(f"{where}: expected an index of {_VERSION} with a line per sample, found {first[:40]!r}")

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, position: int) -> list[Member]:
        words = self._line(position).split(" ")
        try:
            rows = zip(words[::4], map(int, words[1::4]), map(int, words[2::4]), words[3::4], strict=True)
            return [Member(*row) for row in rows]
        except ValueError:
            raise ValueError(
                f"{self._where}:{position + 2}: expected ENDING OFFSET SIZE MEMBER of each member"
            ) from None

    def sample_id(self, position: int) -> str:
        """The name of a sample."""
        first = self[position][0]
        return sample_id_of(first.name.removesuffix(f".{first.ending}"))

    def _line(self, position: int) -> str:
        begin = int(self._ends[position]) + 1 if position >= 0 else 0
        return self._data[begin : int(self._ends[position + 1])].decode("ascii", "replace")
