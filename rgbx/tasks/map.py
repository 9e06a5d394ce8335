"""Maps: a dense image in a unit, such as colours, depth in metres, surface normals.

Source of branches and ensemble: arXiv 2011.05005, section 4.2, and arXiv 2108.05009.
"""

from __future__ import annotations

import hashlib
import json
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rgbx._protocol import Protocol
from rgbx._text import one_of, text_table
from rgbx._types import Meta, Options, Scores
from rgbx.losses import PerceptualLoss, l1_loss
from rgbx.maps import STANDARD_MAPS, Encoding, MapSpec
from rgbx.maps.colour import colour_input, colour_map, scale_of
from rgbx.maps.files import file_hash
from rgbx.maps.spec import BANDS
from rgbx.metrics import (
    depth_scores,
    depth_sums,
    error_scores,
    error_sums,
    frechet_distance,
    kernel_distance,
    normal_scores,
    normal_sums,
    psnr,
    ssim,
)
from rgbx.tasks.adversarial import three_channels
from rgbx.tasks.base import ENSEMBLE, Branches, Counter, Evaluation, Prediction, Target, Task, ensemble_first, task
from rgbx.tasks.feature_networks import LPIPS, inception_features
from rgbx.tasks.map_range import build_range
from rgbx.tasks.records import check_array, check_record
from rgbx.tasks.result import Answer, MapResult
from rgbx.tasks.score import FRACTION, Score

TRUTH = "truth"
CHANNELS = {"rgb8": 3, "encoded": 3, "unit_vector": 3}  # by unit; others have one
PICTURES = {"rgb8": 255.0, "encoded": 255.0, "relative": 1.0}  # units whose maps are pictures, and their range
SCORED_UNITS = (*PICTURES, "metre", "unit_vector")  # units with more scores than MAE and RMSE
KERNEL = ("subsets", "subset_size", "degree", "seed")
_PUBLISHED_FACTORS = {"unit_vector": 10.0, "relative": 20.0}  # to tenths of the -1..1 that networks predict
_SUMS: dict[str, Callable[..., dict[str, Any]]] = {"metre": depth_sums, "unit_vector": normal_sums}
_SCORES: dict[str, Callable[..., dict[str, float]]] = {"metre": depth_scores, "unit_vector": normal_scores}
_UNITS = {"rgb8": "of 0..255", "encoded": "of 0..255", "metre": "m", "unit_vector": "of −1..1", "relative": "of 0..1"}
_DIGITS = {"dB": 2, "°": 2, "of 0..255": 2}
_HEADLINES = ("PSNR", "angle_mean", "MAE")
_BESIDE = ("SSIM", "AbsRel", "angle_median", "within_11.25", "delta1", "MAE")
_NOT_SHOWN = ("MAE_x10", "RMSE_x10", "KID_std")


@task("map")
class Map(Task):
    """A map of values in a unit, which networks predict in -1..1.

    Every branch has an L1 loss, and so has the ensemble, which reads detached images: its loss trains α alone. Where
    the target was not measured there is no loss.

    Args:
        head: the head's name.
        unit: of the values, see `MapSpec`; None takes that of the standard map of the target's name, or what the
            dataset says, which must not be metre or unit_vector: what is measured, and how a mirror turns vectors, is
            the head's to know.
        channels: C; by default 3 of rgb8, encoded and unit_vector, else 1.
        target: key of the map; by default the head's name.
        range: ``low`` and ``high`` in the unit, and ``scale``, see `MapRange`; by default that of the standard map.
        l1: factor of the L1 losses.
        perceptual: options of `PerceptualLoss` (``weights``, a file, which only training needs, and ``layers``) and
            ``weight``, its factor (10); None leaves it out.

    Raises:
        ValueError: a map without a range, an unknown unit, or a factor below 0.
    """

    decoder = "image"
    options = ("fid", "lpips")

    def __init__(
        self,
        head: str,
        *,
        unit: str | None = None,
        channels: int | None = None,
        target: str | None = None,
        range: Options | None = None,  # the word of configs
        l1: float = 1.0,
        perceptual: Options | None = None,
    ) -> None:
        super().__init__()
        self.target = target or head
        known = STANDARD_MAPS.get(self.target)
        if unit is not None and unit not in (*SCORED_UNITS, "sensor"):
            raise ValueError(
                f"head {head!r}: unit is {unit!r}; expected one of {one_of((*SCORED_UNITS, 'sensor'), unit)}"
            )
        self.stated_unit, self.unit = unit, unit or (known.unit if known else None)
        self.channels = channels or CHANNELS.get(self.unit or "", 1)
        self.range = build_range(self.target, range, unit=self.unit)
        if l1 < 0:
            raise ValueError(f"weights of losses must be >= 0, found {l1}")
        self.l1 = l1
        options = dict(perceptual or {})
        self.perceptual_weight = float(options.pop("weight", 10.0)) if options else 0.0
        if self.perceptual_weight < 0 or (self.perceptual_weight and "weights" not in options):
            raise ValueError(
                f"perceptual needs 'weights', a VGG file, and a weight >= 0; found {dict(perceptual or {})}"
            )
        if unknown := sorted(set(options) - {"weights", "layers"}):
            raise ValueError(f"perceptual has the unknown options {unknown}; known are weights, weight and layers")
        self.perceptual_options = options
        self._perceptual: list[PerceptualLoss] = []  # in a list: its frozen network belongs in no checkpoint

    def read_target(
        self,
        batch: Mapping[str, Tensor],  # NAME: [N, H, W] or [N, C, H, W]
    ) -> Target | None:
        """The map in its unit, measured where its mask says so, which `Preprocessor` completes."""
        truth = batch.get(self.target)
        return None if truth is None else Target(truth, batch.get(f"{self.target}_valid"))

    def activate(
        self,
        raw: Tensor,  # [B, C, h, w]
    ) -> Tensor:
        """tanh in at least float32: bfloat16 has no more than eight bits near ±1."""
        return raw.to(torch.promote_types(raw.dtype, torch.float32)).tanh()

    def ensemble(
        self,
        votes: Sequence[Tensor],  # [N, C, h, w] each
        weights: Tensor | None,  # [M]
    ) -> Tensor:
        """Σ w_m · o_m, or the mean image; of a single branch its own, so that α has no part in it."""
        if len(votes) == 1:
            return votes[0]
        return super().ensemble(votes, weights)

    def normalise(
        self,
        truth: Tensor,  # [N, C, H, W], in the unit
        valid: Tensor | None,  # bool [N, 1, H, W]
    ) -> Tensor:
        """The target in -1..1, float32 [N, C, H, W], and -1 where it was not measured."""
        scaled = self.range.normalise(truth)
        return scaled if valid is None else scaled.where(valid, -1)

    def losses(self, outputs: Branches, target: Target) -> dict[str, Tensor]:
        """``loss_l1_NAME`` of every branch and the ensemble and, where asked for, ``loss_perceptual``."""
        truth, images = self.normalise(*target), dict(outputs)
        if len(images) == 2:  # one branch, whose ensemble is the same image
            del images[ENSEMBLE]
        losses = {f"loss_l1_{name}": self.l1 * l1_loss(image, truth, target.valid) for name, image in images.items()}
        if self.perceptual_weight:
            network = self._perceptual_network(truth)
            shown = self.shown(images, target.valid).values()
            terms = [network(three_channels(x), three_channels(truth)) for x in shown]
            losses["loss_perceptual"] = self.perceptual_weight * torch.stack(terms).sum()
        return losses

    def shown(
        self,
        images: Branches,
        valid: Tensor | None,  # bool [N, 1, H, W]
    ) -> dict[str, Tensor]:
        """The branches, or the one prediction, with the target's holes as -1, so that holes tell nothing."""
        branches = {name: x for name, x in images.items() if name != ENSEMBLE} or images
        return {name: x if valid is None else x.where(valid, -1) for name, x in branches.items()}

    def _perceptual_network(
        self,
        like: Tensor,  # [N, C, H, W]
    ) -> PerceptualLoss:
        if not self._perceptual:
            self._perceptual.append(PerceptualLoss(**self.perceptual_options).to(like.device))
        return self._perceptual[0]

    def mirror(
        self,
        output: Tensor,  # [B, C, H, W], -1..1
    ) -> Tensor:
        """Turned back; unit vectors turn their x, too."""
        turned = output.flip(-1)
        return torch.cat([self.range.negate(turned[:, :1]), turned[:, 1:]], 1) if self.unit == "unit_vector" else turned

    def finish(
        self, total: Branches, target: Target | None, protocol: Protocol, *, keep_probability: bool = False
    ) -> list[Prediction]:
        """Images in the unit, the mean of the views."""
        views = {name: x if protocol.views == 1 else x / protocol.views for name, x in total.items()}
        images = {name: self.range.denormalise(x.float()) for name, x in views.items()}
        return [
            Prediction(
                {name: x[i] for name, x in images.items()},
                None if target is None else target.truth[i],
                None if target is None or target.valid is None else target.valid[i],
            )
            for i in range(len(next(iter(images.values()))))
        ]

    def spec(self, meta: Meta) -> MapSpec:
        """What the target means, by the head, the dataset or as a standard map.

        Raises:
            ValueError: a map that nobody describes, or of a unit that the head itself has to state.
        """
        known = {**STANDARD_MAPS, **(meta.get("maps") or {})}
        if self.unit is None and self.target in known and known[self.target].unit in ("metre", "unit_vector"):
            unit = known[self.target].unit
            raise ValueError(
                f"the dataset's {self.target!r} is of unit {unit!r}, which its head does not know: state "
                f"unit={unit!r} in the head"
            )
        if self.stated_unit == "metre" and self.target in known and known[self.target].unit == "relative":
            known[self.target].check_metres("a head of unit 'metre'")
        if self.target in known and self.stated_unit in (None, known[self.target].unit):
            return known[self.target]
        if self.unit is None:
            raise ValueError(
                f"no MapSpec for the target {self.target!r}: neither a standard map nor one of the dataset's maps"
            )
        return MapSpec(self.target, self.channels, "float32", self.unit, "linear")

    def table(self, meta: Meta | None = None, **options: Any) -> tuple[Score, ...]:
        """The scores of the target's unit; colours also have FID, KID and LPIPS where their options are given."""
        unit = self.spec(meta or {}).unit
        names = score_names(unit)
        names += ("FID", "KID", "KID_std") * bool(options.get("fid")) + ("LPIPS",) * bool(options.get("lpips"))
        return tuple(describe_score(name, unit) for name in names)

    def counter(self, protocol: Protocol, meta: Meta, **options: Any) -> MapCounter:
        """Measures errors, and similarity of pictures."""
        return MapCounter(self, meta, stretched=self.target in protocol.stretched, **options)

    def result(self, answer: Answer) -> MapResult:
        """What `MultimodalModel.predict` gives of this head's ensemble for one frame."""
        return MapResult(self, answer, ENSEMBLE)

    def draw(
        self,
        values: np.ndarray,  # [C, H, W], in the unit
        about: Meta,
        *,
        truth: np.ndarray | None = None,  # [C, H, W]
        valid: np.ndarray | None = None,  # bool [1, H, W]
        masked: bool = False,
    ) -> np.ndarray:
        """Of one channel, in the colours that the range of the truth gives; colours and normals as they are."""
        if values.shape[0] == 1:
            measured = values if truth is None else truth if valid is None else truth[valid]
            limits = np.percentile(measured, (2, 98)) if measured.size else (0.0, 1.0)
            mask = valid[0] if masked and valid is not None else None
            return colour_map(values[0], mask, scale_of(self.target, self.unit or ""), limits)
        if self.unit == "unit_vector":
            return colour_input(self.target, values)
        if self.unit in BANDS:
            return colour_input(self.target, values, valid if masked else None, self.spec(about))
        return colour_input(self.target, values.round().clip(0, 255).astype(np.uint8))

    def error(
        self,
        values: np.ndarray,  # [C, H, W], in the unit
        truth: np.ndarray,  # [C, H, W]
        background: np.ndarray,  # uint8 RGB [H, W, 3]
        about: Meta,
        valid: np.ndarray | None = None,  # bool [1, H, W]
    ) -> np.ndarray | None:
        """The absolute difference, mean over the channels, bright where it is large."""
        difference = np.abs(values.astype(float) - truth.astype(float)).mean(0)
        return colour_map(difference, None if valid is None else valid[0], "inferno")

    def write(
        self,
        path: Path,
        values: np.ndarray,  # [C, H, W], in the unit
        dataset: Any,
    ) -> None:
        """A PNG as the dataset stores the map, or by the defaults of its unit; it says in its text what it holds."""
        meta = dataset.metainfo
        spec, stored = self.spec(meta), (meta.get("stored") or {}).get(self.target) or {}
        pixels = values.transpose(1, 2, 0)
        Encoding(spec, **stored).to_write().write(path, pixels[..., 0] if spec.channels == 1 else pixels)


def stretch(
    image: Tensor,  # [C, H, W]
) -> Tensor:
    """An image stretched over 0..255 and cut to whole numbers, float32; a constant one becomes 0."""
    x = image.float()
    span = x.max() - x.min()
    return ((x - x.min()) * 255 / span.clamp(min=torch.finfo(x.dtype).tiny)).floor()


@dataclass(slots=True)
class ImageScores:
    """Measurements of one image.

    Attributes:
        sample_id: the dataset's name of the image.
        target: what the predicted map means.
        sums: per prediction what is added up over the images, see `rgbx.metrics`.
        means: per prediction what is averaged over the images: PSNR, SSIM, LPIPS.
        features: per prediction, and of the truth, float32 [D]; empty where not asked for.
        file_sizes: bytes of each file the image was read from.
    """

    sample_id: str
    target: MapSpec
    sums: dict[str, dict[str, Any]]
    means: dict[str, dict[str, float]]
    features: dict[str, Tensor] = field(default_factory=dict)
    file_sizes: dict[str, int] = field(default_factory=dict)


class MapCounter(Counter):
    """Measures images one by one, so that several processes give exactly what one gives.

    Args:
        owner: the task.
        meta: the dataset's, for what the target means.
        stretched: whether images go through `stretch` before FID and KID.
        fid: ``weights``, a local file of Inception-v3 (see `inception_features`), and options of
            `rgbx.metrics.kernel_distance`; None leaves FID and KID out.
        lpips: ``backbone``, ``linear`` and ``network``, see `LPIPS`; None leaves LPIPS out.

    Raises:
        ImportError, FileNotFoundError, ValueError: a library or weight file that is not there (nothing replaces it), or
            a target that networks for colours do not apply to.
    """

    records = (ImageScores, MapSpec)

    def __init__(
        self,
        owner: Map,
        meta: Meta,
        *,
        stretched: bool = False,
        fid: Options | None = None,
        lpips: Options | None = None,
    ) -> None:
        self.spec, self.kernel, self.stretched = owner.spec(meta), dict(fid or {}), stretched
        if self.spec.unit != "rgb8" and (fid is not None or lpips is not None):
            raise ValueError(
                f"FID, KID and LPIPS are for colours, but {self.spec.name!r} is {self.spec.unit}; leave them None"
            )
        files: dict[str, str] = {}
        self.inception = self.lpips = None
        if fid is not None:
            if "weights" not in fid:
                raise ValueError(f"fid needs 'weights', a local Inception file, found {sorted(fid)}")
            files["inception"] = self.kernel.pop("weights")
            if unknown := sorted(set(self.kernel) - set(KERNEL)):
                raise ValueError(f"fid has the unknown options {unknown}")
            self.inception = inception_features(files["inception"])
        if lpips is not None:
            self.lpips = LPIPS(**lpips)
            files |= {f"lpips {key}": lpips[key] for key in ("backbone", "linear")}
        self.weights = {name: {"file": str(path), "sha256": file_hash(path)} for name, path in files.items()}
        self.table = owner.table(meta, fid=fid, lpips=lpips)

    def count(self, sample_id: str, found: Prediction, file_sizes: dict[str, int]) -> ImageScores:
        """Sums of errors of every prediction, and what networks see in it."""
        if found.target is None:
            raise ValueError(f"sample {sample_id!r}: expected the target {self.spec.name!r}, found none")
        try:
            parts = {
                key: measure(image, found.target, found.valid, self.spec.unit)
                for key, image in found.prediction.items()
            }
            sums, means = ({key: part[i] for key, part in parts.items()} for i in (0, 1))
            features = self._look(found, means) if self.inception is not None or self.lpips is not None else {}
        except ValueError as error:
            raise ValueError(f"sample {sample_id!r}: {error}") from None
        return ImageScores(sample_id, self.spec, sums, means, features, file_sizes)

    @torch.no_grad()
    def _look(self, found: Prediction, means: dict[str, dict[str, float]]) -> dict[str, Tensor]:
        """Features of truth and predictions; their perceptual distances are added to the means."""
        images = {TRUTH: typing.cast(Tensor, found.target), **found.prediction}
        stack = torch.stack([_rounded(image, images[TRUTH]) for image in images.values()])
        if self.lpips is not None:
            pictures = stack.float() / 127.5 - 1
            distances = self.lpips.to(stack.device)(pictures[1:], pictures[:1].expand_as(pictures[1:]))
            for key, distance in zip(found.prediction, distances, strict=True):
                means[key]["LPIPS"] = float(distance)
        if self.inception is None:
            return {}
        if self.stretched:
            stack = torch.stack([stretch(image.to(stack.device)).to(torch.uint8) for image in images.values()])
        (features,) = self.inception.to(stack.device)(stack)
        return dict(zip(images, features.float().cpu(), strict=True))

    def check(self, record: object) -> None:
        """What the map means, that all predictions have numbers, and the form of features."""
        super().check(record)
        assert isinstance(record, ImageScores)
        check_record(record, record.sums)
        if record.target != self.spec:
            raise ValueError(f"{record.sample_id}: target is {record.target}; expected {self.spec}")
        if record.means.keys() != record.sums.keys():
            raise ValueError(
                f"{record.sample_id}: means are of {sorted(record.means)}; expected {sorted(record.sums)}, as sums are"
            )
        for name, x in record.features.items():
            check_array(f"{record.sample_id}: features of {name}", x, "float32", (None,))

    def evaluation(self, records: Sequence[ImageScores]) -> MapEvaluation:
        """The scores of all images."""
        return MapEvaluation(records, self.kernel, self.weights, self.table)

    def report(self, found: Mapping[str, Scores]) -> str:
        """One row per prediction."""
        return score_table(found, self.spec)


@dataclass(frozen=True)
class MapEvaluation(Evaluation):
    """Measurements and scores of a dataset.

    Attributes:
        images: the measurements of each image, in the dataset's order.
        kernel: options of `rgbx.metrics.kernel_distance`.
        weights: the files of the networks that images were looked at through, and their SHA-256.
        table: the scores there are.
    """

    images: Sequence[ImageScores]
    kernel: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    table: tuple[Score, ...] = ()
    _found: dict[str, dict[str, Any]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def target(self) -> MapSpec:
        """What the predicted map means."""
        return self.images[0].target

    @property
    def names(self) -> list[str]:
        """The predictions, the ensemble first."""
        return ensemble_first(name for image in self.images for name in image.sums)

    def scores(self, name: str) -> dict[str, Any]:
        """All scores of one prediction, in the target's unit or as fractions of 1; see `docs/translation.md`."""
        if name not in self._found:  # FID and KID take long
            self._found[name] = self._scores(name)
        return dict(self._found[name])

    def _scores(self, name: str) -> dict[str, Any]:
        images = [image for image in self.images if name in image.sums]
        found = image_set_scores(images, name, self.target.unit)
        if images and images[0].features:
            features, truth = (torch.stack([image.features[key] for image in images]) for key in (name, TRUTH))
            found["FID"] = frechet_distance(features, truth)
            found["KID"], found["KID_std"] = kernel_distance(features, truth, **self.kernel)
        return found

    def image_scores(self, record: ImageScores) -> dict[str, Any]:
        """Scores of one image's ensemble, without those that need many images."""
        name = ensemble_first(record.sums)[0]
        return image_set_scores([record], name, record.target.unit) | {"values": record.sums[name]["values"]}

    def about(self) -> dict[str, Any]:
        """Name, unit and channels of the target, and the networks that looked at the images."""
        target = self.target
        return {
            "name": target.name,
            "unit": target.unit,
            "channels": target.channels,
            "weights": {name: dict(file) for name, file in self.weights.items()},
            "kernel": dict(self.kernel),
        }

    def fingerprint(self) -> str:
        """SHA-256 over the target and, image by image, id, file sizes and the number of values that count."""
        target = self.target
        digest = hashlib.sha256(json.dumps([target.name, target.unit, target.channels]).encode())
        for image in self.images:
            values = next(iter(image.sums.values()))["values"]
            digest.update(json.dumps([image.sample_id, sorted(image.file_sizes.items()), values]).encode())
        return digest.hexdigest()


def measure(
    prediction: Tensor,  # [C, H, W], in the target's unit
    target: Tensor,  # [C, H, W]
    valid: Tensor | None,  # bool [1, H, W]
    unit: str,
) -> tuple[dict[str, Any], dict[str, float]]:
    """The `sums` and `means` of one prediction of an image."""
    sums = _SUMS.get(unit, error_sums)(prediction, target, valid)
    if unit not in PICTURES:
        return sums, {}
    options: dict[str, Any] = {"data_range": PICTURES[unit], "valid": valid}
    return sums, {"PSNR": psnr(prediction, target, **options), "SSIM": ssim(prediction, target, **options)}


def image_set_scores(images: Sequence[ImageScores], name: str, unit: str) -> dict[str, Any]:
    """Scores of one prediction over some images, without those that need features."""
    keys = list(dict.fromkeys(key for image in images for key in image.means[name]))
    found: dict[str, Any] = {key: _mean([image.means[name][key] for image in images]) for key in keys}
    found |= _SCORES.get(unit, error_scores)(_added([image.sums[name] for image in images]))
    if unit in _PUBLISHED_FACTORS:
        found |= {f"{key}_x10": _PUBLISHED_FACTORS[unit] * found[key] for key in ("MAE", "RMSE")}
    return found


def score_names(unit: str) -> tuple[str, ...]:
    """Names of the scores of a map of this unit, the headline and two beside it first, without those of features."""
    blank = torch.zeros(CHANNELS.get(unit, 1), 16, 16)
    sums, means = measure(blank, blank, None, unit)
    image = ImageScores("", MapSpec("", len(blank), "float32", unit, "linear"), {ENSEMBLE: sums}, {ENSEMBLE: means})
    names = list(image_set_scores([image], ENSEMBLE, unit))
    first = [next(name for name in _HEADLINES if name in names)]
    first += [name for name in _BESIDE if name in names and name not in first][:2]
    return (*first, *(name for name in names if name not in first))


def describe_score(name: str, unit: str) -> Score:
    """A score of a map of this unit as people read it."""
    higher = name.startswith(("PSNR", "SSIM", "delta", "within"))
    measured = FRACTION if name.startswith(("AbsRel", "delta", "within")) else ""
    if name in ("MAE", "RMSE"):
        measured = _UNITS.get(unit, "")
    elif name == "PSNR" or name.startswith("angle_"):
        measured = "dB" if name == "PSNR" else "°"
    digits = {"FID": 2, "KID": 5, "KID_std": 5}.get(name, _DIGITS.get(measured, 3))
    return Score(name, measured, digits, lower=not higher)


def score_table(found: Mapping[str, Mapping[str, float]], target: MapSpec) -> str:
    """One row per prediction, by its title; KID as published, times 100."""
    keys = [key for key in next(iter(found.values())) if key not in _NOT_SHOWN]
    header = [f"{target.name} ({target.unit})", *("KIDx100" if key == "KID" else key for key in keys)]
    rows = [[name, *(_cell(100 * row[k] if k == "KID" else row[k]) for k in keys)] for name, row in found.items()]
    return text_table(header, rows)


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _added(sums: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums over images, numbers rounded once at the end, so that their order does not matter."""
    first = next(iter(sums))
    return {
        key: torch.stack([item[key] for item in sums]).sum(0)
        if isinstance(value, Tensor)
        else math.fsum(item[key] for item in sums)
        for key, value in first.items()
    }


def _mean(values: Sequence[float]) -> float:
    """Mean of what is a number: an image without measured pixels has no PSNR."""
    numbers = [value for value in values if not math.isnan(value)]
    if not numbers:
        return math.nan
    return math.inf if math.inf in numbers else math.fsum(numbers) / len(numbers)


def _rounded(
    image: Tensor,  # [C, H, W]
    like: Tensor,  # [C, H, W]
) -> Tensor:
    return image.to(like.device).float().round().clamp(0, 255).to(torch.uint8)
