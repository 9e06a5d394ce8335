"""Small random images on disk in the folders of a dataset, and a decoder that is not the package's."""

from __future__ import annotations

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 12, 16


def decoded(path):
    return np.asarray(Image.open(path))


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return array


def colours(rng, channels=3, size=(HEIGHT, WIDTH)):
    return rng.integers(0, 256, (*size, channels), dtype=np.uint8)


def grey(rng, low=0, high=256, dtype=np.uint8, size=(HEIGHT, WIDTH)):
    return rng.integers(low, high, size).astype(dtype)


def naive_labels(raw, offset, void):
    """Train ids pixel by pixel: void and 255 are 255, everything else is value - offset."""
    ids = np.empty(raw.shape, np.uint8)
    for row in range(raw.shape[0]):
        for column in range(raw.shape[1]):
            value = int(raw[row, column])
            ids[row, column] = 255 if value in void or value == 255 else value - offset
    return ids


def write_fmb(root, rng, split="train", count=2, size=(HEIGHT, WIDTH)):
    """FMB's folders: colour, 8-bit infrared, labels 0..14."""
    for index in range(count):
        save(root / split / "Visible" / f"{index:05d}.png", colours(rng, 3, size))
        save(root / split / "Infrared" / f"{index:05d}.png", grey(rng, size=size))
        save(root / split / "Label" / f"{index:05d}.png", grey(rng, 0, 15, size=size))
    return root


def write_pst900(root, rng, split="train", count=2, size=(HEIGHT, WIDTH)):
    """PST900's folders: colour, 8-bit and 16-bit thermal, labels 0..4."""
    for index in range(count):
        stem = f"31_bag1a_rect_rgb_frame{index:010d}"
        save(root / split / "rgb" / f"{stem}.png", colours(rng, 3, size))
        save(root / split / "thermal" / f"{stem}.png", grey(rng, size=size))
        save(root / split / "thermal_raw" / f"{stem}.png", grey(rng, 20000, 32000, np.uint16, size))
        save(root / split / "labels" / f"{stem}.png", grey(rng, 0, 5, size=size))
    return root


def write_deliver(root, rng, split="train", scenes=("cloud/MAP_1_point1",), size=(HEIGHT, WIDTH)):
    """DELIVER's folders, one frame per scene: RGBA pictures, class in the label's red channel, small events."""
    half = (size[0] // 2, size[1] // 2)
    for place in scenes:
        weather, scene = place.split("/")
        for folder, name, array in (
            ("img", "rgb", colours(rng, 4, size)),
            ("hha", "depth", colours(rng, 3, size)),
            ("depth", "depth", grey(rng, size=size)),
            ("lidar", "lidar", grey(rng, size=size)),
            ("event", "event", colours(rng, 3, half)),
            ("semantic", "semantic", np.dstack([rng.choice([0, *range(1, 26), 255], size), *np.zeros((2, *size))])),
        ):
            save(root / folder / weather / split / scene / f"045050_{name}_front.png", array.astype(np.uint8))
    return root
