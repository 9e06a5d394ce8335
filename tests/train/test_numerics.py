"""What is not finite in a step of training: told at that step, never saved, and left out as if it had not been made."""

import copy
import json
import math

import plain_objective  # noqa: F401
import pytest
import torch
from mmengine.dist import get_rank
from mmengine.hooks import EMAHook, Hook, LoggerHook
from mmengine.visualization import LocalVisBackend, Visualizer
from processes import free_port, set_rank, two_processes
from runner_of_tiny import HOOKS, SCHEDULES, loader
from test_adversarial import settings
from test_resume import Interruption, assert_equal, training_state
from tiny import tiny_segmentor

from rgbx.cli.errors import run_command
from rgbx.models import multimodal_segmentor
from rgbx.train.checkpoint_hook import CheckpointHook
from rgbx.train.distributed import finish_together, unwrap
from rgbx.train.loops import training_step
from rgbx.train.numerics import SKIPPED, NonFiniteError, build_guard
from rgbx.train.optim import AutocastOptimWrapper, EncoderDecoderConstructor
from rgbx.train.runner import Runner

NAN, SKIP = math.nan, "skip"


class Fault(Hook):
    """Makes something of a step NaN or infinite: `what`, in the batches `at`, counted over the run, of one process."""

    def __init__(self, what, at, rank=0):
        self.what, self.at, self.rank, self.batch = what, at, rank, -1

    @property
    def strikes(self):
        return self.batch in self.at and get_rank() == self.rank

    def before_train(self, runner):
        self.batch = runner.iter - 1
        model = unwrap(runner.model)
        forward = model.forward
        first = next(model.parameters())
        if self.what == "gradient":
            first.register_hook(lambda gradient: gradient * NAN if self.strikes else gradient)

        def faulty(*args, mode="tensor", **kwargs):
            found = forward(*args, mode=mode, **kwargs)
            if not self.strikes or mode not in ("loss", "generator", "discriminator"):
                return found
            losses = found[0] if mode == "generator" else found
            if self.what == "statistic":
                model.backbone.norm.norms["depth"].running_var.data[1] = math.inf
            elif self.what in losses:
                losses[self.what] = losses[self.what] * NAN
            return found

        model.forward = faulty

    def before_train_iter(self, runner, **kwargs):
        self.batch += 1


class Unmade(Hook):
    """The reference: what a step changed of model and optimizers is set back to what it was before, by copies.

    Args:
        windows: first and last batch of each step.
    """

    priority = "VERY_HIGH"  # before an average sees the weights

    def __init__(self, *windows):
        self.first, self.last = zip(*windows, strict=True)

    def before_train_iter(self, runner, **kwargs):
        if runner.iter in self.first:
            wrapper = runner.optim_wrapper
            self.kept = copy.deepcopy((runner.model.state_dict(), wrapper.optimizer.state_dict()))

    def after_train_iter(self, runner, **kwargs):
        if runner.iter in self.last:
            runner.model.load_state_dict(self.kept[0])
            rates = [group["lr"] for group in runner.optim_wrapper.param_groups]
            runner.optim_wrapper.optimizer.load_state_dict(self.kept[1])
            for group, rate in zip(runner.optim_wrapper.param_groups, rates, strict=True):
                group["lr"] = rate  # schedules count batches


def found_hook(runner, kind):
    return next(hook for hook in runner.hooks if isinstance(hook, kind))


def finite(path):
    """Whether every tensor below a checkpoint's keys is, but for what bounds inputs."""
    state = torch.load(path, weights_only=True)

    def every(value, name=""):
        if isinstance(value, dict):
            return all(every(item, str(key)) for key, item in value.items())
        if isinstance(value, (list, tuple)):
            return all(every(item) for item in value)
        return not isinstance(value, torch.Tensor) or name.endswith(".max") or bool(value.isfinite().all())

    return every(state)


CASES = {
    "loss": ("loss_depth", 4, [(4, 4)], {}),
    "gradient": ("gradient", 4, [(4, 4)], {}),
    "statistic": ("statistic", 4, [(4, 4)], dict(ema=dict(momentum=0.1, update_buffers=True))),
    "the first of two that are accumulated": ("loss_depth", 3, [(3, 4)], dict(accumulate=2)),
    "the last of two that are accumulated": ("gradient", 1, [(0, 1)], dict(accumulate=2)),
    "bfloat16": ("loss_depth", 4, [(4, 4)], dict(dtype="bfloat16")),
}


@pytest.mark.parametrize(("what", "at", "windows", "values"), CASES.values(), ids=CASES)
def test_a_step_that_is_left_out_is_as_if_it_had_not_been_made(make_runner, tmp_path, what, at, windows, values):
    values = {"epochs": 2, "ema": dict(momentum=0.1), **values}
    make_runner("reference", custom_hooks=[Unmade(*windows)], **values).train()
    runner = make_runner("skipped", on_nonfinite=SKIP, custom_hooks=[Fault(what, [at])], **values)
    runner.train()
    assert runner.message_hub.get_info(SKIPPED) == 1
    for epoch in (1, 2):
        assert_equal(*(training_state(tmp_path / name / f"epoch_{epoch}.pth") for name in ("reference", "skipped")))
    assert all(finite(path) for path in (tmp_path / "skipped").glob("*.pth"))
    if what == "gradient":
        make_runner("whole", **values).train()
        with pytest.raises(AssertionError):  # the step does matter
            assert_equal(*(training_state(tmp_path / name / "epoch_2.pth") for name in ("whole", "skipped")))


def test_a_resumed_run_leaves_out_the_same_and_counts_on(make_runner, tmp_path):
    def make(name, *hooks, limit=3, **values):
        return make_runner(
            name,
            on_nonfinite=dict(policy=SKIP, limit=limit),
            custom_hooks=[Fault("loss_depth", [1, 2, 6]), *hooks],
            ema=True,
            **values,
        )

    make("straight").train()
    with pytest.raises(KeyboardInterrupt):
        hooks = dict(checkpoint=dict(HOOKS["checkpoint"], step_interval=1))
        make("stopped", Interruption(epoch=2), default_hooks=hooks).train()
    assert (tmp_path / "stopped/epoch_2_iter_7.pth").is_file()  # after the third one that is left out
    runner = make("stopped", resume=True)
    runner.train()
    assert runner.message_hub.get_info(SKIPPED) == 3
    assert_equal(*(training_state(tmp_path / name / "epoch_3.pth") for name in ("straight", "stopped")))
    with pytest.raises(KeyboardInterrupt):
        make("limited", Interruption(epoch=1)).train()
    with pytest.raises(NonFiniteError, match=r"epoch 3, iteration 1 of 3: .* not made, 2 steps were left out before"):
        make("limited", limit=2, resume=True).train()
    path = tmp_path / "stopped/epoch_3.pth"
    state = torch.load(path, weights_only=True)
    state["message_hub"]["runtime_info"][SKIPPED] = "many"
    torch.save(state, path)
    with pytest.raises(ValueError, match="skipped_steps is 'many'"):
        make("stopped", resume=True, epochs=4).train()


MESSAGES = {
    "loss_depth": "loss_depth (nan); samples",
    "gradient": "the gradient of backbone.conv.weight; samples",
    "statistic": "the running statistics backbone.norm.norms.depth.running_var; samples",
}


@pytest.mark.parametrize("what", MESSAGES)
def test_a_run_stops_at_the_step_and_says_where(make_runner, tmp_path, capsys, what):
    runner = make_runner(custom_hooks=[Fault(what, [4]), Seen()], ema=True, clip=None)
    assert run_command(lambda _: runner.train()) == 2
    seen = found_hook(runner, Seen)
    message = capsys.readouterr().err.strip().splitlines()[-1]
    ids = ", ".join(map(repr, seen.ids))
    assert message == (
        f"error: training has diverged, not finite in epoch 2, iteration 2 of 3: {MESSAGES[what]} {ids}; learning "
        f"rates {seen.rates[0]:.3g} encoder, {seen.rates[1]:.3g} decoder. The update was not made; "
        f"{tmp_path / 'run/epoch_1.pth'}, from before, is the newest checkpoint. What may help: a lower learning rate "
        "(optim_wrapper.optimizer.lr), clipped gradients (optim_wrapper.clip_grad=dict(max_norm=1.0)), "
        "on_nonfinite='skip', which leaves such steps out"
    )
    average = found_hook(runner, EMAHook).ema_model
    for tensor in (*runner.network.parameters(), *average.parameters(), *average.buffers()):
        assert tensor.isfinite().all() or tensor.shape[1:] == (1, 1)
    found = sorted(path.name for path in (tmp_path / "run").glob("*.pth"))
    assert found == ["best_mIoU_epoch_1.pth", "epoch_1.pth"]
    assert all(finite(tmp_path / "run" / name) for name in found)
    make_runner(resume=True, ema=True).train()  # with what was wrong mended


class Seen(Hook):
    """Ids and learning rates of the last batch."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.ids, self.rates = data_batch["sample_id"], runner.optim_wrapper.get_lr()["lr"]
        self.rates = list(dict.fromkeys(self.rates))


def test_weights_that_the_last_update_made_infinite_are_not_saved(make_runner, tmp_path):
    """As no loss follows in the epoch; where one does, it is the weights that are named."""

    def make(at, name):
        options = dict(schedule=None, clip=None, optimizer=dict(type="SGD", lr=0.01))
        runner = make_runner(name, on_nonfinite=SKIP, custom_hooks=[Explosion(at)], **options)
        with pytest.raises(NonFiniteError) as caught:
            runner.train()
        return str(caught.value)

    message = make(5, "last")
    assert "by the last updates of epoch 2, backbone.conv.weight, backbone.conv.bias" in message
    assert "epoch_1.pth, from before" in message
    assert sorted(path.name for path in (tmp_path / "last").glob("epoch*")) == ["epoch_1.pth"]
    message = make(3, "before")
    assert "epoch 2, iteration 2 of 3: since an earlier update backbone.conv.weight" in message
    runner = make_runner("average", epochs=2, ema=True)
    runner.train()
    found_hook(runner, EMAHook).ema_model.module.backbone.conv.bias.fill_(NAN)
    with pytest.raises(NonFiniteError, match=r"updates of epoch 7, backbone.conv.bias of the model are not finite"):
        runner.save_checkpoint(runner.work_dir, "more.pth", meta=dict(epoch=7))
    assert not (tmp_path / "average/more.pth").exists()
    assert all(finite(path) for path in tmp_path.glob("*/*.pth"))


def test_a_process_that_writes_nothing_refuses_inside_an_epoch_as_the_one_that_does(make_runner, monkeypatch):
    monkeypatch.setattr(Runner, "save_checkpoint", lambda *_, **__: None)
    hooks = dict(checkpoint=dict(type=CheckpointHook, step_interval=1))
    options = dict(schedule=None, clip=None, optimizer=dict(type="SGD", lr=0.01))
    with pytest.raises(NonFiniteError, match=r"by the last updates of epoch 2.*; there is no checkpoint yet"):
        make_runner(custom_hooks=[Explosion(3)], default_hooks=hooks, **options).train()


def test_a_damaged_checkpoint_is_not_told_as_the_newest(make_runner, tmp_path):
    class Damage(Hook):
        def before_train_iter(self, runner, **kwargs):
            for name in ("epoch_2.pth", "epoch_1.pth")[: max(0, runner.iter - 5)]:
                (tmp_path / "run" / name).write_bytes(b"torn")

    def message(at):
        runner = make_runner(custom_hooks=[Fault("loss_depth", [at]), Damage()])
        with pytest.raises(NonFiniteError) as caught:
            runner.train()
        return str(caught.value)

    assert f"{tmp_path / 'run/epoch_1.pth'}, from before, is the newest checkpoint" in message(6)
    assert "no checkpoint from before is intact" in message(7)


class Explosion(Hook):
    """An update by a learning rate that no number can follow."""

    def __init__(self, at):
        self.at = at

    def before_train_iter(self, runner, **kwargs):
        for group in runner.optim_wrapper.param_groups if runner.iter == self.at else ():
            group["lr"] = 1e38


def test_what_is_left_out_is_not_logged_as_a_number(make_runner, tmp_path):
    runner = make_runner(
        on_nonfinite=SKIP,
        accumulate=2,
        custom_hooks=[Fault("loss_depth", [0, 4])],
        default_hooks=dict(logger=dict(type=LoggerHook, interval=1), **HOOKS),
        visualizer=dict(type=Visualizer, vis_backends=[dict(type=LocalVisBackend)]),
        log_level="WARNING",
    )
    runner.train()
    (scalars,) = (tmp_path / "run").glob("*/vis_data/scalars.json")
    logged = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert all(math.isfinite(x) for line in logged for x in line.values() if isinstance(x, float))
    assert "loss" not in logged[0] and "loss_rgb" in logged[0] and "loss" in logged[1]
    (log,) = (tmp_path / "run").glob("*/*.log")
    warnings = [line for line in log.read_text().splitlines() if "A step is left out" in line]
    assert len(warnings) == 2 and "iteration 2 of 3: loss_depth (nan); samples" in warnings[0]
    assert "It is number 2 of at most 10" in warnings[1]


@pytest.mark.parametrize(
    ("what", "generator"), [("loss_l1_edge", False), ("loss_discriminator", True), ("loss_judged_told", True)]
)
def test_two_optimizers(make_runner, tmp_path, what, generator):
    """A generator that is left out leaves its opponent out as well; an opponent leaves out its own changes alone."""
    hooks = dict(on_nonfinite=SKIP, custom_hooks=[Fault(what, [4]), Compared(4)])
    if what == "loss_judged_told":  # a network with running statistics, and an opponent beside it
        model = dict(type=multimodal_segmentor, backbone="test_resnet", objectives=["judged"])
        runner = make_runner("run", epochs=2, model=model, **hooks)
    else:
        model = dict(discriminator=dict(width=4, layers=2, spectral_norm=True))
        runner = Runner.from_cfg(settings(tmp_path / "run", epochs=2, model=model, **hooks))
    runner.train()
    assert runner.message_hub.get_info(SKIPPED) == 1
    changed = found_hook(runner, Compared).changed
    assert any(name.endswith(".weight") and ".opponent." not in name for name in changed) == generator
    assert any(name.endswith(".running_var") for name in changed) == (what == "loss_judged_told")
    assert not any(".opponent." in name for name in changed)
    assert finite(tmp_path / "run/epoch_2.pth")


def test_a_discriminator_that_is_not_finite_stops_a_run(tmp_path):
    with pytest.raises(NonFiniteError, match=r"discriminator's loss_discriminator \(nan\)"):
        Runner.from_cfg(settings(tmp_path, custom_hooks=[Fault("loss_discriminator", [0])])).train()


class Compared(Hook):
    """Names of the model's tensors that a step has changed."""

    def __init__(self, at):
        self.at = at

    def before_train_iter(self, runner, **kwargs):
        self.before = copy.deepcopy(runner.network.state_dict())

    def after_train_iter(self, runner, **kwargs):
        if runner.iter == self.at:
            self.changed = [n for n, x in runner.network.state_dict().items() if not torch.equal(x, self.before[n])]


def test_overflow_is_for_the_loss_scale_until_that_comes_to_nothing(make_runner, tmp_path):
    """The scaler of a CPU, as float16 itself needs a GPU."""
    runner = make_runner(epochs=12, custom_hooks=[Fault("gradient", [1, *range(6, 99)]), Scaled(2.0**-8)])
    with pytest.raises(NonFiniteError, match=r"epoch 4, iteration 3 .* any loss scale, which has come down to 6.1e-05"):
        runner.train()
    assert runner.message_hub.get_info(SKIPPED) is None
    assert all(finite(path) for path in (tmp_path / "run").glob("*.pth"))
    assert all(math.isfinite(x) for x in runner.message_hub.get_scalar("train/grad_norm").data[0])


class Scaled(Hook):
    def __init__(self, scale):
        self.scale = scale

    def before_train(self, runner):
        runner.optim_wrapper.scaler = torch.amp.GradScaler("cpu", init_scale=self.scale)


def distributed(rank, port, folder):
    """Three runs of two processes: the second one's loss is not finite once, then the first one's statistics."""
    set_rank(rank, port)

    def make(name, **values):
        torch.manual_seed(0)
        return Runner.from_cfg(
            dict(
                model=dict(type=tiny_segmentor, modalities=("rgb", "depth"), num_classes=3),
                work_dir=str(folder / name),
                train_dataloader=loader(True, 0, 1, length=6),
                train_cfg=dict(by_epoch=True, max_epochs=2),
                optim_wrapper=dict(
                    type=AutocastOptimWrapper,
                    constructor=EncoderDecoderConstructor,
                    accumulative_counts=2,
                    optimizer=dict(type="AdamW", lr=0.01),
                ),
                param_scheduler=copy.deepcopy(SCHEDULES["poly"]),
                default_hooks=dict(checkpoint=dict(type=CheckpointHook, save_best=None)),
                log_level="ERROR",
                launcher="pytorch",
                **values,
            )
        )

    make("reference", custom_hooks=[Unmade((0, 1), (5, 5))]).train()
    hooks = [Fault("loss_depth", [0], rank=1), Fault("statistic", [5], rank=0)]
    skipped = make("skipped", custom_hooks=hooks, on_nonfinite=SKIP)
    skipped.train()
    message = ""
    try:
        make("stopped", custom_hooks=[Fault("loss_depth", [4], rank=1)]).train()
    except NonFiniteError as error:
        message = str(error)
    count = skipped.message_hub.get_info(SKIPPED)
    torch.save({"message": message, "count": count, "state": skipped.network.state_dict()}, folder / f"{rank}.pth")
    finish_together()
    torch.distributed.destroy_process_group()


def test_processes_decide_alike(tmp_path):
    two_processes(distributed, free_port(), tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pth") for rank in range(2))
    assert first["count"] == second["count"] == 2
    assert_equal(first["state"], second["state"])
    assert_equal(*(training_state(tmp_path / name / "epoch_2.pth") for name in ("reference", "skipped")))
    assert first["message"] == second["message"]
    assert "epoch 2, iteration 2 of 3: loss_depth (nan); sample 'half/" in first["message"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("skp", "policy='skp'; expected one of stop, skip; did you mean 'skip'"),
        (dict(policy="skip", limit=-1), "limit=-1; expected a whole number of at least 0"),
        (dict(policy="skip", most=3), "no 'most'; it has policy and limit"),
    ],
)
def test_other_policies_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        build_guard(given)


def test_a_check_waits_for_the_device_once(make_runner, monkeypatch):
    """One reading of a tensor's values for each batch, so one wait on a GPU."""
    runner = make_runner(epochs=1, clip=None, schedule=None, on_nonfinite=SKIP)
    runner.train()
    batch = next(iter(runner.train_dataloader))
    reads = []
    for name in ("item", "tolist", "__bool__", "__float__", "cpu"):
        read = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda x, *a, _read=read: reads.append(1) or _read(x, *a))
    training_step(runner.model, batch, runner.optim_wrapper)
    without = len(reads)
    training_step(runner.model, batch, runner.optim_wrapper, runner.guard)
    assert len(reads) == 2 * without + 1
