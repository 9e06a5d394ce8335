"""Whether metric depth still has the bits that it was measured with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from rgbx.doctor.check import Check
from rgbx.doctor.finding import Certainty, Finding, Severity, counted
from rgbx.doctor.inspection import InspectedFrame, Split

_MIN_LEVELS = 16


class _Verdict(NamedTuple):
    """What is said of a kind of fault, and the share and number of frames from which on it is."""

    severity: Severity
    certainty: Certainty
    message: str  # {step} is the distance of two levels
    fix: str
    share: float = 0.0
    frames: int = 1


_REDO = "Write depth again from its source as 16-bit PNG; read with IMREAD_UNCHANGED, never as a grey image."
_VERDICTS = {
    "256": _Verdict("error", "certain", "16-bit depth holds 8-bit values: all are multiples of 256", _REDO),
    "257": _Verdict("error", "certain", "16-bit depth holds 8-bit values: all are multiples of 257", _REDO),
    "255": _Verdict("error", "likely", "16-bit depth holds no value above 255", _REDO),
    "even": _Verdict(
        "error", "likely", "16-bit depth has at most 256 levels, evenly {step:.4g} units apart", _REDO, share=0.5
    ),
    "range": _Verdict(
        "info",
        "likely",
        "depth was cut into 256 even levels between each frame's nearest and farthest pixel, {step:.4g} units apart",
        "Coarse, but metres; take the depth before this step if it exists.",
        share=0.5,
    ),
    "refused": _Verdict("error", "certain", "depth files hold 8 bits where the layout promises 16", _REDO),
    "stretched": _Verdict(
        "warning",
        "likely",
        "8-bit depth fills 0 to 255 in each frame, as if stretched frame by frame: one scale cannot hold",
        "Multiply by one factor for all frames when writing 8 bits, or declare the map as relative, not metres.",
        share=0.5,
        frames=4,
    ),
    "eight": _Verdict(
        "info", "certain", "depth files hold 8 bits: metres are as good as the scale they are read by", "", share=0.5
    ),
    "jpeg": _Verdict("warning", "certain", "depth is stored as JPEG, which invents values at edges", _REDO),
}


def collapse(values: np.ndarray) -> tuple[str, float]:
    """Whether 16-bit values are really 8-bit ones, told from their levels.

    Sensors that measure disparity have few levels too, but not evenly spaced ones.

    Args:
        values: uint16, any shape; 0 is left out.

    Returns:
        What was found and the distance of two levels: "256" or "257" (all are multiples of it), "255" (none above
        it), "even" (at most 256 even steps from 0), "range" (256 even steps over the frame's own range), or "".
    """
    levels = np.flatnonzero(np.bincount(values.ravel(), minlength=65536)).astype(np.int64)
    levels = levels[levels > 0]
    if len(levels) < _MIN_LEVELS or len(levels) > 256:
        return "", 0.0
    for factor in (256, 257):
        if not np.any(levels % factor):
            return str(factor), float(factor)
    if levels[-1] <= 255:
        return "255", 1.0
    unit = int(np.gcd.reduce(levels))
    steps = np.diff(levels // unit)
    step = float(np.median(steps[steps < 1.5 * steps.min()]))
    number = np.concatenate([[0], np.cumsum(np.rint(steps / step))])
    slope, offset = np.polyfit(number, levels // unit, 1)
    if slope * unit < 4 or np.abs(levels // unit - (slope * number + offset)).max() > 1:
        return "", 0.0
    if levels[-1] / unit / slope < 256.5 and abs(offset / slope - round(offset / slope)) < 0.1:
        return "even", float(slope * unit)
    return ("range", float(slope * unit)) if 254.5 < number[-1] < 255.5 else ("", 0.0)


class DepthBits(Check):
    """Depth that holds 8 bits: in a 16-bit file, or an 8-bit file taken for metres."""

    name = "depth-bits"

    def __init__(self, split: Split) -> None:
        super().__init__(split)
        self.steps: dict[str, list[float]] = {}
        self.where: dict[str, dict[str, str]] = {}
        self.seen = 0

    def see(self, frame: InspectedFrame) -> None:
        for name in self.metric_maps:
            raw = frame.raw.get(name)
            if raw is None:
                continue
            self.seen += 1
            faults = _bit_faults(raw, refused=frame.sample is None and str(frame.files[name]) in frame.refusal)
            if frame.files[name].suffix.lower() in (".jpg", ".jpeg"):
                faults.append(("jpeg", 0.0))
            for kind, step in faults:
                self.where.setdefault(kind, {})[frame.sample_id] = frame.where(name)
                self.steps.setdefault(kind, []).append(step)

    def findings(self) -> Iterable[Finding]:
        for kind, verdict in _VERDICTS.items():
            frames = self.where.get(kind, {})
            if len(frames) < max(verdict.frames, verdict.share * self.seen):
                continue
            step = float(np.median(self.steps[kind]))
            concerned = frames if verdict.severity != "info" else {}
            yield self.finding(
                verdict.severity,
                verdict.certainty,
                f"{verdict.message.format(step=step)} ({counted(frames, self.split.sampled)})",
                verdict.fix,
                evidence={"frames": len(frames), "kind": kind, "step": step},
                files=concerned.values(),
                frames=concerned,
            )


def _bit_faults(raw: np.ndarray, *, refused: bool) -> list[tuple[str, float]]:  # [H, W] or [H, W, C]
    """Kinds of `_VERDICTS` that one file gives rise to, each with the distance of two levels."""
    if raw.dtype == np.uint16 and raw.ndim == 2:
        kind, step = collapse(raw)
        return [(kind, step)] if kind else []
    if raw.dtype != np.uint8:
        return []
    if refused:
        return [("refused", 0.0)]
    measured = raw[raw > 0]
    stretched = measured.size > 0 and raw.max() >= 254 and measured.min() <= 2
    return [("eight", 0.0), *([("stretched", 0.0)] if stretched else [])]
