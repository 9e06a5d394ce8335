"""Decoders in a program for any number and size of images, as `rgbx export` writes one."""

import numpy as np
import onnxruntime
import pytest
import torch
from small_models import diverse
from torch import nn
from torch.export import Dim

from rgbx.export.onnx import OPSET, _silent
from rgbx.export.program import CHECKS
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
        features = [torch.cat([image, 1 - image])]  # a stack of two modalities
        for stage in self.stages:
            features.append(stage(features[-1]))
        return tuple(decoder(features[1:]) for decoder in self.decoders)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return diverse(Network(StackLayout(("rgb", "depth")))).eval()


def test_a_program_computes_the_same_at_any_size(network, tmp_path):
    """Traced as `rgbx.export.program.trace` does; and as ONNX."""
    sizes = {0: Dim("batch", min=1, max=64), 2: Dim("height", min=32, max=4096), 3: Dim("width", min=32, max=4096)}
    program = torch.export.export(
        network, (torch.rand(3, 3, 74, 106),), dynamic_shapes=(sizes,), prefer_deferred_runtime_asserts_over_guards=True
    )
    for node in [node for node in program.graph.nodes if node.target in CHECKS]:
        program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    with _silent():
        torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False).save(tmp_path / "a.onnx")
    run = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    traced = program.module(check_guards=False)
    for count, height, width in ((1, 96, 64), (2, 77, 50)):
        image = torch.rand(count, 3, height, width)
        with torch.no_grad():
            expected, found = network(image), traced(image)
        written = run.run(None, {run.get_inputs()[0].name: image.numpy()})
        for name, x, of_torch, of_onnx in zip(NAMES, expected, found, written, strict=True):
            torch.testing.assert_close(of_torch, x, rtol=1e-4, atol=1e-4, msg=name)
            np.testing.assert_allclose(of_onnx, x, rtol=1e-3, atol=1e-3, err_msg=name)
