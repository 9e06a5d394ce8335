"""A polarisation camera beside RGB: made images behind four polarisers, as degree and direction.

python polarisation.py FOLDER

Behind a polariser at angle a the camera sees I(a) = S0/2 + S1/2 cos 2a + S2/2 sin 2a. Four images give the Stokes
numbers: S0 = (I0 + I45 + I90 + I135) / 2, S1 = I0 - I90, S2 = I45 - I135. The map has the degree of linear
polarisation, sqrt(S1² + S2²) / S0, and S1 / S0 = degree * cos(2 * angle). Both are the same in a mirror, which turns
the sign of S2: so HorizontalFlip may be used. Surfaces that are seen at a slant polarise, whatever their colour.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from rgbx.datasets import SyntheticRooms

ANGLES, INDEX = np.radians([0, 45, 90, 135]), 1.5
DECLARATION = """
[classes]
names = {classes}
[label]
folder = "{{split}}/label"
[modalities.rgb]
folder = "{{split}}/rgb"
unit = "rgb8"
[modalities.polarisation]
folder = "{{split}}/polarisation"
suffix = ".npz"
key = "stokes"
unit = "sensor"
channels = 2
[splits]
train = "train"
val = "val"
"""


def intensities(grey, normals, rng):
    """float64 [4, H, W] behind the polarisers, of grey values 0..1 and normals [H, W, 3] that face the camera."""
    slant = np.arccos(np.clip(-normals[..., 2], 0, 1))
    sine, cosine = np.sin(slant) ** 2, np.cos(slant)
    inner = np.sqrt(INDEX**2 - sine)
    whole = 2 + 2 * INDEX**2 - (INDEX + 1 / INDEX) ** 2 * sine + 4 * cosine * inner  # of diffuse light, by Fresnel
    degree = (INDEX - 1 / INDEX) ** 2 * sine / whole
    direction = np.arctan2(normals[..., 1], normals[..., 0])
    seen = grey / 2 * (1 + degree * np.cos(2 * (ANGLES[:, None, None] - direction)))
    return np.maximum(seen + rng.normal(0, 0.002, seen.shape), 1e-4)


def polarisation(seen):
    """float32 [H, W, 2] of [4, H, W]: degree, and degree * cos(2 * angle)."""
    total, first, second = seen.sum(axis=0) / 2, seen[0] - seen[2], seen[1] - seen[3]
    return np.stack([np.hypot(first, second) / total, first / total], axis=-1).astype(np.float32)


def main(folder, frames=24, size=(72, 96)):
    """Writes FOLDER/{train,val}/{rgb,polarisation,label} and FOLDER/dataset.toml."""
    rng = np.random.default_rng(0)
    for split, count in (("train", frames), ("val", max(frames // 4, 1))):
        rooms = SyntheticRooms(split=split, num_frames=count, size=size, modalities=("rgb", "normal"))
        for name in ("rgb", "polarisation", "label"):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            sample = rooms[index]
            grey = cv2.cvtColor(sample["rgb"], cv2.COLOR_RGB2GRAY) / 255 + 0.02
            seen = intensities(grey, sample["normal"].astype(np.float64), rng)
            cv2.imwrite(str(folder / split / f"rgb/{index:03d}.png"), sample["rgb"][..., ::-1])
            cv2.imwrite(str(folder / split / f"label/{index:03d}.png"), sample["label"])
            np.savez(folder / split / f"polarisation/{index:03d}.npz", stokes=polarisation(seen))
    (folder / "dataset.toml").write_text(DECLARATION.format(classes=list(rooms.classes)).replace("'", '"'))
    print(f"rgbx doctor {folder} --contact-sheet {folder}/sheet.png")
    print(f"rgbx init {folder} --budget 30min --pretrained none --work-dir {folder}/run")
    print(f"rgbx train {folder}/run/config.py")


if __name__ == "__main__":
    main(Path((sys.argv[1:] or ["polarisation"])[0]))
