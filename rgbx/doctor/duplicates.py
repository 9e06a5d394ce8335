"""The same picture twice: in one split, or in two, where it makes a test worthless; pictures that look alike."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from rgbx.doctor.finding import Finding, counted, examples
from rgbx.doctor.inspection import InspectedFrame, Split, full_name
from rgbx.doctor.integrity import file_size
from rgbx.maps.files import read_rgb

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


READ_ALL_BYTES = 100_000_000
_SIDE = 32
_MOST_BITS, _MOST_DIFFERENCE = 14, 10.0


class Thumbnail(NamedTuple):
    """A frame in small: where it stands, 64 bits of brightness order, and 32x32 grey levels."""

    split: str
    sample_id: str
    where: str
    bits: int
    grey: np.ndarray


def thumbnail(split: str, sample_id: str, where: str, rgb: np.ndarray) -> Thumbnail:
    """The difference hash of a picture: whether each of 9x8 averages is brighter than its left neighbour.

    Args:
        rgb: uint8 [H, W, 3].
    """
    grey = cv2.cvtColor(cv2.resize(rgb, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    few = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = np.packbits(few[:, 1:] > few[:, :-1])
    return Thumbnail(split, sample_id, where, int.from_bytes(bits.tobytes(), "big"), grey)


def thumbnail_of(split: Split, frame: InspectedFrame) -> Thumbnail | None:
    """The thumbnail of an inspected frame, None without a readable rgb image."""
    rgb = None if frame.sample is None else frame.sample.get("rgb")
    return None if rgb is None else thumbnail(split.name, frame.sample_id, frame.where("rgb"), rgb)


def all_thumbnails(splits: Sequence[Split]) -> list[Thumbnail] | None:
    """Thumbnails of every frame, where the files are few enough to read; None where they are not."""
    listed = [(split, frame) for split in splits for frame in split.listed or () if not frame.mirrored]
    sizes = [file_size(Path(frame.files["rgb"])) for _, frame in listed if "rgb" in frame.files]
    if any(split.listed is None for split in splits) or len(sizes) < len(listed) or sum(sizes) > READ_ALL_BYTES:
        return None
    found = []
    for split, frame in listed:
        try:
            found.append(thumbnail(split.name, frame.sample_id, str(frame.files["rgb"]), read_rgb(frame.files["rgb"])))
        except Exception:  # the check of the files reports it
            continue
    return found


def near_pairs(thumbnails: Sequence[Thumbnail]) -> list[tuple[Thumbnail, Thumbnail]]:
    """Pairs whose hashes differ in at most 14 of 64 bits and whose grey levels, brightness aside, by 10 on average.

    A copy that was compressed, resized or brightened, or moved by a pixel, stays within 9 bits and 5 levels; of 400
    train frames of NYU Depth V2 no two come closer than 18.9 levels.
    """
    codes = np.array([item.bits for item in thumbnails], np.uint64)
    pairs = []
    for first, item in enumerate(thumbnails):
        close = np.flatnonzero(np.bitwise_count(codes[first + 1 :] ^ codes[first]) <= _MOST_BITS) + first + 1
        for second in close.tolist():
            other = thumbnails[second]
            difference = item.grey.astype(np.float32) - other.grey
            if np.abs(difference - difference.mean()).mean() <= _MOST_DIFFERENCE and item.grey.std() > 2:
                pairs.append((item, other))
    return pairs
