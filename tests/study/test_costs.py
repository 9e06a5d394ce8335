"""Costs of small networks: counted by hand or by the profiler, timed by a clock of the test's own."""

import functools
import json

import plain_objective  # noqa: F401
import pytest
import torch
from small_models import batch, small

import rgbx.study.costs as costs_module
from rgbx.models import multimodal_segmentor, multimodal_translator
from rgbx.profile.measure import profile_model
from rgbx.study.costs import Cost, Costs, Subject, measure_costs, read_costs, write_costs
from rgbx.train.optim import EncoderDecoderConstructor


def segmentor(modalities, backbone="test_resnet.r160_in1k"):
    model = multimodal_segmentor(modalities=modalities, num_classes=10, backbone=backbone, fusion=None)
    return Subject(model, (40, 64), modalities)


@pytest.fixture
def builders():
    return {"both": lambda: segmentor(("rgb", "depth")), "one": lambda: segmentor(("rgb",))}


def test_as_the_profiler_counts(builders):
    found = measure_costs(builders, device="cpu", key={"a": "b"}, latency=False)
    assert list(found.methods) == ["both", "one"]
    for method, cost in found.methods.items():
        model, size, modalities, *_ = builders[method]()
        expected = profile_model(model, size=size, modalities=modalities, repeats=1)
        assert (cost.size, cost.parameters, cost.flops) == ((40, 64), expected.parameters, expected.flops)
        assert cost.parameters == sum(parameter.numel() for parameter in model.parameters())
        assert (cost.milliseconds, cost.latency) == ((), None)


def test_methods_are_timed_in_turn(builders, monkeypatch):
    order = []

    def time_passes(call, device, repeats, warmup=3):
        order.append(call)
        return (0.003, 0.001 * len(order), 0.5)[:repeats]

    monkeypatch.setattr(costs_module, "time_passes", time_passes)
    monkeypatch.setattr(costs_module, "ROUNDS", 3)
    found = measure_costs(builders, device="cpu", key={}).methods
    assert order == order[:2] * 3 and order[0] is not order[1]
    assert found["both"].milliseconds == pytest.approx((3, 3, 5))
    assert found["one"].milliseconds == pytest.approx((3, 4, 6))
    assert found["one"].latency == pytest.approx(4)
    assert found["one"].ratio(found["both"]) == pytest.approx(6 / 5)  # of 1, 4/3 and 6/5


def test_a_method_that_cannot_be_measured_is_left_out(builders):
    said = []
    builders["odd"] = lambda: segmentor(("rgb",), backbone="no_such_network")
    found = measure_costs(builders, device="cpu", key={}, latency=False, say=said.append)
    assert list(found.methods) == ["both", "one"]
    assert len(said) == 1 and "'odd' cannot be measured" in said[0] and "no_such_network" in said[0]


def test_costs_are_kept_for_the_same_key(tmp_path):
    key = {"configs": {"a": "1"}, "subsets": {"a": "rgb"}}
    costs = Costs("here", key, {"a": Cost((4, 6), 3, 5, (0.1, 0.25), 7, (1.5, 2.5))})
    path = tmp_path / "costs.json"
    assert read_costs(path) is None
    write_costs(costs, path)
    assert read_costs(path) == costs
    assert costs.has(key, latency=True)
    assert not costs.has({**key, "configs": {"a": "2"}}, latency=True)
    without_steps = Cost((4, 6), 3, 5, (0.1, 0.25))
    for untimed in (Costs("here", key, {"a": Cost((4, 6), 3, 5)}), Costs("here", key, {"a": without_steps})):
        assert untimed.has(key, latency=False) and not untimed.has(key, latency=True)
    assert not Costs("here", key, {}).has(key, latency=False)  # what failed is tried again
    for text in ("{", "[]", '{"format": "x", "machine": "", "key": {}, "methods": {}}', '{"methods": {"a": {}}}'):
        path.write_text(text)
        assert read_costs(path) is None
    write_costs(costs, path)
    whole = path.read_text()
    for old, new in (
        *(("0.25", '"fast"'), ('"flops": 5', '"flops": null'), ("[\n    4,", "[")),
        *(("2.5", "null"), ('"of_training": 7', '"of_training": "many"'), ("costs/2", "costs/3")),
    ):
        path.write_text(whole.replace(old, new))
        assert path.read_text() != whole and read_costs(path) is None


def test_costs_of_before_there_were_steps(tmp_path):
    """A file of format 1 as it was written then is read, and complete: a study that is done is not measured anew."""
    path, key = tmp_path / "costs.json", {"configs": {"a": "1"}, "subsets": {"a": "rgb"}}
    cost = {"size": [4, 6], "parameters": 3, "flops": 5, "milliseconds": [0.1, 0.25]}
    path.write_text(json.dumps({"format": "rgbx-study-costs/1", "machine": "m", "key": key, "methods": {"a": cost}}))
    found = read_costs(path)
    assert found.methods == {"a": Cost((4, 6), 3, 5, (0.1, 0.25))}
    assert found.has(key, latency=True)
    assert (found.methods["a"].step, found.methods["a"].step_ratio(found.methods["a"])) == (None, None)


def trained(**options):
    """A small model, and two frames to train it on."""
    model = small("classes", **options)
    wrapper = {"constructor": EncoderDecoderConstructor, "optimizer": {"type": torch.optim.SGD, "lr": 0.1}}
    return Subject(model, (32, 48), model.modalities, training=lambda: (batch((32, 48)), wrapper))


def test_steps_of_training_are_timed_in_turn(monkeypatch):
    """After the passes; what of a method is of training alone is counted apart; a step that fails is told."""
    order = []

    def time_passes(call, device, repeats, warmup=3):
        order.append((call, repeats, warmup))
        call()
        return (0.001 * len(order),) * repeats

    monkeypatch.setattr(costs_module, "time_passes", time_passes)
    monkeypatch.setattr(costs_module, "ROUNDS", 2)
    said = []
    odd = trained()
    builders = {
        "plain": trained,
        "judged": functools.partial(trained, objectives=["judged"]),
        "odd": lambda: odd._replace(training=lambda: (batch((16, 16)) | {"label": "x"}, odd.training()[1])),
        "not trained": lambda: trained()._replace(training=None),
    }
    found = measure_costs(builders, device="cpu", key={}, say=said.append).methods
    assert list(found) == list(builders) and len(said) == 1
    assert said[0].startswith("The step of training of 'odd' cannot be measured: ")
    assert [call[1:] for call in order] == [(10, 3)] * 8 + [(2, 1)] * 4
    steps = [call for call, *_ in order[8:]]
    assert steps[0] is steps[2] is not steps[1] is steps[3]
    assert (found["plain"].steps, found["judged"].steps) == (pytest.approx((9, 11)), pytest.approx((10, 12)))
    assert found["judged"].step == pytest.approx(11)
    assert found["judged"].step_ratio(found["plain"]) == pytest.approx((10 / 9 + 12 / 11) / 2)
    assert found["odd"].steps == found["not trained"].steps == () and found["odd"].milliseconds
    channels = trained().model.backbone.channels[-1]
    assert (found["plain"].of_training, found["judged"].of_training) == (0, 3 * channels + 3 + 3 + 1)
    assert found["judged"].parameters == found["plain"].parameters


def test_a_translator_is_counted_without_its_discriminator():
    options = dict(modalities=("depth", "normal"), target="rgb", generator=dict(name="unet", width=4, depth=3))
    model = multimodal_translator(**options, discriminator=dict(name="patch", width=4, layers=2))
    subject = Subject(model, (40, 64), model.modalities)
    cost = measure_costs({"a": lambda: subject}, device="cpu", key={}, latency=False).methods["a"]
    plain = multimodal_translator(**options, discriminator=None)
    assert cost.parameters == sum(parameter.numel() for parameter in plain.parameters())
    found = profile_model(model, size=(40, 64), modalities=("depth", "normal"), repeats=1)
    assert (found.parameters, found.flops) == (cost.parameters, cost.flops) and cost.flops > 0
