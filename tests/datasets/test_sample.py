"""The sample contract: what is refused, what a message names, and where randomness comes from."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from rgbx.datasets import DenseDataset, EpochSampler, MapSpec, SampleKey
from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample, RandomScaleCrop

SIZE = (12, 16)


class Gradients(DenseDataset):
    """Small frames made from their index; `change` spoils one for a test."""

    def __init__(self, count: int = 10, change: dict[str, Any] | None = None, **options: Any):
        options.setdefault("modalities", ("rgb", "depth"))
        super().__init__(classes=("a", "b", "c"), palette=[[0, 0, 0], [1, 1, 1], [2, 2, 2]], **options)
        self.count, self.change = count, change or {}

    def __len__(self) -> int:
        return self.count

    def read(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng(index)
        sample = {
            "rgb": rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8),
            "depth": rng.random(SIZE, np.float32) + 1,
            "label": rng.integers(0, 3, SIZE, dtype=np.uint8),
            "sample_id": f"frame{index}",
            "paths": {"rgb": "a.png", "depth": "b.png", "label": "c.png"},
        }
        sample.update(self.change)
        return {key: value for key, value in sample.items() if value is not None}


AUGMENT = (RandomScaleCrop((10, 10)), HorizontalFlip(), ColorJitter(probability=1.0), PackSample())


def test_smoke():
    dataset = Gradients()
    assert dataset.num_classes == 3
    info = dataset.metainfo
    assert set(info) == {"classes", "palette", "ignore_index", "modalities", "targets", "maps"}
    assert info["maps"]["depth"].unit == "metre" and info["ignore_index"] == 255
    assert set(dataset[3]) == {"rgb", "depth", "label", "sample_id", "paths"}
    assert dataset[-1]["sample_id"] == "frame9" and len(list(dataset)) == 10
    with pytest.raises(IndexError, match="10 is out of range for 10"):
        dataset[10]


@pytest.mark.parametrize(
    ("turn", "words"), [(6, "turned by 90°"), (8, "turned by 270°"), (5, "mirrored left to right, then turned by 270°")]
)
def test_a_turn_is_named_where_sizes_differ(tmp_path, turn, words):
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.new("RGB", (12, 16)).save(tmp_path / "a.jpg", exif=exif)
    turned = {"rgb": np.zeros((16, 12, 3), np.uint8), "paths": {"rgb": str(tmp_path / "a.jpg"), "depth": "b.png"}}
    with pytest.raises(
        ValueError, match=rf"expected shape \(16, 12\), found \(12, 16\).*{tmp_path}/a\.jpg.*rgb is {words}"
    ):
        Gradients(change=turned)[0]
    Image.new("RGB", (12, 16)).save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"one size at reading$"):
        Gradients(change=turned)[0]


@pytest.mark.parametrize("mask", ["depth_valid", "depth_corrupted"])
def test_a_mask_is_checked_like_its_map(mask):
    with pytest.raises(ValueError, match=rf"{mask} of sample .*: expected uint8, found bool"):
        Gradients(change={mask: np.ones(SIZE, bool)})[0]
    with pytest.raises(ValueError, match=rf"{mask} .*: expected shape \(12, 16\), found \(12, 15\)"):
        Gradients(change={mask: np.ones((12, 15), np.uint8)})[0]
    assert mask in Gradients(change={mask: np.ones(SIZE, np.uint8)})[0]


def test_unlabelled_images_pass():
    assert "label" not in Gradients(change={"label": None})[0]


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"label": np.full(SIZE, 3, np.uint8)}, ["c.png", "[3]", "0..2", "offset of 1"]),
        ({"label": np.arange(192, dtype=np.uint8).reshape(SIZE)}, ["and 179 more", "189 pixels"]),
        ({"label": np.zeros(SIZE, np.int64)}, ["label of sample 'frame0' (c.png)", "uint8", "int64"]),
        ({"label": np.zeros((12, 15), np.uint8)}, ["(12, 16)", "(12, 15)", "c.png"]),
        ({"rgb": np.zeros(SIZE, np.uint8)}, ["a.png", "(12, 16, 3)", "(12, 16)"]),
        ({"rgb": np.zeros((*SIZE, 3), np.float32)}, ["a.png", "uint8", "float32"]),
        ({"rgb": [[1]]}, ["a.png", "list"]),
        ({"depth": np.zeros(SIZE, np.uint16)}, ["b.png", "float32", "uint16"]),
        ({"depth": np.full(SIZE, np.nan, np.float32)}, ["b.png", "NaN"]),
        ({"depth": np.full(SIZE, -1, np.float32)}, ["b.png", ">= 0", "-1"]),
        ({"depth": None}, ["lacks 'depth'", "frame0"]),
        ({"paths": None}, ["lacks 'paths'"]),
    ],
)
def test_exception_names_file_and_field(change, parts):
    with pytest.raises(ValueError) as caught:
        Gradients(change=change)[0]
    for part in parts:
        assert part in str(caught.value)


def test_exception_on_construction():
    with pytest.raises(ValueError, match=r"\['lidar'\] have no MapSpec"):
        Gradients(modalities=("rgb", "lidar"))
    with pytest.raises(ValueError, match="distinct"):
        Gradients(modalities="rgb")
    with pytest.raises(ValueError, match="interpolation"):
        MapSpec("lidar", 1, "float32", "metre", "bicubic")


def test_declared_maps_are_accepted():
    spec = MapSpec("lidar", 2, "float32", "sensor", "nearest")
    lidar = np.ones((*SIZE, 2), np.float32)
    dataset = Gradients(
        modalities=("lidar",),
        maps={"lidar": spec},
        change={"lidar": lidar},
        transforms=[PackSample(maps={"lidar": spec})],
    )
    assert dataset[0]["lidar"].shape == (2, *SIZE)


def test_transforms_may_come_as_config():
    dataset = Gradients(transforms=[{"type": RandomScaleCrop, "size": [4, 6]}])
    assert dataset[0]["rgb"].shape == (4, 6, 3)


def draw(num_workers: int, epoch: int, seed: int = 7) -> dict[str, np.ndarray]:
    """All augmented samples of an epoch by sample id."""
    dataset = Gradients(transforms=AUGMENT)
    sampler = EpochSampler(dataset, seed=seed)
    sampler.set_epoch(epoch)
    loader = DataLoader(dataset, batch_size=2, sampler=sampler, num_workers=num_workers)
    batches = list(loader)
    keys = ("rgb", "depth", "depth_valid", "label")
    return {
        name: np.concatenate([batch[key][i].numpy().ravel().astype(np.float64) for key in keys])
        for batch in batches
        for i, name in enumerate(batch["sample_id"])
    } | {"order": np.array([int(n[5:]) for batch in batches for n in batch["sample_id"]])}


def test_a_rerun_repeats_with_any_number_of_workers():
    alone = draw(0, epoch=1)
    for other in (draw(0, epoch=1), draw(2, epoch=1)):
        assert alone.keys() == other.keys()
        for name in alone:
            np.testing.assert_array_equal(alone[name], other[name])


def test_epochs_and_seeds_differ():
    draws = [draw(0, 0), draw(0, 1), draw(0, 0, seed=8)]
    for one, other in pairwise(draws):
        for name in one:
            assert not np.array_equal(one[name], other[name]), name


def test_samples_of_different_workers_draw_differently():
    """Same frame content everywhere, so equal draws would give equal results."""
    frame = Gradients().read(0)
    fixed = {key: frame[key] for key in ("rgb", "depth", "label")}
    dataset = Gradients(count=8, change=fixed, transforms=AUGMENT)
    loader = DataLoader(dataset, batch_size=1, sampler=EpochSampler(dataset), num_workers=2)
    seen = {batch["rgb"].numpy().tobytes() for batch in loader}
    assert len(seen) == 8


def test_a_sample_depends_on_its_key_only():
    dataset = Gradients(transforms=AUGMENT)
    first = dataset[SampleKey(3, 11)]["rgb"]
    dataset[SampleKey(4, 11)]
    np.random.seed(0)
    assert (dataset[SampleKey(3, 11)]["rgb"] == first).all()
    assert not (dataset[SampleKey(3, 12)]["rgb"] == first).all()


def test_targets_leave_a_source():
    class Pairs(DenseDataset):
        def __init__(self, targets):
            super().__init__(modalities=("rgb", "depth"), classes=(), palette=(), targets=targets)

    assert Pairs(("depth",)).sources == ("rgb",)
    assert Pairs(()).sources == ("rgb", "depth")
    for wrong in (("rgb", "depth"), ("thermal",), "depth"):
        with pytest.raises(ValueError, match="targets must be some of the modalities"):
            Pairs(wrong)
