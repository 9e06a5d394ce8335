"""The registered operators as torch sees them: schema, meta kernels, gradients, autocast, compilation."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from cases import CASES, OPERATORS, Case, expected
from torch.autograd import forward_ad

from rgbx.ops import channel_shuffle, pixel_shift, shift_add_shuffle, traceable

DOUBLE = Case((2, 11, 3, 4), 3, torch.float64, "nchw", 1)


def leaves(case: Case, operator: str) -> list[torch.Tensor]:
    return [x.requires_grad_() for x in case.inputs(operator)]


@pytest.mark.parametrize("layout", ["nchw", "nhwc", "permuted"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_opcheck(operator, layout):
    case = Case((2, 11, 3, 4), 3, torch.float32, layout, 1)
    torch.library.opcheck(getattr(torch.ops.rgbx, operator).default, (*leaves(case, operator), *case.ring))


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("operator", OPERATORS)
def test_gradients_and_their_gradients(operator, direction):
    case = Case(DOUBLE.shape, DOUBLE.num_modalities, DOUBLE.dtype, "nhwc", direction)
    call = lambda *inputs: getattr(torch.ops.rgbx, operator)(*inputs, *case.ring)  # noqa: E731
    assert torch.autograd.gradcheck(call, leaves(case, operator))
    assert torch.autograd.gradgradcheck(call, leaves(case, operator))


def test_only_the_gradient_that_is_needed():
    b, a = leaves(DOUBLE, "shift_add_shuffle")
    both = torch.autograd.grad(shift_add_shuffle(b, a, 3).square().sum(), (b, a))
    for k, kept in enumerate((b, a)):
        pair = [x if x is kept else x.detach() for x in (b, a)]
        (alone,) = torch.autograd.grad(shift_add_shuffle(*pair, 3).square().sum(), kept)
        assert torch.equal(alone, both[k])


def test_dtypes_are_promoted_as_in_a_sum():
    b, a = torch.randn(2, 2, 10, 3, 4).unbind()
    mixed = shift_add_shuffle(b.bfloat16(), a, 2)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, shift_add_shuffle(b.bfloat16().float(), a, 2))


def test_autocast_changes_nothing():
    b, a = torch.randn(2, 2, 10, 3, 4).unbind()
    with torch.autocast("cpu", torch.bfloat16):
        wide = shift_add_shuffle(b, a, 2)
        narrow = shift_add_shuffle(b.bfloat16(), a.bfloat16(), 2)
    assert wide.dtype == torch.float32 and torch.equal(wide, shift_add_shuffle(b, a, 2))
    assert narrow.dtype == torch.bfloat16 and torch.equal(narrow, shift_add_shuffle(b.bfloat16(), a.bfloat16(), 2))


def test_deterministic_mode_is_no_obstacle():
    b, a = leaves(DOUBLE, "shift_add_shuffle")
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (torch.autograd.grad(shift_add_shuffle(b, a, 3).square().sum(), (b, a)) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


@pytest.mark.parametrize("function", [channel_shuffle, pixel_shift])
def test_integers_are_refused(function):
    with pytest.raises(TypeError, match=r"x is torch\.int64; expected float32"):
        function(torch.zeros(2, 5, 2, 2, dtype=torch.int64), 2)


TRACEABLE = ("channel_shuffle", "pixel_shift", "shift_add_shuffle")


@pytest.mark.parametrize("operator", TRACEABLE)
def test_what_compilers_are_given_equals_plain_torch(operator):
    for case in CASES:
        inputs = case.inputs(operator)
        answer = getattr(traceable, operator)(*inputs, *case.ring)
        assert torch.equal(answer, *expected(operator, case, inputs)), case


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("operator", TRACEABLE)
def test_what_compilers_are_given_differentiates_as_the_operators_do(operator, direction):
    """Gradients in all bits, those of gradients, forward mode, and several stacks at once of which one is shared."""
    case = Case(DOUBLE.shape, 3, torch.float64, "nhwc", direction)
    plain, registered = (
        lambda *inputs, form=form: getattr(form, operator)(*inputs, *case.ring) for form in (traceable, torch.ops.rgbx)
    )
    inputs = leaves(case, operator)
    grad = case.tensor(7)
    found, wanted = (torch.autograd.grad(call(*inputs), inputs, grad) for call in (plain, registered))
    assert all(map(torch.equal, found, wanted))
    assert torch.autograd.gradgradcheck(plain, inputs, fast_mode=True)
    values = case.inputs(operator)
    tangents = [case.tensor(seed) for seed in (5, 6)][: len(values)]
    assert torch.equal(torch.func.jvp(plain, tuple(values), tuple(tangents))[1], plain(*tangents))
    several = torch.stack([case.tensor(seed) for seed in (3, 4)])
    answer = torch.vmap(plain, in_dims=(0, *[None] * (len(values) - 1)))(several, *values[1:])
    assert torch.equal(answer, torch.stack([plain(one, *values[1:]) for one in several]))


@pytest.mark.parametrize("operator", TRACEABLE)
def test_what_compilers_are_given_keeps_the_memory_format(operator):
    """Of one sample too, whose strides along the batch say nothing."""
    for samples in (1, 2):
        case = Case((samples, 10, 4, 6), 2, torch.float32, "nhwc", 1)
        answer = getattr(traceable, operator)(*case.inputs(operator), *case.ring)
        assert answer.is_contiguous(memory_format=torch.channels_last) and not answer.is_contiguous()


COMPILED = """
import sys

import torch
from torch.autograd import forward_ad

from rgbx.ops import channel_shuffle, shift_add_shuffle
from torch._dynamo.testing import CompileCounterWithBackend

def block(b, a):
    return shift_add_shuffle(torch.relu(b), channel_shuffle(a, 2), 2).square().sum()

def gradients(function, b, a):
    b, a = b.clone().requires_grad_(), a.clone().requires_grad_()
    return torch.autograd.grad(function(b, a), (b, a))

counter = CompileCounterWithBackend("aot_eager")
compiled = torch.compile(block, fullgraph=True, dynamic=True, backend=counter)
for size in (3, 5):
    b, a = torch.randn(2, 4, 10, size, 6, device=sys.argv[1]).unbind()
    torch.testing.assert_close(gradients(compiled, b, a), gradients(block, b, a))
names = {str(node.target) for graph in counter.graphs for node in graph.graph.nodes}
print("operators:", sorted(name for name in names if "rgbx" in name))
"""


@pytest.mark.parametrize(("mode", "device"), [("auto", "cpu"), ("kernel", "cpu"), ("kernel", "cuda")])
def test_compiles_to_one_graph(mode, device, need_kernel):
    if mode == "kernel":
        need_kernel(device)
    environment = {**os.environ, "RGBX_OPS": mode}
    done = subprocess.run([sys.executable, "-c", COMPILED, device], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    opaque = ["rgbx.channel_shuffle", "rgbx.shift_add_shuffle"] if mode == "kernel" else []
    assert f"operators: {opaque}" in done.stdout


def test_exports_without_operators_of_its_own():
    class Fusion(torch.nn.Module):
        def forward(self, rgb, depth):
            x = torch.cat([rgb, depth])
            return shift_add_shuffle(x, x, 2)

    batch = torch.export.Dim("batch", min=1, max=64)
    example = tuple(torch.randn(2, 2, 10, 5, 6))
    program = torch.export.export(Fusion(), example, dynamic_shapes=({0: batch}, {0: batch}))
    assert "rgbx" not in str(program.graph)
    for count in (1, 7):
        pair = tuple(torch.randn(2, count, 10, 5, 6))
        assert torch.equal(program.module()(*pair), Fusion()(*pair))


@pytest.mark.parametrize("function", [channel_shuffle, pixel_shift])
def test_forward_mode_and_function_transforms(function):
    x, tangent = torch.randn(2, 4, 10, 3, 4, dtype=torch.float64).unbind()
    linear = lambda value: function(value, 2)  # noqa: E731
    assert torch.equal(torch.func.jvp(linear, (x,), (tangent,))[1], linear(tangent))
    with forward_ad.dual_level():
        dual = linear(forward_ad.make_dual(x, tangent))
        assert torch.equal(forward_ad.unpack_dual(dual).tangent, linear(tangent))
    found = torch.func.grad(lambda value: linear(value).square().sum())(x)
    leaf = x.clone().requires_grad_()
    assert torch.allclose(found, torch.autograd.grad(linear(leaf).square().sum(), leaf)[0])
    batch = torch.randn(3, 4, 10, 3, 4)
    assert torch.equal(torch.vmap(linear)(batch), torch.stack([linear(value) for value in batch]))
