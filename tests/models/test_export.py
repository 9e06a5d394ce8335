"""Every kind of model goes through torch.export with a dynamic batch, and through torch.compile in one graph."""

import pytest
import torch
from torch import nn

MODELS = {
    "asymmetric": dict(),
    "one way": dict(fusion={"name": "asymmetric", "receivers": ["depth"]}),
    "early": dict(fusion="early"),
    "late": dict(fusion="late"),
    "separate": dict(weights="separate"),
}


class Exported(nn.Module):
    """Two maps instead of a dict."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, rgb, depth):
        return self.model({"rgb": rgb, "depth": depth})


def maps(batch):
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, 3, 32, 64, generator=generator), torch.randn(batch, 1, 32, 64, generator=generator)


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
@torch.no_grad()
def test_exports_with_a_dynamic_batch(make_model, options):
    model = Exported(make_model(backbone="test_resnet", **options).eval())
    batch = torch.export.Dim("batch", min=2, max=16)
    program = torch.export.export(model, maps(2), dynamic_shapes=({0: batch}, {0: batch})).module()
    expected = model(*maps(5))
    found = program(*maps(5))
    assert list(found) == list(expected)
    for name, logits in found.items():
        torch.testing.assert_close(logits, expected[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
@torch.no_grad()
def test_compiles_in_one_graph(make_model, options):
    """With the backend that runs what was traced as it is."""
    torch._dynamo.reset()
    model = make_model(backbone="test_resnet", **options).eval()
    rgb, depth = maps(2)
    inputs = [{"rgb": rgb, "depth": depth}, {"depth": depth}]
    expected = [model(x)["ensemble"] for x in inputs]
    keys = list(model.state_dict())
    model.compile_network(backend="eager", fullgraph=True)
    for x, logits in zip(inputs, expected, strict=True):
        torch.testing.assert_close(model(x)["ensemble"], logits, rtol=1e-4, atol=1e-4)
    assert list(model.state_dict()) == keys
