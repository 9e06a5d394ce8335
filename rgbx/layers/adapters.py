"""Low-rank updates of shared layers that are private to a modality.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022 (arXiv 2106.09685): W + s B A with B
zero at first. Ours differs: an update for each modality, on its part of the stack, as norms are private; and 1x1
convolutions beside linear layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from rgbx._text import check_options
from rgbx._types import Options
from rgbx.layers.stack import ModalityLayer, StackLayout

MOST_RANK = 2**10


@dataclass(frozen=True, kw_only=True)
class Adapters:
    """Updates of the linear layers and 1x1 convolutions of a backbone, for each modality its own.

    Attributes:
        rank: r of B A, [out, r] and [r, in].
        scale: s.

    Raises:
        ValueError: a value of another kind.
    """

    rank: int = 8
    scale: float = 1.0

    def __post_init__(self) -> None:
        if type(self.rank) is not int or not 1 <= self.rank <= MOST_RANK:
            raise ValueError(f"adapters field rank is {self.rank!r}; expected 1 to {MOST_RANK}")
        number = isinstance(self.scale, (int, float)) and not isinstance(self.scale, bool)
        if not number or not abs(self.scale) <= MOST_RANK:
            raise ValueError(f"adapters field scale is {self.scale!r}; expected a number of at most {MOST_RANK}")
        object.__setattr__(self, "scale", float(self.scale))


def build_adapters(given: int | Options | Adapters | None) -> Adapters | None:
    """Reads adapters from plain values: the rank, a dict of the fields of `Adapters`, or None for none.

    Raises:
        ValueError: something else, or an unknown field.
    """
    if given is None or isinstance(given, Adapters):
        return given
    if type(given) is int:
        return Adapters(rank=given)
    if not isinstance(given, Mapping):
        raise ValueError(f"adapters is {given!r}; expected None, a rank, or a dict of fields")
    check_options(given, list(Adapters.__dataclass_fields__), "adapters")
    return Adapters(**given)


class AdaptedLinear(nn.Linear):
    """A linear layer on the stack [M*N, ..., C_in] with an update for each modality.

    It keeps its name (``qkv.weight``); updates are stored under the modality's (``qkv.update.copies.depth.0.weight``).
    """

    def __init__(self, layer: nn.Linear, layout: StackLayout, options: Adapters) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        self.weight, self.bias, self.scale = layer.weight, layer.bias, options.scale
        down = nn.Linear(self.in_features, options.rank, bias=False)
        self.update = _update(down, nn.Linear(options.rank, self.out_features, bias=False), layout)

    def forward(
        self,
        x: Tensor,  # [M*N, ..., C_in]
    ) -> Tensor:
        """[M*N, ..., C_out]."""
        return super().forward(x) + self.scale * self.update(x)


class AdaptedConv(nn.Conv2d):
    """A 1x1 convolution on the stack [M*N, C_in, H, W] with an update for each modality; named as `AdaptedLinear`."""

    def __init__(self, layer: nn.Conv2d, layout: StackLayout, options: Adapters) -> None:
        stride = (layer.stride[0], layer.stride[1])
        super().__init__(layer.in_channels, layer.out_channels, 1, stride=stride, bias=False, device="meta")
        self.weight, self.bias, self.scale = layer.weight, layer.bias, options.scale
        down = nn.Conv2d(self.in_channels, options.rank, 1, stride=stride, bias=False)
        self.update = _update(down, nn.Conv2d(options.rank, self.out_channels, 1, bias=False), layout)

    def forward(
        self,
        x: Tensor,  # [M*N, C_in, H, W]
    ) -> Tensor:
        """[M*N, C_out, H, W]."""
        return super().forward(x) + self.scale * self.update(x)


def _update(down: nn.Module, up: nn.Module, layout: StackLayout) -> ModalityLayer:
    for parameter in up.parameters():
        nn.init.zeros_(parameter)
    return ModalityLayer(nn.Sequential(down, up), layout)


def can_be_adapted(module: nn.Module) -> bool:
    """Whether a module is a linear layer or a 1x1 convolution, and nothing more."""
    if type(module) is nn.Linear:
        return True
    plain = isinstance(module, nn.Conv2d) and type(module) is nn.Conv2d and module.groups == 1
    return plain and module.kernel_size == (1, 1) and module.padding == (0, 0)


def adapt_layers(network: nn.Module, paths: Iterable[str], layout: StackLayout, options: Adapters) -> int:
    """Replaces layers of a network, by their paths, by their adapted forms.

    Returns:
        How many there were.
    """
    count = 0
    for path in paths:
        parent, _, name = path.rpartition(".")
        layer = network.get_submodule(path)
        form = AdaptedLinear if isinstance(layer, nn.Linear) else AdaptedConv
        setattr(network.get_submodule(parent), name, form(layer, layout, options))  # type: ignore[arg-type]
        count += 1
    return count
