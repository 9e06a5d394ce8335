"""Result files: scores with everything one must know to compare them, as JSON, one entry for each head of the model.

Scores are fractions of 1 or in the unit that the head's table of scores names; what is not a number is null.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar, overload

import torch
from torch import Tensor

import rgbx
from rgbx._files import read_json
from rgbx._refusing import refusing
from rgbx._text import branch_title, modality_title, percent, subset_titles, text_table
from rgbx._whole import writing
from rgbx.datasets import FolderDataset
from rgbx.evaluate.metric import HasId
from rgbx.evaluate.missing import failures, over_failures
from rgbx.evaluate.result_form import FORMAT, HeadResult, Json, Result, Scores, check_result, upgrade
from rgbx.maps.files import file_hash
from rgbx.tasks import ENSEMBLE, Evaluation, Protocol, Score

MOST_BYTES = 2**25  # of a result file
T = TypeVar("T")
Filled = Mapping[str, Sequence[str]]  # subset to modalities


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


def given_titles(subsets: Mapping[str, Iterable[str]], hallucinated: Filled | None = None) -> dict[str, str]:
    """The title of each subset, see `subset_titles`; with what the model filled in itself.

    Args:
        subsets: "rgb+depth" to the names of its predictions: a branch of what was not given was hallucinated, as in
            "depth alone, RGB hallucinated".
        hallucinated: what was by subset, which models tell that merge the modalities, and have no branches; None where
            a file does not say it.
    """
    titles = subset_titles(subsets)
    for subset, predictions in subsets.items():
        own = [name for name in predictions if name not in (ENSEMBLE, *subset.split("+"))]
        own = list((hallucinated or {}).get(subset, own))
        if own:
            titles[subset] += f", {' and '.join(map(modality_title, own))} hallucinated"
    return titles


def titled(subsets: Mapping[str, Mapping[str, T]], hallucinated: Filled | None = None) -> dict[str, T]:
    """The predictions of all subsets by what people call them, in the order in which they are shown.

    Args:
        subsets: "rgb+depth" to its predictions, "ensemble" and branches.
        hallucinated: see `given_titles`.

    Returns:
        Of the first subset the ensemble, "both", and, where there are several, its branches, "RGB branch"; of the
        others the ensemble, "RGB alone".
    """
    titles, found = given_titles(subsets, hallucinated), {}
    for subset, predictions in subsets.items():
        found[titles[subset]] = predictions[ENSEMBLE]
        if len(found) == 1 and len(predictions) > 2:
            found |= {branch_title(name): entry for name, entry in predictions.items() if name != ENSEMBLE}
    return found


def score_table(head: HeadResult) -> tuple[Score, ...]:
    """What the scores of a head are, the headline first."""
    return tuple(Score(**{field.name: entry[field.name] for field in _SCORE_FIELDS}) for entry in head["scores"])


def shown(score: Score, value: float | None, *, signed: bool = False, digits: int | None = None) -> str:
    """A value as people read it, fractions in percent without the sign; a dash for what is no number.

    Args:
        score: what it is.
        value: as the result file has it.
        signed: with its sign, also of positive values.
        digits: behind the point, instead of the score's; of a fraction before it becomes a percentage.
    """
    if value is None or not math.isfinite(value):
        return "-"
    digits = score.digits if digits is None else digits
    sign, number = "+" if signed else "", 100 * value if score.percent else value
    return f"{number:{sign}.{max(digits - 2, 0) if score.percent else digits}f}"


class DamageRow(NamedTuple):
    """One corruption of one modality: the score by severity, their mean, and how much worse that is, relatively."""

    modality: str
    corruption: str
    values: dict[int, float | None]
    mean: float | None
    loss: float | None


def damaged_score(head: HeadResult) -> Score:
    """The score that `robustness` is about."""
    name = head["robustness"]["score"] if head["robustness"] else headline(head).score.name
    return next((score for score in score_table(head) if score.name == name), Score(name))


def damage_rows(head: HeadResult) -> list[DamageRow]:
    """What `robustness` measured; empty where it did not."""
    robustness = head.get("robustness")
    groups: dict[tuple[str, str], dict[int, float | None]] = {}
    for entry in robustness["corruptions"] if robustness else ():
        groups.setdefault((entry["modality"], entry["corruption"]), {})[entry["severity"]] = entry["value"]
    clean, lower = robustness["clean"] if robustness else None, damaged_score(head).lower
    rows = []
    for (modality, corruption), values in groups.items():
        measured = [value for value in values.values() if value is not None]
        mean = sum(measured) / len(measured) if measured else None
        drop = None if mean is None or not clean else 1 - mean / clean
        rows.append(DamageRow(modality, corruption, values, mean, -drop if lower and drop is not None else drop))
    return rows


def robustness_text(head: HeadResult) -> str:
    """`robustness` for a terminal: one row per modality and corruption, fractions in percent."""
    rows, score, measured = damage_rows(head), damaged_score(head), head["robustness"]
    if not rows or measured is None:
        return "no corruption suits these modalities"
    severities = sorted({severity for row in rows for severity in row.values})
    lines = [
        [
            modality_title(row.modality),
            row.corruption,
            *(shown(score, row.values.get(severity)) for severity in severities),
            shown(score, row.mean),
            "-" if row.loss is None else f"{percent(row.loss)}{'' if score.percent else ' %'}",
        ]
        for row in rows
    ]
    header = ["damaged", "by", *map(str, severities), "mean", f"relative {'rise' if score.lower else 'drop'}"]
    clean, mean = shown(score, measured["clean"]), shown(score, measured["mean"])
    return f"{text_table(header, lines, texts=2)}\nclean {clean}, mean over corruptions {mean}"


def benchmark_text(head: HeadResult, name: str) -> str:
    """A benchmark for a terminal: its table, fractions in percent, the source, and where the measurement differs."""
    table = head["benchmarks"][name]
    score = next((score for score in score_table(head) if score.name == table["score"]), Score(table["score"]))
    rows = [[row["name"], *(shown(score, x) for x in row["values"])] for row in (*table["rows"], *table["summary"])]
    text = text_table([table["label"], *table["columns"]], rows)
    told = "".join(f"\n- {sentence}" for sentence in table["deviations"])
    return f"{text}\nSource: {table['source']}{told and '. Here:'}{told}"


def missing_text(head: HeadResult) -> str:
    """What the first score comes to where each sensor may fail, if all subsets were evaluated; empty if not."""
    first, score = next(iter(head["subsets"])).split("+"), score_table(head)[0]
    missing = failures(first)
    subsets = ["+".join(name for name in first if name not in failed) for failed in missing]
    if len(first) < 2 or not all(subset in head["subsets"] for subset in subsets):
        return ""
    values = [head["subsets"][subset][ENSEMBLE].get(score.name) for subset in subsets]
    found = over_failures(values, [len(failed) for failed in missing], len(first))
    listed = "; ".join(f"{name}: {shown(score, value)}" for name, value in found.items())
    return f"{score.name} over all {len(subsets)} subsets, what is missing left out (EMM). {listed.capitalize()}"


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
    chosen: Mapping[str, str] | None = None,
    hallucinated: Filled | None = None,
) -> Result:
    """Everything a result file says.

    Args:
        evaluations: subset of modalities ("rgb+depth") to head to its counts; the first subset is the headline.
        kinds: of the heads' tasks.
        protocol: by whose rules they were made.
        config: `file` and `sha256` of the config.
        checkpoint: the file that was evaluated.
        dataset: the whole dataset, for its type; of a declared one also the name of its folder.
        every: one in this many of its samples was evaluated.
        speed: `images_per_second` and `metric_share` of the headline.
        dtype: of autocast; None for full precision.
        chosen: how the checkpoint was, see `rgbx.evaluate.selection.selection_facts`.
        hallucinated: see `given_titles`; left out where there is none.
    """
    first = next(iter(evaluations.values()))
    heads = {
        head: _head_result(kinds[head], {subset: found[head] for subset, found in evaluations.items()})
        for head in first
    }
    if hallucinated:
        for each in heads.values():
            each["hallucinated"] = plain(hallucinated)
    return {
        "format": FORMAT,
        "protocol": plain(protocol.as_dict()),
        "config": dict(config),
        "checkpoint": {"file": str(checkpoint), "sha256": file_hash(checkpoint), **(chosen or {})},
        "dataset": {
            "type": type(dataset).__name__,
            "samples": len(next(iter(first.values())).images),
            "every": every,
            **({"folder": dataset.root.resolve().name} if isinstance(dataset, FolderDataset) else {}),
        },
        "versions": versions(),
        "machine": _machine(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "dtype": dtype or "float32",
        "speed": dict(speed or {}),
        "heads": heads,
    }


def versions() -> dict[str, str]:
    """Of what computes."""
    return {
        "rgbx": rgbx.__version__,
        "torch": torch.__version__,
        "timm": version("timm"),
        "python": platform.python_version(),
    }


def _head_result(kind: str, evaluations: Mapping[str, Evaluation]) -> HeadResult:
    first = next(iter(evaluations.values()))
    return {
        "task": kind,
        "about": plain(first.about()),
        "fingerprint": first.fingerprint(),
        "scores": [dataclasses.asdict(score) for score in first.table],
        "subsets": {
            subset: {name: plain(found.scores(name)) for name in found.names} for subset, found in evaluations.items()
        },
        "images": Images(first),
        "robustness": None,
        "pictures": None,
    }


class Images(Sequence[Scores]):
    """The scores of each image, made when they are asked for: of a million images they would not fit into memory.

    Args:
        evaluation: that has counted them.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation

    def __len__(self) -> int:
        return len(self._evaluation.images)

    @overload
    def __getitem__(self, place: int) -> Scores: ...

    @overload
    def __getitem__(self, place: slice) -> list[Scores]: ...

    def __getitem__(self, place: int | slice) -> Scores | list[Scores]:
        if isinstance(place, slice):
            return [*map(self._scores, self._evaluation.images[place])]
        return self._scores(self._evaluation.images[place])

    def _scores(self, image: HasId) -> Scores:
        found: Scores = plain({"sample_id": image.sample_id, **self._evaluation.image_scores(image)})
        return found


def _machine() -> str:
    """Processor, cores and, where there is one, the GPU."""
    processor = platform.processor() or platform.machine()
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{processor}, {os.cpu_count()} cores{gpu}"


def plain(value: Json) -> Json:
    """Tensors as lists, tuples as lists, and None for what is not a number."""
    if isinstance(value, Tensor):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, Images)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_result(result: Result, path: str | Path) -> None:
    """Writes a result file whole or not at all, one line for each field of the file and of a head."""
    with writing(Path(path)) as file:
        for text in chain(_fields({key: _lines(x, 2 if key == "heads" else 0) for key, x in result.items()}), "\n"):
            file.write(text.encode())


def _lines(value: Json, depth: int) -> Iterator[str]:
    """JSON in pieces, of objects down to this depth with a line for each field."""
    if isinstance(value, Images):
        yield "["
        for number, image in enumerate(value):
            yield f"{', ' * bool(number)}{json.dumps(image, allow_nan=False)}"
        yield "]"
    elif depth and isinstance(value, Mapping):
        yield from _fields({key: _lines(item, depth - 1) for key, item in value.items()})
    else:
        yield json.dumps(plain(value), allow_nan=False)


def _fields(values: Mapping[str, Iterator[str]]) -> Iterator[str]:
    for number, (key, pieces) in enumerate(values.items()):
        yield f"{',' if number else '{'}\n{json.dumps(str(key))}: "
        yield from pieces
    yield "\n}" if values else "{\n\n}"


def read_result(path: str | Path) -> Result:
    """Reads a result file of this or an earlier format, and checks it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no file of JSON, see `rgbx._files.read_json`, an unknown format, or a field that is missing
            or of another kind, naming the file, the field, what was found and what is expected.
    """
    found: Json = read_json(path, limit=MOST_BYTES, what="result file")
    with refusing(str(path), "its fields cannot be used"):
        found = upgrade(found, str(path))
        check_result(found, name=str(path))
    if found["protocol"].get("name") in _FIXED_SINCE and "swapped" not in found["protocol"]:
        found["protocol"]["name"] += "-fixed"
    for head in found["heads"].values():
        head |= {key: head.get(key) for key in ("robustness", "pictures")}
        if measured := head["robustness"]:
            measured |= {key: measured.get(key) for key in ("clean", "mean")}
            for entry in measured["corruptions"]:
                entry |= {key: entry.get(key) for key in ("value", "relative_change")}
    found["protocol"] |= {key: value for key, value in _RULES.items() if key not in found["protocol"]}
    return found


_FIXED_SINCE = ("cmx-ss", "cmx-ms")  # 0.1.0 called these rules so before it had their authors' own


_SCORE_FIELDS = dataclasses.fields(Score)
_RULES = {key: value for key, value in plain(Protocol("", "").as_dict()).items() if key not in ("name", "source")}
