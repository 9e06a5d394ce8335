"""Transforms on maps of several channels: each channel becomes what it would become alone, as a map of one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rgbx.maps import MapSpec
from rgbx.transforms import (
    ColorJitter,
    Corrupt,
    DamageBlocks,
    HorizontalFlip,
    PackSample,
    PadTo,
    RandomCrop,
    RandomScaleCrop,
    Resize,
)

RNG = np.random.default_rng(1)
COUNTS = (2, 5, 13, 64)  # OpenCV takes up to four channels in some functions, and more in others


def sample_of(channels, holes=True):
    """A map of so many channels, each of them as a map of its own, and the specs of all."""
    array = RNG.normal(20, 5, (23, 37, channels)).astype(np.float32)
    valid = np.ones((23, 37), np.uint8)
    if holes:
        valid[3:9, 4:16] = valid[20, 30] = 0
        array[valid == 0] = 0
    specs = {"bands": MapSpec.of_unit("bands", "sensor", channels=channels)}
    sample = {"bands": array, "bands_valid": valid, "sample_id": "one", "paths": {}}
    for k in range(channels):
        specs[f"band{k}"] = MapSpec.of_unit(f"band{k}", "sensor")
        sample |= {f"band{k}": np.ascontiguousarray(array[..., k]), f"band{k}_valid": valid}
    if not holes:
        sample = {key: value for key, value in sample.items() if not key.endswith("_valid")}
    return sample, specs


@pytest.mark.parametrize("channels", COUNTS)
@pytest.mark.parametrize("holes", [True, False])
@pytest.mark.parametrize(
    "build",
    [
        lambda maps: HorizontalFlip(1.0, maps=maps),
        lambda maps: RandomCrop(16, maps=maps),
        lambda maps: RandomScaleCrop((24, 20), scales=[0.6], fill={"bands": 0.0}, maps=maps),
        lambda maps: RandomScaleCrop((24, 20), scales=[1.7], interpolation="cubic", maps=maps),
        lambda maps: Resize((11, 14), interpolation="area", maps=maps),
        lambda maps: Resize((40, 50), maps=maps),
        lambda maps: PadTo((30, 40), centre=True, maps=maps),
        lambda maps: Corrupt("shift", 5, key="bands", maps=maps),
    ],
)
def test_each_channel_as_alone(channels, holes, build):
    sample, maps = sample_of(channels, holes)
    transform = build(maps)
    done = transform(sample, np.random.default_rng(3))
    alone = done
    if isinstance(transform, Corrupt):
        alone = {}
        for k in range(channels):
            transform = Corrupt("shift", 5, key=f"band{k}", maps=maps)
            alone |= {
                key: value for key, value in transform(sample, np.random.default_rng(3)).items() if f"band{k}" in key
            }
    assert done["bands"].dtype == np.float32 and not np.array_equal(done["bands"], sample["bands"])
    for k in range(channels):
        np.testing.assert_allclose(done["bands"][..., k], alone[f"band{k}"], rtol=1e-4, atol=2e-3)
        if holes:
            np.testing.assert_array_equal(done["bands_valid"], alone[f"band{k}_valid"])
    if holes:
        assert (done["bands"][done["bands_valid"] == 0] == 0).all() and (done["bands_valid"] == 0).any()


@pytest.mark.parametrize("channels", COUNTS)
def test_a_rotation(channels):
    compose = pytest.importorskip("rgbx.transforms.compose")
    albumentations = pytest.importorskip("albumentations")
    sample, maps = sample_of(channels)
    transform = compose.AlbumentationsGeometry([albumentations.Affine(rotate=(31, 31), p=1.0)], maps=maps)
    done = transform(sample, np.random.default_rng(0))
    for k in range(channels):
        np.testing.assert_array_equal(done["bands"][..., k], done[f"band{k}"])
    assert not np.array_equal(done["bands"], sample["bands"])


@pytest.mark.parametrize("channels", COUNTS)
def test_packed(channels):
    sample, maps = sample_of(channels)
    packed = PackSample(maps=maps)(sample, RNG)
    assert packed["bands"].shape == (channels, 23, 37) and packed["bands"].is_contiguous()
    for k in range(channels):
        assert torch.equal(packed["bands"][k], packed[f"band{k}"][0])
    assert torch.equal(packed["bands_valid"], packed["band0_valid"])
    wrong = {**sample, "bands": sample["bands"][..., :1]}
    with pytest.raises(ValueError, match=rf"bands of sample 'one' must be float32 with {channels} channels"):
        PackSample(maps=maps)(wrong, RNG)


def test_colours_leave_it_alone_and_damage_marks_it():
    sample, maps = sample_of(5)
    rgb = RNG.integers(0, 256, (23, 37, 3), dtype=np.uint8)
    done = ColorJitter(probability=1.0)({**sample, "rgb": rgb}, np.random.default_rng(0))
    assert done["bands"] is sample["bands"] and not np.array_equal(done["rgb"], rgb)
    for kind in ("noise", "holes", "constant", "stripes", "mirrored", "foreign"):
        damage = DamageBlocks(["bands"], kinds=[kind], probability=1.0, maps=maps)
        done = damage(sample, np.random.default_rng(0))
        outside = done["bands_corrupted"] == 0
        assert outside.any() and not outside.all() and done["bands"].shape == sample["bands"].shape
        np.testing.assert_array_equal(done["bands"][outside], sample["bands"][outside])
    gone = Corrupt("missing", 1, key="bands", maps=maps)(sample, RNG)
    assert not gone["bands_valid"].any() and not gone["bands"].any()
