import os
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests"  # tiny.py, the stand-in model
torch.set_num_threads(1)

BASE = """
from mmengine.dataset import default_collate
from mmengine.optim import PolyLR
from tiny import Halves, tiny_segmentor
from torch.optim import SGD

from rgbx.datasets import EpochSampler
from rgbx.train.checkpoint_hook import CheckpointHook
from rgbx.train.optim import AutocastOptimWrapper, EncoderDecoderConstructor
from rgbx.evaluate.metric import Metrics
from rgbx.transforms import PackSample

model = dict(type=tiny_segmentor, modalities=("rgb", "depth"), num_classes=3, pretrained=None)
data_root = "data/halves"
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type=EpochSampler, shuffle=True),
    collate_fn=dict(type=default_collate),
    dataset=dict(type=Halves, root=data_root, length=8, transforms=[dict(type=PackSample)]))
val_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=default_collate),
    dataset=dict(type=Halves, root=data_root, length=3, transforms=[dict(type=PackSample)]))
test_dataloader = val_dataloader
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type=Metrics)
test_evaluator = dict(type=Metrics)
default_hooks = dict(checkpoint=dict(type=CheckpointHook, save_best="mIoU"))
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
optim_wrapper = dict(
    type=AutocastOptimWrapper, constructor=EncoderDecoderConstructor,
    optimizer=dict(type=SGD, lr=0.1), paramwise_cfg=dict(encoder_lr_mult=1.0))
param_scheduler = [dict(type=PolyLR, power=0.9, convert_to_iter_based=True)]
"""

TRANSLATION = """
from mmengine.optim import PolyLR
from torch.optim import Adam

from rgbx.datasets import SyntheticRooms
from rgbx.train.adversarial import AdversarialConstructor
from rgbx.train.checkpoint_hook import CheckpointHook
from rgbx.train.optim import AutocastOptimWrapper
from rgbx.evaluate.metric import Metrics
from rgbx.models import multimodal_translator
from rgbx.transforms import PackSample

model = dict(
    type=multimodal_translator, modalities=("rgb", "normal"), target="depth",
    generator=dict(name="unet", width=4, depth=3), discriminator=dict(width=4, layers=2))
data_root = "data/rooms"
dataset = dict(
    type=SyntheticRooms, root=data_root, num_frames=4, size=(24, 32), modalities=("rgb", "normal", "depth"),
    transforms=[dict(type=PackSample)])
train_dataloader = dict(batch_size=2, num_workers=0)
val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(split="test", num_frames=3))
test_dataloader = val_dataloader
val_cfg = dict(pictures=2, pictures_interval=2)
test_cfg = dict()
val_evaluator = dict(type=Metrics)
test_evaluator = dict(type=Metrics)
default_hooks = dict(checkpoint=dict(type=CheckpointHook))
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
optim_wrapper = dict(
    type=AutocastOptimWrapper, constructor=AdversarialConstructor,
    optimizer=dict(type=Adam, lr=0.001, betas=(0.5, 0.999)), paramwise_cfg=dict(discriminator_lr=0.001))
param_scheduler = [dict(type=PolyLR, power=0.9, convert_to_iter_based=True)]
"""


@pytest.fixture
def write_config(tmp_path):
    """Writes base.py and config.py, the latter with the given lines after its base."""

    def write(text="", base=BASE):
        head = "from mmengine.config import read_base\n\nwith read_base():\n    from .base import *\n"
        (tmp_path / "base.py").write_text(base)
        path = tmp_path / "config.py"
        path.write_text(head + textwrap.dedent(text))
        return path

    return write


@pytest.fixture
def resnet_base():
    """The base config with a real network in place of the stand-in."""
    return (
        BASE.replace("from tiny import Halves, tiny_segmentor", "from tiny import Halves")
        .replace("from rgbx.transforms", "from rgbx.models import multimodal_segmentor\nfrom rgbx.transforms")
        .replace("type=tiny_segmentor", "type=multimodal_segmentor, norm_eval=True, decoder=dict(width=8)")
    )


@pytest.fixture(scope="session")
def translation_config():
    """A base config that translates rgb and normals of rooms to depth."""
    return TRANSLATION


@pytest.fixture(scope="session")
def start_tool():
    """Starts a script of tools/ (or a module) in a process of its own."""

    def start(*command):
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{TINY}", "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, *map(str, command)],
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A shell without job control starts background commands, and all below them, deaf to Ctrl-C.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    return start
