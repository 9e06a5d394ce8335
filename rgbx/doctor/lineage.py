"""With which camera HHA files were made from the depth beside them: those of NYU Depth V2 come in two lineages."""

from __future__ import annotations

import glob
from collections.abc import Iterable

import numpy as np

from rgbx.datasets.files import FileDataset
from rgbx.doctor.check import Check
from rgbx.doctor.finding import Finding, counted
from rgbx.doctor.inspection import InspectedFrame, Split
from rgbx.maps.hha import NYUDV2_CAMERA, NYUDV2_CAMERA_SIZE, NYUDV2_HHA_FILES_CAMERA, hha

CAMERAS = {
    "the colour camera of NYU Depth V2 (NYUDV2_CAMERA), as SA-Gate's authors made theirs": NYUDV2_CAMERA,
    "NYUDV2_HHA_FILES_CAMERA, as the copies that go round with FCN and CMX": NYUDV2_HHA_FILES_CAMERA,
}
NAMES = {"metre": "depth", "encoded": "hha"}
MOST_FRAMES = 6
_FITS, _APART = 12.0, 3.0  # levels of the height channel; how many times farther off the other camera is


class HHALineage(Check):
    """HHA computed with each known camera against the files: mean absolute differences of the three channels.

    Height tells the cameras apart: it is linear in depth with the one and not with the other. Files that neither camera
    gives are a fact too, since other data have cameras of their own.
    """

    name = "hha-lineage"

    def __init__(self, split: Split) -> None:
        super().__init__(split)
        self.differences: dict[str, list[np.ndarray]] = {camera: [] for camera in CAMERAS}  # [3] per frame

    def see(self, frame: InspectedFrame) -> None:
        if frame.sample is None or len(next(iter(self.differences.values()))) >= MOST_FRAMES:
            return
        depth, files = self._read(frame, "metre"), self._read(frame, "encoded")
        if depth is None or files is None or files.shape != (*depth.shape, 3):
            return
        depth = np.where(depth > 0, depth, np.float32(0))  # NaN is no measurement either
        measured = depth > 0
        if depth.shape[0] * NYUDV2_CAMERA_SIZE[1] != depth.shape[1] * NYUDV2_CAMERA_SIZE[0] or not measured.any():
            return  # of another shape: the cameras say nothing about it
        zoom = depth.shape[0] / NYUDV2_CAMERA_SIZE[0]
        for camera, values in CAMERAS.items():
            made = hha(depth, **{name: zoom * value for name, value in values.items()})
            self.differences[camera].append(np.abs(made[measured].astype(np.float32) - files[measured]).mean(axis=0))

    def _read(self, frame: InspectedFrame, unit: str) -> np.ndarray | None:
        """Depth [H, W] in metres, or the HHA [H, W, 3] beside it, also where nobody asks for it; None without one."""
        dataset, name = self.split.dataset, NAMES[unit]
        if name in self.maps:
            return (frame.sample or {}).get(name) if self.maps[name].unit == unit else None
        encoding = dataset.encodings.get(name) if isinstance(dataset, FileDataset) else None
        if encoding is None or encoding.spec.unit != unit:
            return None
        for path in frame.files.values():
            for folder in sorted(path.parent.parent.iterdir()):
                for file in folder.glob(f"{glob.escape(path.stem)}.*") if folder.name.lower() == name else ():
                    try:
                        return encoding.read(file)
                    except (OSError, ValueError):
                        return None  # nobody trains on it
        return None

    def findings(self) -> Iterable[Finding]:
        count = len(next(iter(self.differences.values())))
        if not count:
            return
        middle = {camera: np.median(found, axis=0) for camera, found in self.differences.items()}
        first, second = sorted(middle, key=lambda camera: float(middle[camera][1]))
        fits = middle[first][1] < _FITS and middle[second][1] > _APART * middle[first][1]
        told = {camera: "/".join(f"{value:.2f}" for value in found) for camera, found in middle.items()}
        made = f"made with {first}" if fits else "made with neither of the cameras known for NYU Depth V2"
        yield self.finding(
            "info",
            "likely" if fits else "undecided",
            f"hha files seem {made}: {told[first]} levels off (disparity/height/angle), with the other camera "
            f"{told[second]} ({counted(count, self.split.sampled)})",
            evidence={
                "camera": first.partition(",")[0] if fits else None,
                "levels_off": {camera: found.tolist() for camera, found in middle.items()},
                "frames": count,
            },
        )
