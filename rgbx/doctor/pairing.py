"""Files that do not belong together: renamed, shuffled, some frames off, turned; from the edges of image and map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rgbx.datasets.sample import Sample
from rgbx.doctor.check import Check
from rgbx.doctor.edges import image_edges, map_edges, small_plane
from rgbx.doctor.finding import Finding, counted
from rgbx.doctor.inspection import InspectedFrame, Split
from rgbx.doctor.pairs import FEWEST, FITS, Pairs, Run, Stray, Verdict, judge

MOST_FRAMES = 8192  # whose planes are kept, 8,268 bytes for the image and as many for every map
READ_PIXELS = 2048 * 640 * 480  # of images that are read beside the sample where it looks suspicious
_SMALLEST = 48  # sides in pixels, below which planes are nearly empty
_NEIGHBOURS = 12  # sampled frames whose neighbours are read too
_MOST_RUNS = 5  # that have findings of their own
_SAME_FRAMES = 0.8


@dataclass(frozen=True)
class _Judged:
    """What was told of a map: the index in the split of each compared frame, [n], and the verdict on them."""

    name: str
    index: np.ndarray
    verdict: Verdict

    @property
    def frames(self) -> set[int]:
        """Indices of the misplaced frames."""
        return set(self.index[sorted(self.verdict.misplaced)].tolist())

    @property
    def suspicious(self) -> set[int]:
        """Indices of the frames to look for among others; none where pairs are not told apart at all."""
        return self.frames | set(self.index[self.verdict.low].tolist()) if self.verdict.told else set()


class Pairing(Check):
    """Whether each map, and each label, fits its own image better than foreign ones do, see `rgbx.doctor.pairs`.

    Beside the sample the neighbours of some frames are read, as a video that is one frame off fits nearly as well as it
    should. Where the sample looks suspicious, more frames are read, all of them where `READ_PIXELS` suffice, since the
    partner seldom lies in the sample; a quarter of that where own pairs are not told from foreign ones, which is how a
    shuffled folder looks. Only what fits another frame, or fits after a turn, is warned of: what fits nothing may have
    no edges. Maps of another size than rgb are left out, as `Registration` does.
    """

    name = "pairing"

    def __init__(self, split: Split) -> None:
        super().__init__(split)
        self.planes: dict[str, dict[int, np.ndarray]] = {}  # name -> index -> int8 [rows, columns]
        self.files: dict[int, dict[str, str]] = {}
        self.ids: dict[int, str] = {}
        self.seen: set[int] = set()
        self.pixels = 1

    def see(self, frame: InspectedFrame) -> None:
        self._keep(self.split.index_of[frame.sample_id], frame.sample)

    def _keep(self, index: int, sample: Sample | None) -> None:
        """Keeps the planes of a frame's image and of the maps that have its size."""
        self.seen.add(index)
        rgb = None if sample is None or "rgb" not in self.maps else sample.get("rgb")
        if sample is None or rgb is None or min(rgb.shape[:2]) < _SMALLEST or len(self.ids) >= MOST_FRAMES:
            return
        self.pixels = max(self.pixels, rgb.shape[0] * rgb.shape[1])
        image, others = None, {}
        for name in (*self.maps, "label"):
            array = sample.get(name)
            if name == "rgb" or array is None or array.shape[:2] != rgb.shape[:2]:
                continue
            plane = small_plane(map_edges(array, self.maps.get(name)))
            image = small_plane(image_edges(rgb)) if image is None else image
            if plane is not None and image is not None:
                others[name] = plane
        if image is None or not others:
            return
        for name, plane in {"rgb": image, **others}.items():
            self.planes.setdefault(name, {})[index] = plane
        self.ids[index] = str(sample.get("sample_id", f"#{index}"))
        self.files[index] = {name: str(path) for name, path in sample.get("paths", {}).items()}

    def findings(self) -> Iterable[Finding]:
        sampled = sorted(self.ids)
        self._read(at + step for at in sampled[:: -(-len(sampled) // _NEIGHBOURS) or 1] for step in (-1, 1))
        judged = self._judge()
        suspicious = set[int]().union(*(item.suspicious for item in judged))
        if suspicious or any(not item.verdict.told and len(item.index) >= FEWEST for item in judged):
            left = np.array([at for at in range(len(self.split)) if at not in self.seen], int)
            most = READ_PIXELS // self.pixels // (1 if suspicious else 4)
            self._read(_nearest(left, suspicious or {len(self.split) // 2})[:most])
            judged = self._judge()
        return self._told(judged)

    def _read(self, indices: Iterable[int]) -> None:
        """Keeps further frames; those that cannot be read are left out, others report them."""
        for index in sorted(set(indices) - self.seen):
            if 0 <= index < len(self.split):
                try:
                    self._keep(index, self.split.dataset.read(index))
                except Exception:  # a damaged dataset may raise anything
                    continue

    def _judge(self) -> list[_Judged]:
        found = []
        for name, planes in self.planes.items():
            if name != "rgb":
                index = sorted(planes)
                images, others = (np.stack([kept[at] for at in index]) for kept in (self.planes["rgb"], planes))
                found.append(_Judged(name, np.array(index), judge(Pairs(images, others, np.array(index)))))
        return found

    def _told(self, judged: Sequence[_Judged]) -> Iterator[Finding]:
        """Maps that are wrong in the same frames together, the others as facts."""
        groups: list[list[_Judged]] = []
        for item in judged:
            if not item.verdict.told or not item.frames:
                yield self._fact(item)
                continue
            for group in groups:
                if _overlap(group[0].frames, item.frames) >= _SAME_FRAMES:
                    group.append(item)
                    break
            else:
                groups.append([item])
        for group in groups:
            agree = len(group) > 1 and len(group) == len(judged)
            yield from _Report(self, group[0], tuple(item.name for item in group), agree).findings()

    def _fact(self, item: _Judged) -> Finding:
        count, verdict = len(item.index), item.verdict
        fitting = int((verdict.own >= FITS).sum())
        evidence: dict[str, Any] = {
            "frames": count,
            "fitting": fitting,
            "own_median": round(float(np.median(verdict.own)), 2),
            "low": [self.ids[int(at)] for at in item.index[verdict.low]] if verdict.told else [],
        }
        share = f"{fitting} of {count} compared frames fit their own image clearly better than foreign ones"
        if not verdict.told:
            why = f"{share} (half must)" if count >= FEWEST else f"{FEWEST} frames are needed, here are {count}"
            return self.finding("info", "undecided", f"{item.name} with rgb: undecided, {why}", evidence=evidence)
        low = evidence["low"]
        text = f"{item.name} belongs to rgb: {share}"
        if low:
            text += f"; {len(low)} fit{'s' * (len(low) == 1)} no image, such as {low[0]}: few edges, or a foreign file"
        return self.finding("info", "likely", text, evidence=evidence)


@dataclass(frozen=True)
class _Report:
    """The findings about maps that are wrong in the same frames, told of one of them.

    Attributes:
        check: whose frames they are.
        item: what was told of one of the maps.
        names: all of the maps.
        agree: whether those are all maps, and several, so that the images seem to be what is misplaced.
    """

    check: Pairing
    item: _Judged
    names: tuple[str, ...]
    agree: bool

    def findings(self) -> Iterator[Finding]:
        verdict = self.item.verdict
        runs = sorted(verdict.runs, key=lambda run: -len(run.frames))
        whole = bool(runs) and len(runs[0].frames) >= len(self.item.index) / 2
        told = 1 if whole else _MOST_RUNS  # of a folder that is off, what the ends have is no finding of its own
        strays = [*(stray for run in runs[told:] for stray in self._strays_of(run)), *verdict.strays]
        for run in runs[:told]:
            yield self._run(run, strays if whole else [])
        if strays and not whole:
            yield self._strays(strays)
        for turn, frames in verdict.turned.items():
            text = f"{self._share(len(frames))} {'is' if len(frames) == 1 else 'are'} {turn} against rgb"
            files = [self._file(self.item.name, at) for at in frames]
            fix = "Look at them beside their images, and write what is turned the right way round."
            yield self._warning(text, fix, files, frames, {"turn": turn})

    def _run(self, run: Run, others: Sequence[Stray]) -> Finding:
        """A range; `others` are misplaced beside it."""
        size = abs(run.offset)
        many, later = "one frame" if size == 1 else f"{size} frames", run.offset > 0
        reach = self.item.index[run.frames[-1]] + max(run.offset, 0)
        end = "on" if reach >= self.item.index[-1] else f"to {self._id(run.frames[-1])}"
        where = f"from {self._id(run.frames[0])} {end} ({len(run.frames)} frames)"
        text = f"the files of {self._who} are {many} {'ahead of' if later else 'behind'} those of rgb {where}"
        if others:
            text += f"; {len(others)} more fit{'s' * (len(others) == 1)} another frame's image"
        place = f"{many} {'after' if later else 'before'} its own"
        fix = f"Give each of them the name of the frame {place}, and see what the ends of the range lack."
        return self._pairs(text, fix, [*self._strays_of(run), *others], {"offset": run.offset})

    def _strays(self, strays: Sequence[Stray]) -> Finding:
        share, better = self._share(len(strays)), "another frame's image better than"
        if len(strays) >= len(self.item.index) / 2:
            text = f"the files of {self._who} are shuffled against those of rgb: {share} fit {better} their own"
        else:
            text = f"{share} fits {better} its own" if len(strays) == 1 else f"{share} fit {better} their own"
        fix = (
            f"Give {self._wrong} the names of the frames that they fit, by way of other names, as files of those names "
            "are there; --json lists all pairs."
        )
        return self._pairs(text, fix, strays, {})

    def _pairs(self, text: str, fix: str, strays: Sequence[Stray], evidence: Mapping[str, object]) -> Finding:
        files, pairs = [], []
        for stray in strays:
            own, partner = ("rgb", self.item.name) if stray.image else (self.item.name, "rgb")
            files.append(f"{self._file(own, stray.frame)} belongs to {self._file(partner, stray.partner)}")
            pairs.append([self._id(stray.frame), self._id(stray.partner)])
        return self._warning(text, fix, files, [stray.frame for stray in strays], {**evidence, "pairs": pairs})

    def _warning(
        self, text: str, fix: str, files: Sequence[str], frames: Sequence[int], evidence: Mapping[str, object]
    ) -> Finding:
        compared, total = len(self.item.index), len(self.check.split)
        if compared < total:
            text += f"; compared: {counted(compared, total, 'frames')}"
            fix += " `--samples 0` compares all frames." * (len(self.check.seen) < total)
        if self.agree:
            fix += f" {self._who.capitalize()} agree with each other: the images seem to be what is misplaced."
        known = {"maps": list(self.names), "frames": len(frames), "compared": compared, **evidence}
        ids = [self._id(at) for at in frames]
        return self.check.finding("warning", "likely", text, fix, evidence=known, files=files, frames=ids)

    @property
    def _who(self) -> str:
        return " and ".join(self.names)

    @property
    def _wrong(self) -> str:
        return "the images" if self.agree else f"the files of {self._who}"

    def _share(self, count: int) -> str:
        compared = len(self.item.index)
        return f"{count} of {compared} files of {self._who} ({count / compared:.1%})"

    def _strays_of(self, run: Run) -> list[Stray]:
        index = self.item.index
        partners = np.searchsorted(index, index[list(run.frames)] + run.offset).tolist()
        return [Stray(at, partner, False, 0.0) for at, partner in zip(run.frames, partners, strict=True)]

    def _id(self, at: int) -> str:
        return self.check.ids[int(self.item.index[at])]

    def _file(self, name: str, at: int) -> str:
        return self.check.files[int(self.item.index[at])].get(name, f"{name} of {self._id(at)}")


def _overlap(one: set[int], two: set[int]) -> float:
    return len(one & two) / len(one | two)


def _nearest(left: np.ndarray, targets: Iterable[int]) -> list[int]:
    """The positions [n], those nearest to any of the targets first."""
    near = np.array(sorted(targets))
    after = near[np.searchsorted(near, left).clip(0, len(near) - 1)]
    before = near[(np.searchsorted(near, left) - 1).clip(0)]
    distance = np.minimum(abs(after - left), abs(before - left))
    found: list[int] = left[np.argsort(distance, kind="stable")].tolist()
    return found
