"""Objectives in a model: what a step shows them, what they add, and that nothing of them is there when one predicts."""

import copy

import pytest
import torch
from made_objectives import enter, forget, made_objectives  # noqa: F401
from mmengine.optim import OptimWrapper, OptimWrapperDict
from small_models import HEADS, UNET, batch, equal, run, small

import rgbx
from rgbx.cli.errors import ConfigError
from rgbx.cli.model import model_from
from rgbx.convert import slim
from rgbx.models import MultimodalModel
from rgbx.models.checkpoint import read_checkpoint, to_plain
from rgbx.models.load import model_of
from rgbx.models.recipe import check_recipe, recipe_differences
from rgbx.objectives import OBJECTIVES, Objective
from rgbx.train.loops import training_step

pytestmark = pytest.mark.usefixtures("made_objectives")
GAP, SCALED, JUDGE = {"name": "test_gap"}, {"name": "test_scaled", "start": 0.5}, {"name": "test_judge"}


def seen(model, data=None, mode="loss"):
    """The step that a training pass shows to the first objective, and the losses of that pass."""
    steps, (each, *_) = [], model.objectives.values()
    hook = each.register_forward_pre_hook(lambda module, arguments: steps.append(arguments[0]))
    losses = run(model, batch() if data is None else data, mode)
    hook.remove()
    return steps[0], losses if mode == "loss" else losses[0]


KINDS = {
    "asymmetric": dict(),
    "three modalities": dict(modalities=("rgb", "depth", "thermal")),
    "late": dict(fusion="late"),
    "generator": dict(kind="map", backbone=UNET),
    "one": dict(modalities=("rgb",)),
}


class Broken(Objective):
    """Gives what it was told to."""

    name = "broken"

    def __init__(self, found):
        super().__init__()
        self.found = found

    def forward(self, step):
        return self.found


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (torch.zeros(()), r"'broken' gives a tensor float32 \[\] instead of a dict"),
        (None, "'broken' gives NoneType instead of a dict"),
        ({"x": torch.zeros(2)}, r"'broken' gives 'x', a tensor float32 \[2\]; expected a dict of scalar tensors"),
        ({"x": torch.zeros(()) > 0}, r"'broken' gives 'x', a tensor bool \[\]; expected a dict of scalar tensors"),
        ({"x": 1.0}, "'broken' gives 'x', float"),
    ],
)
def test_what_cannot_be_added_up_is_named(found, told):
    model = small("classes")
    model.objectives["broken"] = Broken(found)
    with pytest.raises(ValueError, match=told):
        run(model, batch(), "loss")


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_a_step_is_what_the_heads_read_and_put_out(options):
    """Features are slices of the very stacks that the decoders got; outputs are those of the model, at full size."""
    model = small(**{"kind": "both", **options}, objectives=[GAP])
    stacks = []
    decoder = next(iter(model.heads.values())).decoder
    hook = decoder.register_forward_pre_hook(lambda module, arguments: stacks.append(arguments[0]))
    step, _ = seen(model)
    hook.remove()
    names, (stack, *_) = model.modalities, stacks
    assert step.present == tuple(step.inputs) == names
    assert len(step.features) == len(stack) == len(model.backbone.channels)
    for i, (stage, whole) in enumerate(zip(step.features, stack, strict=True)):
        assert list(stage) == list(names)
        assert torch.equal(torch.cat(list(stage.values())), whole)
        assert all(len(x) == 2 and x.shape[1] == model.backbone.channels[i] for x in stage.values())
    assert list(step.outputs) == list(step.tasks) == list(model.heads)
    again = run(model, batch())
    for head, outputs in step.outputs.items():
        assert list(outputs) == [*names, "ensemble"] and list(step.branches(head)) == list(names)
        assert all(x.shape[-2:] == (34, 50) and x.requires_grad for x in outputs.values())
        assert step.tasks[head] is model.heads[head].task
        if options.get("backbone") is not UNET:  # which drops out at random
            assert equal(dict(outputs), dict(again[head]))
    assert torch.equal(step.targets[head].truth, model.data_preprocessor(batch())["targets"][head].truth)


def test_of_merged_modalities_the_ensemble_is_shown():
    model = small("classes", fusion="early", objectives=[JUDGE])
    model.objectives["test_judge"].modalities = ("ensemble",)
    step, losses = seen(model, mode="generator")
    assert step.present == ("rgb", "depth") and "loss_test_judge_fool" in losses
    assert all(list(stage) == ["ensemble"] and len(stage["ensemble"]) == 2 for stage in step.features)
    assert step.branches("labels") == {} and step.sample_losses("labels") == {}


def test_modality_dropout_decides_what_is_there():
    model = small("classes", modalities=("rgb", "depth", "thermal"), modality_dropout=1.0, objectives=[GAP])
    found = set()
    for seed in range(12):
        model.set_epoch_seed(seed)
        step, losses = seen(model)
        assert all(tuple(stage) == step.present for stage in step.features)
        assert tuple(step.branches("labels")) == step.present
        assert any("gap" in key for key in losses) == (len(step.present) > 1)
        found.add(step.present)
    assert {len(names) for names in found} == {1, 2}


def test_losses_of_a_step_are_weighted_and_named():
    """By one head and by several alike; the others' losses are as they were."""
    for kind in ("classes", "three"):
        plain = run(small(kind), batch(), "loss")
        step, _ = seen(small(kind, objectives=[GAP]))
        found = run(
            small(kind, objectives=[{**GAP, "weight": 0.25, "stages": [0, 3], "power": 2}, SCALED]), batch(), "loss"
        )
        assert list(found)[: len(plain)] == list(plain)
        assert list(found)[len(plain) :] == [
            "loss_test_gap_stage0", "loss_test_gap_stage3", "loss_test_scaled_product"
        ]  # fmt: skip
        assert all(torch.equal(found[name], x) for name, x in plain.items())
        for i in (0, 3):
            expected = 0.25 * (step.features[i]["rgb"] - step.features[i]["depth"]).abs().mean() ** 2
            torch.testing.assert_close(found[f"loss_test_gap_stage{i}"], expected)
        product = step.features[-1]["rgb"].mean((0, 2, 3)).sum() * 0.5
        torch.testing.assert_close(found["loss_test_scaled_product"], product**2)


@pytest.mark.parametrize("kind", ["classes", "both"])
def test_without_objectives_a_model_is_as_it_was(kind):
    """To the last bit: losses, parameters and their gradients, state dict, and the random numbers that it draws."""
    before, after = (small(kind, **options) for options in ({}, {"objectives": []}))
    assert before.recipe == after.recipe and before.recipe["parameters"]["objectives"] == []
    assert list(before.state_dict()) == list(after.state_dict()) and equal(before.state_dict(), after.state_dict())
    assert not any(name.startswith("objectives") for name in after.state_dict())
    bare = MultimodalModel(
        before.backbone, dict(before.heads.items()), before.data_preprocessor, padding=before.padding
    )  # never heard of the parameter
    assert list(bare.state_dict()) == list(after.state_dict())
    first, second = run(bare, batch(), "loss"), run(after, batch(), "loss")
    assert equal(first, second)
    sum(first.values()).backward(), sum(second.values()).backward()
    for (name, p), q in zip(bare.named_parameters(), after.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad) if p.grad is not None else q.grad is None, name
    assert not after.needs_unused_parameter_search and not after.alternates and after.opponents == []


def test_objectives_leave_the_first_weights_alone():
    """They are made after the rest, so that runs with and without are compared from one start."""
    plain, judged = small("both").state_dict(), small("both", objectives=[SCALED, JUDGE]).state_dict()
    own = {name for name in judged if name.startswith("objectives.")}
    assert len(own) == 6 and set(judged) - own == set(plain)
    assert all(torch.equal(judged[name], x) for name, x in plain.items())


def test_what_contradicts_is_refused():
    for objectives, message in (
        (["test_gab"], "an objective is 'test_gab'.*did you mean 'test_gap'"),
        ("test_gap", "objectives are 'test_gap'; expected a list"),
        ([{**SCALED, "start": object()}], "expected plain numbers"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            small("classes", objectives=objectives)
    with pytest.raises(ValueError, match="no head may be called 'test_gap': that is the name of an objective"):
        small(None, heads={"test_gap": HEADS["classes"]["labels"]}, objectives=[GAP])


def written(model, path):
    torch.save({"state_dict": model.state_dict(), "model": to_plain(model.recipe)}, path)
    return path


@pytest.fixture
def saved(tmp_path):
    """A model with three objectives after some steps, its checkpoint, and what it answers."""
    model = small("both", objectives=[GAP, SCALED, JUDGE])
    training_step(model, batch(), wrappers(model))
    return model.eval(), written(model, tmp_path / "epoch_1.pth")


def wrappers(model):
    parts = {True: [], False: []}
    for name, p in model.named_parameters():
        parts[".opponent." in name].append(p)
    make = lambda found: OptimWrapper(torch.optim.SGD(found, lr=0.05))  # noqa: E731
    return OptimWrapperDict(generator=make(parts[False]), discriminator=make(parts[True]))


@pytest.mark.parametrize("known", [True, False])
def test_a_loaded_model_has_none_and_answers_alike(saved, known):
    """Also where nobody imported the file of the objectives."""
    model, path = saved
    names = [each["name"] for each in model.recipe["parameters"]["objectives"]]
    assert names == ["test_gap", "test_scaled", "test_judge"]
    if not known:
        forget()
    loaded = rgbx.load(path)
    assert len(loaded.objectives) == 0 and loaded.recipe["parameters"]["objectives"] == []
    assert not any(name.startswith("objectives") for name in loaded.state_dict())
    assert loaded.opponents == [] and not loaded.alternates
    with torch.no_grad():
        assert equal(run(loaded, batch()), run(model, batch()))


def test_a_checkpoint_of_an_unknown_objective_beside_a_config(saved):
    """`rgbx test CONFIG CHECKPOINT`: recipes that differ in objectives answer alike, others are named as ever."""
    model, path = saved
    state = read_checkpoint(path)
    with torch.no_grad():
        expected = run(model, batch())
        trained = small("both", objectives=[{**SCALED, "start": 9.0}, GAP])
        found = model_from(trained, state, path)
        assert equal(run(found, batch()), expected)
        forget()
        for which in (None, "config", "checkpoint"):
            assert equal(run(model_from(small("both"), state, path, which), batch()), expected)
        enter()
        kept = model_from(small("both", objectives=[{**SCALED, "start": 9.0}]), state, path, "config")
    assert kept.objectives["test_scaled"].scale.unique().tolist() == [9.0], "those of a config stay as they are"
    forget()
    with pytest.raises(ConfigError, match=r"fusion.*against"):
        model_from(small("both", fusion="late"), state, path)


def test_training_goes_on_only_with_the_file(saved):
    model, _ = saved
    assert check_recipe(model.recipe) == model.recipe["parameters"]
    forget()
    with pytest.raises(ValueError, match=r"an objective is .*test_gap.*is known once its file is imported"):
        check_recipe(model.recipe)
    assert check_recipe(model.recipe, answering=True)["objectives"] == []


def test_recipes_without_the_key_mean_none(tmp_path):
    """As checkpoints have it that were written before there were objectives."""
    model = small("both").eval()
    recipe = copy.deepcopy(model.recipe)
    del recipe["parameters"]["objectives"]
    assert check_recipe(recipe) == model.recipe["parameters"]
    assert recipe_differences(check_recipe(recipe), check_recipe(small("both", objectives=[GAP]).recipe)) == []
    torch.save({"state_dict": model.state_dict(), "model": recipe}, tmp_path / "old.pth")
    with torch.no_grad():
        assert equal(run(rgbx.load(tmp_path / "old.pth"), batch()), run(model, batch()))


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ([{"name": f"x{i}"} for i in range(100)], "has 100 objectives; expected at most 64"),
        ([{"name": "test_gap", "power": 10**9}], r"objectives\.0\.power is 1000000000"),
        ([{"name": "test_gap", "site": None}], "no option 'site'"),
        (7, "objectives are 7"),
    ],
)
def test_strange_recipes_are_refused(objectives, message):
    recipe = copy.deepcopy(small("both").recipe)
    recipe["parameters"]["objectives"] = objectives
    with pytest.raises(ValueError, match=f"^some/file.*{message}"):
        check_recipe(recipe, "some/file.pth")


def test_slimming_leaves_them_out(saved, tmp_path):
    model, path = saved
    forget()
    slim(path, tmp_path / "slim.pth")
    content = torch.load(tmp_path / "slim.pth", weights_only=True)
    assert content["model"]["parameters"]["objectives"] == []
    assert set(content["state_dict"]) == {name for name in model.state_dict() if not name.startswith("objectives.")}
    assert rgbx.load(tmp_path / "slim.pth").recipe == small("both").recipe


class Exported(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, rgb, depth):
        return self.model({"rgb": rgb, "depth": depth})


@torch.no_grad()
def test_exports_have_none_in_their_graph():
    model = small("classes", objectives=[SCALED, JUDGE]).eval()
    maps = torch.randn(2, 3, 32, 64), torch.randn(2, 1, 32, 64)
    program = torch.export.export(Exported(model), maps)
    torch.testing.assert_close(program.module()(*maps), Exported(model)(*maps))
    used = {str(node.target) for node in program.graph.nodes if node.users}
    assert not any("objectives" in name for name in used) and any("backbone" in name for name in used)


def test_an_opponent_trains_beside_the_rest():
    """Each loss trains its own side, through features that the other made."""
    model = small("both", objectives=[{**JUDGE, "weight": 0.5}, GAP])
    data = model.data_preprocessor(batch())
    losses, shown = model(**data, mode="generator")
    assert shown.images == {} and "loss_test_judge_tell" not in losses
    judged = model(**data, shown=shown, mode="discriminator")
    assert list(judged) == ["loss_test_judge_tell"]
    torch.testing.assert_close(judged["loss_test_judge_tell"], -losses["loss_test_judge_fool"])
    features = {name: x.mean((2, 3)) for name, x in shown.step.features[-1].items()}
    opponent = model.objectives["test_judge"].opponent
    found = [opponent(x).log_softmax(1)[:, i] for i, x in enumerate(features.values())]
    torch.testing.assert_close(judged["loss_test_judge_tell"], -0.5 * torch.cat(found).mean())
    judged["loss_test_judge_tell"].backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {name for name, _ in model.named_parameters() if ".opponent." in name}
    assert model.alternates and model.opponents == [opponent] and model.needs_unused_parameter_search


def test_an_opponent_of_a_head_and_one_of_an_objective():
    heads = {"normal": {"task": "map", "adversarial": {"discriminator": {"width": 4, "layers": 2}}}}
    model = small(None, heads=heads, backbone=UNET, objectives=[JUDGE])
    data = model.data_preprocessor(batch())
    losses, shown = model(**data, mode="generator")
    assert {"loss_adversarial", "loss_test_judge_fool"} < set(losses)
    judged = model(**data, shown=shown, mode="discriminator")
    assert set(judged) == {"loss_discriminator", "loss_test_judge_tell"} and len(model.opponents) == 2
    before = copy.deepcopy(model.state_dict())
    training_step(model, batch(), wrappers(model))
    moved = {name.split(".")[0] for name, p in model.named_parameters() if not torch.equal(before[name], p)}
    assert moved == {"backbone", "heads", "objectives"}


def test_a_step_is_two_plain_updates():
    model = small("both", objectives=[GAP, JUDGE])
    expected = copy.deepcopy(model)
    logged = training_step(model, batch(), wrappers(model))
    assert {"loss", "discriminator", "loss_test_judge_fool", "loss_test_gap_stage0"} <= set(logged)
    data = expected.data_preprocessor(batch())
    losses, shown = expected(**data, mode="generator")
    torch.testing.assert_close(logged["loss"], sum(losses.values()))
    names, parameters = zip(*expected.named_parameters(), strict=True)
    first = torch.autograd.grad(sum(losses.values()), parameters, allow_unused=True)
    judged = expected(**data, shown=shown, mode="discriminator")["loss_test_judge_tell"]
    second = torch.autograd.grad(judged, parameters, allow_unused=True)
    with torch.no_grad():
        for name, p, *gradients in zip(names, parameters, first, second, strict=True):
            gradient = gradients[".opponent." in name]
            if gradient is not None:
                p -= 0.05 * gradient
    for (name, p), q in zip(model.named_parameters(), parameters, strict=True):
        torch.testing.assert_close(p, q, msg=name)
        assert p.requires_grad
    assert any(".opponent." in name for name in names)


def test_an_opponent_may_have_nothing_to_judge(monkeypatch):
    """As where one modality is left of a step; the opponent stays as it was, the rest is trained."""
    monkeypatch.setattr(OBJECTIVES["test_judge"], "opponent_losses", lambda self, step: {})
    model = small("classes", objectives=[JUDGE])
    before = copy.deepcopy(model.state_dict())
    assert training_step(model, batch(), wrappers(model))["discriminator"] == 0
    moved = {".opponent." in name for name, p in model.named_parameters() if not torch.equal(before[name], p)}
    assert moved == {False}


def test_one_optimizer_for_both_is_refused():
    model = small("classes", objectives=[JUDGE])
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), 0.1))
    with pytest.raises(ValueError, match="needs an optimizer of its own"):
        training_step(model, batch(), wrapper)
    assert len(rgbx.models.multimodal(**small("classes").recipe["parameters"]).objectives) == 0
    with pytest.raises(ValueError, match="some/file"):
        model_of({"model": {"builder": "multimodal", "parameters": {"objectives": [7]}}}, "some/file.pth")
