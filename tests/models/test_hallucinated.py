"""Models that fill in the branches of absent modalities: whole answers from subsets, training, recipe, reports."""

import copy

import numpy as np
import pytest
import torch
from small_models import HEADS, UNET, batch, equal, run, small
from torch.utils.data import DataLoader

import rgbx
from rgbx.cli.evaluate import subset_table
from rgbx.cli.predict import _tell
from rgbx.datasets import SyntheticRooms
from rgbx.evaluate.result import build_result, given_titles, read_result, titled, write_result
from rgbx.evaluate.result_form import check_result
from rgbx.evaluate.session import Session
from rgbx.layers import untracked
from rgbx.models import multimodal_segmentor, multimodal_translator
from rgbx.models.recipe import check_recipe, recipe_differences
from rgbx.report import write_report
from rgbx.transforms import PackSample, collate

DEFAULTS = {"width": 64, "weight": 1.0, "heads": 1.0}
pytestmark = pytest.mark.filterwarnings("ignore:depth. .* is below 0:rgbx._types.InputWarning")


def parameters(model):
    return model.recipe["parameters"]


def given(model, *names):
    """Normalised inputs of a batch, of these modalities."""
    inputs = model.data_preprocessor(batch())["inputs"]
    return {name: inputs[name] for name in names or model.modalities}


def made(**options):
    """Whose codes, norms and heads differ by modality."""
    model = small(**{"kind": "classes", "hallucinate": {"width": 6}, **options})
    run(model, batch(), "loss")  # norms have seen something
    for name, parameter in model.named_parameters():
        if ".copies." in name or ".norms." in name:
            with torch.no_grad():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize("fusion", ["asymmetric", "addition", "graph", "rectification", "squeeze_excite", None])
@torch.no_grad()
def test_with_nothing_absent_it_is_not_there(fusion):
    model = made(fusion=fusion)
    plain = small("classes", fusion=fusion).eval()
    own = {key for key in model.state_dict() if key.startswith("backbone.hallucination.")}
    assert own and set(plain.state_dict()) == set(model.state_dict()) - own
    plain.load_state_dict({key: x for key, x in model.state_dict().items() if key not in own})
    inputs, depth = given(model), given(model, "depth")
    assert equal(model.outputs(inputs), plain.outputs(inputs))
    assert equal(model.run(depth, filled=()).outputs, plain.outputs(depth))
    filled = model.outputs(depth)["labels"]
    assert list(filled) == list(model.outputs(inputs)["labels"])
    assert not torch.equal(filled["ensemble"], plain.outputs(depth)["labels"]["ensemble"])
    assert model.hallucinated(["depth"]) == ("rgb",) and model.hallucinated(model.modalities) == ()
    assert plain.hallucinated(["depth"]) == ()


@torch.no_grad()
def test_the_ensemble_counts_what_was_filled_in():
    model = made(fusion=None)
    with torch.no_grad():
        model.heads["labels"].alpha["rgb"].fill_(0.7)
    found = model.outputs(given(model, "depth"))["labels"]
    weight = torch.tensor([0.7, 0.0]).softmax(0)
    torch.testing.assert_close(found["ensemble"], weight[0] * found["rgb"] + weight[1] * found["depth"])
    alone = model.run(given(model, "depth"), filled=()).outputs["labels"]
    torch.testing.assert_close(found["depth"], alone["depth"])  # without fusion, a branch that is there is as ever


@pytest.mark.parametrize("backbone", ["test_convnext", "test_efficientnet", "test_vit"])
def test_other_networks(backbone):
    """Of the last, whose stages are no modules, the features are filled in at the end."""
    options = dict(backbone=backbone, fusion=None)
    if backbone == "test_vit":
        options["heads"] = {"labels": {**HEADS["classes"]["labels"], "decoder": {"name": "light", "width": 8}}}
    model = made(**options)
    data = batch((160, 160)) if backbone == "test_vit" else batch()
    inputs = model.data_preprocessor(data)["inputs"]
    with torch.no_grad():
        found = model.run({"rgb": inputs["rgb"]})
    points = model.backbone.hallucination.points
    assert model.backbone._fills_after == (backbone == "test_vit") == ("0" not in points)
    assert found.trace.absent == ("depth",) and len(found.trace.points) == len(points)
    last = points[f"{len(model.backbone.channels)}"]
    expected = last.restored(found.trace.points[-1]["depth"], "depth")
    torch.testing.assert_close(found.features[-1][2:], expected)
    losses = run(model.train(), data, "loss")
    assert losses["loss_hallucination"] > 0


def test_a_step_runs_twice_and_leaves_the_norms_as_one_run():
    model = small("both", hallucinate={"width": 6})
    plain = small("both").train()
    model.load_state_dict({**model.state_dict(), **plain.state_dict()})
    losses, usual = (run(each, batch(), "loss") for each in (model, plain))
    for name, x in usual.items():
        torch.testing.assert_close(losses[name], x)
    more = set(losses) - set(usual)
    assert more == {"loss_hallucination", *(f"loss_hallucination_{name.removeprefix('loss_')}" for name in usual)}
    for name, x in plain.named_buffers():
        torch.testing.assert_close(model.get_buffer(name), x)
    norms = [m for m in model.backbone.hallucination.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {int(norm.num_batches_tracked) for norm in norms} == {0, 1}
    sum(losses.values()).backward()
    assert model.needs_unused_parameter_search
    without = run(small("both", hallucinate={"heads": 0}), batch(), "loss")
    assert set(without) == {*usual, "loss_hallucination"}


def test_each_modality_is_left_out_in_its_turn_and_again_by_the_same_seed():
    model = small("classes", modalities=("rgb", "depth", "thermal"), hallucinate={"width": 4})
    draws = []
    for _ in range(2):
        model.set_epoch_seed(3)
        draws.append([model._subsets.draw() for _ in range(40)])
    assert draws[0] == draws[1] and len(set(draws[0])) == 6
    for names in (("rgb",), ("rgb", "thermal")):
        data = {key: x for key, x in batch().items() if key not in {"rgb", "depth", "thermal"} - set(names)}
        model.set_epoch_seed(3)
        found = [("loss_hallucination" in run(model, data, "loss")) for _ in range(8)]
        assert any(found) == (len(names) > 1)


def of_constants(filling, whole, filled):
    """The loss of what is best without looking: the median of each channel over the batch's own features."""
    found = []
    for codes, truth, names in zip(filling.points.values(), whole.points, filled.points, strict=True):
        for name in names:
            with torch.no_grad(), untracked(codes.modules()):
                x = codes.wanted(truth[name], name).movedim(1, 0).flatten(1)
            found.append(float((x - x.median(1, keepdim=True).values).abs().mean()))
    return np.mean(found)


def test_it_learns_what_one_modality_says_of_the_other():
    """Depth that is a function of RGB: features of one are told from those of the other, better than by constants."""
    torch.manual_seed(0)
    model = small("classes", hallucinate={"width": 16, "heads": 0}, fusion=None)
    filling = model.backbone.hallucination
    loss, constants, history = filling.loss, [], []
    filling.loss = lambda *traces: constants.append(of_constants(filling, *traces)) or loss(*traces)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    g = torch.Generator().manual_seed(0)
    for _ in range(30):
        coarse = torch.rand(4, 1, 4, 4, generator=g)
        rgb = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear").expand(-1, 3, -1, -1)
        data = {"rgb": (255 * rgb).to(torch.uint8), "depth": 1 + 4 * rgb[:, :1]}
        losses = run(model, {**data, "label": (rgb[:, 0] * 4.99).long()}, "loss")
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append(losses["loss_hallucination"].item())
    assert np.mean(history[-5:]) < 0.85 * np.mean(constants[-5:])


def test_the_adversary_of_modality_translation_works_on_its_codes():
    objectives = [{"name": "modality_translation", "alpha": 0.5, "stages": [2, 4]}]
    model = small("classes", hallucinate={"width": 6}, objectives=objectives)
    objective, points = model.objectives["modality_translation"], model.backbone.hallucination.points
    assert len(objective.codes) == 0
    losses, shown = run(model, batch(), "generator")
    encoder = list(points["2"].encode.copies["depth"].parameters())
    for kind in ("adversarial", "reconstruction", "classification"):
        found = torch.autograd.grad(
            losses[f"loss_modality_translation_{kind}"], encoder, retain_graph=True, allow_unused=True
        )
        assert all(x is not None for x in found)
    norm = points["2"].encode.copies["depth"][1]
    assert int(norm.num_batches_tracked) <= 1  # in the second run alone, if depth was there
    assert model(targets=None, inputs={}, mode="discriminator", shown=shown)
    copied = copy.deepcopy(model)
    assert copied.objectives["modality_translation"]._used[2][0] is copied.backbone.hallucination.points["2"]


@pytest.mark.parametrize("value", [True, {}, DEFAULTS])
def test_recipes_are_complete(value):
    model = small("classes", hallucinate=value)
    assert parameters(model)["hallucinate"] == DEFAULTS
    assert check_recipe(model.recipe) == parameters(model)
    assert parameters(small("classes"))["hallucinate"] is False


def test_recipes_from_before_have_none():
    recipe = copy.deepcopy(small("classes").recipe)
    del recipe["parameters"]["hallucinate"]
    assert check_recipe(recipe)["hallucinate"] is False


def test_only_what_changes_an_answer_is_a_difference():
    ours, theirs = (parameters(small("classes", hallucinate=h)) for h in ({"width": 8}, {"weight": 2.0, "heads": 0}))
    assert recipe_differences(ours, theirs) == ["hallucinate.width: 8 against 64"]
    assert recipe_differences(ours, parameters(small("classes")))


def test_flat_builders_hand_it_on():
    segmentor = multimodal_segmentor(
        modalities=("rgb", "depth"), num_classes=3, backbone="test_resnet", hallucinate=True
    )
    assert parameters(segmentor)["hallucinate"] == DEFAULTS
    generator = {"name": "backbone", "backbone": "test_resnet", "hallucinate": {"width": 3}}
    translator = multimodal_translator(
        modalities=("rgb", "depth"), target="normal", generator=generator, discriminator=None
    )
    assert parameters(translator)["hallucinate"] == {**DEFAULTS, "width": 3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(backbone=UNET), "hallucinate is of a timm backbone; the generator 'unet' has it not"),
        (dict(fusion="early"), "hallucinate .*the fusion method joins the inputs"),
        (dict(modalities=("rgb",)), r"hallucinate .*there is one: \['rgb'\]"),
    ],
)
def test_what_cannot_be_filled_in_says_so(options, message):
    with pytest.raises(ValueError, match=message):
        small("map", **{"hallucinate": True, **options})


def test_a_checkpoint_answers_as_it_was_trained(tmp_path):
    model = made(purification={"hidden": 3, "supervision": "literal"}, stems={"depth": "sum"})
    path = tmp_path / "model.pth"
    torch.save({"state_dict": model.state_dict(), "model": model.recipe}, path)
    loaded = rgbx.load(path)
    with torch.no_grad():
        for names in (("rgb",), ("depth",), ("rgb", "depth")):
            found, expected = (each.run(given(each, *names), beliefs=True) for each in (loaded, model))
            assert equal(found.outputs, expected.outputs)
            assert tuple(found.beliefs) == names, "gates believe what was given, not what was filled in"


def test_results_and_tables_say_it(capsys):
    model = made(head_num_classes=10)
    frames = SyntheticRooms(split="test", num_frames=2, size=(32, 48), transforms=[PackSample()])
    session = Session(model, DataLoader(frames, 2, collate_fn=collate))
    for subset in (None, ["depth"]):
        session.evaluate(subset)
    found = {subset: {n: e["labels"].scores(n) for n in e["labels"].names} for subset, e in session.evaluations.items()}
    assert given_titles(found) == {"rgb+depth": "both", "depth": "depth alone, RGB hallucinated"}
    assert list(titled(found)) == ["both", "RGB branch", "depth branch", "depth alone, RGB hallucinated"]
    assert titled(found) == titled(found, session.hallucinated)
    depth = np.ones((32, 48), np.float32)
    rgb = np.zeros((32, 48, 3), np.uint8)
    result = model.predict(depth=depth)
    assert result.hallucinated == ("rgb",) and list(result["labels"].branches) == ["rgb", "depth"]
    assert repr(result).endswith(", rgb hallucinated>") and result.of_branch("rgb").hallucinated == ("rgb",)
    assert model.predict(rgb=rgb, depth=depth).hallucinated == ()
    assert model.predict(rgb=rgb, depth=depth, modalities=["rgb"]).hallucinated == ("depth",)


def test_what_has_no_branches_says_it_by_its_model(tmp_path):
    session = Session(
        made(head_num_classes=10, fusion="graph"),
        DataLoader(
            SyntheticRooms(split="test", num_frames=2, size=(32, 48), transforms=[PackSample()]), 2, collate_fn=collate
        ),
    )
    for subset in (None, ["depth"]):
        session.evaluate(subset)
    assert "depth alone, RGB hallucinated" in session.reports()["labels"]
    assert session.hallucinated == {"depth": ["rgb"]}
    checkpoint = tmp_path / "model.pth"
    checkpoint.touch()
    result = build_result(
        session.evaluations,
        {"labels": "classes"},
        protocol=session.protocol,
        config={"file": "config.py", "sha256": ""},
        checkpoint=checkpoint,
        dataset=session.whole_dataset,
        speed=session.speed,
        hallucinated=session.hallucinated,
    )
    assert "depth alone, RGB hallucinated" in subset_table(result, "labels")
    write_result(result, tmp_path / "results.json")
    read = read_result(tmp_path / "results.json")
    assert read["heads"]["labels"]["hallucinated"] == {"depth": ["rgb"]}
    assert "depth alone, RGB hallucinated" in write_report(tmp_path / "results.json").read_text()
    read["heads"]["labels"]["hallucinated"] = {"depth": "rgb"}
    with pytest.raises(ValueError, match=r"heads\.labels\.hallucinated\.depth: expected list"):
        check_result(read)


def test_the_command_says_it(capsys):
    class Alone:
        leads, told = True, ""

    for model, way in ((made(), "hallucinating what they would show"), (small("classes"), "predicting without")):
        _tell(model, ["depth"], Alone, Alone)
        assert capsys.readouterr().out == f"The model also takes rgb, not given here: {way}.\n"


@pytest.mark.parametrize("joint", [True, False])
def test_heads_leave_the_encoders_that_fill_in_to_the_objective(joint):
    """At the objective's stages; the other points are as ever."""
    objectives = [{"name": "modality_translation", "stages": [2, 4], "joint": joint}]
    model = small("classes", hallucinate={"width": 6}, objectives=objectives, fusion=None)
    losses = run(model, batch(), "loss")
    heads = sum(x for name, x in losses.items() if name.startswith("loss_hallucination_"))
    points = model.backbone.hallucination.points
    for number in ("2", "3", "4"):
        encoders = [p for p in points[number].encode.parameters() if p.requires_grad]
        for loss, expected in ((heads, joint or number == "3"), (losses["loss_hallucination"], True)):
            found = torch.autograd.grad(loss, encoders, retain_graph=True, allow_unused=True)
            assert any(x is not None and bool(x.any()) for x in found) == expected
