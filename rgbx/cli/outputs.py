"""What a command writes of predictions: files of each frame, and a record by which several processes, or a later one,
know which frames are done.

The folder holds `predict.json`, what was asked for, and `progress/RANK.jsonl`, a line for each frame whose files are
all there. Shards, jobs that may run at any time, are processes of the same kind. Files are written whole or not at all,
and a line after its frame's files, so a frame without a line is predicted again, whatever ended the run. Whichever
process finds every frame done writes what is of all frames.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import cv2
import numpy as np

from rgbx._files import open_own, read_json, read_lines
from rgbx._text import mask_title
from rgbx._types import Options
from rgbx._whole import place_new, remove_left, writing
from rgbx.cli.arguments import PREDICTED
from rgbx.cli.errors import ConfigError
from rgbx.datasets.shards import MANIFEST
from rgbx.maps import Encoding
from rgbx.maps.files import append_line, encode_png, replace_file
from rgbx.models.result import Result
from rgbx.report.gallery import PAGE, PICTURES, RECORDS, add_to_gallery, write_gallery
from rgbx.tasks import Classes, Task
from rgbx.tasks.result import ClassesResult, HeadResult, MapResult

FORMAT = "rgbx-predictions/1"
CLASSES_ONLY = ("overlay", "confidence", "areas")  # of the kinds
PROGRESS, AREAS, STRIP, MASKS = "progress", "areas.json", "strip", "masks"
TARS, CHECKSUMS = "predictions", "checksums.sha256"
_OWN = (RECORDS, PAGE, AREAS, PREDICTED)
_NOTES = re.compile(r"\d+\.jsonl")
STEPS = 65535  # of a share, such as confidence
WAIT = 300  # seconds, for the first process to begin
SHARE = "share of the frame's pixels, 0 to 1"


class Process(NamedTuple):
    """One of the processes that share the frames: its place among so many, and a name that all of one run have.

    Of `shards` jobs that know nothing of each other each takes every so manieth frame, and its own processes, where
    torchrun starts several, every so manieth of those: the number of a process tells the job, `rank` % `shards`,
    however many processes others have.
    """

    rank: int
    size: int
    run: str
    shards: int = 0  # none, where one run does it all

    @classmethod
    def of_environment(cls, shard: tuple[int, int] | None = None) -> Process:
        """As torchrun tells it; the only one where nobody does.

        Args:
            shard: the number of this job, from 1, and of all jobs.
        """
        asked = {key: os.environ.get(key, "") for key in ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")}
        alone = os.environ.get("LOCAL_WORLD_SIZE") == os.environ.get("WORLD_SIZE")
        run = ":".join((*asked.values(), str(os.getppid()) * alone))
        rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        if shard is None:
            return cls(rank, size, run)
        number, shards = shard
        return cls(number - 1 + shards * rank, shards * size, "", shards)

    @property
    def leads(self) -> bool:
        """Whether it is the first of its run, or of its job."""
        return self.rank < max(1, self.shards)

    @property
    def title(self) -> str:
        """ "Process 1 of 2", "Shard 2 of 4"; "" for the only one."""
        own = self.rank // max(1, self.shards), self.size // max(1, self.shards)
        process = f"process {own[0]} of {own[1]}" if own[1] > 1 else ""
        shard = f"shard {self.rank % self.shards + 1} of {self.shards}" if self.shards else ""
        return ", ".join(filter(None, (shard, process))).capitalize()

    def shares_with(self, rank: int) -> bool:
        """Whether a process of this number has frames that are this job's."""
        return not self.shards or rank % self.shards == self.rank % self.shards


@dataclass(frozen=True)
class Outputs:
    """What is written of each frame.

    Attributes:
        folder: of all files.
        tasks: of the heads, by name.
        kinds: some of `rgbx._choices.SAVED`.
        encodings: how files hold the values of heads that predict maps.
        masks: the modalities whose masks are written.
        gallery: whether pictures for a page are written too.
        tar: whether frames go into tar files, see `rgbx.cli.tars`.
        spans: of maps of one channel, the values of the lowest and highest colour; others take those of each frame.
    """

    folder: Path
    tasks: Mapping[str, Task]
    kinds: Sequence[str]
    encodings: Mapping[str, Encoding]
    masks: Sequence[str] = ()
    gallery: bool = False
    tar: bool = False
    spans: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def write(self, result: Result) -> dict[str, Any]:
        """Writes the files of a frame: ``HEAD/ID.png``, ``HEAD_KIND/ID.png``, ``masks_MAP/ID.png``, ``strip/ID.png``.

        Returns:
            What `Progress.add` notes: the frame's ``id``, ``files`` in the folder and, where asked for, ``areas``.

        Raises:
            ValueError: a name that leads out of the folder, or values that a file cannot hold.
        """
        found = dict(self.files(result))
        for path, content in found.items():
            replace_file(path, content, many=True)
        if self.gallery:
            add_to_gallery(result, self.folder)
        note: dict[str, Any] = {"id": result.sample_id}
        note["files"] = [path.relative_to(self.folder).as_posix() for path in found]
        if "areas" in self.kinds:
            note["areas"] = {
                name: {own: round(share, 6) for own, share in head.areas.items()}
                for name, head in result.items()
                if isinstance(head, ClassesResult)
            }
        return note

    def content(self, head: HeadResult, name: str, kind: str) -> bytes:
        """A PNG of a head."""
        if kind == "overlay" and isinstance(head, ClassesResult):
            return encode_png(head.overlay())
        if kind == "confidence" and isinstance(head, ClassesResult):
            return _encoded_share(head.confidence, f"confidence of {name}: probability")
        if kind == "ids" and isinstance(head, ClassesResult):
            return encode_png(head.ids)
        if kind == "ids" and isinstance(head, MapResult):
            encoding = self.encodings[name]
            return encode_png(encoding.encode(encoding.nearest(head.values)), encoding.describe())
        if isinstance(head, MapResult) and name in self.spans:
            return encode_png(head.picture(legend=False, limits=self.spans[name]))
        return encode_png(head.picture(legend=False))

    def kinds_of(self, name: str) -> list[str]:
        """The kinds of files that a head has."""
        own = [self._filmed(name) if kind == "video" else kind for kind in self.kinds]
        has = ("ids", "colours", *CLASSES_ONLY) if isinstance(self.tasks[name], Classes) else ("ids", "colours")
        return [kind for kind in dict.fromkeys(own) if kind in has and kind != "areas"]

    @property
    def show_confidence(self) -> bool:
        """Whether anything that is written shows how sure the model is."""
        return self.gallery or not {"confidence", STRIP}.isdisjoint(self.kinds)

    @property
    def films(self) -> list[str]:
        """The folders whose pictures videos are made of, where any are asked for."""
        return [f"{name}_{self._filmed(name)}" for name in self.tasks] if "video" in self.kinds else []

    @property
    def names(self) -> list[str]:
        """Of the files and folders in the folder that are written or filled."""
        if self.tar:
            return [TARS, CHECKSUMS, MANIFEST, PREDICTED, PROGRESS]
        folders = [self._folder(name, kind) for name in self.tasks for kind in self.kinds_of(name)]
        films = [f"{film}.mp4" for film in self.films]
        masks = [f"{MASKS}_{name}" for name in self.masks]
        return [*folders, *masks, *([STRIP] if STRIP in self.kinds else []), *films, *_OWN, PROGRESS, PICTURES]

    def check_inputs(self, files: Iterable[Path]) -> None:
        """Refuses to replace, or to clear away, what is read.

        Args:
            files: of the inputs.

        Raises:
            ConfigError: one of them is a file that would be written or deleted, or lies among those.
        """
        written = {
            os.path.realpath(path) for path in (*(self.folder / name for name in self.names), *_left(self.folder))
        }
        known: dict[str, bool] = {}
        folders: dict[Path, str] = {}
        for file in files:
            if file.parent not in folders:  # of a million files, only links are followed one by one
                folders[file.parent] = os.path.realpath(file.parent)
            real = os.path.realpath(file) if file.is_symlink() else f"{folders[file.parent]}{os.sep}{file.name}"
            above = real.rpartition(os.sep)[0]
            if above not in known:
                known[above] = not written.isdisjoint((above, *map(str, Path(above).parents)))
            if known[above] or real in written:
                raise ConfigError(
                    f"--out {self.folder}: {file}, which is an input, lies where results go; write elsewhere"
                )

    def _folder(self, name: str, kind: str) -> str:
        return name if kind == "ids" else f"{name}_{kind}"

    def _filmed(self, name: str) -> str:
        return "overlay" if isinstance(self.tasks[name], Classes) else "colours"

    def place(self, result: Result, name: str, kind: str) -> Path:
        return result.place(self.folder / self._folder(name, kind), ".png")

    def files(self, result: Result) -> Iterator[tuple[Path, bytes]]:
        """The files of a frame and what they hold; raises as `write`."""
        for name, head in result.items():
            for kind in self.kinds_of(name):
                try:
                    yield self.place(result, name, kind), self.content(head, name, kind)
                except ValueError as error:
                    raise ValueError(f"{self.place(result, name, kind)}: {error}") from error
        for name in self.masks:
            content = _encoded_share(
                result.masks[name], f"{mask_title(name)}: 1 wholly believed, below 1/2 masked; share"
            )
            yield self.place(result, f"{MASKS}_{name}", "ids"), content
        if STRIP in self.kinds:
            yield self.place(result, STRIP, "ids"), encode_png(result.strip())


def _encoded_share(
    values: np.ndarray,  # float32 [H, W], 0..1
    said: str,
) -> bytes:
    """A grey PNG of 16 bits that says what it holds."""
    stored = np.rint(values.astype(np.float64) * STEPS).astype(np.uint16)
    return encode_png(stored, f"{said} = value / {STEPS}")


def check_resumed(folder: Path, asked: Options, *, resume: bool) -> None:
    """Refuses to go on with what was begun otherwise.

    Args:
        folder: of the predictions, or where they are to go.
        asked: see `begin`.
        resume: whether to go on with what is there.

    Raises:
        ConfigError: something else was asked for then, which is named.
    """
    if resume and (folder / PREDICTED).is_file():
        _check_same(folder / PREDICTED, asked)


def begin(
    outputs: Outputs,
    asked: Options,
    process: Process,
    ids: Sequence[str],
    *,
    overwrite: bool,
    tars: Sequence[int] = (),
) -> None:
    """Notes in a folder what was asked for, and clears away what an earlier run has left there, and nothing else.

    The first process does so, the others wait for it; of shards each may be the first, and none waits.

    Args:
        outputs: what is written; the folder is made where absent.
        asked: whatever changes an answer, in plain values.
        process: this one.
        ids: of all frames.
        overwrite: whether all begin anew; or else frames that are done are kept.
        tars: how many frames each tar has, where tars are written.

    Raises:
        ConfigError: files that no run of the command has left would be replaced, the first process does not begin,
            another shard was begun otherwise, or tars that are done are of other frames.
    """
    folder, record = outputs.folder, outputs.folder / PREDICTED
    frames = {"count": len(ids), "sha256": hashlib.sha256(json.dumps([list(ids), list(tars)]).encode()).hexdigest()}
    if process.shards:
        _join(outputs, asked, process, frames)
        return
    if process.rank:
        _wait(record, process)
        return
    earlier, left = _record_of(folder), list(_left(folder))
    _check_foreign(outputs, left)
    if earlier and tars and not overwrite:  # a tar is known by its number, not by the frames in it
        _check_frames(record, earlier, frames)
    if earlier:
        remove_left(folder, deep=True)
    if earlier and overwrite:
        replace_file(record, json.dumps({**earlier, "run": ""}).encode())  # nobody begins before the rest is gone
        _clear(folder, left)
    written = {"format": FORMAT, "run": process.run, "processes": process.size, "asked": asked, "frames": frames}
    replace_file(record, json.dumps(written, indent=1, ensure_ascii=False).encode())


def _join(outputs: Outputs, asked: Options, process: Process, frames: Options) -> None:
    """Begins the run of which a shard is a part, or takes part in the one that another shard has begun."""
    folder, record = outputs.folder, outputs.folder / PREDICTED
    if not record.is_file():
        _check_foreign(outputs, [])
        written = {"format": FORMAT, "run": "", "processes": process.size, "asked": asked, "frames": frames}
        place_new(record, json.dumps(written, indent=1, ensure_ascii=False).encode())
    _check_same(record, asked)
    _check_frames(record, _record_of(folder), frames)
    if (folder / PROGRESS / f"{process.rank}.jsonl").is_file():  # it was killed
        remove_left(folder, deep=True)


def _check_frames(record: Path, earlier: Options, frames: Options) -> None:
    """Whether frames, and the tars that they go into, are those that were listed before."""
    if (found := earlier.get("frames")) != frames:
        raise ConfigError(
            f"{record}: other frames, or other tars of them, were listed before ({found}), found {frames}: have inputs "
            "been added, removed, renamed or packed anew since? Put them back, or choose another --out"
        )


def _check_foreign(outputs: Outputs, left: Collection[Path]) -> None:
    """Refuses to write over, or among, what no earlier run has left; in a folder of one, folders may be mixed."""
    for path in (outputs.folder / name for name in outputs.names):
        mixed = path.is_dir() and (bool(left) or not any(path.iterdir()))
        if os.path.lexists(path) and path not in left and not mixed:
            raise ConfigError(f"{path} is there already, and of no earlier run: choose another --out")


def _clear(folder: Path, left: Iterable[Path]) -> None:
    """Deletes what an earlier run has written, and folders that are empty then, but for `predict.json`."""
    places = set()
    for path in left:
        if path != folder / PREDICTED:
            with suppress(ValueError):  # a name that no file can have
                path.unlink(missing_ok=True)
            places |= {above for above in path.parents if folder in above.parents}
    for place in sorted(places, key=lambda above: len(above.parts), reverse=True):
        with suppress(OSError):  # something else lies there
            place.rmdir()


def _record_of(folder: Path) -> dict[str, Any]:
    """What the run in a folder has said of itself; nothing where there is none."""
    found: object = None
    with suppress(OSError, ValueError):
        found = read_json(folder / PREDICTED)
    return found if isinstance(found, dict) and isinstance(found.get("asked"), dict) else {}


def _left(folder: Path) -> Iterator[Path]:
    """The files of an earlier run in a folder, as its notes tell them, the notes last."""
    earlier = _record_of(folder)
    if not earlier:
        return
    saved, gallery = _listed(earlier["asked"], "save"), earlier["asked"].get("gallery")
    names: set[str] = set()
    notes = [path for path in (folder / PROGRESS).glob("*.jsonl") if _NOTES.fullmatch(path.name)]
    for note, _ in chain.from_iterable(map(_read_notes, notes)):
        names.update(note["files"])
    if "video" in saved:
        names |= {f"{name.partition('/')[0]}.mp4" for name in names}
    if gallery and (folder / RECORDS).is_file():
        panels = chain.from_iterable(_listed(record, "panels") for record, _ in read_lines(folder / RECORDS))
        names.update(str(panel["file"]) for panel in panels if isinstance(panel, dict) and "file" in panel)
    for name in sorted(names):
        plain = PurePosixPath(name)
        if (
            plain.suffix in (".png", ".jpg", ".mp4", ".tar", ".idx")
            and not plain.is_absolute()
            and ".." not in plain.parts
        ):
            yield folder / plain
    yield from (folder / name for name in (RECORDS, PAGE) if gallery)
    yield from (folder / name for name in (AREAS,) if "areas" in saved)
    yield from (folder / name for name in (CHECKSUMS, MANIFEST) if "tar" in earlier["asked"])
    yield from notes
    yield folder / PREDICTED


def _read_notes(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """The notes of a process, each with where it begins; what a kill has torn, and what is no note, is left out."""
    for note, at in read_lines(path):
        files = note.get("files")
        named = isinstance(files, list) and all(isinstance(name, str) for name in files)
        if named and isinstance(note.get("id"), str):
            yield note, at


def _listed(record: Mapping[str, object], key: str) -> list[Any]:
    found = record.get(key)
    return found if isinstance(found, list) else []


def _check_same(record: Path, asked: Options) -> None:
    found = read_json(record)
    earlier = found.get("asked") if isinstance(found, dict) else None
    if not isinstance(earlier, dict):
        raise ConfigError(f"{record} is no record of predictions: choose another --out")
    now = json.loads(json.dumps(asked))
    names = [name for name in {**now, **earlier} if now.get(name) != earlier.get(name)]
    if names:
        told = "; ".join(f"{name} was {earlier.get(name)!r}, is {now.get(name)!r}" for name in names)
        option, anew = ("--shard", "") if "shards" in now else ("--resume", ", or --overwrite to begin anew")
        raise ConfigError(
            f"{option}: {record.parent} was begun otherwise: {told}. Repeat what was asked for then, or choose another "
            f"--out{anew}"
        )


def _wait(record: Path, process: Process) -> None:
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        if record.is_file():
            found = read_json(record)
            if isinstance(found, dict) and found.get("run") == process.run:
                return
        time.sleep(0.1)
    raise ConfigError(f"process {process.rank} of {process.size}: the first process did not begin in {record.parent}")


class Progress:
    """Which frames are done, by the notes of all processes of all runs.

    Args:
        folder: of the predictions.
        process: this one, which adds to a file of its own.
    """

    def __init__(self, folder: Path, process: Process) -> None:
        self.folder, self.process = folder, process
        self.path = folder / PROGRESS / f"{process.rank}.jsonl"
        self.path.parent.mkdir(exist_ok=True)
        open_own(self.path, "a").close()

    def add(self, note: Options) -> None:
        """Notes that a frame is done; its files must be there."""
        append_line(self.path, json.dumps(note, ensure_ascii=False))

    def withdraw(self, made: Sequence[Path]) -> None:
        """Takes back what was begun, where no frame became done: the notes, and folders that are empty then.

        Args:
            made: the folders that were not there before, the innermost first.
        """
        self.path.unlink()
        (self.folder / PREDICTED).unlink(missing_ok=True)
        with suppress(OSError):  # something lies there
            for folder in (self.path.parent, *made):
                folder.rmdir()

    def notes(self, *, own: bool = False) -> Iterator[tuple[dict[str, Any], Path, int]]:
        """Every note with its file and where it begins there, see `_read_notes`; only this job's where it is asked."""
        for path in self._files(own=own):
            for note, at in _read_notes(path):
                yield note, path, at

    def _files(self, *, own: bool = False) -> list[Path]:
        found = {path: int(path.stem) for path in self.path.parent.glob("*.jsonl") if _NOTES.fullmatch(path.name)}
        return sorted(path for path, rank in found.items() if not own or self.process.shares_with(rank))

    def done(self, *, own: bool = False) -> set[str]:
        """Names of the frames whose files are all there; only this job's where it is asked."""
        return {
            note["id"]
            for note, _, _ in self.notes(own=own)
            if all(_has_bytes(self.folder / name) for name in note["files"])
        }

    def complete(self, ids: Sequence[str]) -> bool:
        """Whether every frame is done.

        Where another job has far to go, its notes are only counted, and nobody looks for its files.
        """
        return sum(map(_lines, self._files())) >= len(ids) and set(ids) <= self.done()


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(part.count(b"\n") for part in iter(partial(file.read, 1 << 20), b""))


def _has_bytes(path: Path) -> bool:
    """Whether a file is there, and not empty, as a crash of the machine leaves what it had not yet written."""
    return path.is_file() and path.stat().st_size > 0


def write_areas(progress: Progress, ids: Sequence[str]) -> Path:
    """Writes `areas.json`: the share of every class in each frame, in the order of the frames."""
    places = {note["id"]: (path, at) for note, path, at in progress.notes()}
    files = {path: path.open("rb") for path, _ in places.values()}

    def areas(own: str) -> dict[str, dict[str, float]]:
        path, at = places[own]
        files[path].seek(at)
        return dict(json.loads(files[path].readline())["areas"])

    path = progress.folder / AREAS
    try:
        with writing(path) as file:
            classes = {head: list(shares) for head, shares in areas(ids[0]).items()}
            file.write(json.dumps({"unit": SHARE, "classes": classes}, ensure_ascii=False)[:-1].encode())
            file.write(b', "frames": {')
            for i, own in enumerate(ids):
                line = f"{',' * bool(i)}\n{json.dumps(own)}: {json.dumps(areas(own), ensure_ascii=False)}"
                file.write(line.encode())
            file.write(b"\n}}\n")
    finally:
        for opened in files.values():
            opened.close()
    return path


def write_page(folder: Path, ids: Sequence[str]) -> Path:
    """Writes `index.html` of the frames in their order, whichever process has predicted them."""
    records = folder / RECORDS
    place = {own: i for i, own in enumerate(ids)}
    found = {record["sample_id"]: record for record, _ in read_lines(records) if record.get("sample_id") in place}
    kept = (found[own] for own in sorted(found, key=place.__getitem__))
    replace_file(records, "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in kept).encode())
    return write_gallery(folder)


def write_video(folder: Path, kind: str, ids: Iterable[str], rate: float) -> Path:
    """Writes ``FOLDER/KIND.mp4`` of the pictures ``FOLDER/KIND/ID.png``, which are of one size.

    Raises:
        ValueError: OpenCV cannot write such a video, or a picture of another size.
        OSError: there is no room for it.
    """
    path, film, size = folder / f"{kind}.mp4", None, None
    with writing(path, suffix=".mp4") as file:
        for own in ids:
            image = cv2.imread(str(folder / kind / f"{own}.png"))
            if image is None or (size is not None and image.shape != size):
                raise ValueError(f"{folder / kind / f'{own}.png'}: cannot be read, or not of the size of the others")
            size = image.shape
            even = cv2.copyMakeBorder(image, 0, size[0] % 2, 0, size[1] % 2, cv2.BORDER_REPLICATE)  # as MPEG-4 asks
            if film is None:
                film = cv2.VideoWriter(file.name, cv2.VideoWriter.fourcc(*"mp4v"), rate, even.shape[1::-1])
            film.write(even)
        if film is None or not film.isOpened():
            raise ValueError(f"{path}: OpenCV {cv2.__version__} here cannot write an MPEG-4 video")
        film.release()
        if cv2.VideoCapture(file.name).get(cv2.CAP_PROP_FRAME_COUNT) <= 0:  # OpenCV raises no error of a full disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return path
