"""The fixture `make_runner`: a runner of the stand-in model."""

import copy

import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.optim import LinearLR, OneCycleLR, PolyLR
from tiny import Halves, tiny_segmentor

from rgbx.datasets import EpochSampler
from rgbx.evaluate.metric import Metrics
from rgbx.train.checkpoint_hook import CheckpointHook
from rgbx.train.optim import AutocastOptimWrapper, EncoderDecoderConstructor
from rgbx.train.runner import Runner
from rgbx.transforms import HorizontalFlip, PackSample

torch.set_num_threads(1)  # for images of a hundred pixels, more only wait for each other

HOOKS = dict(checkpoint=dict(type=CheckpointHook, max_keep_ckpts=-1))
SCHEDULES = {
    "poly": [
        dict(type=LinearLR, start_factor=0.1, end=1, convert_to_iter_based=True),
        dict(type=PolyLR, power=0.9, begin=1, convert_to_iter_based=True),
    ],
    "onecycle": [dict(type=OneCycleLR, eta_max=0.01, total_steps=4, convert_to_iter_based=True)],
}


def loader(shuffle, workers, batch_size=2, **dataset):
    transforms = [HorizontalFlip(), PackSample()] if shuffle else [PackSample()]
    return dict(
        batch_size=batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        sampler=dict(type=EpochSampler, shuffle=shuffle),
        collate_fn=dict(type=default_collate),
        dataset=dict(type=Halves, transforms=transforms, **dataset),
    )


@pytest.fixture
def make_runner(tmp_path):
    """Builds a runner of the stand-in model; keywords are config values."""

    def make(
        work_dir="run",
        *,
        epochs=3,
        workers=0,
        length=6,
        schedule="poly",
        dtype=None,
        accumulate=1,
        model=None,
        batch_size=2,
        optimizer=None,
        clip=5.0,
        constructor=EncoderDecoderConstructor,
        rates=None,
        loaders=None,
        **values,
    ):
        config = dict(
            model={**dict(type=tiny_segmentor, modalities=("rgb", "depth"), num_classes=3), **(model or {})},
            work_dir=str(tmp_path / work_dir),
            train_dataloader=loader(True, workers, batch_size, length=length),
            val_dataloader=loader(False, 0, length=3),
            test_dataloader=loader(False, 0, length=3),
            train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
            val_cfg=dict(),
            test_cfg=dict(),
            val_evaluator=dict(type=Metrics, table=False),
            test_evaluator=dict(type=Metrics, table=False),
            optim_wrapper=dict(
                type=AutocastOptimWrapper,
                constructor=constructor,
                dtype=dtype,
                accumulative_counts=accumulate,
                clip_grad=clip and dict(max_norm=clip),
                optimizer=optimizer or dict(type="AdamW", lr=0.01),
                paramwise_cfg=dict(encoder_lr_mult=0.5) if rates is None else rates,
            ),
            param_scheduler=copy.deepcopy(SCHEDULES.get(schedule, schedule) if isinstance(schedule, str) else schedule),
            **{"log_level": "ERROR", "default_hooks": HOOKS, **values},
        )
        return Runner.from_cfg(config | (loaders or {}))

    return make
