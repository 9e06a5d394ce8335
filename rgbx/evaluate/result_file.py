"""Result files: scores with everything one must know to compare them, as JSON.

Scores are fractions of 1; what is not a number is null.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import rgbx
from rgbx.evaluate.image_counts import Evaluation, ImageCounts
from rgbx.maps import replace_file
from rgbx.metrics import boundary_f_score, calibration_error, scores
from rgbx.models.predictor import ENSEMBLE
from rgbx.models.protocol import Protocol

FORMAT = "rgbx-result/1"


def build_result(
    evaluations: Mapping[str, Evaluation],
    *,
    protocol: Protocol,
    config: Mapping[str, str],
    checkpoint: str | Path,
    dataset: Any,
    every: int,
    speed: Mapping[str, float],
    dtype: str | None,
) -> dict[str, Any]:
    """Everything a result file says.

    Args:
        evaluations: subset of modalities ("rgb+depth") to its counts; the first is the headline.
        protocol: by whose rules they were made.
        config: `file` and `sha256` of the config.
        checkpoint: the file that was evaluated.
        dataset: the whole dataset, for its type and `metainfo`.
        every: one in this many of its samples was evaluated.
        speed: `images_per_second` and `metric_share` of the headline.
        dtype: of autocast; None for full precision.
    """
    first = next(iter(evaluations.values()))
    meta = dataset.metainfo
    return {
        "format": FORMAT,
        "protocol": protocol.as_dict(),
        "config": dict(config),
        "checkpoint": {"file": str(checkpoint), "sha256": file_hash(checkpoint)},
        "dataset": {
            "type": type(dataset).__name__,
            "fingerprint": fingerprint(first.images, meta["classes"]),
            "samples": len(first.images),
            "every": every,
            "classes": list(meta["classes"]),
            "palette": [list(colour) for colour in meta["palette"]],
            "ignore_index": meta.get("ignore_index", 255),
        },
        **circumstances(),
        "dtype": dtype or "float32",
        "speed": dict(speed),
        "subsets": {name: subset_scores(evaluation) for name, evaluation in evaluations.items()},
        "images": [image_scores(image) for image in first.images],
        "robustness": None,
        "pictures": None,
    }


def circumstances() -> dict[str, Any]:
    """Versions, machine and date of this run, as every result file has them."""
    return {
        "versions": {
            "rgbx": rgbx.__version__,
            "torch": torch.__version__,
            "timm": version("timm"),
            "python": platform.python_version(),
        },
        "machine": describe_machine(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def subset_scores(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """Scores of each prediction, the ensemble first; boundary and calibration are the ensemble's."""
    boundary, reliability = evaluation.total("boundary"), evaluation.total("reliability")
    found = {}
    for name in sorted(evaluation.names, key=lambda name: name != ENSEMBLE):
        main = name == ENSEMBLE
        found[name] = {
            **evaluation.scores(name),
            "confusion": evaluation.confusion(name),
            "boundary_f": boundary_f_score(boundary) if main and boundary is not None else None,
            "ece": calibration_error(reliability) if main and reliability is not None else None,
            "reliability": _reliability(reliability) if main and reliability is not None else None,
        }
    return found


def _reliability(counts: Tensor) -> dict[str, Tensor]:  # [3, B]
    pixels, confidence, right = counts
    return {"count": pixels.long(), "confidence": confidence / pixels, "accuracy": right / pixels}


def image_scores(image: ImageCounts) -> dict[str, Any]:
    """Scores of one image's ensemble, over the classes that occur in it, and its non-zero cells."""
    name = ENSEMBLE if ENSEMBLE in image.cells else next(iter(image.cells))
    found = scores(image.confusion(name))
    return {
        "sample_id": image.sample_id,
        "mIoU": found["mIoU"],
        "aAcc": found["aAcc"],
        "confusion": image.cells[name],
    }


def fingerprint(images: Sequence[ImageCounts], classes: Sequence[str]) -> str:
    """SHA-256 over class names and, image by image, id, file sizes and scored pixels of each class.

    It does not depend on where the files lie, nor on the predictions.
    """
    digest = hashlib.sha256(json.dumps(list(classes)).encode())
    for image in images:
        line = [image.sample_id, sorted(image.file_sizes.items()), image.true_pixels.tolist()]
        digest.update(json.dumps(line).encode())
    return digest.hexdigest()


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_machine() -> str:
    """Processor, cores and, where there is one, the GPU."""
    processor = platform.processor() or platform.machine()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor}, {os.cpu_count()} cores{gpu}"


def write_result(result: Mapping[str, Any], path: str | Path) -> None:
    """Writes a result file whole or not at all, one line per top-level field."""
    lines = [f"{json.dumps(key)}: {json.dumps(_plain(value), allow_nan=False)}" for key, value in result.items()]
    replace_file(Path(path), ("{\n" + ",\n".join(lines) + "\n}\n").encode())


def read_result(path: str | Path) -> dict[str, Any]:
    """Reads a result file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a result file, or of another format.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such result file")
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from error
    found = result.get("format") if isinstance(result, dict) else None
    if found != FORMAT:
        raise ValueError(
            f"{path}: field 'format' is {found!r}, expected {FORMAT!r}; write it with tools/test.py --json"
        )
    return result


def _plain(value: Any) -> Any:
    """Tensors as lists, tuples as lists, and null for what is not a number."""
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
