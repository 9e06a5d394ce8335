"""Embeddings: codes that are alike where two sensors show the same, for search across sensors and cameras.

A code belongs to a region of the label, or to a frame: the mean of the location's codes over its pixels. Codes of
different modalities are compared by their cosine. What is relevant to a region are the other modality's regions of its
class, to a frame the other modality's frame of the same moment.

Source: the category task and its mean average precision over all results as in CM-GANs (ACM TOMM 2019), section 5;
unlike there, no modality is standardised over the test set. Frames, regions of a label and one pass for any mask are
ours.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rgbx._protocol import Protocol
from rgbx._text import one_of, text_table
from rgbx._types import Meta, Scores
from rgbx.losses import contrastive_loss
from rgbx.maps import IGNORE_INDEX
from rgbx.maps.colour import class_legend, colour_labels
from rgbx.maps.palette import default_palette
from rgbx.metrics import pair_auc, search_scores
from rgbx.tasks.base import ENSEMBLE, Branches, Counter, Evaluation, Prediction, Target, Task, ensemble_first, task
from rgbx.tasks.classes import INTEGERS
from rgbx.tasks.records import check_array, check_record
from rgbx.tasks.result import Answer, HeadResult
from rgbx.tasks.score import FRACTION, Score

KINDS = ("class", "component", "frame")
POSITIVES = ("pair", "class")
TABLE = tuple(Score(name, FRACTION) for name in ("mAP", "recall@1", "recall@5", "recall@10", "MRR", "chance"))
AUC = Score("AUC", FRACTION)
MOMENTUM = 0.05  # of the mean and the second moment that colours are chosen by
STEP = IGNORE_INDEX + 1  # from one component of a class to its next, in a map of regions
HALF = (torch.bfloat16, torch.float16)
NONE = -1  # of a map of regions, where there is none


class Regions(NamedTuple):
    """Codes, or features, of the R regions of a batch.

    Attributes:
        codes: of each modality [R, D].
        classes: int64 [R], of each; 0 of frames.
        images: int64 [R], which of the batch's images each is of.
    """

    codes: dict[str, Tensor]
    classes: Tensor
    images: Tensor


def pool_regions(
    maps: Mapping[str, Tensor],  # [N, D, h, w] each
    regions: Tensor,  # int64 [N, H, W], `NONE` where there is none
    least: float = 0.0,
    stride: int | None = None,
) -> Regions:
    """The mean of maps over every region, weighed by how many of a location's pixels are the region's.

    Args:
        maps: of the same view as the regions and of one size; or of cells of `stride` pixels, which may reach beyond it
            at the right and bottom.
        regions: numbers of the class and, times `STEP`, of a part of it.
        least: regions of fewer pixels are left out.
        stride: pixels to a side of a cell; None takes the smallest 2ⁿ of which the cells cover the regions, which is
            it unless padding added a cell that holds none of their pixels.
    """
    joined = torch.cat(list(maps.values()), dim=1)
    ids = (regions + 1).flatten().bincount().nonzero()[:, 0] - 1
    place = torch.searchsorted(ids, regions)
    index = place + len(ids) * torch.arange(len(regions), device=regions.device)[:, None, None]  # [N, H, W]
    pixels = index.flatten().bincount(minlength=len(regions) * len(ids))
    if joined.shape[2:] == regions.shape[1:]:
        flat = joined.new_zeros(len(pixels), joined.shape[1])
        total = flat.index_add(0, index.flatten(), joined.movedim(1, -1).flatten(0, 2))
    else:
        cells = (index * joined[0, 0].numel() + _cell_of_pixel(regions, joined, stride)).flatten()
        weight = cells.bincount(minlength=len(pixels) * joined[0, 0].numel()).to(joined.dtype)
        weight = weight.view(len(regions), len(ids), -1)  # [N, K, h*w]
        total = (weight @ joined.flatten(2).transpose(1, 2)).flatten(0, 1)
    kept = (pixels > 0) & (pixels >= least) & (ids >= 0).repeat(len(regions))
    images, which = kept.view(len(regions), len(ids)).nonzero(as_tuple=True)
    means = (total[kept] / pixels[kept][:, None]).split([x.shape[1] for x in maps.values()], dim=1)
    return Regions(dict(zip(maps, means, strict=True)), ids[which] % STEP, images)


def _cell_of_pixel(
    regions: Tensor,  # [N, H, W]
    maps: Tensor,  # [N, D, h, w]
    stride: int | None,
) -> Tensor:
    """The number of the cell that each pixel lies in, [H, W]; see `pool_regions`."""
    places = []
    for pixels, cells in zip(regions.shape[1:], maps.shape[2:], strict=True):
        side = stride or 2 ** max(math.ceil(math.log2(pixels / cells)), 0)
        places.append((torch.arange(pixels, device=regions.device) // side).clamp(max=cells - 1))
    return places[0][:, None] * maps.shape[3] + places[1]


@task("embedding")
class Embedding(Task):
    """Codes of regions or frames, trained so that those of all modalities lie in one space.

    The head's own loss is InfoNCE between every two modalities; `contrast` 0 leaves training to objectives, such as
    ``common_codes``.

    Args:
        head: the head's name.
        dim: D, length of a code.
        by: what has a code: ``"class"``, all pixels of a class in a frame; ``"component"``, each connected part of
            them; or ``"frame"``.
        target: key of the label, uint8 or int64 [H, W] per sample; frames need none.
        contrast: factor of InfoNCE.
        temperature: of its softmax.
        positives: what belongs together in it: all regions of a ``"class"``, or the ``"pair"`` of the same region or
            frame; None takes classes of regions, and pairs of frames, which have no classes.
        smallest: share of the image below which a region counts as none.

    Raises:
        ValueError: a length, kind, temperature or factor that makes no sense.
    """

    decoder = "codes"
    apart = True  # or what is searched for would be known
    coarse = True
    mean: Tensor  # [D], over the codes that training has seen
    moment: Tensor  # [D, D]

    def __init__(
        self,
        head: str,
        *,
        dim: int = 64,
        by: str = "class",
        target: str = "label",
        contrast: float = 1.0,
        temperature: float = 0.07,
        positives: str | None = None,
        smallest: float = 0.002,
    ) -> None:
        super().__init__()
        usual = "pair" if by == "frame" else "class"
        for name, value, known in (("by", by, KINDS), ("positives", positives or usual, POSITIVES)):
            if value not in known:
                raise ValueError(f"head {head!r}: {name} is {value!r}; expected one of {one_of(known, value)}")
        if by == "frame" and positives == "class":
            raise ValueError(f"head {head!r}: positives is 'class', but frames have none; expected 'pair' or None")
        if type(dim) is not int or dim < 1:
            raise ValueError(f"head {head!r}: dim is {dim!r}; expected a whole number of at least 1")
        if contrast < 0 or temperature <= 0 or not 0 <= smallest < 1:
            raise ValueError(
                f"head {head!r}: expected contrast >= 0, temperature > 0 and smallest in 0..1, found {contrast}, "
                f"{temperature} and {smallest}"
            )
        self.channels, self.by, self.target = dim, by, "" if by == "frame" else target
        self.contrast, self.temperature, self.smallest = contrast, temperature, smallest
        self.positives = positives or usual
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("moment", torch.zeros(dim, dim))

    def read_target(
        self,
        batch: Mapping[str, Tensor],  # NAME: [N, H, W] or [N, C, H, W]
    ) -> Target | None:
        """The map of regions, int64 [N, H, W], `NONE` where there is none.

        Raises:
            ValueError: a label of another shape, or of another dtype than integers.
        """
        if self.by == "frame":
            like = next((x for x in batch.values() if isinstance(x, Tensor) and x.ndim == 4), None)
            return None if like is None else Target(like.new_zeros(len(like), *like.shape[2:], dtype=torch.int64))
        label = batch.get(self.target)
        if label is None:
            return None
        if label.ndim != 3 or label.dtype not in INTEGERS:
            raise ValueError(
                f"{self.target} is {str(label.dtype).removeprefix('torch.')} {list(label.shape)}; expected class ids, "
                "integers [N, H, W]"
            )
        found = label.long()
        found = torch.where((found < 0) | (found >= IGNORE_INDEX), NONE, found)
        return Target(components(found) if self.by == "component" else found)

    def activate(
        self,
        raw: Tensor,  # [B, D, h, w]
    ) -> Tensor:
        """Codes in float32."""
        return raw.float()

    def regions(
        self,
        maps: Branches,  # [N, D, h, w] each
        target: Target,
        stride: int | None = None,
    ) -> Regions:
        """Codes or features of the modalities, pooled; maps of other cells than codes have `stride` pixels a side."""
        least = self.smallest * math.prod(target.truth.shape[1:])
        with torch.autocast(target.truth.device.type, enabled=False):  # sums over many pixels
            exact = {name: x.float() if x.dtype in HALF else x for name, x in maps.items()}
            return pool_regions(exact, target.truth, least, stride or self.stride)

    def losses(self, outputs: Branches, target: Target) -> dict[str, Tensor]:
        """``loss_contrast``, the mean over pairs of modalities, 0 of a single one; none where `contrast` is 0."""
        maps = {name: x for name, x in outputs.items() if name != ENSEMBLE}
        if not maps:
            return {}
        found = self.regions(maps, target)
        self._watch(torch.cat(list(found.codes.values())).detach())
        if len(maps) < 2:  # as modality dropout may leave, of which a step is made all the same
            return {"loss_contrast": 0 * next(iter(maps.values())).sum()}
        if not self.contrast:
            return {}
        same = None if self.positives == "pair" else _same(found.classes, found.classes)
        terms = [contrastive_loss(a, b, self.temperature, same) for a, b in combinations(found.codes.values(), 2)]
        return {"loss_contrast": self.contrast * torch.stack(terms).mean()}

    @torch.no_grad()
    def _watch(
        self,
        codes: Tensor,  # [R, D]
    ) -> None:
        """Follows mean and second moment of unit codes, by which pictures of all frames get the same colours."""
        if not self.training or not len(codes):
            return
        x = F.normalize(codes.float(), dim=1)
        share = torch.where(self.moment.any(), MOMENTUM, 1.0)  # of the first batch all
        self.mean.lerp_(x.mean(0), share)
        with torch.autocast(x.device.type, enabled=False):
            self.moment.lerp_(x.T @ x / len(x), share)

    def finish(
        self, total: Branches, target: Target | None, protocol: Protocol, *, keep_probability: bool = False
    ) -> list[Prediction]:
        """Codes of every location, float32 [D, H, W], the mean of the views."""
        codes = {name: x if protocol.views == 1 else x / protocol.views for name, x in total.items()}
        return [
            Prediction({name: x[i] for name, x in codes.items()}, None if target is None else target.truth[i])
            for i in range(len(next(iter(codes.values()))))
        ]

    def table(self, meta: Meta | None = None, **options: Any) -> tuple[Score, ...]:
        """Mean average precision and its chance, recall among the first, reciprocal rank; of frames also AUC."""
        return (*TABLE[:-1], AUC, TABLE[-1]) if self.by == "frame" else TABLE

    def counter(self, protocol: Protocol, meta: Meta, **options: Any) -> CodeCounter:
        """Keeps the codes of every region or frame."""
        return CodeCounter(self, meta)

    def result(self, answer: Answer) -> EmbeddingResult:
        """What `MultimodalModel.predict` gives of this head's ensemble for one frame."""
        return EmbeddingResult(self, answer, ENSEMBLE)

    def draw(
        self,
        values: np.ndarray,  # [D, H, W] codes, or [H, W] regions
        about: Meta,
        *,
        truth: np.ndarray | None = None,  # [H, W]
        valid: np.ndarray | None = None,  # bool [1, H, W]
        masked: bool = False,
    ) -> np.ndarray:
        """Codes by their first three principal components, the same for all frames and modalities; regions by class."""
        if values.ndim == 2:
            return self._draw_regions(values, about)
        x = values.reshape(len(values), -1).T.astype(np.float64)  # [P, D]
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        mean, moment = (buffer.detach().cpu().numpy().astype(np.float64) for buffer in (self.mean, self.moment))
        if not moment.any():  # nothing was trained
            mean, moment = x.mean(0), x.T @ x / len(x)
        spread, axes = np.linalg.eigh(moment - np.outer(mean, mean))
        axes, spread = axes[:, ::-1][:, :3], spread[::-1][:3]
        colours = (x - mean) @ (axes / np.sqrt(np.maximum(spread, 1e-12)))
        colours = np.pad(colours, ((0, 0), (0, 3 - colours.shape[1])))
        return (127.5 + 64 * colours).clip(0, 255).round().astype(np.uint8).reshape(*values.shape[1:], 3)

    def _draw_regions(
        self,
        regions: np.ndarray,  # [H, W]
        about: Meta,
    ) -> np.ndarray:
        ids = _class_ids(regions)
        palette = about.get("palette") or default_palette(int(ids[ids < IGNORE_INDEX].max(initial=0)) + 1)
        return colour_labels(ids, palette, ignore_index=IGNORE_INDEX)

    def legend(
        self,
        maps: Sequence[np.ndarray],  # [D, H, W] or [H, W]
        about: Meta,
    ) -> dict[str, Sequence[int]]:
        """Name to colour of the classes of the regions; codes have no names."""
        regions = [_class_ids(x) for x in maps if x.ndim == 2]
        if self.by == "frame" or not regions or not about.get("palette"):
            return {}
        return class_legend(regions, {**about, "ignore_index": IGNORE_INDEX})


def _class_ids(
    regions: np.ndarray,  # [H, W]
) -> np.ndarray:
    return np.where(regions < 0, IGNORE_INDEX, regions % STEP).astype(np.uint8)


def _same(
    a: Tensor,  # [R]
    b: Tensor,  # [S]
) -> Tensor:
    """bool [R, S]."""
    return a[:, None] == b


def components(
    regions: Tensor,  # int64 [N, H, W], of classes
) -> Tensor:
    """Every connected part of a class, by its eight neighbours, under a number of its own, see `pool_regions`."""
    found = regions.cpu().numpy().copy()
    for image in found:
        for k in np.unique(image[image >= 0]):
            count, parts = cv2.connectedComponents((image == k).astype(np.uint8))
            if count > 2:
                image[parts > 1] = k + STEP * (parts[parts > 1] - 1)
    return torch.from_numpy(found).to(regions.device)


class EmbeddingResult(HeadResult):
    """Codes of a frame: of every pixel, of a mask, or of all of it."""

    @property
    def code(self) -> np.ndarray:
        """Of the whole frame, of unit length, float32 [D]."""
        return self.codes_of(np.zeros(self.size, np.int64))[0]

    def codes_of(
        self,
        regions: np.ndarray,  # [H, W], whole numbers from 0 on
    ) -> np.ndarray:
        """Codes of unit length of the regions of a map of ids, float32 [R, D], by rising id; below 0 there is none.

        Raises:
            ValueError: a map of another size than the frame.
        """
        if regions.shape != self.size:
            raise ValueError(f"regions are {list(regions.shape)}; expected {list(self.size)}, the frame's size")
        codes = torch.from_numpy(np.ascontiguousarray(self.answer.values[self.branch]))
        ids, place = np.unique(regions, return_inverse=True)
        numbers = torch.from_numpy(place.reshape(regions.shape) - int((ids < 0).sum())).clamp(min=NONE)
        pooled = pool_regions({self.branch: codes[None]}, numbers[None].long())
        found: np.ndarray = F.normalize(pooled.codes[self.branch], dim=1).numpy()
        return found


@dataclass(slots=True)
class ImageCodes:
    """What is kept of one image.

    Attributes:
        sample_id: the dataset's name of the image.
        codes: of each modality float32 [R, D], of unit length.
        classes: int64 [R], of the regions.
        file_sizes: bytes of each file the image was read from.
        truth: SHA-256 of the map of regions.
    """

    sample_id: str
    codes: dict[str, Tensor]
    classes: Tensor
    file_sizes: dict[str, int] = field(default_factory=dict)
    truth: str = ""


class CodeCounter(Counter):
    """Keeps the codes of an image's regions.

    Args:
        owner: the task.
        meta: the dataset's, with ``classes`` and ``palette`` where it has them.
    """

    records = (ImageCodes,)

    def __init__(self, owner: Embedding, meta: Meta) -> None:
        self.owner, self.meta, self.table = owner, meta, owner.table()

    def count(self, sample_id: str, found: Prediction, file_sizes: dict[str, int]) -> ImageCodes:
        """The codes of one image."""
        if found.target is None:
            raise ValueError(f"sample {sample_id!r} has no {self.owner.target!r}, whose regions would be searched")
        target = Target(found.target[None])
        maps = {name: x for name, x in found.prediction.items() if name != ENSEMBLE} or found.prediction
        pooled = self.owner.regions({name: x[None] for name, x in maps.items()}, target)
        codes = {name: F.normalize(x, dim=1).cpu() for name, x in pooled.codes.items()}
        truth = hashlib.sha256(found.target.cpu().contiguous().numpy().tobytes()).hexdigest()
        return ImageCodes(sample_id, codes, pooled.classes.cpu(), file_sizes, truth)

    def check(self, record: object) -> None:
        """The form of codes and classes, and that there are as many of each."""
        super().check(record)
        assert isinstance(record, ImageCodes)
        check_record(record, record.codes)
        check_array(f"{record.sample_id}: classes", record.classes, "int64", (None,))
        for name, x in record.codes.items():
            check_array(f"{record.sample_id}: codes of {name}", x, "float32", (len(record.classes), None))

    def evaluation(self, records: Sequence[ImageCodes]) -> Evaluation:
        """The scores of all images."""
        return RetrievalEvaluation(records, self.table, self.owner.by, self.meta)

    def report(self, found: Mapping[str, Scores]) -> str:
        """Every score by direction, in percent."""
        names = [score.name for score in self.table]
        rows = [[title, *(_percent(scores[name]) for name in names)] for title, scores in found.items()]
        what = "frame of the same moment" if self.owner.by == "frame" else "regions of the same class"
        return f"Search for the {what} in the other modalities, in percent:\n{text_table(['query', *names], rows)}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


@dataclass(frozen=True)
class RetrievalEvaluation(Evaluation):
    """Rankings of a dataset: every region or frame of a modality is a query to each other modality.

    The scores of a prediction called after a modality are those of its queries, and the ensemble's the mean over the
    modalities. Where there is one modality alone, it is searched itself, without the query.
    """

    images: Sequence[ImageCodes]
    table: tuple[Score, ...]
    by: str
    meta: Meta = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The ensemble, then the modalities that ask."""
        return ensemble_first([ENSEMBLE, *self.images[0].codes])

    def scores(self, name: str) -> dict[str, Any]:
        """Means over the queries; of the ensemble the mean over the modalities; NaN where nothing is relevant."""
        if name != ENSEMBLE:
            return dict(self._scores[name])
        found = list(self._scores.values())
        return {key: math.fsum(each[key] for each in found) / len(found) for key in found[0]}

    def image_scores(self, record: ImageCodes) -> dict[str, Any]:
        """The means over the image's queries of all modalities, and ``values``, how many of them something answers."""
        chosen = self._owner == self._place[record.sample_id]
        own = {name: torch.cat([of[name][chosen] for of in self._queries.values()]) for name in self._kept}
        return {
            **{name: float(x.nanmean()) for name, x in own.items()},
            "values": int((~own[self._kept[0]].isnan()).sum()),
        }

    def about(self) -> dict[str, Any]:
        """What has a code, and the classes where they have names."""
        known = {key: list(self.meta[key]) for key in ("classes", "palette") if self.by != "frame" and key in self.meta}
        return {"by": self.by, **known}

    def fingerprint(self) -> str:
        """SHA-256 over what has a code and, image by image, id, file sizes and regions."""
        digest = hashlib.sha256(json.dumps(["embedding", self.by]).encode())
        for image in self.images:
            digest.update(json.dumps([image.sample_id, sorted(image.file_sizes.items()), image.truth]).encode())
        return digest.hexdigest()

    @property
    def _kept(self) -> list[str]:
        """Names of the scores that a query has of its own."""
        return [score.name for score in self.table if score != AUC]

    @cached_property
    def _place(self) -> dict[str, int]:
        return {image.sample_id: number for number, image in enumerate(self.images)}

    @cached_property
    def _owner(self) -> Tensor:
        """The number of each query's image, [Q]."""
        return torch.cat([torch.full((len(image.classes),), i) for i, image in enumerate(self.images)])

    @cached_property
    def _queries(self) -> dict[str, dict[str, Tensor]]:
        """By modality the scores of its queries, float64 [Q] each, the mean over the modalities that are searched."""
        codes = {name: torch.cat([image.codes[name] for image in self.images]) for name in self.images[0].codes}
        found = {}
        for name in codes:
            others = [other for other in codes if other != name] or [name]
            each = [self._rank(codes[name], codes[other], alone=other == name) for other in others]
            found[name] = {key: torch.stack([x[key] for x in each]).mean(0) for key in each[0]}
        return found

    def _rank(
        self,
        queries: Tensor,  # [Q, D]
        items: Tensor,  # [Q, D]
        *,
        alone: bool,
    ) -> Mapping[str, Tensor]:
        """Scores of each query, float64 [Q]; `alone`: an item is not searched for itself."""
        label = self._owner if self.by == "frame" else torch.cat([image.classes for image in self.images])
        return search_scores(queries, items, label, label, alone=alone)

    @cached_property
    def _scores(self) -> dict[str, dict[str, float]]:
        found = {name: {key: float(x.nanmean()) for key, x in of.items()} for name, of in self._queries.items()}
        if self.by == "frame":
            for name, auc in self._aucs():
                found[name]["AUC"] = auc
        return found

    def _aucs(self) -> Iterator[tuple[str, float]]:
        """How surely the pairs of one moment are told from all others, the mean over the other modalities."""
        codes = {name: torch.cat([image.codes[name] for image in self.images]) for name in self.images[0].codes}
        own = torch.eye(len(self._owner), dtype=torch.bool).flatten()
        for name, x in codes.items():
            found = [float(pair_auc((x @ y.T).flatten(), own)) for other, y in codes.items() if other != name]
            yield name, sum(found) / len(found) if found else math.nan
