"""Whether the edges of each map lie on the edges of the image: the shift at which they correlate best."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from rgbx.doctor.check import Check
from rgbx.doctor.finding import Finding
from rgbx.doctor.inspection import InspectedFrame, Split
from rgbx.maps import MapSpec

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
        if frame.sample is None or "rgb" not in self.maps or (self.seen - 1) % every:
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


REACH = 24  # pixels of the working size, which is at most about 640 wide


def image_edges(rgb: np.ndarray) -> np.ndarray:  # [H, W, 3]
    """Logarithm of the brightness gradient, float32 [H, W]."""
    grey = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
    return np.log1p(_gradient(grey))


def map_edges(array: np.ndarray, spec: MapSpec | None) -> np.ndarray:  # [H, W] or [H, W, C]
    """Edges of a map: of labels (no spec) where ids change, of metres in relative depth, else the gradient.

    Next to missing depth there are no edges, since a sensor's holes lie beside the object.
    """
    if spec is None:
        edge = np.zeros(array.shape, np.float32)
        across, down = array[:, 1:] != array[:, :-1], array[1:] != array[:-1]
        edge[:, 1:] += across
        edge[:, :-1] += across
        edge[1:] += down
        edge[:-1] += down
        return np.minimum(edge, 1)
    if spec.unit == "metre":
        near = cv2.erode((array > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        steps = _gradient(np.log(np.maximum(array, np.float32(0.05)))) / 4
        return np.where(near, np.minimum(steps, 0.3), 0).astype(np.float32)
    planes = [_gradient(plane) for plane in cv2.split(array.astype(np.float32))]
    total = np.sum(planes, axis=0)
    return np.log1p(total * (100 / max(float(total.max()), 1e-6))).astype(np.float32)


def _gradient(plane: np.ndarray) -> np.ndarray:  # [H, W]
    return cv2.magnitude(cv2.Sobel(plane, cv2.CV_32F, 1, 0), cv2.Sobel(plane, cv2.CV_32F, 0, 1))


def band(edges: np.ndarray, shrink: int) -> np.ndarray:  # [H, W]
    """Edges without slow changes and without the frame's border, zero mean, unit norm."""
    if shrink > 1:
        size = (edges.shape[1] // shrink, edges.shape[0] // shrink)
        edges = cv2.resize(edges, size, interpolation=cv2.INTER_AREA)
    margin = max(4, round(0.04 * min(edges.shape)))
    inner = edges - cv2.GaussianBlur(edges, (0, 0), 6)
    inner = inner[margin:-margin, margin:-margin]
    inner = inner - inner.mean()
    norm = float(np.linalg.norm(inner))
    return np.pad(inner / norm if norm > 1e-6 else inner * 0, margin)


def correlate(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Correlation of two pictures for shifts of at most `REACH` pixels.

    Args:
        image, other: float32 [H, W].

    Returns:
        float32 [2 R + 1, 2 R + 1]; the entry [R + y, R + x] is sum(image(p) * other(p + (x, y))).
    """
    reach = min(REACH, min(image.shape) // 8)
    size = tuple(cv2.getOptimalDFTSize(side + reach) for side in image.shape)
    spectra = []
    for plane in (other, image):
        padded = np.zeros(size, np.float32)
        padded[: plane.shape[0], : plane.shape[1]] = plane
        spectra.append(cv2.dft(padded))
    product = cv2.mulSpectrums(spectra[0], spectra[1], 0, conjB=True)
    plane = cv2.dft(product, flags=cv2.DFT_INVERSE | cv2.DFT_SCALE | cv2.DFT_REAL_OUTPUT)
    return np.roll(plane, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]


def peak(plane: np.ndarray) -> tuple[float, float]:  # [side, side]
    """(x, y) of the largest value against the centre, between pixels by a parabola."""
    row, column = np.unravel_index(int(plane.argmax()), plane.shape)
    reach = plane.shape[0] // 2
    return column - reach + _vertex(plane[row], int(column)), row - reach + _vertex(plane[:, column], int(row))


def _vertex(values: np.ndarray, index: int) -> float:  # [side]
    if not 0 < index < len(values) - 1:
        return 0.0
    before, here, after = (float(values[index + k]) for k in (-1, 0, 1))
    bend = before - 2 * here + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0


def stretch(plane: np.ndarray, factor: int) -> np.ndarray:  # [side, side]
    """Back from the working size to pixels of the image."""
    if factor == 1:
        return plane
    side = (plane.shape[0] - 1) * factor + 1
    grid = np.arange(side, dtype=np.float32) / factor
    return cv2.remap(plane, *np.meshgrid(grid, grid), cv2.INTER_CUBIC)


def centre(plane: np.ndarray, reach: int) -> np.ndarray:  # [side, side]
    cut = plane.shape[0] // 2 - reach
    return plane[cut : plane.shape[0] - cut, cut : plane.shape[0] - cut]
