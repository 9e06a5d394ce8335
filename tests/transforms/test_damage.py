"""Damaged blocks: each kind against naive loops, nothing else changes, and another frame is read as it lies there."""

from __future__ import annotations

import numpy as np
import pytest
from torch.utils.data import DataLoader

from rgbx.datasets import CachedFrames, DenseDataset, EpochSampler, EveryKth, MapSpec, SampleKey, SyntheticRooms
from rgbx.maps import STANDARD_MAPS
from rgbx.transforms import (
    DAMAGES,
    AlbumentationsGeometry,
    CenterCrop,
    ComputeEdges,
    DamageBlocks,
    HorizontalFlip,
    PackSample,
    PadTo,
    RandomCrop,
    RandomScaleCrop,
    Resize,
    collate,
)

MAPS = {
    **STANDARD_MAPS,
    "lidar": MapSpec("lidar", 1, "float32", "metre", "nearest"),
    "event": MapSpec("event", 2, "float32", "sensor", "linear"),
    "night": MapSpec("night", 1, "uint8", "encoded", "linear"),
}
SELF_TELLING = ("depth", "lidar", "normal")  # their value 0 says that nothing was measured
MASKED = ("thermal",)


def frame(seed=0, size=(40, 56), masked=MASKED, names=tuple(MAPS)):
    """All kinds of maps, no two neighbours equal, with holes in those that can have them."""
    rng = np.random.default_rng(seed)
    sample = {"sample_id": f"{seed}", "paths": {}}
    for name in names:
        spec = MAPS[name]
        x = rng.random(spec.shape(*size), np.float32)
        if spec.dtype == "uint8":
            x = (30 + 200 * x).astype(np.uint8)
        elif spec.unit == "unit_vector":
            x = x - np.float32(0.5)
            x /= np.linalg.norm(x, axis=2, keepdims=True)
        elif spec.unit == "metre":
            x = 1 + 4 * x
        elif spec.unit == "sensor":
            x = -30 + 15 * x
        hole = rng.random(size) < 0.1
        if name in SELF_TELLING or name in masked:
            x[hole] = 0
        if name in masked:
            sample[f"{name}_valid"] = (~hole).astype(np.uint8)
        sample[name] = x
    return sample


def measured(sample, name):
    if f"{name}_valid" in sample:
        return sample[f"{name}_valid"] > 0
    array = sample[name].reshape(*sample[name].shape[:2], -1)
    return (array != 0).any(2) if name in SELF_TELLING else np.ones(array.shape[:2], bool)


def box_of(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def one_block(name, kind, seed, sample=None, another=None, **options):
    """The sample, what became of it, and the block."""
    sample = frame() if sample is None else sample
    transform = DamageBlocks((name,), kinds=(kind,), probability=1, blocks=(1, 1), maps=MAPS, **options)
    found = transform(sample, np.random.default_rng(seed), another)
    box = box_of(found[f"{name}_corrupted"])
    assert found[f"{name}_corrupted"][box].all()
    return sample, found, box


@pytest.mark.parametrize("size", [(40, 56), (7, 90), (33, 5), (1, 3), (1, 1)])
@pytest.mark.parametrize("kind", DAMAGES)
def test_only_the_blocks_change(kind, size):
    for seed in range(4):
        source, other, untouched = frame(seed, size), frame(9, size), frame(seed, size)
        transform = DamageBlocks(tuple(MAPS), kinds=(kind,), probability=0.7, maps=MAPS)
        found = transform(source, np.random.default_rng(seed), lambda other=other: other)
        for key, value in untouched.items():
            if not isinstance(value, np.ndarray):
                assert found[key] == value
                continue
            np.testing.assert_array_equal(source[key], value)  # inputs are not written to
            assert found[key].dtype == value.dtype and found[key].shape == value.shape
            mask = found[f"{key.removesuffix('_valid')}_corrupted"]
            assert mask.dtype == np.uint8 and mask.shape == size and set(np.unique(mask)) <= {0, 1}
            np.testing.assert_array_equal(found[key][mask == 0], value[mask == 0])
            assert np.isfinite(found[key]).all()
        for name in MAPS:
            before, now = measured(source, name), measured(found, name)
            inside = found[f"{name}_corrupted"] == 1
            np.testing.assert_array_equal(before[~inside], now[~inside])
            if kind == "noise":
                np.testing.assert_array_equal(before, now)
            if kind == "holes" and f"{name}_valid" in found:
                assert not now[inside].any()
            if MAPS[name].unit == "metre":
                assert found[name].min() >= 0
            if MAPS[name].unit == "relative":
                assert found[name].min() >= 0 and found[name].max() <= 1
            if MAPS[name].unit == "unit_vector":
                np.testing.assert_allclose(np.linalg.norm(found[name][now], axis=1), 1, atol=1e-5)
            if min(size) > 30 and inside.any():  # but for holes that stay, and middle columns of mirrors
                changed = (found[name] != source[name]).reshape(*size, -1).any(2) | (now != before)
                assert changed[inside].mean() > 0.75, (name, changed[inside].mean())


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("seed", range(3))
class TestKinds:
    def test_mirrored(self, name, seed):
        source, found, (rows, columns) = one_block(name, "mirrored", seed)
        for row in range(rows.start, rows.stop):
            for column in range(columns.start, columns.stop):
                mirror = columns.stop - 1 - (column - columns.start)
                expected = source[name][row, mirror].copy()
                if name == "normal":
                    expected[0] = -expected[0]
                np.testing.assert_array_equal(found[name][row, column], expected)
                assert measured(found, name)[row, column] == measured(source, name)[row, mirror]

    def test_holes(self, name, seed):
        source, found, box = one_block(name, "holes", seed)
        assert (found[name][box] == 0).all()
        expected = measured(source, name)
        expected[box] = False
        if MAPS[name].dtype == "uint8":
            assert f"{name}_valid" not in found
        else:
            np.testing.assert_array_equal(measured(found, name), expected)
            packed = PackSample(maps=MAPS)(found, np.random.default_rng(0))
            np.testing.assert_array_equal(packed[f"{name}_valid"][0], expected)
        assert (f"{name}_valid" in found) == (name in ("thermal", "event", "edge"))

    def test_constant(self, name, seed):
        source, found, box = one_block(name, "constant", seed)
        block = found[name][box].reshape(-1, MAPS[name].channels)
        assert (block == block[0]).all() and measured(found, name)[box].all()
        if name != "normal":
            values = source[name][measured(source, name)].reshape(-1, MAPS[name].channels)
            assert (values.min(0) <= block[0]).all() and (block[0] <= values.max(0)).all()

    def test_stripes(self, name, seed):
        _, found, box = one_block(name, "stripes", seed, side=(0.4, 0.5))
        block = found[name][box].reshape(*found[name][box].shape[:2], -1)
        flat = [bool((block == block.take([0], axis=axis)).all()) for axis in (0, 1)]
        assert sorted(flat) == [False, True] and measured(found, name)[box].all()
        lines = block[0] if flat[0] else block[:, 0]
        assert len(np.unique(lines, axis=0)) >= 4

    def test_noise(self, name, seed):
        source, found, box = one_block(name, "noise", seed, side=(0.5, 0.5))
        known = measured(source, name)
        np.testing.assert_array_equal(measured(found, name), known)
        assert (found[name][~known] == 0).all()
        difference = (found[name].astype(float) - source[name])[box][known[box]]
        values = source[name][known].reshape(-1, MAPS[name].channels)
        spread = np.mean([np.ptp(np.sort(x)[len(x) // 100 : -len(x) // 100]) for x in values.T])
        least, most = (0.02, 1.0) if name in ("normal", "edge") else (0.07, 0.6)  # bounded after noise was added
        assert least * spread < difference.std() < most * spread

    def test_foreign(self, name, seed):
        other = frame(100 + seed, masked=("thermal",) if seed else ("event", "night"))
        source, found, box = one_block(name, "foreign", seed, another=lambda: other)
        np.testing.assert_array_equal(found[name][box], other[name][box])
        np.testing.assert_array_equal(measured(found, name)[box], measured(other, name)[box])
        expected = f"{name}_valid" in source or f"{name}_valid" in other
        assert (f"{name}_valid" in found) == expected


@pytest.mark.parametrize("theirs", [(40, 56), (60, 56), (50, 80), (17, 23), (30, 90), (1, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_foreign_frames_of_other_sizes_are_cut_or_repeated(theirs, seed):
    """All maps of a sample show one place of the other frame, whichever it is."""
    other = frame(3, theirs)
    names = ("rgb", "depth", "normal")
    transform = DamageBlocks(names, kinds=("foreign",), probability=1, maps=MAPS)
    found = transform(frame(), np.random.default_rng(seed), lambda: other)
    places = [
        (down, right)
        for down in range(max(theirs[0] - 40, 0) + 1)
        for right in range(max(theirs[1] - 56, 0) + 1)
        if all(
            np.array_equal(found[name][r, c], other[name][(r + down) % theirs[0], (c + right) % theirs[1]])
            for name in names
            for r, c in zip(*np.nonzero(found[f"{name}_corrupted"]), strict=True)
        )
    ]
    assert len(places) == 1 and (theirs != (40, 56) or places == [(0, 0)])


@pytest.mark.parametrize("size", [(40, 56), (2, 3), (1, 2), (5, 1)])
def test_without_another_frame_it_is_another_place_of_this_one(size):
    for seed in range(5):
        sample, found, box = one_block("rgb", "foreign", seed, frame(0, size, names=("rgb",)))
        rows, columns = (np.arange(size[axis])[box[axis]] for axis in (0, 1))
        moved = [
            (down, right)
            for down in range(size[0])
            for right in range(size[1])
            if np.array_equal(
                found["rgb"][box], sample["rgb"][np.ix_((rows + down) % size[0], (columns + right) % size[1])]
            )
        ]
        assert len(moved) == 1 and moved[0] != (0, 0)
        for shift, length in zip(moved[0], size, strict=True):
            assert length == 1 or length // 4 <= shift <= length - length // 4


def test_probabilities_numbers_and_sides_are_those_that_were_asked_for():
    hits, counts, sides = [], [], []
    for seed in range(300):
        transform = DamageBlocks(("rgb", "edge"), kinds=("constant",), probability=0.3, blocks=(1, 1), side=(0.2, 0.4))
        found = transform(frame(names=("rgb", "edge")), np.random.default_rng(seed))
        masks = [found[f"{name}_corrupted"] for name in ("rgb", "edge")]
        hits.append([mask.any() for mask in masks])
        sides += [(mask.any(1).sum() / 40, mask.any(0).sum() / 56) for mask in masks if mask.any()]
    for seed in range(60):  # blocks of a pixel seldom overlap
        transform = DamageBlocks(("rgb",), kinds=("constant",), probability=1, blocks=(2, 3), side=(0.01, 0.01))
        counts.append(transform(frame(names=("rgb",)), np.random.default_rng(seed))["rgb_corrupted"].sum())
    rates = np.mean(hits, axis=0)
    assert (abs(rates - 0.3) < 0.08).all() and abs(np.mean(np.all(hits, axis=1)) - 0.09) < 0.05  # independent
    assert set(counts) <= {1, 2, 3} and counts.count(2) > 15 and counts.count(3) > 15
    sides = np.array(sides)
    assert (sides >= 0.2 - 0.5 / 40).all() and (sides <= 0.4 + 0.5 / 40).all() and (np.ptp(sides, axis=0) > 0.15).all()
    assert abs(np.corrcoef(sides.T)[0, 1]) < 0.3


def test_kinds_are_drawn_alike():
    seen = []
    for seed in range(300):
        _, found, box = one_block("rgb", "holes", seed, frame(names=("rgb",)), side=(0.1, 0.1))
        assert (found["rgb"][box] == 0).all()
        mixed = DamageBlocks(("rgb",), kinds=("holes", "noise", "mirrored"), probability=1, blocks=(1, 1))
        found = mixed(frame(names=("rgb",)), np.random.default_rng(seed))
        block = found["rgb"][box_of(found["rgb_corrupted"])]
        original = frame(names=("rgb",))["rgb"][box_of(found["rgb_corrupted"])]
        same = np.array_equal(block, original[:, ::-1])
        seen.append("holes" if (block == 0).all() else "mirrored" if same else "noise")
    assert all(70 < seen.count(kind) < 130 for kind in ("holes", "noise", "mirrored"))


def test_earlier_damage_stays_marked():
    first = DamageBlocks(("depth",), kinds=("holes",), probability=1)
    second = DamageBlocks(("depth",), kinds=("constant",), probability=1)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        once = first(frame(names=("depth",)), rng)
        kept = once["depth_corrupted"].copy()
        twice = second(once, rng)
        np.testing.assert_array_equal(once["depth_corrupted"], kept)
        assert (twice["depth_corrupted"] >= kept).all() and twice["depth_corrupted"].sum() > kept.sum()


def test_flat_maps_are_damaged_too():
    flat = {name: np.full(MAPS[name].shape(30, 30), 1, MAPS[name].dtype) for name in ("rgb", "lidar", "edge", "event")}
    flat["depth"] = np.zeros((30, 30), np.float32)  # nothing measured
    for name in flat:
        for kind in ("noise", "constant", "stripes"):
            given = {**flat, "sample_id": "a", "paths": {}}
            _, found, box = one_block(name, kind, 0, given)
            changed = (found[name][box] != flat[name][box]).mean()
            assert changed > 0.4 or (name, kind) == ("depth", "noise")


@pytest.mark.parametrize("bright", [True, False])
def test_noise_on_bytes_ends_at_their_ends(bright):
    rgb = np.random.default_rng(0).integers(0, 16, (30, 30, 3), dtype=np.uint8) + np.uint8(240 * bright)
    _, found, _ = one_block("rgb", "noise", 0, {"rgb": rgb, "sample_id": "a", "paths": {}}, side=(1, 1))
    assert (found["rgb"] > 200).all() if bright else (found["rgb"] < 55).all()


def test_computed_maps_are_damaged_where_their_source_is():
    damage = DamageBlocks(("rgb",), kinds=("constant",), probability=1)
    found = ComputeEdges()(damage(frame(names=("rgb",)), np.random.default_rng(0)), np.random.default_rng(0))
    np.testing.assert_array_equal(found["edge_corrupted"], found["rgb_corrupted"])
    assert "edge_corrupted" not in ComputeEdges()(frame(names=("rgb",)), np.random.default_rng(0))


GEOMETRY = {
    "scale and crop": [RandomScaleCrop((30, 34)), HorizontalFlip(1.0), PadTo((50, 44)), CenterCrop((44, 40))],
    "resize": [Resize((31, 77)), RandomCrop((20, 30))],
    "albumentations": [AlbumentationsGeometry([dict(type="albumentations.Affine", rotate=30, scale=0.7, p=1.0)])],
}


@pytest.mark.parametrize("chain", GEOMETRY)
@pytest.mark.parametrize("seed", range(4))
def test_geometry_carries_the_mask_as_it_does_labels(chain, seed):
    rng = np.random.default_rng(seed)
    damage = DamageBlocks(("rgb", "depth"), kinds=("noise",), probability=1, blocks=(3, 3), side=(0.5, 0.6))
    sample = damage(frame(names=("rgb", "depth")), rng)
    sample["label"] = sample["depth_corrupted"].copy()
    for transform in GEOMETRY[chain]:
        sample = transform(sample, rng)
    mask = sample["depth_corrupted"]
    assert mask.dtype == np.uint8 and mask.any()
    np.testing.assert_array_equal(mask == 1, sample["label"] == 1)  # padding is 255 there and undamaged here


class Numbered(DenseDataset):
    """Frame i has the value i + 1 everywhere, and counts how often it is read."""

    def __init__(self, count=5, sizes=((12, 16),), modalities=("rgb", "thermal"), **options):
        super().__init__(modalities=modalities, classes=(), palette=(), **options)
        self.count, self.sizes, self.reads = count, sizes, []

    def __len__(self):
        return self.count

    def read(self, index):
        self.reads.append(index)
        size = self.sizes[index % len(self.sizes)]
        valid = np.ones(size, np.uint8)
        valid[index] = 0
        return {
            "rgb": np.full((*size, 3), index + 1, np.uint8),
            "thermal": np.where(valid, np.float32(index + 1), np.float32(0)),
            "thermal_valid": valid,
            **({"event": np.full((*size, 2), index, np.float32)} if "event" in self.maps else {}),
            "sample_id": str(index),
            "paths": {},
        }


FOREIGN = dict(type=DamageBlocks, keys=("rgb", "thermal"), kinds=("foreign",), probability=0.8)


def same(a, b):
    assert a.keys() == b.keys()
    for key, value in a.items():
        np.testing.assert_array_equal(value, b[key])


@pytest.mark.parametrize("count", [2, 5])
def test_a_dataset_lends_any_other_frame_once_a_sample(count):
    dataset = Numbered(count, transforms=[FOREIGN])
    lent = {index: set() for index in range(count)}
    for index in range(count):
        for seed in range(60):
            dataset.reads.clear()
            found = dataset[SampleKey(index, seed)]
            masks = {name: found[f"{name}_corrupted"] == 1 for name in ("rgb", "thermal")}
            assert len(dataset.reads) == 1 + any(mask.any() for mask in masks.values())
            values = set(found["rgb"][masks["rgb"]].ravel()) | set(found["thermal"][masks["thermal"]]) - {0}
            assert len(values) <= 1
            lent[index] |= {int(value) - 1 for value in values}
            if values:  # its own holes come with it
                other = dataset.read(dataset.reads[1])
                inside = masks["thermal"]
                np.testing.assert_array_equal(found["thermal_valid"][inside], other["thermal_valid"][inside])
            same(found, dataset[SampleKey(index, seed)])
    assert lent == {index: set(range(count)) - {index} for index in range(count)}


def test_a_config_is_told_maps_of_one_s_own():
    options = dict(modalities=("rgb", "thermal", "event"), maps={"event": MAPS["event"]})
    found = Numbered(**options, transforms=[{**FOREIGN, "keys": ("event",), "probability": 1.0}])[3]
    inside = found["event_corrupted"] == 1
    assert inside.any() and (found["event"][inside] != 3).all() and (found["event"][~inside] == 3).all()


def test_a_single_frame_lends_itself():
    found = [Numbered(1, transforms=[FOREIGN])[SampleKey(0, seed)] for seed in range(20)]
    assert all((sample["rgb"] == 1).all() for sample in found)
    assert any(sample["rgb_corrupted"].any() for sample in found)


def test_caches_subsets_and_workers_change_nothing(tmp_path):
    chain = [FOREIGN, dict(type=RandomScaleCrop, size=(10, 12)), dict(type=HorizontalFlip), dict(type=PackSample)]

    def made():
        return Numbered(transforms=chain, sizes=((12, 16), (14, 13)))

    plain = made()
    for around in (CachedFrames(made()), CachedFrames(made(), folder=tmp_path), CachedFrames(made(), folder=tmp_path)):
        for key in [SampleKey(i, seed) for seed in range(4) for i in range(5)]:
            same(around[key], plain[key])
    for position in range(3):
        same(EveryKth(plain, 2)[SampleKey(position, 3)], plain[SampleKey(2 * position, 3)])
    batches = []
    for workers in (0, 2):
        loader = DataLoader(plain, 2, sampler=EpochSampler(plain, seed=1), num_workers=workers, collate_fn=collate)
        batches.append(list(loader))
    for alone, shared in zip(*batches, strict=True):
        same(alone, shared)


def test_rooms_lend_rooms():
    options = dict(split="train", num_frames=3, size=(24, 32), modalities=("rgb", "depth", "normal"))
    plain = SyntheticRooms(**options)
    damaged = SyntheticRooms(**options, transforms=[{**FOREIGN, "keys": ("rgb", "normal"), "probability": 1}])
    frames = [plain[index] for index in range(3)]
    found = damaged[SampleKey(1, 5)]
    for name in ("rgb", "normal"):
        inside = found[f"{name}_corrupted"] == 1
        assert any(np.array_equal(found[name][inside], frames[other][name][inside]) for other in (0, 2))
        np.testing.assert_array_equal(found[name][~inside], frames[1][name][~inside])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": "rgb"}, "keys must be a sequence of distinct names, found 'rgb'"),
        ({"keys": ("rgb", "dpeth")}, "keys names 'dpeth'; .*did you mean 'depth'"),
        ({"keys": ("label",)}, "keys names 'label'"),
        ({"kinds": ("nose",)}, "kinds names 'nose'; .*did you mean 'noise'"),
        ({"kinds": ()}, "kinds must be a sequence"),
        ({"probability": 1.1}, r"probability must be in 0\.\.1, found 1\.1"),
        ({"blocks": (0, 2)}, r"blocks must be whole numbers .*found \(0, 2\)"),
        ({"blocks": (1, 2.5)}, "blocks must be whole numbers"),
        ({"side": (0.5, 0.2)}, "side must be shares"),
        ({"side": (0.5, 1.2)}, "side must be shares"),
        ({"keys": 3}, "keys must be a sequence of distinct names, found 3"),
        ({"keys": {"rgb", "depth"}}, "keys must be a sequence of distinct names"),  # whose order is another each time
        ({"keys": (["rgb"],)}, r"keys names \['rgb'\]"),
        ({"kinds": (["noise"],)}, r"kinds names \['noise'\]"),
        ({"kinds": None}, "kinds must be a sequence"),
        ({"probability": "0.5"}, r"probability must be in 0\.\.1, found '0.5'"),
        ({"probability": None}, r"probability must be in 0\.\.1, found None"),
        ({"blocks": 3}, "blocks must be whole numbers .*found 3"),
        ({"blocks": (True, 2)}, "blocks must be whole numbers"),
        ({"side": 0.3}, r"side must be shares .*found 0\.3"),
        ({"side": ("a", "b")}, "side must be shares"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DamageBlocks(**{"keys": ("rgb",), **options})


def test_maps_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match=r"needs the array 'depth', but sample '0' has .*before PackSample"):
        DamageBlocks(("depth",))(frame(names=("rgb",)), np.random.default_rng(0))
    computed = [dict(type=ComputeEdges), dict(type=DamageBlocks, keys=("edge",))]
    with pytest.raises(ValueError, match=r"DamageBlocks takes \['edge'\] of another frame.*reads \['rgb', 'thermal'\]"):
        Numbered(transforms=computed)
    computed[1]["kinds"] = ("noise",)
    assert "edge_corrupted" in Numbered(transforms=computed)[0]
