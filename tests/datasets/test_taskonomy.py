"""Taskonomy: three real views decoded by PIL, scaled by the published formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from dataset_frames import decoded, grey, save

from rgbx.datasets import Taskonomy
from rgbx.transforms import HorizontalFlip, PackSample, RandomScaleCrop

RNG = np.random.default_rng(0)


def raw(layouts, domain, view="point_202_view_5"):
    return decoded(layouts / "taskonomy" / domain / f"{view}_domain_{domain}.png")


def test_real_views(layouts):
    train = Taskonomy(layouts / "taskonomy")
    assert [frame.sample_id for frame in train.frames] == ["point_47_view_25", "point_0_view_3"]
    sources = ("shade", "depth", "texture", "normal")
    dataset = Taskonomy(layouts / "taskonomy", "val", sources=sources, targets=("rgb",))
    sample = dataset[0]
    assert sample["sample_id"] == "point_202_view_5"
    assert (dataset.sources, dataset.targets, dataset.modalities) == (sources, ("rgb",), (*sources, "rgb"))
    np.testing.assert_array_equal(sample["rgb"], raw(layouts, "rgb"))
    normal = raw(layouts, "normal")
    none = (normal == 128).all(-1)
    assert 0.07 < none.mean() < 0.08
    np.testing.assert_allclose(sample["normal"][~none], (normal / 127.5 - 1)[~none], atol=1e-6)
    assert (sample["normal"][none] == 0).all()
    np.testing.assert_allclose(sample["shade"], raw(layouts, "reshading")[..., 1] / 255, rtol=1e-6)
    texture = raw(layouts, "edge_texture")
    np.testing.assert_allclose(sample["texture"], np.minimum(texture / 11355, 1), rtol=1e-6)


def test_raw_edges_exceed_the_divisor(layouts):
    sample = Taskonomy(layouts / "taskonomy", sources=("texture",))[1]
    beyond = raw(layouts, "edge_texture", "point_0_view_3") > 11355
    assert beyond.any() and (sample["texture"][beyond] == 1).all() and sample["texture"].max() == 1


def test_depth_and_its_holes(layouts):
    sample = Taskonomy(layouts / "taskonomy", "val", sources=("depth",))[0]
    stored = raw(layouts, "depth_zbuffer")
    assert stored.dtype == np.uint16 and 0.07 < (stored == 65535).mean() < 0.08
    for row in range(0, 512, 37):
        for column in range(0, 512, 41):
            value = int(stored[row, column])
            expected = 0.0 if value == 65535 else math.log(1 + value) / 11.1
            assert sample["depth"][row, column] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_array_equal(sample["depth"] == 0, stored == 65535)


def test_a_translation_sample_has_no_label(layouts):
    dataset = Taskonomy(layouts / "taskonomy", sources=("rgb", "depth"), targets=("normal",))
    assert "label" not in dataset[0]
    assert (dataset.classes, dataset.palette, dataset.num_classes) == ((), [], 0)
    assert dataset.metainfo["targets"] == ("normal",)
    units = {name: spec.unit for name, spec in dataset.maps.items()}
    assert units == {"rgb": "rgb8", "depth": "relative", "normal": "unit_vector"}
    with pytest.raises(ValueError, match="targets must be some of the modalities"):
        Taskonomy(layouts / "taskonomy", sources=(), targets=("rgb",))
    with pytest.raises(ValueError, match=r"found \['reshading'\]"):
        Taskonomy(layouts / "taskonomy", sources=("reshading",))


def test_transforms_of_a_config_know_the_maps(layouts):
    """Names that are no standard maps, and normals that a mirror turns."""
    dataset = Taskonomy(
        layouts / "taskonomy",
        sources=("shade", "depth", "normal"),
        transforms=[
            dict(type=RandomScaleCrop, size=64, scale=(1.0, 1.0)),
            dict(type=HorizontalFlip, probability=1.0),
            dict(type=PackSample),
        ],
    )
    packed = dataset[0]
    shapes = {name: tuple(packed[name].shape) for name in (*dataset.modalities, "depth_valid")}
    assert shapes == {
        "shade": (1, 64, 64),
        "depth": (1, 64, 64),
        "normal": (3, 64, 64),
        "rgb": (3, 64, 64),
        "depth_valid": (1, 64, 64),
    }


def test_lists(layouts, tmp_path):
    for domain in ("rgb", "edge_occlusion"):
        name = f"point_1_view_2_domain_{domain}.png"
        save(tmp_path / domain / name, grey(RNG, 0, 20000, np.uint16) if domain != "rgb" else grey(RNG))
    (tmp_path / "mine.txt").write_text("{domain}/point_1_view_2_domain_{domain}.png\n")
    dataset = Taskonomy(tmp_path, sources=("edge",), list_file="mine.txt")
    stored = decoded(tmp_path / "edge_occlusion" / "point_1_view_2_domain_edge_occlusion.png")
    np.testing.assert_allclose(dataset[0]["edge"], np.minimum(stored / 11584, 1), rtol=1e-6)
    (tmp_path / "train_domain.txt").write_text("\nrgb/point_1_view_2_domain_rgb.png\n")
    with pytest.raises(ValueError, match=r"train_domain\.txt:2: expected paths with \{domain\}"):
        Taskonomy(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"val_domain\.txt: no such list file"):
        Taskonomy(tmp_path, "val")


def test_a_part_of_a_list_is_held_out(tmp_path):
    lines = [f"{{domain}}/point_{i}_view_0_domain_{{domain}}.png" for i in range(200)]
    (tmp_path / "train_domain.txt").write_text("\n".join(lines))
    for domain in ("rgb", "reshading", "edge_texture"):
        (tmp_path / domain).mkdir()
        for line in lines:
            (tmp_path / line.replace("{domain}", domain)).touch()
    whole, kept, held = (
        [frame.sample_id for frame in Taskonomy(tmp_path, holdout=part).frames] for part in (None, "exclude", "only")
    )
    assert len(whole) == 200 and sorted(kept + held) == sorted(whole) and held and not set(kept) & set(held)
