"""Recipes are data from strangers: whatever stands in them, a ValueError that names the file is all that comes out."""

import builtins
import copy
import math
import random
import socket
import time

import pytest
import torch
from small_models import HEADS, UNET, batch, equal, run, small

import rgbx
from rgbx.models import recipe as recipes
from rgbx.models.load import model_of
from rgbx.models.recipe import check_recipe, recipe_differences

FILE = "checkpoint some/file.pth"
ADVERSARIAL = {"discriminator": {"name": "patch", "width": 4, "layers": 2}, "matching": 1.0}
MAP = {"normal": {**HEADS["map"]["normal"], "adversarial": ADVERSARIAL, "range": {"low": -1, "high": 1}}}
GOOD = {
    "three": small("three", fusion={"name": "asymmetric", "stages": [1, 2]}, modality_dropout=0.5).recipe,
    "gates": small("classes", purification={"stages": [1, 3], "hidden": 2, "supervision": "literal"}).recipe,
    "generator": small(None, heads=MAP, backbone=UNET, ranges={"depth": {"low": 0, "high": 8}}).recipe,
    "multimodal_segmentor": {
        "builder": "multimodal_segmentor",
        "parameters": {"modalities": ["rgb", "depth"], "num_classes": 4, "decoder": {"width": 8}, "stems": None},
    },
    "multimodal_translator": {
        "builder": "multimodal_translator",
        "parameters": {"modalities": ["rgb"], "target": "depth", "generator": {"name": "unet", "depth": 3}},
    },
    "multimodal_joint": {
        "builder": "multimodal_joint",
        "parameters": {"modalities": ["rgb"], "num_classes": 4, "target": "normal", "decoder": {"width": 8}},
    },
}


def deep(levels):
    value = 1
    for _ in range(levels):
        value = {"name": value}
    return value


STRANGE = [
    None, True, 0, -1, 1, 2, 65, 1000, 2**16, 10**6, 10**400, 10**5000, -(10**9), 0.5, -2.5, 1e308, math.nan, math.inf,
    -math.inf, "", "ensemble", "rgb", "x" * 10**6, "../../etc/passwd", "hf-hub:x/y", "local-dir:/tmp", "timm", "\0",
    "os.system", "private", [], [None], ["rgb"] * 3, ["rgb", 3], [[["a"]]], [1] * 30_000, {}, {"name": None},
    {"name": "unet", "width": 10**6}, {"name": []}, {1: 2}, {"": {}}, {"low": "a", "high": []},
    {"rgb": {"mean": "x", "std": [0]}}, b"bytes", object(), {1, 2}, lambda: None, torch.ones(2), int,
    deep(30), deep(2_000), {str(i): i for i in range(30_000)},
    {"task": "classes", "num_classes": 3}, {"task": "map"}, {"task": ["map"]}, {"cross_entropy": "a"}, 1j,
]  # fmt: skip


def places(value, path=()):
    """Every place in nested containers."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def mutated(recipe, rng):
    """The recipe with one place replaced, left out, or with a key too many."""
    found = copy.deepcopy(recipe)
    *above, last = rng.choice([path for path in places(found) if path])
    holder = found
    for key in above:
        holder = holder[key]
    kind = rng.random()
    if kind < 0.75:
        holder[last] = rng.choice(STRANGE)
    elif kind < 0.85:
        del holder[last]
    elif isinstance(holder, dict):
        holder[rng.choice(["name", "width", "pretrained", "weights", "backbone", "x", "lambda", 3, ""])] = rng.choice(
            STRANGE
        )
    else:
        holder.append(rng.choice(STRANGE))
    return found


@pytest.fixture
def closed(monkeypatch):
    """No file, no network connection."""

    def refuse(*arguments, **options):
        raise AssertionError(f"something was opened: {arguments}")

    for holder, name in ((socket.socket, "connect"), (socket, "getaddrinfo"), (builtins, "open"), (torch, "load")):
        monkeypatch.setattr(holder, name, refuse)
    monkeypatch.setattr("pathlib.Path.open", refuse)


@pytest.mark.parametrize("name", GOOD)
def test_only_value_errors_come_out_of_what_a_stranger_wrote(name, closed):
    """Thousands of recipes, each laid out without memory, as loading does before it compares names and shapes."""
    rng, accepted = random.Random(name), 0
    for turn in range(1500):
        recipe = mutated(GOOD[name], rng)
        began = time.monotonic()
        try:
            parameters = check_recipe(recipe, FILE)
        except ValueError as error:
            assert FILE in str(error)
            assert len(str(error)) < 4000
        else:
            accepted += 1
            if turn % 10 == 0:
                with pytest.raises(ValueError, match=r"some/file\.pth"):
                    model_of({"model": recipe, "state_dict": {"x": torch.zeros(1)}}, "some/file.pth")
                assert check_recipe({"builder": "multimodal", "parameters": parameters}) == parameters
        assert time.monotonic() - began < 5
    assert 50 < accepted < 1500


def changed(recipe, *path, value):
    found = copy.deepcopy(recipe)
    holder = found
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return found


SEGMENTOR, TRANSLATOR, THREE = GOOD["multimodal_segmentor"], GOOD["multimodal_translator"], GOOD["three"]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (None, "names no model builder"),
        ({"builder": "os.system", "parameters": {}}, "'os.system'; expected one of"),
        ({"builder": "multimodal"}, "parameters are None; expected a dict"),
        ({"builder": "multimodal", "parameters": [1]}, r"parameters are \[1\]; expected a dict"),
        ({"builder": "multimodal", "parameters": {}}, "a model needs 'modalities'"),
        (changed(SEGMENTOR, "parameters", "fuson", value=None), "fuson"),
        (changed(THREE, "parameters", "fuson", value=None), "'fuson'.*did you mean 'fusion'"),
        (changed(THREE, "parameters", "pretrained", value="hf-hub:x/y"), "no option 'pretrained'"),
        (changed(THREE, "parameters", "modalities", value=[f"m{i}" for i in range(5000)]), "5000 modalities"),
        (changed(THREE, "parameters", "heads", value={f"h{i}": {} for i in range(5000)}), "5000 heads"),
        (changed(SEGMENTOR, "parameters", "decoder", "width", value=10**6), r"parameters\.decoder\.width is 1000000"),
        (changed(THREE, "parameters", "heads", "labels", "num_classes", value=math.nan), "num_classes is nan"),
        (changed(THREE, "parameters", "backbone", value="x" * 10_000), "a string of 10000 characters"),
        (changed(THREE, "parameters", "backbone", value=deep(50)), "too large or too deep"),
        (changed(THREE, "parameters", "ranges", value=[[0.0] * 300] * 300), "too large or too deep"),
        (changed(TRANSLATOR, "parameters", "generator", "depth", value=10_000), "depth is 10000"),
        (
            changed(THREE, "parameters", "modalities", value=[f"m{i}" for i in range(17)]),
            "has 17 modalities; .* most 16",
        ),
        (
            changed(
                THREE, "parameters", "heads", value={"range": {**HEADS["classes"]["labels"], "num_classes": 10**6}}
            ),
            r"parameters\.heads\.range\.num_classes is 1000000; expected a number of at most",
        ),
        (changed(GOOD["generator"], "parameters", "backbone", "depth", value=10_000), "depth is 10000"),
    ],
)
def test_what_is_refused_is_named(recipe, message, closed):
    with pytest.raises(ValueError, match=f"^{FILE}.*{message}"):
        check_recipe(recipe, FILE)


@pytest.mark.parametrize(
    "name", ["hf-hub:owner/name", "hf_hub:x", "local-dir:/tmp", "timm/resnet18.a1_in1k", "/etc/passwd"]
)
def test_names_of_places_open_nothing(name, closed):
    for recipe in (
        changed(THREE, "parameters", "backbone", value=name),
        changed(SEGMENTOR, "parameters", "backbone", value=name),
    ):
        with pytest.raises(ValueError, match=r"some/file\.pth"):
            model_of({"model": recipe, "state_dict": {"x": torch.zeros(1)}}, "some/file.pth")


@pytest.mark.parametrize("pretrained", ["hf-hub:owner/name", "timm", "/etc/passwd"])
def test_pretrained_of_the_first_version_is_refused(pretrained, closed):
    for recipe in (SEGMENTOR, TRANSLATOR, GOOD["multimodal_joint"]):
        with pytest.raises(ValueError, match=f"{FILE}.*pretrained"):
            check_recipe(changed(recipe, "parameters", "pretrained", value=pretrained), FILE)


def test_a_range_may_be_as_wide_as_its_unit_needs():
    model = small(
        "map", modalities=("rgb", "lidar"), normalization="range", ranges={"lidar": {"low": 0, "high": 300_000}}
    )
    assert check_recipe(model.recipe) == model.recipe["parameters"]


def test_weights_of_a_training_loss_are_not_opened(closed):
    heads = {"normal": {**HEADS["map"]["normal"], "perceptual": {"weights": "/etc/passwd"}}}
    model = small(None, heads=heads)
    again = model_of({"model": model.recipe, "state_dict": model.state_dict()}, "some/file.pth").eval()
    data = again.data_preprocessor(batch())["inputs"]
    assert equal(again(data), model.eval()(data))


ANSWERS = {
    "modalities": ("depth", "rgb"),
    "backbone": "test_byobnet",
    "fusion": [
        None,
        "late",
        {"name": "asymmetric", "second_shift": "reversed"},
        {"name": "asymmetric", "stages": (1,)},
    ],
    "norm": "affine",
    "weights": "separate",
    "stems": {"depth": "sum"},
    "normalization": "range",
    "statistics": {"depth": {"mean": [2.0], "std": [1.0]}},
    "padding": "none",
    "hallucinate": [True, {"width": 8}],
    "adapters": [4, {"rank": 2, "scale": 0.5}],
    "purification": ["cross", "own", {"stages": [2]}, {"hidden": 4}, {"noise": "always"}],
}
OF_HEADS = {
    "decoder": [{"name": "light", "width": 32}, "refinenet"],
    "num_classes": [7],
    "target": ["seen"],
    "range": [{"low": -2}, {"scale": "linear", "high": 3}],
    "channels": [2],
    "unit": ["encoded"],
}
TRAINING = {"modality_dropout": 0.3, "norm_eval": True, "objectives": [], "freeze": "shared"}
TRAINING_OF_HEADS = {
    "loss": ["ohem"],
    "weight": [0.5],
    "detach_ensemble": [False],
    "l1": [7.0],
    "perceptual": [{"weights": "x"}],
    "adversarial": [ADVERSARIAL],
}


def complete(**options):
    heads = copy.deepcopy(HEADS["both"])
    return recipes.complete(**{"modalities": ("rgb", "depth"), "heads": heads, "backbone": "test_resnet", **options})


def with_head(head, key, value):
    heads = copy.deepcopy(HEADS["both"])
    heads[head][key] = value
    return complete(heads=heads)


@pytest.mark.parametrize("key", sorted(set(complete()) - {"heads", "ranges"}))
def test_every_parameter_that_changes_an_answer_is_named(key):
    if key in TRAINING:
        assert recipe_differences(complete(**{key: TRAINING[key]}), complete()) == []
        return
    for value in ANSWERS[key] if isinstance(ANSWERS[key], list) else [ANSWERS[key]]:
        found = recipe_differences(complete(**{key: value}), complete())
        assert found and any(line.startswith((f"{key}:", f"{key}.")) for line in found), found
        assert len(recipe_differences(complete(), complete(**{key: value}))) == len(found)


@pytest.mark.parametrize("head", HEADS["both"])
def test_so_are_those_of_every_head(head):
    known = set(complete()["heads"][head]) - {"task"}
    assert known <= set(OF_HEADS) | set(TRAINING_OF_HEADS)
    for key in known:
        for value in OF_HEADS.get(key, []):
            found = recipe_differences(with_head(head, key, value), complete())
            assert any(line.startswith(f"heads.{head}.{key}") for line in found), (key, value)
        for value in TRAINING_OF_HEADS.get(key, []):
            assert recipe_differences(with_head(head, key, value), complete()) == [], key
    assert recipe_differences(complete(heads={head: HEADS["both"][head]}), complete())


def test_a_difference_says_both_values():
    ours, theirs = complete(fusion={"name": "asymmetric", "second_shift": "reversed"}), complete()
    (line,) = recipe_differences(ours, theirs)
    assert line == "fusion.second_shift: 'reversed' against None"
    assert recipe_differences(complete(ranges={}, stems={}, statistics=None), complete()) == []
    ranged = [complete(normalization="range", ranges=ranges) for ranges in (None, {"depth": {"high": 80.0}})]
    assert recipe_differences(*ranged) == ["ranges.depth.high: 10.0 against 80.0"]


def test_equal_values_of_other_types_do_not_differ():
    assert recipe_differences(with_head("normal", "range", {"high": 1}), complete()) == []
    stages = [complete(fusion={"name": "asymmetric", "stages": kind([1, 2])}) for kind in (list, tuple)]
    assert recipe_differences(*stages) == []


ADDITION = {"name": "addition"}


def recipe_of(**options):
    return check_recipe(small("classes", **options).recipe)


@pytest.mark.parametrize("ours, theirs", [(None, ADDITION), (ADDITION, None)])
def test_what_one_side_alone_has_is_one_line(ours, theirs):
    pair = recipe_of(fusion=ours), recipe_of(fusion=theirs)
    (line,) = recipe_differences(*pair)
    assert line == f"fusion: {pair[0]['fusion']!r} against {pair[1]['fusion']!r}"


def test_a_head_too():
    one, both = recipe_of(), check_recipe(small("both").recipe)
    name = next(name for name in both["heads"] if name not in one["heads"])
    (line,) = recipe_differences(one, both)
    assert line.startswith(f"heads.{name}: absent against {{'")


@pytest.mark.parametrize("nothing", [None, {}])
def test_an_empty_dict_says_nothing(nothing):
    assert recipe_differences({**recipe_of(), "stems": {}}, {**recipe_of(), "stems": nothing}) == []


def test_recipes_of_the_first_version_equal_the_same_parameters_of_today():
    found = check_recipe({"builder": "multimodal_segmentor", "parameters": SEGMENTOR["parameters"]})
    assert found == rgbx.models.multimodal_segmentor(**SEGMENTOR["parameters"]).recipe["parameters"]
    assert run(small("classes").eval(), batch())["labels"].keys() == {"rgb", "depth", "ensemble"}
