"""Albumentations' geometry in the sample's terms: alignment, fills, determinism, strictness."""

from __future__ import annotations

import pickle

import albumentations
import numpy as np
import pytest

from rgbx.transforms import AlbumentationsGeometry

SIZE = (40, 48)
ROTATE = {"type": albumentations.Rotate, "limit": (30, 30), "p": 1.0}


def sample(**more):
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    depth = (1 + rows // 4 + columns // 4 * 100).astype(np.float32)
    return {
        "rgb": np.full((*SIZE, 3), 90, np.uint8),
        "depth": depth,
        "label": (rows // 4 + columns // 4).astype(np.uint8),
        "sample_id": "a",
    } | more


def test_label_and_depth_move_together_and_keep_their_values():
    found = AlbumentationsGeometry([ROTATE])(sample(), np.random.default_rng(0))
    outside = found["depth"] == 0
    assert 0.1 < outside.mean() < 0.5
    np.testing.assert_array_equal(found["label"] == 255, outside)
    assert set(np.unique(found["depth"])) <= {0, *np.unique(sample()["depth"])}
    rows, columns = (found["depth"] - 1) % 100, (found["depth"] - 1) // 100
    np.testing.assert_array_equal(found["label"][~outside], (rows + columns)[~outside])
    assert (found["rgb"][outside] == 0).all() and found["rgb"].dtype == np.uint8


def test_float_maps_are_not_blended():
    thermal = np.random.default_rng(0).choice(np.array([10, 30], np.float32), SIZE)
    found = AlbumentationsGeometry([ROTATE])(sample(thermal=thermal), np.random.default_rng(0))
    assert set(np.unique(found["thermal"])) == {0, 10, 30}


def test_draws_follow_the_generator():
    transform = AlbumentationsGeometry(
        [{"type": albumentations.Affine, "rotate": (-40, 40), "p": 1.0}, {"type": albumentations.HorizontalFlip}]
    )
    found = [transform(sample(), np.random.default_rng(seed))["depth"] for seed in (1, 2, 1)]
    copy = pickle.loads(pickle.dumps(transform))
    assert (found[0] == found[2]).all() and (found[0] != found[1]).any()
    assert (copy(sample(), np.random.default_rng(1))["depth"] == found[0]).all()


def test_a_class_may_be_given_by_its_full_name():
    """As configs that were dumped have it, with the same checks."""
    named = AlbumentationsGeometry([{**ROTATE, "type": "albumentations.Rotate"}])(sample(), np.random.default_rng(0))
    given = AlbumentationsGeometry([ROTATE])(sample(), np.random.default_rng(0))
    np.testing.assert_array_equal(named["depth"], given["depth"])
    with pytest.raises(ValueError, match="limits"):
        AlbumentationsGeometry([{"type": "albumentations.Rotate", "limits": 3}])
    with pytest.raises(ValueError, match=r"'albumentations\.Rotat' cannot be imported"):
        AlbumentationsGeometry([{"type": "albumentations.Rotat"}])


def test_two_flips_are_not_correlated():
    """With albumentations' own seeding all transforms share one stream."""
    flips = AlbumentationsGeometry([{"type": albumentations.HorizontalFlip}, {"type": albumentations.VerticalFlip}])
    corners = {float(flips(sample(), np.random.default_rng(k))["depth"][0, 0]) for k in range(40)}
    assert len(corners) == 4


def test_exception():
    with pytest.raises(ValueError, match="limits"):
        AlbumentationsGeometry([{"type": albumentations.Rotate, "limits": 3}])
    with pytest.raises(ValueError, match=r"DualTransform.*ColorJitter"):
        AlbumentationsGeometry([albumentations.OneOf([albumentations.ColorJitter()])])
    with pytest.raises(ValueError, match="vectors of \\['normal'\\]"):
        normal = np.ones((*SIZE, 3), np.float32)
        AlbumentationsGeometry([ROTATE])(sample(normal=normal), np.random.default_rng(0))
