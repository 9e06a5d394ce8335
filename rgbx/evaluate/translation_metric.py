"""mmengine's metric interface over the pure functions of `rgbx.metrics`, for image-to-image translation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from rgbx._text import text_table
from rgbx.evaluate.feature_networks import LPIPS, inception_features
from rgbx.evaluate.image_counts import file_sizes, gather_images
from rgbx.evaluate.result_file import file_hash
from rgbx.evaluate.translation_scores import TRUTH, ImageScores, TranslationEvaluation, measure
from rgbx.maps import STANDARD_MAPS, MapSpec
from rgbx.models.predictor import ENSEMBLE

_COLOURS = "rgb8"
_NOT_SHOWN = ("MAE_x10", "RMSE_x10", "KID_std")


class TranslationMetric(BaseMetric):
    """Scores of the ensemble and of every branch; which ones follows from the unit of the target.

    Colours: PSNR, SSIM, MAE, RMSE, with weights also FID, KID and LPIPS. Metres: MAE, RMSE, AbsRel, delta1 to delta3.
    Normals: mean and median angle, shares within 11.25, 22.5 and 30 degrees, MAE and RMSE. Relative maps: PSNR, SSIM,
    MAE, RMSE. Other units: MAE, RMSE. Keys: ``PSNR`` and so on of the ensemble, ``depth/PSNR`` of a branch.

    Images are measured one by one and put together in the dataset's order, so several processes give exactly what one
    gives, and an image that two of them saw counts once. After `evaluate`, `evaluation` holds the measurements.

    Args:
        table: print the scores of all predictions after each evaluation.
        fid: ``weights``, a local file of Inception-v3 (see `inception_features`), and options of
            `rgbx.metrics.kernel_distance`; None leaves FID and KID out.
        lpips: ``backbone``, ``linear`` and ``network``, see `LPIPS`; None leaves LPIPS out.

    Raises:
        ImportError, FileNotFoundError, ValueError: a library or weight file that is not there; nothing replaces it.
    """

    default_prefix = ""  # None would warn

    def __init__(
        self, table: bool = True, fid: Mapping[str, Any] | None = None, lpips: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.table = table
        self.kernel = dict(fid or {})
        files = {}
        self.inception = self.lpips = None
        if fid is not None:
            if "weights" not in fid:
                raise ValueError(f"fid needs 'weights', a local Inception file, found {sorted(fid)}")
            files["inception"] = self.kernel.pop("weights")
            if unknown := sorted(set(self.kernel) - {"subsets", "subset_size", "degree", "seed"}):
                raise ValueError(f"fid has the unknown options {unknown}")
            self.inception = inception_features(files["inception"])
        if lpips is not None:
            self.lpips = LPIPS(**lpips)
            files |= {f"lpips {key}": lpips[key] for key in ("backbone", "linear")}
        self.weights = {name: {"file": str(path), "sha256": file_hash(path)} for name, path in files.items()}
        self.images: list[ImageScores] = []
        self.evaluation: TranslationEvaluation | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Measures one batch.

        Args:
            data_batch: the collated batch, for the files behind the samples.
            data_samples: dicts of ``sample_id``, ``target`` {name: [C, H, W]}, ``prediction`` {branch or "ensemble":
                [C, H, W]} in the target's unit and, where not all of it was measured, ``valid`` {name: bool [1, H, W]}.

        Raises:
            ValueError: a sample without a target, with a wrong shape, or with a target that a network for colours was
                asked to look at; the message names the sample.
        """
        for position, sample in enumerate(data_samples):
            targets = sample.get("target") or {}
            if len(targets) != 1:
                raise ValueError(f"sample {sample['sample_id']!r}: expected one target, found {sorted(targets)}")
            try:
                self.images.append(self._measure(sample, next(iter(targets)), file_sizes(data_batch, position)))
            except ValueError as error:
                raise ValueError(f"sample {sample['sample_id']!r}: {error}") from None

    def _measure(self, sample: dict[str, Any], name: str, sizes: dict[str, int]) -> ImageScores:
        spec = self.spec_of(name)
        truth, valid = sample["target"][name], (sample.get("valid") or {}).get(name)
        found = {key: measure(image, truth, valid, spec.unit) for key, image in sample["prediction"].items()}
        means = {key: item[1] for key, item in found.items()}
        features: dict[str, Tensor] = {}
        if self.inception is not None or self.lpips is not None:
            pictures = {key: _rounded(image, truth.device) for key, image in sample["prediction"].items()}
            stack = torch.stack([_rounded(truth, truth.device), *pictures.values()])
            features = self._features(stack, [TRUTH, *pictures])
            for key, distance in zip(pictures, self._distances(stack), strict=False):
                means[key] = means[key] | {"LPIPS": distance}
        sums = {key: item[0] for key, item in found.items()}
        return ImageScores(sample["sample_id"], spec, sums, means, features, sizes)

    def spec_of(self, name: str) -> MapSpec:
        """What the target means, by the dataset or as a standard map.

        Raises:
            ValueError: a map that nobody describes, or one that FID and LPIPS do not apply to.
        """
        known = {**STANDARD_MAPS, **((self.dataset_meta or {}).get("maps") or {})}
        if name not in known:
            raise ValueError(
                f"no MapSpec for the target {name!r}: neither a standard map nor one of the dataset's maps"
            )
        if known[name].unit != _COLOURS and (self.inception is not None or self.lpips is not None):
            raise ValueError(f"FID, KID and LPIPS are for colours, but {name!r} is {known[name].unit}; leave them None")
        return known[name]

    @torch.no_grad()
    def _features(self, stack: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        if self.inception is None:
            return {}
        (found,) = self.inception.to(stack.device)(stack)
        return dict(zip(names, found.float().cpu(), strict=True))

    @torch.no_grad()
    def _distances(self, stack: Tensor) -> list[float]:
        if self.lpips is None:
            return []
        images = stack.float() / 127.5 - 1
        found: Tensor = self.lpips.to(stack.device)(images[1:], images[:1].expand_as(images[1:]))
        return [float(x) for x in found]

    def evaluate(self, size: int) -> dict[str, float]:
        """Puts the images of all processes together and scores them; `size` is the length of the dataset."""
        images, self.images = gather_images(self.images, size), []
        if not images:
            raise ValueError("nothing was evaluated: the dataset is empty")
        return self.compute_metrics(images)

    def compute_metrics(self, results: list[ImageScores]) -> dict[str, float]:
        """The scores of the images; the ensemble's first."""
        self.evaluation = TranslationEvaluation(results, self.kernel, self.weights)
        names = sorted(self.evaluation.names, key=lambda name: name != ENSEMBLE)
        by_name = {name: self.evaluation.scores(name) for name in names}
        if self.table:
            print_log("\n" + score_table(by_name, self.evaluation.target), logger="current")
        return {
            key if name == ENSEMBLE else f"{name}/{key}": value
            for name, found in by_name.items()
            for key, value in found.items()
        }


def score_table(by_name: Mapping[str, Mapping[str, float]], target: MapSpec) -> str:
    """One row per prediction; KID as published, times 100."""
    keys = [key for key in next(iter(by_name.values())) if key not in _NOT_SHOWN]
    header = [f"{target.name} ({target.unit})", *("KIDx100" if key == "KID" else key for key in keys)]
    rows = [[name, *(_cell(100 * row[k] if k == "KID" else row[k]) for k in keys)] for name, row in by_name.items()]
    return text_table(header, rows)


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _rounded(image: Tensor, device: torch.device) -> Tensor:
    return image.to(device).float().round().clamp(0, 255).to(torch.uint8)
