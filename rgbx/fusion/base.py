"""What a backbone asks of a fusion method, the table of methods by name, and what several methods share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rgbx._registry import Registry
from rgbx._text import check_options
from rgbx.layers import StackLayout, split_modalities
from rgbx.layers.stages import check_stages, chosen_stages


@dataclass(frozen=True, kw_only=True)
class FusionMethod:
    """A way for modalities to exchange features. As it stands none do; subclasses override what they need.

    Attributes:
        stages: stages at which features are exchanged, 1 being the first at stride 4; None for all.
        concatenates_inputs: whether the modalities are joined before the first convolution, as the channels of one
            input, zero where a modality is absent. Such a network has one branch.
        ensemble: ``"learned"``: softmax(α)-weighted logits of the branches; ``"mean"``: the mean of their
            probabilities.
    """

    stages: tuple[int, ...] | None = None

    concatenates_inputs: ClassVar[bool] = False
    ensemble: ClassVar[str] = "learned"

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", check_stages(self.stages, "fusion"))

    def chosen(self, count: int, network: str) -> tuple[int, ...]:
        """The numbers of the stages at which features are exchanged, of a network of `count` stages.

        Raises:
            ValueError: for a stage that the network, in the message by its name, does not have.
        """
        return chosen_stages(self.stages, count, "fusion", network)

    def fuse_stage(self, stage: nn.Module, channels: int, layout: StackLayout) -> nn.Module | None:
        """Fuses a stage of the network; called once for each of `stages`.

        Args:
            stage: the stage, whose blocks may be replaced in place; its norms are private already.
            channels: C of its output.
            layout: how many modalities the stack holds at a call.

        Returns:
            A module that maps the stage's output [M*N, C, H, W] to what the next stage and the decoder read, or None.
        """
        return None

    def merge_features(self, channels: Sequence[int], layout: StackLayout) -> nn.Module | None:
        """A module that merges the modalities for the decoder, or None for one prediction per modality.

        It maps the stage outputs, each [M*N, C_i, h_i, w_i], to maps [N, C_i, h_i, w_i]. The decoder reads these, and
        the model has one prediction instead of branches.
        """
        return None

    def fuse_frames(self, channels: Sequence[int], layout: StackLayout) -> nn.Module | None:
        """A module that fuses all stages at once, of stills and of clips, or None for a method that reads stills only.

        It maps the features of all stages, {modality: [N, T, C_i, h_i, w_i]} each, to stacks [M*N, C_i, h_i, w_i] at
        the label's time. T is each modality's own number of frames, whose times are in `StackLayout.times`; of stills
        it is 1 and there are no times. The network itself sees each frame of a clip alone.
        """
        return None


FUSION_METHODS: Registry[FusionMethod] = Registry("fusion method")
fusion_method = FUSION_METHODS.enter


class Penalised(nn.Module):
    """Base of modules inside a network that add a term of their parameters to the training loss.

    One whose term depends on features gives it to `StackLayout.penalise` in its forward pass instead.
    """

    def penalty(self) -> Tensor:
        """The weighted term, a scalar."""
        raise NotImplementedError


def fusion_penalty(network: nn.Module, layout: StackLayout) -> Tensor | None:
    """What the modules of a network add to the training loss, a scalar; None where there are no terms.

    Raises:
        RuntimeError: outside the block of `StackLayout.holding` in which the network ran.
    """
    terms = [module.penalty() for module in network.modules() if isinstance(module, Penalised)] + layout.penalties
    return torch.stack(terms).sum() if terms else None


def build_fusion(fusion: str | Mapping[str, Any] | None) -> FusionMethod | None:
    """Builds a fusion method from plain values.

    Args:
        fusion: a name; a dict of ``name`` and the method's fields; or None for no exchange.

    Raises:
        ValueError: for an unknown name or field.
    """
    if fusion is None:
        return None
    options = {"name": fusion} if isinstance(fusion, str) else dict(fusion)
    name = options.pop("name", None)
    alternatives = ", None, or a dict of such a 'name' and the method's fields"
    method = FUSION_METHODS.find(name, f"fusion is {fusion!r}", alternatives)
    check_options(options, [field.name for field in fields(method)], f"fusion method {name!r}")
    return method(**options)


class ChannelNorm(nn.LayerNorm):
    """Normalises the C values of every pixel of a map [N, C, H, W]."""

    def forward(
        self,
        x: Tensor,  # [N, C, H, W]
    ) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class SelectModality(nn.Module):
    """Hands the decoder the features of one modality; where it is absent, those of the first that is present."""

    def __init__(self, name: str, layout: StackLayout) -> None:
        super().__init__()
        self.name, self.layout = name, layout

    def forward(
        self,
        features: Sequence[Tensor],  # [M*N, C_i, h_i, w_i]
    ) -> list[Tensor]:
        """Stage stacks [M*N, C_i, h_i, w_i] to maps [N, C_i, h_i, w_i]."""
        name = self.name if self.name in self.layout.present else self.layout.present[0]
        return [split_modalities(x, self.layout)[name] for x in features]

    def extra_repr(self) -> str:
        return self.name


def check_known(field: str, names: Sequence[str], layout: StackLayout) -> None:
    """Refuses names of a fusion method's field that are no modalities of the model.

    Raises:
        ValueError: naming the field and what was found.
    """
    if unknown := [name for name in names if name not in layout.modalities]:
        raise ValueError(f"fusion field {field} names {unknown[0]!r}; this model knows {list(layout.modalities)}")
