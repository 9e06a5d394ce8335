"""Checks of metric depth: in the wrong unit, full of holes, without the bits that it was measured with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from rgbx.doctor.check import Check
from rgbx.doctor.finding import Certainty, Finding, Severity, counted
from rgbx.doctor.inspection import InspectedFrame, Split
from rgbx.maps import METRE_STEPS

# Medians of a split's depth in metres that are taken as normal. Rooms: NYU Depth V2's is 2.6 m (frames 1.0 to 5.9 m).
# Roads: tens of metres. A scene that the classes do not tell gets the union of both, with a margin.
SCENES = {
    "indoor": (0.8, 6.0, {"wall", "floor", "ceiling", "bed", "sofa", "chair", "table", "door"}),
    "road": (3.0, 80.0, {"road", "sidewalk", "sky", "vegetation", "car", "truck", "bus", "building"}),
    "any": (0.3, 80.0, set()),
}
DIVISORS = {1: "metres", **METRE_STEPS}
HOLES_WARNING = 0.4
EMPTY_FRAME = 0.95


class DepthUnits(Check):
    """The median depth of the split against what is normal for the kind of scene that the class names tell."""

    name = "depth-units"

    def __init__(self, split: Split) -> None:
        super().__init__(split)
        self.medians: dict[str, list[float]] = {}
        self.ratios: list[float] = []

    def see(self, frame: InspectedFrame) -> None:
        for name in self.metric_maps if frame.sample is not None else ():
            if name not in frame.sample:  # type: ignore[operator]  # the frame lacks it
                continue
            depth = frame.sample[name][::4, ::4]  # type: ignore[index]
            raw = frame.raw.get(name)
            collapsed = raw is not None and raw.dtype == np.uint16 and collapse(raw)[0] in ("255", "256", "257")
            if np.any(depth > 0) and not collapsed:
                self.medians.setdefault(name, []).append(float(np.median(depth[depth > 0])))
                self.ratios += _linear_ratio(frame.raw.get(name), frame.sample[name])  # type: ignore[index]

    def findings(self) -> Iterable[Finding]:
        scene = scene_of(self.classes)
        low, high, _ = SCENES[scene]
        for name, medians in self.medians.items():
            median = float(np.median(medians))
            evidence = {"median_m": median, "scene": scene, "range_m": [low, high], "frames": len(medians)}
            figures = f"{name}: median {median:.3g} m over {len(medians)} frames"
            normal = (
                f"normal for {'a scene of unknown kind' if scene == 'any' else scene + ' scenes'} is {low} to {high} m"
            )
            if low <= median <= high:
                yield self.finding("info", "likely", f"{figures}; {normal}", evidence=evidence)
                continue
            far_off = median < low / 10 or median > high * 10
            yield self.finding(
                "error" if far_off else "warning",
                "likely" if len(medians) >= 8 else "possible",
                f"{figures}, but {normal}: the unit is suspect",
                self._advice(median, low, high),
                evidence=evidence,
            )

    def _advice(self, median: float, low: float, high: float) -> str:
        if len(self.ratios) < len(self.medians) or not self.ratios:
            return "Check the unit in which the files store depth and the scale with which they are read."
        used = float(np.median(self.ratios))
        fitting = [f"{d} ({unit})" for d, unit in DIVISORS.items() if low <= median * used / d <= high]
        text = f"Files are read as raw value / {used:.4g}. "
        if not fitting:
            return text + "No usual divisor gives a normal median; is the map in metres at all?"
        return text + f"A normal median would come from dividing by {' or '.join(fitting)}."


def scene_of(classes: Iterable[str]) -> str:
    """ "indoor" or "road" if at least two class names say so and more than of the other kind; else "any"."""
    names = {name.lower() for name in classes}
    hits = {scene: len(names & words) for scene, (_, _, words) in SCENES.items()}
    best = max(("indoor", "road"), key=lambda scene: hits[scene])
    return best if hits[best] >= 2 and hits["indoor"] != hits["road"] else "any"


def _linear_ratio(
    raw: np.ndarray | None,  # [H, W]
    depth: np.ndarray,  # [H, W]
) -> list[float]:
    """Raw units per metre, [] unless it is one number for the frame."""
    if raw is None or raw.shape != depth.shape or raw.dtype != np.uint16:
        return []
    stored, metres = raw[::8, ::8].astype(float), depth[::8, ::8].astype(float)
    ratio = stored[metres > 0] / metres[metres > 0]
    return [float(np.median(ratio))] if ratio.size and np.ptp(ratio) < 0.01 * ratio.max() else []


class DepthHoles(Check):
    """The share of pixels without a measurement, and the largest 16-bit value where it seems to mean that too."""

    name = "depth-holes"

    def __init__(self, split: Split) -> None:
        super().__init__(split)
        self.holes: dict[str, dict[str, float]] = {}
        self.full: dict[str, dict[str, float]] = {}
        self.where: dict[tuple[str, str], str] = {}

    def see(self, frame: InspectedFrame) -> None:
        for name in self.metric_maps:
            depth, raw = frame.raw.get(name), frame.raw.get(name)
            if frame.sample is not None:
                depth = frame.sample.get(name)
            if depth is None or depth.ndim != 2 or not depth.size:
                continue
            self.holes.setdefault(name, {})[frame.sample_id] = float((depth == 0).mean())
            self.where[name, frame.sample_id] = frame.where(name)
            if raw is not None and raw.dtype == np.uint16 and raw.shape == depth.shape and np.any(raw % 257):
                share = float(((raw == 65535) & (depth > 0)).mean())
                self.full.setdefault(name, {})[frame.sample_id] = share

    def findings(self) -> Iterable[Finding]:
        for name, shares in self.holes.items():
            yield self._holes(name, shares)
            empty = [key for key, share in shares.items() if share > EMPTY_FRAME]
            if empty:
                yield self.finding(
                    "warning",
                    "certain",
                    f"{name} has next to no measurement (under {1 - EMPTY_FRAME:.0%} of the pixels) in "
                    f"{counted(empty, len(shares))}",
                    "Look at these files; leave failed recordings out of the list.",
                    evidence={"frames": len(empty)},
                    files=[self.where[name, key] for key in empty],
                    frames=empty,
                )
        for name, shares in self.full.items():
            high = [key for key, share in shares.items() if share > 0.001]
            if high:
                yield self.finding(
                    "warning",
                    "likely",
                    f"{name} holds 65535, the largest 16-bit value, as a measurement in {counted(high, len(shares))} "
                    f"(up to {max(shares.values()):.1%} of the pixels)",
                    "It often means 'no measurement': write 0 there.",
                    evidence={"frames": len(high), "worst_share": max(shares.values())},
                    files=[self.where[name, key] for key in high],
                    frames=high,
                )

    def _holes(self, name: str, shares: dict[str, float]) -> Finding:
        filled = [share for share in shares.values() if share <= EMPTY_FRAME] or list(shares.values())
        mean, worst = float(np.mean(filled)), max(shares, key=lambda key: shares[key])
        many = mean > HOLES_WARNING
        return self.finding(
            "warning" if many else "info",
            "certain",
            f"{name}: {mean:.1%} of the pixels have no measurement"
            + (f"; the most, {shares[worst]:.1%}, in {worst}" if shares[worst] else ""),
            f"More than {HOLES_WARNING:.0%} is much for a depth camera: is 0 really 'no measurement' here, and is "
            "the depth registered to the image?"
            if many
            else "",
            evidence={"mean_share": mean, "worst_share": shares[worst], "worst": worst},
            files=[self.where[name, worst]] if many else (),
        )


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
        values: uint16 [...]; 0 is left out.

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


def _bit_faults(raw: np.ndarray, *, refused: bool) -> list[tuple[str, float]]:
    """Kinds of `_VERDICTS` that one file, [H, W] or [H, W, C], gives rise to, each with the distance of two levels."""
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
