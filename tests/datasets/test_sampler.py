"""Shards of an epoch: coverage, length, order; ranks are simulated."""

from __future__ import annotations

from itertools import chain

import pytest

import rgbx.datasets.sampler as sampler_module
from rgbx.datasets import EpochSampler


@pytest.fixture
def shards(monkeypatch):
    """Makes one sampler per rank of a pretended process group."""

    def make(count: int, world_size: int, **options):
        made = []
        for rank in range(world_size):
            monkeypatch.setattr(sampler_module, "_place", lambda r=rank: (r, world_size))
            made.append(EpochSampler(range(count), **options))
        return made

    return make


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [1, 7, 8])
def test_evaluation_covers_everything_once(shards, count, world_size):
    made = shards(count, world_size, shuffle=False)
    lists = [[key.index for key in sampler] for sampler in made]
    assert sorted(chain(*lists)) == list(range(count))
    assert [len(sampler) for sampler in made] == [len(found) for found in lists]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [1, 7, 8])
def test_training_shards_have_equal_length(shards, count, world_size):
    made = shards(count, world_size)
    lists = [[key.index for key in sampler] for sampler in made]
    length = -(-count // world_size)
    assert [len(found) for found in lists] == [len(sampler) for sampler in made] == ([length] * world_size)
    assert set(chain(*lists)) == set(range(count))


def test_epochs_reshuffle_and_reseed(shards):
    (sampler,) = shards(50, 1, seed=3)
    first = list(sampler)
    assert first == list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert [k.index for k in first] != [k.index for k in second]
    assert {k.seed for k in first}.isdisjoint(k.seed for k in second)
    sampler.set_epoch(0)
    assert list(sampler) == first
    (other,) = shards(50, 1, seed=4)
    assert [k.index for k in other] != [k.index for k in first]


def test_ranks_share_one_seed_per_epoch(shards):
    seeds = {key.seed for sampler in shards(8, 4, seed=5) for key in sampler}
    assert len(seeds) == 1


def test_evaluation_order_is_the_list_order(shards):
    (sampler,) = shards(5, 1, shuffle=False)
    assert [key.index for key in sampler] == [0, 1, 2, 3, 4]


def test_exception():
    with pytest.raises(ValueError, match="empty"):
        EpochSampler([])
    with pytest.raises(ValueError, match=">= 0"):
        EpochSampler([1], seed=-1)


def test_seed_none_draws_one():
    assert EpochSampler([1], seed=None).seed >= 0
