"""A translator under the runner: both optimizers are resumed bit for bit, in one process and in two."""

import random

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.optim import LinearLR, OneCycleLR, PolyLR
from processes import free_port, set_rank, two_processes
from test_resume import Interruption, assert_equal, train, training_state

from rgbx.datasets import EpochSampler, SyntheticRooms
from rgbx.models import multimodal_translator
from rgbx.train.adversarial import AdversarialConstructor
from rgbx.train.checkpoint_hook import CheckpointHook
from rgbx.train.distributed import finish_together, unwrap, wrap
from rgbx.train.loops import training_step
from rgbx.train.optim import AutocastOptimWrapper
from rgbx.train.runner import Runner
from rgbx.transforms import HorizontalFlip, PackSample

torch.set_num_threads(1)
POLY = [
    dict(type=LinearLR, start_factor=0.1, end=1, convert_to_iter_based=True),
    dict(type=PolyLR, power=0.9, begin=1, convert_to_iter_based=True),
]
ONE_CYCLE = [dict(type=OneCycleLR, eta_max=0.01, total_steps=4, convert_to_iter_based=True)]


def settings(work_dir, *, epochs=3, dtype=None, accumulate=1, schedule=POLY, model=None, **values):
    loader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type=EpochSampler, shuffle=True),
        collate_fn=dict(type=default_collate),
        dataset=dict(
            type=SyntheticRooms,
            num_frames=6,
            size=(24, 24),
            modalities=("normal", "edge", "rgb"),
            transforms=[dict(type=HorizontalFlip), dict(type=PackSample)],
        ),
    )
    options = dict(
        type=multimodal_translator,
        modalities=("normal", "edge"),
        target="rgb",
        generator=dict(name="unet", width=4, depth=3),
        discriminator=dict(width=4, layers=2),
    )
    return dict(
        model={**options, **(model or {})},
        work_dir=str(work_dir),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(
            type=AutocastOptimWrapper,
            constructor=AdversarialConstructor,
            dtype=dtype,
            accumulative_counts=accumulate,
            clip_grad=dict(max_norm=50.0),
            optimizer=dict(type="Adam", lr=0.002, betas=(0.5, 0.999)),
            paramwise_cfg=dict(discriminator_lr=0.001),
        ),
        param_scheduler=schedule,
        default_hooks=dict(checkpoint=dict(type=CheckpointHook, max_keep_ckpts=-1, save_best=None)),
        log_level="ERROR",
        **values,
    )


CASES = {
    "plain": {},
    "ema": dict(ema=dict(momentum=0.1)),
    "accumulation with a remainder": dict(accumulate=2),
    "bfloat16": dict(dtype="bfloat16"),
    "one-cycle": dict(schedule=ONE_CYCLE),
    "modality dropout, spectral norm": dict(
        model=dict(modality_dropout=0.7, discriminator=dict(width=4, layers=2, spectral_norm=True))
    ),
    "no discriminator": dict(model=dict(discriminator=None)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_resumed_equals_uninterrupted(tmp_path, case):
    train(Runner.from_cfg(settings(tmp_path / "straight", **case)))
    with pytest.raises(KeyboardInterrupt):
        train(Runner.from_cfg(settings(tmp_path / "stopped", custom_hooks=[Interruption(epoch=2)], **case)))
    random.seed(99), np.random.seed(99), torch.manual_seed(99)  # another process, another state
    train(Runner.from_cfg(settings(tmp_path / "stopped", resume=True, **case)))
    straight, resumed = (training_state(tmp_path / name / "epoch_3.pth") for name in ("straight", "stopped"))
    parts = ["generator"] + ([] if case.get("model", {}).get("discriminator", "") is None else ["discriminator"])
    assert list(straight["optimizer"]) == list(straight["param_schedulers"]) == parts
    assert all(straight["optimizer"][part]["state"] for part in parts)
    assert_equal(straight, resumed)


def test_each_part_has_its_parameters_and_learning_rate(tmp_path):
    runner = Runner.from_cfg(settings(tmp_path))
    built = runner.build_optim_wrapper(runner.optim_wrapper)
    names = {id(p): name for name, p in runner.network.named_parameters()}
    found = {
        part: {names[id(p)] for group in wrapper.optimizer.param_groups for p in group["params"]}
        for part, wrapper in built.items()
    }
    assert found["discriminator"] == {name for name in names.values() if ".opponent." in name}
    assert found["generator"] == set(names.values()) - found["discriminator"]
    assert {"heads.rgb.alpha.normal", "heads.rgb.alpha.edge"} < found["generator"]
    assert {g["lr"] for g in built["generator"].optimizer.param_groups} == {0.002}
    assert {g["lr"] for g in built["discriminator"].optimizer.param_groups} == {0.001}
    assert all(part.epoch_length == 3 for part in built.values())


def test_unknown_options_and_no_rate_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"unknown options \['encoder_lr'\]"):
        AdversarialConstructor(dict(optimizer=dict(type="SGD")), dict(encoder_lr=1))
    model = Runner.from_cfg(settings(tmp_path)).network
    with pytest.raises(ValueError, match="no lr; give it, or generator_lr"):
        AdversarialConstructor(dict(optimizer=dict(type="SGD")))(model)


def test_schedules_of_other_optimizers_are_refused(tmp_path):
    train(Runner.from_cfg(settings(tmp_path, epochs=2)))
    path = tmp_path / "epoch_2.pth"
    state = torch.load(path, weights_only=True)
    state["param_schedulers"] = state["param_schedulers"]["generator"]
    torch.save(state, path)
    with pytest.raises(ValueError, match="schedules are of other optimizers"):
        Runner.from_cfg(settings(tmp_path, epochs=2, resume=True)).train()


def build(dropout):
    torch.manual_seed(0)
    model = multimodal_translator(
        **{k: v for k, v in settings("")["model"].items() if k not in ("type", "generator")},
        generator=dict(name="unet", width=4, depth=3, dropout=0.0),
        modality_dropout=dropout,
    )
    model.set_epoch_seed(4)
    return model


def steps(network, indices, dropout):
    """Two steps on the rooms with these indices; the parameters afterwards."""
    rooms = SyntheticRooms(size=(24, 24), modalities=("normal", "edge", "rgb"), transforms=[PackSample()])
    data = default_collate([rooms[i] for i in indices])
    wrappers = AdversarialConstructor(dict(optimizer=dict(type="SGD", lr=0.01)))(network)
    for _ in range(2):
        training_step(network, data, wrappers)
    return unwrap(network).state_dict()


def join(rank, port, path, dropout):
    set_rank(rank, port)
    torch.distributed.init_process_group("gloo")
    torch.save(steps(wrap(build(dropout)), (2 * rank, 2 * rank + 1), dropout), f"{path}{rank}")
    finish_together()
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("dropout", [None, 1.0])
def test_two_processes_make_the_steps_of_one(tmp_path, dropout):
    two_processes(join, free_port(), tmp_path / "rank", dropout)
    start = build(dropout).state_dict()
    expected = steps(build(dropout), range(4), dropout)
    first, second = (torch.load(tmp_path / f"rank{rank}", weights_only=True) for rank in range(2))
    for name, value in expected.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-6, msg=name)
    for part in ("backbone.", "heads.rgb.opponent."):
        assert any(not torch.equal(start[name], first[name]) for name in start if name.startswith(part))


def test_one_optimizer_for_both_parts_is_refused(tmp_path):
    model = build(None)
    wrapper = AutocastOptimWrapper(torch.optim.SGD(model.parameters(), 0.1))
    data = default_collate(
        [SyntheticRooms(size=(24, 24), modalities=("normal", "edge", "rgb"), transforms=[PackSample()])[0]]
    )
    with pytest.raises(ValueError, match="a discriminator needs an optimizer of its own"):
        training_step(model, data, wrapper)
