"""Trainings and evaluations on frames that differ in what they have."""

import signal
from contextlib import suppress

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from processes import free_port, set_rank, two_processes
from small_models import small
from test_inside_epoch import disturb, saving
from test_resume import assert_equal, train, training_state
from tiny import Halves, tiny_segmentor
from torch.utils.data import DataLoader, RandomSampler

from rgbx.datasets import EpochSampler
from rgbx.evaluate.session import Session
from rgbx.metrics import scores
from rgbx.models import Predictor, multimodal_segmentor
from rgbx.train.distributed import finish_together
from rgbx.train.optim import AutocastOptimWrapper, EncoderDecoderConstructor
from rgbx.train.runner import Runner
from rgbx.train.stopping import TrainingStopped
from rgbx.transforms import HorizontalFlip, PackSample, collate

LENGTH = 11
HAVE = ("rgb depth", "depth", "rgb depth", "rgb", "rgb depth", "depth", "rgb depth", "rgb depth", "depth", "rgb", "rgb")


class Partial(Halves):
    """Frames that have both maps, or one."""

    missing = "allow"

    @property
    def frame_sets(self):
        return np.array([sum(1 << bit for bit, n in enumerate(("rgb", "depth")) if n in have) for have in HAVE])

    def read(self, index):
        sample = super().read(index)
        return {name: x for name, x in sample.items() if name not in self.modalities or name in HAVE[index]}


class Notes(Hook):
    """Notes the samples and maps of each step; asks the run to stop after one of them."""

    def __init__(self, step=None):
        self.step, self.seen = step, []

    def after_train_iter(self, runner, batch_idx, data_batch=None, **kwargs):
        maps = [name for name in ("rgb", "depth") if name in data_batch]
        self.seen.append((runner.epoch, batch_idx, list(data_batch["sample_id"]), maps))
        if runner.iter + 1 == self.step:
            signal.raise_signal(signal.SIGTERM)


def loader(shuffle, **dataset):
    return dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type=EpochSampler, shuffle=shuffle),
        collate_fn=dict(type=collate),
        dataset=dict(type=Partial, length=LENGTH, transforms=[HorizontalFlip(), PackSample()], **dataset),
    )


def loaders(**changed):
    return dict(train_dataloader={**loader(True), **changed}, val_dataloader=loader(False))


def run(make_runner, name, notes, **values):
    runner = make_runner(name, epochs=2, loaders=loaders(), custom_hooks=[notes], **values)
    with suppress(TrainingStopped):
        train(runner)
    return next(hook for hook in runner.hooks if isinstance(hook, Notes)).seen


def test_an_epoch_has_every_frame_with_what_it_has_and_is_resumed_inside_to_the_bit(make_runner, tmp_path):
    seen = run(make_runner, "straight", Notes())
    for epoch in range(2):
        steps = [(names, maps) for at, _, names, maps in seen if at == epoch]
        assert {name for names, _ in steps for name in names} == {f"half/{i}" for i in range(LENGTH)}
        for names, maps in steps:
            assert all(HAVE[int(name.removeprefix("half/"))].split() == maps for name in names)
        assert len(steps) == 3 + 2 + 2  # 5, 3 and 3 frames in twos
    before = run(make_runner, "stopped", Notes(step=10), default_hooks=saving())
    assert [path.name for path in (tmp_path / "stopped").glob("*iter*")] == ["epoch_1_iter_10.pth"]
    disturb()
    after = run(make_runner, "stopped", Notes(), resume=True, default_hooks=saving())
    assert before + after == seen
    assert_equal(*(training_state(tmp_path / name / "epoch_2.pth") for name in ("straight", "stopped")))


def test_another_batch_size_inside_such_an_epoch_is_refused(make_runner):
    run(make_runner, "run", Notes(step=3), default_hooks=saving())
    runner = make_runner("run", epochs=2, loaders=loaders(batch_size=3), resume=True)
    with pytest.raises(ValueError, match=r"differ in what they have, the batch size or number of processes\?"):
        runner.train()


def test_batches_of_another_sampler_are_refused(make_runner):
    other = dict(type=lambda dataset, seed=None: RandomSampler(dataset))
    runner = make_runner("run", loaders=loaders(sampler=other))
    with pytest.raises(ValueError, match=r"whose batches train_dataloader\.sampler=.* makes; found RandomSampler"):
        runner.prepare_training()


def process(rank, port, folder):
    set_rank(rank, port)
    config = dict(
        model=dict(type=multimodal_segmentor, modalities=("rgb", "depth"), num_classes=3, backbone="test_resnet"),
        work_dir=str(folder / "run"),
        launcher="pytorch",
        log_level="ERROR",
        train_dataloader=loader(True, size=(32, 48)),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(
            type=AutocastOptimWrapper, constructor=EncoderDecoderConstructor, optimizer=dict(type="SGD", lr=0.01)
        ),
        default_hooks=saving(),
        custom_hooks=[Notes()],
    )
    runner = Runner.from_cfg(config)
    assert not runner.network.needs_unused_parameter_search
    runner.train()
    weights = torch.cat([p.detach().flatten() for p in runner.network.parameters()])
    seen = next(hook for hook in runner.hooks if isinstance(hook, Notes)).seen
    torch.save({"seen": seen, "weights": weights}, folder / f"{rank}.pth")
    finish_together()
    torch.distributed.destroy_process_group()


def test_two_processes_take_steps_of_one_set_and_share_one_model(tmp_path):
    two_processes(process, free_port(), tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pth") for rank in range(2))
    assert [maps for *_, maps in first["seen"]] == [maps for *_, maps in second["seen"]]
    assert {tuple(maps) for *_, maps in first["seen"]} == {("rgb",), ("depth",), ("rgb", "depth")}
    names = {name for found in (first, second) for _, _, names, _ in found["seen"] for name in names}
    assert names == {f"half/{i}" for i in range(LENGTH)}
    assert torch.equal(first["weights"], second["weights"])


def test_each_frame_is_scored_by_what_it_has_and_each_set_is_told():
    """Against predictions of one frame at a time."""
    torch.manual_seed(0)
    model = tiny_segmentor(("rgb", "depth"), 3).eval()
    dataset = Partial(length=LENGTH, transforms=[PackSample()])
    session = Session(
        model, DataLoader(dataset, batch_size=4, sampler=EpochSampler(dataset, False), collate_fn=collate)
    )
    by_hand = {}
    for subset in (("rgb", "depth"), ("depth",)):
        evaluation = session.evaluate(subset)["labels"]
        confusions = {}
        for index in range(LENGTH):
            if not set(subset) & set(HAVE[index].split()):
                continue
            sample = collate([dataset[index]])
            (found,) = Predictor(model, modalities=subset)(sample)
            counted = sample["label"][0] != 255
            pairs = 3 * sample["label"][0][counted] + found["prediction"]["ensemble"][counted].long()
            confusions[f"half/{index}"] = pairs.bincount(minlength=9).view(3, 3)
        assert [image.sample_id for image in evaluation.images] == list(confusions)
        assert torch.equal(evaluation.confusion("ensemble"), sum(confusions.values()))
        by_hand[subset] = confusions
    parts = session.by_set("labels")
    assert {name: len(part.images) for name, part in parts.items()} == {"rgb+depth": 5, "rgb": 3, "depth": 3}
    for name, part in parts.items():
        own = [by_hand["rgb", "depth"][f"half/{i}"] for i in range(LENGTH) if HAVE[i].split() == name.split("+")]
        assert part.scores("ensemble")["mIoU"] == pytest.approx(scores(sum(own))["mIoU"])
    told = session.reports()["labels"]
    assert "mIoU of the 3 frames with depth: " in told
    assert "3 of 11 frames have no depth and do not count there" in told


def test_a_step_on_few_modalities_leaves_the_others_norms_alone():
    model = small("classes").train()
    frames = {name: torch.rand(2, c, 32, 32) for name, c in (("rgb", 3), ("depth", 1))}
    before = {name: x.clone() for name, x in model.named_buffers() if "running_mean" in name}
    model.run({"depth": frames["depth"]})
    changed = {name for name, x in model.named_buffers() if name in before and not torch.equal(x, before[name])}
    assert changed and all(
        "depth" in name for name in changed if "norms" in name and ("rgb" in name or "depth" in name)
    )
