"""The best, median and worst frame of every head: which they are, and their pictures."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image
from torch.utils.data import default_collate

from rgbx._text import branch_title
from rgbx._whole import writing
from rgbx.evaluate.pictures import as_array, drawn, frame_at_label
from rgbx.evaluate.result import given_titles, score_table
from rgbx.evaluate.result_form import HeadResult, Json, Picture, Result
from rgbx.maps.colour import colour_input
from rgbx.maps.drawing import share_panel
from rgbx.report.tables import head_folder
from rgbx.tasks import ENSEMBLE, Prediction, Score, Task

Sample = dict[str, Json]  # packed, or a collated batch of one
LONGEST_SIDE = 1024
ERRORS = f"errors of the {ENSEMBLE}"


class Frames(Protocol):
    """A dataset of packed samples."""

    metainfo: Mapping[str, Json]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


class Frame(NamedTuple):
    """One frame of a result: `kind` is "best", "median" or "worst"; `value` is its headline score."""

    sample_id: str
    kind: str
    value: float


def choose_frames(images: Sequence[Mapping[str, Json]], score: Score) -> list[Frame]:
    """Best, median and worst by the score of the single image; of two images best and worst, of one that one.

    Images without the score (no pixel that counts, or a score of whole sets) are left out, ties are decided by the
    order of evaluation.
    """
    scored = [x for x in images if x.get(score.name) is not None and not math.isnan(x[score.name])]
    ranked = sorted(scored, key=lambda image: image[score.name] if score.lower else -image[score.name])
    places = {"best": 0, "median": (len(ranked) - 1) // 2, "worst": len(ranked) - 1}
    chosen: dict[int, Frame] = {}
    for kind in ("best", "worst", "median"):  # with few images the median gives way
        if ranked and places[kind] not in chosen:
            image = ranked[places[kind]]
            chosen[places[kind]] = Frame(image["sample_id"], kind, image[score.name])
    return [chosen[place] for place in sorted(chosen)]


def write_frames(
    result: Result,
    dataset: Frames,
    predict: Mapping[str, Callable[[Sample], Sequence[Sample]]],
    tasks: Mapping[str, Task],
    folder: str | Path,
) -> None:
    """Predicts the best, median and worst frame of every head once more and writes their pictures.

    Args:
        result: gets the `pictures` of its heads.
        dataset: as it was evaluated: of packed samples, with `metainfo`.
        predict: subset of modalities, the result's headline first, to what gives from a collated batch of one sample
            what `rgbx.models.Predictor` gives.
        tasks: of the heads.
        folder: where results.json will lie; the files go into its `pictures/`, by heads where there are several.

    Raises:
        ValueError: a sample of the result is not in the dataset.
    """
    targets = {task.target for task in tasks.values()}
    names = [name for name in dataset.metainfo["modalities"] if name not in targets]
    specs = dataset.metainfo.get("maps", {})
    for name, head in result["heads"].items():
        place = head_folder(Path("pictures"), result, name)
        order = {image["sample_id"]: number for number, image in enumerate(head["images"])}
        head["pictures"] = entries = []
        for frame in choose_frames(head["images"], score_table(head)[0]):
            sample = _find(dataset, frame.sample_id, order[frame.sample_id])
            batch = default_collate([sample])
            given = {n: each for n, each in predict.items() if any(key in sample for key in n.split("+"))}
            answers = {subset: each(batch)[0] for subset, each in given.items()}
            found, *others = ((subset, answer["heads"][name]) for subset, answer in answers.items())
            masks = next(iter(answers.values())).get("masks", {})
            inputs = {
                f"input/{key}": colour_input(key, *frame_at_label(key, sample), specs.get(key))
                for key in names
                if key in sample
            }
            shown = {f"mask/{key}": share_panel("", as_array(mask)).picture for key, mask in masks.items()}
            pictures = {**inputs, **shown, **draw_frame(found[1], tasks[name], head, inputs, dict(others))}
            entry = _write(frame, pictures, Path(folder), place)
            maps = [found[1].target, *(x for _, given in (found, *others) for x in given.prediction.values())]
            legend = tasks[name].legend([as_array(x) for x in maps if x is not None], head["about"])
            entries.append({**entry, "legend": {text: list(colour) for text, colour in legend.items()}})


def _find(dataset: Frames, sample_id: str, likely: int) -> Sample:
    """The sample of that id: at its likely index, or wherever it is."""
    first = range(likely, min(likely + 1, len(dataset)))
    for index in [*first, *range(len(dataset))]:
        if (sample := dataset[index])["sample_id"] == sample_id:
            return sample
    raise ValueError(f"sample {sample_id!r} of the result is not in the dataset")


def draw_frame(
    found: Prediction,
    task: Task,
    head: HeadResult,
    inputs: Mapping[str, np.ndarray],  # uint8 RGB [H, W, 3] each
    others: Mapping[str, Prediction] | None = None,
) -> dict[str, np.ndarray]:
    """Truth, ensemble and its errors, branches, and ensembles of other subsets by title, uint8 RGB [H, W, 3].

    Args:
        found: of one head for one sample.
        task: of the head, which draws.
        head: its result.
        inputs: the modalities as pictures; the first lies behind the errors where its size fits.
        others: what the head predicts from other subsets of the modalities.
    """
    about = head["about"]
    maps = drawn(task, found, about)
    pictures = {name: maps.pop(name) for name in ("truth", ENSEMBLE) if name in maps}
    truth, valid = (None if values is None else as_array(values) for values in (found.target, found.valid))
    if truth is not None:
        size = truth.shape[-2:]
        grey = np.full((*size, 3), 128, np.uint8)
        background = next((picture for picture in inputs.values() if picture.shape[:2] == size), grey)
        errors = task.error(as_array(found.prediction[ENSEMBLE]), truth, background, about, valid)
        if errors is not None:
            pictures[ERRORS] = errors
    pictures |= {branch_title(name): picture for name, picture in maps.items()} if len(maps) > 1 else {}
    titles = given_titles(head["subsets"], head.get("hallucinated"))
    for subset, given in (others or {}).items():
        pictures[titles[subset]] = drawn(task, given, about)[ENSEMBLE]
    return pictures


def _write(
    frame: Frame,
    pictures: Mapping[str, np.ndarray],  # uint8 RGB [H, W, 3] each
    folder: Path,
    place: Path,
) -> Picture:
    """Writes the pictures of one frame as PNGs and returns the entry for the result file.

    Pictures whose longer side has more than 1024 pixels are thinned to every second, third, ... pixel.
    """
    files = {}
    for title, picture in pictures.items():
        stem = "_".join(_file_name(part) for part in (frame.kind, frame.sample_id, title.removeprefix("input/")))
        path, step = place / f"{stem}.png", -(-max(picture.shape[:2]) // LONGEST_SIDE)
        with writing(folder / path, many=True) as file:
            Image.fromarray(np.ascontiguousarray(picture[::step, ::step])).save(file, "PNG", optimize=True)
        files[title] = path.as_posix()
    return {"sample_id": frame.sample_id, "kind": frame.kind, "value": frame.value, "files": files}


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)
