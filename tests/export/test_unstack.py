"""A traced network with its stack taken apart answers as the network itself, and computes nothing of the whole."""

from functools import cache

import pytest
import torch
from small_models import UNET, diverse, small
from torch import nn

from rgbx.export.unstack import Replayed, Stack, Unstacked
from rgbx.fusion import FUSION_METHODS

NETWORKS = {
    **{name: dict(fusion=name) for name in sorted(FUSION_METHODS)},
    "second shift": dict(fusion={"name": "asymmetric", "second_shift": "reversed"}),
    "one way": dict(fusion={"name": "asymmetric", "receivers": ["depth"]}),
    "separate": dict(weights="separate"),
    "stems": dict(stems={"depth": "sum"}),
    "three": dict(modalities=("rgb", "depth", "thermal")),
    "purified": dict(purification={}),
    "hallucinated": dict(hallucinate={}),
    "unet": dict(backbone=UNET),
}
WHOLLY_APART = ("asymmetric", "second shift", "separate", "stems", "three")


class Answers(nn.Module):
    def __init__(self, model, names):
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *maps):
        outputs = self.model.outputs(dict(zip(self.names, maps, strict=True)))
        return tuple(x for branches in outputs.values() for x in branches.values())


@cache
def traced(network, names=None):
    model = diverse(small("both", **NETWORKS[network])).eval()
    names = names or model.modalities
    maps = tuple(torch.randn(2, 3 if name == "rgb" else 1, 32, 64) for name in names)
    module = Answers(model, names)
    with torch.enable_grad():
        program = torch.export.export(module, maps)
    return module, program.module(check_guards=False), maps


@pytest.mark.parametrize("network", NETWORKS)
def test_answers_stay(network):
    module, graph, maps = traced(network)
    with torch.no_grad():
        expected, found = module(*maps), Replayed(graph)(*maps)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("network", WHOLLY_APART)
def test_each_convolution_is_of_one_modality(network):
    batches = []

    class Watching(Unstacked):
        def call_function(self, target, args, kwargs):
            found = super().call_function(target, args, kwargs)
            if "conv" in str(target):
                parts = found.parts if isinstance(found, Stack) else [found]
                batches.extend(len(part) for part in parts)
            return found

    _, graph, maps = traced(network)
    with torch.no_grad():
        Watching(graph).run(*maps)
    assert batches and set(batches) == {2}


def test_one_modality_is_what_it_was():
    module, graph, maps = traced("asymmetric", ("depth",))
    with torch.no_grad():
        torch.testing.assert_close(Replayed(graph)(*maps), module(*maps), rtol=1e-4, atol=1e-4)


CASES = {
    "sum with a constant": lambda x: torch.cat([x, 2 * x]) + 3.0,
    "sum with a row of samples": lambda x: torch.cat([x, x]) + torch.arange(4.0).view(4, 1, 1),
    "sum of other parts": lambda x: torch.cat([x, x]) + torch.cat([x[:1], x[:1], x]),
    "constant minus parts": lambda x: 1.0 - torch.cat([x, 2 * x]),
    "joined along channels": lambda x: torch.cat([torch.cat([x, x]), torch.cat([2 * x, x])], 1),
    "mean over samples": lambda x: torch.cat([x, 3 * x]).mean(0),
    "mean over channels": lambda x: torch.cat([x, 3 * x]).mean(1),
    "split elsewhere": lambda x: torch.cat([x, 3 * x]).split([1, 3])[1],
    "first samples": lambda x: torch.cat([x, 3 * x])[:3],
    "stacked": lambda x: torch.cat([x, 3 * x]).unflatten(0, (2, -1)).flip(0).flatten(0, 1),
    "one of the stacked": lambda x: torch.cat([x, 3 * x]).unflatten(0, (2, -1))[1],
    "stacked and scaled": lambda x: torch.cat([x, 3 * x]).unflatten(0, (2, -1)) * torch.ones(2, 1, 1, 1) + 1,
}


@pytest.mark.parametrize("function", CASES.values(), ids=CASES)
def test_what_crosses_parts_is_done_to_the_whole(function):
    class Module(nn.Module):
        def forward(self, x):
            return (function(x),)

    x = torch.randn(2, 4, 5)
    graph = torch.export.export(Module(), (x,)).module(check_guards=False)
    torch.testing.assert_close(Replayed(graph)(x)[0], function(x))
