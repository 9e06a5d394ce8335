"""Result files: scores with everything one must know to compare them, as JSON, one entry for each head of the model.

Scores are fractions of 1 or in the unit that the head's table of scores names; what is not a number is null. Files of
rgbx 0.1.0, which had a format for segmentation and one for translation, are read as if they had been written today.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import math
import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import torch
from torch import Tensor

import rgbx
from rgbx.maps import replace_file
from rgbx.maps.colour import modality_title
from rgbx.tasks.base import ENSEMBLE, Evaluation
from rgbx.tasks.classes import BOUNDARY, CALIBRATION, SCORES
from rgbx.tasks.map import describe_score, score_names
from rgbx.tasks.protocol import Protocol
from rgbx.tasks.score import Score

FORMAT = "rgbx-result/2"
Json = Any  # what json.loads makes
Scores = dict[str, Json]  # of one prediction or image: score by name, and what a task keeps beside


class Damaged(TypedDict):
    """A score with one modality damaged; the change is that of the clean score, as a fraction of it."""

    modality: str
    corruption: str
    severity: int
    value: float | None
    relative_change: float | None


class Robustness(TypedDict):
    """The score called `score`, clean, damaged, and its mean over all damages."""

    every: int
    score: str
    clean: float | None
    corruptions: list[Damaged]
    mean: float | None


class Picture(TypedDict):
    """A frame of a report; `files` lie below the result file, by title, those of the inputs under "input/NAME"."""

    sample_id: str
    kind: str
    value: float | None
    files: dict[str, str]


class HeadResult(TypedDict):
    """What was measured of one head; see `docs/evaluation.md`."""

    task: str
    about: dict[str, Json]
    fingerprint: str
    scores: list[dict[str, Json]]
    subsets: dict[str, dict[str, Scores]]
    images: list[Scores]
    robustness: Robustness | None
    pictures: list[Picture] | None


class Result(TypedDict):
    """A result file; see `docs/evaluation.md`."""

    format: str
    protocol: dict[str, Json]
    config: dict[str, str]
    checkpoint: dict[str, str]
    dataset: dict[str, Json]
    versions: NotRequired[dict[str, str]]
    machine: NotRequired[str]
    date: NotRequired[str]
    dtype: NotRequired[str]
    speed: NotRequired[dict[str, float]]
    heads: dict[str, HeadResult]


class Headline(NamedTuple):
    """What a head is judged by: the first subset of modalities, its predictions, and the first of the scores."""

    subset: str
    predictions: dict[str, Scores]
    score: Score

    @property
    def value(self) -> float | None:
        """Of the ensemble."""
        found: float | None = self.predictions[ENSEMBLE][self.score.name]
        return found


def headline(head: HeadResult) -> Headline:
    """The first subset with its predictions ("ensemble", "rgb", ...), and the score that counts."""
    subset, predictions = next(iter(head["subsets"].items()))
    return Headline(subset, predictions, score_table(head)[0])


def score_table(head: HeadResult) -> tuple[Score, ...]:
    """What the scores of a head are, the headline first."""
    return tuple(Score(**{field.name: entry[field.name] for field in _SCORE_FIELDS}) for entry in head["scores"])


def shown(score: Score, value: float | None, *, signed: bool = False) -> str:
    """A value as people read it, fractions in percent without the sign; a dash for None."""
    if value is None:
        return "-"
    digits = max(score.digits - 2, 0) if score.percent else score.digits
    number = 100 * value if score.percent else value
    return f"{number:{'+' if signed else ''}.{digits}f}"


def build_result(
    evaluations: Mapping[str, Mapping[str, Evaluation]],
    kinds: Mapping[str, str],
    *,
    protocol: Protocol,
    config: Mapping[str, str],
    checkpoint: str | Path,
    dataset: object,
    every: int = 1,
    speed: Mapping[str, float] | None = None,
    dtype: str | None = None,
    selected_on: str | None = None,
) -> Result:
    """Everything a result file says.

    Args:
        evaluations: subset of modalities ("rgb+depth") to head to its counts; the first subset is the headline.
        kinds: of the heads' tasks.
        protocol: by whose rules they were made.
        config: `file` and `sha256` of the config.
        checkpoint: the file that was evaluated.
        dataset: the whole dataset, for its type.
        every: one in this many of its samples was evaluated.
        speed: `images_per_second` and `metric_share` of the headline.
        dtype: of autocast; None for full precision.
        selected_on: the split by whose scores the checkpoint was chosen, where that is known.
    """
    first = next(iter(evaluations.values()))
    chosen = {} if selected_on is None else {"selected_on": selected_on}
    return {
        "format": FORMAT,
        "protocol": plain(protocol.as_dict()),
        "config": dict(config),
        "checkpoint": {"file": str(checkpoint), "sha256": file_hash(checkpoint), **chosen},
        "dataset": {
            "type": type(dataset).__name__,
            "samples": len(next(iter(first.values())).images),
            "every": every,
        },
        "versions": {
            "rgbx": rgbx.__version__,
            "torch": torch.__version__,
            "timm": version("timm"),
            "python": platform.python_version(),
        },
        "machine": _machine(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "dtype": dtype or "float32",
        "speed": dict(speed or {}),
        "heads": {
            head: _head_result(kinds[head], {subset: found[head] for subset, found in evaluations.items()})
            for head in first
        },
    }


def _head_result(kind: str, evaluations: Mapping[str, Evaluation]) -> HeadResult:
    first = next(iter(evaluations.values()))
    return {
        "task": kind,
        "about": plain(first.about()),
        "fingerprint": first.fingerprint(),
        "scores": [dataclasses.asdict(score) for score in first.table],
        "subsets": {
            subset: {name: plain(found.scores(name)) for name in _ensemble_first(found.names)}
            for subset, found in evaluations.items()
        },
        "images": [plain({"sample_id": image.sample_id, **first.image_scores(image)}) for image in first.images],
        "robustness": None,
        "pictures": None,
    }


def _ensemble_first(names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: name != ENSEMBLE)


def _machine() -> str:
    """Processor, cores and, where there is one, the GPU."""
    processor = platform.processor() or platform.machine()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor}, {os.cpu_count()} cores{gpu}"


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain(value: Json) -> Json:
    """Tensors as lists, tuples as lists, and None for what is not a number."""
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_result(result: Result, path: str | Path) -> None:
    """Writes a result file whole or not at all, one line for each field of the file and of a head."""
    fields = {key: _lines(value, 2 if key == "heads" else 0) for key, value in plain(result).items()}
    text = ",\n".join(f"{json.dumps(key)}: {value}" for key, value in fields.items())
    replace_file(Path(path), f"{{\n{text}\n}}\n".encode())


def _lines(value: Json, depth: int) -> str:
    if not depth or not isinstance(value, dict):
        return json.dumps(value, allow_nan=False)
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {_lines(item, depth - 1)}" for key, item in value.items()) + "\n}"


def read_result(path: str | Path) -> Result:
    """Reads a result file of this or an earlier format, and checks it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no JSON, an unknown format, or a field that is missing or of another kind, naming the file, the
            field, what was found and what is expected.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such result file")
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from error
    name = found.get("format") if isinstance(found, dict) else None
    if name in _UPGRADES:
        fields, upgrade = _UPGRADES[name]
        _check_fields(found, fields, f"{path}: ")
        found = upgrade(found, f"{path}: ")
    elif name != FORMAT:
        known = " or ".join(map(repr, (FORMAT, *_UPGRADES)))
        raise ValueError(f"{path}: field 'format' is {name!r}, expected {known}; tools/test.py writes such files")
    check_result(found, name=str(path))
    found["protocol"] |= {key: value for key, value in _RULES.items() if key not in found["protocol"]}
    return found


def check_result(result: Json, *, name: str = "result") -> None:
    """Raises ValueError where a report could not be made of `result`, naming the field."""
    _check_fields(result, _FIELDS, f"{name}: ")
    if not result["heads"]:
        raise ValueError(f"{name}: heads: expected at least one, found none")
    for head, entry in result["heads"].items():
        if not re.fullmatch(r"\w[\w.-]*", head):
            raise ValueError(f"{name}: heads: expected names of letters, digits, '-' and '_', found {head!r}")
        place = f"{name}: heads.{head}"
        _expect(entry, dict, place)
        _check_fields(entry, _HEAD_FIELDS, f"{place}.")
        _check_head(entry, f"{place}.")


def _check_head(head: Json, place: str) -> None:
    """The parts of a head, `place` being the file and the path of their fields."""
    for part in ("scores", "subsets"):
        if not head[part]:
            raise ValueError(f"{place}{part}: expected at least one, found none")
    for number, entry in enumerate(head["scores"]):
        _expect(entry, dict, f"{place}scores[{number}]")
        _check_fields(entry, {"name": str, "unit": str, "digits": int, "lower": bool}, f"{place}scores[{number}].")
    if head["task"] == "classes":
        _check_fields(head["about"], {"classes": list, "palette": list}, f"{place}about.")
        colours, count = head["about"]["palette"], len(head["about"]["classes"])
        if not all(map(_is_colour, colours)) or len(colours) < count:
            raise ValueError(f"{place}about.palette: expected one [r, g, b] of 0..255 for each of {count} classes")
    for subset, predictions in head["subsets"].items():
        if not isinstance(predictions, dict) or ENSEMBLE not in predictions:
            raise ValueError(f"{place}subsets.{subset}: expected scores of {ENSEMBLE!r}, found {_short(predictions)}")
        for prediction, scores in predictions.items():
            _check_scores(scores, head, f"{place}subsets.{subset}.{prediction}")
    for number, image in enumerate(head["images"]):
        _expect(image, dict, f"{place}images[{number}]")
        _check_fields(image, {"sample_id": str}, f"{place}images[{number}].")
        if head["task"] == "classes":
            _expect(image.get("confusion"), list, f"{place}images[{number}].confusion")
    if head.get("robustness") is not None:
        _check_fields(head, {"robustness": dict}, place)
        _check_fields(head["robustness"], {"every": int, "score": str, "corruptions": list}, f"{place}robustness.")
        for number, entry in enumerate(head["robustness"]["corruptions"]):
            kinds = {"modality": str, "corruption": str, "severity": int}
            _check_fields(entry, kinds, f"{place}robustness.corruptions[{number}].")
    for number, picture in enumerate(head.get("pictures") or ()):
        _check_fields(picture, {"sample_id": str, "kind": str, "files": dict}, f"{place}pictures[{number}].")


def _check_scores(scores: Json, head: Json, place: str) -> None:
    _expect(scores, dict, place)
    name = head["scores"][0]["name"]
    if name not in scores:
        raise ValueError(f"{place}.{name}: expected the score, found none")
    for entry in head["scores"]:
        value = scores.get(entry["name"])
        if value is not None and type(value) not in (int, float):
            raise ValueError(f"{place}.{entry['name']}: expected a number or null, found {_short(value)}")
    if head["task"] == "classes":
        count = len(head["about"]["classes"])
        for key in ("IoU", "Acc", "pixels", "confusion"):
            value = scores.get(key)
            if not isinstance(value, list) or len(value) != count:
                raise ValueError(f"{place}.{key}: expected {count} entries, found {_short(value)}")


def _check_fields(value: Json, fields: Mapping[str, type], place: str) -> None:
    for field, kind in fields.items():
        _expect(look_up(value, field), kind, f"{place}{field}")


def _expect(value: Json, kind: type, place: str) -> None:
    if type(value) is not kind:
        raise ValueError(f"{place}: expected {kind.__name__}, found {_short(value)}")


def _is_colour(colour: Json) -> bool:
    return (
        isinstance(colour, list)
        and len(colour) == 3
        and all(type(value) is int and 0 <= value <= 255 for value in colour)
    )


def _short(value: Json) -> str:
    text = f"{len(value)} entries" if isinstance(value, (list, dict)) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def look_up(value: Json, field: str) -> Json:
    """The value of a dotted field such as "dataset.every", None where it is absent."""
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _upgrade_classes(old: Json, place: str) -> Result:
    """A segmentation's result of 0.1.0: its one head is called "labels"."""
    dataset, damaged = old["dataset"], old.get("robustness")
    measured = [
        look_up(found, f"{ENSEMBLE}.{key}") for found in old["subsets"].values() for key in ("boundary_f", "ece")
    ]
    table = [*SCORES.values(), *([BOUNDARY, CALIBRATION] if measured.count(None) < len(measured) else [])]
    about = {key: dataset[key] for key in ("classes", "palette", "ignore_index") if key in dataset}
    found = _upgrade(old, "labels", "classes", about, table)
    head = found["heads"]["labels"]
    if damaged is not None:
        _check_fields(damaged, {"every": int, "clean": dict, "corruptions": list}, f"{place}robustness.")
        head["robustness"] = {
            "every": damaged["every"],
            "score": "mIoU",
            "clean": damaged["clean"].get("mIoU"),
            "corruptions": [_upgrade_damage(entry) for entry in damaged["corruptions"]],
            "mean": damaged.get("mean_corruption_mIoU"),
        }
    pictures = list(enumerate(old.get("pictures") or ()))
    for number, entry in pictures:
        _check_fields(entry, {"files": dict}, f"{place}pictures[{number}].")
    head["pictures"] = [_upgrade_picture(entry) for _, entry in pictures] or None
    return found


def _upgrade_damage(entry: Json) -> Damaged:
    drop = look_up(entry, "relative_drop")
    return {
        "modality": look_up(entry, "modality"),
        "corruption": look_up(entry, "corruption"),
        "severity": look_up(entry, "severity"),
        "value": look_up(entry, "mIoU"),
        "relative_change": None if drop is None else -drop,
    }


def _upgrade_picture(entry: Json) -> Picture:
    files = {_picture_title(name): file for name, file in entry["files"].items()}
    return {"sample_id": entry.get("sample_id"), "kind": entry.get("kind"), "value": entry.get("mIoU"), "files": files}


def _picture_title(name: str) -> str:
    """Of a picture of 0.1.0: "rgb", "label", "prediction/rgb", "prediction/ensemble" or "error"."""
    if name.startswith("prediction/"):
        branch = name.removeprefix("prediction/")
        return branch if branch == ENSEMBLE else f"{modality_title(branch)} branch"
    return {"label": "truth", "error": f"errors of the {ENSEMBLE}"}.get(name, f"input/{name}")


def _upgrade_map(old: Json, place: str) -> Result:
    """A translation's result of 0.1.0: its one head has the target's name."""
    target = old["target"]
    names = [name for found in old["subsets"].values() for name in look_up(found, ENSEMBLE) or ()]
    known = [*score_names(target["unit"]), *names]
    table = [describe_score(name, target["unit"]) for name in dict.fromkeys(known) if name in names]
    about = {**target, **{key: old.get(key, {}) for key in ("weights", "kernel")}}
    return _upgrade(old, target["name"], "map", about, table)


def _upgrade(old: Json, name: str, task: str, about: dict[str, Json], table: Sequence[Score]) -> Result:
    head: HeadResult = {
        "task": task,
        "about": about,
        "fingerprint": old["dataset"]["fingerprint"],
        "scores": [dataclasses.asdict(score) for score in table],
        "subsets": old["subsets"],
        "images": old["images"],
        "robustness": None,
        "pictures": None,
    }
    dataset = {key: old["dataset"].get(key) for key in ("type", "samples", "every")}
    kept = {key: value for key, value in old.items() if key in Result.__annotations__}
    return {**kept, "format": FORMAT, "dataset": dataset, "heads": {name: head}}  # type: ignore[typeddict-item]


_FIELDS: dict[str, type] = {
    "protocol.name": str,
    "config.file": str,
    "checkpoint.file": str,
    "checkpoint.sha256": str,
    "dataset.type": str,
    "dataset.samples": int,
    "dataset.every": int,
    "heads": dict,
}
_HEAD_FIELDS: dict[str, type] = {
    "task": str,
    "about": dict,
    "fingerprint": str,
    "scores": list,
    "subsets": dict,
    "images": list,
}
_OLD_FIELDS: dict[str, type] = {"dataset.fingerprint": str, "subsets": dict, "images": list}
_UPGRADES: dict[str, tuple[dict[str, type], Callable[[Json, str], Result]]] = {
    "rgbx-result/1": ({**_OLD_FIELDS, "dataset.classes": list, "dataset.palette": list}, _upgrade_classes),
    "rgbx-translation-result/1": ({**_OLD_FIELDS, "target.name": str, "target.unit": str}, _upgrade_map),
}
_SCORE_FIELDS = dataclasses.fields(Score)
_RULES = {key: value for key, value in plain(Protocol("", "").as_dict()).items() if key not in ("name", "source")}
