"""Writing many files so that an interrupted run can be repeated and every file can be checked.

A file appears by one rename, so it is there as a whole or not at all. Its checksum is noted before that, first in a
journal beside the files and at the end in `checksums.sha256`, which `sha256sum -c` accepts. So a later run knows which
files are its own: those are kept if they are unchanged, and any other file in the way is an error.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

from tqdm import tqdm

from rgbx._files import inside, read_text
from rgbx.maps.files import file_hash, replace_file

CHECKSUMS = "checksums.sha256"
_JOURNAL = ".checksums.partial"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


@dataclass(frozen=True)
class Job:
    """Files that are made together.

    Attributes:
        names: relative to the output folder, with "/" between folders.
        make: the content of each of the names; called only if one of them is missing.
    """

    names: tuple[str, ...]
    make: Callable[[], Mapping[str, bytes]]


class Summary(NamedTuple):
    """How many files a run wrote, and how many were there already."""

    written: int
    kept: int


def write_jobs(folder: str | Path, jobs: Sequence[Job], *, title: str = "") -> Summary:
    """Writes what is missing of the jobs' files, with a progress bar, then the list of checksums.

    Args:
        folder: made if it is not there.
        jobs: in the order of writing.
        title: of the progress bar.

    Raises:
        FileExistsError: a file in the way that no earlier run wrote, or that has changed since. Files of others are
            found before anything is written.
        ValueError: a list of checksums that is none, or a name that leads out of the folder.
    """
    folder = Path(folder)
    digests = _recorded(folder)
    for name in (name for job in jobs for name in job.names):
        if inside(folder, name, "output") != name:
            raise ValueError(f"output: {name!r} is no plain name of a file in {folder}")
        if name not in digests and (folder / name).exists():
            raise FileExistsError(f"{folder / name} is in the way: no earlier run wrote it; use another output folder")
    folder.mkdir(parents=True, exist_ok=True)
    written = kept = 0
    with (folder / _JOURNAL).open("a", encoding="utf-8") as journal:
        for job in tqdm(jobs, desc=title, unit="frame", disable=None):
            missing = [name for name in job.names if not _is_complete(folder / name, digests.get(name))]
            content = job.make() if missing else {}
            for name in missing:
                digests[name] = _write(folder, name, content[name], journal)
            written += len(missing)
            kept += len(job.names) - len(missing)
    lines = [f"{digest}  {name}\n" for name, digest in sorted(digests.items()) if (folder / name).is_file()]
    replace_file(folder / CHECKSUMS, "".join(lines).encode())
    (folder / _JOURNAL).unlink()
    return Summary(written, kept)


def _recorded(folder: Path) -> dict[str, str]:
    """Checksums by name, as earlier runs noted them; a journal's last line may be torn."""
    digests = {}
    for file in (folder / CHECKSUMS, folder / _JOURNAL):
        lines = read_text(file).splitlines() if file.exists() else []
        for number, line in enumerate(lines, start=1):
            match = _LINE.fullmatch(line)
            if match:
                digests[match[2]] = match[1]
            elif file.name == CHECKSUMS:
                raise ValueError(f"{file}:{number}: expected a checksum, two spaces and a name, found {line!r}")
    return digests


def _is_complete(path: Path, digest: str | None) -> bool:
    if not path.exists():
        return False
    if file_hash(path) != digest:
        raise FileExistsError(f"{path} has changed since it was written; delete it to have it made again")
    return True


def _write(folder: Path, name: str, content: bytes, journal: TextIO) -> str:
    digest = hashlib.sha256(content).hexdigest()
    journal.write(f"\n{digest}  {name}\n")  # on a line of its own, also where the last one is torn
    journal.flush()
    replace_file(folder / name, content)
    return digest
