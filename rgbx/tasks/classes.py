"""Semantic segmentation: one of K classes for every pixel.

Source of the ensemble and its loss: arXiv 2108.05009, section 3.4. Scores: Long et al., CVPR 2015.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from rgbx._protocol import Protocol, Size
from rgbx._text import percent, text_table
from rgbx._types import Meta, Options, Scores
from rgbx.losses import build_loss
from rgbx.losses.segmentation import CrossEntropy, takes_coarse
from rgbx.maps import IGNORE_INDEX
from rgbx.maps.colour import IGNORED, class_legend, colour_labels
from rgbx.maps.files import encode_png, replace_file
from rgbx.metrics import (
    boundary_counts,
    boundary_f_score,
    calibration_error,
    confusion_matrix,
    reliability_counts,
    scores,
)
from rgbx.ops import MOST_CLASSES, resized_argmax
from rgbx.ops.reference import first_largest
from rgbx.tasks.base import (
    ENSEMBLE,
    Branches,
    Counter,
    Evaluation,
    Frame,
    NotFiniteError,
    Prediction,
    Target,
    Task,
    ensemble_first,
    task,
)
from rgbx.tasks.records import check_array, check_record
from rgbx.tasks.result import Answer, ClassesResult
from rgbx.tasks.score import FRACTION, Score

_AT_ONCE = 4096  # images whose cells are added together
_OF_LOGITS = ("score", "probability", "finish", "finish_coarse")  # what a task of one's own may answer with
_LARGEST_EXPONENT = 80.0  # exp of it is finite in float32, also summed over scales and windows
INTEGERS = (torch.uint8, torch.int8, torch.uint16, torch.int16, torch.int32, torch.int64)
WRONG = (214, 62, 31)
SCORES = {name: Score(name, FRACTION) for name in ("mIoU", "mAcc", "aAcc", "fwIoU")}
BOUNDARY = Score("boundary_f", FRACTION)
CALIBRATION = Score("ece", FRACTION, lower=True)


@task("classes")
class Classes(Task):
    """K classes; a label of 255 is not scored.

    Every branch is trained by its own loss on logits at the label's size, and so is the ensemble.

    Args:
        head: the head's name.
        num_classes: K.
        loss: a name or ``{"name": ..., **options}``, see `rgbx.losses.build_loss`.
        target: key of the label, uint8 or int64 [H, W] per sample.

    Raises:
        ValueError: K that class ids of 8 bits cannot tell.
    """

    options = ("boundary", "calibration")

    def __init__(
        self,
        head: str,
        *,
        num_classes: int,
        loss: Options | str = "cross_entropy",
        target: str = "label",
    ) -> None:
        super().__init__()
        if type(num_classes) is not int or not 1 <= num_classes <= IGNORE_INDEX:
            raise ValueError(
                f"num_classes is {num_classes}; expected 1 to {IGNORE_INDEX}, as class ids are uint8 and "
                f"{IGNORE_INDEX} marks ignored pixels"
            )
        self.channels, self.target, self.loss = num_classes, target, build_loss(loss)

    def read_target(
        self,
        batch: Mapping[str, Tensor],  # NAME: [N, H, W] or [N, C, H, W]
    ) -> Target | None:
        """The label, int64 [N, H, W].

        Raises:
            ValueError: a label of another shape, or of another dtype than integers.
        """
        label = batch.get(self.target)
        if label is None:
            return None
        if label.ndim != 3 or label.dtype not in INTEGERS:
            hint = f": {self.target}[:, 0]" if label.ndim == 4 and label.shape[1] == 1 else ""
            raise ValueError(
                f"{self.target} is {str(label.dtype).removeprefix('torch.')} {list(label.shape)}; expected class ids, "
                f"integers [N, H, W]{hint}"
            )
        return Target(label.long())

    def activate(
        self,
        raw: Tensor,  # [B, K, h, w]
    ) -> Tensor:
        """Logits float32; a class axis that is not last suits the losses."""
        return raw.float().contiguous()

    def ensemble(
        self,
        votes: Sequence[Tensor],  # [N, K, h, w] each
        weights: Tensor | None,  # [M]
    ) -> Tensor:
        """Σ w_m · o_m, or without weights the logarithm of the mean probability."""
        if weights is None:
            return torch.stack(list(votes)).log_softmax(2).logsumexp(0) - math.log(len(votes))
        return torch.stack([w * vote for w, vote in zip(weights, votes, strict=True)]).sum(0)

    def losses(self, outputs: Branches, target: Target) -> dict[str, Tensor]:
        """``loss_NAME`` of every branch and the ensemble.

        Raises:
            ValueError: a class id out of range.
        """
        self._check_label(target)
        return {f"loss_{name}": self.loss(x, target.truth) for name, x in outputs.items()}

    @property
    def loses_coarse(self) -> bool:
        """Where the loss is one of pixels."""
        return takes_coarse(self.loss) and type(self).losses is Classes.losses

    def coarse_losses(self, outputs: Branches, padded: Size, target: Target) -> dict[str, Tensor]:
        """As `losses`, to the last bits of float32; raises as that."""
        self._check_label(target)
        loss = cast(CrossEntropy, self.loss)
        return {f"loss_{name}": loss.of_coarse(x, target.truth, padded) for name, x in outputs.items()}

    def _check_label(self, target: Target) -> None:
        low, high = torch.where(target.truth == IGNORE_INDEX, 0, target.truth).aminmax()
        if low < 0 or high >= self.channels:
            raise ValueError(
                f"labels hold class id {int(low if low < 0 else high)}; expected 0 to {self.channels - 1}, or "
                f"{IGNORE_INDEX} to ignore. Check num_classes and the dataset's label offset"
            )

    def score(
        self,
        output: Tensor,  # [B, K, H, W]
        protocol: Protocol,
    ) -> Tensor:
        """Logits, probabilities, or the exponentials of the logits; an infinite one becomes NaN."""
        if protocol.sum_of == "softmax":
            return output.softmax(1)
        if protocol.sum_of == "exp":
            return output.clamp(max=_LARGEST_EXPONENT).exp().where(output < torch.inf, torch.nan)
        return output

    def probability(
        self,
        total: Tensor,  # [N, K, H, W]
        protocol: Protocol,
    ) -> Tensor:
        """The sum of the views' scores as probabilities, summing to 1 over the classes."""
        if protocol.sum_of == "logits":
            return (total / protocol.views).softmax(1)
        whole = total.sum(1, keepdim=True)
        return torch.where(whole > 0, total / whole, 1 / self.channels)  # a protocol may score a pixel by no window

    def finish(
        self, total: Branches, target: Target | None, protocol: Protocol, *, keep_probability: bool = False
    ) -> list[Prediction]:
        """Class ids uint8 [H, W]: the class of a pixel is the largest of its scores; raises as `largest_class`."""
        ids = {name: largest_class(x)[1].to(torch.uint8) for name, x in total.items()}
        kept = {name: self.probability(total[name], protocol) for name in sure_of(total) if keep_probability}
        return _predictions(ids, target, kept, {name: x.amax(1) for name, x in kept.items()})

    def finishes_coarse(self, protocol: Protocol) -> bool:
        """Where logits of one view of the image are resized bilinearly, so that their largest is all that counts."""
        own = any(getattr(type(self), name) is not getattr(Classes, name) for name in _OF_LOGITS)
        one = (
            not own
            and not protocol.flip
            and protocol.scales == (1.0,)
            and protocol.window is None
            and protocol.pad_to is None
        )
        plain = protocol.resizer == "torch" and protocol.multiple == 1 and protocol.logits_to_label == "bilinear"
        return one and plain and protocol.resized == protocol.sum_of == "logits" and self.channels <= MOST_CLASSES

    def finish_coarse(
        self, outputs: Branches, frame: Frame, target: Target | None, *, keep_confidence: bool = False
    ) -> list[Prediction]:
        """As `finish`, to the last bits of logits that are all but equal; raises as that."""
        ids: dict[str, Tensor] = {}
        confidence: dict[str, Tensor] = {}
        for name, x in outputs.items():
            asked = keep_confidence and name in sure_of(outputs)
            ids[name], shares, finite = resized_argmax(x, frame.padded, crop=frame.size, confidence=asked)
            check_finite(finite)
            confidence |= {name: shares} if shares is not None else {}
        return _predictions(ids, target, {}, confidence)

    def table(self, meta: Meta | None = None, **options: Any) -> tuple[Score, ...]:
        """mIoU, mAcc, aAcc and fwIoU; with the options boundary F and calibration error."""
        further = [BOUNDARY] * bool(options.get("boundary")) + [CALIBRATION] * bool(options.get("calibration"))
        return (*SCORES.values(), *further)

    def counter(self, protocol: Protocol, meta: Meta, **options: Any) -> ClassCounter:
        """Counts pixels by true and predicted class."""
        return ClassCounter(self, protocol, meta, **options)

    def result(self, answer: Answer) -> ClassesResult:
        """What `MultimodalModel.predict` gives of this head's ensemble for one frame."""
        return ClassesResult(self, answer, ENSEMBLE)

    def draw(
        self,
        values: np.ndarray,  # [H, W], class ids
        about: Meta,
        *,
        truth: np.ndarray | None = None,  # [H, W]
        valid: np.ndarray | None = None,  # bool [1, H, W]
        masked: bool = False,
    ) -> np.ndarray:
        """Class ids [H, W] in the palette's colours; ignored pixels are grey."""
        return colour_labels(values, about["palette"], ignore_index=about.get("ignore_index", IGNORE_INDEX))

    def error(
        self,
        values: np.ndarray,  # [H, W], class ids
        truth: np.ndarray,  # [H, W]
        background: np.ndarray,  # uint8 RGB [H, W, 3]
        about: Meta,
        valid: np.ndarray | None = None,  # bool [1, H, W]
    ) -> np.ndarray | None:
        """Wrong pixels red, right ones a pale copy of the input, those without a label grey."""
        light = background.astype(float).mean(-1, keepdims=True)
        pale = np.broadcast_to(196 + light * 0.22, background.shape)
        red = np.asarray(WRONG, float) * (0.78 + light * 0.22 / 255)
        picture = np.where((truth != values)[..., None], red, pale)
        picture[truth == about.get("ignore_index", IGNORE_INDEX)] = IGNORED
        return picture.round().clip(0, 255).astype(np.uint8)

    def legend(
        self,
        maps: Sequence[np.ndarray],  # [H, W], class ids
        about: Meta,
    ) -> dict[str, Sequence[int]]:
        """Name to colour of the classes that occur in the maps, and of ignored pixels."""
        return class_legend(maps, about)

    def write(
        self,
        path: Path,
        values: np.ndarray,  # [H, W], class ids
        dataset: Any,
    ) -> None:
        """A PNG of the dataset's own ids."""
        replace_file(path, encode_png(dataset.encode_label(values)), many=True)


@dataclass(slots=True)
class ImageCounts:
    """Counts of one image, small, as an evaluation keeps those of all.

    Attributes:
        sample_id: the dataset's name of the image.
        classes: K.
        cells: per prediction uint32 [n, 2]: which cell of the confusion matrix, true · K + predicted, and pixels, of
            each that is not zero.
        boundary: int64 [K, 4] of the ensemble, see `rgbx.metrics.boundary_counts`; None where not asked for.
        reliability: float64 [3, B] of the ensemble, see `rgbx.metrics.reliability_counts`; None likewise.
        file_sizes: bytes of each file the image was read from.
    """

    sample_id: str
    classes: int
    cells: dict[str, np.ndarray]
    boundary: Tensor | None = None
    reliability: Tensor | None = None
    file_sizes: dict[str, int] = field(default_factory=dict)

    def confusion(self, name: str) -> Tensor:
        """The prediction's confusion matrix, int64 [K, K]."""
        return sum_cells([self.cells[name]], self.classes)

    @property
    def true_pixels(self) -> Tensor:
        """Of every class in the label, int64 [K]."""
        return self.confusion(next(iter(self.cells))).sum(1)


class ClassCounter(Counter):
    """Counts pixels image by image in int64, so that sums over images and processes are exact.

    Args:
        owner: the task.
        protocol: whose rules for absent classes and dropped labels hold.
        meta: with ``classes``, and ``palette`` and ``ignore_index`` for the result.
        boundary: also count boundary pixels of the ensemble.
        calibration: also count confidence and correctness of the ensemble, where predictions have a `confidence`, or a
            `probability`.
    """

    records = (ImageCounts,)

    def __init__(
        self, owner: Task, protocol: Protocol, meta: Meta, *, boundary: bool = False, calibration: bool = False
    ) -> None:
        self.protocol, self.meta, self.boundary, self.calibration = protocol, meta, boundary, calibration
        self.classes = tuple(meta["classes"])
        self.ignore_index = int(meta.get("ignore_index", IGNORE_INDEX))
        self.table = owner.table(boundary=boundary, calibration=calibration)

    def count(self, sample_id: str, found: Prediction, file_sizes: dict[str, int]) -> ImageCounts:
        """Cells of the confusion matrix of every prediction, and what else was asked for of the ensemble."""
        if found.target is None:
            raise ValueError(f"sample {sample_id!r} has no label to score against")
        label = found.target
        if self.protocol.drop_labels_from == "num_classes":
            label = torch.where(label >= len(self.classes), self.ignore_index, label)
        options = {"ignore_index": self.ignore_index}
        confusions: dict[str, Tensor] = {}
        for name, ids in found.prediction.items():
            try:
                confusions[name] = confusion_matrix(ids, label, len(self.classes), **options).cpu()
            except ValueError as error:
                raise ValueError(f"{name} of sample {sample_id!r}: {error}") from None
        boundary = reliability = None
        if self.boundary and ENSEMBLE in confusions:
            boundary = boundary_counts(found.prediction[ENSEMBLE], label, len(self.classes), **options).cpu()
        if self.calibration and ENSEMBLE in (found.confidence or found.probability or {}):
            largest = None
            if found.confidence is not None:
                largest = found.confidence[ENSEMBLE][None], found.prediction[ENSEMBLE][None]
            probability = largest[0][:, None] if largest else (found.probability or {})[ENSEMBLE][None]
            reliability = reliability_counts(probability, label[None], largest=largest, **options).cpu()
        return ImageCounts(
            sample_id,
            len(self.classes),
            {name: to_cells(matrix) for name, matrix in confusions.items()},
            boundary,
            reliability,
            file_sizes,
        )

    def check(self, record: object) -> None:
        """K, the form of all arrays, and the range of the cells."""
        count = len(self.classes)
        super().check(record)
        assert isinstance(record, ImageCounts)
        check_record(record, record.cells)
        if record.classes != count:
            raise ValueError(f"{record.sample_id}: classes is {record.classes!r}; expected {count}")
        for name, cells in record.cells.items():
            check_array(f"{record.sample_id}: cells of {name}", cells, "uint32", (None, 2))
            if len(cells) and int(cells[:, 0].max()) >= count**2:
                raise ValueError(
                    f"{record.sample_id}: cells of {name} hold the cell {int(cells[:, 0].max())}; expected less than "
                    f"{count**2}, as there are {count} classes"
                )
        for name, x, kind, shape in (
            ("boundary", record.boundary, "int64", (count, 4)),
            ("reliability", record.reliability, "float64", (3, None)),
        ):
            if x is not None:
                check_array(f"{record.sample_id}: {name}", x, kind, shape)

    def evaluation(self, records: Sequence[ImageCounts]) -> ClassEvaluation:
        """The scores of all images."""
        return ClassEvaluation(records, self.protocol.absent, self.meta, self.table)

    def report(self, found: Mapping[str, Scores]) -> str:
        """IoU per class."""
        return f"IoU of each class, in percent:\n{class_table(found, self.classes)}"


@dataclass(frozen=True)
class ClassEvaluation(Evaluation):
    """Counts and scores of a dataset.

    Attributes:
        images: the counts of each image, in the dataset's order.
        absent: how means treat classes without pixels, "skip" or "zero".
        meta: the dataset's.
        table: the scores there are.
    """

    images: Sequence[ImageCounts]
    absent: str = "skip"
    meta: Meta = field(default_factory=dict)
    table: tuple[Score, ...] = tuple(SCORES.values())

    @property
    def names(self) -> list[str]:
        """The predictions, the ensemble first."""
        return ensemble_first(name for image in self.images for name in image.cells)

    def confusion(self, name: str) -> Tensor:
        """Sum over the images, int64 [K, K]."""
        cells = [image.cells[name] for image in self.images if name in image.cells]
        return sum_cells(cells, self.images[0].classes)

    def scores(self, name: str) -> dict[str, Any]:
        """See `rgbx.metrics.scores`; also ``confusion`` and, of the ensemble, ``boundary_f``, ``ece`` and its bins."""
        confusion = self.confusion(name)
        boundary, reliability = (self._total(key) if name == ENSEMBLE else None for key in ("boundary", "reliability"))
        bins = None
        if reliability is not None:
            pixels, confidence, right = reliability
            bins = {"count": pixels.long(), "confidence": confidence / pixels, "accuracy": right / pixels}
        return {
            **scores(confusion, absent=self.absent),
            "confusion": confusion,
            "boundary_f": None if boundary is None else boundary_f_score(boundary),
            "ece": None if reliability is None else calibration_error(reliability),
            "reliability": bins,
        }

    def logged(self, name: str) -> dict[str, float]:
        """mIoU, mAcc and aAcc in percent."""
        found = scores(self.confusion(name), absent=self.absent)
        return {key: 100 * found[key] for key in ("mIoU", "mAcc", "aAcc")}

    def _total(self, key: str) -> Tensor | None:
        """Sum of `boundary` or `reliability` over the images, in their order; None where they were not counted."""
        parts = [part for image in self.images if (part := getattr(image, key)) is not None]
        return torch.stack(parts).sum(0) if parts else None

    def image_scores(self, record: ImageCounts) -> dict[str, Any]:
        """mIoU and aAcc over the classes that occur in the image, and its non-zero cells."""
        name = ensemble_first(record.cells)[0]
        found = scores(record.confusion(name))
        cells, pixels = record.cells[name].astype(np.int64).T
        listed = np.stack([cells // record.classes, cells % record.classes, pixels], 1).tolist()
        return {"mIoU": found["mIoU"], "aAcc": found["aAcc"], "confusion": listed}

    def about(self) -> dict[str, Any]:
        """Classes, palette and ignore_index."""
        return {
            "classes": list(self.meta["classes"]),
            "palette": [list(colour) for colour in self.meta["palette"]],
            "ignore_index": self.meta.get("ignore_index", IGNORE_INDEX),
        }

    def fingerprint(self) -> str:
        """SHA-256 over class names and, image by image, id, file sizes and scored pixels of each class."""
        digest = hashlib.sha256(json.dumps(list(self.meta["classes"])).encode())
        for image in self.images:
            line = [image.sample_id, sorted(image.file_sizes.items()), image.true_pixels.tolist()]
            digest.update(json.dumps(line).encode())
        return digest.hexdigest()


def sure_of(names: Iterable[str]) -> list[str]:
    """The predictions whose confidence is told: the ensemble, or else every one."""
    found = list(names)
    return [ENSEMBLE] if ENSEMBLE in found else found


def _predictions(
    ids: Branches,  # uint8 [N, H, W] each
    target: Target | None,
    probability: Branches,  # [N, K, H, W] each
    confidence: Branches,  # [N, H, W] each
) -> list[Prediction]:
    """Sample by sample."""
    return [
        Prediction(
            {name: x[i] for name, x in ids.items()},
            None if target is None else target.truth[i],
            None,
            {name: x[i] for name, x in probability.items()} or None,
            {name: x[i] for name, x in confidence.items()} or None,
        )
        for i in range(len(next(iter(ids.values()))))
    ]


def check_finite(
    finite: Tensor,  # bool [N, ...]
) -> None:
    """Raises `NotFiniteError` for the samples that are not."""
    good = finite.flatten(1).all(1)
    if not good.all():
        raise NotFiniteError([i for i, each in enumerate(good.tolist()) if not each])


def largest_class(
    scores: Tensor,  # [N, K, ...] floating
) -> tuple[Tensor, Tensor]:
    """The largest score of each pixel and its class, the first one of equals.

    Returns:
        The score [N, ...], and the class [N, ...], uint8 or int64.

    Raises:
        NotFiniteError: a pixel with NaN or infinity among its scores, of which none is the largest.
    """
    largest, index = first_largest(scores)
    check_finite(largest.isfinite())
    return largest, index


def to_cells(
    confusion: Tensor,  # [K, K]
) -> np.ndarray:
    """The non-zero cells of a confusion matrix: uint32 [n, 2], (true · K + predicted, pixels)."""
    flat = confusion.flatten().numpy()
    where = flat.nonzero()[0]
    return np.stack([where, flat[where]], 1).astype(np.uint32)


def sum_cells(
    parts: Sequence[np.ndarray],  # uint32 [n, 2] each
    num_classes: int,
) -> Tensor:
    """The confusion matrix, int64 [K, K], that adds up the cells of several images."""
    total = np.zeros(num_classes**2, np.int64)
    for start in range(0, len(parts), _AT_ONCE):
        where, pixels = np.concatenate(parts[start : start + _AT_ONCE]).T
        np.add.at(total, where, pixels)
    return torch.from_numpy(total).view(num_classes, num_classes)


def class_table(found: Mapping[str, Scores], classes: Sequence[str]) -> str:
    """IoU per class of each prediction, in percent.

    Args:
        found: the scores of each prediction, as `rgbx.metrics.scores` gives them, by its title.
        classes: K class names.
    """
    rows = [[name, *(percent(scores["IoU"][k]) for scores in found.values())] for k, name in enumerate(classes)]
    mean = ["mean", *(percent(scores["mIoU"]) for scores in found.values())]
    return text_table(["class", *found], [*rows, mean], rule_before_last=True)
