"""Batch norm over the batches of several processes: that of torch on the joined batch, told in one collective."""

import copy
import io
import pickle
from unittest.mock import patch

import pytest
import torch
from processes import free_port, set_rank, two_processes
from torch import nn

from rgbx.backbones._timm import timm
from rgbx.layers import ModalityNorm, StackLayout, settled, synchronise_norms, untracked
from rgbx.layers.stack import ModalityAffine
from rgbx.train.distributed import finish_together

BatchNormAct2d = timm.layers.BatchNormAct2d
MODALITIES = ("rgb", "depth", "thermal")
SHARES = (slice(0, 2), slice(2, 5))  # of 5 images: the processes have batches of unlike size
SHAPE = (5, 4, 3, 3)
NORMS = {
    "2d": lambda: nn.BatchNorm2d(4),
    "1d": lambda: nn.BatchNorm1d(4),
    "vectors": lambda: nn.BatchNorm1d(4),
    "plain": lambda: nn.BatchNorm2d(4, affine=False),
    "cumulative": lambda: nn.BatchNorm2d(4, momentum=None),
    "activated": lambda: BatchNormAct2d(4, drop_layer=nn.Identity),
    "double": lambda: nn.BatchNorm2d(4).double(),
    "far": lambda: nn.BatchNorm2d(4),  # whose inputs are small beside their mean
    "private": lambda: ModalityNorm(nn.BatchNorm2d(4), StackLayout(MODALITIES)),
    "activated private": lambda: ModalityNorm(BatchNormAct2d(4), StackLayout(MODALITIES)),
    "affine": lambda: ModalityAffine(BatchNormAct2d(4), StackLayout(MODALITIES)),
}
TOLERANCE = dict(rtol=1e-5, atol=2e-6)


def case(name):
    """A norm with drawn parameters, and inputs and factors of its outputs, [M, N, ...] for M modalities present."""
    generator = torch.Generator().manual_seed(len(name))
    norm = NORMS[name]()
    for parameter in norm.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator, dtype=torch.double).to(parameter.dtype)
    parts = 2 if hasattr(norm, "layout") else 1
    shape = (parts, *{"1d": SHAPE[:3], "vectors": SHAPE[:2]}.get(name, SHAPE))
    x, factors = torch.randn(2, *shape, generator=generator, dtype=torch.double)
    x = 3 * x + (1e4 if name == "far" else 5)
    kind = torch.double if name == "double" else torch.float32
    return norm, x.to(kind), factors.to(kind)


def answer(norm, x, factors, steps=2):
    """Outputs, gradients and buffers after some training steps on [M, N, ...], and those of evaluation."""
    for _ in range(steps):
        stack = x.flatten(0, 1).clone().requires_grad_()
        with norm.layout.holding(("rgb", "thermal")) if hasattr(norm, "layout") else torch.enable_grad():
            out = norm(stack)
            norm.zero_grad()
            (out * factors.flatten(0, 1)).sum().backward()
    gradients = {key: p.grad for key, p in norm.named_parameters() if p.grad is not None}
    found = {"out": out.detach().view_as(x), "x": stack.grad.view_as(x), "gradients": gradients}
    return found | {"state": {key: buffer.clone() for key, buffer in norm.state_dict().items()}}


def counted(function):
    """The names of the collectives that a call made."""
    names = ("all_gather", "all_reduce", "broadcast", "reduce", "barrier")
    calls = [patch.object(torch.distributed, name, wraps=getattr(torch.distributed, name)) for name in names]
    mocks = [call.start() for call in calls]
    function()
    for call in calls:
        call.stop()
    return [name for name, mock in zip(names, mocks, strict=True) for _ in range(mock.call_count)]


class Again(nn.Module):
    """A convolution and private norms that are computed again in the backward pass."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layout = StackLayout(MODALITIES)
        self.layers = nn.Sequential(nn.Conv2d(4, 4, 3), ModalityNorm(nn.BatchNorm2d(4), self.layout), nn.Tanh())
        self.again = True

    def forward(self, x):
        return self.layout.checkpoint(self.layers, x) if self.again else self.layers(x)


def computed_again(share):
    """Gradients of a part that is kept, computed again, and computed again though it was compiled."""
    module, found = Again(), {}
    synchronise_norms(module)
    for name in ("kept", "again", "compiled"):
        module.again = name != "kept"
        if name == "compiled":
            module.compile(backend="eager")
        module.zero_grad()
        stack = share.flatten(0, 1)
        with module.layout.holding(("rgb", "thermal")):
            out = module(stack)
        out.square().sum().backward()
        found[name] = [p.grad.clone() for p in module.parameters() if p.grad is not None]
    return found


def process(rank, port, folder):
    set_rank(rank, port)
    torch.distributed.init_process_group("gloo")
    found = {}
    for name in NORMS:
        norm, x, factors = case(name)
        synchronise_norms(norm)
        norm = copy.deepcopy(norm)  # as an average of the weights is
        found[name] = answer(norm, x[:, SHARES[rank]], factors[:, SHARES[rank]])
        found[name]["strict"] = NORMS[name]().load_state_dict(norm.state_dict())
    norm, x, factors = case("private")
    synchronise_norms(norm)
    share = x[:, SHARES[rank]], factors[:, SHARES[rank]]
    found["talk"] = counted(lambda: answer(norm, *share, steps=1))
    with untracked(norm.modules()):
        found["untracked"] = answer(norm, *share)
    with settled(norm.modules()):
        found["silent"] = counted(lambda: answer(norm, *share, steps=1))
    found["silent"] += counted(lambda: answer(norm.eval(), *share, steps=1))
    with torch.autocast("cpu", torch.bfloat16):
        found["half"] = answer(norm.train(), *(each.bfloat16() for each in share))["out"]
    norm = nn.BatchNorm2d(1)
    synchronise_norms(norm)
    found["single"] = answer(norm, torch.full((1, 1, 1, 1, 1), float(rank)), torch.ones(1, 1, 1, 1, 1), steps=1)
    found["again"] = computed_again(share[0])
    torch.save(found, folder / f"{rank}.pth")
    finish_together()
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synchronised")
    two_processes(process, free_port(), folder)
    return [torch.load(folder / f"{rank}.pth", weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("name", NORMS)
def test_norms_are_those_of_the_joined_batch(results, name):
    """Outputs, gradients, running statistics; the modality that is absent keeps its own."""
    expected = answer(*case(name))
    tolerance = dict(rtol=1e-12, atol=1e-12) if name == "double" else TOLERANCE
    tolerance = dict(rtol=1e-4, atol=5e-3) if name == "far" else tolerance  # as far as torch's is from float64's
    for rank, share in enumerate(SHARES):
        found = results[rank][name]
        for key in ("out", "x"):
            torch.testing.assert_close(found[key], expected[key][:, share], **tolerance)
        assert found["gradients"].keys() == expected["gradients"].keys()
        assert found["state"].keys() == expected["state"].keys()
        for key, buffer in expected["state"].items():
            torch.testing.assert_close(found["state"][key], buffer, **tolerance)
            assert torch.equal(found["state"][key], results[0][name]["state"][key])
    for key, gradient in expected["gradients"].items():
        total = results[0][name]["gradients"][key] + results[1][name]["gradients"][key]
        torch.testing.assert_close(total, gradient, **{**tolerance, "atol": max(2e-5, tolerance["atol"])})


def test_large_means_cost_no_digits(results):
    norm, x, factors = case("far")
    exact = answer(norm.double(), x.double(), factors.double())["out"]
    for rank, share in enumerate(SHARES):
        assert (results[rank]["far"]["out"] - exact[:, share]).abs().max() < 5e-3  # float32 has 1e-3 there


def test_a_stack_talks_once_forward_and_once_backward(results):
    for found in results:
        assert found["talk"] == ["all_gather", "all_reduce"]
        assert found["silent"] == []


def test_untracked_norms_normalise_together_and_keep_their_statistics(results):
    norm, x, factors = case("private")
    answer(norm, x, factors, steps=1)
    before = copy.deepcopy(norm.state_dict())
    with untracked(norm.modules()):
        expected = answer(norm, x, factors)
    for rank, share in enumerate(SHARES):
        found = results[rank]["untracked"]
        torch.testing.assert_close(found["out"], expected["out"][:, share], **TOLERANCE)
        for key, buffer in before.items():
            torch.testing.assert_close(found["state"][key], buffer, **TOLERANCE)


def test_halves_are_normalised_in_full_precision(results):
    norm, x, factors = case("private")
    expected = answer(norm, x.bfloat16().float(), factors)["out"]
    for rank, share in enumerate(SHARES):
        assert results[rank]["half"].dtype == torch.bfloat16
        torch.testing.assert_close(results[rank]["half"].float(), expected[:, share], rtol=1e-2, atol=1e-2)


def test_one_value_of_each_process_is_enough(results):
    """Of 0 and 1 the deviation is a half."""
    for rank, found in enumerate(results):
        assert found["single"]["out"].item() == pytest.approx(2 * rank - 1, abs=1e-4)


def test_what_is_computed_again_has_the_same_gradients(results):
    """For the modalities of its forward pass, also where a compiler was at work."""
    for found in results:
        expected = found["again"]["kept"]
        for name in ("again", "compiled"):
            for x, y in zip(found["again"][name], expected, strict=True):
                torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_synchronised_is_left_alone():
    class Own(nn.BatchNorm2d):
        def forward(self, x):
            return x

    class Picky(nn.Sequential):
        of_own_batch = True

    module = nn.Sequential(
        Own(2), nn.SyncBatchNorm(2), nn.InstanceNorm2d(2), nn.GroupNorm(1, 2), Picky(nn.BatchNorm2d(2))
    )
    kinds = [type(each) for each in module.modules()]
    synchronise_norms(module)
    assert [type(each) for each in module.modules()] == kinds
    norm = nn.BatchNorm2d(2)
    expected = norm(torch.ones(2, 2, 1, 1))
    synchronise_norms(norm)
    synchronise_norms(norm)
    assert torch.equal(norm(torch.ones(2, 2, 1, 1)), expected) and isinstance(norm, nn.BatchNorm2d)


def test_a_synchronised_network_is_copied_pickled_and_saved_whole():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), timm.layers.BatchNormAct2d(4))
    synchronise_norms(network)
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    x = torch.rand(2, 3, 5, 5)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), torch.load(file, weights_only=False)):
        assert [type(module) for module in other] == [type(module) for module in network]
        assert torch.equal(other.eval()(x), network.eval()(x))
