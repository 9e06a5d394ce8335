"""The form of result files: what their fields are, and what is wrong in one.

rgbx 0.1.0 had a format for segmentation and one for translation; such files are read as if written today.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from rgbx.maps.colour import modality_title
from rgbx.tasks import ENSEMBLE, Score
from rgbx.tasks.classes import BOUNDARY, CALIBRATION, SCORES
from rgbx.tasks.map import describe_score, score_names

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


def upgrade(found: Json, file: str) -> Json:
    """What a file holds, in today's form where it is of an earlier one.

    Raises:
        ValueError: another format, or a field of an earlier one that is missing or of another kind.
    """
    name = found.get("format") if isinstance(found, dict) else None
    if name == FORMAT:
        return found
    if name not in _UPGRADES:
        known = " or ".join(map(repr, (FORMAT, *_UPGRADES)))
        raise ValueError(f"{file}: field 'format' is {name!r}, expected {known}; tools/test.py writes such files")
    fields, function = _UPGRADES[name]
    _check_fields(found, fields, f"{file}: ")
    return function(found, f"{file}: ")


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
