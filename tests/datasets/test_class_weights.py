"""Label counts and class weights: definitions in a loop, numbers recorded by others on the same labels, kept counts."""

from __future__ import annotations

import json
import math
import os

import numpy as np
import pytest
import torch
from PIL import Image

from rgbx.datasets import CachedFrames, NYUDv2Folders, compute_class_weights, count_labels
from rgbx.datasets.class_weights import (
    CLASS_WEIGHTS,
    LabelCounts,
    effective_number,
    enet,
    equal_class_weights,
    inverse_frequency,
    inverse_root,
    median_frequency,
    resolve_class_weights,
)
from rgbx.datasets.files import FileDataset, Frame
from rgbx.losses import build_loss
from rgbx.maps import RGB, LabelEncoding


class Labels(FileDataset):
    """Labels in files; the rgb files hold no image, so whoever reads one fails."""

    def __init__(self, root, count=4):
        frames = [Frame(f"{n}", {"rgb": root / "no.png", "label": root / f"{n}.png"}) for n in range(count)]
        frames[0].files["rgb"] = root / "rgb.png"
        frames.append(Frame("unlabelled", {"rgb": root / "no.png"}))
        super().__init__(
            frames,
            {"rgb": RGB},
            LabelEncoding(),
            modalities=("rgb",),
            classes=("a", "b", "c", "absent"),
            palette=[[0, 0, 0]] * 4,
        )


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for n, size in enumerate([(5, 8), (7, 6), (9, 9), (4, 4)]):
        label = rng.choice(np.array([0, 0, 0, 1, 2, 255], np.uint8)[: 4 + n % 3], size)
        Image.fromarray(label).save(tmp_path / f"{n}.png")
    Image.fromarray(np.zeros((5, 8, 3), np.uint8)).save(tmp_path / "rgb.png")
    (tmp_path / "no.png").touch()
    return tmp_path


def in_a_loop(root):
    pixels, images = [0] * 4, [0] * 4
    for n in range(4):
        label = np.asarray(Image.open(root / f"{n}.png"))
        for k in range(4):
            found = sum(int(value) == k for value in label.flat)
            pixels[k] += found
            images[k] += label.size if found else 0
    return pixels, images


def test_counts_and_definitions(root):
    pixels, images = in_a_loop(root)
    counts = count_labels(Labels(root))
    assert list(counts.pixels) == pixels and list(counts.image_pixels) == images
    frequency = [pixels[k] / images[k] for k in range(3)]
    median = sorted(frequency)[1]
    total = sum(pixels)
    expected = {
        "median_frequency": [median / f for f in frequency],
        "inverse_frequency": [total / (3 * pixels[k]) for k in range(3)],
        "enet": [1 / math.log(1.02 + pixels[k] / total) for k in range(3)],
    }
    for method, weights in expected.items():
        found = compute_class_weights(Labels(root), method)
        assert found == pytest.approx([*weights, 1.0], rel=1e-5)
        assert all(type(weight) is float for weight in found)
    sums = [sum(0.9**i for i in range(pixels[k])) for k in range(3)]  # 1 + β + ... + βⁿ⁻¹
    found = effective_number(counts, beta=0.9)
    assert found[:3] == pytest.approx([3 / s / sum(1 / t for t in sums) for s in sums], rel=1e-5)
    assert effective_number(counts, beta=0)[:3] == pytest.approx([1, 1, 1])


def test_effective_number_lies_between_equal_and_inverse():
    counts = LabelCounts((10**9, 10**6, 10**5), (10**10,) * 3)
    weights = effective_number(counts)
    inverse = inverse_frequency(counts)
    assert 1 < weights[1] / weights[0] < inverse[1] / inverse[0]
    assert sum(weights) == pytest.approx(3, rel=1e-5)
    near_inverse = effective_number(counts, beta=1 - 1e-15)
    assert near_inverse[2] / near_inverse[0] == pytest.approx(1e4, rel=0.2)


def test_recorded_median_frequency_weights(nyuv2_320x240):
    """ACNet's 41 numbers, computed at full size with void as a class of its own.

    Void changes the median only: one factor for all classes, 0.973 here. What is left, at most 0.11 %, comes from the
    half size of these labels, whose sampled pixels count a class a little more or less often.
    """
    text = (nyuv2_320x240 / "acnet_class_weight_41.txt").read_text(encoding="utf-8-sig")
    recorded = np.array([float(value) for value in text.split()])[1:]
    dataset = NYUDv2Folders(nyuv2_320x240, modalities=("depth",))
    pixels, images = np.zeros(40), np.zeros(40)
    for stem in dataset.stems:
        label = np.asarray(Image.open(nyuv2_320x240 / "label" / f"{stem}.png"))
        found = np.bincount(label.ravel(), minlength=41)[1:]
        pixels += found
        images += (found > 0) * label.size
    weights = np.array(median_frequency(LabelCounts(tuple(pixels.astype(int)), tuple(images.astype(int)))))
    ratio = weights / recorded
    assert np.median(ratio) == pytest.approx(0.973, abs=0.001)
    np.testing.assert_allclose(ratio / np.median(ratio), 1, atol=0.0012)


def test_kept_counts_are_used_until_something_changes(root):
    file = root / "kept" / "counts.json"
    first = count_labels(Labels(root), cache=file)
    record = json.loads(file.read_text())
    record["pixels"][0] = 12345
    file.write_text(json.dumps(record))
    assert count_labels(Labels(root), cache=file).pixels[0] == 12345
    assert count_labels(Labels(root, count=3), cache=file).pixels[0] < first.pixels[0]
    count_labels(Labels(root), cache=file)
    Image.fromarray(np.full((5, 8), 2, np.uint8)).save(root / "1.png")
    os.utime(root / "1.png", ns=(5, 5))
    assert count_labels(Labels(root), cache=file).pixels != first.pixels
    record = file.read_text()
    for text in (
        "",
        "{",
        "[]",
        "{}",
        record.replace('"pixels": [', '"pixels": ["3", '),
        record.replace(": [", ": [-1, "),
    ):
        file.write_text(text)
        assert count_labels(Labels(root), cache=file) == count_labels(Labels(root))
    assert [path.name for path in file.parent.iterdir()] == ["counts.json"]


def test_a_config_gets_numbers_that_a_loss_takes(root):
    data = {"type": Labels, "root": root}
    for wanted in ("median_frequency", {"method": "enet", "c": 1.1}):
        model = {"loss": {"name": "cross_entropy", "class_weights": wanted}}
        resolve_class_weights(model, dict(data), cache=root / "counts.json")
        loss = build_loss(model["loss"])
        assert len(model["loss"]["class_weights"]) == 4
        label = torch.randint(0, 3, (2, 4, 4))
        assert loss(torch.randn(2, 4, 4, 4), label).isfinite()
        labels = {"task": "classes", "loss": {"name": "cross_entropy", "class_weights": wanted}}
        heads = {"labels": labels, "depth": {"task": "map"}}
        resolve_class_weights({"heads": heads}, dict(data), cache=root / "counts.json")
        assert heads == {"labels": {**labels, "loss": model["loss"]}, "depth": {"task": "map"}}
    for loss in ("dice", {"cross_entropy": 1.0}, {"name": "cross_entropy", "class_weights": [1.0, 2.0, 3.0, 4.0]}):
        model = {"loss": loss}
        resolve_class_weights(model, dict(data))
        assert model == {"loss": loss}


@pytest.mark.parametrize("folder", [None, "kept"])
def test_kept_frames_are_counted_without_being_read(root, folder):
    """Whoever read a whole frame would miss its rgb file."""
    cached = CachedFrames(Labels(root), folder=None if folder is None else root / folder)
    assert count_labels(cached) == count_labels(Labels(root))


def test_a_checkpoints_model_needs_no_counts():
    model = {"num_classes": 3, "loss": {"name": "cross_entropy", "class_weights": "enet"}}
    equal_class_weights(model)
    assert model["loss"]["class_weights"] == [1.0, 1.0, 1.0]
    heads = {"labels": {"num_classes": 2, "loss": {"class_weights": {"method": "enet"}}}, "depth": {"task": "map"}}
    equal_class_weights({"heads": heads})
    assert heads["labels"]["loss"]["class_weights"] == [1.0, 1.0]
    for loss in ("dice", {"name": "cross_entropy", "class_weights": [1.0, 2.0, 3.0]}):
        model = {"num_classes": 3, "loss": loss}
        equal_class_weights(model)
        assert model["loss"] == loss


def test_exception(root):
    with pytest.raises(ValueError, match=r"'median'; expected numbers or one of \['effective_number'"):
        compute_class_weights(Labels(root), "median")
    counts = LabelCounts((1, 2), (3, 3))
    with pytest.raises(ValueError, match="c > 1"):
        enet(counts, c=1)
    with pytest.raises(ValueError, match="beta"):
        effective_number(counts, beta=1)
    for n in range(4):
        Image.fromarray(np.full((5, 8), 255, np.uint8)).save(root / f"{n}.png")
    with pytest.raises(ValueError, match="Labels: no labelled pixel in 5 frames"):
        count_labels(Labels(root))
    assert set(CLASS_WEIGHTS) == {"median_frequency", "inverse_frequency", "inverse_root", "enet", "effective_number"}


def test_inverse_root_is_one_for_the_mean_pixel_and_bounded():
    weights = inverse_root(LabelCounts((64, 36, 0), (1, 1, 0)))
    assert weights == pytest.approx([1 / (0.8 * 1.4), 1 / (0.6 * 1.4), 1.0], rel=1e-5)
    assert 0.64 * weights[0] + 0.36 * weights[1] == pytest.approx(1, rel=1e-5)
    common, rare = inverse_root(LabelCounts((9999, 1), (1, 1)))
    assert 0.9 < common < 1 and rare == 4.0
    with pytest.raises(ValueError, match=r"0 < least <= 1 <= most, found 0\.5 and 0\.9"):
        inverse_root(LabelCounts((1, 1), (1, 1)), most=0.9)
