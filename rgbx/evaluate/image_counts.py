"""What an evaluation counts, image by image, so that sums are exact and each image counts once."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed
from mmengine.dist import get_world_size
from torch import Tensor

from rgbx.metrics import scores
from rgbx.models.predictor import ENSEMBLE


class HasId(Protocol):
    """What is known of one image."""

    sample_id: str


Counted = TypeVar("Counted", bound=HasId)


@dataclass
class ImageCounts:
    """Counts of one image.

    Attributes:
        sample_id: the dataset's name of the image.
        cells: per prediction int64 [n, 3]: true class, predicted class and pixels of each non-zero cell.
        true_pixels: int64 [K], of every class in the label.
        boundary: int64 [K, 4] of the ensemble, see `rgbx.metrics.boundary_counts`; None where not asked for.
        reliability: float64 [3, B] of the ensemble, see `rgbx.metrics.reliability_counts`; None likewise.
        file_sizes: bytes of each file the image was read from.
    """

    sample_id: str
    cells: dict[str, Tensor]
    true_pixels: Tensor
    boundary: Tensor | None = None
    reliability: Tensor | None = None
    file_sizes: dict[str, int] = field(default_factory=dict)

    def confusion(self, name: str) -> Tensor:
        """The prediction's confusion matrix, int64 [K, K]."""
        return sum_cells([self.cells[name]], len(self.true_pixels))


@dataclass(frozen=True)
class Evaluation:
    """Counts and scores of a dataset under one subset of modalities.

    Attributes:
        images: the counts of each image, in the dataset's order.
        absent: how means treat classes without pixels, "skip" or "zero".
    """

    images: Sequence[ImageCounts]
    absent: str

    @property
    def names(self) -> list[str]:
        """The predictions: branches first, the ensemble last."""
        names = list(dict.fromkeys(name for image in self.images for name in image.cells))
        return [name for name in names if name != ENSEMBLE] + [ENSEMBLE] * (ENSEMBLE in names)

    def confusion(self, name: str) -> Tensor:
        """Sum over the images, int64 [K, K]."""
        cells = [image.cells[name] for image in self.images if name in image.cells]
        return sum_cells(cells, len(self.images[0].true_pixels))

    def scores(self, name: str) -> dict[str, Any]:
        """See `rgbx.metrics.scores`."""
        return scores(self.confusion(name), absent=self.absent)

    def total(self, field_name: str) -> Tensor | None:
        """Sum of `boundary` or `reliability` over the images, in their order; None where they were not counted."""
        parts = [part for image in self.images if (part := getattr(image, field_name)) is not None]
        return torch.stack(parts).sum(0) if parts else None


def to_cells(confusion: Tensor) -> Tensor:
    """The non-zero cells of a confusion matrix: int64 [n, 3], (true, predicted, pixels)."""
    where = confusion.nonzero()
    return torch.cat([where, confusion[where[:, 0], where[:, 1]][:, None]], 1)


def sum_cells(parts: Sequence[Tensor], num_classes: int) -> Tensor:
    """The confusion matrix, int64 [K, K], that adds up the cells of several images."""
    true, predicted, pixels = torch.cat(list(parts)).unbind(1)
    total = torch.zeros(num_classes**2, dtype=torch.int64)
    return total.index_add_(0, true * num_classes + predicted, pixels).view(num_classes, num_classes)


def file_sizes(data_batch: Any, position: int) -> dict[str, int]:
    """Bytes of the files of one sample of a collated batch; files that are not there are left out."""
    paths = data_batch.get("paths") if isinstance(data_batch, Mapping) else None
    if not isinstance(paths, Mapping):
        return {}
    files = {str(name): Path(column[position]) for name, column in paths.items()}
    return {name: path.stat().st_size for name, path in files.items() if path.is_file()}


def gather_images(own: Sequence[Counted], size: int) -> list[Counted]:
    """The images of all processes, each once, in the dataset's order.

    Samplers deal images out in turn, and some give the last processes an image again to make their shares equal:
    such repetitions are recognised by their `sample_id` and left out.

    Args:
        own: what this process counted.
        size: length of the dataset.

    Raises:
        ValueError: images were repeated, but their ids do not tell which.
    """
    shares: list[Any] = [list(own)]
    if get_world_size() > 1:
        shares = [None] * get_world_size()
        torch.distributed.all_gather_object(shares, list(own))
    images = [image for turn in itertools.zip_longest(*shares) for image in turn if image is not None]
    if len(shares) == 1 or len(images) <= size:
        return images
    once: dict[str, Counted] = {}
    for image in images:
        once.setdefault(image.sample_id, image)
    if len(once) != size:
        raise ValueError(
            f"{len(images)} images were evaluated of a dataset of {size}, with {len(once)} different sample_id: "
            "repeated images can only be left out where every sample has an id of its own"
        )
    return list(once.values())
