"""Which camera HHA files were made with: of files that went round, and of files made here with either camera."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rgbx.datasets import NYUDv2CMX
from rgbx.datasets.rooms import render
from rgbx.doctor.inspection import Split
from rgbx.doctor.lineage import HHALineage
from rgbx.maps.hha import NYUDV2_CAMERA, NYUDV2_HHA_FILES_CAMERA, hha


def verdict(root, modalities=("rgb", "depth", "hha")):
    """The check's finding from two frames."""
    split = Split("train", NYUDv2CMX(root, modalities=modalities))
    check = HHALineage(split)
    for frame in split.inspect_all([0, 1]):
        check.see(frame)
    (found,) = check.findings()
    return found


@pytest.mark.parametrize("modalities", [("rgb", "depth", "hha"), ("rgb", "hha"), ("rgb", "depth")])
def test_the_copies_of_cmx(layouts, modalities):
    """Also where only one of the two maps is asked for."""
    found = verdict(layouts / "NYUDepthv2", modalities)
    assert found.evidence["camera"] == "NYUDV2_HHA_FILES_CAMERA" and found.certainty == "likely"
    heights = sorted(levels[1] for levels in found.evidence["levels_off"].values())
    assert heights[0] < 10 and heights[1] > 40


@pytest.mark.parametrize(
    ("camera", "told"),
    [
        (NYUDV2_CAMERA, "the colour camera of NYU Depth V2 (NYUDV2_CAMERA)"),
        (NYUDV2_HHA_FILES_CAMERA, "NYUDV2_HHA_FILES_CAMERA"),
        ({"fx": 300.0, "fy": 300.0, "cx": 100.0, "cy": 400.0}, None),
    ],
)
def test_files_made_here(tmp_path, camera, told):
    for folder in ("RGB", "Depth", "HHA", "Label"):
        (tmp_path / folder).mkdir()
    for index in range(2):
        frame = render(7, index)
        levels = np.floor(cv2.resize(frame["depth"], (640, 480), interpolation=cv2.INTER_NEAREST) * 255 / 9.99547)
        depth = ((levels + 0.5) * 9.99547 / 255).astype(np.float32)
        rgb, label = (cv2.resize(frame[name], (640, 480), interpolation=cv2.INTER_NEAREST) for name in ("rgb", "label"))
        for folder, image in (("RGB", rgb), ("Depth", levels.astype(np.uint8)), ("Label", label + np.uint8(1))):
            cv2.imwrite(f"{tmp_path}/{folder}/{index}.png", image)
        cv2.imwrite(f"{tmp_path}/HHA/{index}.png", hha(depth, **camera)[..., ::-1])
    (tmp_path / "train.txt").write_text("0\n1\n")
    found = verdict(tmp_path)
    assert found.evidence["camera"] == told and found.severity == "info"
