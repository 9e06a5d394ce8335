"""Training with objectives: what they hold is trained, saved and resumed to the bit, in one process and in two."""

import random
import re

import numpy as np
import pytest
import torch
from made_objectives import enter, made_objectives  # noqa: F401
from mmengine.dataset import default_collate
from mmengine.optim import OptimWrapperDict
from processes import free_port, set_rank, two_processes
from test_resume import Interruption, assert_equal, train, training_state
from tiny import STATISTICS, Classifier, Halves, TinyBackbone

import rgbx
from rgbx.models import Head, MultimodalModel, Preprocessor, multimodal_segmentor
from rgbx.models.modality_dropout import ModalityDropout
from rgbx.objectives import OBJECTIVES, Site, build_objective, complete_objectives
from rgbx.tasks import Classes
from rgbx.train.adversarial import AdversarialConstructor
from rgbx.train.distributed import finish_together, unwrap, wrap
from rgbx.train.finetune import transfer
from rgbx.train.loops import training_step
from rgbx.train.optim import EncoderDecoderConstructor
from rgbx.transforms import PackSample

pytestmark = pytest.mark.usefixtures("made_objectives")
torch.set_num_threads(1)
PLAIN = ["test_gap", {"name": "test_scaled", "start": 0.5}, {"name": "knowledge_guidance", "weight": 0.5}]
JUDGED = [{"name": "test_judge", "weight": 0.5}, *PLAIN]


def settings(objectives, **model):
    given = dict(type=multimodal_segmentor, backbone="test_resnet", decoder=dict(width=8), objectives=objectives)
    return dict(model={**given, **model}, epochs=3)


ALTERNATING = dict(constructor=AdversarialConstructor, rates=dict(discriminator_lr=0.003))
CASES = {
    "no opponent": settings(PLAIN),
    "opponent": {**settings(JUDGED), "rates": dict(encoder_lr=0.005, discriminator_lr=0.002)},
    "opponent, ema, accumulation, dropout": {
        **settings(JUDGED, modality_dropout=0.6),
        "ema": dict(momentum=0.1),
        "accumulate": 2,
    },
    "opponent, alternating": {**settings(JUDGED), **ALTERNATING},
    "gates": settings(PLAIN, purification={"supervision": "literal", "hidden": 2}, modality_dropout=0.6),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_resumed_equals_uninterrupted(make_runner, tmp_path, case):
    train(make_runner("straight", **case))
    with pytest.raises(KeyboardInterrupt):
        train(make_runner("stopped", custom_hooks=[Interruption(epoch=2)], **case))
    random.seed(99), np.random.seed(99), torch.manual_seed(99)  # another process, another state
    train(make_runner("stopped", resume=True, **case))
    straight, resumed = (training_state(tmp_path / name / "epoch_3.pth") for name in ("straight", "stopped"))
    assert_equal(straight, resumed)
    tensors = straight["state_dict"]
    assert tensors["objectives.test_scaled.steps"] > 0
    assert not torch.equal(tensors["objectives.test_scaled.scale"], torch.full((96, 1), 0.5))
    if case["model"]["objectives"] is JUDGED:
        assert list(straight["optimizer"]) == list(straight["param_schedulers"]) == ["generator", "discriminator"]
        assert all(straight["optimizer"][part]["state"] for part in straight["optimizer"])
        assert any(".opponent." in name for name in tensors)
    loaded = rgbx.load(tmp_path / "straight" / "epoch_3.pth")
    assert len(loaded.objectives) == 0 and set(loaded.state_dict()) < set(tensors)


@pytest.mark.parametrize(
    ("constructor", "rates", "expected"),
    [
        (EncoderDecoderConstructor, dict(encoder_lr_mult=0.5), {"backbone": 0.005, "": 0.01, "opponent": 0.01}),
        (
            EncoderDecoderConstructor,
            dict(encoder_lr=0.001, decoder_lr=0.002, discriminator_lr=0.3),
            {"backbone": 0.001, "": 0.002, "opponent": 0.3},
        ),
        (AdversarialConstructor, dict(generator_lr=0.004), {"backbone": 0.004, "": 0.004, "opponent": 0.01}),
        (AdversarialConstructor, dict(discriminator_lr=0.3), {"backbone": 0.01, "": 0.01, "opponent": 0.3}),
    ],
)
def test_each_part_has_its_parameters_and_rate(make_runner, constructor, rates, expected):
    runner = make_runner(constructor=constructor, rates=rates, **settings(JUDGED))
    built = runner.build_optim_wrapper(runner.optim_wrapper)
    assert isinstance(built, OptimWrapperDict) and list(built.keys()) == ["generator", "discriminator"]
    names = {id(p): name for name, p in runner.network.named_parameters()}
    found = {}
    for part, wrapper in built.items():
        for group in wrapper.optimizer.param_groups:
            assert all((p.ndim < 2) == (group["weight_decay"] == 0) for p in group["params"])
            given = {names[id(p)]: (part, group["lr"]) for p in group["params"]}
            assert not set(given) & set(found), "each parameter has one optimizer"
            found |= given
    assert set(found) == set(names.values())
    for name, (part, rate) in found.items():
        own = "opponent" if ".opponent." in name else "backbone" if name.startswith("backbone.") else ""
        assert (part == "discriminator") == (own == "opponent")
        assert rate == pytest.approx(expected[own]), name
    assert found["objectives.test_scaled.scale"][0] == "generator"


def test_without_an_opponent_there_is_one_optimizer(make_runner):
    runner = make_runner(**settings(PLAIN))
    built = runner.build_optim_wrapper(runner.optim_wrapper)
    assert not isinstance(built, OptimWrapperDict)
    names = {id(p): name for name, p in runner.network.named_parameters()}
    assert "objectives.test_scaled.scale" in {names[id(p)] for g in built.optimizer.param_groups for p in g["params"]}


def test_a_resumed_run_follows_what_has_no_tensors(make_runner, tmp_path):
    """Weights, options and objectives without parameters; with another one's it is another model."""
    train(make_runner(**{**settings(PLAIN), "epochs": 2}))
    changed = [{**PLAIN[1], "weight": 0.5}, {"name": "knowledge_guidance", "temperature": 1.0}]
    for objectives in (PLAIN[:1], [*PLAIN, "test_judge"]):
        with pytest.raises(ValueError, match=r"epoch_2\.pth does not fit the config's model.*objectives\.test_"):
            train(make_runner(resume=True, **settings(objectives)))
    runner = make_runner(resume=True, log_level="INFO", **settings(changed))
    train(runner)
    assert (runner.network.objectives["test_scaled"].weight, list(runner.network.objectives)[-1]) == (
        0.5,
        "knowledge_guidance",
    )
    said = "".join(path.read_text() for path in (tmp_path / "run").rglob("*.log"))
    assert re.search(r"model\.objectives\.\S+: .*: applied", said)


def test_a_run_can_leave_objectives_behind_with_their_file(make_runner, monkeypatch, tmp_path):
    """Those without tensors; of others it is told what does not fit, and never that all of the model differs."""
    train(make_runner(**{**settings(["test_gap"]), "epochs": 2}))
    train(make_runner("scaled", **{**settings(PLAIN), "epochs": 2}))
    for name in ("test_gap", "test_scaled"):
        monkeypatch.delitem(OBJECTIVES, name)
    train(make_runner(resume=True, log_level="INFO", **settings([])))
    said = "".join(path.read_text() for path in (tmp_path / "run").rglob("*.log"))
    assert re.search(r"model\.objectives\S*: .*: applied", said)
    with pytest.raises(ValueError, match=r"epoch_2\.pth does not fit .*objectives\.test_scaled.*of other objectives"):
        train(make_runner("scaled", resume=True, **settings(PLAIN[2:])))


def test_fine_tuning_takes_what_fits(make_runner, tmp_path):
    """Of a run with an opponent: the network in any case, and objectives where the new run has them."""
    train(make_runner("first", **{**settings(JUDGED), "epochs": 2}))
    weights = torch.load(tmp_path / "first/epoch_2.pth", weights_only=True)["state_dict"]
    own = {name for name in weights if name.startswith("objectives.")}
    options = {key: value for key, value in settings([])["model"].items() if key != "type"}
    options |= dict(modalities=("rgb", "depth"), num_classes=3)
    _, summary = transfer(multimodal_segmentor(**options), weights)
    assert set(summary.unused) == own and not summary.reinitialised
    same = multimodal_segmentor(**{**options, "objectives": JUDGED})
    state, summary = transfer(same, weights)
    assert own <= set(summary.kept) and all(torch.equal(state[name], weights[name]) for name in own)
    without = {name: x for name, x in weights.items() if name not in own}
    assert set(transfer(same, without)[1].reinitialised) == own
    train(make_runner("second", load_from=str(tmp_path / "first/epoch_2.pth"), **{**settings(PLAIN), "epochs": 2}))


def build(dropout):
    """A model whose norms do not see the batch, with an opponent and other objectives."""
    torch.manual_seed(0)
    names, task = ("rgb", "depth"), Classes("labels", num_classes=3)
    site = Site(names, (4,), {"labels": task})
    model = MultimodalModel(
        TinyBackbone(names, 4, 0.0, "group"),
        {"labels": Head(Classifier(4, 3), task, voters=names)},
        Preprocessor(names, {"labels": task}, statistics={name: STATISTICS[name] for name in names}),
        modality_dropout=None if dropout is None else ModalityDropout(names, dropout),
        objectives=[build_objective(each, site) for each in complete_objectives([JUDGED[0], JUDGED[1], JUDGED[3]])],
    )
    model.set_epoch_seed(4)
    return model


def steps(network, indices):
    """Two steps on these frames; the tensors afterwards, and the losses that were logged."""
    data = default_collate([Halves(transforms=[PackSample()])[i] for i in indices])
    optim = EncoderDecoderConstructor(dict(optimizer=dict(type="SGD", lr=0.05)), dict(discriminator_lr=0.5))
    wrappers = optim(network)
    logged = [training_step(network, data, wrappers) for _ in range(2)]
    return unwrap(network).state_dict(), logged


def join(rank, port, path):
    set_rank(rank, port)
    torch.distributed.init_process_group("gloo")
    enter()
    for dropout in (None, 1.0):
        torch.save(steps(wrap(build(dropout)), (2 * rank, 2 * rank + 1))[0], f"{path}{dropout}{rank}")
    finish_together()
    torch.distributed.destroy_process_group()


def test_two_processes_make_the_steps_of_one(tmp_path):
    two_processes(join, free_port(), tmp_path / "rank")
    for dropout in (None, 1.0):
        start = build(dropout).state_dict()
        expected, logged = steps(build(dropout), range(4))
        first, second = (torch.load(tmp_path / f"rank{dropout}{rank}", weights_only=True) for rank in range(2))
        for name, value in expected.items():
            assert torch.equal(first[name], second[name]), name
            torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-6, msg=name)
        for part in ("backbone.", "objectives.test_judge.opponent."):
            assert any(not torch.equal(start[name], first[name]) for name in start if name.startswith(part))
        guided = [any("knowledge_guidance" in key for key in losses) for losses in logged]
        assert guided == [dropout is None] * 2
