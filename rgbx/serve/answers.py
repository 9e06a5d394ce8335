"""What a model says of a frame as JSON, with pictures as PNG in base64; `schema.json` tells the form."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping

import numpy as np

from rgbx._text import modality_title
from rgbx.evaluate.result_form import Json
from rgbx.maps.drawing import Bar
from rgbx.maps.files import encode_png
from rgbx.models import MultimodalModel
from rgbx.models.inputs import MapInput, map_inputs
from rgbx.models.result import Result
from rgbx.tasks import ENSEMBLE, Classes
from rgbx.tasks.result import ClassesResult, HeadResult, MapResult

KINDS = ("ids", "colours", "overlay", "confidence", "values", "inputs")  # what a request may ask for beside numbers
TOLD = {  # by unit, the options of a map's files that a page asks for
    "metre": ("scale", "bits", "missing", "key"),
    "sensor": ("scale", "add", "bits", "missing", "key"),
    "relative": ("scale", "log", "bits", "missing", "key"),
    "unit_vector": ("bits", "key"),
}
_COLOURS = ("rgb8", "encoded")


def model_answer(model: MultimodalModel) -> dict[str, Json]:
    """The maps that a model takes, what it knows of their files, and what its heads predict."""
    inputs = map_inputs(model.modalities, {}, model.trained_on)
    return {
        "maps": {name: _map_told(item) for name, item in inputs.items()},
        "heads": {name: _head_told(model, name) for name in model.tasks},
    }


def frame_answer(result: Result, kinds: Collection[str], *, branches: bool = False) -> dict[str, Json]:
    """What the model says of a frame.

    Args:
        result: of the frame.
        kinds: of `KINDS`, those that are wanted.
        branches: whether each modality's branch is told, too; its confidence is not, as it takes one more pass.
    """
    return {
        "size": list(next(iter(result.inputs.values())).shape[-2:]),
        "maps": {name: _input_answer(result, name, "inputs" in kinds) for name in result.paths},
        "heads": {name: _head_answer(head, kinds, branches) for name, head in result.items()},
        "hallucinated": list(result.hallucinated),
    }


def _map_told(item: MapInput) -> dict[str, Json]:
    unit = item.spec.unit if item.spec else None
    return {
        "title": modality_title(item.name),
        "unit": unit,
        "stored": item.known.as_dict() if item.known else None,
        "told": item.known.describe() if item.known else item.hint,
        "options": list(("unit", "scale", "bits", "key") if unit is None else TOLD.get(unit, ("key",))),
    }


def _head_told(model: MultimodalModel, name: str) -> dict[str, Json]:
    task = model.tasks[name]
    if not isinstance(task, Classes):
        return {"task": task.kind}
    count, about = task.channels, model.trained_on
    names = about.get("classes", ())
    return {"task": task.kind, "classes": list(names) if len(names) == count else [f"class {k}" for k in range(count)]}


def _input_answer(result: Result, name: str, shown: bool) -> dict[str, Json]:
    """A map as it was read: how much of it was measured and, where it is wanted, its picture and values."""
    image, valid = result.inputs[name], result.inputs.get(f"{name}_valid")
    spec = result.read[name].spec
    panel = result.input_panel(name)
    found: dict[str, Json] = {
        "file": result.paths[name],
        "unit": spec.unit if spec else None,
        "measured": 1.0 if valid is None else float(valid.mean()),
        "bar": bar_answer(panel.bar),
    }
    if name in result.masks:
        found["believed"] = float(result.masks[name].mean())
    if shown:
        found["picture"] = png(panel.picture)
        if spec is None or spec.unit not in _COLOURS:
            found["values"] = array_answer(image.transpose(1, 2, 0), None if valid is None else valid[0])
        if name in result.masks:
            found["mask"] = _picture_of_share(result.masks[name])
    return found


def _head_answer(head: HeadResult, kinds: Collection[str], branches: bool) -> dict[str, Json]:
    found: dict[str, Json] = {"task": head.task.kind, **_facts(head), **_pictures(head, kinds)}
    if branches:
        found["branches"] = {name: _head_answer(each, kinds, False) for name, each in head.branches.items()}
    return found


def _facts(head: HeadResult) -> dict[str, Json]:
    if isinstance(head, ClassesResult):
        palette, shares = head.palette, enumerate(head.areas.items())
        present = [
            {"id": k, "name": name, "colour": list(palette[k]), "share": share} for k, (name, share) in shares if share
        ]
        mean = {"confidence": float(head.confidence.mean())} if head.branch == ENSEMBLE else {}
        return {"classes": present, **mean}
    return {**head.facts(), "bar": bar_answer(head.bar)} if isinstance(head, MapResult) else head.facts()


def _pictures(head: HeadResult, kinds: Collection[str]) -> dict[str, Json]:
    """The PNG files of a head, and its values, of the kinds that it has."""
    found: dict[str, Json] = {}
    if "colours" in kinds:
        found["colours"] = png(head.picture(legend=False))
    if isinstance(head, ClassesResult):
        if "ids" in kinds:
            found["ids"] = png(head.ids)
        if "overlay" in kinds:
            found["overlay"] = png(head.overlay())
        if "confidence" in kinds and head.branch == ENSEMBLE:
            found["confidence_map"] = _picture_of_share(head.confidence)
    elif isinstance(head, MapResult) and "values" in kinds:
        found["values"] = array_answer(np.atleast_3d(head.values))
    return found


def bar_answer(bar: Bar | None) -> Mapping[str, Json] | None:
    """What the colours of a picture stand for: two ends, their unit's sign, and colours between them."""
    if bar is None:
        return None
    return {"low": bar.limits[0], "high": bar.limits[1], "sign": bar.sign, "colours": bar.stops()}


def array_answer(
    values: np.ndarray,  # [H, W, C], in the map's unit
    valid: np.ndarray | None = None,  # bool [H, W]
) -> dict[str, Json]:
    """float32, row by row, the least significant byte first; NaN where nothing was measured."""
    floats = values.astype("<f4")
    if valid is not None:
        floats[~valid] = np.nan
    return {"dtype": "float32", "shape": list(floats.shape), "base64": _text(floats.tobytes())}


def _picture_of_share(
    values: np.ndarray,  # [H, W], 0..1
) -> str:
    return png((65535 * values).round().astype(np.uint16))


def png(
    image: np.ndarray,  # uint8 or uint16, [H, W] or RGB [H, W, 3]
) -> str:
    """A PNG in base64."""
    return _text(encode_png(image))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
