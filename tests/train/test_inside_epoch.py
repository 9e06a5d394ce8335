"""A training saved between two steps of an epoch goes on there: no sample twice, none left out, no bit differs."""

import random
import shutil
import signal
from contextlib import suppress

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.hooks import Hook
from mmengine.optim import OneCycleLR
from processes import free_port, set_rank, two_processes
from test_resume import CASES, assert_equal, train, training_state
from tiny import Halves

from rgbx.datasets import EpochSampler
from rgbx.models import multimodal_segmentor
from rgbx.train.checkpoint_hook import CheckpointHook
from rgbx.train.distributed import finish_together
from rgbx.train.optim import AutocastOptimWrapper, EncoderDecoderConstructor
from rgbx.train.runner import Runner
from rgbx.train.stopping import TrainingStopped
from rgbx.transforms import HorizontalFlip, PackSample

LENGTH = 10  # five batches
LONGER = [dict(type=OneCycleLR, eta_max=0.01, total_steps=2, convert_to_iter_based=True)]


class Events(Hook):
    """Notes the samples of each step; sends this process a signal, or raises, after one of them (counted from 1)."""

    def __init__(self, step=None, number=signal.SIGTERM, rank=0, validation=None):
        self.step, self.number, self.rank, self.validation, self.seen = step, number, rank, validation, []

    def after_train_iter(self, runner, batch_idx, data_batch=None, **kwargs):
        self.seen.append((runner.epoch, batch_idx, list(data_batch["sample_id"]), data_batch["rgb"].sum().item()))
        if runner.iter + 1 == self.step and runner.rank == self.rank:
            self._happen()

    def after_val_iter(self, runner, **kwargs):
        if runner.epoch == self.validation:
            self._happen()

    def _happen(self):
        if self.number is None:
            raise KeyboardInterrupt
        signal.raise_signal(self.number)


def saving(**options):
    return dict(checkpoint=dict(type=CheckpointHook, **{"max_keep_ckpts": -1, **options}))


def disturb():
    """Another process, another state."""
    random.seed(99), np.random.seed(99), torch.manual_seed(99)


def run(make_runner, name, events, **case):
    """Trains; returns what `events` saw, also where it was stopped."""
    runner = make_runner(name, epochs=2, length=LENGTH, custom_hooks=[events], **case)
    with suppress(TrainingStopped, KeyboardInterrupt):
        train(runner)
    return next(hook for hook in runner.hooks if isinstance(hook, Events)).seen


@pytest.mark.parametrize(
    ("case", "number"),
    [*((case, signal.SIGTERM) for case in CASES), ("everything", None)],
)
def test_resumed_inside_an_epoch_equals_uninterrupted(make_runner, tmp_path, case, number):
    """Stopped by a signal, which saves, or by a crash some steps after the state was saved as often as asked for."""
    case = CASES[case] | ({"schedule": LONGER} if case == "one-cycle" else {})
    seen = run(make_runner, "straight", Events(), **case)
    assert [len({name for at, _, ids, _ in seen for name in ids if at == epoch}) for epoch in range(2)] == [LENGTH] * 2
    hooks = saving(step_interval=3) if number is None else saving()
    before = run(make_runner, "stopped", Events(step=8, number=number), default_hooks=hooks, **case)
    (left,) = (path.name for path in (tmp_path / "stopped").glob("*iter*"))
    step = int(left.removesuffix(".pth").rpartition("_")[2])
    assert step == (7 if number is None else 9 if "accumulate" in case else 8)
    assert (tmp_path / "stopped/last_checkpoint").read_text() == left == f"epoch_1_iter_{step}.pth"
    disturb()
    after = run(make_runner, "stopped", Events(), resume=True, default_hooks=hooks, **case)
    assert before[:step] + after == seen
    assert_equal(*(training_state(tmp_path / name / "epoch_2.pth") for name in ("straight", "stopped")))
    assert not list((tmp_path / "stopped").glob("*iter*"))


def test_another_batch_size_repeats_no_sample_and_leaves_none_out_however_often_an_epoch_is_resumed(
    make_runner, tmp_path
):
    """Ten samples: two batches of two, then of three: one of them, and the last one."""
    case = dict(default_hooks=saving())
    before = run(make_runner, "run", Events(step=2), **case)
    for step in (3, None):
        before += run(make_runner, "run", Events(step=step), resume=True, batch_size=3, **case)
    ids = [[name for at, _, names, _ in before if at == epoch for name in names] for epoch in range(2)]
    assert [len(set(names)) for names in ids] == [len(names) for names in ids] == [LENGTH] * 2
    assert torch.load(tmp_path / "run/epoch_2.pth", weights_only=True)["meta"]["iter"] == 8


@pytest.mark.parametrize("ema", [False, True])
def test_a_signal_in_a_validation_saves_an_epoch_that_was_not_due(make_runner, tmp_path, ema):
    run(make_runner, "straight", Events(), ema=ema, default_hooks=saving(interval=2))
    hooks = saving(interval=2, save_best=None)
    before = run(make_runner, "stopped", Events(validation=1), ema=ema, default_hooks=hooks)
    assert [path.name for path in (tmp_path / "stopped").glob("*.pth")] == ["epoch_1.pth"]
    disturb()
    after = run(make_runner, "stopped", Events(), ema=ema, default_hooks=hooks, resume=True)
    assert {epoch for epoch, *_ in before} == {0} and {epoch for epoch, *_ in after} == {1}
    assert_equal(*(training_state(tmp_path / name / "epoch_2.pth") for name in ("straight", "stopped")))


def test_what_is_kept_and_what_is_refused(make_runner, tmp_path):
    run(make_runner, "run", Events(step=5, number=None), default_hooks=saving(step_interval=2))
    assert [path.name for path in (tmp_path / "run").glob("*.pth")] == ["epoch_0_iter_4.pth"]
    state = torch.load(tmp_path / "run/epoch_0_iter_4.pth", weights_only=True)
    assert (state["inside_epoch"]["samples"], state["inside_epoch"]["length"]) == (8, 5)
    for damage in ({"samples": -1}, {"processes": []}, {"processes": [{"random": {}, "buffers": {}}]}, {"length": 0.5}):
        torch.save({**state, "inside_epoch": {**state["inside_epoch"], **damage}}, tmp_path / "run/damaged.pth")
        with pytest.raises(ValueError, match=r"damaged\.pth.* its (inside_epoch|random)"):
            make_runner("other", length=LENGTH, resume=True, load_from=str(tmp_path / "run/damaged.pth")).train()
    with pytest.raises(ValueError, match="step_interval >= 1 or None, found 1, 2, None and -1"):
        CheckpointHook(step_interval=-1)
    runner = make_runner("foreign", default_hooks=saving(step_interval=2))
    foreign = torch.utils.data.DataLoader(Halves(transforms=[PackSample()]), batch_size=2)
    runner._train_loop["dataloader"] = foreign
    with pytest.raises(ValueError, match=r"sampler is rgbx\.datasets\.EpochSampler.*found SequentialSampler"):
        runner.train()
    runner = make_runner("ended", custom_hooks=[Events(step=2)])
    runner._train_loop["dataloader"] = foreign
    with pytest.raises(TrainingStopped, match=r"after step 2, whose epoch cannot be taken up there: .*EpochSampler"):
        runner.train()


def test_another_order_than_that_of_the_epoch_under_way_is_refused(make_runner, monkeypatch):
    """As of shards that were packed anew: what is left of the epoch would repeat samples and leave others out."""
    monkeypatch.setattr(Halves, "epoch_order", lambda self, rng: np.arange(len(self))[::-1], raising=False)
    seen = run(make_runner, "straight", Events(), default_hooks=saving())
    before = run(make_runner, "stopped", Events(step=3), default_hooks=saving())
    with monkeypatch.context() as patch:
        patch.setattr(Halves, "epoch_order", lambda self, rng: np.arange(len(self)))
        with pytest.raises(ValueError, match=r"epoch 1 do not come in the order in which they did .* packed anew"):
            run(make_runner, "stopped", Events(), resume=True, default_hooks=saving())
    assert before + run(make_runner, "stopped", Events(), resume=True, default_hooks=saving()) == seen


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3), (3, 2), (3, 1)])
@pytest.mark.parametrize("length", [12, 13])
def test_another_number_of_processes_keeps_the_global_order(before, after, length):
    """The samples that are left, by a naive loop over the order of one process."""

    def of(rank, processes, done=0):
        sampler = EpochSampler(range(length), seed=4)
        sampler.rank, sampler.world_size = rank, processes
        sampler.set_epoch(3, done=done)
        return list(sampler)

    order = of(0, 1)
    steps = 2  # of one sample for each process
    had = [of(rank, before)[step] for step in range(steps) for rank in range(before)]
    assert had == order[: steps * before]
    shares = [of(rank, after, done=len(had)) for rank in range(after)]
    left = [share[step] for step in range(len(shares[0])) for share in shares]
    expected = order[len(had) :]
    assert left[: len(expected)] == expected
    assert left[len(expected) :] == order[: len(left) - len(expected)] and len(left) - len(expected) < after


MODEL = dict(
    type=multimodal_segmentor, modalities=("rgb", "depth"), num_classes=3, backbone="test_resnet", modality_dropout=0.5
)


def distributed_runner(folder, events, batch_size=2, launcher="pytorch", **values):
    data = dict(type=Halves, length=LENGTH, size=(32, 48), transforms=[HorizontalFlip(), PackSample()])
    return Runner.from_cfg(
        dict(
            model=MODEL,
            work_dir=str(folder),
            launcher=launcher,
            log_level="ERROR",
            train_dataloader=dict(
                batch_size=batch_size,
                sampler=dict(type=EpochSampler, shuffle=True),
                collate_fn=dict(type=default_collate),
                dataset=data,
            ),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            optim_wrapper=dict(
                type=AutocastOptimWrapper,
                constructor=EncoderDecoderConstructor,
                optimizer=dict(type="SGD", lr=0.01, momentum=0.9),
            ),
            default_hooks=saving(),
            custom_hooks=[events],
            ema=True,
            **values,
        )
    )


def seen_by(runner):
    with suppress(TrainingStopped):
        runner.train()
    return next(hook for hook in runner.hooks if isinstance(hook, Events)).seen


def process(rank, port, folder):
    """An undisturbed run, one in which the second process alone gets a signal, and that one resumed."""
    set_rank(rank, port)
    found = {
        "straight": seen_by(distributed_runner(folder / "straight", Events())),
        "before": seen_by(distributed_runner(folder / "stopped", Events(step=4, rank=1))),
    }
    disturb()
    finish_together()
    found["names"] = [path.name for path in (folder / "stopped").glob("*.pth")]
    if rank == 0:
        shutil.copytree(folder / "stopped", folder / "alone")
    finish_together()
    found["after"] = seen_by(distributed_runner(folder / "stopped", Events(), resume=True))
    torch.save(found, folder / f"{rank}.pth")
    finish_together()
    torch.distributed.destroy_process_group()


def test_two_processes_stop_together_and_go_on_exactly_or_as_one(tmp_path):
    """The running statistics of each process, which differ inside an epoch, and its draws go on as they were."""
    two_processes(process, free_port(), tmp_path)
    found = [torch.load(tmp_path / f"{rank}.pth") for rank in range(2)]
    for each in found:
        assert each["names"].count("epoch_1_iter_4.pth") == 1
        assert len(each["before"]) == 4 and each["before"] + each["after"] == each["straight"]
    assert_equal(*(training_state(tmp_path / name / "epoch_2.pth") for name in ("straight", "stopped")))

    alone = seen_by(distributed_runner(tmp_path / "alone", Events(), batch_size=4, launcher="none", resume=True))
    first, second = (each["after"] for each in found)
    together = [set(one[2]) | set(other[2]) for one, other in zip(first, second, strict=True)]
    assert [set(ids) for _, _, ids, _ in alone] == together
    weights = [torch.load(tmp_path / f"{name}/epoch_2.pth", weights_only=True) for name in ("alone", "stopped")]
    means = [x["ema_state_dict"]["module.heads.labels.decoder.classifier.weight"] for x in weights]
    torch.testing.assert_close(*means, rtol=0.2, atol=0.01)  # the same batches; draws and statistics are others
