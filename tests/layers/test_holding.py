"""Which modalities the stack holds: per block, per thread, in copies, compiled and computed again."""

import copy
import multiprocessing
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from rgbx.layers import ModalityLayer, StackLayout

NAMES = ("rgb", "depth", "thermal")
SUBSETS = [("rgb", "depth", "thermal"), ("rgb", "thermal"), ("depth",), ("rgb", "depth"), ("thermal",)]


@pytest.fixture
def layout():
    return StackLayout(NAMES)


class Tripled(nn.Module):
    """Adds 1, 2 and 3 to a modality's part of the stack, and its sum to the loss."""

    def __init__(self, layout):
        super().__init__()
        self.layout = layout
        self.layers = ModalityLayer(nn.Conv2d(2, 2, 1), layout)
        for i, layer in enumerate(self.layers.copies.values()):
            nn.init.constant_(layer.weight, i + 1.0)

    def forward(self, x):
        y = self.layers(x).sin()
        self.layout.penalise(y.sum())
        return y


def stack(names):
    return torch.linspace(-1, 1, 3 * 2 * 2 * 9).view(3, 2, 2, 3, 3)[: len(names)].flatten(0, 1).clone()


def test_blocks_nest_restore_and_order(layout):
    assert (layout.present, layout.count) == (NAMES, 3)
    with layout.holding({"thermal", "rgb"}):
        assert (layout.present, layout.count) == (("rgb", "thermal"), 2)
        with layout.holding({"depth": 1}):
            assert layout.present == ("depth",)
        assert layout.present == ("rgb", "thermal")
        with pytest.raises(ZeroDivisionError), layout.holding(["depth"]):
            raise ZeroDivisionError
        assert layout.present == ("rgb", "thermal")
    assert layout.present == NAMES


def test_a_block_is_of_its_thread(layout):
    entered, seen = threading.Barrier(len(SUBSETS)), {}

    def hold(names):
        with layout.holding(names):
            entered.wait()
            seen[names] = layout.present
            entered.wait()

    threads = [threading.Thread(target=hold, args=(names,)) for names in SUBSETS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {names: names for names in SUBSETS}
    assert layout.present == NAMES


def test_layouts_do_not_meet(layout):
    other = StackLayout(NAMES)
    with layout.holding(["rgb"]):
        assert other.present == NAMES


def test_copies_begin_outside_any_block(layout):
    with layout.holding(["rgb"]):
        for made in (copy.copy(layout), copy.deepcopy(layout), pickle.loads(pickle.dumps(layout))):
            assert (made.modalities, made.present) == (NAMES, NAMES)
    module = copy.deepcopy(Tripled(layout))
    assert layout is not module.layout is module.layers.layout


def report(layout, queue):
    with layout.holding(["depth"]):
        queue.put((layout.modalities, layout.present))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes(method, layout):
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(target=report, args=(layout, queue))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    assert queue.get() == (NAMES, ("depth",))


def test_penalties_belong_to_the_outermost_block(layout):
    with pytest.raises(RuntimeError, match="inside the block"):
        _ = layout.penalties
    layout.penalise(torch.ones(()))
    with layout.holding(NAMES):
        assert layout.penalties == []
        with layout.holding(["rgb"]):
            layout.penalise(torch.ones(()))
        layout.penalise(torch.zeros(()))
        assert layout.penalties == [1, 0]
    with layout.holding(NAMES):
        assert layout.penalties == []


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_for_every_subset_in_turn(backend, layout):
    """Also under a block that the compiled code does not open, whose penalties it adds to."""
    torch._dynamo.reset()
    module = Tripled(layout)
    compiled = torch.compile(module, backend=backend, fullgraph=True)
    for _ in range(2):
        torch.testing.assert_close(compiled(stack(NAMES)), module(stack(NAMES)))
        for names in SUBSETS:
            with layout.holding(names):
                torch.testing.assert_close(compiled(stack(names)), module(stack(names)))
                found, expected = layout.penalties
                torch.testing.assert_close(found, expected)


def test_compiled_for_one_subset_in_place_of_another(layout):
    """Of equal shapes, so that nothing else tells them apart; in every thread anew."""
    torch._dynamo.reset()
    module, x = Tripled(layout), stack("ab")
    compiled = torch.compile(module, backend="eager", fullgraph=True)

    def both(names):
        with layout.holding(names):
            return torch.equal(compiled(x), module(x))

    pairs = [("rgb", "depth"), ("depth", "thermal"), ("rgb", "depth"), ("rgb",), ("rgb", "thermal"), ("depth",)]
    assert [both(names) for names in pairs] == [True] * 6
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(both, pairs * 20))


def gradients(layout, run):
    """Of a sum of two calls of different subsets and their penalties, by one backward pass."""
    torch.manual_seed(0)
    module, losses = Tripled(layout), []
    for names in (("rgb", "thermal"), ("depth", "thermal")):
        with layout.holding(names):
            losses.append(run(module, stack(names).requires_grad_()).square().sum() + sum(layout.penalties))
    sum(losses).backward()
    return {name: p.grad for name, p in module.named_parameters()}


def test_checkpointed_calls_of_two_subsets_have_their_gradients(layout):
    expected = gradients(layout, lambda module, x: module(x))
    found = gradients(layout, layout.checkpoint)
    assert found.keys() == expected.keys()
    for name in expected:
        assert torch.equal(found[name], expected[name])


@pytest.mark.parametrize("around", [None, ("rgb",), ("rgb", "thermal")])
def test_a_part_that_cannot_know_its_subset_refuses(around, layout):
    """Whatever block happens to be open around the backward pass."""
    with layout.holding(["rgb", "thermal"]):
        y = checkpoint(Tripled(layout), stack("ab").requires_grad_(), use_reentrant=False).sum()
    with pytest.raises(RuntimeError, match="cannot know"):
        if around is None:
            y.backward()
        else:
            with layout.holding(around):
                y.backward()


def test_one_declared_modality_needs_no_block():
    layout = StackLayout(("rgb",))
    x = stack("a").requires_grad_()
    checkpoint(Tripled(layout), x, use_reentrant=False).sum().backward()
    assert x.grad is not None
