"""Checks of labels: format, range of ids, balance of classes, shifted by one, void coded by the wrong value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from rgbx.datasets.layouts.contents import is_stretched
from rgbx.doctor.check import Check
from rgbx.doctor.finding import Finding, counted
from rgbx.doctor.inspection import InspectedFrame, Split
from rgbx.maps import IGNORE_INDEX
from rgbx.maps.files import lossy_kind, stored_kind

_NEARLY_ALL = 0.8


class LabelFormat(Check):
    """Labels that are no class ids: colours, or values above 255."""

    name = "label-format"

    def __init__(self, split: Split) -> None:
        super().__init__(split)
        self.wrong: dict[str, tuple[str, str]] = {}
        self.lossy: dict[str, tuple[str, str]] = {}

    def see(self, frame: InspectedFrame) -> None:
        raw = frame.raw.get("label")
        if raw is None:
            return
        if frame.refusal and (raw.ndim != 2 or raw.max() > IGNORE_INDEX):
            self.wrong[frame.sample_id] = (f"{stored_kind(raw)}, values up to {raw.max()}", frame.where("label"))
        if kind := lossy_kind(frame.files["label"]):
            self.lossy[frame.sample_id] = (kind, frame.where("label"))

    def findings(self) -> Iterable[Finding]:
        if self.wrong:
            yield self.finding(
                "error",
                "certain",
                f"labels are not class ids in {counted(self.wrong, self.split.sampled)}; the first has "
                f"{next(iter(self.wrong.values()))[0]}",
                "Convert colours to ids by the dataset's palette; take the class labels, not the instances.",
                evidence={"frames": len(self.wrong)},
                files=[where for _, where in self.wrong.values()],
                frames=self.wrong,
            )
        if self.lossy:
            yield self.finding(
                "error",
                "certain",
                f"labels are stored as {' and '.join(sorted({kind for kind, _ in self.lossy.values()}))} with loss in "
                f"{counted(self.lossy, self.split.sampled)}: it invents ids at edges",
                "Make the labels anew from their source, as PNG.",
                evidence={"frames": len(self.lossy)},
                files=[where for _, where in self.lossy.values()],
                frames=self.lossy,
            )


class LabelIds(Check):
    """Ids outside 0..K-1, labels of one class or none, and the balance of the classes."""

    name = "label-range"

    def __init__(self, split: Split) -> None:
        super().__init__(split)
        self.stored = np.zeros(256, np.int64)
        self.histogram = np.zeros(256, np.int64)
        self.outside: dict[str, tuple[list[int], str]] = {}
        self.void_only: list[str] = []
        self.seen = self.unlabelled = 0

    def see(self, frame: InspectedFrame) -> None:
        if frame.sample is None:
            return
        label = frame.sample.get("label")
        if not isinstance(label, np.ndarray) or label.dtype != np.uint8 or not label.size:
            self.unlabelled += label is None
            return
        counts = np.bincount(label.ravel(), minlength=256)
        self.histogram += counts
        raw = frame.raw.get("label")
        if raw is not None and raw.ndim == 2 and raw.dtype == np.uint8:
            self.stored += np.bincount(raw.ravel(), minlength=256)
        self.seen += 1
        ids = np.flatnonzero(counts[self.num_classes : IGNORE_INDEX]) + self.num_classes
        if ids.size:
            self.outside[frame.sample_id] = (ids.tolist(), frame.where("label"))
        elif counts[IGNORE_INDEX] == label.size:
            self.void_only.append(frame.sample_id)

    def findings(self) -> Iterable[Finding]:
        if self.outside:
            yield self._outside()
        if self.unlabelled and self.seen:
            yield self.finding(
                "info", "certain", f"{counted(self.unlabelled, self.unlabelled + self.seen)} have no label", ""
            )
        if self.void_only:
            yield self._void()
        if self.histogram[: self.num_classes].any():
            yield from self._one_class()
            yield self._balance()

    def _void(self) -> Finding:
        whole = len(self.void_only) == self.seen
        trained = "train" in self.split.name
        fix = "Leave these frames out: they teach nothing."
        if whole and trained:
            fix = f"Nothing can be trained on it: the files hold {_listed(self.stored_values)}; see void and offset."
        elif whole:
            fix = "Normal for a test split whose labels are not public; nothing can be scored on it."
        return self.finding(
            ("error" if trained else "info") if whole else "warning",
            "certain",
            f"the label is void throughout in {counted(self.void_only, self.seen)}",
            fix,
            evidence={"frames": len(self.void_only), "stored_values": self.stored_values},
            frames=self.void_only,
        )

    @property
    def stored_values(self) -> list[int]:
        return [int(value) for value in np.flatnonzero(self.stored)]

    def _one_class(self) -> Iterable[Finding]:
        """Where all labels hold one class and void: most likely 255, or what is declared void, is a class too."""
        present = np.flatnonzero(self.histogram[:IGNORE_INDEX])
        void = int(self.histogram[IGNORE_INDEX])
        if len(present) > 1 or present[0] >= self.num_classes or self.num_classes < 2 or not (void or self.seen >= 8):
            return
        values, name = self.stored_values, self.classes[present[0]]
        share = void / self.histogram.sum()
        text = f"labels hold no class but {name!r} in {counted(self.seen, self.seen)}"
        fix = "Look at the class names, the offset and the void values: a network would learn this one answer."
        if len(values) == 2 and IGNORE_INDEX in values:
            text += f": the files hold {_listed(values)}, and 255 means no class, here on {share:.0%} of the pixels"
            fix = (
                f"If 255 is a class, declare values = {values} in [label] of dataset.toml (the stored value of each "
                f"class in turn), or write {self.num_classes - 1} in its place."
            )
        yield replace(
            self.finding(
                "warning",
                "certain",
                text,
                fix,
                evidence={"class": name, "stored_values": values, "void_share": share, "frames": self.seen},
            ),
            check="label-classes",
        )

    def _outside(self) -> Finding:
        ids = sorted({value for found, _ in self.outside.values() for value in found})
        pixels = int(self.histogram[ids].sum())
        listed = _listed(ids)
        subject = f"id {listed} is" if len(ids) == 1 else f"ids {listed} are"
        every = self.stored_values
        candidates = ([value for value in every if value != IGNORE_INDEX], every)
        stretched = next((v for v in candidates if len(v) == self.num_classes and is_stretched(v)), None)
        clean = self.stored[[0, IGNORE_INDEX]].sum() / max(self.stored.sum(), 1)
        if ids == [self.num_classes]:
            fix = "As if void were counted as 0: subtract an offset of 1 and map 0 to 255."
        elif stretched:
            fix = (
                f"The stored values {_listed(stretched)} lie evenly apart, as ids multiplied for the eye: declare "
                f"values = {stretched} in [label] of dataset.toml, or divide them."
            )
        elif self.num_classes <= 2 and clean > _NEARLY_ALL:
            fix = (
                f"{clean:.1%} of the pixels hold 0 or 255, the others lie between, as after JPEG or resizing with "
                "interpolation: make the masks anew from their source, by nearest neighbour."
            )
        else:
            fix = "Map values that are no class to 255, or correct the number of classes."
        return self.finding(
            "error",
            "certain",
            f"label {subject} outside 0..{self.num_classes - 1} (255 = ignore) on {pixels} pixels of "
            f"{counted(self.outside, self.seen)}",
            fix,
            evidence={"ids": ids, "pixels": pixels, "frames": len(self.outside)},
            files=[where for _, where in self.outside.values()],
            frames=self.outside,
        )

    def _balance(self) -> Finding:
        counts = self.histogram[: self.num_classes]
        share = counts / counts.sum()
        order = np.argsort(-share, kind="stable")
        present = order[share[order] > 0]
        absent = [self.classes[k] for k in np.flatnonzero(counts == 0)]
        effective = float(np.exp(-(share[present] * np.log(share[present])).sum()))
        each = [f"{self.classes[k]} {_percent(share[k])}" for k in present]
        top = ", ".join(each if len(each) <= 4 else [*each[:3], "...", each[-1]])
        void = float(self.histogram[IGNORE_INDEX] / max(self.histogram.sum(), 1))
        text = (
            f"{len(present)} of {self.num_classes} classes occur: {top}; as balanced as {effective:.1f} equal classes; "
        )
        text += f"void {void:.1%}"
        if absent:
            text += f"; never in the sample: {', '.join(absent[:6])}" + (", ..." if len(absent) > 6 else "")
        return Finding(
            "label-balance",
            "info",
            "certain",
            self.split.name,
            text,
            "",
            {
                "share": {self.classes[k]: float(share[k]) for k in order},
                "void_share": void,
                "effective_classes": effective,
                "absent": absent,
            },
        )


def _percent(share: float) -> str:
    """Two digits, so that a rare class is no 0%."""
    return f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g}%"


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:8])) + (f" and {len(values) - 8} more" if len(values) > 8 else "")


def untrained_classes(splits: Sequence[Split], findings: Sequence[Finding]) -> Iterator[Finding]:
    """Classes that other splits hold and no sampled training frame has; certain where all of its frames were read.

    Args:
        splits: all that were opened.
        findings: what was found so far, with the balance of each split.
    """
    never = {found.split: found.evidence["absent"] for found in findings if found.check == "label-balance"}
    train = next((split for split in splits if split.name in never and "train" in split.name), None)
    if train is None:
        return
    whole = train.sampled == len(train) >= ENOUGH_FRAMES
    for name in never:
        lost = [item for item in never[train.name] if item not in never[name]]
        if name != train.name and lost:
            yield Finding(
                "label-classes",
                "warning" if whole else "info",
                "certain" if whole else "undecided",
                f"{train.name}, {name}",
                f"{name} holds {', '.join(map(repr, lost[:6]))}{', ...' * (len(lost) > 6)}, which "
                f"none of the {train.sampled} frames {'' if whole else 'read '}of {train.name} has",
                "It cannot be learnt, and counts as 0 in a mean over classes: part the frames anew, or leave it out.",
                {"absent": lost},
            )


NO_CLASS = {"unlabeled", "unlabelled", "background", "void", "unknown", "ignore", "other", "none", "clutter"}
FREQUENT = {"wall", "floor", "road", "building", "sky", "ground"}
ENOUGH_FRAMES = 8
_THIN, _COMPACT = 0.75, 0.85  # how much of a region survives erosion, relative to the other classes
_OUTLINE_SHARE = 0.6


class LabelOffset(Check):
    """Void coded by the wrong value, and labels shifted by one: suspected from where the ids lie.

    Void lies in thin strips between objects and at the frame's border, a class in compact regions. Measured: the share
    of a region that survives erosion by a square of about 1/50 of the height, relative to all classes, and the share
    of all outlines that touch it. (Void of NYU Depth V2: 0.65 and 0.88; its walls: 1.02 and 0.23.)
    """

    name = "label-offset"

    def __init__(self, split: Split) -> None:
        super().__init__(split)
        self.stored = np.zeros(256, np.int64)
        self.decoded = np.zeros(256, np.int64)
        self.areas = {"zero": Region(), "other": Region()}
        self.shifted = True
        self.seen = 0

    def see(self, frame: InspectedFrame) -> None:
        raw, label = frame.raw.get("label"), (frame.sample or {}).get("label")
        if raw is None or label is None or raw.ndim != 2 or raw.dtype != np.uint8 or label.dtype != np.uint8:
            return
        if raw.shape != label.shape or not label.size:
            return
        self.seen += 1
        self.stored += np.bincount(raw.ravel(), minlength=256)
        self.decoded += np.bincount(label.ravel(), minlength=256)
        kept = label != IGNORE_INDEX
        self.shifted &= bool(np.all(label[kept].astype(int) == raw[kept].astype(int) - 1))
        self.areas["zero"].add(raw, raw == 0)
        for value in np.unique(raw[(raw > 0) & (raw != IGNORE_INDEX)]):
            self.areas["other"].add(raw, raw == value)

    def findings(self) -> Iterable[Finding]:
        if self.seen < ENOUGH_FRAMES or self.decoded[self.num_classes : IGNORE_INDEX].any():
            return  # too few, or the range check has said it
        if not self.decoded[: self.num_classes].any():
            return
        zero, other = self.areas["zero"], self.areas["other"]
        compact = zero.survival / max(other.survival, 1e-9)
        share = self.stored[0] / self.stored.sum()
        evidence = {
            "stored_values": [int(np.flatnonzero(self.stored).min()), int(np.flatnonzero(self.stored).max())],
            "share_of_0": float(share),
            "compactness_of_0": float(compact),
            "outlines_of_0": zero.outline_share,
            "frames": self.seen,
        }
        if self.decoded[0] and not self.shifted and self.classes[0].lower() not in NO_CLASS:
            void_like = compact < _THIN and zero.outline_share > _OUTLINE_SHARE
            if void_like and not self.stored[IGNORE_INDEX]:
                yield self._void(evidence)
        elif self.shifted and self.stored[0] and not self.decoded[0 : self.num_classes][-1]:
            if compact > _COMPACT and zero.outline_share < _OUTLINE_SHARE and share > 0.03:
                yield self._one_too_many(evidence)
        elif not self.decoded[0] and self.classes[0].lower() in FREQUENT and not self.stored[0]:
            yield self._one_too_few(evidence)

    def _void(self, evidence: dict[str, object]) -> Finding:
        found = self.finding(
            "warning",
            "possible",
            f"0 looks like void but is trained as class {self.classes[0]!r}: 255 never occurs, and 0 lies in thin "
            f"strips that touch {evidence['outlines_of_0']:.0%} of all outlines",
            "If 0 means void in these files, map it to 255 (and subtract 1 from the rest if ids start at 1): in a "
            "dataset.toml void = [0] (and offset = 1).",
            evidence=evidence,
        )
        return replace(found, check="label-void")

    def _one_too_many(self, evidence: dict[str, object]) -> Finding:
        both = bool(self.stored[IGNORE_INDEX])
        return self.finding(
            "warning",
            "likely" if both else "possible",
            f"labels may be shifted by one: class {self.classes[-1]!r} (the last) never occurs, and 0, which is read "
            f"as void, covers {evidence['share_of_0']:.0%} in compact regions like a class"
            + ("; 255 occurs too and is void already" if both else ""),
            "If 0 is a class in these files, read them without the offset of 1.",
            evidence=evidence,
        )

    def _one_too_few(self, evidence: dict[str, object]) -> Finding:
        return self.finding(
            "warning",
            "possible",
            f"labels may be shifted by one: class {self.classes[0]!r} (the first, usually frequent) never occurs in "
            f"{self.seen} frames, and the smallest value is {evidence['stored_values'][0]}",  # type: ignore[index]
            "If the files count from 1, read them with an offset of 1.",
            evidence=evidence,
        )


class Region:
    """Sums over frames for one kind of region: area, area that survives erosion, outlines."""

    def __init__(self) -> None:
        self.area = self.left = self.touched = self.outlines = 0

    def add(
        self,
        ids: np.ndarray,  # [H, W]
        mask: np.ndarray,  # bool [H, W]
    ) -> None:
        """One region of one frame; the frame's border does not erode it."""
        side = 2 * round(ids.shape[0] / 120) + 1
        kernel = np.ones((side, side), np.uint8)
        self.area += int(mask.sum())
        self.left += int(cv2.erode(mask.astype(np.uint8), kernel).sum())
        across, down = ids[:, 1:] != ids[:, :-1], ids[1:] != ids[:-1]
        self.outlines += int(across.sum() + down.sum())
        self.touched += int((across & (mask[:, 1:] | mask[:, :-1])).sum() + (down & (mask[1:] | mask[:-1])).sum())

    @property
    def survival(self) -> float:
        return self.left / max(self.area, 1)

    @property
    def outline_share(self) -> float:
        return self.touched / max(self.outlines, 1)
