"""Faults of depth."""

from __future__ import annotations

import numpy as np
import pytest

from rgbx.datasets.rooms import render
from rgbx.doctor.depth import collapse, scene_of


def byte(depth):
    """What reading millimetres as an 8-bit picture makes of them."""
    return np.clip(depth / 8000 * 255, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("kind", "change", "divisor"),
    [
        ("256", lambda depth: depth // 256 * 256, 1000),
        ("257", lambda depth: byte(depth) * np.uint16(257), 8191.875),
        ("255", lambda depth: byte(depth).astype(np.uint16), 31.875),
        ("even", lambda depth: np.rint(byte(depth) * 31.37).astype(np.uint16), 1000),
    ],
)
def test_collapsed_to_8_bits(rooms, doctor, kind, change, divisor):
    doctor.edit((rooms / "train/depth").iterdir(), change)
    diagnosis = doctor.examine(rooms, divisor=divisor)
    assert doctor.problems(diagnosis) == ["depth-bits error"]
    assert doctor.find(diagnosis, "depth-bits").evidence["kind"] == kind


@pytest.mark.parametrize("step", [1, 5, 10])
def test_round_steps_are_no_collapse(rooms, doctor, step):
    """Millimetres times 5, or depth rounded to a centimetre, keep more than 256 levels of range."""
    values = np.unique(np.rint(np.linspace(500, 8000, 3000) / step) * step).astype(np.uint16)
    assert collapse(values) == ("", 0.0)


def test_disparity_steps_are_no_collapse():
    """Few levels, but spaced by the square of the distance."""
    depth = (render(0, 0)["depth"] * 1000).astype(np.uint16)
    assert len(np.unique(depth)) < 256 and collapse(depth) == ("", 0.0)


def test_levels_over_the_own_range_are_a_fact():
    """As in the filled depth of SUN RGB-D: 256 levels from the nearest to the farthest pixel."""
    levels = 8 * np.rint(1190 + np.arange(256) * 26.8).astype(np.uint16)
    kind, step = collapse(levels)
    assert kind == "range" and step == pytest.approx(8 * 26.8, rel=0.01)


def test_real_sun_depth(layouts):
    from rgbx.maps import read_image

    assert collapse(read_image(layouts / "sunrgbd/depth/000001.png"))[0] == ""
    assert collapse(read_image(layouts / "sunrgbd/depth_bfx/000001.png"))[0] == "range"


def test_8_bit_files_where_16_are_promised(rooms, doctor):
    doctor.edit((rooms / "train/depth").iterdir(), byte)
    diagnosis = doctor.examine(rooms)
    assert doctor.problems(diagnosis) == ["depth-bits error"]
    assert len(doctor.find(diagnosis, "depth-bits").frames) == 12


def test_8_bit_depth_of_one_scale_is_a_fact(rooms, doctor):
    doctor.edit((rooms / "train/depth").iterdir(), lambda depth: (depth / 1000 * 25.5).astype(np.uint8))
    assert doctor.problems(doctor.examine(rooms, bits=8)) == []


def test_8_bit_depth_stretched_frame_by_frame(rooms, doctor):
    def stretch(depth):
        low, high = depth[depth > 0].min(), depth.max()
        return (np.clip((depth.astype(float) - low) / (high - low), 0, 1) * 254 + 1).round().astype(np.uint8)

    doctor.edit((rooms / "train/depth").iterdir(), stretch)
    diagnosis = doctor.examine(rooms, bits=8)
    assert doctor.problems(diagnosis) == ["depth-bits warning"]
    assert doctor.find(diagnosis, "depth-bits", "warning").evidence["kind"] == "stretched"


@pytest.mark.parametrize(
    ("divisor", "severity", "advice"),
    [(5000, "warning", "1000 (millimetres)"), (100, "warning", "1000"), (1, "error", "1000"), (1e5, "error", "1000")],
)
def test_units(rooms, doctor, divisor, severity, advice):
    diagnosis = doctor.examine(rooms, divisor=divisor)
    assert doctor.problems(diagnosis) == [f"depth-units {severity}"]
    assert advice in doctor.find(diagnosis, "depth-units").fix


def test_scenes():
    assert scene_of(("wall", "floor", "bed", "window")) == "indoor"
    assert scene_of(("road", "sidewalk", "wall", "car")) == "road"
    assert scene_of(("background", "fire extinguisher")) == "any"


@pytest.mark.parametrize(("share", "expected"), [(0.6, ["depth-holes warning"]), (0.3, [])])
def test_holes(rooms, doctor, share, expected):
    rows = round(120 * share)
    doctor.edit((rooms / "train/depth").iterdir(), lambda depth: np.where(np.arange(120)[:, None] < rows, 0, depth))
    diagnosis = doctor.examine(rooms)
    assert doctor.problems(diagnosis) == expected
    assert doctor.find(diagnosis, "depth-holes").evidence["mean_share"] == pytest.approx(share, abs=0.06)


def test_empty_frame(rooms, doctor):
    doctor.edit([rooms / "train/depth/005.png"], np.zeros_like)
    diagnosis = doctor.examine(rooms)
    assert doctor.problems(diagnosis) == ["depth-holes warning"]
    assert doctor.find(diagnosis, "depth-holes", "warning").frames == {"train/005"}


def test_largest_value_as_measurement(rooms, doctor):
    doctor.edit((rooms / "train/depth").iterdir(), lambda depth: np.where(depth == 0, 65535, depth).astype(np.uint16))
    diagnosis = doctor.examine(rooms)
    assert doctor.problems(diagnosis) == ["depth-holes warning"]
    assert "65535" in doctor.find(diagnosis, "depth-holes", "warning").message
