"""What the translation generators have in common: how modalities enter, where they exchange, how the image leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from torch import Tensor, nn

from rgbx.fusion import FusionMethod
from rgbx.layers import StackLayout, concatenate_modalities, modality_norm, stack_modalities
from rgbx.layers.codes import Codes

INITIAL_DEVIATION = 0.02


class ImageGenerator(nn.Module):
    """Base of generators that turn the maps of several modalities into one image per modality.

    Subclasses define `translate`. As a backbone has features, a generator has one: the images themselves, before the
    tanh of the task that reads them.

    Attributes:
        layout: the stack's layout, shared by all private norms and fusions of the generator.
        single_branch: whether the fusion method joins the modalities, so that there is one image for all of them.
        multiple: what the sides of inputs must be multiples of.
        smallest: what they have at least.
        channels, strides: of the one feature, as backbones have them for each stage.
        norm_eval: whether statistics of norms stay frozen in training; instance norms have none.
        purification: None: there are no gates.
        hallucination: None: no branch is filled in.
        codes: none.
        reads_clips: False: there is one image of each modality.
    """

    norm_eval = False
    purification = None
    hallucination = None
    codes: Mapping[int, Codes] = MappingProxyType({})
    reads_clips = False

    def __init__(self, layout: StackLayout, in_channels: int, out_channels: int, fusion: FusionMethod | None) -> None:
        super().__init__()
        self.channels, self.strides = (out_channels,), (1,)
        self.layout, self.map_channels = layout, in_channels
        self.concatenates_inputs = fusion is not None and fusion.concatenates_inputs
        self.in_channels = in_channels * (len(layout.modalities) if self.concatenates_inputs else 1)
        self.merge: nn.Module | None = None
        self.multiple = self.smallest = 1

    @property
    def single_branch(self) -> bool:
        """Whether one image is made of all modalities instead of one of each."""
        return self.concatenates_inputs or self.merge is not None

    def forward(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Images made from the modalities given.

        Args:
            inputs: maps [N, 1 or in_channels, H, W] in [-1, 1] of any non-empty subset of the modalities, equal in
                size, whose sides `multiple` divides; one-channel maps are repeated.

        Returns:
            One stack [M*N, out_channels, H, W], modality-major in declared order. With `single_branch`
            [N, out_channels, H, W].
        """
        join = concatenate_modalities if self.concatenates_inputs else stack_modalities
        with self.layout.holding(inputs):
            return [self.translate(join(inputs, self.layout, self.map_channels))]

    def translate(self, x: Tensor) -> Tensor:
        """The network without the final tanh, on a stack [M*N, C, H, W] whose sides are multiples of `multiple`."""
        raise NotImplementedError


def fuse_stages(
    stages: Sequence[nn.Sequential], channels: Sequence[int], layout: StackLayout, fusion: FusionMethod | None
) -> None:
    """Lets a fusion method act in the stages it chooses; a module for a stage's output is appended as ``fusion``.

    Args:
        stages: the stages, of which the first has number 1.
        channels: channels of each one's output.
        layout: the generator's layout.
        fusion: the method, or None for no exchange.

    Raises:
        ValueError: for a stage number that does not exist.
    """
    if fusion is None:
        return
    for number in fusion.chosen(len(stages), "generator"):
        module = fusion.fuse_stage(stages[number - 1], channels[number - 1], layout)
        if module is not None:
            stages[number - 1].add_module("fusion", module)


def instance_norm(channels: int, layout: StackLayout, norm: str) -> nn.Module:
    """An instance norm with scales and biases of each modality, or of all; see `rgbx.layers.modality_norm`."""
    return modality_norm(nn.InstanceNorm2d(channels, affine=True), layout, norm)


def initialise(module: nn.Module) -> None:
    """Weights of all convolutions from N(0, 0.02²), biases zero (arXiv 1611.07004, section 6.2)."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, std=INITIAL_DEVIATION)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
