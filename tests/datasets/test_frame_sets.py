"""Frames that lack a modality: refused, left out or kept; and batches of frames that have the same."""

from __future__ import annotations

import pickle
from itertools import chain

import numpy as np
import pytest
import torch
from dataset_frames import colours, decoded, grey, save

import rgbx.datasets.sampler as sampler_module
from rgbx.datasets import CachedFrames, EpochSampler, EveryKth, FolderDataset
from rgbx.datasets.collation import Collation, Runs
from rgbx.datasets.files import MissingFileError
from rgbx.datasets.frame_sets import by_set, told_by_set
from rgbx.datasets.own import measure
from rgbx.datasets.shards.packing import Packer
from rgbx.transforms import ColorJitter, ComputeEdges, DamageBlocks, HorizontalFlip, PackSample, Resize, collate

RNG = np.random.default_rng(0)
TOML = """
classes.names = ["floor", "wall"]
label = {folder = "train/label", suffix = ".png"}
modalities.rgb = {folder = "train/rgb", suffix = ".png", unit = "rgb8"}
modalities.depth = {folder = "train/depth", suffix = ".png", unit = "metre", scale = 1000}
modalities.nir = {folder = "train/nir", suffix = ".png", unit = "relative"}
splits.train = "train"
splits.listed = "train.txt"
"""
PACK = dict(type=PackSample)
HAVE = {"a": "rgb depth nir", "b": "rgb depth", "c": "depth", "d": "rgb depth nir", "e": "nir", "f": "rgb depth"}
MADE = {"rgb": colours, "depth": lambda rng: grey(rng, 1, 9000, np.uint16), "nir": grey}


@pytest.fixture
def root(tmp_path):
    for stem, names in HAVE.items():
        for name in names.split():
            save(tmp_path / "train" / name / f"{stem}.png", MADE[name](RNG))
        save(tmp_path / "train" / "label" / f"{stem}.png", grey(RNG, 0, 2))
    (tmp_path / "train.txt").write_text("a\nb\nf\n")
    (tmp_path / "dataset.toml").write_text(TOML)
    return tmp_path


def ids(dataset):
    return "".join(dataset.name_of(index) for index in range(len(dataset)))


def test_an_error_by_default_skipped_or_allowed_by_choice(root, caplog):
    with pytest.raises(MissingFileError, match=r"c\.png: no such file|nir of 2 of 4 frames is missing, such as \['b'"):
        FolderDataset(root)
    with pytest.raises(ValueError, match="missing='alow'; expected one of error, skip, allow; did you mean 'allow'"):
        FolderDataset(root, missing="alow")
    skipped = FolderDataset(root, missing="skip")
    assert ids(skipped) == "ad" and skipped.frame_sets is None and len(skipped) == 2
    assert "4 of 6 frames are left out: nir of 3 of 6 frames is missing, such as ['b', 'c', 'f']" in caplog.text
    caplog.clear()
    allowed = FolderDataset(root, missing="allow")
    assert ids(allowed) == "abcdef"
    assert [allowed.frame_sets[i] for i in range(6)] == [7, 3, 2, 7, 4, 3]
    assert "frames differ in what they have: RGB + depth + nir 2, RGB + depth 2, depth 1, nir 1" in caplog.text


def test_what_is_read_is_what_lies_there(root):
    dataset = pickle.loads(pickle.dumps(FolderDataset(root, missing="allow", transforms=[PACK])))
    for index, (stem, names) in enumerate(HAVE.items()):
        sample = dataset[index]
        maps = [name for name in ("rgb", "depth", "nir") if name in sample]
        assert maps == names.split() and sample["sample_id"] == stem and set(sample["paths"]) == {*maps, "label"}
    raw = decoded(root / "train/depth/c.png")
    np.testing.assert_allclose(dataset[2]["depth"][0].numpy(), raw / 1000, rtol=1e-6)
    assert set(dataset.files_of(dataset.frames[4])) == {"nir", "label"}


def test_of_the_asked_modalities_alone(root):
    """Frames that have none of them are none; without one that all have, all have all."""
    dataset = FolderDataset(root, modalities=("rgb", "depth"), missing="allow")
    assert ids(dataset) == "abcdf" and dataset.frame_sets.tolist() == [3, 3, 2, 3, 3]
    assert FolderDataset(root, modalities=("depth",), missing="allow").frame_sets is None
    listed = FolderDataset(root, "listed", missing="allow")
    assert ids(listed) == "abf" and listed.frame_sets.tolist() == [7, 3, 3]
    kept = FolderDataset(root, missing="allow", holdout="exclude")
    held = FolderDataset(root, missing="allow", holdout="only")
    assert sorted(ids(kept) + ids(held)) == list("abcdef") and len(kept.frame_sets) == len(kept)


def test_labels_targets_and_modalities_that_nobody_has_must_be_there(root):
    with pytest.raises(MissingFileError, match=r"rgb of 2 of 6 frames is missing, such as \['c', 'e'\]"):
        FolderDataset(root, targets=("rgb",), missing="allow")
    for path in (root / "train/nir").iterdir():
        path.rename(path.with_name(f"not_{path.name}"))
    with pytest.raises(MissingFileError, match="nir of 3 of 3 frames"):
        FolderDataset(root, "listed", missing="allow")
    (root / "train/label/a.png").unlink()
    for missing in ("skip", "allow"):
        with pytest.raises(MissingFileError, match=r"label of 1 of \d frames is missing, such as \['a'\]"):
            FolderDataset(root, modalities=("rgb", "depth"), missing=missing)


def test_views_of_a_dataset_tell_the_same(root):
    dataset = FolderDataset(root, missing="allow", transforms=[PACK])
    assert EveryKth(dataset, 2, 1).frame_sets.tolist() == [3, 7, 3]
    cached = CachedFrames(dict(type=FolderDataset, root=root, missing="allow", transforms=[PACK]))
    assert cached.frame_sets.tolist() == dataset.frame_sets.tolist()
    for _ in range(2):  # read, then kept
        assert [sorted(set(cached[i]) & set(MADE)) for i in range(6)] == [sorted(n.split()) for n in HAVE.values()]
    found = measure(dataset)
    assert found.frames == 6 and set(found.statistics) == {"depth", "nir"}
    values = np.concatenate([decoded(root / f"train/nir/{stem}.png").ravel() / 255 for stem in "ade"])
    assert found.statistics["nir"]["mean"][0] == pytest.approx(values.mean(), rel=1e-4)


def test_transforms_pass_over_what_a_frame_lacks(root):
    transforms = [
        ComputeEdges(source="rgb"),
        dict(type=HorizontalFlip, probability=1.0),
        dict(type=Resize, size=(8, 8)),
        ColorJitter(probability=1.0),
    ]
    dataset = FolderDataset(root, missing="allow", transforms=[*transforms, PACK])
    assert [("rgb" in x, "edge" in x) for x in (dataset[i] for i in range(6))] == [
        ("rgb" in names, "rgb" in names) for names in HAVE.values()
    ]
    with pytest.raises(ValueError, match=r"takes \['depth'\] of another frame, which may lack them"):
        FolderDataset(root, missing="allow", transforms=[DamageBlocks(keys=("depth",))])
    damage = DamageBlocks(keys=("rgb", "depth"), kinds=("noise", "holes"), probability=1.0)
    dataset = FolderDataset(root, missing="allow", transforms=[damage, PACK])
    marked = [{name for name in ("rgb", "depth") if f"{name}_corrupted" in x} for x in dataset]
    assert marked == [set(names.split()) & {"rgb", "depth"} for names in HAVE.values()]


# --- order -----------------------------------------------------------------------------------------------------------


class Numbers:
    """Samples of three sets, of 13, 8 and 2."""

    frame_sets = np.array([3, 1, 3, 2, 3, 1, 3, 3, 1, 3, 3, 1, 3, 1, 3, 1, 3, 1, 3, 2, 1, 3, 3])

    def __len__(self):
        return 23


@pytest.fixture
def shards(monkeypatch):
    def make(batch_size, world_size, **options):
        made = []
        for rank in range(world_size):
            monkeypatch.setattr(sampler_module, "_place", lambda r=rank: (r, world_size))
            made.append(EpochSampler(Numbers(), **options))
            made[-1].batch_size = batch_size
        return made

    return make


@pytest.mark.parametrize(("batch_size", "world_size"), [(1, 1), (4, 1), (4, 2), (3, 3), (40, 1)])
def test_steps_are_of_one_set_in_all_processes_and_every_frame_comes(shards, batch_size, world_size):
    made = shards(batch_size, world_size, seed=5)
    lists = [[key.index for key in sampler] for sampler in made]
    assert {len(found) for found in lists} == {len(sampler) for sampler in made} and len(lists[0]) % batch_size == 0
    sets = Numbers.frame_sets
    steps = [[found[at : at + batch_size] for found in lists] for at in range(0, len(lists[0]), batch_size)]
    assert all(len({sets[index] for index in chain(*step)}) == 1 for step in steps)
    counts = np.bincount(list(chain(*lists)), minlength=23)
    block = batch_size * world_size
    assert len(steps) == sum(-(-int((sets == number).sum()) // block) for number in (1, 2, 3))
    for number in (1, 2, 3):  # once each, but for those that fill up the last block of their kind
        own = counts[sets == number]
        assert own.min() >= 1 and own.sum() == -(-len(own) // block) * block and own.max() - own.min() <= 1


def test_the_order_is_drawn_anew_each_epoch_and_mixes_the_sets(shards):
    (sampler,) = shards(2, 1, seed=1)
    first = list(sampler)
    assert first == list(sampler) and len({key.seed for key in first}) == 1
    kinds = [Numbers.frame_sets[key.index] for key in first[::2]]
    assert kinds != sorted(kinds) and kinds != sorted(kinds, reverse=True)
    digest = sampler.order_digest()
    sampler.set_epoch(1)
    assert list(sampler) != first and sampler.order_digest() != digest
    sampler.set_epoch(0, done=6)
    assert list(sampler) == first[6:] and sampler.order_digest() == digest
    sampler.batch_size = 4  # another order, which a training that was saved inside the epoch cannot go on with
    assert sampler.order_digest() != digest
    (plain,) = shards(4, 1, shuffle=False)
    assert [key.index for key in plain] == list(range(23)) and plain.order_digest() == ""


def test_collations(root):
    dataset = FolderDataset(root, missing="allow", transforms=[PACK])
    samples = [dataset[index] for index in range(6)]
    with pytest.raises(
        ValueError, match=r"'a' has depth, nir, rgb and 'b' has depth, rgb; expected the same maps in all"
    ):
        Collation(collate)(samples)
    assert Collation(collate)([samples[1], samples[5]])["sample_id"] == ["b", "f"]
    runs = Runs(collate)([samples[index] for index in (0, 3, 1, 2, 5)])
    assert [run["sample_id"] for run in runs] == [["a", "d"], ["b"], ["c"], ["f"]]
    assert (
        runs[0]["nir"].shape[0] == 2 and "nir" not in runs[1] and torch.equal(runs[2]["depth"][0], samples[2]["depth"])
    )


def test_shards_of_such_frames_are_refused(root):
    with pytest.raises(ValueError, match="of this FolderDataset differ in what they have: missing='skip'"):
        Packer(FolderDataset(root, missing="allow"))
    Packer(FolderDataset(root, missing="skip"))


def test_words():
    sets = by_set(np.array([1, 3, 3, 2]), ("rgb", "depth"))
    assert {name: at.tolist() for name, at in sets.items()} == {
        ("rgb", "depth"): [1, 2],
        ("rgb",): [0],
        ("depth",): [3],
    }
    assert told_by_set(sets) == "RGB + depth 2, RGB 1, depth 1"
