"""Every kind of model goes through torch.export with a dynamic batch, and through torch.compile in one graph."""

import pytest
import torch
from small_models import UNET, equal, small
from torch import nn

MODELS = {
    "asymmetric": dict(),
    "one way": dict(fusion={"name": "asymmetric", "receivers": ["depth"]}),
    "early": dict(fusion="early"),
    "late": dict(fusion="late"),
    "separate": dict(weights="separate"),
    "three heads": dict(kind="three"),
    "reflected": dict(kind="both", padding="reflect"),
    "unet": dict(kind="both", backbone=UNET),
}
WHOLE = ([], ["kind"], ["kind", "backbone"])  # options of those that are compiled as a whole, too


class Exported(nn.Module):
    """Two maps instead of a dict."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, rgb, depth):
        return self.model({"rgb": rgb, "depth": depth})


def made(options):
    return small(**{"kind": "classes", **options}).eval()


def maps(batch, size=(32, 64)):
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, 3, *size, generator=generator), torch.randn(batch, 1, *size, generator=generator)


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
@torch.no_grad()
def test_exports_with_a_dynamic_batch(options, size=(30, 61)):
    model = Exported(made(options))
    batch = torch.export.Dim("batch", min=2, max=16)
    program = torch.export.export(model, maps(2, size), dynamic_shapes=({0: batch}, {0: batch})).module()
    torch.testing.assert_close(program(*maps(5, size)), model(*maps(5, size)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
@torch.no_grad()
def test_compiles_in_one_graph(options):
    """Its networks alone, and all of it, with the backend that runs what was traced as it is; subset after subset."""
    torch._dynamo.reset()
    model = made(options)
    rgb, depth = maps(2)
    inputs = [{"rgb": rgb, "depth": depth}, {"depth": depth}]
    expected = [model(x) for x in inputs]
    if list(options) in WHOLE:
        whole = torch.compile(model, backend="eager", fullgraph=True)
        for x, outputs in zip(inputs, expected, strict=True):
            torch.testing.assert_close(whole(x), outputs, rtol=1e-4, atol=1e-4)
    keys = list(model.state_dict())
    model.compile_network(backend="eager", fullgraph=True)
    for x, outputs in zip(inputs, expected, strict=True):
        torch.testing.assert_close(model(x), outputs, rtol=1e-4, atol=1e-4)
    assert list(model.state_dict()) == keys
    assert equal(model(inputs[0]), model(inputs[0]))


@torch.no_grad()
def test_a_compiled_network_tells_subsets_of_equal_shape_apart():
    """Two modalities of one frame and one modality of two frames make stacks of one shape."""
    torch._dynamo.reset()
    model = made({})
    for parameter in model.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))  # modalities differ
    (rgb, depth), (two_rgb, two_depth) = maps(1), maps(2)
    inputs = [{"rgb": rgb, "depth": depth}, {"depth": two_depth}, {"rgb": two_rgb}]
    expected = [model(x) for x in inputs]
    model.compile_network(backend="eager", fullgraph=True)
    for x, outputs in [*zip(inputs, expected, strict=True)] * 2:
        found = model(x)
        assert found.keys() == outputs.keys()
        for name, value in outputs.items():
            torch.testing.assert_close(found[name], value)
