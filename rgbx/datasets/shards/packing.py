"""Samples of any dataset as files in a shard, and back, so that nothing is lost.

A map's member holds it in one of three ways. Where decoding the map's file gives the map, it is that file, byte for
byte: also of datasets that read some maps in a way of their own. Otherwise the record says how it is held: `encoded`,
as a PNG of the map's encoding that gives the very same floats, or `array`, as a PNG of 8 or 16 bits or an `.npy`.

Where it is asked for, colours become JPEGs, which is the one thing that changes them.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rgbx._files import FileInMemory, read_file
from rgbx.datasets.files import FileDataset
from rgbx.datasets.frames import Frame
from rgbx.datasets.sample import DenseDataset, Sample
from rgbx.datasets.shards.archive import Record, key_of, sample_id_of
from rgbx.datasets.shards.manifest import TOLD, ShardSplit
from rgbx.maps import MASKS, TIMES, Encoding, LabelEncoding
from rgbx.maps.files import encode_png, lossy_kind, read_image
from rgbx.maps.header import PNG

ENCODED, ARRAY = "encoded", "array"
_PLAIN = (FileDataset.read, FileDataset.read_frame)
_ENDINGS = ("", *MASKS, TIMES)
JPEG_SIDE = 65500  # pixels, of libjpeg


class Packer:
    """Makes of each sample of a dataset its record and files.

    Args:
        dataset: any; its transforms are not applied.
        uncompressed: whether maps in PNGs become BMPs and PGMs of the same values, which are read many times as fast.
        jpeg: the quality, 1 to 100, of JPEGs that colours of 8 bits become, which changes them; None leaves them.
            JPEGs, and all that is no colours, stay as they are.

    Raises:
        ValueError: frames that differ in what they have, another quality, or no map of colours for it.
    """

    def __init__(self, dataset: DenseDataset, *, uncompressed: bool = False, jpeg: int | None = None) -> None:
        if dataset.frame_sets is not None:
            raise ValueError(
                f"shards hold samples that all have the same maps, and frames of this {type(dataset).__name__} differ "
                "in what they have: missing='skip' leaves out those that lack any"
            )
        if jpeg is not None and not (isinstance(jpeg, int) and not isinstance(jpeg, bool) and 1 <= jpeg <= 100):
            raise ValueError(f"jpeg is {jpeg!r}; expected a quality, 1 to 100, or None")
        units = {name: spec.unit for name, spec in dataset.maps.items()}
        if jpeg is not None and "rgb8" not in units.values():
            raise ValueError(
                f"jpeg={jpeg} is of colours of 8 bits (rgb8), and this {type(dataset).__name__} has none: its maps are "
                f"{', '.join(f'{name} ({unit})' for name, unit in units.items())}"
            )
        self.dataset, self.uncompressed, self.jpeg = dataset, uncompressed, jpeg
        self._files = dataset if isinstance(dataset, FileDataset) else None
        kind = type(dataset)
        plain = issubclass(kind, FileDataset) and (kind.read, kind.read_frame) == _PLAIN
        self._packed: Any = (
            dataset if getattr(dataset, "repacks", False) else None
        )  # shards, whose samples are handed on
        self._plain = plain and all(_is_told(item) for item in self._encodings.values())  # a map in each file

    @property
    def split(self) -> ShardSplit:
        """What the manifest says of the dataset, without shards."""
        dataset, meta = self.dataset, self.dataset.metainfo
        if self._packed is not None:
            return replace(self._packed.packed, shards=())
        told = {name: self._encoding_of(name) for name in dataset.modalities}
        stored = meta.get("stored")
        label = None if self._files is None else self._files.label
        return ShardSplit(
            made_of=type(dataset).__name__,
            encodings={n: item if type(item) is Encoding else Encoding(item.spec) for n, item in told.items()},
            own=None if stored is None else [n for n in told if stored.get(n, {}) is None],
            classes=dataset.classes,
            palette=dataset.palette,
            targets=[name for name in dataset.targets if name in dataset.modalities],
            label=label if type(label) is LabelEncoding else None,
            written=_written(dataset),
            more={name: value for name, value in meta.items() if name not in TOLD},
            clips=dataset.clip_lengths,
        )

    def pack(self, index: int) -> tuple[Record, dict[str, bytes]]:
        """A sample's record, and its files by their endings.

        Raises:
            OSError, ValueError: see `DenseDataset.read`, or what no shard can hold; names the sample.
        """
        record, files = self._pack(index)
        if not self.uncompressed and self.jpeg is None:
            return record, files
        names = {ending: self._converted(ending, data) for ending, data in files.items()}
        held = {names[ending][0]: how for ending, how in record.held.items()}
        return replace(record, held=held, sums={}), dict(names.values())

    def _pack(self, index: int) -> tuple[Record, dict[str, bytes]]:
        """See `pack`; with files as they are."""
        if self._packed is not None:
            found: tuple[Record, dict[str, bytes]] = self._packed.packed_sample(index)
            return found
        frame = None if self._files is None else self._files.frames[index]
        if self._plain and frame is not None:
            files = self._copies(frame)
            if missing := [name for name in self.dataset.modalities if not any(_is_of(e, name) for e in files)]:
                raise ValueError(f"frame {frame.sample_id!r} has no file for {missing}")
            return Record(frame.sample_id), files
        return self._of_sample(self.dataset.read(index), {} if frame is None else self._copies(frame))

    def sources(self, index: int) -> Iterator[Path]:
        """The files that a sample is made of; of a dataset that does not list them it is read for that."""
        if self._packed is not None:
            return
        if self._files is None:
            found = (Path(path) for path in self.dataset.read(index)["paths"].values() if path)
            yield from (path for path in found if path.is_file())
            return
        frame = self._files.frames[index]
        files = self._files.files_of(frame) if self._plain else frame.files
        yield from (Path(path) for path in files.values() if Path(path).is_file())

    def _converted(self, ending: str, data: bytes) -> tuple[str, bytes]:
        """The ending and content of a member, as JPEG or without compression where that was asked for."""
        if self.jpeg is not None:
            ending, data = self._as_jpeg(ending, data, self.jpeg)
        return self._without_compression(ending, data) if self.uncompressed else (ending, data)

    def _as_jpeg(self, ending: str, data: bytes, quality: int) -> tuple[str, bytes]:
        """The ending and content of a member: of opaque colours that are held without loss a JPEG.

        Other members, and images that are too large for the format, stay as they are.
        """
        key, _, suffix = ending.rpartition(".")
        spec, file = self.dataset.maps.get(sample_id_of(ending.partition(".")[0])), FileInMemory(ending, data)
        if spec is None or spec.unit != "rgb8" or suffix == "npy" or lossy_kind(file):
            return ending, data
        image = read_image(file)
        if image.shape[2:] == (4,) and (image[..., 3] == np.iinfo(image.dtype).max).all():
            image = image[..., :3]
        if image.dtype != np.uint8 or image.shape[2:] not in ((), (1,), (3,)) or max(image.shape[:2]) > JPEG_SIDE:
            return ending, data
        if image.shape[2:] == (3,):
            image = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
        _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return f"{key}.jpg", encoded.tobytes()

    def _without_compression(self, ending: str, data: bytes) -> tuple[str, bytes]:
        """The ending and content of a member: of a map in a PNG an image without compression, which reads as the same.

        Labels stay as they are: they take little time, and their PNGs may have a palette.
        """
        name = sample_id_of(ending.partition(".")[0])
        if not data.startswith(PNG) or name not in self.dataset.maps:
            return ending, data
        encoding = self._encodings.get(name)
        image = read_image(FileInMemory(ending, data))
        colours = image.ndim == 3
        if image.dtype != np.uint8 and (colours or image.dtype != np.uint16):
            return ending, data
        if colours and image.shape[2] != 3:
            return ending, data
        new = f"{ending.removesuffix('.png')}.{'bmp' if colours else 'pgm'}"
        plain = cv2.imencode(Path(new).suffix, image[..., ::-1] if colours else image)[1].tobytes()
        before, after = (
            (read_image(file), *(encoding.read_masked(file) if type(encoding) is Encoding else ()))
            for file in (FileInMemory(ending, data), FileInMemory(new, plain))
        )
        return (new, plain) if all(map(_same, before, after)) else (ending, data)

    @property
    def _encodings(self) -> Mapping[str, Encoding | LabelEncoding]:
        """How the files hold each map and the label, where they do."""
        if self._files is None:
            return {}
        label = {} if self._files.label is None else {"label": self._files.label}
        return {**{name: self._files.encodings[name] for name in self.dataset.modalities}, **label}

    def _encoding_of(self, name: str) -> Encoding:
        """How files hold a map, as far as the dataset tells it."""
        if self._files is not None:
            return self._files.encodings[name]
        told = self.dataset.metainfo.get("stored", {}).get(name)
        return Encoding.of_dict(self.dataset.maps[name], told or {})

    def _copies(self, frame: Frame) -> dict[str, bytes]:
        """The bytes of a frame's files that hold one map each, by the endings of their members."""
        assert self._files is not None
        files = self._files.files_of(frame)
        several = {path for path, count in Counter(files.values()).items() if count > 1}
        told = [name for name, item in self._encodings.items() if _is_told(item) and name in files]
        return {f"{key_of(n)}{files[n].suffix.lower()}": read_file(files[n]) for n in told if files[n] not in several}

    def _of_sample(self, sample: Sample, copies: Mapping[str, bytes]) -> tuple[Record, dict[str, bytes]]:
        """What is kept of a sample as it was read, and of the files behind it."""
        files: dict[str, bytes] = {}
        held: dict[str, str] = {}
        arrays = {name: value for name, value in sample.items() if isinstance(value, np.ndarray)}
        for ending, data in copies.items():
            name = next(name for name in self._encodings if _is_of(ending, name))
            if _reads_as(self._encodings[name], data, name, arrays):
                files[ending] = data
                for key in (name, f"{name}_valid"):
                    arrays.pop(key, None)
        for name, array in arrays.items():
            ending, data, how = self._member(name, array)
            files[ending], held[ending] = data, how
        values = {key: value for key, value in sample.items() if key not in ("sample_id", "paths")}
        plain = {key: value for key, value in values.items() if not isinstance(value, np.ndarray)}
        return Record(sample["sample_id"], plain, held), files

    def _member(
        self,
        name: str,
        array: np.ndarray,  # [...]
    ) -> tuple[str, bytes, str]:
        """The ending and content of an array's member, and how it holds the array."""
        key = key_of(name)
        pixels = bool(array.size) and (array.ndim == 2 or array.shape[2:] == (3,))  # as a PNG holds them
        if array.dtype in (np.uint8, np.uint16) and pixels:
            return f"{key}.png", encode_png(array), ARRAY
        known = name in self.dataset.maps and pixels
        if known and (stored := _exactly(self._encoding_of(name).to_write(), array)) is not None:
            return f"{key}.png", encode_png(stored), ENCODED
        data = io.BytesIO()
        np.save(data, array, allow_pickle=False)
        return f"{key}.npy", data.getvalue(), ARRAY


class Unpacker:
    """Makes samples of what `Packer` kept.

    Args:
        split: as the manifest says.
        modalities: those to decode.
    """

    def __init__(self, split: ShardSplit, modalities: Sequence[str]) -> None:
        self._encodings, self._label = dict(split.encodings), split.label
        self._modalities = tuple(modalities)
        self._left_out = {key_of(f"{n}{end}") for n in split.encodings if n not in modalities for end in _ENDINGS}

    def unpack(self, record: Record, files: Mapping[str, bytes], where: str, only: Sequence[str] = ()) -> Sample:
        """The sample as its dataset reads it.

        Args:
            record, files: of a sample; members of modalities that are not asked for may be missing.
            where: begins the names of members in messages and in `paths`.
            only: maps, with what belongs to them; all that were asked for by default.

        Raises:
            ValueError: a member that holds something else; names it.
        """
        sample: Sample = {"sample_id": record.sample_id, "paths": {}, **record.values}
        wanted = {key_of(f"{name}{end}"): f"{name}{end}" for name in only for end in _ENDINGS}
        for ending, data in files.items():
            key = ending.partition(".")[0]
            if key in self._left_out or (only and key not in wanted):
                continue
            name = sample_id_of(key)
            file = FileInMemory(f"{where}{ending}", data)
            if name in self._modalities or name == "label":
                sample["paths"][name] = str(file)
            self._decode(sample, name, file, record.held.get(ending, ""))
        return sample

    def _decode(self, sample: Sample, name: str, file: FileInMemory, held: str) -> None:
        """Adds an array, and the mask of what was measured."""
        if held == ARRAY:
            npy = file.name.endswith(".npy")
            sample[name] = np.load(io.BytesIO(file.data), allow_pickle=False) if npy else read_image(file)
        elif held == ENCODED:
            sample[name] = self._encodings[name].to_write().read(file)
        elif name == "label" and self._label is not None:
            sample[name] = self._label.read(file)
        elif name in self._encodings and not held:
            sample[name], measured = self._encodings[name].read_masked(file)
            if measured is not None:
                sample[f"{name}_valid"] = measured
        else:
            raise ValueError(f"{file}: the manifest does not tell how this member holds {name!r} ({held or 'a file'})")


def _is_told(encoding: Encoding | LabelEncoding) -> bool:
    """Whether a manifest can say how files hold a map; of archives of several arrays only the array is kept."""
    return type(encoding) in (Encoding, LabelEncoding) and not encoding.key


def _is_of(ending: str, name: str) -> bool:
    return ending.partition(".")[0] == key_of(name)


def _reads_as(encoding: Encoding | LabelEncoding, data: bytes, name: str, arrays: Sample) -> bool:
    """Whether a file gives the very array, and mask, that the dataset read."""
    file = FileInMemory(name, data)
    try:
        found, mask = (encoding.read(file), None) if isinstance(encoding, LabelEncoding) else encoding.read_masked(file)
    except ValueError:
        return False
    return _same(found, arrays.get(name)) and _same(mask, arrays.get(f"{name}_valid"))


def _same(
    one: np.ndarray | None,  # [...]
    other: np.ndarray | None,  # [...]
) -> bool:
    """Whether two arrays have equal types, shapes and bits, or are none both."""
    if one is None or other is None:
        return one is other
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def _exactly(encoding: Encoding, array: np.ndarray) -> np.ndarray | None:
    """Whole numbers that the encoding reads as the very array, [H, W] or [H, W, 3]; None where there are none."""
    try:
        stored = encoding.encode(array)
        return stored if _same(encoding.decode(stored), array) else None
    except ValueError:
        return None


def _written(dataset: DenseDataset) -> list[Any] | None:
    """What the dataset's `encode_label` makes of 0..255."""
    try:
        found: list[Any] = dataset.encode_label(np.arange(256, dtype=np.uint8)[None])[0].tolist()
    except ValueError:
        return None
    return found
