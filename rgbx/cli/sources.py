"""What frames a command predicts on: listed first, which tells their number and names, and read when asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import cv2
import numpy as np

from rgbx._text import nearest
from rgbx.cli.arguments import SHOWN_KINDS, input_kind
from rgbx.cli.errors import ConfigError
from rgbx.datasets.files import FileDataset, MissingFileError
from rgbx.datasets.folder import DECLARATION
from rgbx.datasets.frame_files import FrameFiles
from rgbx.datasets.frames import Frame as Listed
from rgbx.datasets.layouts import build_dataset, split_names
from rgbx.datasets.listing import distinct_ids, list_lines
from rgbx.datasets.sample import DenseDataset
from rgbx.datasets.shards import ShardedDataset
from rgbx.datasets.timestamps import Stamped, pair_all, read_stamps, stamped_columns, without_delay
from rgbx.models.inputs import Frame, MapInput, paired

USUAL_GAP = 0.02  # seconds, of lists with timestamps
_GREY = {b"Y800": np.uint8, b"Y1\x00\x10": np.uint16}  # OpenCV's names of one channel of 8 and of 16 bits
_LOSSLESS = ("ffv1", "ffvh", "hfyu", "mpng", "png ", "\0\0\0\0", "y800", "y1\0\x10")
_AS_GREY = "write it as grey FFV1 of 16 bits in .mkv (ffmpeg -c:v ffv1 -pix_fmt gray16le), or as a folder of PNG files"


@dataclass(frozen=True)
class Source:
    """Frames that were listed.

    Attributes:
        ids: the name of each frame, in order; no two alike.
        maps: their names, in the order in which they were given.
        read: the frames at some positions, in rising order, one after the other.
        files: all that is read, or that belongs to it.
        inputs: how the maps are read, where a dataset says it.
        rate: frames a second, of videos.
        told: what listing them found, for the user; "" for nothing.
        sizes: how many frames lie in each of the shards that are read; nothing where they lie in none.
    """

    ids: Sequence[str]
    maps: tuple[str, ...]
    read: Callable[[Sequence[int]], Iterator[Frame]]
    files: Callable[[], Iterable[Path]]
    inputs: Mapping[str, MapInput] = field(default_factory=dict)
    rate: float | None = None
    told: str = ""
    sizes: Sequence[int] = ()


def open_paths(
    paths: Mapping[str, Path],
    *,
    colours: Collection[str],
    max_gap: float | None = None,
    usual_gap: float = USUAL_GAP,
    delays: Mapping[str, float] | None = None,
) -> Source:
    """The frames of files, of folders whose images share their stems, of lists, or of videos.

    Args:
        paths: ``NAME``, and ``NAME_valid`` beside it where a mask is given; all of one kind.
        colours: those of the maps whose videos hold colours.
        max_gap: the largest difference in seconds of what becomes one frame, in videos and lists with timestamps; None
            is half a frame of the slowest video, and `usual_gap` in lists.
        usual_gap: that of lists.
        delays: seconds by which maps lag, taken off the timestamps of their lists.

    Raises:
        FileNotFoundError: a file or folder that is not there, or an image without its partner.
        ConfigError: paths of different kinds.
        ValueError: lists of different lengths, nothing within `max_gap`, or videos that do not hold such a map.
    """
    kinds = {name: input_kind(path) for name, path in paths.items()}
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{name} is {SHOWN_KINDS[kind]}" for name, kind in kinds.items())
        raise ConfigError(f"{told}: give files or folders, not both at once, or lists, or videos")
    kind = next(iter(kinds.values()))
    if kind == "video":
        return _videos(paths, colours, max_gap)
    if kind == "list":
        return _lists(paths, usual_gap if max_gap is None else max_gap, delays or {})
    if kind == "folder":
        files = paired(paths)
        return _of_files(list(files), list(files.values()))
    return _of_files([next(iter(paths.values())).stem], [dict(paths)])


def _of_files(
    ids: Sequence[str], rows: Sequence[Mapping[str, Path]], told: str = "", beside: Collection[Path] = ()
) -> Source:
    def read(positions: Sequence[int]) -> Iterator[Frame]:
        return (Frame(ids[i], rows[i]) for i in positions)

    return Source(ids, tuple(rows[0]), read, lambda: chain(beside, *(row.values() for row in rows)), told=told)


# --- lists -----------------------------------------------------------------------------------------------------------


def _lists(lists: Mapping[str, Path], max_gap: float, delays: Mapping[str, float]) -> Source:
    found = {name: _list_rows(path) for name, path in lists.items()}
    stamped = [not math.isnan(rows[0].time) for rows in found.values()]
    told = ""
    if all(stamped):
        late = {name: delays.get(name.removesuffix("_valid"), 0.0) for name in found}
        shifted = {name: without_delay(rows, late[name]) for name, rows in found.items()}
        listed, left = pair_all(shifted, max_gap, ", ".join(map(str, lists.values())))
        told = "\n".join(filter(None, (_taken_off(late), left)))
    elif any(stamped):
        kinds = zip(lists.values(), stamped, strict=True)
        shown = ", ".join(f"{path} holds {'timestamps and ' * has}paths" for path, has in kinds)
        raise ValueError(f"{shown}: give lists of one kind")
    else:
        if len({len(rows) for rows in found.values()}) > 1:
            shown = ", ".join(f"{lists[name]} has {len(rows)}" for name, rows in found.items())
            raise ValueError(f"lists of different lengths: {shown}; expected line by line the files of one frame")
        listed = [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
    rows = [{name: lists[name].parent / item.path for name, item in row.items()} for row in listed]
    for row, items in zip(rows, listed, strict=True):
        for name, path in row.items():
            if not path.is_file():
                raise FileNotFoundError(f"{items[name].origin}: {name} {path}: no such file")
    return _of_files(_own_ids([next(iter(row.values())) for row in rows], lists), rows, told, lists.values())


def has_timestamps(file: Path) -> bool:
    """Whether the lines of a list are `timestamp path`."""
    return not math.isnan(_list_rows(file)[0].time)


def _taken_off(late: Mapping[str, float]) -> str:
    """What is told of delays; "" where there are none."""
    lags = {name: delay for name, delay in late.items() if delay and not name.endswith("_valid")}
    if not lags:
        return ""
    shown, name = ", ".join(f"{name} by {delay:g} s" for name, delay in lags.items()), next(iter(lags))
    return f"Taken off the timestamps, as maps lag: {shown} (--map {name} delay=SECONDS says another)."


def _list_rows(file: Path) -> list[Stamped]:
    """The files that a list names, in its order, or in that of its timestamps; without any, their time is NaN."""
    lines = [
        (text, origin)
        for text, origin in list_lines(file, "one path each")
        if not text.lstrip().startswith("#") or (file.parent / text.strip()).is_file()  # a comment names none
    ]
    if lines and all(stamped_columns(text) for text, _ in lines):
        return read_stamps(file)
    if not lines:
        raise ValueError(f"{file}: only comments; expected one path in each line")
    return [Stamped(math.nan, text.strip(), origin) for text, origin in lines]


def _own_ids(files: Sequence[Path], lists: Mapping[str, Path]) -> list[str]:
    """Names of frames: the stems of their files, with folders where stems repeat, with numbers where those do."""
    below = next(iter(lists.values())).parent.absolute()
    places = [path.absolute() for path in files]
    relative = [path.relative_to(below) if path.is_relative_to(below) else path for path in places]
    plain = ["/".join(part for part in path.parts if part not in ("..", path.anchor)) for path in relative]
    ids = distinct_ids(plain)
    return ids if len(set(ids)) == len(ids) else [f"{i:06d}_{PurePosixPath(own).name}" for i, own in enumerate(ids)]


# --- videos ----------------------------------------------------------------------------------------------------------


class _Film(NamedTuple):
    """A video whose frames were counted: when each is shown, in seconds, and how many there are a second."""

    path: Path
    times: list[float]
    rate: float


def _videos(paths: Mapping[str, Path], colours: Collection[str], max_gap: float | None) -> Source:
    films = {name: _count(path, name, colours) for name, path in paths.items()}
    first = min(films, key=lambda name: films[name].rate)
    stamps = {
        name: [Stamped(time, str(i), str(film.path)) for i, time in enumerate(film.times)]
        for name, film in {first: films[first], **films}.items()
    }
    gap = 0.5 / films[first].rate if max_gap is None else max_gap
    listed, _ = pair_all(stamps, gap, " and ".join(str(film.path) for film in films.values()))
    rows = [{name: int(row[name].path) for name in films} for row in listed]
    told = ", ".join(f"{name} has {len(film.times)} frames, {film.rate:g} a second" for name, film in films.items())
    if len(films) > 1:
        largest = max(abs(row[name].time - row[first].time) for row in listed for name in films)
        told += (
            f": {len(rows)} of one time, within {1000 * gap:.3g} ms (at most {1000 * largest:.3g} ms apart), by the "
            f"numbers of {first}"
        )

    def read(positions: Sequence[int]) -> Iterator[Frame]:
        readers = {
            name: _frames_at(films[name].path, name, colours, [rows[i][name] for i in positions]) for name in films
        }
        for i in positions:
            yield Frame(f"{rows[i][first]:06d}", {name: next(reader) for name, reader in readers.items()})

    ids = [f"{row[first]:06d}" for row in rows]
    return Source(ids, tuple(films), read, paths.values, rate=films[first].rate, told=told)


def _count(path: Path, name: str, colours: Collection[str]) -> _Film:
    """Looks at every frame once, as what a file says of their number and times need not be true."""
    capture, times = _capture(path, name, colours), []
    while capture.grab():
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    rate = capture.get(cv2.CAP_PROP_FPS)
    if not times:
        raise ValueError(f"{name} {path}: the video has no frame that OpenCV can read")
    if not 0 < rate < math.inf:
        rate = (len(times) - 1) / (times[-1] - times[0]) if times[-1] > times[0] else 1.0
    if any(later <= earlier for earlier, later in pairwise(times)):
        times = [i / rate for i in range(len(times))]
    return _Film(path, times, rate)


def _capture(path: Path, name: str, colours: Collection[str]) -> cv2.VideoCapture:
    """A video, opened; of a map that is no colours so that its stored numbers are read.

    Raises:
        ValueError: one that OpenCV cannot read, or that cannot hold such a map.
    """
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise ValueError(f"{name} {path}: damaged, or no video that OpenCV {cv2.__version__} can read")
    codec, form = (_four(capture, key) for key in (cv2.CAP_PROP_FOURCC, cv2.CAP_PROP_CODEC_PIXEL_FORMAT))
    if name in colours and _GREY.get(form) is np.uint16:
        raise ValueError(f"{name} {path}: grey of 16 bits; expected colours: is it the video of another map?")
    if name in colours:
        return capture
    shown = codec.decode("latin-1").strip("\0 ") or "raw"
    if codec.decode("latin-1").lower() not in _LOSSLESS:
        raise ValueError(
            f"{name} {path}: compressed by {shown}, which changes values, so that they are no measurements any more; "
            f"{_AS_GREY}"
        )
    if form not in _GREY:
        raise ValueError(f"{name} {path}: {shown} of colours; expected one channel: {_AS_GREY}")
    capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
    return capture


def _four(capture: cv2.VideoCapture, key: int) -> bytes:
    return (int(capture.get(key)) & 0xFFFFFFFF).to_bytes(4, "little")


def _frames_at(path: Path, name: str, colours: Collection[str], numbers: Sequence[int]) -> Iterator[np.ndarray]:
    """Frames of a video by their numbers: RGB uint8 [H, W, 3], or what a grey one stores, [H, W]."""
    capture, at = _capture(path, name, colours), -1
    for number in numbers:
        if number <= at:  # rare: pairs of a large gap may cross
            capture, at = _capture(path, name, colours), -1
        while at < number and capture.grab():
            at += 1
        found, image = capture.retrieve() if at == number else (False, None)
        if not found or image is None:
            raise ValueError(f"{name} {path}: frame {number} cannot be read")
        if name in colours:
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            continue
        kind = _GREY[_four(capture, cv2.CAP_PROP_CODEC_PIXEL_FORMAT)]
        if image.dtype != kind or image.ndim != 2:
            raise ValueError(f"{name} {path}: decoded as {image.dtype} {image.shape}; expected grey {np.dtype(kind)}")
        yield image


# --- datasets --------------------------------------------------------------------------------------------------------


def open_dataset(folder: Path, *, wanted: Sequence[str], split: str | None = None) -> Source:
    """The frames of a dataset's split, which need no labels.

    Args:
        folder: of a known layout, or with a `dataset.toml`.
        wanted: maps; those that the dataset has are read.
        split: None takes "test", else "val", else the only one.

    Raises:
        FileNotFoundError: files of the maps that are not there.
        ConfigError: no such split, or several and none said.
        ValueError: no known layout, or none of the maps.
    """
    chosen, dataset = _opened(folder, _splits(folder, split), wanted)
    names = [name for name in wanted if name in dataset.modalities]
    ids = [dataset.name_of(i) for i in range(len(dataset))]
    why = "" if (folder / DECLARATION).is_file() else f": {dataset.provenance}" * bool(dataset.provenance)
    told = f"{folder}, split {chosen}{why}"
    if isinstance(dataset, FileDataset) and type(dataset).read_frame is FileDataset.read_frame:  # one file, one map
        files = [_files_of(frame, names) for frame in dataset.frames]
        known = {name: MapInput(name, dataset.maps[name], dataset.encodings[name]) for name in names}
        listed = _of_files(ids, files, told)
        return replace(listed, maps=tuple(names), inputs=known, files=lambda: _all_files(folder, dataset))

    def read(positions: Sequence[int]) -> Iterator[Frame]:
        for i in positions:
            sample = dataset.read(i)
            keys = [key for name in names for key in (name, f"{name}_valid") if key in sample]
            yield Frame(dataset.name_of(i), {key: sample[key] for key in keys})

    known = {name: MapInput(name, dataset.maps[name], None) for name in names}
    sizes = [shard.samples for shard in dataset.reader.shards] if isinstance(dataset, ShardedDataset) else ()
    return Source(ids, tuple(names), read, lambda: _all_files(folder, dataset), known, told=told, sizes=sizes)


def _all_files(folder: Path, dataset: DenseDataset) -> Iterator[Path]:
    """Those beside the folders of a dataset, such as lists, and all of its frames, also labels."""
    yield from (path for path in folder.iterdir() if path.is_file())
    if isinstance(dataset, FileDataset):
        yield from (path for frame in dataset.frames for path in frame.files.values())


def _files_of(frame: Listed, names: Sequence[str]) -> dict[str, Path]:
    if absent := [name for name in names if name not in frame.files]:
        raise ValueError(f"{frame.origin}: frame {frame.sample_id!r} has no {absent[0]}".removeprefix(": "))
    return {name: frame.files[name] for name in names}


def _splits(folder: Path, asked: str | None) -> list[str]:
    """The split that was asked for, or those to try in turn: layouts name some that a folder need not have."""
    names = split_names(folder)
    if asked is not None and asked not in names:
        raise ConfigError(f"--split {asked}: {folder} has {', '.join(names)}{nearest(asked, names)}")
    usual: list[str] = [name for name in ("test", "val") if name in names]
    if asked is None and not usual and len(names) > 1:
        raise ConfigError(f"{folder} has the splits {', '.join(names)}: say by --split which to predict")
    return [asked] if asked is not None else usual or list(names)


def split_of(folder: Path, asked: str | None) -> str:
    """The name of the split of a dataset's folder that is predicted on, see `open_dataset`."""
    return _splits(folder, asked)[0]


def _opened(folder: Path, splits: Sequence[str], wanted: Sequence[str]) -> tuple[str, DenseDataset]:
    """The first of the splits that is there; where some of its files are missing, that is told."""
    refused: list[FileNotFoundError] = []
    for split in splits:
        try:
            return split, _unlabelled(folder, split, wanted)
        except MissingFileError:
            raise
        except FileNotFoundError as error:
            refused.append(error)
    raise refused[0]


def _unlabelled(folder: Path, split: str, wanted: Sequence[str]) -> DenseDataset:
    """The dataset with those of the wanted maps that it has, also where files of labels are not there."""
    try:
        dataset = _listed(folder, split, list(wanted))
    except ValueError:  # it has others, or it has no such argument
        dataset = _listed(folder, split)
    names = [name for name in wanted if name in dataset.modalities]
    if not names:
        raise ValueError(f"{folder} has {', '.join(dataset.modalities)}; the model takes {', '.join(wanted)}")
    if isinstance(dataset, FileDataset):
        dataset.modalities = tuple(names)
        files = FrameFiles(dataset.frames)
        if missing := files.check(names):
            raise MissingFileError(missing)
        if files.check(["label"]):
            dataset.label = None
    return dataset


def _listed(folder: Path, split: str, modalities: Sequence[str] | None = None) -> DenseDataset:
    try:
        return build_dataset(folder, split, modalities=modalities)
    except MissingFileError as error:  # perhaps of labels alone
        if error.dataset is None:
            raise
        return error.dataset
