"""What of the config differs from the run that is resumed: it takes effect and is told, or is refused by its path."""

import copy
import itertools
import re

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import LinearLR, MultiStepLR, OneCycleLR, PolyLR, ReduceOnPlateauLR
from test_resume import assert_equal, forget, rewrite, training_state

from rgbx.models import multimodal_segmentor
from rgbx.train.changes import flat_config, read_config_text

ALPHA = "heads.labels.alpha.rgb"


class Steps(Hook):
    """Notes each batch, the learning rates and the weights before and after it."""

    def __init__(self):
        self.rates, self.batches, self.before, self.after, self.outputs = [], [], [], [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates.append(tuple(group["lr"] for group in runner.optim_wrapper.optimizer.param_groups))
        self.batches.append(data_batch)
        self.before.append(copy.deepcopy(runner.network.state_dict()))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.after.append(copy.deepcopy(runner.network.state_dict()))
        self.outputs.append(outputs)


SGD = dict(type="SGD", lr=0.01)
PLAIN = dict(schedule=[], clip=None, model=dict(dropout=0.0))


def run(make_runner, work_dir="run", *, epochs=2, **values):
    """Trains; returns the runner and what its steps were."""
    runner = make_runner(work_dir, epochs=epochs, custom_hooks=[Steps()], **values)
    runner.train()
    return runner, next(hook for hook in runner.hooks if isinstance(hook, Steps))


def said(tmp_path):
    return "".join(path.read_text() for path in sorted(tmp_path.rglob("*.log")))


@pytest.mark.parametrize(
    ("change", "rate", "decay"),
    [(dict(lr=0.5), 0.5, 0.0), (dict(lr=0.25, weight_decay=0.1), 0.25, 0.1), (dict(weight_decay=0.3), 0.01, 0.3)],
)
def test_the_next_step_is_that_of_the_new_optimizer(make_runner, tmp_path, change, rate, decay):
    """By hand: w - lr · (gradient + decay · w), with the encoder at half the rate and no decay of norms and biases."""
    run(make_runner, optimizer=SGD, **PLAIN)
    runner, steps = run(make_runner, epochs=3, resume=True, optimizer={**SGD, **change}, log_level="INFO", **PLAIN)
    network = copy.deepcopy(runner.network).train()
    network.load_state_dict(steps.before[0])
    batch = network.data_preprocessor(steps.batches[0], training=True)
    sum(network(**batch, mode="loss").values()).backward()
    for name, weight in network.named_parameters():
        lr, wd = rate * (0.5 if name.startswith("backbone.") else 1), decay * (weight.ndim > 1)
        expected = weight.detach() - lr * (weight.grad + wd * weight.detach())
        torch.testing.assert_close(steps.after[0][name], expected, rtol=1e-6, atol=1e-8, msg=name)
    for name, value in change.items():
        before = SGD.get(name, "absent")
        assert f"optim_wrapper.optimizer.{name}: {before} → {value}: applied" in said(tmp_path)


def test_what_the_optimizer_remembers_stays(make_runner, tmp_path):
    momentum = dict(optimizer={**SGD, "momentum": 0.9}, **PLAIN)
    run(make_runner, **momentum)
    saved = torch.load(tmp_path / "run/epoch_2.pth", weights_only=True)["optimizer"]["state"]
    momentum["optimizer"] = {**momentum["optimizer"], "lr": 0.0}
    runner, steps = run(make_runner, epochs=3, length=2, resume=True, **momentum)
    state = runner.optim_wrapper.optimizer.state_dict()["state"]
    assert steps.rates == [(0.0,) * 4]
    assert all(torch.equal(steps.before[0][n], steps.after[0][n]) for n, _ in runner.network.named_parameters())
    grown = [not torch.equal(state[i]["momentum_buffer"], saved[i]["momentum_buffer"]) for i in saved]
    assert any(grown) and list(state) == list(saved)


POLY = [dict(type=PolyLR, power=0.9, convert_to_iter_based=True)]
WARM = [
    dict(type=LinearLR, start_factor=0.1, begin=0, end=1, convert_to_iter_based=True),
    dict(type=PolyLR, power=2.0, begin=1, convert_to_iter_based=True),
]
STAGES = [dict(type=MultiStepLR, milestones=[1, 3], gamma=0.5)]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (dict(schedule=POLY), dict(schedule=POLY)),
        (dict(schedule=POLY), dict(schedule=POLY, optimizer={**SGD, "lr": 0.3})),
        (dict(schedule=POLY), dict(schedule=WARM)),
        (dict(schedule=STAGES), dict(schedule=POLY)),
        (dict(schedule=POLY), dict(schedule=STAGES)),
        (dict(schedule=POLY), dict(schedule=POLY, batch_size=3)),
        (dict(schedule=[]), dict(schedule=POLY)),
    ],
    ids=["epochs", "rate", "another schedule", "from stages", "to stages", "batch size", "from none"],
)
def test_learning_rates_go_on_as_if_planned_so_from_the_start(make_runner, first, then):
    """Two of four epochs, of two planned ones, then the rest of a plan with changes."""
    kept = dict(optimizer=SGD, model=dict(dropout=0.0))
    run(make_runner, **{**kept, **first})
    _, resumed = run(make_runner, epochs=4, resume=True, **{**kept, **then})
    _, straight = run(make_runner, "straight", epochs=4, **{**kept, **then})
    assert resumed.rates == straight.rates[len(straight.rates) // 2 :]
    assert len(set(resumed.rates)) > 1


def test_polynomial_decay_by_its_formula(make_runner):
    run(make_runner, optimizer=SGD, schedule=POLY)
    _, steps = run(make_runner, epochs=5, resume=True, optimizer={**SGD, "lr": 0.2}, schedule=POLY)
    expected = [0.2 * (1 - step / 14) ** 0.9 for step in range(6, 15)]  # 0 in the last of 15
    assert [rates[-1] for rates in steps.rates] == pytest.approx(expected, rel=1e-9)


def test_another_batch_size(make_runner, tmp_path):
    """Batches are of that size, epochs of that many, and accumulation starts at the epoch's beginning."""
    run(make_runner, optimizer=SGD, accumulate=2, schedule=[])
    _, steps = run(
        make_runner, epochs=3, resume=True, optimizer=SGD, batch_size=1, accumulate=4, schedule=[], log_level="INFO"
    )
    assert [len(batch["label"]) for batch in steps.batches] == [1] * 6
    weights = [steps.before[0], *steps.after]
    moved = [not torch.equal(a[ALPHA], b[ALPHA]) for a, b in itertools.pairwise(weights)]
    assert moved == [False, False, False, True, False, True]  # windows of 4 and of the 2 that are left
    assert torch.load(tmp_path / "run/epoch_3.pth", weights_only=True)["meta"]["iter"] == 18
    assert "train_dataloader.batch_size: 2 → 1: applied" in said(tmp_path)
    assert "An epoch has 6 batches now, 3 before" in said(tmp_path)


def test_an_average_that_ends_leaves_the_weights_it_averaged(make_runner, tmp_path):
    run(make_runner, ema=dict(momentum=0.1))
    saved = torch.load(tmp_path / "run/epoch_2.pth", weights_only=True)
    _, steps = run(make_runner, epochs=3, resume=True, ema=False)
    weights = {n.removeprefix("module."): x for n, x in saved["ema_state_dict"].items() if n != "steps"}
    assert not torch.equal(weights[ALPHA], saved["state_dict"][ALPHA])
    assert_equal(dict(sorted(steps.before[0].items())), dict(sorted(weights.items())))
    assert "ema_state_dict" not in torch.load(tmp_path / "run/epoch_3.pth", weights_only=True)


def test_an_average_that_begins_and_one_of_another_momentum(make_runner, tmp_path):
    run(make_runner, optimizer=SGD)
    run(make_runner, epochs=3, length=2, resume=True, optimizer=SGD, ema=dict(momentum=0.25))
    _, steps = run(make_runner, epochs=4, length=2, resume=True, optimizer=SGD, ema=dict(momentum=0.5))
    third, fourth = (torch.load(tmp_path / f"run/epoch_{epoch}.pth", weights_only=True) for epoch in (3, 4))
    average = third["state_dict"][ALPHA]
    expected = average + 0.5 * (steps.after[0][ALPHA] - average)
    torch.testing.assert_close(fourth["state_dict"][ALPHA], expected)


def test_other_data_workers_and_precision_take_effect(make_runner, tmp_path):
    run(make_runner, length=6)
    runner, steps = run(
        make_runner, epochs=3, resume=True, length=4, workers=1, dtype="bfloat16", clip=1.0, log_level="INFO"
    )
    assert (len(steps.batches), runner.train_dataloader.num_workers) == (2, 1)
    assert (runner.optim_wrapper.dtype, runner.optim_wrapper.clip_grad_kwargs) == (torch.bfloat16, {"max_norm": 1.0})
    for line in (
        "train_dataloader.dataset.length: 6 → 4: applied",
        "train_dataloader.num_workers: 0 → 1: applied",
        "optim_wrapper.dtype: None → 'bfloat16': applied",
        "optim_wrapper.clip_grad.max_norm: 5.0 → 1.0: applied",
        "train_cfg.max_epochs: 2 → 3: applied",
    ):
        assert line in said(tmp_path)


def test_another_weight_of_the_gates_is_the_next_steps(make_runner, tmp_path):
    gates = {"supervision": "literal", "hidden": 2}
    network = dict(type=multimodal_segmentor, backbone="test_resnet", decoder=dict(width=8, dropout=0.0))
    run(make_runner, "gates", model={**network, "purification": gates})
    changed = {**network, "purification": {**gates, "weight": 0.25}}
    run(make_runner, "gates", epochs=3, resume=True, log_level="INFO", model=changed)
    assert "model.purification.weight: 0.5 → 0.25: applied" in said(tmp_path / "gates")
    with pytest.raises(ValueError, match=r"model\.purification\.context is 'cross' → 'own'"):
        changed = {**network, "purification": {**gates, "context": "own"}}
        run(make_runner, "gates", epochs=4, resume=True, model=changed)


def test_another_loss_is_the_next_steps(make_runner, tmp_path):
    """What is of a model's training alone may change, class weights among them, whatever the checkpoint holds."""
    weights = {"name": "cross_entropy", "class_weights": [1.0, 2.0, 4.0]}
    network = dict(
        type=multimodal_segmentor, backbone="test_resnet", decoder=dict(width=8, dropout=0.0), norm_eval=True
    )
    for loss in ({**weights, "class_weights": [3.0, 1.0, 1.0]}, "cross_entropy"):
        run(make_runner, str(loss), model={**network, "loss": loss})
        resumed = dict(resume=True, log_level="INFO", model={**network, "loss": weights})
        runner, steps = run(make_runner, str(loss), epochs=3, **resumed)
        assert runner.network.state_dict()["heads.labels.task.loss.weight"].tolist() == [1.0, 2.0, 4.0]
        model = copy.deepcopy(runner.network)
        model.load_state_dict(steps.before[0])
        batch = model.data_preprocessor(steps.batches[0])
        logits = model.train()(batch["inputs"])["rgb"]
        expected = torch.nn.functional.cross_entropy(
            logits, batch["targets"]["labels"].truth, torch.tensor([1.0, 2.0, 4.0]), ignore_index=255
        )
        torch.testing.assert_close(steps.outputs[0]["loss_rgb"], expected)
        assert re.search(r"model.heads.labels.loss\S* .*: applied", said(tmp_path / str(loss)))
    with pytest.raises(ValueError, match=r"model\.backbone\.name is 'test_resnet' → 'resnet18'"):
        run(make_runner, "cross_entropy", epochs=4, resume=True, model={**network, "backbone": "resnet18"})
    given = dict(resume=True, log_level="INFO", model={**network, "loss": weights, "norm": "private"})  # the default
    run(make_runner, "cross_entropy", epochs=4, **given)
    assert "model.norm" not in said(tmp_path / "cross_entropy")


def test_nothing_is_said_where_nothing_changed(make_runner, tmp_path):
    make_runner(epochs=2).train()
    make_runner(epochs=2, resume=True, log_level="INFO").train()
    assert ": applied" not in said(tmp_path).replace("log_level: 'ERROR' → 'INFO': applied", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(optimizer=SGD), "optim_wrapper.optimizer.type is 'AdamW' → 'SGD' since.*--load-from"),
        (dict(optimizer=dict(type="AdamW", lr=0.01, amsgrad=True)), "optim_wrapper.optimizer.amsgrad is absent → True"),
        (dict(model=dict(num_classes=4)), "model.num_classes is 3 → 4 since.*a run keeps its model"),
        (
            dict(schedule=[dict(type=ReduceOnPlateauLR, monitor="loss")]),
            "param_scheduler.0.*changed: a schedule that follows the scores",
        ),
        (
            dict(epochs=4, schedule=[dict(type=OneCycleLR, total_steps=3, eta_max=0.1, convert_to_iter_based=True)]),
            "param_scheduler.*total_steps.*OneCycleLR ends after 9 steps, the run after 12",
        ),
    ],
    ids=["optimizer", "amsgrad", "model", "plateau", "one-cycle"],
)
def test_what_a_run_cannot_follow_is_refused(make_runner, change, message):
    make_runner(epochs=2).train()
    with pytest.raises(ValueError, match=message):
        make_runner(**{"epochs": 3, **change}, resume=True).train()


def test_a_best_score_of_another_validation_does_not_count(make_runner, tmp_path):
    make_runner(epochs=2).train()
    rewrite(tmp_path / "run/epoch_2.pth", lambda state: state["message_hub"]["runtime_info"].update(best_score=1e9))
    make_runner(epochs=3, resume=True).train()
    assert not (tmp_path / "run/best_mIoU_epoch_3.pth").exists()
    runner = make_runner(epochs=4, resume=True)
    runner._val_dataloader["dataset"]["length"] = runner.cfg.val_dataloader.dataset.length = 2
    runner.train()
    assert (tmp_path / "run/best_mIoU_epoch_4.pth").exists()


def test_an_older_checkpoint_is_compared_by_its_text(make_runner, tmp_path):
    make_runner(epochs=2).train()
    text = """model = dict(type='tiny.tiny_segmentor', modalities=('rgb', 'depth'), num_classes=3)
optim_wrapper = dict(
    type='rgbx.engine.optim.AutocastOptimWrapper',
    constructor='rgbx.engine.optim.EncoderDecoderConstructor',
    optimizer=dict(lr=0.5, type='AdamW'))
custom_hooks = [hook()]
"""

    def age(state):
        del state["meta"]["config"]
        state["meta"]["cfg"] = text

    rewrite(tmp_path / "run/epoch_2.pth", age)
    make_runner(epochs=3, resume=True, log_level="INFO").train()
    assert "optim_wrapper.optimizer.lr: 0.5 → 0.01: applied" in said(tmp_path)
    assert "optim_wrapper.type" not in said(tmp_path).partition("Resumed ")[2]
    assert "Whether custom_hooks changed cannot be told" in said(tmp_path)


def test_a_checkpoint_without_a_config(make_runner, tmp_path):
    make_runner(epochs=2).train()
    rewrite(tmp_path / "run/epoch_2.pth", forget)
    make_runner(epochs=2, resume=True, log_level="INFO").train()
    assert re.search(
        r"Whether .*optim_wrapper.* changed cannot be told: .*epoch_2\.pth does not hold it", said(tmp_path)
    )


def test_text_and_object_give_the_same_flat_config(make_runner):
    config = copy.deepcopy(make_runner().cfg)
    for name in list(config._cfg_dict):
        if name not in ("train_cfg", "work_dir", "log_level"):
            del config._cfg_dict[name]
    assert read_config_text(config.pretty_text) == (flat_config(config), [])
    assert read_config_text("a = (") == ({}, ["config"])
    assert read_config_text("a = print()\nb = dict(c=[1, (2,)])\n_d = 1") == ({"b.c.0": "1", "b.c.1.0": "2"}, ["a"])


def test_the_state_before_and_after_differs_only_where_it_was_asked(make_runner, tmp_path):
    """A change of the workers alone leaves the resumed run bit for bit the uninterrupted one."""
    make_runner("straight", epochs=3).train()
    runner = make_runner("stopped", epochs=3)
    runner.train()
    (tmp_path / "stopped/last_checkpoint").write_text("epoch_2.pth")
    (tmp_path / "stopped/epoch_3.pth").unlink()
    make_runner("stopped", epochs=3, workers=1, resume=True).train()
    assert_equal(*(training_state(tmp_path / name / "epoch_3.pth") for name in ("straight", "stopped")))
