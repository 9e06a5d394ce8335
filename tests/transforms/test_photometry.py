"""Colour changes: on rgb alone, drawn from the sample's generator, strictly checked, and alike by every library."""

from __future__ import annotations

import colorsys
import pickle
import sys
from pathlib import Path

import albumentations
import cv2
import numpy as np
import pytest
import torch

import rgbx.transforms
from rgbx.cli.config import load_config
from rgbx.datasets import DenseDataset
from rgbx.maps import STANDARD_MAPS
from rgbx.transforms import AlbumentationsPhotometry, ColorJitter
from rgbx.transforms.colour import BACKENDS, Colours, apply, colours_of

CONFIGS = Path(__file__).parents[2] / "configs"
RNG = np.random.default_rng(0)
SAMPLE = {
    "rgb": RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8),
    "depth": RNG.random((20, 30), np.float32),
    "hha": np.full((20, 30, 3), 80, np.uint8),
    "label": np.zeros((20, 30), np.uint8),
    "sample_id": "a",
}


def images(count):
    """Noise, smooth colours, extremes and plain images, of many sizes."""
    rng = np.random.default_rng(7)
    for k in range(count):
        height, width = rng.integers(1, 60, 2)
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        yield (
            noise,
            cv2.GaussianBlur(noise, (9, 9), 0),
            rng.choice(np.array([0, 1, 254, 255], np.uint8), noise.shape),
            np.broadcast_to(noise[:1, :1], noise.shape),
        )[k % 4]


def amounts(count):
    """Of brightness, contrast, saturation, hue: as the default jitter draws them, and no change at all."""
    rng = np.random.default_rng(8)
    yield (1.0, 1.0, 1.0, 0.0)
    for _ in range(count - 1):
        yield (*rng.uniform(0.8, 1.2, 3), rng.uniform(-0.5, 0.5))


def turned_exactly(image, share):
    """The hue of each pixel turned in floats, by Python's own library."""
    result = np.empty(image.shape)
    for row, column in np.ndindex(image.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[row, column] / 255)
        result[row, column] = colorsys.hsv_to_rgb((hue + share) % 1, saturation, value)
    return result * 255


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


@pytest.mark.parametrize("probability", [0.0, 0.6, 1.0])
def test_draws_and_numbers_are_those_of_albumentations(probability):
    """Without it: the same draws of the same generator, which is left in the same state, and the same pixels."""
    given = dict(brightness=0.3, contrast=0.9, saturation=1.0, hue=0.4)
    theirs = AlbumentationsPhotometry([{"type": albumentations.ColorJitter, "p": probability, **given}])
    ours = ColorJitter(**given, probability=probability)
    for k, image in enumerate(images(80)):
        one, other = np.random.default_rng(k), np.random.default_rng(k)
        np.testing.assert_array_equal(ours({"rgb": image}, one)["rgb"], theirs({"rgb": image}, other)["rgb"])
        assert one.bit_generator.state == other.bit_generator.state


@pytest.mark.parametrize("backend", BACKENDS)
def test_changes_are_equal_within_rounding(backend):
    """Each against albumentations' own; torchvision's hue, which no 8 bits round, has a test of its own."""
    most = 1 if backend == "torchvision" else 0
    theirs, ours = colours_of("albumentations"), colours_of(backend)
    for image, drawn in zip(images(200), amounts(200), strict=True):
        kept = image.copy()
        for name, amount in zip(Colours._fields, drawn, strict=True):
            if (backend, name) == ("torchvision", "hue"):
                continue
            found = getattr(ours, name)(image, amount)
            assert found.dtype == np.uint8 and found.flags.c_contiguous
            assert np.abs(found.astype(int) - getattr(theirs, name)(kept, amount)).max() <= most, (name, amount)
        np.testing.assert_array_equal(image, kept)


def test_the_hue_of_floats_and_that_of_8_bits():
    """torchvision's is exact to rounding; that of 8 bits lies up to 3° aside, 2° of them in the turn."""
    image = RNG.integers(0, 256, (24, 24, 3), dtype=np.uint8)
    for share in (-0.5, -0.047, -0.003, 0.0, 0.02, 0.31):
        exact = turned_exactly(image, share)
        aside = {name: np.abs(colours_of(name).hue(image, share) - exact).max() for name in BACKENDS}
        assert aside["torchvision"] <= 1
        assert aside["opencv"] == aside["albumentations"] <= 255 * 3 / 60 + 2


def test_every_backend_has_the_same_draws_and_travels_to_workers():
    drawn = [ColorJitter(backend=name, probability=0.8).draw(np.random.default_rng(3)) for name in BACKENDS]
    assert drawn[0] == drawn[1] == drawn[2] is not None
    for name in BACKENDS:
        jitter = ColorJitter(backend=name, probability=1.0)
        found, copied = (
            one(SAMPLE, np.random.default_rng(3))["rgb"] for one in (jitter, pickle.loads(pickle.dumps(jitter)))
        )
        expected = apply(SAMPLE["rgb"], jitter.draw(np.random.default_rng(3)), colours_of(name))
        np.testing.assert_array_equal(found, copied)
        np.testing.assert_array_equal(found, expected)


class Frames(DenseDataset):
    """One frame, or one clip of two, with the maps and the transforms that a config names."""

    def __init__(self, modalities, transforms, clip):
        super().__init__(modalities=modalities, classes=("a", "b"), palette=[[0] * 3] * 2, transforms=transforms)
        self.clip = clip

    def __len__(self):
        return 2

    def read(self, index):
        rng, shape = np.random.default_rng(index), (240, 320)
        sample = {"label": rng.integers(0, 2, shape, dtype=np.uint8), "sample_id": str(index), "paths": {}}
        for name, spec in self.maps.items():
            whole = (*shape, spec.channels) if spec.channels > 1 else shape
            frame = rng.random(whole) * (200 if spec.dtype == "uint8" else 2) + 1
            if spec.unit == "unit_vector":
                frame /= np.linalg.norm(frame, axis=-1, keepdims=True)
            sample[name] = np.stack([frame.astype(spec.dtype)] * (2 if self.clip else 1)).squeeze()
            if self.clip:
                sample[f"{name}_time"] = np.arange(2.0)
        return {**sample, "time": 1.0} if self.clip else sample


@pytest.fixture
def no_albumentations(monkeypatch):
    """As if it were not installed, to all that is imported from now on; `tests/test_floors.py` sees to the rest."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "albumentations"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "rgbx.transforms.compose", raising=False)


CONFIGS_OF_TRAININGS = [path for path in sorted(CONFIGS.glob("[!_]*/*.py")) if path.parent.name != "studies"]


@pytest.mark.parametrize("path", CONFIGS_OF_TRAININGS, ids=lambda path: path.stem)
def test_every_config_trains_without_albumentations(path, no_albumentations):
    data = load_config(path).train_dataloader.dataset
    transforms = [{**t, "size": (48, 64)} if t.get("size") == "dataset" else t for t in data.transforms]
    names = [name for name in data.get("modalities") or ("rgb", "depth") if name in STANDARD_MAPS]
    sample = Frames(names, transforms, clip="clips" in path.name)[0]
    assert all(isinstance(sample[name], torch.Tensor) for name in names)


def test_what_needs_albumentations_says_so(no_albumentations):
    for ask in (lambda: rgbx.transforms.AlbumentationsGeometry, lambda: ColorJitter(backend="albumentations")):
        with pytest.raises(ImportError, match=r"need albumentations: pip install albumentations==2\.0\.8"):
            ask()


def test_exception():
    with pytest.raises(ValueError, match=r"ColorJitter needs 'rgb'.*'a'.*depth"):
        ColorJitter()({"depth": SAMPLE["depth"], "sample_id": "a"}, RNG)
    with pytest.raises(ValueError, match="hue_shift"):
        AlbumentationsPhotometry([{"type": albumentations.HueSaturationValue, "hue_shift": 3}])
    with pytest.raises(ValueError, match=r"ImageOnlyTransform.*HorizontalFlip"):
        AlbumentationsPhotometry([albumentations.HorizontalFlip()])
    with pytest.raises(ValueError, match=r"hue of ColorJitter must lie in 0\.\.0\.5, found 0\.6"):
        ColorJitter(hue=0.6)
    with pytest.raises(ValueError, match=r"brightness of ColorJitter must lie in .*, found -0\.1"):
        ColorJitter(brightness=-0.1)
    with pytest.raises(ValueError, match=r"'torch_vision'.*torchvision"):
        ColorJitter(backend="torch_vision")
    with pytest.raises(AttributeError, match="AlbumentationGeometry"):
        rgbx.transforms.AlbumentationGeometry  # noqa: B018
