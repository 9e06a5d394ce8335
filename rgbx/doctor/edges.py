"""Edges of images and of the maps beside them as planes that can be compared, and how well two planes fit."""

from __future__ import annotations

import cv2
import numpy as np

from rgbx.maps import MapSpec

REACH = 24  # pixels of the working size, which is at most about 640 wide
_GRID, _CUT = (112, 84), 3  # cells across and down, and how many of them a border is wide
_CLIP = 4.0  # standard deviations that 127 stands for
SMALL = (_GRID[1] - 2 * _CUT, _GRID[0] - 2 * _CUT)  # rows and columns of a small plane: 8,268 bytes


def image_edges(rgb: np.ndarray) -> np.ndarray:
    """Logarithm of the brightness gradient of uint8 [H, W, 3], float32 [H, W]."""
    grey = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
    return np.log1p(_gradient(grey))


def map_edges(array: np.ndarray, spec: MapSpec | None) -> np.ndarray:
    """Edges of a map [H, W] or [H, W, C].

    Of labels (no spec) where ids change, of metres in relative depth, else the gradient.
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


def _gradient(plane: np.ndarray) -> np.ndarray:
    """Magnitude of the slopes of [H, W]."""
    return cv2.magnitude(cv2.Sobel(plane, cv2.CV_32F, 1, 0), cv2.Sobel(plane, cv2.CV_32F, 0, 1))


def band(edges: np.ndarray, shrink: int) -> np.ndarray:
    """Edges [H, W] without slow changes and without the frame's border, zero mean, unit norm."""
    if shrink > 1:
        size = (edges.shape[1] // shrink, edges.shape[0] // shrink)
        edges = cv2.resize(edges, size, interpolation=cv2.INTER_AREA)
    margin = max(4, round(0.04 * min(edges.shape)))
    inner = edges - cv2.GaussianBlur(edges, (0, 0), 6)
    inner = inner[margin:-margin, margin:-margin]
    inner = inner - inner.mean()
    norm = float(np.linalg.norm(inner))
    return np.pad(inner / norm if norm > 1e-6 else inner * 0, margin)


def small_plane(edges: np.ndarray) -> np.ndarray | None:
    """Edges [H, W] of any size as int8 `SMALL`, without slow changes and without the frame's border.

    Zero mean, at most 4 standard deviations, which are 127; None where there are no edges.
    """
    cells = cv2.resize(edges, _GRID, interpolation=cv2.INTER_AREA)
    inner = (cells - cv2.GaussianBlur(cells, (0, 0), 2))[_CUT:-_CUT, _CUT:-_CUT]
    inner = inner - inner.mean()
    spread = float(inner.std())
    if not spread > 1e-6:
        return None
    return np.rint(np.clip(inner / spread, -_CLIP, _CLIP) * (127 / _CLIP)).astype(np.int8)


def correlate(
    image: np.ndarray,  # float32 [H, W]
    other: np.ndarray,  # float32 [H, W]
) -> np.ndarray:
    """Correlation of two pictures for shifts of at most `REACH` pixels.

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


def peak(plane: np.ndarray) -> tuple[float, float]:
    """(x, y) of the largest value of [side, side] against the centre, between pixels by a parabola."""
    row, column = np.unravel_index(int(plane.argmax()), plane.shape)
    reach = plane.shape[0] // 2
    return column - reach + _vertex(plane[row], int(column)), row - reach + _vertex(plane[:, column], int(row))


def _vertex(values: np.ndarray, index: int) -> float:
    """From -0.5 to 0.5: where the parabola through [side] at `index` has its top."""
    if not 0 < index < len(values) - 1:
        return 0.0
    before, here, after = (float(values[index + k]) for k in (-1, 0, 1))
    bend = before - 2 * here + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0
