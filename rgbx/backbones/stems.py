"""First convolutions of a modality's own, made from the shared one that reads RGB.

Source: the RGB filters summed, averaged or copied for a depth encoder are common practice, e.g. the sum in ESANet
(arXiv 2011.06961, released code). The stem stays inside the timm network, which knows nothing of it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from rgbx.backbones._timm import TimmNetwork, timm
from rgbx.layers import StackLayout, split_modalities

Conv2dSame: type[nn.Conv2d] = timm.layers.Conv2dSame
MODES = ("sum", "mean", "copy")


def stem_weight(weight: Tensor, mode: str) -> Tensor:
    """The weight of an own stem from the shared one.

    Args:
        weight: [C_out, C_in, k, k].
        mode: ``"sum"`` or ``"mean"`` over the input channels, [C_out, 1, k, k], or ``"copy"``.
    """
    if mode == "copy":
        return weight.detach().clone()
    return weight.detach().sum(1, keepdim=True) if mode == "sum" else weight.detach().mean(1, keepdim=True)


class ModalityStem(nn.Conv2d):
    """A first convolution on the stack [M*N, C_in, H, W] with weights of their own for some modalities.

    The shared convolution keeps its name (``conv1.weight``) and its parameters, own ones are stored under the
    modality's (``conv1.stems.depth.weight``). Stems made by sum or mean read the first channel, as the stack repeats
    one-channel maps: at the start, the sum computes what the shared stem does, and the mean divides it by C_in.
    """

    def __init__(self, conv: nn.Conv2d, layout: StackLayout, modes: Mapping[str, str]) -> None:
        super().__init__(conv.in_channels, conv.out_channels, 1, device="meta")
        self.kernel_size, self.stride, self.dilation = conv.kernel_size, conv.stride, conv.dilation
        self.padding, self.groups, self.padding_mode = conv.padding, conv.groups, conv.padding_mode
        self._reversed_padding_repeated_twice = conv._reversed_padding_repeated_twice
        self.weight, self.bias = conv.weight, conv.bias
        self.layout, self.modes, self.pads_same = layout, dict(modes), isinstance(conv, Conv2dSame)
        self.stems = nn.ModuleDict({name: _own_stem(conv, mode) for name, mode in modes.items()})

    def forward(
        self,
        x: Tensor,  # [M*N, C_in, H, W]
    ) -> Tensor:
        names = self.layout.present
        if not any(name in self.stems for name in names):
            return self._shared(x)
        return torch.cat([self._convolve(name, part) for name, part in split_modalities(x, self.layout).items()])

    def _convolve(
        self,
        name: str,
        x: Tensor,  # [N, C_in, H, W]
    ) -> Tensor:
        if name not in self.stems:
            return self._shared(x)
        stem = cast(nn.Conv2d, self.stems[name])
        return stem(x[:, : stem.in_channels])

    def _shared(
        self,
        x: Tensor,  # [M*N, C_in, H, W]
    ) -> Tensor:
        return Conv2dSame.forward(self, x) if self.pads_same else super().forward(x)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, own={self.modes}"


def _own_stem(conv: nn.Conv2d, mode: str) -> nn.Conv2d:
    own = copy.deepcopy(conv)
    own.weight = nn.Parameter(stem_weight(conv.weight, mode))
    own.in_channels = own.weight.shape[1]
    return own


def replace_first_convs(network: TimmNetwork, layout: StackLayout, modes: Mapping[str, str]) -> None:
    """Gives some modalities of a timm network a first convolution of their own.

    Args:
        network: made by timm, which names its first convolutions; they may be several side by side.
        layout: the stack's layout, shared with the rest of the model.
        modes: modality -> one of `MODES`; at least one modality stays with the shared convolution.

    Raises:
        ValueError: for an unknown modality or mode, no modality left, or a network without such a convolution.
    """
    for name, mode in modes.items():
        if name not in layout.modalities or mode not in MODES:
            raise ValueError(
                f"stems holds {name!r}: {mode!r}; expected modalities of {list(layout.modalities)} and modes of {MODES}"
            )
    if set(modes) == set(layout.modalities):
        raise ValueError("stems names every modality; leave out the one that keeps the shared first convolution")
    for path, conv in _first_convs(network):
        parent, _, child = path.rpartition(".")
        setattr(network.get_submodule(parent), child, ModalityStem(conv, layout, modes))


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


def check_stem_inputs(
    inputs: Mapping[str, Tensor],  # [N, c, H, W] each
    modes: Mapping[str, str],
) -> None:
    """Refuses maps of several channels [N, C, H, W] for stems that would read one.

    Raises:
        ValueError: for such a map.
    """
    for name, mode in modes.items():
        if name in inputs and mode != "copy" and inputs[name].shape[1] != 1:
            raise ValueError(f"{name} has {inputs[name].shape[1]} channels, but its stem {mode!r} reads 1; use 'copy'")
