"""Checks of metric depth: in the wrong unit, full of holes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from rgbx.doctor.check import Check
from rgbx.doctor.depth_bits import collapse
from rgbx.doctor.finding import Finding, counted
from rgbx.doctor.inspection import InspectedFrame, Split

# Medians of a split's depth in metres that are taken as normal. Rooms: NYU Depth V2's is 2.6 m (frames 1.0 to 5.9 m).
# Roads: tens of metres. A scene that the classes do not tell gets the union of both, with a margin.
SCENES = {
    "indoor": (0.8, 6.0, {"wall", "floor", "ceiling", "bed", "sofa", "chair", "table", "door"}),
    "road": (3.0, 80.0, {"road", "sidewalk", "sky", "vegetation", "car", "truck", "bus", "building"}),
    "any": (0.3, 80.0, set()),
}
DIVISORS = {1: "metres", 100: "centimetres", 256: "1/256 m", 1000: "millimetres", 5000: "1/5000 m", 10000: "1/10000 m"}
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


def _linear_ratio(raw: np.ndarray | None, depth: np.ndarray) -> list[float]:  # [H, W] each
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
                depth = frame.sample[name]
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
