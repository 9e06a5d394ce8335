"""Running statistics of batch norms for each subset of the modalities, where a network is trained on several.

What reaches a norm depends on which modalities take part: without a partner nothing is exchanged. Running statistics of
all subsets together fit none of them, and the more the rarer a subset is. Weights, and batches in training mode, know
nothing of this. As slimmable networks have norms for each width (Yu et al., arXiv 1812.08928), here only statistics are
apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rgbx.layers.batch_norm import Mixed, has_activation, mixed
from rgbx.layers.stack import ModalityNorm, StackLayout

MOST = 4  # modalities; of more there are too many subsets
PLACE, SEPARATOR = "subsets", "__"
FIRST = 10  # batches of a subset
NAMES = ("running_mean", "running_var", "num_batches_tracked")


class _Statistics(nn.Module):
    """Running statistics of one subset, [C] each, and how many batches they are of.

    Attributes:
        begun: whether there was a batch.
        visits: how many there were.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: SubsetStatistics) -> None:
        super().__init__()
        for name in NAMES:
            self.register_buffer(name, norm.common(name).clone())
        self.num_batches_tracked.zero_()
        self.begun, self.visits = False, 0  # apart, as a compiled network depends on what it reads

    def recount(self) -> None:
        """Attributes as the tensors say, after these were set."""
        if not self.num_batches_tracked.is_meta:
            self.visits = int(self.num_batches_tracked)
            self.begun = self.visits > 0

    def _load_from_state_dict(
        self,
        state: Mapping[str, Tensor],  # [...] each
        prefix: str,
        *rest: Any,
    ) -> None:
        super()._load_from_state_dict(state, prefix, *rest)
        self.recount()


class SubsetStatistics(Mixed):
    """What `keep_subset_statistics` makes of a batch norm.

    Its running statistics, read or written, are those of the modalities in the stack of the call. A subset that was not
    yet trained on has those of all modalities, and one of few batches is near them.

    Attributes:
        layout: says which modalities are in the stack.
        subsets: the statistics of every proper subset in which the norm takes part, by its names, such as "rgb__depth".
    """

    layout: StackLayout
    subsets: nn.ModuleDict

    def common(self, name: str) -> Tensor:
        """A buffer of the statistics of all modalities."""
        found = self._buffers[name]
        assert found is not None
        return found

    def begin(self, names: Sequence[str]) -> None:
        """A subset is trained on: its first batches are each added to the statistics of all modalities.

        From them it goes on alone. Averages of fewer batches would mostly be of what the network was when they began.
        """
        key = SEPARATOR.join(names)
        if key not in self.subsets or not (self.training and self.track_running_stats):
            return
        own = self.subsets[key]
        assert isinstance(own, _Statistics)
        if own.visits < FIRST:
            for name in NAMES[:2]:
                getattr(own, name).copy_(self.common(name))
        own.begun, own.visits = True, own.visits + 1

    def _statistic(self, name: str) -> Tensor:
        key = SEPARATOR.join(self.layout.present)
        if key in self.subsets and self.subsets[key].begun:
            return getattr(self.subsets[key], name)
        return self._buffers[name]  # type: ignore[return-value]

    running_mean = property(lambda self: self._statistic("running_mean"))
    running_var = property(lambda self: self._statistic("running_var"))
    num_batches_tracked = property(lambda self: self._statistic("num_batches_tracked"))

    def reset_running_stats(self) -> None:
        """Forgets the statistics of all subsets."""
        for own in self.subsets.values():
            assert isinstance(own, _Statistics)
            own.num_batches_tracked.zero_()
            own.recount()
        self.common("running_mean").zero_()
        self.common("running_var").fill_(1)
        self.common("num_batches_tracked").zero_()


def keep_subset_statistics(modules: Iterable[nn.Module], layout: StackLayout) -> None:
    """Gives every batch norm among the modules, in place, running statistics for each subset of the modalities.

    Nothing happens to norms that have them, and for one modality or more than four.
    """
    if not 1 < len(layout.modalities) <= MOST:
        return
    modules = list(modules)
    owners = [each for each in modules if isinstance(each, ModalityNorm)]
    private = {norm: name for each in owners for name, norm in each.norms.items()}
    for norm in modules:
        ordinary = type(norm).forward is _BatchNorm.forward or has_activation(norm)
        if not isinstance(norm, _BatchNorm) or isinstance(norm, SubsetStatistics) or not ordinary:
            continue
        if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
            continue
        norm.__class__ = mixed(SubsetStatistics, type(norm))
        assert isinstance(norm, SubsetStatistics)
        norm.layout = layout
        keys = [SEPARATOR.join(names) for names in _subsets(layout.modalities) if private.get(norm, names[0]) in names]
        norm.subsets = nn.ModuleDict({key: _Statistics(norm) for key in keys})


def begin_subset(modules: Iterable[nn.Module], names: Sequence[str]) -> None:
    """Says that a step of training is to see the named modalities, in declared order, and no others."""
    for norm in modules:
        if isinstance(norm, SubsetStatistics):
            norm.begin(names)


def recount_subsets(modules: Iterable[nn.Module]) -> None:
    """Says that buffers of the modules were set otherwise than by loading a state dict."""
    for each in modules:
        if isinstance(each, _Statistics):
            each.recount()


def fit_subset_statistics(
    tensors: Mapping[str, Tensor],  # [...] each
    own: Iterable[str],
) -> dict[str, Tensor]:
    """The tensors of a checkpoint, name to [...], with statistics of subsets as a model has them.

    Where a checkpoint has none, they are those of all modalities; where a model has none, they are left out.

    Args:
        tensors: of the checkpoint.
        own: names of the model's.
    """
    own = dict.fromkeys(own)
    found = {name: x for name, x in tensors.items() if name in own or _whole(name) is None}
    for name in own:
        whole = _whole(name)
        if name not in found and whole is not None and whole in tensors:
            counts = name.endswith(NAMES[2])
            found[name] = torch.zeros_like(tensors[whole]) if counts else tensors[whole].clone()
    return found


def has_subset_statistics(names: Iterable[str]) -> bool:
    """Whether some of the names, of a checkpoint's tensors, are of statistics of subsets."""
    return any(_whole(name) is not None for name in names)


def _whole(name: str) -> str | None:
    """The name of the same statistic of all modalities; None for other tensors."""
    norm, place, rest = name.rpartition(f".{PLACE}.")
    key, _, last = rest.partition(".")
    return f"{norm}.{last}" if place and key and last in NAMES else None


def _subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for size in range(1, len(names)):
        yield from itertools.combinations(names, size)
