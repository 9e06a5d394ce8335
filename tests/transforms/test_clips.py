"""Clips: each transform of a clip against the same of every frame alone, and clips made into frames."""

from __future__ import annotations

import albumentations
import numpy as np
import pytest
import torch

from rgbx.datasets import MapSpec, validate_sample
from rgbx.datasets.collation import Collation
from rgbx.datasets.sample import check_names
from rgbx.maps import RELATIVE_DEPTH, STANDARD_MAPS
from rgbx.transforms import (
    AlbumentationsGeometry,
    AlbumentationsPhotometry,
    CenterCrop,
    ColorJitter,
    ComputeEdges,
    ComputeHHA,
    ComputeNormals,
    Corrupt,
    DamageBlocks,
    FramesAsMaps,
    HoldOutDepth,
    HorizontalFlip,
    NearestFrames,
    PackSample,
    PadTo,
    RandomCrop,
    RandomScaleCrop,
    Resize,
    collate,
)

CAMERA = {"fx": 40.0, "fy": 40.0, "cx": 16.0, "cy": 12.0}
GEOMETRY = [
    RandomScaleCrop((20, 26), scale=(0.5, 2.0), scale_depth=True, fill={"rgb": (9, 8, 7)}),
    HorizontalFlip(1.0),
    HorizontalFlip(0.5),
    Resize((31, 17)),
    CenterCrop((10, 12)),
    RandomCrop((10, 12)),
    PadTo((40, 50), centre=True),
]


def clip_sample(seed=0, normals=True):
    rng = np.random.default_rng(seed)
    sample = {
        "sample_id": f"clip{seed}",
        "paths": {},
        "time": 4.02,
        "rgb": rng.integers(0, 256, (1, 24, 32, 3), dtype=np.uint8),
        "rgb_time": np.array([4.02]),
        "depth": np.maximum(rng.normal(2, 1, (3, 24, 32)), 0).astype(np.float32),
        "depth_time": np.array([3.9, 4.0, 4.1]),
        "thermal": rng.normal(20, 3, (2, 24, 32)).astype(np.float32),
        "thermal_valid": (rng.random((2, 24, 32)) > 0.2).astype(np.uint8),
        "thermal_time": np.array([4.01, 4.5]),
        "label": rng.integers(0, 4, (24, 32)).astype(np.uint8),
    }
    if normals:
        vectors = rng.normal(size=(2, 24, 32, 3))
        sample["normal"] = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
        sample["normal_time"] = np.array([1.0, 2.0])
    return sample


def frame_of(sample, k):
    """An ordinary sample of frame k of every clip, or of its last."""
    plain = {key: value for key, value in sample.items() if key != "time" and not key.endswith("_time")}
    for name in ("rgb", "depth", "thermal", "thermal_valid", "normal"):
        if name in sample:
            plain[name] = sample[name][min(k, len(sample[name]) - 1)]
    return plain


def same(clip, frame, k):
    for name, value in frame.items():
        if isinstance(value, np.ndarray):
            found = clip[name] if name == "label" else clip[name][min(k, len(clip[name]) - 1)]
            np.testing.assert_array_equal(found, value, err_msg=name)


@pytest.mark.parametrize("transform", GEOMETRY, ids=lambda t: type(t).__name__)
def test_geometry_treats_all_frames_alike(transform):
    for seed in range(3):
        sample = clip_sample(seed)
        before = {key: np.copy(value) for key, value in sample.items() if isinstance(value, np.ndarray)}
        done = transform(sample, np.random.default_rng(seed))
        for k in range(3):
            same(done, transform(frame_of(sample, k), np.random.default_rng(seed)), k)
        np.testing.assert_array_equal(done["depth_time"], sample["depth_time"])
        assert done["time"] == 4.02 and not any("@" in key for key in done)
        for key, value in before.items():
            np.testing.assert_array_equal(sample[key], value)


def test_albumentations_treat_all_frames_alike():
    turn = AlbumentationsGeometry([albumentations.Rotate(limit=(20, 40), p=1.0)])
    jitter = AlbumentationsPhotometry([albumentations.RandomBrightnessContrast(p=1.0)])
    sample = clip_sample(normals=False)
    sample["rgb"] = np.repeat(sample["rgb"], 3, axis=0)
    sample["rgb_time"] = np.array([1.0, 2.0, 3.0])
    for transform in (turn, jitter, ColorJitter(probability=1.0)):
        done = transform(sample, np.random.default_rng(1))
        for k in range(3):
            same(done, transform(frame_of(sample, k), np.random.default_rng(1)), k)
        assert (done["rgb"] != sample["rgb"]).any()


def test_photometry_leaves_the_generator_where_one_frame_does():
    sample, one, other = clip_sample(), np.random.default_rng(4), np.random.default_rng(4)
    sample["rgb"], sample["rgb_time"] = np.repeat(sample["rgb"], 3, axis=0), np.array([1.0, 2.0, 3.0])
    ColorJitter()(sample, one)
    ColorJitter()(frame_of(sample, 0), other)
    assert one.random() == other.random()


@pytest.mark.parametrize(
    "transform", [ComputeHHA(**CAMERA), ComputeNormals(**CAMERA), ComputeEdges(source="depth"), ComputeEdges()]
)
def test_computed_maps_are_clips_of_their_source(transform):
    sample = clip_sample(normals=False)
    added = transform.adds[0] if hasattr(transform, "adds") else "edge"
    done = transform(sample, np.random.default_rng(0))
    source = getattr(transform, "source", "depth")
    np.testing.assert_array_equal(done[f"{added}_time"], sample[f"{source}_time"])
    for k in range(len(sample[source])):
        np.testing.assert_array_equal(done[added][k], transform(frame_of(sample, k), np.random.default_rng(0))[added])
    without = ComputeNormals(**CAMERA, keep_depth=False)(sample, np.random.default_rng(0))
    assert not {"depth", "depth_time"} & set(without)


def test_corruption_of_clips():
    sample = clip_sample()
    noisy = Corrupt("thermal_noise", 3)(sample, np.random.default_rng(0))
    alone = Corrupt("thermal_noise", 3)(frame_of(sample, 0), np.random.default_rng(0))
    np.testing.assert_array_equal(noisy["thermal"][0], alone["thermal"])
    change = (noisy["thermal"] - sample["thermal"]) * sample["thermal_valid"]
    assert abs(np.corrcoef(change[0].ravel(), change[1].ravel())[0, 1]) < 0.2
    np.testing.assert_array_equal(noisy["thermal_valid"], sample["thermal_valid"])
    shifted = Corrupt("shift", 5, key="depth")(sample, np.random.default_rng(0))
    for k in range(3):
        alone = Corrupt("shift", 5, key="depth")(frame_of(sample, k), np.random.default_rng(0))
        np.testing.assert_array_equal(shifted["depth"][k], alone["depth"])


@pytest.mark.parametrize("transform", [HoldOutDepth(), DamageBlocks(("depth",))])
def test_what_works_on_single_frames_says_so(transform):
    with pytest.raises(ValueError, match=r"single frames, but depth of sample 'clip0' is a clip of 3; NearestFrames"):
        transform(clip_sample(), np.random.default_rng(0))


def test_packing_and_collation():
    samples = [clip_sample(seed) for seed in (0, 1)]
    del samples[1]["thermal_valid"]
    batch = collate([PackSample()(sample, np.random.default_rng(0)) for sample in samples])
    shapes = {key: (tuple(x.shape), x.dtype) for key, x in batch.items() if isinstance(x, torch.Tensor)}
    assert shapes == {
        "time": ((2,), torch.float64),
        "rgb": ((2, 1, 3, 24, 32), torch.uint8),
        "rgb_time": ((2, 1), torch.float64),
        "depth": ((2, 3, 1, 24, 32), torch.float32),
        "depth_valid": ((2, 3, 1, 24, 32), torch.bool),
        "depth_time": ((2, 3), torch.float64),
        "thermal": ((2, 2, 1, 24, 32), torch.float32),
        "thermal_valid": ((2, 2, 1, 24, 32), torch.bool),
        "thermal_time": ((2, 2), torch.float64),
        "normal": ((2, 2, 3, 24, 32), torch.float32),
        "normal_valid": ((2, 2, 1, 24, 32), torch.bool),
        "normal_time": ((2, 2), torch.float64),
        "label": ((2, 24, 32), torch.int64),
    }
    for k in range(3):
        alone = PackSample()(frame_of(samples[0], k), np.random.default_rng(0))
        for name in ("depth", "depth_valid"):
            torch.testing.assert_close(batch[name][0, k], alone[name], rtol=0, atol=0)
    torch.testing.assert_close(batch["rgb"][0, 0], PackSample()(frame_of(samples[0], 0), None)["rgb"])
    assert batch["thermal_valid"][1].all() and not batch["thermal_valid"][0].all()
    assert batch["time"][0] == 4.02


def test_clips_of_several_lengths_do_not_go_into_a_batch():
    samples = [clip_sample(0), clip_sample(1)]
    samples[1]["depth"], samples[1]["depth_time"] = samples[1]["depth"][:2], samples[1]["depth_time"][:2]
    packed = [PackSample()(sample, np.random.default_rng(0)) for sample in samples]
    with pytest.raises(ValueError, match=r"depth of 'clip0' and 'clip1' is .* one number of frames and of channels"):
        Collation(collate)(packed)


@pytest.mark.parametrize(
    ("delays", "depth", "thermal"),
    [({}, 1, 0), ({"depth": 0.05}, 2, 0), ({"depth": -0.1, "thermal": 0.4}, 0, 1), ({"depth": 9.0}, 2, 0)],
)
def test_nearest_frames(delays, depth, thermal):
    """Written down by hand: time is 4.02, depth at 3.9, 4.0, 4.1, thermal at 4.01, 4.5."""
    sample = clip_sample(normals=False)
    done = NearestFrames(delays=delays)(sample, np.random.default_rng(0))
    np.testing.assert_array_equal(done["depth"], sample["depth"][depth])
    np.testing.assert_array_equal(done["thermal"], sample["thermal"][thermal])
    np.testing.assert_array_equal(done["thermal_valid"], sample["thermal_valid"][thermal])
    np.testing.assert_array_equal(done["rgb"], sample["rgb"][0])
    assert not any(key.endswith("time") for key in done)
    again = NearestFrames()(done, np.random.default_rng(0))
    assert again is done


def test_nearest_frames_draw_delays():
    transform = NearestFrames(delays={"depth": 0.1}, augment={"depth": (-0.25, 0.0)})
    sample = clip_sample()
    found = [
        next(k for k in range(3) if (transform(sample, np.random.default_rng(s))["depth"] == sample["depth"][k]).all())
        for s in range(200)
    ]
    assert np.bincount(found) == pytest.approx([200 * 0.32, 200 * 0.4, 200 * 0.28], abs=25)


def test_frames_as_maps():
    sample = clip_sample(normals=False)
    transform = FramesAsMaps({"depth": 3, "thermal": 2})
    done = transform(sample, np.random.default_rng(0))
    assert transform.adds == ("depth_0", "depth_1", "depth_2", "thermal_0", "thermal_1")
    arrays = {key for key, value in done.items() if isinstance(value, np.ndarray)}
    assert arrays == {"rgb", "label", *transform.adds, "thermal_0_valid", "thermal_1_valid"}
    np.testing.assert_array_equal(done["depth_2"], sample["depth"][2])
    np.testing.assert_array_equal(done["thermal_1_valid"], sample["thermal_valid"][1])
    assert transform.added_maps["depth_1"] == MapSpec.of_unit("depth_1", "metre")
    packed = PackSample(maps=transform.added_maps)(done, np.random.default_rng(0))
    assert packed["depth_1"].shape == (1, 24, 32) and packed["depth_1_valid"].dtype == torch.bool
    relative = FramesAsMaps({"depth": 3, "thermal": 2}, maps={"depth": RELATIVE_DEPTH})
    assert "depth_1_valid" not in done
    np.testing.assert_array_equal(relative(sample, None)["depth_1_valid"], sample["depth"][1] > 0)
    with pytest.raises(ValueError, match=r"expects \{'depth': 3\} frames.* has \{.*'thermal': 2"):
        FramesAsMaps({"depth": 3})(sample, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: NearestFrames(augment={"depth": (1, 0)}), "augment of 'depth'"),
        (lambda: NearestFrames(delays={"depth": float("nan")}), "delay of 'depth'"),
        (lambda: NearestFrames(delays={"lidar": 1})(clip_sample(), None), "delays of .'lidar'., but the clips"),
        (lambda: FramesAsMaps({"lidar": 2}), "'lidar': 2"),
        (lambda: check_names(["time"], "here"), "found 'time'"),
        (lambda: check_names(["depth_time"], "here"), "found 'depth_time'"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time": None}, "has clips of .*expected time"),
        ({"time": float("nan")}, "expected time, of its label, in seconds, found nan"),
        ({"depth_time": np.array([1.0, 1.0, 2.0])}, r"depth of sample 'clip0'.*: expected ascending times"),
        ({"depth_time": np.array([1.0, 2.0, np.inf])}, "expected ascending times"),
        ({"depth_time": np.array([1.0, 2.0])}, r"depth_time float64 of \(3,\).* found float64 \(2,\)"),
        ({"depth_time": np.array([1, 2, 3])}, "found int64"),
        ({"depth": np.zeros((3, 20, 32), np.float32)}, r"expected shape \(3, 24, 32\)"),
        ({"thermal_valid": np.ones((24, 32), np.uint8)}, r"expected shape \(2, 24, 32\)"),
    ],
)
def test_validation_of_clips(changes, message):
    maps = {name: STANDARD_MAPS[name] for name in ("rgb", "depth", "thermal", "normal")}
    validate_sample(clip_sample(), maps, 4)
    with pytest.raises(ValueError, match=message):
        validate_sample({**clip_sample(), **changes}, maps, 4)
