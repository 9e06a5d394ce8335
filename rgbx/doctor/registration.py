"""Whether the edges of each map lie on the edges of the image: the shift at which they correlate best."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from rgbx.doctor.check import Check
from rgbx.doctor.edges import band, correlate, image_edges, map_edges, peak
from rgbx.doctor.finding import Finding
from rgbx.doctor.inspection import InspectedFrame, Split

MOST_FRAMES = 24
FEWEST_AGREEING = 4
_AGREE_PX = 1.5


class Registration(Check):
    """Shift of depth, thermal and labels against rgb, from the correlation of edge maps over several frames.

    Each frame also votes alone. A shift is believed where at least half of the frames, and four of them, agree with
    the sum within 1.5 pixels: unrelated pictures agree by chance in less than 1 of 100. A warning starts at 0.4 % of
    the width, at least 2 pixels. Labels drawn at another size lie up to a pixel beside, thermal cameras more.
    """

    name = "registration"

    def __init__(self, split: Split) -> None:
        super().__init__(split)
        self.planes: dict[str, list[np.ndarray]] = {}
        self.width, self.seen = 0, 0

    def see(self, frame: InspectedFrame) -> None:
        every = -(-self.split.sampled // MOST_FRAMES)
        self.seen += 1
        if frame.sample is None or "rgb" not in frame.sample or (self.seen - 1) % every:
            return
        rgb = frame.sample["rgb"]
        shrink = max(1, round(rgb.shape[1] / 640))
        if min(rgb.shape[:2]) < 4 * shrink * 8:
            return
        self.width = max(self.width, rgb.shape[1])
        image = band(image_edges(rgb), shrink)
        for name in (*self.maps, "label"):
            array = frame.sample.get(name)
            if name == "rgb" or array is None or array.shape[:2] != rgb.shape[:2]:
                continue
            other = band(map_edges(array, self.maps.get(name)), shrink)
            if image.any() and other.any():
                self.planes.setdefault(name, []).append(stretch(correlate(image, other), shrink))

    def findings(self) -> Iterable[Finding]:
        for name, planes in self.planes.items():
            reach = min(plane.shape[0] for plane in planes) // 2
            planes = [centre(plane, reach) for plane in planes]
            right, down = peak(np.mean(planes, axis=0))
            alone = [peak(plane) for plane in planes]
            agree = sum(max(abs(x - right), abs(y - down)) <= _AGREE_PX * max(1, self.width / 640) for x, y in alone)
            evidence = {"right_px": round(right, 2), "down_px": round(down, 2), "agree": agree, "frames": len(planes)}
            if agree < max(FEWEST_AGREEING, len(planes) / 2):
                yield self.finding(
                    "info",
                    "undecided",
                    f"{name} against rgb: undecided, {agree} of {len(planes)} frames agree (half and at least 4 must)",
                    evidence=evidence,
                )
                continue
            text = f"{_say(name, right, down)} ({agree} of {len(planes)} frames agree)"
            if np.hypot(right, down) < max(2.0, 0.004 * self.width):
                yield self.finding("info", "likely", text, evidence=evidence)
            else:
                yield self.finding(
                    "warning",
                    "likely",
                    text,
                    f"Register {name} to the image (calibration, crop and resize must be the same for both).",
                    evidence=evidence,
                )


def _say(name: str, right: float, down: float) -> str:
    across = f"{abs(right):.1f} px {'right' if right > 0 else 'left'}"
    along = f"{abs(down):.1f} px {'down' if down > 0 else 'up'}"
    parts = [text for text, size in ((across, right), (along, down)) if abs(size) >= 0.5]
    return f"the edges of {name} lie {' and '.join(parts)} of those of rgb" if parts else f"{name} lies on rgb"


def stretch(plane: np.ndarray, factor: int) -> np.ndarray:
    """[side, side] back from the working size to pixels of the image."""
    if factor == 1:
        return plane
    side = (plane.shape[0] - 1) * factor + 1
    grid = np.arange(side, dtype=np.float32) / factor
    return cv2.remap(plane, *np.meshgrid(grid, grid), cv2.INTER_CUBIC)


def centre(plane: np.ndarray, reach: int) -> np.ndarray:
    """The middle of [side, side] up to `reach`."""
    cut = plane.shape[0] // 2 - reach
    return plane[cut : plane.shape[0] - cut, cut : plane.shape[0] - cut]
