"""Branches that are filled in: by hand for one point, what is left alone, and the loss."""

import pytest
import torch

from rgbx.layers import Hallucinate, Hallucination, StackLayout, Trace, build_hallucinate, settled

NAMES = ("rgb", "depth", "ir")


def made(channels=None, **options):
    torch.manual_seed(0)
    module = Hallucination(channels or {0: 4, 1: 5}, StackLayout(NAMES), Hallucinate(width=3, **options))
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.uniform_(-1, 1)
            norm.running_var.uniform_(0.5, 2)
    return module.eval()


def sequential(module, x):
    """Layers of 1x1 convolutions, norms and activations one after the other, at one location: [C] to [C']."""
    for layer in module:
        if isinstance(layer, torch.nn.Conv2d):
            x = layer.weight[:, :, 0, 0] @ x + layer.bias
        elif isinstance(layer, torch.nn.BatchNorm2d):
            x = (x - layer.running_mean) / (layer.running_var + layer.eps).sqrt() * layer.weight + layer.bias
        elif isinstance(layer, torch.nn.LeakyReLU):
            x = torch.where(x > 0, x, layer.negative_slope * x)
        else:
            x = x.tanh()
    return x


@pytest.mark.parametrize("absent", [("rgb",), ("depth", "ir")])
@torch.no_grad()
def test_it_is_the_mean_code_decoded_at_every_location(absent):
    module = made()
    x, trace = torch.randn(3 * 2, 5, 2, 3), Trace(absent)
    with module.layout.holding(NAMES, trace=trace):
        found = module(x, 1).unflatten(0, (3, 2))
    parts, codes = dict(zip(NAMES, x.split(2), strict=True)), module.points["1"]
    given = [name for name in NAMES if name not in absent]
    for index, name in enumerate(NAMES):
        if name in given:
            assert torch.equal(found[index], parts[name])
            continue
        norm = codes.scale.copies[name]
        for n, i, j in ((0, 0, 0), (1, 1, 2)):
            each = [sequential(codes.encode.copies[other], parts[other][n, :, i, j]) for other in given]
            decoded = sequential(codes.decode.copies[name], sum(each) / len(each))
            expected = decoded * (norm.running_var + norm.eps).sqrt() + norm.running_mean
            torch.testing.assert_close(found[index, n, :, i, j], expected, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(trace.points[0][name][n, :, i, j], decoded, rtol=1e-4, atol=1e-5)
    assert list(trace.points[0]) == list(absent)


def test_without_an_absent_modality_nothing_changes():
    module, x, trace = made(), torch.randn(6, 5, 2, 3), Trace()
    with module.layout.holding(NAMES):
        assert module(x, 1) is x
    with module.layout.holding(NAMES, trace=trace):
        assert module(x, 1) is x
    (parts,) = trace.points
    assert torch.equal(torch.cat(list(parts.values())), x) and list(parts) == list(NAMES)


def test_blocks_inside_see_the_trace_of_the_call():
    layout, trace = StackLayout(NAMES), Trace(("rgb",))
    assert layout.trace is None
    with layout.holding(NAMES, trace=trace), layout.holding(["depth"]):
        assert layout.trace is trace
        with layout.holding(NAMES, trace=Trace()):
            assert layout.trace.absent == ()
    assert layout.trace is None


def test_inputs_of_absent_modalities_are_zeros():
    module = made()
    x = torch.randn(2, 3, 4, 5)
    found = module.zeros({"depth": x}, ("ir", "rgb"))
    assert list(found) == list(NAMES) and found["depth"] is x
    assert found["rgb"].shape == (2, 1, 4, 5) and not found["rgb"].any() and not found["ir"].any()


def test_the_loss_by_its_definition():
    module = made(weight=0.5)
    truth = [{name: torch.randn(2, c, 2, 3, requires_grad=True) for name in NAMES} for c in (4, 5)]
    given = [{"ir": torch.randn(2, c, 2, 3, requires_grad=True)} for c in (4, 5)]
    whole, filled = Trace(), Trace(("ir",))
    whole.points, filled.points = truth, given
    found = module.loss(whole, filled)
    terms = []
    for point, right, own in zip(("0", "1"), truth, given, strict=True):
        norm = module.points[point].scale.copies["ir"]
        mean, deviation = norm.running_mean[:, None, None], (norm.running_var + norm.eps).sqrt()[:, None, None]
        terms.append((own["ir"] - (right["ir"] - mean) / deviation).abs().mean().item())
    assert found.item() == pytest.approx(0.5 * sum(terms) / 2, rel=1e-5)
    found.backward()
    assert given[0]["ir"].grad is not None and all(x.grad is None for part in truth for x in part.values())


def test_settled_norms_are_those_of_a_test():
    norms = [torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3).eval(), torch.nn.Dropout()]
    x = torch.randn(4, 3, 2, 2)
    with settled(norms):
        assert torch.equal(norms[0](x), norms[1](x)) and norms[2].training
    assert norms[0].training and not norms[1].training and int(norms[0].num_batches_tracked) == 0


@pytest.mark.parametrize("given", [False, None])
def test_it_may_be_left_out(given):
    assert build_hallucinate(given) is None


def test_plain_values():
    assert build_hallucinate(True) == build_hallucinate({}) == Hallucinate() == build_hallucinate(Hallucinate())
    assert build_hallucinate({"width": 8, "weight": 2, "heads": 0}) == Hallucinate(width=8, weight=2.0, heads=0.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("yes", "hallucinate is 'yes'; expected True, False, or a dict of fields"),
        (1, "hallucinate is 1; expected True"),
        ({"widht": 3}, r"hallucinate has no option 'widht'.*did you mean 'width'"),
        ({"width": 0}, "hallucinate field width is 0; expected 1 to"),
        ({"width": 2.0}, r"hallucinate field width is 2\.0"),
        ({"weight": -1}, "hallucinate field weight is -1; expected a number of at least 0"),
        ({"heads": True}, "hallucinate field heads is True; expected a number"),
        ({"heads": float("nan")}, "hallucinate field heads is nan"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        build_hallucinate(given)


@pytest.mark.parametrize("joint", [True, False])
def test_what_heads_read_trains_encoders_when_joint_alone(joint):
    """What goes on has equal values; the features' loss reaches encoders either way, and norms see a batch once."""
    found = {}
    for said in (True, joint):
        module = made().train()
        codes = module.points["1"]
        codes.joint = said
        torch.manual_seed(1)
        x, trace = torch.randn(3 * 2, 5, 2, 3), Trace(("rgb",))
        with module.layout.holding(NAMES, trace=trace):
            found[said] = module(x, 1)
        norms = [m for m in codes.decode.copies["rgb"] if isinstance(m, torch.nn.BatchNorm2d)]
        assert [int(norm.num_batches_tracked) for norm in norms] == [1]
    torch.testing.assert_close(found[joint], found[True])
    parts = {
        "encode": list(codes.encode.copies["depth"].parameters()),
        "decode": list(codes.decode.copies["rgb"].parameters()),
    }
    reached = {
        (what, name): all(
            grad is not None and bool(torch.isfinite(grad).all())
            for grad in torch.autograd.grad(loss.square().sum(), given, retain_graph=True, allow_unused=True)
        )
        for what, loss in (("heads", found[joint][:2]), ("features", trace.points[0]["rgb"]))
        for name, given in parts.items()
    }
    expected = dict.fromkeys(reached, True) | {("heads", "encode"): joint}
    assert reached == expected
