"""The sampler that makes augmentation a pure function of (run seed, epoch, index).

Workers normally draw augmentations from their own process state, which repeats over epochs with
some libraries and changes with the number of workers. Here the seed travels with the index:
`EpochSampler` yields `SampleKey(index, seed)` and `DenseDataset` makes its generator from both.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sized

import numpy as np
from torch import distributed
from torch.utils.data import Sampler

from rgbx._processes import process_count
from rgbx.datasets.sample import SampleKey

_BLOCK = 4096


class EpochSampler(Sampler[SampleKey]):
    """Yields this process's share of the dataset, reshuffled and reseeded each epoch.

    Args:
        dataset: anything with a length. Where it has an `epoch_order`, as shards do, that is the order of an epoch.
            Where its frames differ in what they have (`DenseDataset.frame_sets`) and it is shuffled, an epoch is made
            of blocks of frames that have the same, one for a batch of every process, in any order; the last block of
            each kind is filled up with frames of that kind that have had their turn.
        shuffle: True for training, False for evaluation.
        seed: the run's seed, equal on all processes; None draws one and shares it.
        pad: repeat the first samples of the epoch's order so that all shards have equal length,
            as distributed training needs. None means `shuffle`: evaluation shards differ in
            length by at most one and no sample appears twice.

    Attributes:
        batch_size: of a process, which whoever makes the loader tells; blocks need it.

    Raises:
        ValueError: an empty dataset or a negative seed.
    """

    batch_size = 1

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = 0, pad: bool | None = None) -> None:
        if len(dataset) == 0:
            raise ValueError(f"{type(dataset).__name__} is empty: nothing to sample")
        if seed is not None and seed < 0:
            raise ValueError(f"seed must be >= 0, found {seed}")
        self.rank, self.world_size = _place()
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = _shared_seed(self.world_size) if seed is None else int(seed)
        self.pad = shuffle if pad is None else pad
        self.epoch = self._done = 0

    def set_epoch(self, epoch: int, done: int = 0) -> None:
        """Chooses order and augmentations; a training calls it each epoch.

        Args:
            epoch: counted from 0.
            done: samples at the beginning of the epoch's order that all processes together have had already, as after
                an interruption. The others are shared out as they would have been, in the same order, also among
                another number of processes.
        """
        self.epoch, self._done = int(epoch), int(done)

    def order_digest(self) -> str:
        """Tells the epoch's order from another; "" where only the number of samples, seed and epoch decide on it."""
        if not self.shuffle or (self._sets is None and not hasattr(self.dataset, "epoch_order")):
            return ""
        return hashlib.sha256(self._order(self._sequences()[0]).tobytes()).hexdigest()

    def _sequences(self) -> list[np.random.SeedSequence]:
        """Of this epoch: that of the order, and that of augmentations."""
        return np.random.SeedSequence((self.seed, self.epoch)).spawn(2)

    def _order(self, sequence: np.random.SeedSequence) -> np.ndarray:
        rng = np.random.default_rng(sequence)
        order, sets = shuffled(self.dataset, rng), self._sets
        return order if sets is None else in_blocks(order, sets, self._block, rng)

    @property
    def _sets(self) -> np.ndarray | None:
        """What each frame has, int64 [N], where batches must be of frames that have the same."""
        return getattr(self.dataset, "frame_sets", None) if self.shuffle else None

    @property
    def _block(self) -> int:
        return self.batch_size * self.world_size

    @property
    def total(self) -> int:
        """Samples of an epoch, of all processes together, before shards are padded."""
        if (sets := self._sets) is None:
            return len(self.dataset)
        counts = np.unique(sets, return_counts=True)[1]
        return int((-(-counts // self._block) * self._block).sum())

    def __len__(self) -> int:
        count = self.total
        spare = 0 if self.pad else self.rank
        return math.ceil((count - spare) / self.world_size)

    def __iter__(self) -> Iterator[SampleKey]:
        order_sequence, augmentation_sequence = self._sequences()
        seed = int(augmentation_sequence.generate_state(1, np.uint64)[0])
        count = self.total
        order = np.arange(count)
        if self.shuffle:
            order = self._order(order_sequence)
        rest = max(0, count - self._done)
        if self.pad:
            rest = math.ceil(rest / self.world_size) * self.world_size
            order = np.resize(order, self._done + rest)
        order = order[self._done :]
        share = order[self.rank :: self.world_size]
        for start in range(0, len(share), _BLOCK):  # numbers of Python are five times as large as those of an array
            for index in share[start : start + _BLOCK].tolist():
                yield SampleKey(index, seed)


def shuffled(dataset: Sized, rng: np.random.Generator) -> np.ndarray:
    """An order of all samples, int64 [N]: the dataset's own `epoch_order(rng)` where it has one, else any."""
    own = getattr(dataset, "epoch_order", None)
    return rng.permutation(len(dataset)) if own is None else np.asarray(own(rng))


def in_blocks(
    order: np.ndarray,  # int64 [N], positions of samples
    sets: np.ndarray,  # int64 [N], of each sample
    size: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """An order in blocks of one set each, int64 [n], n ≥ N a multiple of their size.

    Samples of a set keep their order; each is there once, and where a set's number is no multiple of the size, its
    first ones fill up its last block. The blocks of all sets are shuffled.
    """
    blocks = []
    for number in np.unique(sets):
        own = order[sets[order] == number]
        blocks.append(np.resize(own, (-(-len(own) // size), size)))
    found = np.concatenate(blocks)
    return found[rng.permutation(len(found))].reshape(-1)


def _place() -> tuple[int, int]:
    """Rank of this process and number of processes."""
    count = process_count()
    return (distributed.get_rank(), count) if count > 1 else (0, 1)


def _shared_seed(world_size: int) -> int:
    """A seed drawn by the first process and told to the others."""
    seed = [int(np.random.randint(2**31))]
    if world_size > 1:
        distributed.broadcast_object_list(seed, src=0)
    return seed[0]
