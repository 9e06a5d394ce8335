"""Several modalities stacked on the batch axis of a network: which are in the stack, and what is private to each.

Source: arXiv 2108.05009, section 3.1: all convolutions are shared, each modality has its own batch norm.
"""

from __future__ import annotations

import copy
import operator
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, reduce
from typing import NamedTuple, Protocol, TypeGuard, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from rgbx._processes import process_count
from rgbx._text import one_of
from rgbx.layers.batch_norm import can_be_stacked, stacked_batch_norm
from rgbx.layers.synchronised import are_together, normalise_together

_T = TypeVar("_T")
CLIP = 5  # dimensions of a clip's batch [N, T, c, H, W]; stills have 4


class Gated(NamedTuple):
    """What a gate of `purification` leaves in the block of a call, see `StackLayout.gates`.

    Attributes:
        stage: the number of the stage on whose input it acts, 1 being the first; 0 for the network's inputs.
        names: of the M modalities in the stack.
        logits: [M*N, 1, h, w].
    """

    stage: int
    names: tuple[str, ...]
    logits: Tensor


class Trace:
    """What a call does beside its answer: modalities of the stack to be filled in, and features that are kept.

    Attributes:
        absent: names of those in the stack that were not given, see `rgbx.layers.Hallucination`.
        points: what was read where they are filled in, in the order of the network: of each modality [N, C, h, w],
            or of those absent what was put in their place, as decoders give it.
        merging: what a fusion method that merges the modalities read, [M*N, C_i, h_i, w_i] of each stage.
    """

    def __init__(self, absent: Iterable[str] = ()) -> None:
        self.absent = tuple(absent)
        self.points: list[dict[str, Tensor]] = []
        self.merging: Sequence[Tensor] = ()


class StackLayout:
    """The modalities a network knows, in declared order, and those in the stack of the call that is running.

    One layout is shared by all private norms and fusions of a model. Whoever makes the stack opens a block of
    `holding`; everything below reads `present`, so that a timm network that only calls ``bn(x)`` needs no further
    argument. A block belongs to the thread that opened it: threads may call one model with different subsets.

    Attributes:
        modalities: names of all M modalities, in declared order.
    """

    def __init__(self, modalities: Iterable[str]) -> None:
        self.modalities = tuple(modalities)
        if not self.modalities or len(set(self.modalities)) != len(self.modalities):
            raise ValueError(f"modalities are {self.modalities}; expected at least one name, each only once")
        for name in self.modalities:
            if not name.isidentifier():
                raise ValueError(f"modality {name!r} is no valid name; expected letters, digits and underscores")
        self._thread = _OpenBlock()

    def __getstate__(self) -> tuple[str, ...]:
        return self.modalities  # a copy or another process starts outside any block

    def __setstate__(self, modalities: tuple[str, ...]) -> None:
        self.modalities, self._thread = modalities, _OpenBlock()

    def order(self, names: Iterable[str]) -> tuple[str, ...]:
        """Returns the given names in declared order.

        Raises:
            ValueError: if there is none, or one that was not declared.
        """
        names = set(names)
        unknown = sorted(names - set(self.modalities))
        if unknown or not names:
            known = one_of(self.modalities, unknown[0] if unknown else None)
            raise ValueError(f"modalities {unknown or '()'} given; this model knows {known}")
        return tuple(name for name in self.modalities if name in names)

    def holding(
        self,
        names: Iterable[str],
        *,
        purified: bool | None = None,
        times: Mapping[str, Tensor] | None = None,  # [N, T] each
        trace: Trace | None = None,
        size: tuple[int, int] | None = None,
    ) -> _Block:
        """A context in which, for this thread, the stack holds the named modalities; contexts nest.

        Args:
            names: of the modalities.
            purified: whether gates act in it; None for what the block around says, without one they do.
            times: of the frames of clips, see `times`; None for what the block around says.
            trace: of the call; None for that of the block around.
            size: height and width of what the network reads, see `size`; None for what the block around says.

        Raises:
            ValueError: for no name, or one that was not declared.
        """
        return _Block(self._thread, self.order(names), purified, times, trace, size)

    @property
    def present(self) -> tuple[str, ...]:
        """Names of the modalities in the stack, in declared order: those of the open block, outside any block all.

        Raises:
            RuntimeError: during a backward pass, outside the blocks opened in it: a part of a network that is computed
                again there cannot know what its forward pass held.
        """
        block = self._thread.block
        names, opened_in = (self.modalities, NO_BACKWARD) if block is None else (block.names, block.opened_in)
        if opened_in != _backward_pass() and len(self.modalities) > 1:
            raise RuntimeError(
                "a part of a network for several modalities is computed again in a backward pass and cannot know which "
                "of them its forward pass held; checkpoint the whole backbone, or use "
                "SharedBackbone.set_grad_checkpointing or StackLayout.checkpoint"
            )
        return names

    @property
    def count(self) -> int:
        """Number of modalities in the stack."""
        return len(self.present)

    @property
    def penalties(self) -> list[Tensor]:
        """Terms, each a scalar, that modules added to the training loss of this call by `penalise`.

        Raises:
            RuntimeError: outside any block; the terms of a call are gone when its outermost block is closed.
        """
        if self._thread.block is None:
            raise RuntimeError("penalties belong to a call; read them inside the block of `holding` it runs in")
        return self._thread.block.penalties

    def penalise(
        self,
        term: Tensor,  # [] a scalar
    ) -> None:
        """Adds a term to the training loss of the call that is running; outside any block nobody asks for it."""
        if self._thread.block is not None:
            self._thread.block.penalties.append(term)

    @property
    def purified(self) -> bool:
        """Whether the gates of the network act in the call that is running, see `holding`."""
        return self._thread.block is None or self._thread.block.purified

    @property
    def times(self) -> Mapping[str, Tensor] | None:
        """When the T frames of each modality were taken, [N, T] in seconds after the label; None for stills."""
        return None if self._thread.block is None else self._thread.block.times

    @property
    def gates(self) -> list[Gated]:
        """What the gates of this call left by `leave_gate`, in the order in which they acted.

        Raises:
            RuntimeError: outside any block, as for `penalties`.
        """
        if self._thread.block is None:
            raise RuntimeError("gates belong to a call; read them inside the block of `holding` it runs in")
        return self._thread.block.gates

    def leave_gate(
        self,
        gate: Gated,  # logits [M*N, 1, h, w]
    ) -> None:
        """Leaves a gate's logits for the loss and the beliefs of the call that is running; outside any nobody asks."""
        if self._thread.block is not None:
            self._thread.block.gates.append(gate)

    @property
    def trace(self) -> Trace | None:
        """That of the call that is running, see `holding`; None where nobody asks for one."""
        return None if self._thread.block is None else self._thread.block.trace

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what the network of the call that is running reads; tokens do not tell it.

        Raises:
            RuntimeError: where nobody said it.
        """
        size = None if self._thread.block is None else self._thread.block.size
        if size is None:
            raise RuntimeError("the size of the images belongs to a call of the backbone; there is none in this thread")
        return size

    def checkpoint(
        self,
        function: Callable[[Tensor], _T],
        x: Tensor,  # [M*N, ...]
    ) -> _T:
        """Calls a function whose activations are not kept but computed again in the backward pass, for this stack."""
        # in a compiled graph the part that is computed again is traced here and now, which norms that talk to other
        # processes prevent
        traced = torch.compiler.is_compiling() and process_count() == 1
        call = function if traced else partial(self._call, self.present, self.purified, function)
        result: _T = checkpoint(call, x, use_reentrant=False)
        return result

    def _call(
        self,
        names: tuple[str, ...],
        purified: bool,
        function: Callable[[Tensor], _T],
        x: Tensor,  # [M*N, ...]
    ) -> _T:
        with self.holding(names, purified=purified):
            return function(x)


class _OpenBlock(threading.local):
    """The innermost block that this thread has open."""

    def __init__(self) -> None:  # once for every thread; torch.compile guards what lies in the object, not in its class
        self.block: _Block | None = None


class _Block:
    """What `StackLayout.holding` opens.

    A block inside another one adds its penalties and gates to the outer one's, except where a backward pass computes a
    part of a network again: those of that part were counted in its forward pass.
    """

    def __init__(
        self,
        thread: _OpenBlock,
        names: tuple[str, ...],
        purified: bool | None,
        times: Mapping[str, Tensor] | None,  # [N, T] each
        trace: Trace | None,
        size: tuple[int, int] | None,
    ) -> None:
        self.thread, self.names, self._purified, self._times = thread, names, purified, times
        self._trace, self._size = trace, size

    def __enter__(self) -> None:
        self.outer, self.opened_in = self.thread.block, _backward_pass()
        nested = self.outer is not None and self.outer.opened_in == self.opened_in
        outer = self.outer if nested else None
        self.penalties: list[Tensor] = [] if outer is None else outer.penalties
        self.gates: list[Gated] = [] if outer is None else outer.gates
        around: bool = outer is None or outer.purified
        self.purified: bool = around if self._purified is None else self._purified
        # what is computed again in a backward pass reads none of these
        self.times: Mapping[str, Tensor] | None = _given(self._times, None if outer is None else outer.times)
        self.trace: Trace | None = _given(self._trace, None if outer is None else outer.trace)
        self.size: tuple[int, int] | None = _given(self._size, None if outer is None else outer.size)
        self.thread.block = self

    def __exit__(self, *exception: object) -> None:
        self.thread.block = self.outer


def _given(own: _T | None, around: _T | None) -> _T | None:
    return around if own is None else own


NO_BACKWARD = -1


def _backward_pass() -> int:
    """A number of the backward pass that this thread is in, or `NO_BACKWARD`; a graph is compiled as outside any."""
    return NO_BACKWARD if torch.compiler.is_compiling() else torch._C._current_graph_task_id()


def match_channels(
    x: Tensor,  # [N, c, H, W]
    channels: int,
    name: str,
) -> Tensor:
    """Fits a map [N, c, H, W] to a stem of ``channels`` inputs: one channel is repeated, an equal number is kept.

    Raises:
        ValueError: for any other number of channels.
    """
    if x.dim() != 4 or x.shape[1] not in (1, channels):
        raise ValueError(f"{name} has shape {list(x.shape)}; expected [N, 1, H, W] or [N, {channels}, H, W]")
    return x if x.shape[1] == channels else x.expand(-1, channels, -1, -1)


def stack_modalities(
    inputs: Mapping[str, Tensor],  # [N, c, H, W] each
    layout: StackLayout,
    channels: int = 3,
) -> Tensor:
    """Stacks the maps [N, c, H, W] of the modalities present to [M*N, channels, H, W], modality-major.

    Raises:
        ValueError: if the maps differ in batch or image size, or have the wrong number of channels.
    """
    maps = _equal_maps(inputs, layout.present, channels)
    return torch.cat(maps) if len(maps) > 1 else maps[0]


def concatenate_modalities(
    inputs: Mapping[str, Tensor],  # [N, c, H, W] each
    layout: StackLayout,
    channels: int = 3,
) -> Tensor:
    """Joins the maps [N, c, H, W] of all modalities as channels, [N, M*channels, H, W]; those absent are zero.

    Raises:
        ValueError: if the maps differ in batch or image size, or have the wrong number of channels.
    """
    maps = dict(zip(layout.present, _equal_maps(inputs, layout.present, channels), strict=True))
    zero = torch.zeros_like(next(iter(maps.values())))
    return torch.cat([maps.get(name, zero) for name in layout.modalities], dim=1)


def _equal_maps(
    inputs: Mapping[str, Tensor],  # [N, c, H, W] each
    names: Sequence[str],
    channels: int,
) -> list[Tensor]:
    maps = [match_channels(inputs[name], channels, name) for name in names]
    for name, x in zip(names, maps, strict=True):
        if x.shape != maps[0].shape:
            raise ValueError(
                f"{name} has batch and size {[x.shape[0], *x.shape[2:]]}, {names[0]} has "
                f"{[maps[0].shape[0], *maps[0].shape[2:]]}; resize them to one size first"
            )
    return maps


def split_modalities(
    x: Tensor,  # [M*N, ...]
    layout: StackLayout,
) -> dict[str, Tensor]:
    """Views of a stack [M*N, ...] per modality present, each [N, ...]."""
    sizes = [x.shape[0] // layout.count] * layout.count  # unlike chunks, these let an export keep N dynamic
    return dict(zip(layout.present, x.split(sizes), strict=True))


def sum_of_others(
    parts: Sequence[Tensor],  # M times [N, ...]
) -> list[Tensor]:
    """For each of at least two modalities' features, the sum of the others': y_m = Σ_{k≠m} x_k."""
    return [reduce(operator.add, [x for k, x in enumerate(parts) if k != m]) for m in range(len(parts))]


def mean_of_others(
    parts: Sequence[Tensor],  # M times [N, ...]
) -> list[Tensor]:
    """The mean in place of the sum of `sum_of_others`; between two modalities an exact swap."""
    sums = sum_of_others(parts)
    return sums if len(parts) == 2 else [total / (len(parts) - 1) for total in sums]


class ModalityNorm(nn.Module):
    """One norm per modality, each applied to its own part of the stack [M*N, ...].

    Any norm that works on a batch serves: batch norm, timm's batch norm with activation, layer norm, instance norm. The
    parameters are stored under the modality's name (``norms.rgb.weight``), all starting as copies of the given norm.
    """

    def __init__(self, norm: nn.Module, layout: StackLayout) -> None:
        super().__init__()
        self.layout = layout
        self.norms = nn.ModuleDict({name: copy.deepcopy(norm) for name in layout.modalities})

    def forward(
        self,
        x: Tensor,  # [M*N, ...]
    ) -> Tensor:
        norms = [self.norms[name] for name in self.layout.present]
        if self.training and are_together(norms):
            return normalise_together(x, norms)
        if len(norms) == 1:
            return norms[0](x)
        if not torch.is_grad_enabled() and _are_frozen_2d(norms):
            return _frozen_batch_norm(x, norms)
        if can_be_stacked(norms, x):
            return stacked_batch_norm(x, norms)
        if _are_instance_2d(norms):
            return _instance_norm(x, norms)
        parts = split_modalities(x, self.layout).values()
        return torch.cat([norm(part) for norm, part in zip(norms, parts, strict=True)])


class _AffineNorm(Protocol):
    """What is read of a batch or instance norm."""

    weight: Tensor  # [C], as are the others
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    eps: float


def _are_frozen_2d(norms: Sequence[nn.Module]) -> TypeGuard[Sequence[_AffineNorm]]:
    return all(
        isinstance(norm, nn.BatchNorm2d)
        and norm.running_mean is not None
        and not norm.training
        and len(list(norm.parameters())) == 2  # scale and bias; an activation inside has no parameters of its own
        for norm in norms
    )


def _frozen_batch_norm(
    x: Tensor,  # [M*N, C, H, W]
    norms: Sequence[_AffineNorm],
) -> Tensor:
    """Batch norm with fixed statistics as one affine map over the whole stack; nothing is split or concatenated."""
    scale = torch.stack([n.weight * torch.rsqrt(n.running_var + n.eps) for n in norms])  # [M, C]
    bias = torch.stack([n.bias - n.running_mean * s for n, s in zip(norms, scale, strict=True)])
    scale, bias = (t[:, None, :, None, None] for t in (scale, bias))
    out = torch.addcmul(bias, x.unflatten(0, (len(norms), -1)), scale).flatten(0, 1).to(x.dtype)
    act, drop = (getattr(norms[0], name, None) for name in ("act", "drop"))  # what follows in timm's BatchNormAct2d
    return out if act is None or drop is None else act(drop(out))


def _are_instance_2d(norms: Sequence[nn.Module]) -> TypeGuard[Sequence[_AffineNorm]]:
    return all(isinstance(norm, nn.InstanceNorm2d) and norm.affine and not norm.track_running_stats for norm in norms)


def _instance_norm(
    x: Tensor,  # [M*N, C, H, W]
    norms: Sequence[_AffineNorm],
) -> Tensor:
    """Instance norm of the whole stack in one call: as batch norm of one sample with M*N*C channels."""
    parts = x.unflatten(0, (len(norms), -1))  # [M, N, C, H, W]
    weight, bias = (
        torch.stack([getattr(norm, name) for norm in norms])[:, None].expand(-1, parts.shape[1], -1).flatten()
        for name in ("weight", "bias")
    )
    out = F.batch_norm(parts.flatten(0, 2)[None], None, None, weight, bias, training=True, eps=norms[0].eps)
    return out.view_as(x)


class ModalityAffine(nn.Module):
    """Batch norm with statistics shared by all modalities and a private scale and bias for each (an ablation)."""

    def __init__(self, norm: _BatchNorm, layout: StackLayout) -> None:
        super().__init__()
        self.layout = layout
        self.statistics = nn.BatchNorm2d(norm.num_features, eps=norm.eps, momentum=norm.momentum, affine=False)
        self.statistics.load_state_dict(norm.state_dict(), strict=False)
        affine = nn.ParameterDict({"weight": norm.weight.detach().clone(), "bias": norm.bias.detach().clone()})
        self.norms = nn.ModuleDict({name: copy.deepcopy(affine) for name in layout.modalities})
        self.drop, self.act = getattr(norm, "drop", nn.Identity()), getattr(norm, "act", nn.Identity())

    def forward(
        self,
        x: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        names = self.layout.present
        weight, bias = (torch.stack([getattr(self.norms[m], key) for m in names]) for key in ("weight", "bias"))
        parts = self.statistics(x).unflatten(0, (len(names), -1))  # [M, N, C, H, W]
        out = torch.addcmul(bias[:, None, :, None, None].to(parts.dtype), parts, weight[:, None, :, None, None])
        return self.act(self.drop(out.flatten(0, 1)))


class ModalityLayer(nn.Module):
    """One copy of a layer per modality, each applied to its own part of the stack [M*N, ...].

    The parameters are stored under the modality's name (``copies.rgb.weight``), all starting as copies of the given
    layer's.
    """

    def __init__(self, layer: nn.Module, layout: StackLayout) -> None:
        super().__init__()
        self.layout = layout
        self.copies = nn.ModuleDict({name: copy.deepcopy(layer) for name in layout.modalities})

    def forward(
        self,
        x: Tensor,  # [M*N, ...]
    ) -> Tensor:
        outputs = [self.copies[name](part) for name, part in split_modalities(x, self.layout).items()]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)
