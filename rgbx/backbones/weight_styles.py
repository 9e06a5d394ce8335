"""Names that other projects give to the weights of networks that timm has, as timm's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

COUNTER = "num_batches_tracked"
ROLES = ("weight", "bias", "running_mean", "running_var")
AVERAGED = ("teacher", "ema")  # of two copies of a network in one file, the one that is an average over training

Tensors = Mapping[str, Tensor]  # [...] each
Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]


class Style(NamedTuple):
    """How a project names the weights of a kind of network.

    Attributes:
        name: for the log.
        anchors: names that every such file has, after a prefix that they have in common.
        convert: from the file's tensors, without prefix, and timm's, to the file's under timm's names.
    """

    name: str
    anchors: tuple[str, ...]
    convert: Callable[[Tensors, Tensors], dict[str, Tensor]]


class Styled(NamedTuple):
    """Weights under timm's names: the style's name, the prefix that was removed, and the tensors."""

    style: str
    prefix: str
    state: dict[str, Tensor]


def styled(
    state: Tensors,  # [...] each
    reference: Tensors,  # [...] each
) -> list[Styled]:
    """The weights in each style that the file may have, under timm's names.

    Args:
        state: the tensors of a file by their names.
        reference: the whole timm network's; their values are not read.
    """
    found = []
    for style in STYLES:
        prefix = _prefix(state, style.anchors)
        if prefix is None:
            continue
        own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if converted := style.convert(own, reference):
            found.append(Styled(style.name, prefix, converted))
    return found


def whose(names: Iterable[str]) -> str:
    """Whose names these are, where no timm network can be filled by such; "" where they are nobody's."""
    ends = [end for end in OF_THEIR_OWN if any(name.endswith(end) for name in names)]
    return OF_THEIR_OWN[ends[0]] if ends else ""


def preferred(prefixes: Iterable[str]) -> list[str]:
    """Prefixes of copies of a network, an average over training first, which is what is to be used."""
    return sorted(prefixes, key=lambda prefix: not any(word in prefix for word in AVERAGED))


def _prefix(state: Tensors, anchors: Sequence[str]) -> str | None:
    """What stands before all anchors in some names; None where no such names are there."""
    first = [key.removesuffix(anchors[0]) for key in state if key.endswith(anchors[0])]
    whole = [p for p in first if (not p or p.endswith(".")) and all(f"{p}{anchor}" in state for anchor in anchors)]
    return next(iter(preferred(whole)), None)


def _in_order(state: Tensors, reference: Tensors) -> dict[str, Tensor]:
    """Names by place, for projects that register the same layers in timm's order; {} unless all agree.

    Every pair must have one role (`ROLES`, where the file's name says one) and one number of values; a file may end
    before the network's classifier.
    """
    own = [(key, x) for key, x in state.items() if not key.endswith(COUNTER)]
    names = [(key, x) for key, x in reference.items() if not key.endswith(COUNTER)]
    if not len(names) - 6 <= len(own) <= len(names):
        return {}
    found = {}
    for (theirs, x), (ours, like) in zip(own, names, strict=False):
        roles = {theirs.rpartition(".")[2], ours.rpartition(".")[2]} & {*ROLES}
        squeezed = [[n for n in tensor.shape if n > 1] for tensor in (x, like)]
        if len(roles) > 1 or squeezed[0] != squeezed[1]:
            return {}
        found[ours] = x.reshape(like.shape)
    return found


def _renamed(rules: Rules) -> Callable[[Tensors, Tensors], dict[str, Tensor]]:
    """A conversion by patterns, each replaced in turn; names that a rule makes empty are left out."""

    def convert(state: Tensors, reference: Tensors) -> dict[str, Tensor]:
        found = {}
        for name, x in state.items():
            key = name
            for pattern, replacement in rules:
                key = re.sub(pattern, replacement, key)
            if key:
                found[key] = x
        return found

    return convert


def _raised(shift: int, form: str) -> Callable[[re.Match[str]], str]:
    """A replacement that counts otherwise: {0} is the first group as a number plus a shift, {1} the second group."""
    return lambda match: form.format(int(match[1]) + shift, *match.groups()[1:])


def _halved(form: str) -> Callable[[re.Match[str]], str]:
    """A replacement for lists that hold stages and what lies between them by turns."""
    return lambda match: form.format(int(match[1]) // 2, *match.groups()[1:])


_torchvision_swin = _renamed(
    [
        (r".*relative_position_index$", ""),
        (r"^features\.0\.0\.", "patch_embed.proj."),
        (r"^features\.0\.2\.", "patch_embed.norm."),
        (r"^features\.(\d*[13579])\.(\d+)\.", _halved("layers.{0}.blocks.{1}.")),
        (r"^features\.(\d*[02468])\.", _halved("layers.{0}.downsample.")),
        (r"\.mlp\.0\.", ".mlp.fc1."),
        (r"\.mlp\.3\.", ".mlp.fc2."),
        (r"^head\.", "head.fc."),
    ]
)
_mmseg_swin_names = _renamed(
    [
        (r".*relative_position_index$", ""),
        (r"^patch_embed\.projection\.", "patch_embed.proj."),
        (r"^stages\.(\d+)\.downsample\.", _raised(1, "layers.{0}.downsample.")),
        (r"^stages\.", "layers."),
        (r"\.attn\.w_msa\.", ".attn."),
        (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
        (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
    ]
)


def _mmseg_swin(state: Tensors, reference: Tensors) -> dict[str, Tensor]:
    """OpenMMLab's Swin joins four neighbours channel by channel, in rows; timm neighbour by neighbour, in columns."""
    found = _mmseg_swin_names(state, reference)
    for key, x in found.items():
        if ".downsample.reduction" in key or ".downsample.norm" in key:
            by_neighbour = x.unflatten(-1, (-1, 4))[..., [0, 2, 1, 3]]  # [..., C, 4]
            found[key] = by_neighbour.transpose(-1, -2).flatten(-2)
    return found


OF_THEIR_OWN = {
    "downsample_layers_e.0.0.weight": "DFormer's, a network of its own that timm does not have",
    "extra_patch_embed1.proj.weight": "CMX's, whose network timm does not have",
}
"""Ends of names that tell networks which no timm network is."""

STYLES = (
    Style("efficientnet_pytorch", ("_conv_stem.weight", "_blocks.0._depthwise_conv.weight"), _in_order),
    Style("torchvision's EfficientNet", ("features.0.0.weight", "features.1.0.block.0.1.running_mean"), _in_order),
    Style("torchvision's MobileNetV2", ("features.0.0.weight", "features.1.conv.0.0.weight"), _in_order),
    Style("torchvision's ConvNeXt", ("features.0.0.weight", "features.1.0.layer_scale"), _in_order),
    Style("torchvision's Swin", ("features.0.0.weight", "features.1.0.attn.qkv.weight"), _torchvision_swin),
    Style(
        "OpenMMLab's Swin",
        ("patch_embed.projection.weight", "stages.0.blocks.0.attn.w_msa.qkv.weight"),
        _mmseg_swin,
    ),
    Style(
        "DINOv2's chunks of blocks",
        ("patch_embed.proj.weight", "blocks.0.0.norm1.weight"),
        _renamed([(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.")]),
    ),
)
