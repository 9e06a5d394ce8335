"""RandomCrop: the same window of all maps, everywhere it may lie."""

from __future__ import annotations

import numpy as np
import pytest

from rgbx.transforms import RandomCrop, Resize


def sample(size=(30, 20)):
    place = np.arange(size[0] * size[1], dtype=np.float32).reshape(size) + 1
    rgb = np.stack([place % 251, place % 13, place % 7], -1).astype(np.uint8)
    return {"rgb": rgb, "depth": place, "label": (place % 200).astype(np.uint8), "sample_id": "a", "paths": {}}


def test_windows():
    corners = set()
    for seed in range(300):
        whole = sample()
        found = RandomCrop((28, 17))(whole, np.random.default_rng(seed))
        top, left = divmod(int(found["depth"][0, 0]) - 1, 20)
        corners.add((top, left))
        for name in ("rgb", "depth", "label"):
            np.testing.assert_array_equal(found[name], whole[name][top : top + 28, left : left + 17])
    assert corners == {(top, left) for top in range(3) for left in range(4)}


def test_resize_then_crop():
    found = sample((64, 64))
    for transform in (Resize(36), RandomCrop(32)):
        found = transform(found, np.random.default_rng(0))
    assert found["rgb"].shape == (32, 32, 3) and found["depth"].shape == found["label"].shape == (32, 32)


def test_exception():
    with pytest.raises(ValueError, match=r"\(31, 10\) from sample 'a' of \(30, 20\): the image is smaller"):
        RandomCrop((31, 10))(sample(), np.random.default_rng(0))
