"""What is known of the files of a prepared folder: what they are, and what they were made of.

It is on the disk before a file is: first in a journal, at the end in `checksums.sha256`, which `sha256sum -c` accepts,
and in `prepared.json`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import reprlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rgbx._files import existing_file, open_own, read_json, read_lines, read_text
from rgbx._lock import locked
from rgbx._types import Options
from rgbx.maps.files import replace_file

CHECKSUMS, RECORD = "checksums.sha256", "prepared.json"
FORMAT = "rgbx-prepared/1"
PIECE, PIECES = 1 << 20, 64  # bytes, and how many of them identify a larger file
_WORK, _JOURNAL = ".preparing", "journal"
_FORMER_JOURNAL = ".checksums.partial"  # of versions that noted checksums alone
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


class Note(NamedTuple):
    """What is known of a file.

    Attributes:
        sha256: of its content.
        made_of: a digest of its sources and options; None where a former version wrote it.
        saturated: see `Content`.
    """

    sha256: str
    made_of: str | None = None
    saturated: int = 0


_Kind = type | tuple[type, ...]
_KINDS: dict[str, _Kind] = {"name": str, "sha256": str, "made_of": (str, type(None)), "saturated": int}  # of an entry


@dataclass
class Notes:
    """What is known of a folder: where its files are from, in words, and of each by its name."""

    origin: str | None = None
    files: dict[str, Note] = field(default_factory=dict)


def read_notes(folder: Path) -> Notes:
    """What earlier runs noted: at their end, then in journals, whose last line may be torn.

    Raises:
        ValueError: a list of checksums, or a record, that is none.
    """
    record = _read_record(folder / RECORD)
    notes = Notes(record.get("origin"))
    for file in (folder / CHECKSUMS, folder / _FORMER_JOURNAL):
        lines = read_text(file).splitlines() if file.exists() else []
        for number, line in enumerate(lines, start=1):
            match = _LINE.fullmatch(line)
            if match:
                name = match[2]
                notes.files[name] = Note(match[1], record["made_of"].get(name), record["saturated"].get(name, 0))
            elif file.name == CHECKSUMS:
                raise ValueError(f"{file}:{number}: expected a checksum, two spaces and a name, found {line!r}")
    journal = folder / _WORK / _JOURNAL
    for entry, _ in read_lines(journal) if journal.exists() else ():
        if entry.keys() == {"origin"} and isinstance(entry["origin"], (str, type(None))):
            notes.origin = entry["origin"]
        elif _is_entry(entry):
            name = entry.pop("name")
            notes.files[name] = Note(**entry)
    return notes


def _is_entry(entry: Options) -> bool:
    """Whether a line of a journal is of a file, which could stand in the list of checksums."""
    right = entry.keys() == _KINDS.keys() and all(isinstance(entry[key], kind) for key, kind in _KINDS.items())
    return right and _LINE.fullmatch(f"{entry['sha256']}  {entry['name']}") is not None


def _read_record(path: Path) -> Options:
    """The fields of a `prepared.json`; empty ones where there is none.

    Raises:
        ValueError: another file.
    """
    if not path.exists():
        return {"made_of": {}, "saturated": {}}
    record: Any = read_json(path)
    advice = "remove it, and the files are compared with what is made anew"
    told = isinstance(record, dict) and record.get("format") == FORMAT
    if not told or not isinstance(record.get("origin"), (str, type(None))):
        wanted = f"an object with the format {FORMAT!r} and an origin in words"
        raise ValueError(f"{path}: expected {wanted}, found {reprlib.repr(record)}; {advice}")
    for name, kind in (("made_of", str), ("saturated", int)):
        found = record.get(name)
        if not isinstance(found, dict) or not all(type(value) is kind for value in found.values()):
            raise ValueError(
                f"{path}: {name!r} is {reprlib.repr(found)}, expected an object of {kind.__name__}; {advice}"
            )
    return record


@contextlib.contextmanager
def at_work(folder: Path) -> Iterator[Path]:
    """The folder of the journal, which no other process has; gone afterwards, unless there is a journal.

    Raises:
        ValueError: another process has it.
    """
    work = folder / _WORK
    with locked(work, "another preparation"):
        try:
            yield work
        finally:
            if not (work / _JOURNAL).exists():
                shutil.rmtree(work)


@contextlib.contextmanager
def journal(work: Path, notes: Notes) -> Iterator[Callable[[Mapping[str, Note]], None]]:
    """A journal that begins with what is known so far; gives what notes files down, on the disk when it returns."""
    path = work / _JOURNAL
    start = [{"origin": notes.origin}, *_lines_of(notes.files)]
    replace_file(path, "".join(json.dumps(line) + "\n" for line in start).encode())
    with open_own(path, "a") as file:

        def note_down(found: Mapping[str, Note]) -> None:
            file.writelines(json.dumps(line) + "\n" for line in _lines_of(found))
            file.flush()
            os.fsync(file.fileno())

        yield note_down


def _lines_of(files: Mapping[str, Note]) -> Iterator[Options]:
    return ({"name": name, **note._asdict()} for name, note in files.items())


def finish(folder: Path, notes: Notes, options: Options) -> None:
    """Writes what is known of all files that are there, and removes the journals."""
    notes.files = {name: note for name, note in sorted(notes.files.items()) if (folder / name).is_file()}
    record = {
        "format": FORMAT,
        "origin": notes.origin,
        "options": dict(options),
        "saturated": {name: note.saturated for name, note in notes.files.items() if note.saturated},
        "made_of": {name: note.made_of for name, note in notes.files.items() if note.made_of},
    }
    replace_file(folder / RECORD, (json.dumps(record, indent=1) + "\n").encode())
    replace_file(folder / CHECKSUMS, "".join(f"{n.sha256}  {name}\n" for name, n in notes.files.items()).encode())
    (folder / _FORMER_JOURNAL).unlink(missing_ok=True)
    (folder / _WORK / _JOURNAL).unlink()


def identity(path: str | Path) -> str:
    """A digest that tells one source file from another, whatever its name and time.

    Of a file of up to 64 MiB it is that of all bytes. Of a larger one, such as the 2.8 GB of NYU Depth V2, that would
    take as long as what it guards; it is that of the size and of 64 pieces of 1 MiB, evenly from the first to the last.
    Another edition of such a file differs everywhere; a single flipped bit may go unseen.

    Raises:
        FileNotFoundError, ValueError: no file.
    """
    size, digest = existing_file(path).stat().st_size, hashlib.sha256()
    with Path(path).open("rb") as file:
        if size <= PIECE * PIECES:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(str(size).encode())
        for start in np.linspace(0, size - PIECE, PIECES).astype(int).tolist():
            file.seek(start)
            digest.update(file.read(PIECE))
    return digest.hexdigest()
