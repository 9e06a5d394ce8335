"""A traced network with the stack of its modalities taken apart, so that each one's part is a tensor of its own.

In training, all modalities pass a convolution as one batch, and the private norms behind it scale each one's part by
itself. A runtime can melt a norm into the convolution before it, and keep its own memory layouts from one to the
next, only where both are of one modality. The values stay the same; the weights stay shared.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter
from torch.utils._pytree import tree_any, tree_map

aten = torch.ops.aten
# an operation of aten, or a function on sizes, and what a traced graph gives it
Operation: TypeAlias = Any
Positional: TypeAlias = tuple[Any, ...]
Named: TypeAlias = dict[str, Any]
Rest: TypeAlias = list[Any]


class Stack(NamedTuple):
    """The parts of a tensor along its first axis: joined there, or, where `apart`, each at a place of its own."""

    parts: list[Tensor]
    apart: bool = False

    def whole(self) -> Tensor:
        """The tensor."""
        return torch.stack(self.parts) if self.apart else torch.cat(self.parts)


# what gives for each sample of a batch what it would give for this sample alone
SAMPLE_WISE = {
    aten.adaptive_avg_pool2d.default,
    aten.alias.default,
    aten.avg_pool2d.default,
    aten.batch_norm.default,
    aten.clamp.default,
    aten.contiguous.default,
    aten.conv2d.default,
    aten.conv_transpose2d.input,
    aten.detach.default,
    aten.dropout.default,
    aten.elu.default,
    aten.feature_dropout.default,
    aten.gelu.default,
    aten.hardsigmoid.default,
    aten.hardswish.default,
    aten.hardswish_.default,
    aten.hardtanh.default,
    aten.hardtanh_.default,
    aten.instance_norm.default,
    aten.leaky_relu.default,
    aten.leaky_relu_.default,
    aten.max_pool2d.default,
    aten.pad.default,
    aten.relu.default,
    aten.relu_.default,
    aten.sigmoid.default,
    aten.silu.default,
    aten.silu_.default,
    aten.tanh.default,
    aten.to.dtype,
    aten.upsample_bilinear2d.vec,
    aten.upsample_nearest2d.vec,
    aten.zeros_like.default,
}
PAIRWISE = {aten.add.Tensor, aten.add_.Tensor, aten.div.Tensor, aten.mul.Tensor, aten.mul_.Tensor, aten.sub.Tensor}
CHECKS = {aten._assert_scalar.default, aten._assert_tensor_metadata.default}


class Unstacked(Interpreter):
    """Runs a traced graph with stacks in parts; what it does not know is done to the whole, as it was traced."""

    def call_function(self, target: Operation, args: Positional, kwargs: Named) -> Any:
        if target in CHECKS:
            return None
        if target is aten.cat.default and len(args) == 1:
            return Stack([part for x in args[0] for part in _parts(x)])
        if target is operator.getitem:  # of several results, which may be stacks
            return args[0][args[1]]
        if tree_any(_is_stack, (args, kwargs), is_leaf=_is_stack):
            found = _taken_apart(target, args, kwargs)
            if found is not None:
                return found
        args, kwargs = tree_map(_whole, (args, kwargs), is_leaf=_is_stack)
        return super().call_function(target, args, kwargs)

    def output(self, target: Operation, args: Positional, kwargs: Named) -> Any:
        return super().output(target, tree_map(_whole, args, is_leaf=_is_stack), kwargs)


class Replayed(nn.Module):
    """A traced network that runs taken apart, to be traced again."""

    def __init__(self, graph: GraphModule) -> None:
        super().__init__()
        self.network = graph

    def forward(
        self,
        *maps: Tensor,  # [N, c, H, W] each
    ) -> Sequence[Tensor]:
        """What the network gives."""
        found: Sequence[Tensor] = Unstacked(self.network).run(*maps)
        return found


def _is_stack(x: object) -> bool:
    return isinstance(x, Stack)


def _whole(x: object) -> object:
    return x.whole() if isinstance(x, Stack) else x


def _parts(x: Tensor | Stack) -> list[Tensor]:
    return [x] if isinstance(x, Tensor) else [x.whole()] if x.apart else x.parts


def _taken_apart(target: Operation, args: Positional, kwargs: Named) -> Any:
    """The result of an operation on stacks, part by part; None where it cannot be done so."""
    first, *rest = args
    if target in PAIRWISE:
        return _of_pairs(target, args, kwargs)
    if target is aten.cat.default:
        stacks = list(first)
        if not all(map(_is_stack, stacks)) or not _alike(stacks) or rest[0] == 0 or first[0].apart:
            return None
        return Stack([torch.cat(list(parts), *rest) for parts in zip(*(x.parts for x in stacks), strict=True)])
    if not isinstance(first, Stack) or tree_any(_is_stack, (rest, kwargs), is_leaf=_is_stack):
        return None
    if first.apart:
        return _of_apart(target, first, rest)
    if target in SAMPLE_WISE or (target in AXIS and AXIS[target](rest)):
        return Stack([target(part, *rest, **kwargs) for part in first.parts])
    return _of_joined(target, first, rest)


AXIS: dict[Operation, Callable[[Rest], bool]] = {  # these are of each sample where they do not touch the first axis
    aten.slice.Tensor: lambda rest: bool(rest) and rest[0] != 0,
    aten.mean.dim: lambda rest: 0 not in rest[0],
    aten.softmax.int: lambda rest: rest[0] != 0,
    aten.flatten.using_ints: lambda rest: bool(rest) and rest[0] > 0,
}


def _of_pairs(target: Operation, args: Positional, kwargs: Named) -> Stack | None:
    """Of two stacks alike, or of a stack and what is the same for all samples."""
    first, second = args
    if isinstance(first, Stack) and isinstance(second, Stack):
        if not _alike([first, second]):
            return None
        pairs = zip(first.parts, second.parts, strict=True)
        return Stack([target(a, b, **kwargs) for a, b in pairs], first.apart)
    stack, other = (first, second) if isinstance(first, Stack) else (second, first)
    if isinstance(other, Tensor) and other.ndim >= stack.parts[0].ndim + stack.apart and other.shape[0] != 1:
        return None
    if stack.apart or (target in (aten.add_.Tensor, aten.mul_.Tensor) and stack is not first):
        return None
    return Stack([target(*((part, other) if stack is first else (other, part)), **kwargs) for part in stack.parts])


def _of_joined(target: Operation, stack: Stack, rest: Rest) -> Any:
    """Its sizes, and how it is split into the parts that it has anyway."""
    parts, sizes = stack.parts, [part.shape[0] for part in stack.parts]
    if target is aten.sym_size.int:
        return sum(sizes) if rest[0] == 0 else parts[0].shape[rest[0]]
    if target is aten.slice.Tensor and (len(rest) < 2 or rest[1:] in ([0, sys.maxsize], [None, None])):
        return stack
    if target is aten.split_with_sizes.default and (len(rest) == 1 or rest[1] == 0):
        return _gathered(parts, rest[0])
    if target is aten.split_with_sizes.default:
        pieces = [part.split_with_sizes(*rest) for part in parts]
        return [Stack(list(each)) for each in zip(*pieces, strict=True)]
    if target is aten.unflatten.int and rest[0] == 0 and rest[1][0] == len(parts) and _same(sizes, sizes[:1]):
        return Stack(list(parts), apart=True)
    if target is aten.tensor_split.indices and len(rest) == 2 and rest[1] != 0:
        pieces = [part.tensor_split(rest[0], rest[1]) for part in parts]
        return [Stack(list(each)) for each in zip(*pieces, strict=True)]
    return None


def _gathered(parts: Sequence[Tensor], sizes: Sequence[int]) -> list[Stack] | None:
    """Parts one after the other that have so many samples together, for each of the sizes; None where none have."""
    found, left = [], list(parts)
    for size in sizes:
        taken: list[Tensor] = []
        while left and not (taken and sum(part.shape[0] for part in taken) == size):
            taken.append(left.pop(0))
        if sum(part.shape[0] for part in taken) != size:
            return None
        found.append(Stack(taken))
    return None if left else found


def _of_apart(target: Operation, stack: Stack, rest: Rest) -> Any:
    """One place, all of them, or joined again."""
    if target is aten.unbind.int and (not rest or rest[0] == 0):
        return list(stack.parts)
    if target is aten.select.int and rest[0] == 0:
        return stack.parts[rest[1]]
    if target is aten.roll.default and rest == [[1], [0]]:
        return Stack([stack.parts[-1], *stack.parts[:-1]], apart=True)
    if target is aten.flatten.using_ints and rest == [0, 1]:
        return Stack(list(stack.parts))
    return None


def _alike(stacks: Sequence[Stack]) -> bool:
    """Whether stacks have as many parts, of the same number of samples."""
    first = [x.shape[0] for x in stacks[0].parts]
    return all(
        x.apart == stacks[0].apart and len(x.parts) == len(first) and _same([y.shape[0] for y in x.parts], first)
        for x in stacks[1:]
    )


def _same(sizes: Sequence[int], others: Sequence[int]) -> bool:
    """Whether numbers of samples, of which some may be symbols of a trace, are equal one by one."""
    others = list(others) if len(others) == len(sizes) else list(others) * len(sizes)
    return len(others) == len(sizes) and all(map(operator.eq, sizes, others))
