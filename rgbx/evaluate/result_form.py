"""The form of result files: what their fields are, and what is wrong in one.

rgbx 0.1.0 had a format for segmentation and one for translation; such files are read as if written today.
"""

from __future__ import annotations

import dataclasses
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NotRequired, TypedDict

from rgbx._text import branch_title
from rgbx.tasks import ENSEMBLE, Score
from rgbx.tasks.classes import BOUNDARY, CALIBRATION, SCORES
from rgbx.tasks.map import describe_score, score_names

FORMAT = "rgbx-result/2"
Json = Any  # what json.loads makes
Form = type | str | dict[str, Any] | list[Any]  # of a field: see `_check`
NUMBER = "number or null"
LARGEST, MOST_DIGITS, LONGEST_PALETTE, LONGEST_PLACE = 2**53, 17, 2**10, 300
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


class BenchmarkRow(TypedDict):
    """Scores of one kind of failure, one for each column."""

    name: str
    values: list[float | None]


class BenchmarkTable(TypedDict):
    """A named benchmark of failing sensors.

    `label` says what the rows are called after, `deviations` in sentences where the measurement is not the published
    one. `summary` has the rows that follow from the others.
    """

    source: str
    deviations: list[str]
    score: str
    every: int
    label: str
    columns: list[str]
    rows: list[BenchmarkRow]
    summary: list[BenchmarkRow]


class Picture(TypedDict):
    """A frame of a report; `files` lie below the result file, by title, those of the inputs under "input/NAME".

    `legend` has the colours of what occurs in them by its name, in the dataset's order.
    """

    sample_id: str
    kind: str
    value: float | None
    files: dict[str, str]
    legend: NotRequired[dict[str, list[int]]]


class HeadResult(TypedDict):
    """What was measured of one head; see `docs/evaluation.md`."""

    task: str
    about: dict[str, Json]
    fingerprint: str
    scores: list[dict[str, Json]]
    subsets: dict[str, dict[str, Scores]]
    hallucinated: NotRequired[dict[str, list[str]]]
    sets: NotRequired[dict[str, dict[str, Json]]]
    images: Sequence[Scores]
    robustness: Robustness | None
    benchmarks: NotRequired[dict[str, BenchmarkTable]]
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
    if not isinstance(name, str) or name not in _UPGRADES:
        known = " or ".join(map(repr, (FORMAT, *_UPGRADES)))
        shown = reprlib.repr(name)
        raise ValueError(f"{file}: field 'format' is {shown}, expected {known}; rgbx test writes such files")
    form, function = _UPGRADES[name]
    _check(found, form, f"{file}: ")
    return function(found)


def check_result(result: Json, *, name: str = "result") -> None:
    """Raises ValueError where a report could not be made of `result`, naming the field."""
    _check(result, _FORM, f"{name}: ")
    _expect(bool(result["heads"]), "at least one", result["heads"], f"{name}: heads")
    for head, entry in result["heads"].items():
        named = re.fullmatch(r"\w[\w.-]*", head) is not None
        _expect(named, "names of letters, digits, '-' and '_'", head, f"{name}: heads")
        place = f"{name}: heads.{head}"
        _check(entry, _HEAD, place)
        for part in ("scores", "subsets"):
            _expect(bool(entry[part]), "at least one", entry[part], f"{place}.{part}")
        for number, score in enumerate(entry["scores"]):
            right = 0 <= score["digits"] <= MOST_DIGITS
            _expect(right, f"0..{MOST_DIGITS}", score["digits"], f"{place}.scores[{number}].digits")
        for subset, predictions in entry["subsets"].items():
            _expect(ENSEMBLE in predictions, f"scores of {ENSEMBLE!r}", predictions, f"{place}.subsets.{subset}")
            for prediction, scores in predictions.items():
                _check_scores(scores, entry, f"{place}.subsets.{subset}.{prediction}")
        for key, table in (entry.get("benchmarks") or {}).items():
            named = re.fullmatch(r"\w[\w-]*", key) is not None
            _expect(named, "names of letters, digits, '-' and '_'", key, f"{place}.benchmarks")
            for part in ("rows", "summary"):
                for number, row in enumerate(table[part]):
                    right, where = len(row["values"]) == len(table["columns"]), f"{place}.benchmarks.{key}.{part}"
                    _expect(right, f"{len(table['columns'])} values", row["values"], f"{where}[{number}].values")
        of_image = dict.fromkeys([f"{score['name']}?" for score in entry["scores"]], NUMBER)
        _check(entry["images"], [of_image], f"{place}.images")
        for number, image in enumerate(entry["images"]):
            _expect(image.get("values", 1) is not None, "a number", None, f"{place}.images[{number}].values")
        for number, picture in enumerate(entry.get("pictures") or ()):
            for title, file in picture["files"].items():
                inside = bool(file) and "\0" not in file and ".." not in PurePath(file).parts
                inside = inside and not PurePath(file).is_absolute()
                _expect(inside, "a file below the result file", file, f"{place}.pictures[{number}].files.{title}")
            for name, colour in (picture.get("legend") or {}).items():
                right = _is_colour(colour)
                _expect(right, "[r, g, b] of 0..255", colour, f"{place}.pictures[{number}].legend.{name}")
        if entry["task"] == "classes":
            _check_classes(entry, place)


def _check_classes(head: Json, place: str) -> None:
    """What segmentation has beside its scores."""
    _check(head["about"], {"classes": [str], "palette": list}, f"{place}.about")
    colours, count = head["about"]["palette"], len(head["about"]["classes"])
    right = count <= len(colours) <= max(count, LONGEST_PALETTE) and all(map(_is_colour, colours))
    _expect(right, f"one [r, g, b] of 0..255 for each of {count} classes", colours, f"{place}.about.palette")
    _check(head["images"], [{"confusion": list}], f"{place}.images")
    for number, image in enumerate(head["images"]):
        cells = image["confusion"]
        right = all(_are_counts(cell, 3) and max(cell[:2]) < count for cell in cells)
        expected = f"list of [true class, predicted class, pixels] of {count} classes"
        _expect(right, expected, cells, f"{place}.images[{number}].confusion")
    for subset, predictions in head["subsets"].items():
        for name, scores in predictions.items():
            where = f"{place}.subsets.{subset}.{name}"
            for key in ("IoU", "Acc", "pixels", "confusion"):
                value = scores.get(key)
                right = isinstance(value, list) and len(value) == count
                _expect(right, f"{count} entries", value, f"{where}.{key}")
            _check(scores, {"IoU": [NUMBER], "Acc": [NUMBER], "reliability?": _RELIABILITY}, where)
            _expect(_are_counts(scores["pixels"], count), "counts", scores["pixels"], f"{where}.pixels")
            right = all(_are_counts(row, count) for row in scores["confusion"])
            _expect(right, f"rows of {count} counts", scores["confusion"], f"{where}.confusion")
            if bins := scores.get("reliability"):
                right = len(bins["count"]) == len(bins["confidence"]) == len(bins["accuracy"])
                _expect(right, "lists of one length", bins, f"{where}.reliability")


def _check_scores(scores: Json, head: Json, place: str) -> None:
    first = head["scores"][0]["name"]
    _expect(first in scores, "the score", None, f"{place}.{first}")
    _check(scores, dict.fromkeys([f"{entry['name']}?" for entry in head["scores"]], NUMBER), place)


def _check(value: Json, form: Form, place: str) -> None:
    """Compares a value with its form.

    That is a type; `NUMBER`; an object's fields, of which those with "?" may be null or absent and "*" stands for all
    others; or the form of a list's items in a list.
    """
    if form == NUMBER:
        right = value is None or (type(value) in (int, float) and abs(value) < LARGEST)  # NaN is not less either
        _expect(right, "a number or null", value, place.removesuffix(": "))
        return
    kind = form if isinstance(form, type) else type(form)
    _expect(type(value) is kind, kind.__name__, value, place.removesuffix(": "))
    if kind is int:
        _expect(abs(value) < LARGEST, f"a number below {LARGEST:g}", value, place)
    if isinstance(form, dict):
        dot = "" if place.endswith(": ") else "."
        named = {key.removesuffix("?"): (key[-1] == "?", part) for key, part in form.items() if key != "*"}
        for name, (may_lack, part) in named.items():
            if not may_lack or value.get(name) is not None:
                _check(value.get(name), part, f"{place}{dot}{name}")
        for name in [name for name in value if name not in named] if "*" in form else ():
            _check(value[name], form["*"], f"{place}{dot}{name}")
    if isinstance(form, list):
        for number, item in enumerate(value):
            _check(item, form[0], f"{place}[{number}]")


def _expect(right: bool, expected: str, found: Json, place: str) -> None:
    if not right:
        entries = f"{len(found)} entries" if isinstance(found, (list, dict)) else ""
        text = entries or reprlib.repr(found)
        raise ValueError(f"{place[:LONGEST_PLACE]}: expected {expected}, found {text}")


def _is_colour(colour: Json) -> bool:
    return _are_counts(colour, 3) and max(colour) <= 255


def _are_counts(values: Json, length: int) -> bool:
    return (
        type(values) is list
        and len(values) == length
        and all(type(value) is int and 0 <= value < LARGEST for value in values)
    )


def look_up(value: Json, field: str) -> Json:
    """The value of a dotted field such as "dataset.every", None where it is absent."""
    for part in field.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _upgrade_classes(old: Json) -> Result:
    """A segmentation's result of 0.1.0: its one head is called "labels"."""
    dataset, damaged = old["dataset"], old.get("robustness")
    further = [
        look_up(found, f"{ENSEMBLE}.{key}") for found in old["subsets"].values() for key in ("boundary_f", "ece")
    ]
    table = [*SCORES.values(), *([BOUNDARY, CALIBRATION] if further.count(None) < len(further) else [])]
    about = {key: dataset[key] for key in ("classes", "palette", "ignore_index") if key in dataset}
    found = _upgrade(old, "labels", "classes", about, table)
    head = found["heads"]["labels"]
    if damaged is not None:
        head["robustness"] = {
            "every": damaged["every"],
            "score": "mIoU",
            "clean": damaged["clean"].get("mIoU"),
            "corruptions": [_upgrade_damage(entry) for entry in damaged["corruptions"]],
            "mean": damaged.get("mean_corruption_mIoU"),
        }
    head["pictures"] = [_upgrade_picture(entry) for entry in old.get("pictures") or ()] or None
    return found


def _upgrade_damage(entry: Json) -> Damaged:
    drop = entry.get("relative_drop")
    return {
        "modality": entry["modality"],
        "corruption": entry["corruption"],
        "severity": entry["severity"],
        "value": entry.get("mIoU"),
        "relative_change": None if drop is None else -drop,
    }


def _upgrade_picture(entry: Json) -> Picture:
    files = {_picture_title(name): file for name, file in entry["files"].items()}
    return {"sample_id": entry["sample_id"], "kind": entry["kind"], "value": entry.get("mIoU"), "files": files}


def _picture_title(name: str) -> str:
    """Of a picture of 0.1.0: "rgb", "label", "prediction/rgb", "prediction/ensemble" or "error"."""
    if name.startswith("prediction/"):
        branch = name.removeprefix("prediction/")
        return branch if branch == ENSEMBLE else branch_title(branch)
    return {"label": "truth", "error": f"errors of the {ENSEMBLE}"}.get(name, f"input/{name}")


def _upgrade_map(old: Json) -> Result:
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


_SCORE: Form = {"name": str, "unit": str, "digits": int, "lower": bool}
_DAMAGE: dict[str, Form] = {"modality": str, "corruption": str, "severity": int}
_DATA: dict[str, Form] = {"type": str, "samples": int, "every": int, "folder?": str}
_PREDICTIONS: Form = {"*": {"*": dict}}
_PICTURE: dict[str, Form] = {"sample_id": str, "kind": str, "files": {"*": str}, "legend?": {"*": list}}
_RELIABILITY: Form = {"count": [int], "confidence": [NUMBER], "accuracy": [NUMBER]}
_SHARED: dict[str, Form] = {
    "protocol": {"name": str, "source?": str, "absent?": str},
    "config": {"file": str, "sha256?": str},
    "checkpoint": {"file": str, "sha256": str},
    "dataset": _DATA,
    "versions?": {"*": str},
    "machine?": str,
    "date?": str,
    "dtype?": str,
    "speed?": {"*": NUMBER},
}
_FORM: Form = {**_SHARED, "heads": dict}
_ROW: dict[str, Form] = {"name": str, "values": [NUMBER]}
_HEAD: Form = {
    "task": str,
    "about": {"weights?": dict, "kernel?": dict},
    "fingerprint": str,
    "scores": [_SCORE],
    "subsets": _PREDICTIONS,
    "hallucinated?": {"*": [str]},
    "sets?": {"*": {"frames": int, "scores": dict}},
    "images": [{"sample_id": str, "values?": NUMBER}],
    "robustness?": {
        "every": int,
        "score": str,
        "clean?": NUMBER,
        "mean?": NUMBER,
        "corruptions": [{**_DAMAGE, "value?": NUMBER, "relative_change?": NUMBER}],
    },
    "benchmarks?": {
        "*": {
            "source": str,
            "deviations": [str],
            "score": str,
            "every": int,
            "label": str,
            "columns": [str],
            "rows": [_ROW],
            "summary": [_ROW],
        }
    },
    "pictures?": [{**_PICTURE, "value?": NUMBER}],
}
_OLD_CLASSES: Form = {
    **_SHARED,
    "dataset": {**_DATA, "fingerprint": str, "classes": list, "palette": list},
    "subsets": _PREDICTIONS,
    "images": list,
    "robustness?": {
        "every": int,
        "clean": dict,
        "corruptions": [{**_DAMAGE, "mIoU?": NUMBER, "relative_drop?": NUMBER}],
    },
    "pictures?": [{**_PICTURE, "mIoU?": NUMBER}],
}
_OLD_MAP: Form = {
    **_SHARED,
    "dataset": {**_DATA, "fingerprint": str},
    "target": {"name": str, "unit": str},
    "subsets": _PREDICTIONS,
    "images": list,
}
_UPGRADES: dict[str, tuple[Form, Callable[[Json], Result]]] = {
    "rgbx-result/1": (_OLD_CLASSES, _upgrade_classes),
    "rgbx-translation-result/1": (_OLD_MAP, _upgrade_map),
}
