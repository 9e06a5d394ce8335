"""The order of an epoch: shards one after the other, mixed within the buffer, the same after a kill and elsewhere."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import signal
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from torch.utils.data import DataLoader

import rgbx.datasets.sampler as sampler_module
from rgbx.datasets import CachedFrames, EpochSampler, EveryKth, ShardedDataset
from rgbx.datasets.shards.manifest import read_manifest, write_manifest

BUFFER = 4
FORKS = multiprocessing.get_context("fork")


@pytest.fixture
def dataset(shards):
    return ShardedDataset(shards, modalities=("depth",), shuffle_buffer=BUFFER)


def orders(dataset, count=40):
    return [dataset.epoch_order(np.random.default_rng(seed)) for seed in range(count)]


@pytest.mark.parametrize("holdout", [None, "exclude"])
def test_samples_come_within_the_buffer_of_their_place(shards, holdout):
    """Of the order in which the shards are read, which is told by the samples themselves."""
    dataset = ShardedDataset(shards, shuffle_buffer=BUFFER, holdout=holdout)
    places = [dataset.reader.place(dataset.position(index))[0] for index in range(len(dataset))]
    begun = set()
    for order in orders(dataset):
        assert sorted(order.tolist()) == list(range(len(dataset)))
        of_shard = [places[index] for index in order]
        mean = {shard: np.mean(np.flatnonzero(np.array(of_shard) == shard)) for shard in set(of_shard)}
        shards_in_turn = sorted(mean, key=mean.__getitem__)
        begun.add(shards_in_turn[0])
        layout = [i for shard in shards_in_turn for i in range(len(dataset)) if places[i] == shard]
        moved = [abs(layout.index(index) - at) for at, index in enumerate(order.tolist())]
        assert max(moved) <= BUFFER
    assert len(begun) == len(set(places)) and sum(moved) > 0


def test_a_small_split_is_shuffled_wholly(shards):
    order = ShardedDataset(shards, shuffle_buffer=1000).epoch_order(np.random.default_rng(0))
    np.testing.assert_array_equal(order, np.random.default_rng(0).permutation(len(order)))


def test_wrappers_keep_the_order(dataset):
    whole = dataset.epoch_order(np.random.default_rng(3))
    np.testing.assert_array_equal(CachedFrames(dataset).epoch_order(np.random.default_rng(3)), whole)
    third = EveryKth(dataset, 3).epoch_order(np.random.default_rng(3))
    assert third.tolist() == [index // 3 for index in whole if index % 3 == 0]


def ranks(dataset, world, monkeypatch, done=0):
    found = []
    for rank in range(world):
        monkeypatch.setattr(sampler_module, "_place", lambda r=rank: (r, world))
        sampler = EpochSampler(dataset, seed=5)
        sampler.set_epoch(2, done)
        found.append(list(sampler))
    return found


def test_the_order_is_that_of_any_number_of_processes_and_resumes(dataset, monkeypatch):
    (alone,) = ranks(dataset, 1, monkeypatch)
    for world in (2, 4):
        shares = ranks(dataset, world, monkeypatch)
        assert [key for keys in zip(*shares, strict=True) for key in keys][: len(alone)] == alone
    rest = list(chain(*zip(*ranks(dataset, 2, monkeypatch, done=9), strict=True)))
    assert rest[: len(alone) - 9] == alone[9:]
    monkeypatch.undo()
    file_order = [key.index for key in EpochSampler(dataset, shuffle=False)]
    assert file_order == list(range(len(dataset)))


def digest(batch):
    (sample,) = batch
    return sample["sample_id"], hashlib.sha256(sample["depth"]).hexdigest()


def read_on(packed, done, kill_after, told):
    """Reads an epoch from where it was left, with workers, tells each sample, and dies in the midst."""
    dataset = pickle.loads(packed)
    sampler = EpochSampler(dataset, seed=7)
    sampler.set_epoch(1, done)
    loader = DataLoader(dataset, batch_size=1, sampler=sampler, num_workers=2, collate_fn=digest)
    for count, found in enumerate(loader):
        if count == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        told.put(found)


def in_process(dataset, done, kill_after):
    told = FORKS.SimpleQueue()
    process = FORKS.Process(target=read_on, args=(pickle.dumps(dataset), done, kill_after, told))
    process.start()
    process.join()
    found = []
    while not told.empty():
        found.append(told.get())
    return process.exitcode, found


def test_a_killed_reader_goes_on_in_the_same_order(dataset):
    code, whole = in_process(dataset, 0, None)
    assert code == 0 and len({name for name, _ in whole}) == len(dataset)
    code, before = in_process(dataset, 0, 10)
    assert code == -signal.SIGKILL and len(before) == 10
    code, after = in_process(dataset, len(before), None)
    assert code == 0 and before + after == whole
    assert [name for name, _ in whole] != sorted(name for name, _ in whole)


def test_many_samples_are_laid_out_as_few_are(tmp_path, shards):
    """Against the definition, written out, for shards of different lengths."""
    split = read_manifest(shards)["train"]
    sizes = [3000, 1, 500, 2499, 1000]
    made = [replace(split.shards[0], name=f"train/{k}.tar", samples=size) for k, size in enumerate(sizes)]
    write_manifest(tmp_path, {"train": replace(split, shards=made)})
    for shard in made:
        path = tmp_path / shard.name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            file.truncate(shard.bytes)
    dataset = ShardedDataset(tmp_path, shuffle_buffer=100)
    rng = np.random.default_rng(1)
    layout = [i for k in rng.permutation(5) for i in range(sum(sizes[:k]), sum(sizes[: k + 1]))]
    keys = [at + 100 * u for at, u in enumerate(rng.random(7000))]
    expected = [index for _, index in sorted(zip(keys, layout, strict=True))]
    assert dataset.epoch_order(np.random.default_rng(1)).tolist() == expected
