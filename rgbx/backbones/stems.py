"""First convolutions of a modality's own, made from the shared one that reads RGB.

Source: the RGB filters summed, averaged or copied for a depth encoder are common practice, e.g. the sum in ESANet
(arXiv 2011.06961, released code); repeating them for more channels is timm's rule (`adapt_input_conv`). The stem stays
inside the timm network, which knows nothing of it.

With the shared filters W_c of C_in channels and their sum S = Σ_c W_c, the filters w_j of a stem that reads n
channels are

| mode | w_j, j = 0..n-1 | n equal channels give |
|---|---|---|
| sum | S / n | what the shared convolution gives of one repeated channel |
| mean | S / (n C_in) | that divided by C_in |
| copy | W_(j mod C_in) C_in / n | the same as sum where C_in divides n, else about that |
| random | normally distributed, mean 0, variance Σ W² / (n k² C_out) | what filters of as large a sum of squares give |

so that activations keep their scale whatever n is: with one channel sum and mean are what they always were, and a copy
of C_in channels is W itself.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgbx.backbones._timm import TimmNetwork, timm
from rgbx.layers import StackLayout, split_modalities

Conv2dSame: type[nn.Conv2d] = timm.layers.Conv2dSame
MODES = ("sum", "mean", "copy", "random")
COLOURS = 3  # channels that networks of images read


def stem_weight(weight: Tensor, mode: str, channels: int | None = None) -> Tensor:
    """The weight [C_out, n, k, k] of an own stem from the shared one; see the module.

    Args:
        weight: [C_out, C_in, k, k].
        mode: one of `MODES`.
        channels: n; None for one, or of a copy for C_in.
    """
    shared, read = weight.detach(), weight.shape[1]
    count = channels or (read if mode == "copy" else 1)
    if mode == "random":
        spread = (shared.square().sum() / (shared[:, 0].numel() * count)).sqrt()
        return torch.randn_like(shared[:, :1].expand(-1, count, -1, -1)) * spread
    if mode == "copy":
        return shared[:, [j % read for j in range(count)]] * (read / count)
    total = shared.sum(1, keepdim=True) if mode == "sum" else shared.mean(1, keepdim=True)
    return total.repeat(1, count, 1, 1) / count


class ModalityStem(nn.Conv2d):
    """A first convolution on the stack [M*N, C, H, W] with weights of their own for some modalities.

    The shared convolution keeps its name (``conv1.weight``) and its parameters, own ones are stored under the
    modality's (``conv1.stems.depth.weight``). Each reads the first of the stack's channels, as many as it has: the
    stack repeats maps of one channel, and adds empty channels to maps that have fewer than the widest. Where every
    modality has a stem of its own, there is no shared weight.
    """

    def __init__(
        self, conv: nn.Conv2d, layout: StackLayout, modes: Mapping[str, str], channels: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(conv.in_channels, conv.out_channels, 1, device="meta")
        self.kernel_size, self.stride, self.dilation = conv.kernel_size, conv.stride, conv.dilation
        self.padding, self.groups, self.padding_mode = conv.padding, conv.groups, conv.padding_mode
        self._reversed_padding_repeated_twice = conv._reversed_padding_repeated_twice
        alone = set(modes) == set(layout.modalities)
        self.weight, self.bias = (None, None) if alone else (conv.weight, conv.bias)  # type: ignore[assignment]
        self.layout, self.modes, self.pads_same = layout, dict(modes), isinstance(conv, Conv2dSame)
        self.stems = nn.ModuleDict(
            {name: _own_stem(conv, mode, (channels or {}).get(name)) for name, mode in modes.items()}
        )

    def forward(
        self,
        x: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        names = self.layout.present
        if not any(name in self.stems for name in names):
            return self._shared(x)
        return torch.cat([self._convolve(name, part) for name, part in split_modalities(x, self.layout).items()])

    def _convolve(
        self,
        name: str,
        x: Tensor,  # [N, C, H, W]
    ) -> Tensor:
        if name not in self.stems:
            return self._shared(x)
        stem = cast(nn.Conv2d, self.stems[name])
        return stem(x[:, : stem.in_channels])

    def _shared(
        self,
        x: Tensor,  # [M*N, C, H, W]
    ) -> Tensor:
        x = x[:, : self.in_channels]
        return Conv2dSame.forward(self, x) if self.pads_same else super().forward(x)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, own={self.modes}"


def _own_stem(conv: nn.Conv2d, mode: str, channels: int | None) -> nn.Conv2d:
    own = copy.deepcopy(conv)
    own.weight = nn.Parameter(stem_weight(conv.weight, mode, channels))
    own.in_channels = own.weight.shape[1]
    return own


def replace_first_convs(
    network: TimmNetwork, layout: StackLayout, modes: Mapping[str, str], channels: Mapping[str, int] | None = None
) -> None:
    """Gives some modalities of a timm network a first convolution of their own.

    Args:
        network: made by timm, which names its first convolutions; they may be several side by side.
        layout: the stack's layout, shared with the rest of the model.
        modes: modality -> one of `MODES`; a modality stays with the shared convolution where one can.
        channels: of the modalities whose maps have others than the network's own, or whose number is known.

    Raises:
        ValueError: for an unknown modality or mode, no modality left that could stay, one without a stem that needs it,
            or a network without such a convolution.
    """
    known = channels or {}
    others = [name for name in layout.modalities if needs_stem(known.get(name, 1))]
    if lacking := [name for name in others if name not in modes]:
        raise ValueError(
            f"{lacking[0]} has {known[lacking[0]]} channels, by its statistics, which the first convolution of the "
            f'network does not read: give it its own, stems={{"{lacking[0]}": MODE}}, one of {MODES}'
        )
    for name, mode in modes.items():
        if name not in layout.modalities or mode not in MODES:
            raise ValueError(
                f"stems holds {name!r}: {mode!r}; expected modalities of {list(layout.modalities)} and modes of {MODES}"
            )
    if set(modes) == set(layout.modalities) != set(others):
        raise ValueError("stems names every modality; leave out the one that keeps the shared first convolution")
    for path, conv in _first_convs(network):
        parent, _, child = path.rpartition(".")
        setattr(network.get_submodule(parent), child, ModalityStem(conv, layout, modes, channels))


def widen_first_convs(network: TimmNetwork, modalities: int, *, keep: bool) -> None:
    """Gives the first convolutions of a timm network the channels of all modalities, concatenated.

    Args:
        network: made by timm.
        modalities: M.
        keep: repeat the weights, divided by M, so that equal maps give what one did; otherwise draw them anew.

    Raises:
        ValueError: for a network without such a convolution.
    """
    for _, conv in _first_convs(network):
        conv.in_channels *= modalities
        weight = conv.weight.detach().repeat(1, modalities, 1, 1) / modalities
        conv.weight = nn.Parameter(weight if keep else nn.init.kaiming_normal_(weight, mode="fan_out"))


def _first_convs(network: TimmNetwork) -> list[tuple[str, nn.Conv2d]]:
    """Path and layer of the first convolutions, by timm's word for them; its wrappers may flatten the path."""
    first = (network.pretrained_cfg or {}).get("first_conv") or ()
    if not first:
        raise ValueError("timm does not say which layer of this network is its first convolution")
    modules = {name.replace(".", "_"): name for name, _ in network.named_modules()}
    found = []
    for wanted in (first,) if isinstance(first, str) else first:
        path = modules.get(wanted.replace(".", "_"))
        conv = network.get_submodule(path) if path else None
        if path is None or not isinstance(conv, nn.Conv2d) or not _is_ordinary(conv):
            raise ValueError(f"the first layer {wanted!r} is {conv!r}; expected an ordinary convolution")
        found.append((path, conv))
    return found


def _is_ordinary(conv: nn.Conv2d) -> bool:
    return type(conv) in (nn.Conv2d, Conv2dSame) and conv.groups == 1


def needs_stem(channels: int) -> bool:
    """Whether no first convolution of colours reads maps of so many channels, nor repeats them."""
    return channels not in (1, COLOURS)


def fit_stems(
    inputs: Mapping[str, Tensor],  # [N, c, H, W] each
    modes: Mapping[str, str],
    channels: Mapping[str, int],
) -> tuple[Mapping[str, Tensor], int]:
    """Maps [N, C, H, W] that can be stacked, and C: those with fewer channels than the widest get empty ones.

    Args:
        inputs: normalised.
        modes: of the modalities with stems of their own.
        channels: what the stems of those read, where it is not one, or of a copy not what the shared one reads.

    Raises:
        ValueError: for a map of other channels than its stem, or the shared one, reads.
    """
    repeated = [name for name in inputs if name not in modes or (modes[name] == "copy" and name not in channels)]
    for name, x in inputs.items():
        found, reads = x.shape[1], channels.get(name, 1)
        if found != reads and not (name in repeated and found in (1, COLOURS)):
            stem = f"its stem {modes[name]!r}" if name in modes else "the shared stem"
            hint = "use 'copy'" if name not in channels and found == COLOURS else "its statistics say how many"
            raise ValueError(f"{name} has {found} channels, but {stem} reads {reads}; {hint}")
    widest = max(COLOURS, *(x.shape[1] for x in inputs.values()))
    if all(x.shape[1] in (1, widest) for x in inputs.values()) and widest == COLOURS:
        return inputs, COLOURS
    return {name: _widened(x, widest, repeats=name in repeated) for name, x in inputs.items()}, widest


def _widened(
    x: Tensor,  # [N, c, H, W]
    channels: int,
    *,
    repeats: bool,
) -> Tensor:
    """[N, channels, H, W]; of one channel that a convolution of colours reads, its copies."""
    x = x.expand(-1, COLOURS, -1, -1) if repeats and x.shape[1] == 1 else x
    return F.pad(x, (0, 0, 0, 0, 0, channels - x.shape[1]))
