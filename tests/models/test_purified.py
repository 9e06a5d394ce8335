"""Models with gates: their parameter, the recipe in a checkpoint, and what a call of the model leaves."""

import copy

import pytest
import torch
from small_models import UNET, batch, run, small

import rgbx
from rgbx.models import multimodal_segmentor, multimodal_translator
from rgbx.models.recipe import check_recipe, recipe_differences

DEFAULTS = {
    "context": "cross",
    "stages": None,
    "supervision": "synthetic",
    "weight": 1.0,
    "hidden": 16,
    "noise": "never",
}


def parameters(model):
    return model.recipe["parameters"]


@pytest.mark.parametrize("given", ["cross", {}, {"context": "cross"}, DEFAULTS])
def test_recipes_are_complete(given):
    model = small("classes", purification=given)
    assert parameters(model)["purification"] == DEFAULTS
    assert check_recipe(model.recipe) == parameters(model)
    assert parameters(small("classes"))["purification"] is None


def test_recipes_from_before_there_were_gates_have_none():
    recipe = copy.deepcopy(small("classes").recipe)
    del recipe["parameters"]["purification"]
    assert check_recipe(recipe)["purification"] is None


def test_only_what_changes_an_answer_is_a_difference():
    ours, theirs = (parameters(small("classes", purification=p)) for p in ("own", {"supervision": "literal"}))
    assert recipe_differences(ours, theirs) == ["purification.context: 'own' against 'cross'"]
    assert recipe_differences(ours, parameters(small("classes")))


def test_flat_builders_hand_it_on():
    segmentor = multimodal_segmentor(
        modalities=("rgb", "depth"), num_classes=3, backbone="test_resnet", purification="own"
    )
    assert parameters(segmentor)["purification"] == {**DEFAULTS, "context": "own"}
    generator = {"name": "backbone", "backbone": "test_resnet", "purification": {"hidden": 3}}
    translator = multimodal_translator(modalities=("rgb",), target="depth", generator=generator, discriminator=None)
    assert parameters(translator)["purification"] == {**DEFAULTS, "hidden": 3}


def test_what_has_no_gates_says_so():
    with pytest.raises(ValueError, match=r"purification is of a timm backbone.*generator 'unet'"):
        small("map", backbone=UNET, purification="cross")
    with pytest.raises(ValueError, match=r"purification has no option 'contex'.*did you mean 'context'"):
        small("classes", purification={"contex": "own"})


@pytest.mark.parametrize("fusion", ["asymmetric", "early", None])
def test_a_checkpoint_keeps_its_gates(fusion, tmp_path):
    model = small("classes", purification={"hidden": 3}, fusion=fusion).eval()
    for parameter in model.backbone.purification.parameters():
        torch.nn.init.normal_(parameter, std=3.0)
    path = tmp_path / "model.pth"
    torch.save({"state_dict": model.state_dict(), "model": model.recipe}, path)
    with torch.no_grad():
        expected = run(model, batch())["labels"]["ensemble"]
        assert torch.equal(run(rgbx.load(path), batch())["labels"]["ensemble"], expected)
        with model.layout.holding(model.modalities, purified=False):
            assert not torch.equal(run(model, batch())["labels"]["ensemble"], expected)


def test_a_step_trains_the_gates_on_padded_images():
    """34x50 pixels are padded to 64x64."""
    model = small("classes", purification="cross").train()
    damage = {"depth_corrupted": torch.ones(2, 1, 34, 50, dtype=torch.bool)}
    losses = model(**model.data_preprocessor({**batch(), **damage}, training=True), mode="loss")
    assert losses["loss_purification"] > 1  # open gates, of which half should be closed
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.backbone.purification.parameters())
    with pytest.raises(ValueError, match="DamageBlocks"):
        model(**model.data_preprocessor(batch(), training=True), mode="loss")
    literal = small("classes", purification={"supervision": "literal"}).train()
    assert 0 < literal(**literal.data_preprocessor(batch(), training=True), mode="loss")["loss_purification"] < 0.5
