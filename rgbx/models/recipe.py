"""The recipe in a checkpoint: checked as data from strangers, brought from 0.1.0 to today's form, compared with others.

A recipe is ``{"builder": "multimodal", "parameters": {...}}``. Nothing in it opens a file or a network connection.
Checkpoints of 0.1.0 name the builders `multimodal_segmentor`, `multimodal_translator` and `multimodal_joint`, whose
models were laid out in other modules: their parameters and the names of their tensors are translated here.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from rgbx._refusing import refusing
from rgbx._text import check_options, one_of
from rgbx._types import Options
from rgbx.models.build import THREE_CHANNELS, complete, segmentor_parameters, translator_parameters

MOST_VALUES, LONGEST, LARGEST, DEEPEST = 20_000, 300, 2**16, 8
MOST_NAMES = {"modalities": 16, "heads": 64, "objectives": 64}
IN_UNITS = r"parameters\.((ranges|statistics)\.|heads\.\w+\.range\.(low|high|scale)$)"  # values of a map, no counts
MOST_LAYERS, LAYERS = 256, ("depth", "blocks", "layers")  # each of these is a number of modules
TRAINING = (
    "loss",
    "weight",
    "detach_ensemble",
    "adversarial",
    "l1",
    "perceptual",
    "contrast",
    "temperature",
    "positives",
)  # of heads; they change no answer
TRAINING_ONLY = ("modality_dropout", "norm_eval", "objectives", "freeze")
TRAINING_OF_GATES = ("supervision", "weight")
TRAINING_OF_HALLUCINATION = ("weight", "heads")
ABSENT = object()  # what a recipe does not have

Recipe = Mapping[str, Any]
Tensors = dict[str, Tensor]


def check_recipe(recipe: object, where: str = "the checkpoint", *, answering: bool = False) -> dict[str, Any]:
    """The complete parameters of `multimodal` that a recipe means.

    Args:
        recipe: of a checkpoint or of a model.
        where: begins the messages.
        answering: leave its objectives out, which change no answer: they may be of a file that nobody imported.

    Raises:
        ValueError: not a recipe, an unknown builder or parameter, a value of a wrong kind, or an absurd size.
    """
    with refusing(where):
        if not isinstance(recipe, Mapping) or not isinstance(recipe.get("builder"), str):
            raise ValueError(f"it names no model builder: its recipe is {_short(recipe)}, expected a dict")
        builder, parameters = recipe["builder"], recipe.get("parameters")
        if builder not in _COMPLETE:
            raise ValueError(
                f"it names the model builder {_short(builder)}; expected one of {one_of(sorted(_COMPLETE), builder)}"
            )
        if not isinstance(parameters, Mapping):
            raise ValueError(f"the recipe's parameters are {_short(parameters)}; expected a dict")
        _check_values(parameters, "parameters", [0])
        if answering:
            parameters = {key: value for key, value in parameters.items() if key != "objectives"}
        for key, most in MOST_NAMES.items():
            found = parameters.get(key, ())
            if isinstance(found, (list, tuple, Mapping)) and len(found) > most:
                raise ValueError(f"the recipe has {len(found)} {key}; expected at most {most}")
        return _COMPLETE[builder](dict(parameters))


def _check_values(value: object, path: str, count: list[int]) -> None:
    """Refuses what no recipe holds; `count` keeps how many values there were."""
    count[0] += 1
    if count[0] > MOST_VALUES or path.count(".") > DEEPEST:
        raise ValueError(f"the recipe is too large or too deep at {path}")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str) or len(key) > LONGEST:
                raise ValueError(f"{path} has the key {_short(key)}; expected a short string")
            _check_values(item, f"{path}.{key}", count)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_values(item, f"{path}.{index}", count)
    elif isinstance(value, str):
        if len(value) > LONGEST:
            raise ValueError(f"{path} is a string of {len(value)} characters; expected at most {LONGEST}")
    elif isinstance(value, (int, float)):
        most = MOST_LAYERS if path.rpartition(".")[2] in LAYERS else LARGEST
        counts = isinstance(value, int) and not re.match(IN_UNITS, path)
        finite = abs(value) < LARGEST**4 or (value == math.inf and path.endswith(".max"))
        if not finite or (counts and abs(value) > most):
            raise ValueError(f"{path} is {_short(value)}; expected a number of at most {most}")
    elif value is not None:
        raise ValueError(f"{path} is {_short(value)}; expected plain values")


def _short(value: object) -> str:
    return reprlib.repr(value)


def _complete_translator(parameters: Options) -> dict[str, Any]:
    """A timm network of 0.1.0 was fed -1..1 here, and images were padded by reflection."""
    found = translator_parameters(**{"normalization": "range", **parameters})
    return complete(**{**found, "padding": "reflect"})


def _complete_joint(parameters: Options) -> dict[str, Any]:
    """Two heads on one backbone, fed -1..1 and padded by reflection."""
    known: tuple[str, ...] = ("modalities", "num_classes", "target", "backbone", "norm", "fusion", "decoder", "loss")
    known += ("translation_width", "l1", "ranges")
    check_options(parameters, known, "a joint model")
    p = {"backbone": "resnet18", "norm": "private", "fusion": "asymmetric", "loss": "cross_entropy", **parameters}
    ranges = p.get("ranges") or {}
    image = dict(
        task="map",
        channels=3 if p["target"] in THREE_CHANNELS else 1,
        range=ranges.get(p["target"]),
        l1=p.get("l1", 1.0),
        decoder={"name": "image", "width": p.get("translation_width", 128)},
    )
    labels = dict(
        task="classes",
        num_classes=p["num_classes"],
        loss=p["loss"],
        decoder={"name": "light", **(p.get("decoder") or {})},
    )
    return complete(
        modalities=p["modalities"],
        heads={"labels": labels, p["target"]: image},
        normalization="range",
        padding="reflect",
        ranges={name: values for name, values in ranges.items() if name != p["target"]} or None,
        **{name: p[name] for name in ("backbone", "norm", "fusion")},
    )


_COMPLETE: dict[str, Callable[[Options], dict[str, Any]]] = {
    "multimodal": lambda parameters: complete(**parameters),
    "multimodal_segmentor": lambda parameters: complete(**segmentor_parameters(**parameters)),
    "multimodal_translator": _complete_translator,
    "multimodal_joint": _complete_joint,
}


def upgrade_tensors(recipe: Recipe, tensors: Mapping[str, Tensor]) -> Tensors:
    """The tensors of a checkpoint under the names that they have in today's model; others are left out.

    Args:
        recipe: of the checkpoint, see `check_recipe`.
        tensors: its state dict, name to [...], or that of an average of the weights.
    """
    rules = _renames(recipe)
    if rules is None:
        return dict(tensors)
    found: Tensors = {}
    for name, tensor in tensors.items():
        for pattern, replacement in rules:
            if match := re.fullmatch(pattern, name):
                if replacement is not None:
                    found[match.expand(replacement)] = tensor
                break
        else:
            found[name] = tensor
    return found


def _renames(recipe: Recipe) -> list[tuple[str, str | None]] | None:
    """Patterns of names of 0.1.0 and what they are called now; None drops what stood there twice or means nothing."""
    builder, p = recipe["builder"], recipe["parameters"]
    if builder == "multimodal_segmentor":
        alone = len(p["modalities"]) == 1
        return [
            (r"head\.(.*)", r"heads.labels.decoder.\1"),
            (r"loss\.(.*)", r"heads.labels.task.loss.\1"),
            (r"alpha\.(.*)", None if alone else r"heads.labels.alpha.\1"),
            (r"data_preprocessor\.(\w+)_(mean|std|max)", r"data_preprocessor.inputs.\1.\2"),
        ]
    if builder == "multimodal_translator":
        target, generator = re.escape(p["target"]), p.get("generator", "unet")
        name = generator if isinstance(generator, str) else generator.get("name")
        on_backbone = [
            (r"generator\.backbone\.(.*)", r"backbone.\1"),
            (r"generator\.decoder\.(.*)", rf"heads.{target}.decoder.\1"),
        ]
        return [
            *(on_backbone if name == "backbone" else [(r"generator\.(.*)", r"backbone.\1")]),
            (r"discriminator\.(.*)", rf"heads.{target}.opponent.discriminator.\1"),
            (r"alpha\.(.*)", rf"heads.{target}.alpha.\1"),
            *_range_renames("data_preprocessor", target),
        ]
    if builder == "multimodal_joint":
        target = re.escape(p["target"])
        return [
            (r"segmentor\.head\.(.*)", r"heads.labels.decoder.\1"),
            (r"segmentor\.loss\.(.*)", r"heads.labels.task.loss.\1"),
            (r"segmentor\.alpha\.(.*)", r"heads.labels.alpha.\1"),
            (r"translator\.generator\.decoder\.(.*)", rf"heads.{target}.decoder.\1"),
            (r"translator\.alpha\.(.*)", rf"heads.{target}.alpha.\1"),
            (r"(segmentor|translator)\..*", None),
            *_range_renames("data_preprocessor.translation", target),
        ]
    return None


def _range_renames(prefix: str, target: str) -> list[tuple[str, str | None]]:
    return [
        (rf"{re.escape(prefix)}\.ranges\.{target}\.(.*)", rf"heads.{target}.task.range.\1"),
        (rf"{re.escape(prefix)}\.ranges\.(\w+)\.(.*)", r"data_preprocessor.inputs.\1.range.\2"),
    ]


def recipe_differences(ours: Options, theirs: Options) -> list[str]:
    """What makes two models answer differently, a line each: "fusion.second_shift: 'reversed' against None".

    Args:
        ours: complete parameters, as `check_recipe` gives them, such as a config's.
        theirs: others, such as a checkpoint's.
    """
    return list(_differences(_answering(ours), _answering(theirs)))


def _answering(parameters: Options) -> dict[str, Any]:
    """Without what is of training alone."""
    heads = {
        name: {key: value for key, value in head.items() if key not in TRAINING}
        for name, head in parameters["heads"].items()
    }
    found = {**{key: value for key, value in parameters.items() if key not in TRAINING_ONLY}, "heads": heads}
    if (gates := parameters.get("purification")) is not None:
        found["purification"] = {key: value for key, value in gates.items() if key not in TRAINING_OF_GATES}
        found["purification"]["noise"] = "always" if gates["noise"] == "always" else "not at test"
    if filled := parameters.get("hallucinate"):
        found["hallucinate"] = {key: value for key, value in filled.items() if key not in TRAINING_OF_HALLUCINATION}
    return found


def _differences(a: object, b: object, path: str = "") -> Iterator[str]:
    """A line for each value that differs; a dict that only one side has is one value, and an empty one is None."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in {**a, **b}:
            yield from _differences(a.get(key, ABSENT), b.get(key, ABSENT), f"{path}.{key}" if path else key)
        return
    a, b = (None if value == {} else value for value in (a, b))
    if a != b:
        first, second = ("absent" if value is ABSENT else repr(value) for value in (a, b))
        yield f"{path}: {first} against {second}"
