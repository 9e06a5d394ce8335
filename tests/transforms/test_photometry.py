"""Colour changes: on rgb alone, drawn from the sample's generator, strictly checked."""

from __future__ import annotations

import albumentations
import numpy as np
import pytest

from rgbx.transforms import AlbumentationsPhotometry, ColorJitter

RNG = np.random.default_rng(0)
SAMPLE = {
    "rgb": RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8),
    "depth": RNG.random((20, 30), np.float32),
    "hha": np.full((20, 30, 3), 80, np.uint8),
    "label": np.zeros((20, 30), np.uint8),
    "sample_id": "a",
}


def test_only_rgb_changes():
    found = ColorJitter(probability=1.0)(SAMPLE, np.random.default_rng(1))
    assert (found["rgb"] != SAMPLE["rgb"]).any()
    assert found["rgb"].dtype == np.uint8 and found["rgb"].shape == (20, 30, 3)
    assert all(found[key] is SAMPLE[key] for key in SAMPLE if key != "rgb")


def test_brightness_is_a_factor():
    grey = {**SAMPLE, "rgb": np.full((20, 30, 3), 100, np.uint8)}
    jitter = ColorJitter(0.3, 0, 0, 0, probability=1.0)
    levels = [int(jitter(grey, np.random.default_rng(k))["rgb"][0, 0, 0]) for k in range(300)]
    assert 69 <= min(levels) < 75 and 125 < max(levels) <= 130
    assert 96 < np.mean(levels) < 104


def test_draws_follow_the_generator():
    jitter = ColorJitter(probability=1.0)
    one, two, again = (jitter(SAMPLE, np.random.default_rng(k))["rgb"] for k in (1, 2, 1))
    assert (one == again).all() and (one != two).any()
    unchanged = [
        (ColorJitter(probability=0.5)(SAMPLE, np.random.default_rng(k))["rgb"] == SAMPLE["rgb"]).all()
        for k in range(100)
    ]
    assert 30 < sum(unchanged) < 70


def test_exception():
    with pytest.raises(ValueError, match=r"ColorJitter needs 'rgb'.*'a'.*depth"):
        ColorJitter()({"depth": SAMPLE["depth"], "sample_id": "a"}, RNG)
    with pytest.raises(ValueError, match="hue_shift"):
        AlbumentationsPhotometry([{"type": albumentations.HueSaturationValue, "hue_shift": 3}])
    with pytest.raises(ValueError, match=r"ImageOnlyTransform.*HorizontalFlip"):
        AlbumentationsPhotometry([albumentations.HorizontalFlip()])
