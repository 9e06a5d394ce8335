"""What all objectives share: options and their messages, the table by name, and what a step holds."""

import pkgutil

import pytest
import torch
import torch.nn.functional as F
from made_objectives import Gap, Judge, made_objectives  # noqa: F401
from torch import Tensor

import rgbx.objectives
from rgbx.objectives import OBJECTIVES, Objective, Site, Step, build_objective, complete_objectives, objective
from rgbx.tasks import Classes, Map, Target

SITE = Site(("rgb", "depth"), (4, 8), {"labels": Classes("labels", num_classes=3)})


@pytest.mark.usefixtures("made_objectives")
def test_every_default_is_filled_in():
    gap = {"name": "test_gap", "weight": 1.0, "stages": None, "power": 1.0}
    assert complete_objectives([]) == complete_objectives(()) == []
    assert complete_objectives(["test_gap"]) == [gap]
    given = [{"name": "test_judge", "weight": 0}, {"power": 2, "name": "test_gap"}]
    found = complete_objectives(given)
    assert found == [{"name": "test_judge", "weight": 0, "width": 4}, {**gap, "power": 2}]
    assert complete_objectives(found) == found
    assert given[1] == {"power": 2, "name": "test_gap"}, "what was given is left as it is"


@pytest.mark.usefixtures("made_objectives")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("test_gap", "objectives are 'test_gap'; expected a list such as"),
        ({"name": "test_gap"}, r"objectives are {'name': 'test_gap'}; expected a list"),
        (None, "objectives are None; expected a list"),
        (3, "objectives are 3; expected a list"),
        ([3], "an objective is 3; expected one of .*test_gap.*, or a dict of a name and options"),
        ([None], "an objective is None; expected one of"),
        ([{"weight": 1.0}], r"an objective is {'weight': 1.0}; expected one of"),
        ([{"name": ["test_gap"]}], "an objective is .*; expected one of"),
        (["test_gab"], "an objective is 'test_gab'.*did you mean 'test_gap'.*once its file is imported"),
        ([{"name": "test_gap", "powre": 2}], "objective 'test_gap' has no option 'powre'.*did you mean 'power'"),
        ([{"name": "test_gap", "site": 2}], "objective 'test_gap' has no option 'site'"),
        ([{"name": "test_gap", 3: 4}], "objective 'test_gap' has no option 3; it has"),
        ([{"name": "test_gap", "weight": 10**400}], "weight of objective 'test_gap' is 10+; expected a number"),
        (["test_gap", {"name": "test_gap", "power": 2}], "objective 'test_gap' is given twice"),
        ([{"name": "test_gap", "weight": -0.5}], "weight of objective 'test_gap' is -0.5; expected a number of at"),
        ([{"name": "test_gap", "weight": float("nan")}], "weight of objective 'test_gap' is nan"),
        ([{"name": "test_gap", "weight": float("inf")}], "weight of objective 'test_gap' is inf"),
        ([{"name": "test_gap", "weight": True}], "weight of objective 'test_gap' is True"),
        ([{"name": "test_gap", "weight": "1"}], "weight of objective 'test_gap' is '1'"),
        (["test_scaled"], "objective 'test_scaled' lacks its option 'start'"),
    ],
)
def test_what_is_no_objective_is_named(given, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        complete_objectives(given)


def test_the_message_shows_one_that_there_is():
    with pytest.raises(ValueError, match="objectives are None") as error:
        complete_objectives(None)
    assert any(repr(name) in str(error.value) for name in OBJECTIVES)


@pytest.mark.usefixtures("made_objectives")
def test_building_gives_the_weight_and_the_options():
    (options,) = complete_objectives([{"name": "test_gap", "weight": 3, "power": 2}])
    built = build_objective(options, SITE)
    assert (built.weight, built.power, built.site) == (3.0, 2, SITE)
    assert Gap.weight == 1.0 and built.opponent is None
    assert options == {"name": "test_gap", "weight": 3, "stages": None, "power": 2}
    assert list(built.state_dict()) == []


def test_an_opponent_is_the_module_that_was_set():
    judge = Judge(SITE)
    assert isinstance(judge.opponent, torch.nn.Sequential)
    assert {name.split(".")[0] for name in judge.state_dict()} == {"opponent"}


def test_a_name_belongs_to_one_file():
    class First(Objective):
        pass

    class Second(Objective):
        pass

    stranger = type("Third", (Objective,), {"__module__": "elsewhere"})
    try:
        assert objective("test_named")(First) is First
        assert objective("test_named")(Second) is OBJECTIVES["test_named"] is Second
        assert First.name == Second.name == "test_named"
        with pytest.raises(ValueError, match=r"objective .test_named. is defined in .*test_base and in elsewhere"):
            objective("test_named")(stranger)
    finally:
        OBJECTIVES.pop("test_named", None)


def test_a_new_objective_is_a_new_file():
    files = {module.name for module in pkgutil.iter_modules(rgbx.objectives.__path__)} - {"base"}
    owners = {kind.__module__.rpartition(".")[2] for kind in OBJECTIVES.values()}
    assert files <= owners
    assert all(kind.name == name and kind.weight == 1.0 for name, kind in OBJECTIVES.items())
    assert all(kind.__doc__ for kind in OBJECTIVES.values())


def test_an_opponent_needs_losses():
    class Mute(Judge):
        opponent_losses = Objective.opponent_losses

    with pytest.raises(NotImplementedError, match="'test_judge' has an opponent without losses"):
        Mute(SITE).opponent_losses(None)


def made(loss="cross_entropy", names=("rgb", "depth"), ungated=None):
    """A step of one head of classes and one of a map, whose first image has no label and no measurement at all."""
    g = torch.Generator().manual_seed(0)
    draw = lambda c: torch.randn(3, c, 4, 5, generator=g).requires_grad_()  # noqa: E731
    tasks = {
        "labels": Classes("labels", num_classes=3, loss=loss),
        "dense": Map("dense", unit="metre", l1=2.0, range={"low": 0, "high": 10}),
    }
    label = torch.randint(0, 3, (3, 4, 5), generator=g)
    label[1, :2], label[0] = 255, 255
    truth = torch.rand(3, 1, 4, 5, generator=g) * 9
    valid = torch.rand(3, 1, 4, 5, generator=g) > 0.3
    valid[0] = False
    return Step(
        {name: torch.rand(3, 1, 4, 5, generator=g) for name in names},
        [{name: draw(2) for name in names}],
        {head: {name: draw(c) for name in (*names, "ensemble")} for head, c in (("labels", 3), ("dense", 1))},
        {"labels": Target(label), "dense": Target(truth, valid)},
        tasks,
        ungated,
    )


def ohem(logits, label):
    """Of the labelled pixels those whose true class is below 0.7, at least the hardest sixteenth; as a loop."""
    found = []
    for plane, truth in zip(logits.flatten(1).T, label.flatten().tolist(), strict=True):
        if truth != 255:
            found.append(F.cross_entropy(plane[None], torch.tensor([truth])))
    found.sort(key=Tensor.item, reverse=True)
    least = max(1, round(len(found) / 16))
    kept = [x for i, x in enumerate(found) if i < least or x.exp() >= 1 / 0.7]
    return torch.stack(kept).mean() if kept else logits.sum() * 0


def entropy(weights=(1.0, 1.0, 1.0)):
    """The weighted mean over labelled pixels, as a loop."""

    def loss(logits, label):
        terms, total = logits.sum() * 0, 0.0
        for plane, truth in zip(logits.flatten(1).T, label.flatten().tolist(), strict=True):
            if truth != 255:
                terms = terms - weights[truth] * plane.log_softmax(0)[truth]
                total += weights[truth]
        return terms / total if total else terms

    return loss


LOSSES = {
    "cross_entropy": ("cross_entropy", entropy()),
    "class weights": ({"name": "cross_entropy", "class_weights": [1.0, 4.0, 0.5]}, entropy([1.0, 4.0, 0.5])),
    "ohem": ("ohem", ohem),
    "sum": ({"cross_entropy": 2.0, "ohem": 0.5}, lambda x, y: 2 * entropy()(x, y) + 0.5 * ohem(x, y)),
}


@pytest.mark.parametrize(("loss", "by_loop"), LOSSES.values(), ids=LOSSES)
def test_losses_of_images_are_those_of_a_loop(loss, by_loop):
    step = made(loss)
    found = step.sample_losses("labels")
    assert list(found) == ["rgb", "depth"]
    label = step.targets["labels"].truth
    for name, losses in found.items():
        logits = step.outputs["labels"][name]
        expected = torch.stack([by_loop(logits[i], label[i]) for i in range(3)])
        torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)
        assert losses[0] == 0 and losses[1:].all()
        gradients = [torch.autograd.grad(x.sum(), logits, retain_graph=True)[0] for x in (losses, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_losses_of_images_of_a_map():
    step = made()
    truth, valid = step.targets["dense"]
    for name, losses in step.sample_losses("dense").items():
        image = step.outputs["dense"][name]
        scaled = (truth / 5 - 1).clamp(-1, 1)
        each = [2 * (image[i] - scaled[i])[valid[i]].abs().mean() for i in (1, 2)]
        torch.testing.assert_close(losses, torch.stack([torch.zeros(()), *each]), rtol=1e-5, atol=1e-6)


def test_they_are_computed_once_a_step(monkeypatch):
    calls = []
    usual = Classes.losses
    monkeypatch.setattr(Classes, "losses", lambda *arguments: calls.append(1) or usual(*arguments))
    outputs = made().outputs
    step = made(ungated=lambda: calls.append("open") or outputs)
    first = step.sample_losses("labels")
    assert step.sample_losses("labels") is first and len(calls) == 6
    assert step.open_losses("labels") is step.open_losses("labels")
    assert step.open_branches("dense") == step.open_branches("dense")
    assert len(calls) == 13 and calls.count("open") == 1
    assert set(step.open_branches("labels")) == {"rgb", "depth"}
    assert step.open_branches("labels")["rgb"] is outputs["labels"]["rgb"]


def test_what_opponents_see_has_no_gradients():
    step = made(ungated=dict)
    step.sample_losses("labels")
    seen = step.detached()
    assert seen.ungated is None and seen.present == step.present == ("rgb", "depth")
    held = [*seen.features[0].values(), *(x for head in seen.outputs.values() for x in head.values())]
    own = [*step.features[0].values(), *(x for head in step.outputs.values() for x in head.values())]
    assert len(held) == 8
    for x, mine in zip(held, own, strict=True):
        assert torch.equal(x, mine) and mine.requires_grad and not x.requires_grad
    losses, kept = seen.sample_losses("labels")["rgb"], step.sample_losses("labels")["rgb"]
    assert torch.equal(losses, kept) and kept.requires_grad and not losses.requires_grad


def test_a_network_without_gates_has_no_open_ones():
    for ask in (Step.open_branches, Step.open_losses):
        with pytest.raises(ValueError, match="the network has no gates: set purification in the model"):
            ask(made(), "labels")


def test_merged_modalities_have_no_branches():
    step = made(names=())
    assert step.present == () and step.branches("labels") == {} and step.sample_losses("labels") == {}
