"""Costs of small networks: counted by hand or by the profiler, timed by a clock of the test's own."""

import pytest
from mmengine.config import Config
from mmengine.config.config import ConfigDict

import rgbx.study.costs as costs_module
from rgbx.datasets import SyntheticRooms
from rgbx.profile.measure import profile_model
from rgbx.study.costs import Cost, Costs, build_model, measure_costs, read_costs, write_costs
from rgbx.transforms import PackSample


@pytest.fixture
def configs():
    import rgbx.models

    builder = rgbx.models.multimodal_segmentor
    dataset = dict(type=SyntheticRooms, split="test", num_frames=1, size=(40, 64), transforms=[dict(type=PackSample)])

    def make(**model):
        given = dict(type=builder, modalities=("rgb", "depth"), num_classes=10, backbone="test_resnet.r160_in1k")
        values = dict(model={**given, **model}, test_dataloader=dict(dataset=dataset), test_cfg=dict())
        return Config(ConfigDict(values), format_python_code=False)

    return {"both": make(fusion=None), "one": make(modalities=("rgb",), fusion=None)}


def test_as_the_profiler_counts(configs):
    subsets = {"both": "rgb+depth", "one": "rgb"}
    found = measure_costs(configs, subsets, device="cpu", key={"a": "b"}, latency=False)
    assert list(found.methods) == ["both", "one"]
    for method, subset in subsets.items():
        model = build_model(configs[method])
        expected = profile_model(model, size=(40, 64), modalities=subset.split("+"), repeats=1)
        cost = found.methods[method]
        assert (cost.size, cost.parameters, cost.flops) == ((40, 64), expected.parameters, expected.flops)
        assert cost.parameters == sum(parameter.numel() for parameter in model.parameters())
        assert (cost.milliseconds, cost.latency) == ((), None)


def test_methods_are_timed_in_turn(configs, monkeypatch):
    order = []

    def time_passes(call, device, repeats):
        order.append(call)
        return (0.003, 0.001 * len(order), 0.5)[:repeats]

    monkeypatch.setattr(costs_module, "time_passes", time_passes)
    monkeypatch.setattr(costs_module, "ROUNDS", 3)
    found = measure_costs(configs, {"both": "rgb+depth", "one": "rgb"}, device="cpu", key={}).methods
    assert order == order[:2] * 3 and order[0] is not order[1]
    assert found["both"].milliseconds == pytest.approx((3, 3, 5))
    assert found["one"].milliseconds == pytest.approx((3, 4, 6))
    assert found["one"].latency == pytest.approx(4)
    assert found["one"].ratio(found["both"]) == pytest.approx(6 / 5)  # of 1, 4/3 and 6/5


def test_a_method_that_cannot_be_measured_is_left_out(configs):
    configs["odd"] = configs["both"].copy()
    configs["odd"].model = dict(configs["both"].model, backbone="no_such_network")
    said = []
    subsets = {"both": "rgb+depth", "one": "rgb", "odd": "rgb"}
    found = measure_costs(configs, subsets, device="cpu", key={}, latency=False, say=said.append)
    assert list(found.methods) == ["both", "one"]
    assert len(said) == 1 and "'odd' cannot be measured" in said[0] and "no_such_network" in said[0]


def test_costs_are_kept_for_the_same_key(tmp_path):
    key = {"configs": {"a": "1"}, "subsets": {"a": "rgb"}}
    costs = Costs("here", key, {"a": Cost((4, 6), 3, 5, (0.1, 0.25))})
    path = tmp_path / "costs.json"
    assert read_costs(path) is None
    write_costs(costs, path)
    assert read_costs(path) == costs
    assert costs.has(key, latency=True)
    assert not costs.has({**key, "configs": {"a": "2"}}, latency=True)
    untimed = Costs("here", key, {"a": Cost((4, 6), 3, 5)})
    assert untimed.has(key, latency=False) and not untimed.has(key, latency=True)
    assert not Costs("here", key, {}).has(key, latency=False)  # what failed is tried again
    for text in ("{", "[]", '{"format": "x", "machine": "", "key": {}, "methods": {}}', '{"methods": {"a": {}}}'):
        path.write_text(text)
        assert read_costs(path) is None


def test_a_translator_is_counted_without_its_discriminator(configs):
    from rgbx.models import multimodal_translator

    model = dict(
        type=multimodal_translator,
        modalities=("depth", "normal"),
        target="rgb",
        generator=dict(name="unet", width=4, depth=3),
        discriminator=dict(name="patch", width=4, layers=2),
    )
    dataset = {**configs["both"].test_dataloader["dataset"], "modalities": ("depth", "normal", "rgb")}
    values = dict(model=model, test_dataloader=dict(dataset=dataset), test_cfg=dict())
    config = Config(ConfigDict(values), format_python_code=False)
    cost = measure_costs({"a": config}, {"a": "depth+normal"}, device="cpu", key={}, latency=False).methods["a"]
    built = build_model(config)
    assert cost.parameters == sum(parameter.numel() for parameter in built.generator.parameters())
    found = profile_model(built, size=(40, 64), modalities=("depth", "normal"), repeats=1)
    assert (found.parameters, found.flops) == (cost.parameters, cost.flops) and cost.flops > 0
