"""docs/objectives.md does what it says: its objectives are trained and logged, and left out where a model predicts."""

from __future__ import annotations

import importlib
import inspect
import itertools
import json
import re
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from rgbx.cli.config import load_config
from rgbx.objectives import OBJECTIVES, Site, Step, build_objective, complete_objectives

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "objectives.md").read_text()
FENCED = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PARTS = {part.split("\n", 1)[0]: part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)}
ADD, AGAINST = PARTS["Add an objective"], PARTS["Against an opponent"]
(_, FILE, CODE), (_, CONFIG, TEXT), (_, _, COMMANDS), (_, _, LOAD) = FENCED.findall(ADD)
(_, GAMES, GAMES_CODE), (_, GAMES_CONFIG, GAMES_TEXT), (_, _, GAMES_COMMANDS) = FENCED.findall(AGAINST)
SMALL = "model.update(backbone='test_resnet', modality_dropout=None)\n"  # quick, and all modalities in every step


@pytest.fixture
def imported(place, monkeypatch):
    """Writes a file of the page and imports it, so that it can be watched; afterwards it is forgotten."""
    known = dict(OBJECTIVES)
    monkeypatch.syspath_prepend(str(place))

    def write(name, code):
        (place / name).write_text(code)
        return importlib.import_module(Path(name).stem)

    yield write
    OBJECTIVES.clear()
    OBJECTIVES.update(known)
    for name in (FILE, GAMES):
        sys.modules.pop(Path(name).stem, None)


def scalars(folder):
    """What was logged at the end of each epoch, after 8 steps and 16: of losses the means over the last ten at most."""
    (file,) = Path(folder).rglob("scalars.json")
    return [line for line in map(json.loads, file.read_text().splitlines()) if "loss" in line]


def check_sum(line):
    """The loss is the sum of all that are logged."""
    assert line["loss"] == pytest.approx(sum(x for name, x in line.items() if name.startswith("loss_")), rel=1e-5)


def distance(features):
    """CORAL's by its definition, of features {modality: [N, d, h, w]}: numpy's covariances, entry by entry."""
    rows = [np.moveaxis(x.double().numpy(), 1, 0).reshape(x.shape[1], -1) for x in features.values()]
    entries = [(np.cov(a) - np.cov(b)).ravel() for a, b in itertools.combinations(rows, 2)]
    return float(np.mean([sum(e * e for e in found) / (4 * len(rows[0]) ** 2) for found in entries]))


def test_an_objective_of_the_user(place, imported, run_tools, monkeypatch):
    kind = imported(FILE, CODE).Coral
    (place / CONFIG).write_text(TEXT + SMALL)
    seen, forward = [], kind.forward

    def watched(self, step):
        seen.append({name: x.detach().float() for name, x in step.features[-1].items()})
        return forward(self, step)

    monkeypatch.setattr(kind, "forward", watched)
    run_tools(COMMANDS)
    logged = scalars("work_dirs/coral")
    assert len(seen) == 16 and len(logged) == 2
    for line, steps in zip(logged, (seen[:8], seen[6:]), strict=True):
        check_sum(line)
        assert line["loss_coral_distance"] == pytest.approx(0.1 * np.mean([distance(x) for x in steps]), rel=1e-4)
    check_loading()


def check_loading():
    """As where the file was never imported."""
    trained = torch.load("work_dirs/coral/epoch_2.pth", weights_only=True)
    assert trained["model"]["parameters"]["objectives"] == [{"name": "coral", "weight": 0.1, "stage": -1}]
    del OBJECTIVES["coral"], sys.modules["coral"]
    loaded = {}
    exec(LOAD, loaded)
    model = loaded["model"]
    assert list(model.modalities) == ["rgb", "depth"] and not len(model.objectives)
    for name, x in model.state_dict().items():
        torch.testing.assert_close(x, trained["state_dict"][name], msg=name)


def test_coral(imported):
    """With three modalities and two, at another stage, with one alone, and where there are no branches."""
    imported(FILE, CODE)
    site = Site(("a", "b", "c"), (4, 6), {})
    built = build_objective(*complete_objectives([dict(name="coral", stage=0)]), site)
    stages = [{name: torch.randn(2, c, 3, 5) * (i + 1) for i, name in enumerate("abc")} for c in (4, 6)]
    for names in ("abc", "ac"):
        features = [{name: stage[name] for name in names} for stage in stages]
        (found,) = built(Step({}, features, {}, {}, {})).values()
        assert float(found) == pytest.approx(distance(features[0]), rel=1e-4)
    assert built(Step({}, [{"a": stage["a"]} for stage in stages], {}, {}, {})) == {}
    with pytest.raises(ValueError, match="merges them"):
        build_objective(*complete_objectives(["coral"]), site._replace(merged=True))


def test_on_the_command_line(place, imported):
    imported(FILE, CODE)
    (place / CONFIG).write_text(TEXT)
    (option,) = re.findall(r'--cfg-options "(model\.objectives=.*)"', PAGE)
    config = load_config(CONFIG, options=[option, "model.objectives.0.weight=0.3"])
    assert config.model.objectives == [{"name": "coral", "weight": 0.3}]
    for text in re.findall(r"^    model\.update\((objectives=.*?)\) +#", PAGE, re.MULTILINE):
        (options,) = complete_objectives(eval(f"dict({text})")["objectives"])
        assert options["name"] == "coral" and options["stage"] == -1


def nll(critic, features):
    """Of the right names, and of all: by softmax in numpy, position by position."""
    right, every = [], []
    for index, x in enumerate(features.values()):
        first, _, last = critic.layers
        rows = x.double().movedim(1, -1).reshape(-1, x.shape[1]).numpy()
        weights = [(p.weight.detach().double().numpy()[:, :, 0, 0], p.bias.detach().numpy()) for p in (first, last)]
        scores = np.maximum(rows @ weights[0][0].T + weights[0][1], 0) @ weights[1][0].T + weights[1][1]
        told = np.log(np.exp(scores) / np.exp(scores).sum(1, keepdims=True))
        right.append(-told[:, index].mean())
        every.append(-told.mean())
    return float(np.mean(right)), float(np.mean(every))


def test_two_games(place, imported, run_tools, monkeypatch):
    """In full precision, so that the critics can be computed anew from what they saw."""
    games = imported(GAMES, GAMES_CODE)
    (place / GAMES_CONFIG).write_text(f"{GAMES_TEXT}{SMALL}optim_wrapper.update(dtype=None)\n")
    render, _ = COMMANDS.splitlines()
    expected = {name: [] for name in ("alike", "opponent", "reversed")}
    passes, weights = [], []

    def watch(kind, method, key, critic, index):
        plain = getattr(kind, method)

        def watched(self, step):
            network = getattr(self, critic)
            passes.append((key, next(network.parameters()).requires_grad, step.features[-1]["rgb"]))
            expected[key].append(0.1 * nll(network, {n: x.detach() for n, x in step.features[-1].items()})[index])
            if key == "opponent":
                weights.append([p.detach().clone() for p in network.parameters()])
            return plain(self, step)

        monkeypatch.setattr(kind, method, watched)

    watch(games.Alike, "forward", "alike", "opponent", 1)
    watch(games.Alike, "opponent_losses", "opponent", "opponent", 0)
    watch(games.Reversed, "forward", "reversed", "critic", 0)
    run_tools(f"{render}\n{GAMES_COMMANDS}")
    logged = scalars("work_dirs/alike")
    names = {"loss_alike_confusion": "alike", "discriminator": "opponent", "loss_reversed_critic": "reversed"}
    for line, steps in zip(logged, (slice(0, 8), slice(6, 16)), strict=True):
        check_sum(line)
        for name, key in names.items():
            values = expected[key][steps][-1:] if name == "discriminator" else expected[key][steps]
            assert line[name] == pytest.approx(np.mean(values), rel=1e-4), name
        assert line["discriminator.lr"] == pytest.approx(line["generator.lr"] / 2)  # 1e-3 beside 2e-3
    turns = [passes[i : i + 3] for i in range(0, len(passes), 3)]
    assert all([key for key, *_ in turn] == ["alike", "reversed", "opponent"] for turn in turns)
    assert all([trained for _, trained, _ in turn] == [False, True, True] for turn in turns)
    for (_, _, first), _, (_, _, again) in turns:
        assert first.requires_grad and not again.requires_grad and torch.equal(first, again)
    assert any(not torch.equal(a, b) for a, b in zip(weights[0], weights[-1], strict=True)), "the opponent learns"
    saved = torch.load("work_dirs/alike/epoch_2.pth", weights_only=True)["state_dict"]
    assert any(name.startswith("objectives.alike.opponent.") for name in saved)


def test_the_reversed_gradient(imported):
    """The critic is pushed to tell more, the features, `scale` times as much, to tell less."""
    games = imported(GAMES, GAMES_CODE)
    torch.manual_seed(0)
    built = build_objective(
        *complete_objectives([dict(name="reversed", width=3, scale=0.25)]), Site(("a", "b"), (4,), {})
    )
    assert isinstance(built, games.Reversed)
    features = {name: torch.randn(2, 4, 3, 3, requires_grad=True) for name in "ab"}
    wanted = [*features.values(), *built.parameters()]
    plain = torch.autograd.grad(built.critic.loss(features), wanted)
    (loss,) = built(Step({}, [features], {}, {}, {})).values()
    found = torch.autograd.grad(loss, wanted)
    for i, (a, b) in enumerate(zip(found, plain, strict=True)):
        torch.testing.assert_close(a, b * (-0.25 if i < 2 else 1.0))


def rows(text):
    """First and second cells of the tables' lines, without code ticks."""
    cells = re.findall(r"^\| (.+?) \| (.+?) \|(?: .*\|)?$", text, re.MULTILINE)
    return {first.strip("`"): second for first, second in cells if set(first) != {"-"}}


def test_the_table_holds_every_objective_of_rgbx():
    """With the first lines of their files."""
    own = {name: sys.modules[kind.__module__] for name, kind in OBJECTIVES.items() if kind.__module__[:5] == "rgbx."}
    table = rows(PARTS["Objectives that come with rgbx"])
    assert table.pop("name") == "objective"
    assert table == {name: inspect.getdoc(file).splitlines()[0] for name, file in own.items()}


def test_the_tables_name_all_that_an_objective_sees():
    site, step = PARTS["What an objective sees"].split("| `step.` |")
    assert set(rows(site)) - {"site."} == set(Site._fields)
    told = {name.split("(")[0] for name in rows(step)} - {"is"}
    members = {*vars(Step), *(field.name for field in fields(Step))}
    assert told == {name for name in members if not name.startswith("_")}
