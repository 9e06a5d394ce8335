"""Only what is asked for, and at the image's size only what is kept: answers are those of the plain way."""

import sys

import pytest
import torch
from small_models import LABELS, batch, run, small

from rgbx.models import MultimodalModel, Predictor
from rgbx.tasks import Classes

module = sys.modules[MultimodalModel.__module__]  # whose name in its package is a function

SIZE = (50, 70)  # no multiple of any stride, so that inputs are padded


@pytest.fixture
def plain(monkeypatch):
    """Makes the model take the plain way from here on."""

    def make():
        monkeypatch.setattr(Classes, "finishes_coarse", lambda *_: False)
        monkeypatch.setattr(module, "resized_is_compiled", lambda *_: False)

    return make


@pytest.mark.parametrize("kind", ["classes", "both"])
@pytest.mark.parametrize("protocol", ["rgbx", "deliver", "cmx-ss-fixed"])
def test_answers_of_names_are_those_of_all(kind, protocol, plain):
    if kind == "both" and protocol != "rgbx":
        pytest.skip("of one task")
    model, data = small(kind).eval(), batch(SIZE)
    some = {names: Predictor(model, protocol, names=names)(data) for names in (("ensemble",), ("depth", "ensemble"))}
    plain()
    for names, found in some.items():
        for one, whole in zip(found, Predictor(model, protocol)(data), strict=True):
            for head, prediction in one["heads"].items():
                assert set(prediction.prediction) == set(names)
                for name, x in prediction.prediction.items():
                    assert torch.equal(x, whole["heads"][head].prediction[name])


def test_confidence_without_probabilities(plain):
    model, data = small("classes").eval(), batch(SIZE)
    found = Predictor(model)(data, keep_confidence=True)
    branch = Predictor(model, names=["rgb"])(data, keep_confidence=True)
    plain()
    whole = Predictor(model)(data, keep_probability=True)
    for one, other, alone in zip(found, whole, branch, strict=True):
        assert one["probability"] is None and list(one["confidence"]) == ["ensemble"]
        assert torch.allclose(one["confidence"]["ensemble"], other["confidence"]["ensemble"], rtol=1e-5)
        assert list(alone["confidence"]) == ["rgb"] and torch.equal(
            alone["prediction"]["rgb"], other["prediction"]["rgb"]
        )


def test_a_result_of_one_branch():
    model, data = small("both").eval(), batch(SIZE, count=1)
    maps = {"rgb": data["rgb"][0], "depth": data["depth"][0].abs() + 0.1}
    result, whole = model.predict(**maps, names=["depth"]), model.predict(**maps)
    assert result["labels"].branch == result["normal"].branch == "depth"
    assert (result["labels"].ids == whole["labels"].branches["depth"].ids).all()
    assert result["labels"].confidence == pytest.approx(whole["labels"].branches["depth"].confidence, rel=1e-5)


def test_names_that_are_not_there_are_refused():
    model = small("classes").eval()
    with pytest.raises(ValueError, match=r"names \['thermal'\] given; the predictions are .*ensemble.*rgb.*depth"):
        Predictor(model, names=["thermal"])
    with pytest.raises(ValueError, match=r"names \['rgb'\] given"):
        Predictor(model, modalities=["depth"], names=["rgb"])
    with pytest.raises(ValueError, match="names is 'ensemble'; expected a list"):
        Predictor(model, names="ensemble")
    merged = small("classes", fusion="early").eval()
    with pytest.raises(ValueError, match=r"head 'labels' has no prediction of \['rgb'\]: it merges its branches"):
        Predictor(merged, names=["rgb"])(batch(SIZE))


def test_what_is_not_asked_for_is_not_resized(monkeypatch):
    model, data, sizes = small("classes").eval(), batch(SIZE), []
    resize = module.F.interpolate
    monkeypatch.setattr(module.F, "interpolate", lambda x, *a, **k: sizes.append(len(x)) or resize(x, *a, **k))
    Predictor(model, "rgbx-sliding", names=["ensemble"])(data)
    assert sizes.count(2) and 6 not in sizes  # of the stack of the ensemble alone
    before = len(sizes)
    assert Predictor(model)(data)
    assert all(count != 6 for count in sizes[before:])


LOSSES = {
    "cross_entropy": "cross_entropy",
    "weighted": {"name": "cross_entropy", "class_weights": [1.0, 2.0, 0.5, 3.0, 1.0]},
    "ohem": {"name": "ohem", "threshold": 0.3},
    "sum": {"cross_entropy": 1.0, "ohem": 0.5},
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("ignored", ["some", "all"])
def test_a_step_is_that_of_resized_logits(loss, ignored, monkeypatch, plain):
    model, data = small(None, heads={"labels": {**LABELS, "loss": LOSSES[loss]}}).train(), batch(SIZE)
    data["label"][:, : SIZE[0] if ignored == "all" else 20] = 255
    monkeypatch.setattr(module, "resized_is_compiled", lambda *_: True)
    seen = []
    coarse = Classes.coarse_losses
    monkeypatch.setattr(Classes, "coarse_losses", lambda self, *a: seen.append(1) or coarse(self, *a))
    steps = []
    for way in (None, plain):
        if way:
            way()
        model.zero_grad()
        losses = run(model, data, mode="loss")
        torch.stack(list(losses.values())).sum().backward()
        steps.append((losses, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}))
    assert len(seen) == 1
    (losses, grads), (other_losses, other_grads) = steps
    assert list(losses) == list(other_losses) and grads.keys() == other_grads.keys()
    for name, x in losses.items():
        assert float(x) == pytest.approx(float(other_losses[name]), rel=1e-5, abs=1e-7)
    for name, x in grads.items():
        assert torch.allclose(x, other_grads[name], rtol=1e-3, atol=1e-5 * float(other_grads[name].abs().max()) + 1e-9)


def test_steps_that_need_resized_logits_have_them(monkeypatch):
    monkeypatch.setattr(module, "resized_is_compiled", lambda *_: True)

    class Own(Classes):
        def losses(self, outputs, target):
            return super().losses(outputs, target)

    data, plain = batch(SIZE), small("both")
    assert plain._coarse(data) == ["labels"]
    assert small("both", objectives=[{"name": "knowledge_guidance"}], purification="cross")._coarse(data) == []
    assert not Own("labels", num_classes=3).loses_coarse and Classes("labels", num_classes=3).loses_coarse


class Fours(Classes):
    def finish(self, totals, target, protocol, *, keep_probability=False):
        found = super().finish(totals, target, protocol, keep_probability=keep_probability)
        return [item._replace(prediction={name: x * 0 + 4 for name, x in item.prediction.items()}) for item in found]


def test_a_task_of_ones_own_finishes_its_predictions(monkeypatch):
    model = small("classes").eval()
    monkeypatch.setattr(model.heads["labels"].task, "__class__", Fours)
    (found, *_) = Predictor(model)(batch())
    assert set(found["prediction"]["ensemble"].unique().tolist()) == {4}
