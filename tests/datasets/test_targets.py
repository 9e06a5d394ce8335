"""Every dataset takes targets: maps to translate to, also maps that transforms add."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

import rgbx.datasets
from rgbx.datasets import CachedFrames, DenseDataset, NYUDv2Folders, NYUDv2Lists, SyntheticRooms
from rgbx.datasets.sample import Common
from rgbx.transforms import ComputeEdges, ComputeHHA, ComputeNormals

FAMILIES = [
    value
    for value in vars(rgbx.datasets).values()
    if inspect.isclass(value) and issubclass(value, DenseDataset) and value is not DenseDataset
]
CAMERA = {"fx": 259.4, "fy": 259.7, "cx": 162.5, "cy": 126.6}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_every_family_has_the_parameter(family):
    parameters = inspect.signature(family).parameters
    common = "common" in parameters and parameters["common"].annotation == "Unpack[Common]"
    assert common or "targets" in parameters or family is CachedFrames  # which has those of the dataset inside it
    assert "targets" in Common.__annotations__
    if "targets" in parameters and parameters["targets"].default != ():
        assert not family.__module__.startswith("rgbx.datasets.families.nyudv2")


def test_rooms():
    dataset = SyntheticRooms(size=(24, 32), modalities=("normal", "edge", "rgb"), targets=("rgb",), num_frames=1)
    assert (dataset.sources, dataset.targets) == (("normal", "edge"), ("rgb",))
    assert dataset.metainfo["targets"] == ("rgb",)
    with pytest.raises(ValueError, match=r"targets must be some of .* and leave a source, found \('depth',\)"):
        SyntheticRooms(size=(24, 32), modalities=("rgb", "edge"), targets=("depth",))
    with pytest.raises(ValueError, match="leave a source"):
        SyntheticRooms(size=(24, 32), modalities=("rgb",), targets=("rgb",))


def test_maps_that_transforms_add():
    transforms = [dict(type=ComputeNormals, **CAMERA), dict(type=ComputeEdges, source="depth")]
    dataset = SyntheticRooms(size=(240, 320), transforms=transforms, targets=("rgb",), num_frames=1)
    assert dataset.modalities == ("rgb", "depth")
    assert dataset.sources == ("depth", "normal", "edge")
    units = {name: spec.unit for name, spec in dataset.metainfo["maps"].items()}
    assert units == {"rgb": "rgb8", "depth": "metre", "normal": "unit_vector", "edge": "relative"}
    assert ComputeHHA.adds == ("hha",)


def test_real_frames(layouts):
    lists = NYUDv2Lists(layouts / "nyudv2", targets=("rgb",))
    assert (lists.sources, lists.targets) == (("depth",), ("rgb",))


def test_frames_with_computed_maps(nyuv2_320x240: Path):
    """Depth and its normals to colour, colour and its edges to depth, from the 320x240 copy."""
    normals = [dict(type=ComputeNormals, **CAMERA)]
    dataset = NYUDv2Folders(nyuv2_320x240, "test", transforms=normals, targets=("rgb",))
    sample = dataset[0]
    assert dataset.sources == ("depth", "normal") and sample["normal"].shape == (240, 320, 3)
    lengths = (sample["normal"] ** 2).sum(-1)
    assert ((lengths > 0.999) & (lengths < 1.001)).mean() > 0.99
    rows, columns = np.mgrid[:240, :320]
    across, down = (columns - CAMERA["cx"]) / CAMERA["fx"], (rows - CAMERA["cy"]) / CAMERA["fy"]
    rays = np.dstack([across, down, np.ones_like(down)])
    assert ((sample["normal"] * rays).sum(-1) < 0).mean() > 0.99  # facing the camera
    dataset = NYUDv2Folders(nyuv2_320x240, "test", transforms=[dict(type=ComputeEdges)], targets=("depth",))
    assert dataset.sources == ("rgb", "edge")
    assert 0.01 < (dataset[0]["edge"] == 1).mean() < 0.3
