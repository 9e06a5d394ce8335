"""The manifest of a folder of shards, `shards.json`: which shards each split has, and what its samples hold."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rgbx._files import TEXT_LIMIT, inside
from rgbx._text import one_of
from rgbx._types import Options
from rgbx.datasets.shards.store import Store, open_store
from rgbx.maps import Encoding, LabelEncoding, MapSpec
from rgbx.maps.files import replace_file

MANIFEST = "shards.json"
FORMAT = "rgbx-shards/1"
TOLD = ("classes", "palette", "ignore_index", "modalities", "targets", "maps", "clips", "stored")  # of a metainfo
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST = 1 << 40  # samples or bytes of a shard


@dataclass(frozen=True)
class Shard:
    """A shard.

    Attributes:
        name: relative to the manifest's folder, such as `train/000000.tar`.
        samples: how many it has.
        bytes: its size.
        sha256: of its bytes.
        index_sha256: of those of its index.
    """

    name: str
    samples: int
    bytes: int
    sha256: str
    index_sha256: str


@dataclass(frozen=True)
class ShardSplit:
    """What a dataset knows of the samples of its split, beside the samples.

    Attributes:
        made_of: the dataset in words, for messages.
        encodings: by modality how its files hold it, or of those that were none or are read in a way of their own, at
            least what the map means.
        own: modalities whose files are read in a way of their own, so that no encoding can be told; None where the
            dataset has no files of maps.
        classes, palette, targets: see `rgbx.datasets.DenseDataset`.
        label: how files of labels hold class ids; None where there are none.
        written: what `encode_label` of the dataset makes of 0..255: numbers, or [red, green, blue]; None where that
            cannot be told.
        more: of the dataset's `metainfo` what is told nowhere else.
        clips: see `rgbx.datasets.DenseDataset.clip_lengths`.
        shards: in the order of the samples.
    """

    made_of: str = ""
    encodings: Mapping[str, Encoding] = field(default_factory=dict)
    own: Sequence[str] | None = ()
    classes: Sequence[str] = ()
    palette: Sequence[Sequence[int]] = ()
    targets: Sequence[str] = ()
    label: LabelEncoding | None = None
    written: Sequence[Any] | None = None
    more: Options = field(default_factory=dict)
    clips: Mapping[str, int] = field(default_factory=dict)
    shards: Sequence[Shard] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        maps = {
            name: {"spec": item.spec.as_dict(), "encoding": item.as_dict()} for name, item in self.encodings.items()
        }
        label = None if self.label is None else _given(self.label)
        plain = {
            item.name: getattr(self, item.name) for item in fields(self) if item.name not in ("encodings", "label")
        }
        return {"maps": maps, "label": label, **plain, "shards": [asdict(shard) for shard in self.shards]}

    @classmethod
    def of_dict(cls, told: Options) -> ShardSplit:
        """What `as_dict` gave, where it came from a file of somebody else.

        Raises:
            KeyError, TypeError, ValueError: anything else.
        """
        found = {item.name: told[item.name] for item in fields(cls) if item.name not in ("encodings", "label")}
        for name, is_right in _RIGHT.items():
            if not is_right(found[name]):
                raise ValueError(f"{name}: found {reprlib.repr(found[name])}")
        encodings = {}
        for name, item in told["maps"].items():
            encodings[name] = Encoding.of_dict(MapSpec.of_dict(item["spec"]), item["encoding"])
            if encodings[name].spec.name != name:
                raise ValueError(f"maps: {name!r} has the spec of {encodings[name].spec.name!r}")
        label_options: dict[str, Any] = {name: _tuples(value) for name, value in (told["label"] or {}).items()}
        label = None if told["label"] is None else LabelEncoding(**label_options)
        found["shards"] = tuple(_shard(item) for item in told["shards"])
        names = [shard.name for shard in found["shards"]]
        if len(set(names)) != len(names):
            raise ValueError("shards: one is named twice")
        if unknown := {*found["targets"], *(found["own"] or ()), *found["clips"]} - set(encodings):
            raise ValueError(f"targets, own, clips: {sorted(unknown)} are not among the maps {list(encodings)}")
        return cls(**found, encodings=encodings, label=label)


def _are(kind: type, values: object) -> bool:
    return isinstance(values, list) and all(type(value) is kind for value in values)


_RIGHT: dict[str, Callable[[Any], bool]] = {  # what a field of a split may hold
    "made_of": lambda x: isinstance(x, str),
    "own": lambda x: x is None or _are(str, x),
    "classes": lambda x: _are(str, x),
    "palette": lambda x: isinstance(x, list) and all(_are(int, colour) and len(colour) == 3 for colour in x),
    "targets": lambda x: _are(str, x),
    "written": lambda x: x is None or (_are(int, x) or (_are(list, x) and all(_are(int, y) for y in x))),
    "more": lambda x: isinstance(x, dict) and not x.keys() & set(TOLD),
    "clips": lambda x: isinstance(x, dict) and all(type(count) is int and 0 < count < _MOST for count in x.values()),
}


def _given(label: LabelEncoding) -> dict[str, Any]:
    return {item.name: getattr(label, item.name) for item in fields(label) if getattr(label, item.name) != item.default}


def _tuples(value: object) -> object:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _shard(told: Options) -> Shard:
    shard = Shard(**told)
    whole = all(type(count) is int and 0 <= count < _MOST for count in (shard.samples, shard.bytes))
    digests = all(_DIGEST.fullmatch(digest) for digest in (shard.sha256, shard.index_sha256))
    if not whole or not digests or not shard.name.endswith(".tar") or inside(".", shard.name, "name") != shard.name:
        raise ValueError(f"shards: {reprlib.repr(told)} is no shard")
    return shard


def read_manifest(store: Store | str | Path) -> dict[str, ShardSplit]:
    """The splits of a folder of shards, or of a URL.

    Raises:
        FileNotFoundError: no manifest there.
        OSError: it cannot be read.
        ValueError: another file.
    """
    files = open_store(store) if isinstance(store, (str, Path)) else store
    where = files.path(MANIFEST)
    try:
        data = files.read(MANIFEST, 0, TEXT_LIMIT)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{where}: no such file; is this a folder of shards? `rgbx prepare shards` writes it last, so that an "
            "interrupted packing has none: repeat it"
        ) from None
    try:
        told = json.loads(data)
        if told["format"] != FORMAT:
            raise ValueError(f"format: found {told['format']!r}")
        return {name: ShardSplit.of_dict(split) for name, split in told["splits"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        found = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{where}: expected a manifest of the format {FORMAT!r} ({found})") from error


def split_of(splits: Mapping[str, ShardSplit], name: str, where: str) -> ShardSplit:
    """The split of a name.

    Raises:
        ValueError: there is none.
    """
    if name not in splits:
        raise ValueError(f"{where}: found split {name!r}; expected one of {one_of(splits, name)}")
    return splits[name]


def write_manifest(folder: Path, splits: Mapping[str, ShardSplit]) -> None:
    """Writes the manifest, which makes of the shards a dataset: the last that is to be written.

    Raises:
        OSError: it cannot be written.
    """
    told = {"format": FORMAT, "splits": {name: split.as_dict() for name, split in splits.items()}}
    replace_file(folder / MANIFEST, (json.dumps(told, indent=1) + "\n").encode())
