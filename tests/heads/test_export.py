"""Decoders in a program for any number and size of images, as `rgbx export` writes one."""

import numpy as np
import onnxruntime
import pytest
import torch
from small_models import diverse
from torch import nn

from rgbx.heads import build_decoder
from rgbx.layers import StackLayout

CHANNELS = (4, 6, 8, 10)
NAMES = ("segformer", "upernet", "deeplabv3plus", "fpn", "ham")


class Network(nn.Module):
    """Four stages of one convolution, and every decoder on them."""

    def __init__(self, layout):
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Conv2d(c, out, 3, stride=4 if c == 3 else 2, padding=1)
            for c, out in zip((3, *CHANNELS[:-1]), CHANNELS, strict=True)
        )
        self.decoders = nn.ModuleList(build_decoder({"name": n, "width": 32}, CHANNELS, 3, layout) for n in NAMES)

    def forward(self, image):
        features = [image]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return tuple(decoder(features[1:]) for decoder in self.decoders)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return diverse(Network(StackLayout(("rgb", "depth")))).eval()


@torch.no_grad()
def test_a_program_computes_the_same_at_any_size(network, tmp_path):
    dims = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    program = torch.export.export(network, (torch.rand(4, 3, 72, 104),), dynamic_shapes=({**dims},))
    torch.onnx.export(program, (), tmp_path / "a.onnx", opset_version=20, verbose=False)
    run = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    for count, height, width in ((2, 96, 64), (6, 77, 50)):
        image = torch.rand(count, 3, height, width)
        expected = network(image)
        for found, x in zip(program.module()(image), expected, strict=True):
            torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-4)
        for found, x in zip(run.run(None, {run.get_inputs()[0].name: image.numpy()}), expected, strict=True):
            np.testing.assert_allclose(found, x, rtol=1e-3, atol=1e-3)
