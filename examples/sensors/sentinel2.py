"""Thirteen bands as Sentinel-2 has them, and no RGB: made fields, water and roofs.

python sentinel2.py FOLDER

A file is a TIFF of thirteen pages of 16 bits, reflectance times 10000, B1 to B12 with B8A behind B8; 0 is no data. The
spectra are made up, after what plants, soil and water do: plants are dark in red (B4) and bright from B6 on, water is
dark from B8 on.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

SPECTRA = {  # reflectance in B1 B2 B3 B4 B5 B6 B7 B8 B8A B9 B10 B11 B12
    "water": (0.09, 0.08, 0.07, 0.05, 0.04, 0.04, 0.03, 0.03, 0.02, 0.02, 0.01, 0.01, 0.01),
    "wood": (0.08, 0.05, 0.05, 0.03, 0.08, 0.22, 0.28, 0.30, 0.32, 0.31, 0.01, 0.15, 0.07),
    "wheat": (0.09, 0.07, 0.09, 0.06, 0.14, 0.32, 0.40, 0.43, 0.44, 0.42, 0.01, 0.22, 0.12),
    "bare soil": (0.12, 0.12, 0.14, 0.17, 0.19, 0.21, 0.23, 0.24, 0.26, 0.25, 0.01, 0.32, 0.28),
    "roofs": (0.17, 0.18, 0.19, 0.21, 0.22, 0.22, 0.23, 0.24, 0.24, 0.23, 0.01, 0.24, 0.22),
}
DECLARATION = """
[classes]
names = {classes}
[label]
folder = "label"
[modalities.bands]
folder = "bands"
suffix = ".tif"
unit = "sensor"
channels = 13
scale = 10000
missing = [0]
shown = [3, 2, 1]  # B4, B3, B2 as red, green and blue
[splits]
train = "train.txt"
val = "val.txt"
"""


def scene(rng, size):
    """Bands uint16 [13, H, W] and the label uint8 [H, W]: fields around random places, lit unevenly, with noise."""
    places = rng.uniform(0, size, (20, 2))
    kinds = rng.integers(len(SPECTRA), size=len(places))
    rows, columns = np.mgrid[: size[0], : size[1]]
    distance = (rows[..., None] - places[:, 0]) ** 2 + (columns[..., None] - places[:, 1]) ** 2
    label = kinds[distance.argmin(axis=2)].astype(np.uint8)
    light = cv2.resize(rng.uniform(0.7, 1.2, (4, 4)), size[::-1], interpolation=cv2.INTER_CUBIC)
    reflectance = np.array(list(SPECTRA.values()))[label] * light[..., None]
    bands = np.clip(10000 * (reflectance + rng.normal(0, 0.01, reflectance.shape)), 1, 65535)
    bands[:, : rng.integers(1, 6)] = 0  # the edge of the swath
    return bands.astype(np.uint16).transpose(2, 0, 1), label


def main(folder, frames=24, size=(72, 96)):
    """Writes FOLDER/{bands,label}, FOLDER/{train,val}.txt and FOLDER/dataset.toml."""
    rng, stems = np.random.default_rng(0), [f"{index:03d}" for index in range(frames + max(frames // 4, 1))]
    for name in ("bands", "label"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for stem in stems:
        bands, label = scene(rng, size)
        cv2.imwritemulti(str(folder / f"bands/{stem}.tif"), list(bands))
        cv2.imwrite(str(folder / f"label/{stem}.png"), label)
    (folder / "train.txt").write_text("\n".join(stems[:frames]))
    (folder / "val.txt").write_text("\n".join(stems[frames:]))
    (folder / "dataset.toml").write_text(DECLARATION.format(classes=list(SPECTRA)).replace("'", '"'))
    print(f"rgbx doctor {folder} --contact-sheet {folder}/sheet.png")
    print(f"rgbx init {folder} --budget 30min --pretrained none --work-dir {folder}/run")
    print(f"rgbx train {folder}/run/config.py")


if __name__ == "__main__":
    main(Path((sys.argv[1:] or ["sentinel2"])[0]))
