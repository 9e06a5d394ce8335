from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F

from rgbx.models import build_model


def run(model, batch, mode):
    return model(**model.data_preprocessor(batch), mode=mode)


def test_three_modes(make_model, batch):
    model = make_model()
    logits = run(model, batch, "tensor")
    assert {name: tuple(x.shape) for name, x in logits.items()} == dict.fromkeys(
        ("rgb", "depth", "ensemble"), (2, 5, 50, 70)
    )
    losses = run(model, batch, "loss")
    for name, value in losses.items():
        expected = F.cross_entropy(logits[name.removeprefix("loss_")], batch["label"])
        torch.testing.assert_close(value, expected)
    predictions = run(model.eval(), batch, "predict")
    with torch.no_grad():
        expected = run(model, batch, "tensor")
    assert [p["sample_id"] for p in predictions] == ["a", "b"]
    for i, sample in enumerate(predictions):
        assert torch.equal(sample["label"], batch["label"][i])
        for name, classes in sample["prediction"].items():
            assert classes.dtype == torch.uint8
            assert torch.equal(classes.long(), expected[name][i].argmax(0))


def test_ensemble_is_softmax_weighted_and_trains_only_alpha(make_model, batch):
    model = make_model()
    with torch.no_grad():
        model.alpha["rgb"].fill_(1.0)
        model.alpha["depth"].fill_(-0.5)
    logits = run(model, batch, "tensor")
    w = torch.tensor([1.0, -0.5]).exp()
    expected = (w[0] * logits["rgb"] + w[1] * logits["depth"]) / w.sum()
    torch.testing.assert_close(logits["ensemble"], expected, rtol=1e-4, atol=1e-5)

    run(model, batch, "loss")["loss_ensemble"].backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert trained == {"alpha.rgb", "alpha.depth"}


def test_attached_ensemble_trains_the_network(make_model, batch):
    model = make_model(detach_ensemble=False)
    run(model, batch, "loss")["loss_ensemble"].backward()
    assert model.head.classifier.weight.grad.abs().sum() > 0


def test_each_branch_has_its_own_loss(make_model, batch):
    model = make_model(fusion=None)
    run(model, batch, "loss")["loss_rgb"].backward()
    norms = model.backbone.network.bn1.norms
    assert norms["rgb"].weight.grad.abs().sum() > 0
    assert norms["depth"].weight.grad is None or norms["depth"].weight.grad.abs().sum() == 0


def test_a_subset_ignores_the_missing_modality(make_model, batch):
    model = make_model().eval()
    with torch.no_grad():
        without = {k: v for k, v in batch.items() if not k.startswith("depth")}
        expected = run(model, without, "tensor")
        model.use_modalities(["rgb"])
        restricted = run(model, batch, "tensor")
    assert list(expected) == ["rgb", "ensemble"]
    for name in expected:
        assert torch.equal(expected[name], restricted[name])
    torch.testing.assert_close(expected["ensemble"], expected["rgb"])
    model.use_modalities(None)
    assert "depth" in run(model, batch, "tensor")


def test_modality_dropout_draws_subsets_only_in_training(make_model, batch):
    model = make_model(modality_dropout=1.0)
    seen = {tuple(run(model, batch, "loss")) for _ in range(12)}
    assert seen == {("loss_rgb", "loss_ensemble"), ("loss_depth", "loss_ensemble")}
    assert len(run(model.eval(), batch, "loss")) == 3
    assert model.needs_unused_parameter_search


@pytest.mark.parametrize("size", [(64, 64), (33, 64), (50, 70)])
def test_padding_does_not_move_predictions(make_model, size):
    """Whatever the size, the prediction equals that of the image padded by hand and cropped."""
    model = make_model().eval()
    x = {"rgb": torch.randn(1, 3, *size), "depth": torch.randn(1, 1, *size)}
    bottom, right = -size[0] % 32, -size[1] % 32
    padded = {name: F.pad(v, (0, right, 0, bottom)) for name, v in x.items()}
    with torch.no_grad():
        small, large = model(x, mode="tensor"), model(padded, mode="tensor")
    torch.testing.assert_close(small["ensemble"], large["ensemble"][..., : size[0], : size[1]])


def test_batch_of_one_trains(make_model, batch):
    single = {k: v[:1] for k, v in batch.items()}
    total = sum(run(make_model().train(), single, "loss").values())
    total.backward()
    assert torch.isfinite(total)


def test_predictions_come_at_the_label_s_own_size(make_model, batch):
    model = make_model().eval()
    label = torch.randint(0, 5, (2, 100, 140))
    with torch.no_grad():
        logits = run(model, batch, "tensor")["ensemble"]
        samples = run(model, {**batch, "label": label}, "predict")
    expected = F.interpolate(logits, size=(100, 140), mode="bilinear", align_corners=False).argmax(1)
    assert torch.equal(torch.stack([s["prediction"]["ensemble"] for s in samples]).long(), expected)


def test_one_pixel_is_too_few_for_batch_norm(make_model):
    x = {"rgb": torch.zeros(1, 3, 32, 32)}
    label = torch.zeros(1, 32, 32, dtype=torch.long)
    with pytest.raises(ValueError, match="a batch of 1 image of 32×32 leaves one pixel at stride 32"):
        make_model().train()(x, label, mode="loss")


def test_builder_checks_its_values(make_model):
    with pytest.raises(ValueError, match="num_classes is 300"):
        make_model(num_classes=300)
    with pytest.raises(ValueError, match="'ensemble'"):
        make_model(modalities=("rgb", "ensemble"), statistics={"ensemble": {"mean": [0.0], "std": [1.0]}})
    assert make_model(fusion={"name": "asymmetric", "fraction": Fraction(1, 5)}).recipe["parameters"]["fusion"] == {
        "name": "asymmetric",
        "fraction": 0.2,
    }


def test_rebuilt_from_its_recipe(make_model, batch):
    model = make_model(statistics={"depth": {"mean": [1.0], "std": [2.0]}}).eval()
    clone = build_model(model.recipe).eval()
    clone.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(run(clone, batch, "tensor")["ensemble"], run(model, batch, "tensor")["ensemble"])
    with pytest.raises(ValueError, match=r"os\.system"):
        build_model({"builder": "os.system", "parameters": {}})


def test_three_modalities(make_model, batch):
    model = make_model(modalities=("rgb", "depth", "thermal"), statistics={"thermal": {"mean": [20.0], "std": [5.0]}})
    batch["thermal"] = 20 + torch.rand(2, 1, 50, 70)
    assert list(run(model, batch, "tensor")) == ["rgb", "depth", "thermal", "ensemble"]


def test_channels_last_weights(make_model):
    weight = make_model().backbone.network.layer2[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_errors_name_what_was_found(make_model, batch):
    model = make_model()
    with pytest.raises(ValueError, match="class id 7; expected 0 to 4"):
        run(model, {**batch, "label": torch.full((2, 50, 70), 7)}, "loss")
    with pytest.raises(ValueError, match="expected at least one of"):
        run(model, {"thermal": batch["depth"]}, "tensor")
    with pytest.raises(ValueError, match="thermal"):
        model.use_modalities(["thermal"])
    with pytest.raises(ValueError, match="mode is 'train'"):
        run(model, batch, "train")
    with pytest.raises(ValueError, match="no 'label'"):
        run(model, {k: v for k, v in batch.items() if k != "label"}, "loss")
