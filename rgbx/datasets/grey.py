"""One-channel images: thermal and other sensor values, and maps without a unit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rgbx.datasets.reading import read_image
from rgbx.datasets.sample import MapSpec

RELATIVE_DEPTH = MapSpec("depth", 1, "float32", "relative", "nearest")  # of an unknown scale: no metres


def read_grey(path: str | Path) -> np.ndarray:
    """Reads a one-channel image of any bit depth; colour channels pass if they are all equal.

    Some tools store grey images with three equal channels, or with an opaque alpha beside them.

    Returns:
        [H, W] in the file's own dtype: uint8, uint16 or float32.

    Raises:
        FileNotFoundError, ValueError: missing, truncated, or colours.
    """
    image = read_image(path)
    if image.ndim == 2:
        return image
    first = image[..., 0]
    if not (image[..., :3] == first[..., None]).all():
        raise ValueError(
            f"{path}: expected a grey image, found {image.shape[2]} channels with different values; "
            "is this a colour picture of the measurement?"
        )
    return np.ascontiguousarray(first)


def read_sensor(path: str | Path, *, scale: float = 1.0, add: float = 0.0) -> np.ndarray:
    """Reads sensor values: raw / scale + add.

    Args:
        path: a grey image of 8 or 16 bits, or a float TIFF.
        scale: raw units per unit; 100 where the file counts hundredths.
        add: such as -273.15 for degrees Celsius from kelvin.

    Returns:
        float32 [H, W].

    Raises:
        FileNotFoundError, ValueError: missing, truncated, or colours.
    """
    return read_grey(path).astype(np.float32) / np.float32(scale) + np.float32(add)


def read_relative(path: str | Path, *, full: float | None = None) -> np.ndarray:
    """Reads a map without a unit: raw / full, clipped to 0..1.

    Args:
        path: a grey image.
        full: the raw value that counts as 1; by default the largest of the file's integer type.

    Returns:
        float32 [H, W] in 0..1.

    Raises:
        FileNotFoundError, ValueError: missing, truncated, colours, or a float file without `full`.
    """
    raw = read_grey(path)
    if full is None:
        if raw.dtype.kind != "u":
            raise ValueError(f"{path}: a {raw.dtype} image has no largest value; state which raw value counts as 1")
        full = float(np.iinfo(raw.dtype).max)
    return np.clip(raw.astype(np.float32) / np.float32(full), 0, 1)


def read_log(path: str | Path, *, log: float) -> np.ndarray:
    """Reads a map stored by its logarithm: log(1 + raw) / log, clipped to 0..1; 0 where raw is 65535, no measurement.

    Args:
        path: a grey image of 16 bits.
        log: what log(1 + raw) is divided by; 11.1 of Taskonomy's depth.

    Returns:
        float32 [H, W] in 0..1.

    Raises:
        FileNotFoundError, ValueError: missing, truncated, or not one channel of 16 bits.
    """
    raw = read_grey(path)
    if raw.dtype != np.uint16:
        raise ValueError(f"{path}: expected one channel of 16 bits, found {raw.dtype}")
    scaled = np.clip(np.log1p(raw.astype(np.float32)) / np.float32(log), 0, 1)
    return np.where(raw == np.iinfo(np.uint16).max, np.float32(0), scaled)
