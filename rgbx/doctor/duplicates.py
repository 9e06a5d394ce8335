"""The same picture twice: in one split, or in two, where it makes a test worthless."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rgbx.doctor.finding import Finding, counted, examples
from rgbx.doctor.inspection import Split, full_name
from rgbx.doctor.integrity import file_size
from rgbx.doctor.thumbnails import Thumbnail, near_pairs

Place = tuple[str, str, str]  # split, sample id, file


def find_duplicates(splits: Sequence[Split], thumbnails: Sequence[Thumbnail], total: int) -> Iterator[Finding]:
    """Frames with the same image: listed twice, byte for byte, or alike.

    Args:
        splits: all that were opened.
        thumbnails: of the frames that may be compared by their looks.
        total: the number of frames there are.
    """
    groups = [*_listed_twice(splits), *_same_bytes(splits)]
    same = {frozenset(place[:2] for place in group) for group in groups}
    yield from _report(groups, "certain", "the same image", "")
    pairs = [pair for pair in near_pairs(thumbnails) if not any({p[:2] for p in pair} <= group for group in same)]
    places = [[(item.split, item.sample_id, item.where) for item in pair] for pair in pairs]
    note = f"; compared: {counted(len(thumbnails), total, 'frames')}"
    yield from _report(places, "likely", "nearly the same image", note)
    if not pairs and thumbnails:
        names = ", ".join(dict.fromkeys(item.split for item in thumbnails))
        yield Finding("duplicates", "info", "likely", names, f"no two frames look alike{note}")


def _image(split: Split) -> str:
    return "rgb" if "rgb" in split.dataset.maps else split.dataset.modalities[0]


def _places(splits: Sequence[Split]) -> Iterator[tuple[Path, Place]]:
    for split in splits:
        for frame in split.known:
            path = frame.files.get(_image(split))
            if path is not None and not frame.mirrored:
                yield Path(path), (split.name, frame.sample_id, frame.origin or str(path))


def _listed_twice(splits: Sequence[Split]) -> list[list[Place]]:
    """Frames that name the same image file; several frames may share a file only by mistake."""
    found = defaultdict(list)
    for path, place in _places(splits):
        found[path].append(place)
    return [group for group in found.values() if len(group) > 1]


def _same_bytes(splits: Sequence[Split]) -> list[list[Place]]:
    """Different files with equal content; only files of equal size are read."""
    by_size: defaultdict[int, dict[Path, Place]] = defaultdict(dict)
    for path, place in _places(splits):
        by_size[file_size(path)].setdefault(path, place)
    groups = []
    for size, places in by_size.items():
        by_hash = defaultdict(list)
        if size and len(places) > 1:
            starts = defaultdict(list)
            for path in places:
                starts[_digest(path, 65536)].append(path)
            for start, alike in starts.items():
                for path in alike if start and len(alike) > 1 else ():
                    by_hash[_digest(path)].append(places[path])
        groups += [group for digest, group in by_hash.items() if digest and len(group) > 1]
    return groups


def _digest(path: Path, count: int = -1) -> str:
    """Of the first `count` bytes; "" where the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.blake2b(file.read(count)).hexdigest()
    except OSError:
        return ""


def _report(groups: Iterable[Sequence[Place]], certainty: str, what: str, note: str) -> Iterator[Finding]:
    """One finding for groups inside each split, one for those across splits."""
    sure = certainty == "certain"
    by_splits = defaultdict(list)
    for group in groups:
        by_splits[tuple(dict.fromkeys(split for split, _, _ in group))].append(group)
    for names, members in by_splits.items():
        first = " = ".join(full_name(split, sample_id) for split, sample_id, _ in members[0][:3])
        evidence = {"groups": len(members), "pairs": [[list(place[:2]) for place in group] for group in members[:20]]}
        times = f"{len(members)} time{'s' * (len(members) > 1)}"
        details: dict[str, Any] = {
            "evidence": evidence,
            "files": examples(" = ".join(place[2] for place in group) for group in members),
            "frames": frozenset(sample_id for group in members for _, sample_id, _ in group),
        }
        if len(names) > 1:
            yield Finding(
                "leak",
                "error" if sure else "warning",
                "certain" if sure else "likely",
                ", ".join(names),
                f"{what} stands in {' and '.join(names)}, {times}: {first}{', ...' * (len(members) > 1)}{note}",
                "Take these frames out of one split: what was trained on must not be scored on.",
                **details,
            )
        else:
            yield Finding(
                "duplicates",
                "warning" if sure else "info",
                "certain" if sure else "likely",
                names[0],
                f"{what} stands there more than once, {times}: {first}{', ...' * (len(members) > 1)}{note}",
                "Leave one of each; if their labels differ, one of them is wrong."
                if sure
                else "Normal for neighbouring frames of a video, which belong in one split.",
                **details,
            )
