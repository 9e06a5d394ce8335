"""The corruptions of colours that RoboDepth has, written anew from their published constants.

Sources: Kong et al., "RoboDepth", NeurIPS 2023, arXiv 2310.15171, for the list and for dark, colour_quant and
iso_noise; Hendrycks & Dietterich, ICLR 2019, arXiv 1903.12261, for the constants of the others. Snow and frost are
drawn here, where they overlay photographs; a length is in pixels of the image itself.

Each takes colours, [H, W, 3] of 0..255, a severity 1..5, random numbers and the map's spec, and gives colours that may
lie outside 0..255.
"""

from __future__ import annotations

import cv2
import numpy as np

from rgbx.maps import MapSpec

_PHOTONS = (60, 25, 12, 5, 3)  # of full brightness
_SIGMA = (0.08, 0.12, 0.18, 0.26, 0.38)


def _of(values: tuple[float, ...], severity: float) -> float:
    return values[round(severity) - 1]


def _noisy(colours: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """[H, W, 3] with Gaussian noise of a deviation, as a fraction of 255."""
    return colours + np.float32(255 * sigma) * rng.standard_normal(colours.shape, np.float32)


def _counted(colours: np.ndarray, photons: float, rng: np.random.Generator) -> np.ndarray:
    """[H, W, 3] by whole numbers of photons, so many of which are 255."""
    return np.minimum(rng.poisson(colours / 255.0 * photons) / photons, 1).astype(np.float32) * 255


def gaussian_noise(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] with the noise of electronics."""
    return _noisy(array, _of(_SIGMA, strength), rng)


def shot_noise(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] with the noise of few photons."""
    return _counted(array, _of(_PHOTONS, strength), rng)


def iso_noise(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] with that of 25 photons, and of electronics that amplify them."""
    return _noisy(_counted(array, 25, rng), 0.7 * _of(_SIGMA, strength), rng)


def impulse_noise(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] of which some values are 0 or 255."""
    share, drawn = _of((0.03, 0.06, 0.09, 0.17, 0.27), strength), rng.random(array.shape, np.float32)
    return np.where(drawn < share / 2, np.uint8(0), np.where(drawn < share, np.uint8(255), array))


def defocus_blur(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] seen through a disc that is out of focus."""
    radius, edge = round(_of((3, 4, 6, 8, 10), strength)), _of((0.1, 0.5, 0.5, 0.5, 0.5), strength)
    side = np.arange(-max(8, radius), max(8, radius) + 1)
    disc = (side[:, None] ** 2 + side**2 <= radius**2).astype(np.float32)
    disc = cv2.GaussianBlur(disc / disc.sum(), (3, 3) if radius <= 8 else (5, 5), edge)
    return cv2.filter2D(array.astype(np.float32), -1, disc)


def glass_blur(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] seen through frosted glass: pixels take the place of others nearby, between two blurs."""
    sigma, times = _of((0.7, 0.9, 1, 1.1, 1.5), strength), round(_of((2, 1, 3, 2, 2), strength))
    reach, (rows, columns) = round(_of((1, 2, 2, 3, 4), strength)), array.shape[:2]
    image = cv2.GaussianBlur(array.astype(np.float32), (0, 0), sigma)
    for _ in range(times):
        down, right = rng.integers(-reach, reach + 1, (2, rows, columns))
        places = np.clip(np.arange(rows)[:, None] + down, 0, rows - 1)
        image = image[places, np.clip(np.arange(columns) + right, 0, columns - 1)]
    return cv2.GaussianBlur(image, (0, 0), sigma)


def _streak(radius: float, sigma: float, degrees: float) -> np.ndarray:
    """A kernel that smears one way, float32 [2 r + 1, 2 r + 1]."""
    reach = round(radius)
    along = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    steps = np.arange(reach + 1) * np.array([[np.sin(np.radians(degrees))], [np.cos(np.radians(degrees))]])
    np.add.at(kernel, tuple(np.rint(steps).astype(int) + reach), along)
    return kernel / kernel.sum()


def motion_blur(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] of a camera that moved, up to 45° from the horizontal."""
    radius, sigma = _of((10, 15, 15, 15, 20), strength), _of((3, 5, 8, 12, 15), strength)
    return cv2.filter2D(array.astype(np.float32), -1, _streak(radius, sigma, rng.uniform(-45, 45)))


def _zoomed(array: np.ndarray, factor: float) -> np.ndarray:
    """[H, W, ...] magnified about its centre, float32."""
    rows, columns = array.shape[:2]
    turn = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), 0, factor)
    found = cv2.warpAffine(array.astype(np.float32), turn, (columns, rows), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(found)


def zoom_blur(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] of a camera that moved towards the scene."""
    largest, step = _of((1.11, 1.16, 1.21, 1.26, 1.31), strength), _of((0.01, 0.01, 0.02, 0.02, 0.03), strength)
    factors = np.arange(1, largest, step)
    total = sum((_zoomed(array, float(factor)) for factor in factors), start=array.astype(np.float32))
    return total / np.float32(len(factors) + 1)


def _plasma(rows: int, columns: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Random clouds of 0..1, each octave fainter by `decay`, float32 [rows, columns]."""
    total, cells, weight = np.zeros((rows, columns), np.float32), 2, 1.0
    while cells < 2 * max(rows, columns):
        coarse = rng.random((cells, cells), np.float32)
        total += np.float32(weight) * cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_LINEAR)
        cells, weight = 2 * cells, weight / decay
    low, high = float(total.min()), float(total.max())
    return (total - np.float32(low)) / np.float32(max(high - low, 1e-6))


def fog(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] behind clouds of a random shape."""
    weight, decay = _of((1.5, 2, 2.5, 2.5, 3), strength), _of((2, 2, 1.7, 1.5, 1.4), strength)
    (rows, columns), most = array.shape[:2], float(array.max()) / 255
    clouds = _plasma(rows, columns, decay, rng)[..., None]
    mixed = array / np.float32(255) + np.float32(weight) * clouds
    return mixed * np.float32(255 * most / (most + weight) if most else 255 / weight)


def frost(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] behind needles of ice, denser towards a random corner."""
    own, ice = _of((1, 0.8, 0.7, 0.65, 0.6), strength), _of((0.4, 0.6, 0.7, 0.7, 0.75), strength)
    rows, columns = array.shape[:2]
    grain, thick = rng.random((rows, columns), np.float32) ** 8, _plasma(rows, columns, 2, rng)
    needles = np.sum([cv2.filter2D(grain, -1, _streak(15, 8, degrees)) for degrees in rng.uniform(0, 360, 4)], axis=0)
    needles = np.clip(needles / max(float(needles.max()), 1e-6) * 0.7 + thick * 0.6, 0, 1)
    tint = np.array([225, 238, 255], np.float32)
    return array * np.float32(own) + np.float32(ice) * needles[..., None] * tint


def snow(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] behind flakes that fall, in a paler light."""
    mean, sharp = _of((0.1, 0.2, 0.55, 0.55, 0.55), strength), _of((0.5, 0.5, 0.9, 0.85, 0.85), strength)
    zoom, keep = _of((3, 2, 4, 4.5, 2.5), strength), _of((0.8, 0.7, 0.7, 0.65, 0.55), strength)
    reach, sigma = _of((10, 12, 12, 12, 12), strength), _of((4, 4, 8, 8, 12), strength)
    flakes = _zoomed(mean + np.float32(0.3) * rng.standard_normal(array.shape[:2], np.float32), zoom)
    flakes = np.where(flakes < sharp, 0, np.clip(flakes, 0, 1)).astype(np.float32)
    flakes = cv2.filter2D(flakes, -1, _streak(reach, sigma, rng.uniform(45, 135)))
    colours = array.astype(np.float32)
    grey = colours @ np.array([0.299, 0.587, 0.114], np.float32)
    pale = np.maximum(colours, (grey * 1.5 + 127.5)[..., None])
    falling = (flakes + flakes[::-1, ::-1])[..., None] * 255
    return keep * colours + (1 - keep) * pale + falling


def brightness(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] whose value, the largest of its colours, is higher."""
    colours = array.astype(np.float32)
    value = colours.max(axis=-1, keepdims=True)
    higher = np.minimum(value + np.float32(255 * _of((0.1, 0.2, 0.3, 0.4, 0.5), strength)), 255)
    return np.where(value > 0, colours * (higher / np.maximum(value, 1)), higher)


def dark(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] of little light, with its noise."""
    low, high = float(array.min()), float(array.max())
    relative = (array.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1))
    dim = relative**2 * np.float32(255 * _of((0.6, 0.5, 0.4, 0.3, 0.2), strength))
    return _noisy(_counted(dim, 10 * _of(_PHOTONS, strength), rng), 0.1 * _of(_SIGMA, strength), rng)


def contrast(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] nearer to each channel's mean."""
    mean = array.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    return (array - mean) * np.float32(_of((0.4, 0.3, 0.2, 0.1, 0.05), strength)) + mean


def elastic(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] stretched here and compressed there; labels stay."""
    rows, columns = array.shape[:2]
    side = min(rows, columns)
    amount = side * _of((2, 2, 0.05, 0.07, 0.12), strength)
    sigma, jitter = (side * _of(x, strength) for x in ((0.7, 0.08, 0.01, 0.01, 0.01), (0.1, 0.2, 0.02, 0.02, 0.02)))
    corners = np.array([[1, 1], [1, -1], [-1, -1]], np.float32) * (side // 3)
    before = corners + np.array([columns / 2, rows / 2], np.float32)
    turn = cv2.getAffineTransform(before, before + rng.uniform(-jitter, jitter, (3, 2)).astype(np.float32))
    image = cv2.warpAffine(array.astype(np.float32), turn, (columns, rows), borderMode=cv2.BORDER_REFLECT_101)
    drawn = rng.uniform(-1, 1, (2, rows, columns)).astype(np.float32)
    right, down = (cv2.GaussianBlur(x, (0, 0), max(sigma, 0.3)) * np.float32(amount) for x in drawn)
    x, y = np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32))
    return np.asarray(cv2.remap(image, x + right, y + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101))


def colour_quant(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] of 6 − severity bits for each channel."""
    step = 2 ** (8 - (6 - round(strength)))
    return array // step * step


def pixelate(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] in larger pixels."""
    rows, columns = array.shape[:2]
    factor = _of((0.6, 0.5, 0.4, 0.3, 0.25), strength)
    small = cv2.resize(array, (max(int(columns * factor), 1), max(int(rows * factor), 1)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_NEAREST))


def jpeg(array: np.ndarray, strength: float, rng: np.random.Generator, spec: MapSpec) -> np.ndarray:
    """[H, W, 3] with the traces of JPEG."""
    quality = round(_of((25, 18, 15, 10, 7), strength))
    image = np.clip(np.rint(array), 0, 255).astype(np.uint8)[..., ::-1]
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))[..., ::-1]


ROBODEPTH = {
    "brightness": brightness,
    "dark": dark,
    "fog": fog,
    "frost": frost,
    "snow": snow,
    "contrast": contrast,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "elastic": elastic,
    "colour_quant": colour_quant,
    "gaussian_noise": gaussian_noise,
    "impulse_noise": impulse_noise,
    "shot_noise": shot_noise,
    "iso_noise": iso_noise,
    "pixelate": pixelate,
    "jpeg": jpeg,
}
