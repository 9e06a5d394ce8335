import pytest
import torch
from tiny import tiny_segmentor

from rgbx.models import multimodal_segmentor
from rgbx.train.finetune import transfer

THERMAL = {"thermal": {"mean": [20.0], "std": [5.0]}}


def weights_of(**options):
    torch.manual_seed(1)
    model = tiny_segmentor(**{"modalities": ("rgb", "depth"), "num_classes": 3, **options})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model.state_dict()


def test_same_model_keeps_everything():
    weights = weights_of()
    state, summary = transfer(tiny_segmentor(("rgb", "depth"), 3), weights)
    assert all(torch.equal(state[name], weights[name]) for name in weights)
    assert len(summary.kept) + len(summary.configured) == len(weights)
    assert all(name.startswith("data_preprocessor.inputs.") for name in summary.configured)
    assert not (summary.filled or summary.reinitialised or summary.unused)


def test_other_classes_leave_the_classifier_anew():
    model = tiny_segmentor(("rgb", "depth"), 5)
    state, summary = transfer(model, weights_of())
    assert summary.reinitialised == ["heads.labels.decoder.classifier.weight", "heads.labels.decoder.classifier.bias"]
    assert summary.unused == summary.reinitialised
    assert torch.equal(state["heads.labels.decoder.classifier.weight"], model.heads.labels.decoder.classifier.weight)
    assert "heads.labels.alpha.rgb" in summary.kept
    model.load_state_dict(state)


def test_another_modality_takes_the_norms_of_the_first():
    weights = weights_of()
    model = tiny_segmentor(("rgb", "depth", "thermal"), 3)
    state, summary = transfer(model, weights)
    assert torch.equal(state["backbone.norm.norms.thermal.weight"], weights["backbone.norm.norms.rgb.weight"])
    assert torch.equal(state["backbone.norm.norms.depth.weight"], weights["backbone.norm.norms.depth.weight"])
    assert summary.filled["backbone.norm.norms.thermal.running_mean"] == "backbone.norm.norms.rgb.running_mean"
    assert sorted(summary.reinitialised) == [
        "heads.labels.alpha.depth",
        "heads.labels.alpha.rgb",
        "heads.labels.alpha.thermal",
    ]
    assert all(state[name] == 0 for name in summary.reinitialised)


def test_fewer_modalities():
    weights = weights_of()
    state, summary = transfer(tiny_segmentor(("depth",), 3), weights)
    assert torch.equal(state["backbone.norm.norms.depth.bias"], weights["backbone.norm.norms.depth.bias"])
    assert "backbone.norm.norms.rgb.bias" in summary.unused


def test_statistics_and_class_weights_are_the_configs():
    options = dict(modalities=("rgb", "depth"), num_classes=3, backbone="resnet18")
    disparity = {"depth": {"mean": [25.0], "std": [25.0], "max": [200.0]}}
    weighted = [{"name": "cross_entropy", "class_weights": weights} for weights in ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])]
    model = multimodal_segmentor(**options, statistics=disparity, loss=weighted[1])
    state, summary = transfer(model, multimodal_segmentor(**options, loss=weighted[0]).state_dict())
    model.load_state_dict(state)
    for key, value in (("mean", 25.0), ("std", 25.0), ("max", 200.0)):
        assert getattr(model.data_preprocessor.inputs["depth"], key).item() == value
    assert state["heads.labels.task.loss.weight"].tolist() == [1.0, 2.0, 3.0]
    assert {"data_preprocessor.inputs.depth.mean", "heads.labels.task.loss.weight"} <= set(summary.configured)
    assert "heads.labels.decoder.classifier.weight" in summary.kept
    assert not (summary.reinitialised or summary.unused)
    assert "from the config" in summary.table()


def test_separate_encoders_start_from_the_shared_one():
    options = dict(num_classes=3, backbone="test_resnet", decoder={"width": 8})
    shared = multimodal_segmentor(modalities=("rgb", "depth"), **options)
    weights = {name: torch.randn_like(x) if x.is_floating_point() else x for name, x in shared.state_dict().items()}
    model = multimodal_segmentor(modalities=("rgb", "depth", "normal"), weights="separate", **options)
    state, summary = transfer(model, weights)
    for modality, norm in (("rgb", "rgb"), ("depth", "depth"), ("normal", "rgb")):
        for layer in ("conv1.0", "layer4.0.conv2"):
            copy = f"backbone.network.{layer}.copies.{modality}.weight"
            assert torch.equal(state[copy], weights[f"backbone.network.{layer}.weight"])
            assert summary.filled[copy] == f"backbone.network.{layer}.weight"
        found, source = (f"backbone.network.layer1.0.bn1.norms.{name}.weight" for name in (modality, norm))
        assert torch.equal(state[found], weights[source])
    assert sorted(summary.reinitialised) == [
        "heads.labels.alpha.depth",
        "heads.labels.alpha.normal",
        "heads.labels.alpha.rgb",
    ]
    model.load_state_dict(state)
    again, summary = transfer(model, state)
    assert not (summary.filled or summary.unused or summary.reinitialised)
    assert all(torch.equal(again[name], state[name]) for name in state)
    fewer = multimodal_segmentor(modalities=("normal", "thermal"), weights="separate", **options, statistics=THERMAL)
    assert transfer(fewer, state)[1].filled["backbone.network.conv1.0.copies.thermal.weight"].endswith(".rgb.weight")
    with pytest.raises(ValueError, match="holds an encoder per modality"):
        transfer(shared, state)


def with_stems(**stems):
    return multimodal_segmentor(modalities=("rgb", "depth"), num_classes=3, backbone="resnet18", stems=stems or None)


@pytest.mark.parametrize(("mode", "divisor"), [("sum", 1), ("mean", 3)])
def test_stems_are_made_from_a_shared_one(mode, divisor):
    weights, model = with_stems().state_dict(), with_stems(depth=mode)
    state, summary = transfer(model, weights)
    model.load_state_dict(state)
    shared = weights["backbone.network.conv1.weight"]
    own = model.backbone.network.conv1.stems["depth"].weight
    torch.testing.assert_close(own, (shared[:, :1] + shared[:, 1:2] + shared[:, 2:]) / divisor)
    assert summary.filled == {"backbone.network.conv1.stems.depth.weight": "backbone.network.conv1.weight"}
    assert not (summary.reinitialised or summary.unused)


def test_stems_of_the_checkpoint_are_kept_unless_of_another_form():
    key = "backbone.network.conv1.stems.depth.weight"
    weights = with_stems(depth="copy").state_dict()
    weights[key] = torch.rand_like(weights[key])
    state, summary = transfer(with_stems(depth="copy"), weights)
    assert torch.equal(state[key], weights[key]) and key in summary.kept
    state, summary = transfer(with_stems(depth="sum"), weights)
    torch.testing.assert_close(state[key], weights["backbone.network.conv1.weight"].sum(1, keepdim=True))
    assert summary.filled and summary.unused == [key]
    state, summary = transfer(with_stems(), weights)
    assert torch.equal(state["backbone.network.conv1.weight"], weights["backbone.network.conv1.weight"])
    assert summary.unused == [key]


def test_extra_state_is_no_tensor():
    _, summary = transfer(tiny_segmentor(("rgb",), 3), {**weights_of(), "dropout._extra_state": 9})
    assert "dropout._extra_state" not in summary.unused


def test_nothing_fits():
    with pytest.raises(ValueError, match="no tensor of the checkpoint fits"):
        transfer(tiny_segmentor(("rgb",), 3), {"other": torch.ones(1)})


def test_table_counts():
    _, summary = transfer(tiny_segmentor(("rgb", "depth"), 5), weights_of())
    lines = summary.table().splitlines()
    assert lines[2].startswith("kept") and lines[2].endswith(str(len(summary.kept)))
    assert "e.g. heads.labels.decoder.classifier.weight" in lines[4]


def test_load_from(make_runner, tmp_path):
    make_runner("first", epochs=2).train()
    runner = make_runner("second", epochs=2, load_from=str(tmp_path / "first/epoch_2.pth"))
    runner.call_hook("before_run")
    runner.load_or_resume()
    saved = torch.load(tmp_path / "first/epoch_2.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(saved[k], v) for k, v in runner.network.state_dict().items())
    assert runner.epoch == 0
