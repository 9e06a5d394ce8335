"""An event camera beside RGB: made events of a turning camera in rendered rooms, as grids of five times.

python event_camera.py FOLDER

An event camera tells where and when the logarithm of the brightness has changed by a step, and its sign. The events
between two frames become a map of five channels, as Zhu et al. do it (arXiv 1812.08156, equations 1 and 2): an event at
time t of 0..1 counts for the two channels that are nearest to 4 t, by how near they are.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from rgbx.datasets import RoomClips

BINS, STEP = 5, 0.15
DECLARATION = """
[classes]
names = {classes}
[label]
folder = "{{split}}/label"
[modalities.rgb]
folder = "{{split}}/rgb"
unit = "rgb8"
[modalities.events]
folder = "{{split}}/events"
suffix = ".npy"
unit = "sensor"
channels = 5
layout = "CHW"  # arrays [5, H, W]
[splits]
train = "train"
val = "val"
"""


def voxels(before, after):
    """float32 [5, H, W] of two frames uint8 [H, W, 3]: events of a brightness that changes evenly in its logarithm."""
    first, last = (np.log(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) / 255 + 0.05) for frame in (before, after))
    change = last - first
    counts = np.floor(np.abs(change) / STEP)
    grid = np.zeros((BINS, *change.shape), np.float32)
    for number in range(1, int(counts.max()) + 1):
        there = counts >= number
        time = np.where(there, number * STEP / np.maximum(np.abs(change), STEP), 0)  # when it crosses this step
        for k in range(BINS):
            grid[k] += there * np.sign(change) * np.maximum(0, 1 - np.abs(k - (BINS - 1) * time))
    return grid


def main(folder, frames=24, size=(72, 96)):
    """Writes FOLDER/{train,val}/{rgb,events,label} and FOLDER/dataset.toml."""
    for split, count in (("train", frames), ("val", max(frames // 4, 1))):
        rooms = RoomClips(
            split=split, num_frames=count, size=size, modalities=("rgb",), frames={"rgb": 2}, offsets={"rgb": -1}
        )
        for name in ("rgb", "events", "label"):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            before, after = rooms[index]["rgb"]
            cv2.imwrite(str(folder / split / f"rgb/{index:03d}.png"), after[..., ::-1])
            cv2.imwrite(str(folder / split / f"label/{index:03d}.png"), rooms[index]["label"])
            np.save(folder / split / f"events/{index:03d}.npy", voxels(before, after))
    (folder / "dataset.toml").write_text(DECLARATION.format(classes=list(rooms.classes)).replace("'", '"'))
    print(f"rgbx doctor {folder} --contact-sheet {folder}/sheet.png")
    print(f"rgbx init {folder} --budget 30min --pretrained none --work-dir {folder}/run")
    print(f"rgbx train {folder}/run/config.py")


if __name__ == "__main__":
    main(Path((sys.argv[1:] or ["event_camera"])[0]))
