"""Giving the layers of a network forms that are private to a modality, and whose parameter is whose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rgbx._text import one_of
from rgbx.layers.stack import ModalityAffine, ModalityLayer, ModalityNorm, StackLayout

NORMS = (_BatchNorm, nn.InstanceNorm2d, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
THEIR_NORMS = ("RmsNorm", "SimpleNorm")  # how the names of timm's own begin
VARIANTS = ("private", "affine", "shared")
CONTAINERS = ("norms", "copies", "stems")  # attribute under which a layer keeps what is private, by modality


def modality_norm(norm: nn.Module, layout: StackLayout, variant: str = "private") -> nn.Module:
    """Turns a norm into its form for several modalities.

    Args:
        norm: an affine norm whose parameters and statistics every modality starts from.
        layout: the stack's layout, shared with the rest of the model.
        variant: ``"private"`` statistics and affine per modality; ``"affine"``: private scale and bias over shared
            batch statistics; ``"shared"``: the norm itself for all.

    Raises:
        ValueError: for an unknown variant, or ``"affine"`` on a norm without batch statistics.
    """
    if variant not in VARIANTS:
        raise ValueError(f"norm variant is {variant!r}; expected one of {one_of(VARIANTS, variant)}")
    if variant == "shared":
        return norm
    if variant == "private":
        return ModalityNorm(norm, layout)
    if not isinstance(norm, _BatchNorm):
        raise ValueError(f"norm variant 'affine' needs batch norm, found {type(norm).__name__}; use 'private'")
    return ModalityAffine(norm, layout)


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a norm, of torch or of timm."""
    return isinstance(module, NORMS) or type(module).__name__.startswith(THEIR_NORMS)


def replace_norms(module: nn.Module, layout: StackLayout, variant: str = "private") -> int:
    """Replaces every norm inside ``module`` by its form for several modalities, keeping the pretrained values.

    Returns:
        How many norms were found.
    """
    count = 0
    for name, child in module.named_children():
        if is_norm(child):
            setattr(module, name, modality_norm(child, layout, variant))
            count += 1
        else:
            count += replace_norms(child, layout, variant)
    return count


@contextmanager
def untracked(modules: Iterable[nn.Module]) -> Iterator[None]:
    """A context in which batch norms among the modules leave their running statistics as they are."""
    norms = [module for module in modules if isinstance(module, _BatchNorm) and module.track_running_stats]
    try:
        for norm in norms:
            norm.track_running_stats = False
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True


@contextmanager
def settled(modules: Iterable[nn.Module]) -> Iterator[None]:
    """A context in which batch norms among the modules use their running statistics, as at test, and leave them so."""
    norms = [module for module in modules if isinstance(module, _BatchNorm) and module.training]
    try:
        for norm in norms:
            norm.training = False
        yield
    finally:
        for norm in norms:
            norm.training = True


def separate_layers(module: nn.Module, layout: StackLayout) -> None:
    """Gives every modality its own copy of every layer inside ``module``, norms that are private already excepted.

    Raises:
        ValueError: for a module that holds parameters beside layers with parameters: it cannot be copied layer by
            layer, and not as a whole, as the norms inside work on the stack.
    """
    for name, child in list(module.named_children()):
        if isinstance(child, (ModalityNorm, ModalityAffine, ModalityLayer)):
            continue
        own = [key for key, _ in child.named_parameters(recurse=False)]
        if not own:
            separate_layers(child, layout)
        elif any(list(layer.parameters()) for layer in child.children()):
            raise ValueError(
                f"weights='separate' is not possible with this network: {type(child).__name__} holds the parameter "
                f"{own[0]!r} beside its layers; use weights='shared', or a network such as resnet50"
            )
        else:
            setattr(module, name, ModalityLayer(child, layout))


def owner(parameter: str) -> str | None:
    """The modality that a parameter, by its full name, belongs to; None for what all share."""
    parts = parameter.split(".")
    return next((parts[i + 1] for i, part in enumerate(parts[:-1]) if part in CONTAINERS), None)
