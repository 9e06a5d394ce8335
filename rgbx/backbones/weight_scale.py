"""RGB as weights were trained on it, and the first convolution of a network refitted to RGB as a model gives it."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rgbx._runs import HUB
from rgbx.backbones._timm import timm
from rgbx.backbones.weight_source import PACKAGED


class Scale(NamedTuple):
    """RGB from 0 to 1 is normalised as (x − mean) / std, channel by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __str__(self) -> str:
        return f"mean {list(self.mean)}, std {list(self.std)}"


IMAGENET = Scale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NEAR = 0.01  # scales that differ by less are one


def scale_of(name: str, source: str) -> Scale | None:
    """How RGB was normalised for weights of the network `name`; None where only their author knows.

    Args:
        name: a timm model, with or without a tag.
        source: see `rgbx.backbones.weight_source.find_weights`.
    """
    if source in PACKAGED:
        return Scale(*PACKAGED[source].scale)
    tagged = name if source == "timm" else source.removeprefix(f"{HUB}timm/").partition("@")[0]
    if tagged.partition(".")[0] != name.partition(".")[0]:
        return None
    try:
        config = timm.get_pretrained_cfg(tagged)
    except RuntimeError:  # an unknown tag
        return None
    return None if config is None else Scale(tuple(config.mean), tuple(config.std))


def refit(network: nn.Module, theirs: Scale | None, ours: Scale, loaded: Collection[str]) -> str:
    """Makes the first convolution compute of RGB on our scale what it computed of RGB on theirs.

    Its weights take up the ratio of the scales, and its bias, or the running mean of the batch norm that follows, the
    difference of the means. Beyond the image lies what is zero on our scale. Other modalities pass the same
    convolution on a scale of their own, on which they have about the spread that RGB has on ours.

    Args:
        network: timm's, with its weights.
        theirs: how RGB was normalised for these; None changes nothing.
        ours: how the model normalises it.
        loaded: names of what was filled from these weights.

    Returns:
        What was done, for the log; "" for nothing.
    """
    if theirs is None or _near(theirs, ours):
        return ""
    layers = [(name, each) for name, each in network.named_modules() if list(each.parameters(recurse=False))]
    at = next((i for i, (_, layer) in enumerate(layers) if isinstance(layer, nn.Conv2d) and layer.in_channels == 3), -1)
    if at < 0:
        return f"trained on RGB of {theirs}, and the network has no first convolution that could be refitted to {ours}"
    if f"{layers[at][0]}.weight" not in loaded:
        return ""
    name, first = layers[at]
    assert isinstance(first, nn.Conv2d)
    said = f"{name}: trained on RGB of {theirs}, refitted to {ours}"
    ratio, shift = (
        first.weight.new_tensor(values)
        for values in (
            [o / t for o, t in zip(ours.std, theirs.std, strict=True)],
            [(o - t) / s for o, t, s in zip(ours.mean, theirs.mean, theirs.std, strict=True)],
        )
    )
    with torch.no_grad():
        constant = torch.einsum("oihw,i->o", first.weight, shift)  # [O], of an image that is zero on our scale
        first.weight.mul_(ratio[:, None, None])
        if not _absorbed(constant, first, layers[at + 1][1]):
            said = f"{said}, but for a constant that no layer after it can take"
    return said


def _absorbed(
    constant: Tensor,  # [O]
    first: nn.Conv2d,
    norm: nn.Module,
) -> bool:
    """Whether a first convolution, or a batch norm after it, took up a constant."""
    if first.bias is not None:
        first.bias.add_(constant)
        return True
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.num_features != first.out_channels:
        return False
    norm.running_mean.sub_(constant)
    return True


def _near(first: Scale, second: Scale) -> bool:
    pairs = zip((*first.mean, *first.std), (*second.mean, *second.std), strict=False)
    return len(first.mean) == len(second.mean) and all(abs(a - b) < NEAR for a, b in pairs)
