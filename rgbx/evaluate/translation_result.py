"""Result files of translation: scores with everything one must know to compare them, as JSON.

Scores are in the target's unit or fractions of 1; what is not a number is null.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rgbx.evaluate.result_file import circumstances, file_hash, write_result
from rgbx.evaluate.translation_scores import ImageScores, TranslationEvaluation, image_set_scores
from rgbx.models.predictor import ENSEMBLE

TRANSLATION_FORMAT = "rgbx-translation-result/1"


def write_translation_result(
    path: str | Path, evaluations: Mapping[str, TranslationEvaluation], **fields: Any
) -> dict[str, Any]:
    """Writes a result file whole or not at all, and returns what it says.

    Args:
        path: replaced if it is there.
        evaluations, fields: see `build_translation_result`.
    """
    result = build_translation_result(evaluations, **fields)
    write_result(result, path)
    return result


def build_translation_result(
    evaluations: Mapping[str, TranslationEvaluation],
    *,
    protocol: Mapping[str, Any],
    config: Mapping[str, str],
    checkpoint: str | Path,
    dataset: Any,
    every: int = 1,
    speed: Mapping[str, float] | None = None,
    dtype: str | None = None,
) -> dict[str, Any]:
    """Everything a result file says.

    Args:
        evaluations: subset of modalities ("depth+normal") to its measurements; the first is the headline.
        protocol: the rules they were made by, by name.
        config: `file` and `sha256` of the config.
        checkpoint: the file that was evaluated.
        dataset: the whole dataset, for its type.
        every: one in this many of its samples was evaluated.
        speed: of the headline, such as `images_per_second`.
        dtype: of autocast; None for full precision.
    """
    first = next(iter(evaluations.values()))
    target = first.target
    return {
        "format": TRANSLATION_FORMAT,
        "protocol": dict(protocol),
        "config": dict(config),
        "checkpoint": {"file": str(checkpoint), "sha256": file_hash(checkpoint)},
        "dataset": {
            "type": type(dataset).__name__,
            "fingerprint": translation_fingerprint(first),
            "samples": len(first.images),
            "every": every,
        },
        "target": {"name": target.name, "unit": target.unit, "channels": target.channels},
        "weights": {name: dict(file) for name, file in first.weights.items()},
        "kernel": dict(first.kernel),
        **circumstances(),
        "dtype": dtype or "float32",
        "speed": dict(speed or {}),
        "subsets": {
            subset: {name: evaluation.scores(name) for name in _ensemble_first(evaluation.names)}
            for subset, evaluation in evaluations.items()
        },
        "images": [_image(image) for image in first.images],
    }


def read_translation_result(path: str | Path) -> dict[str, Any]:
    """Reads a result file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a result file of translation.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such result file")
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from error
    found = result.get("format") if isinstance(result, dict) else None
    if found != TRANSLATION_FORMAT:
        raise ValueError(f"{path}: field 'format' is {found!r}, expected {TRANSLATION_FORMAT!r}")
    return result


def translation_fingerprint(evaluation: TranslationEvaluation) -> str:
    """SHA-256 over the target and, image by image, id, file sizes and the number of values that count.

    It does not depend on where the files lie, nor on the predictions.
    """
    target = evaluation.target
    digest = hashlib.sha256(json.dumps([target.name, target.unit, target.channels]).encode())
    for image in evaluation.images:
        values = next(iter(image.sums.values()))["values"]
        digest.update(json.dumps([image.sample_id, sorted(image.file_sizes.items()), values]).encode())
    return digest.hexdigest()


def _image(image: ImageScores) -> dict[str, Any]:
    """Scores of one image's ensemble, without those that need many images."""
    name = ENSEMBLE if ENSEMBLE in image.sums else next(iter(image.sums))
    return {"sample_id": image.sample_id, **image_set_scores([image], name, image.target.unit)}


def _ensemble_first(names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: name != ENSEMBLE)
