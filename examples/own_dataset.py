"""From a folder of files to a prediction: made frames, a planned training of a minute, a picture.

python own_dataset.py FOLDER

Put your own files in place of `make_frames`, and the names of your classes into `DECLARATION`.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

import rgbx
from rgbx.cli.main import main as command

DECLARATION = """
[classes]
names = ["wall", "picture", "box"]
[label]
folder = "label"
[modalities.rgb]
folder = "rgb"
unit = "rgb8"
[modalities.depth]
folder = "depth"
unit = "metre"
scale = 1000  # millimetres, 0 is not measured
[splits]
train = "train.txt"
test = "test.txt"
"""


def make_frames(folder, count=16, size=(72, 96)):
    """A picture on the wall and a box before it, of one colour: only depth tells them apart."""
    rng = np.random.default_rng(0)
    for index in range(count):
        rgb = cv2.resize(rng.uniform(0, 255, (6, 8, 3)), size[::-1])
        colour = rng.uniform(0, 255, 3)
        depth, label = np.full(size, 3000.0), np.zeros(size, np.uint8)
        for kind, left in enumerate(rng.permutation((8, 52)), start=1):
            top, height, width = rng.integers((4, 16, 16), (32, 40, 40))
            rows, columns = slice(top, top + height), slice(left, left + width)
            rgb[rows, columns] = colour
            depth[rows, columns] -= 600 * (kind == 2)
            label[rows, columns] = kind
        depth[rng.random(size) < 0.02] = 0
        for name, pixels in (("rgb", rgb.clip(0, 255).astype(np.uint8)), ("depth", depth.astype(np.uint16))):
            write(folder / name / f"{index:03d}.png", pixels)
        write(folder / "label" / f"{index:03d}.png", label)
    stems = [f"{index:03d}" for index in range(count)]
    (folder / "train.txt").write_text("\n".join(stems[4:]))
    (folder / "test.txt").write_text("\n".join(stems[:4]))
    (folder / "dataset.toml").write_text(DECLARATION)


def write(file, pixels):
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), pixels)


def run(*words):
    """As on the command line: rgbx WORDS."""
    if command([str(word) for word in words]):
        sys.exit("it ended with the error above")


def main(folder, budget="60s"):
    """Writes FOLDER/data, FOLDER/run and FOLDER/overlay.png; `budget` is what the training may take."""
    data, work = folder / "data", folder / "run"
    make_frames(data)
    run("init", data, "--budget", budget, "--pretrained", "none", "--work-dir", work)
    run("train", work / "config.py")
    result = rgbx.load(work).predict(rgb=str(data / "rgb/000.png"), depth=str(data / "depth/000.png"))
    cv2.imwrite(str(folder / "overlay.png"), result["labels"].overlay()[..., ::-1])
    print(f"{folder / 'overlay.png'} shows the areas of:")
    print({name: round(share, 2) for name, share in result["labels"].areas.items()})


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2] or ["own_dataset"]), *sys.argv[2:3])
