"""Checks of the files themselves: there, whole, of one size, in their places, and accepted by the dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from rgbx._text import modality_title
from rgbx.datasets.files import FileDataset
from rgbx.doctor.check import Check
from rgbx.doctor.finding import Finding, counted
from rgbx.doctor.inspection import InspectedFrame, Split
from rgbx.doctor.integrity import file_fault
from rgbx.maps.files import exif_turn, stored_kind
from rgbx.maps.folders import MAP_SUFFIXES
from rgbx.maps.header import TURNS

MISSING = "missing"  # what `file_fault` says of a file that is not there


class Files(Check):
    """Missing, empty, truncated or damaged files: of all frames where the dataset lists them, else of the sampled."""

    name = "files"

    def __init__(self, split: Split) -> None:
        super().__init__(split)
        self.faults: dict[Path, tuple[str, str]] = {}
        self.count = 0
        self.sets: Counter[tuple[str, ...]] = Counter()  # of modalities that a frame has files of
        if isinstance(split.dataset, FileDataset):
            for frame in split.dataset.frames:
                there = []
                for name, path in split.dataset.files_of(frame).items():
                    self.count += 1
                    if path.suffix.lower() in MAP_SUFFIXES and (fault := file_fault(path)):
                        self.faults[path] = (fault, frame.sample_id)
                    if self.faults.get(path, ("",))[0] != MISSING and name != "label":
                        there.append(name)
                self.sets[tuple(there)] += 1

    def see(self, frame: InspectedFrame) -> None:
        if self.split.listed is None:
            self.count += len(frame.files)
        for path, fault in frame.damage.items():
            self.faults.setdefault(path, (fault, frame.sample_id))

    def findings(self) -> Iterable[Finding]:
        kinds = Counter(fault.split(" ")[0] for fault, _ in self.faults.values())
        for kind, number in kinds.most_common():
            paths = [path for path, (fault, _) in self.faults.items() if fault.split(" ")[0] == kind]
            reason = self.faults[paths[0]][0]
            whole = "all" if self.split.listed is not None else "sampled"
            differing = kind == MISSING and len(self.sets) > 1
            advice = "; correct the list or the root" if kind == MISSING else ""
            advice += (
                '; or train on frames that differ in what they have, by the dataset\'s missing="allow"' * differing
            )
            yield self.finding(
                "error",
                "certain",
                f"{counted(number, self.count, f'{whole} files')} {'is' if number == 1 else 'are'} {reason}"
                + (", for example" if number > 1 and reason != kind else "")
                + (f"; frames by what they have: {_told(self.sets)}" if differing else ""),
                f"Copy or unpack these files again{advice}",
                evidence={"files": number, "kind": kind, **({"sets": _counts(self.sets)} if differing else {})},
                files=paths,
                frames=[self.faults[path][1] for path in paths],
            )
        if MISSING not in kinds and len(self.sets) > 1:
            told = f"frames differ in what they have: {_told(self.sets)}"
            yield self.finding("info", "certain", told, evidence={"sets": _counts(self.sets)})


def _counts(sets: Mapping[tuple[str, ...], int]) -> dict[str, int]:
    """By "rgb+depth", the most modalities first."""
    ordered = sorted(sets.items(), key=lambda item: (-len(item[0]), item[0]))
    return {"+".join(names): count for names, count in ordered}


def _told(sets: Mapping[tuple[str, ...], int]) -> str:
    """ "RGB + depth 90, RGB 10"."""
    counts = _counts(sets).items()
    return ", ".join(f"{' + '.join(map(modality_title, n.split('+'))) if n else 'none'} {k}" for n, k in counts)


class Columns(Check):
    """Swapped columns of a list, or swapped folders."""

    name = "columns"

    def __init__(self, split: Split) -> None:
        super().__init__(split)
        self.found: dict[str, tuple[tuple[str, ...], str, str, bool]] = {}

    def see(self, frame: InspectedFrame) -> None:
        if frame.swapped:
            held = [f"{name} is {frame.where(name)}, {stored_kind(frame.raw[name])}" for name in frame.swapped]
            certain = len({stored_kind(frame.raw[name]) for name in frame.swapped}) > 1
            self.found[frame.sample_id] = (frame.swapped, frame.origin or held[0], "; ".join(held), certain)

    def findings(self) -> Iterable[Finding]:
        for names in dict.fromkeys(found[0] for found in self.found.values()):
            hits = {key: found for key, found in self.found.items() if found[0] == names}
            _, _, held, certain = next(iter(hits.values()))
            yield self.finding(
                "error",
                "certain" if certain else "likely",
                f"the files of {' and '.join(names)} seem to stand in each other's place in "
                f"{counted(hits, self.split.sampled)}; the first: {held}",
                "Swap the columns of the list (or the folders), or choose the layout that has them in this order.",
                evidence={"swapped": list(names), "frames": len(hits)},
                files=[origin for _, origin, _, _ in hits.values()],
                frames=hits,
            )


class Orientation(Check):
    """Files that an EXIF tag turns in a viewer, which reading ignores: such a map may lie turned to the others."""

    name = "orientation"

    def __init__(self, split: Split) -> None:
        super().__init__(split)
        self.turned: dict[tuple[str, int], dict[str, str]] = {}

    def see(self, frame: InspectedFrame) -> None:
        for name, path in frame.files.items():
            if name in frame.raw and (turn := exif_turn(path)) in TURNS:
                self.turned.setdefault((name, turn), {})[frame.sample_id] = frame.where(name)

    def findings(self) -> Iterable[Finding]:
        for (name, turn), frames in self.turned.items():
            yield self.finding(
                "warning",
                "certain",
                f"an EXIF tag says of {name} in {counted(frames, self.split.sampled)} that it is {TURNS[turn]} "
                f"(orientation {turn}); viewers follow it, reading does not, so the stored image may lie turned to the "
                "frame's other maps",
                "Look at the contact sheet, which shows what is read. Where the map lies wrong, write its pixels as "
                "viewers show them; then drop the tag.",
                evidence={"map": name, "orientation": turn, "frames": len(frames)},
                files=frames.values(),
                frames=frames,
            )


class Sizes(Check):
    """Maps of one frame that differ in size (error), frames that differ from each other (a fact)."""

    name = "sizes"

    def __init__(self, split: Split) -> None:
        super().__init__(split)
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.unequal: dict[str, tuple[str, str]] = {}

    def see(self, frame: InspectedFrame) -> None:
        arrays = (
            frame.raw if frame.sample is None else {name: np.asarray(frame.sample.get(name, ())) for name in frame.raw}
        )
        found = {
            name: array.shape[:2] for name, array in arrays.items() if array.ndim >= 2
        }  # a layout may cut images while reading
        first = next((name for name in self.maps if name in found), None)
        if first is None:
            return
        self.sizes[found[first][0], found[first][1]] += 1
        if frame.refusal and len(set(found.values())) > 1:
            text = ", ".join(f"{name} {height}x{width}" for name, (height, width) in found.items())
            other = next(name for name in found if found[name] != found[first])
            self.unequal[frame.sample_id] = (text, frame.where(other))

    def findings(self) -> Iterable[Finding]:
        if self.unequal:
            text = next(iter(self.unequal.values()))[0]
            yield self.finding(
                "error",
                "certain",
                f"the maps of one frame differ in size in {counted(self.unequal, self.split.sampled)}; the first has "
                f"{text} (height x width)",
                "Resize depth and labels by nearest neighbour to the size of the image, or correct the pairing.",
                evidence={"frames": len(self.unequal), "first": text},
                files=[where for _, where in self.unequal.values()],
                frames=self.unequal,
            )
        if len(self.sizes) > 1:
            listed = ", ".join(f"{h}x{w} ({n})" for (h, w), n in self.sizes.most_common(4))
            yield self.finding(
                "info",
                "certain",
                f"images come in {len(self.sizes)} sizes: {listed}",
                "Train with a crop of fixed size, evaluate with batch size 1.",
                evidence={"sizes": {f"{h}x{w}": n for (h, w), n in self.sizes.most_common()}},
            )


class Blank(Check):
    """Maps that are one value throughout; depth without any measurement is the check `depth-holes`."""

    name = "blank"

    def __init__(self, split: Split) -> None:
        super().__init__(split)
        self.blank: dict[str, dict[str, str]] = {}

    def see(self, frame: InspectedFrame) -> None:
        for name in self.maps:
            array = frame.sample.get(name) if frame.sample is not None else frame.raw.get(name)
            if array is None or not array.size or (name in self.metric_maps and not array.any()):
                continue
            if np.all(array == array.reshape(-1, *array.shape[2:])[0]):
                self.blank.setdefault(name, {})[frame.sample_id] = frame.where(name)

    def findings(self) -> Iterable[Finding]:
        for name, frames in self.blank.items():
            yield self.finding(
                "warning",
                "certain",
                f"{name} is one value throughout in {counted(frames, self.split.sampled)}",
                "Look at these files: a failed recording or a wrong conversion leaves such frames.",
                evidence={"map": name, "frames": len(frames)},
                files=frames.values(),
                frames=frames,
            )


def refused_frames(split: Split, refusals: dict[str, str], explained: set[str]) -> Iterable[Finding]:
    """Frames that the dataset refuses for a reason that no other finding covers.

    Args:
        split: the frames' split.
        refusals: sample id -> message.
        explained: ids that a finding of a check is about.
    """
    left = {sample_id: text for sample_id, text in refusals.items() if sample_id not in explained}
    if not left:
        return
    yield Finding(
        "refused",
        "error",
        "certain",
        split.name,
        f"the dataset refuses {counted(left, split.sampled)}; the first: {next(iter(left.values()))}",
        "Correct what the message names; a training stops at such a frame.",
        evidence={"frames": len(left), "messages": list(dict.fromkeys(left.values()))[:5]},
        frames=frozenset(left),
    )
