"""Labels that are shifted by one, or whose void is coded by the wrong value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import cv2
import numpy as np

from rgbx.doctor.check import Check
from rgbx.doctor.finding import Finding
from rgbx.doctor.inspection import InspectedFrame, Split
from rgbx.maps import IGNORE_INDEX

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
            "If 0 means void in these files, map it to 255 (and subtract 1 from the rest if ids start at 1).",
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

    def add(self, ids: np.ndarray, mask: np.ndarray) -> None:  # [H, W] each
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
