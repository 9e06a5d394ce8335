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
    None, True, 0, -1, 1, 2, 10**6, 10**400, -(10**9), 0.5, -2.5, 1e308, math.nan, math.inf, -math.inf, "", "ensemble",
    "rgb", "x" * 10**6, "../../etc/passwd", "hf-hub:x/y", "local-dir:/tmp", "timm", "\0", "os.system", "private", "mean",
    [], [None], ["rgb"] * 3, ["rgb", 3], [[["a"]]], [1] * 30_000, {}, {"name": None}, {"name": "unet", "width": 10**6},
    {"name": []}, {1: 2}, {"": {}}, {"low": "a", "high": []}, {"rgb": {"mean": "x", "std": [0]}}, b"bytes", object(),
    {1, 2}, lambda: None, torch.ones(2), int, deep(30), deep(2_000), {str(i): i for i in range(30_000)}, ("rgb", "depth"),
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
        holder[rng.choice(["name", "width", "pretrained", "weights", "backbone", "x", "lambda", 3, ""])] = rng.choice(STRANGE)
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
    rng, accepted, start = random.Random(name), 0, time.monotonic()
    for turn in range(1500):
        recipe = mutated(GOOD[name], rng)
        began = time.monotonic()
        try:
            parameters = check_recipe(recipe, FILE)
        except ValueError as error:
            assert FILE in str(error)
            assert len(str(error)) < 2000
        else:
            accepted += 1
            if turn % 10 == 0:
                with pytest.raises(ValueError, match="some/file.pth"):
                    model_of({"model": recipe, "state_dict": {"x": torch.zeros(1)}}, "some/file.pth")
                assert check_recipe({"builder": "multimodal", "parameters": parameters}) == parameters
        assert time.monotonic() - began < 20, recipe
    assert 50 < accepted < 1500
