"""Pairs in one image: real views put side by side by numpy, cut apart again."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_frames import colours, decoded, save

from rgbx.datasets import SideBySide


def test_halves_of_real_views(layouts, tmp_path):
    left, right = (
        decoded(layouts / "taskonomy" / domain / f"point_0_view_3_domain_{domain}.png") for domain in ("normal", "rgb")
    )
    save(tmp_path / "train" / "1.png", np.concatenate([left, right], axis=1))
    dataset = SideBySide(tmp_path)
    assert (dataset.sources, dataset.targets, dataset.classes) == (("a",), ("b",), ())
    np.testing.assert_array_equal(dataset[0]["a"], left)
    np.testing.assert_array_equal(dataset[0]["b"], right)
    turned = SideBySide(tmp_path, names=("normals", "photo"), targets=("normals",))
    assert turned.modalities == ("photo", "normals")
    np.testing.assert_array_equal(turned[0]["normals"], left)


def test_exceptions(tmp_path):
    save(tmp_path / "val" / "1.png", colours(np.random.default_rng(0), size=(4, 7)))
    with pytest.raises(ValueError, match=r"1\.png: a pair side by side has an even width, found 7"):
        SideBySide(tmp_path, "val")[0]
    with pytest.raises(FileNotFoundError, match=r"train: no such folder"):
        SideBySide(tmp_path)
    with pytest.raises(ValueError, match="names must be two"):
        SideBySide(tmp_path, "val", names=("a", "a"))
