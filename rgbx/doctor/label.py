"""Checks of labels: format, range of ids, balance of classes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from rgbx.doctor.check import Check
from rgbx.doctor.finding import Finding, counted
from rgbx.doctor.inspection import InspectedFrame, Split
from rgbx.maps import IGNORE_INDEX
from rgbx.maps.files import stored_kind


class LabelFormat(Check):
    """Labels that are no class ids: colours, or values above 255."""

    name = "label-format"

    def __init__(self, split: Split) -> None:
        super().__init__(split)
        self.wrong: dict[str, tuple[str, str]] = {}
        self.lossy: dict[str, str] = {}

    def see(self, frame: InspectedFrame) -> None:
        raw = frame.raw.get("label")
        if raw is None:
            return
        if frame.refusal and (raw.ndim != 2 or raw.max() > IGNORE_INDEX):
            self.wrong[frame.sample_id] = (f"{stored_kind(raw)}, values up to {raw.max()}", frame.where("label"))
        if frame.files["label"].suffix.lower() in (".jpg", ".jpeg"):
            self.lossy[frame.sample_id] = frame.where("label")

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
                f"labels are stored as JPEG in {counted(self.lossy, self.split.sampled)}: it invents ids at edges",
                "Make the labels anew from their source, as PNG.",
                evidence={"frames": len(self.lossy)},
                files=self.lossy.values(),
                frames=self.lossy,
            )


class LabelIds(Check):
    """Ids outside 0..K-1, and the balance of the classes."""

    name = "label-range"

    def __init__(self, split: Split) -> None:
        super().__init__(split)
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
            whole = len(self.void_only) == self.seen
            yield self.finding(
                "info" if whole else "warning",
                "certain",
                f"the label is void throughout in {counted(self.void_only, self.seen)}",
                "Normal for a test split whose labels are not public; nothing can be trained or scored on it."
                if whole
                else "Leave these frames out: they teach nothing.",
                evidence={"frames": len(self.void_only)},
                frames=self.void_only,
            )
        if self.histogram[: self.num_classes].any():
            yield self._balance()

    def _outside(self) -> Finding:
        ids = sorted({value for found, _ in self.outside.values() for value in found})
        pixels = int(self.histogram[ids].sum())
        listed = ", ".join(map(str, ids[:8])) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
        subject = f"id {listed} is" if len(ids) == 1 else f"ids {listed} are"
        if ids == [self.num_classes]:
            fix = "As if void were counted as 0: subtract an offset of 1 and map 0 to 255."
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
        top = ", ".join(f"{self.classes[k]} {share[k]:.0%}" for k in present[:3])
        void = float(self.histogram[IGNORE_INDEX] / max(self.histogram.sum(), 1))
        text = f"{len(present)} of {self.num_classes} classes occur: {top}, ..., {self.classes[present[-1]]} "
        text += f"{share[present[-1]]:.2g}; as balanced as {effective:.1f} equal classes; void {void:.1%}"
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
