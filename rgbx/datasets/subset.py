"""A stated part of a dataset, for evaluations that are too long for all of it."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from rgbx.datasets.sample import Config, DenseDataset, Sample, SampleKey, build_from
from rgbx.datasets.sampler import shuffled


class EveryKth(Dataset[Sample]):
    """Samples F, F + K, F + 2K, ... of a dataset; a sample's randomness stays what it is in the whole.

    Args:
        dataset: the whole, or its config.
        every: K; 1 takes all.
        first: F.

    Raises:
        ValueError: `every` below 1, or `first` below 0.
    """

    def __init__(self, dataset: DenseDataset | Config, every: int, first: int = 0) -> None:
        if every < 1 or first < 0:
            raise ValueError(f"every must be >= 1 and first >= 0, found {every} and {first}")
        self.dataset: DenseDataset = build_from(dataset) if isinstance(dataset, dict) else dataset
        self.every, self.first = every, first

    @property
    def metainfo(self) -> dict[str, Any]:
        """The whole dataset's."""
        return self.dataset.metainfo

    def __len__(self) -> int:
        return len(range(self.first, len(self.dataset), self.every))

    def __getitem__(self, key: SampleKey | int) -> Sample:
        index, seed = key if isinstance(key, tuple) else (operator.index(key), 0)
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} samples")
        return self.dataset[SampleKey(self.first + index % len(self) * self.every, seed)]

    def epoch_order(self, rng: np.random.Generator) -> np.ndarray:
        """The order of an epoch, int64 [N]: of the whole, where that has one of its own."""
        if not hasattr(self.dataset, "epoch_order"):
            return rng.permutation(len(self))
        whole = shuffled(self.dataset, rng)
        kept = whole[(whole >= self.first) & (whole % self.every == self.first % self.every)]
        return (kept - self.first) // self.every

    @property
    def frame_sets(self) -> np.ndarray | None:
        """See `DenseDataset.frame_sets`."""
        whole = self.dataset.frame_sets
        return None if whole is None else whole[self.first :: self.every]

    def encode_label(self, label: np.ndarray) -> np.ndarray:
        """See `DenseDataset.encode_label`; uint8 [H, W]."""
        return self.dataset.encode_label(label)

    def prediction_name(self, sample_id: str) -> str:
        """See `DenseDataset.prediction_name`."""
        return self.dataset.prediction_name(sample_id)
