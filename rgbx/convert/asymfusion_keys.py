"""Names in the checkpoints of AsymFusion's authors, and what these say about the network.

Source of the names: the authors' released code, github.com/yikaiw/AsymFusion, models/model.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

BLOCKS = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}
CLASSIFIER = "clf_conv.module.weight"
_ENCODER, _HEAD, _NORMS = "backbone.network.", "heads.labels.", ".norms."
_LEVELS = 4
_LEVEL_PARTS = {  # n counts from the deepest level
    "lateral": "p_ims1d2_outl{n}_dimred",
    "adapt": "adapt_stage{n}_b.0.{unit}",
    "merge": "adapt_stage{n}_b2_joint_varout_dimred",
    "pooling": "mflow_conv_g{n}_pool.0.{unit}_outvar_dimred",
    "refine": "mflow_conv_g{n}_b.0.{unit}",
    "output": "mflow_conv_g{n}_b3_joint_varout_dimred",
}
_UNIT_CONVS = {"conv1": "_conv", "conv2": "_conv_relu_varout_dimred"}


@dataclass(frozen=True)
class Architecture:
    """What the names and shapes of a checkpoint say: ResNet depth, class count, channels of RefineNet, modalities."""

    depth: int
    num_classes: int
    width: int
    num_modalities: int


def authors_key(key: str, modalities: Sequence[str]) -> str:
    """The authors' name, without the prefix of DataParallel, for a tensor of the rgbx model.

    ``alpha`` is one vector there and one scalar per modality here.

    Args:
        key: a key of the model's state dict.
        modalities: names, in the order of the authors' ``bn_0``, ``bn_1``.
    """
    path, _, tensor = key.rpartition(".")
    if path == f"{_HEAD}alpha":
        return "alpha"
    if path.startswith(_HEAD):
        path = path.removeprefix(f"{_HEAD}decoder.")
        return f"{_decoder_path(path)}.module.{tensor}"
    path = path.removeprefix(_ENCODER)
    if _NORMS in path:
        norm, modality = path.split(_NORMS)
        return f"{norm}.bn_{modalities.index(modality)}.{tensor}"
    return f"{path}.module.{tensor}"


def _decoder_path(path: str) -> str:
    if path == "classifier":
        return "clf_conv"
    _, level, part, *rest = path.split(".")  # levels.3.adapt.0.conv1
    name = _LEVEL_PARTS[part].format(n=_LEVELS - int(level), unit=_unit_number(rest))
    return name + (_UNIT_CONVS[rest[-1]] if part in ("adapt", "refine") else "")


def _unit_number(rest: Sequence[str]) -> int:
    return 1 + next((int(item) for item in rest if item.isdecimal()), 0)


def infer_architecture(weights: Mapping[str, Tensor], source: str) -> Architecture:
    """Reads depth, classes, width and modalities off the names and shapes.

    Args:
        weights: without the prefix of DataParallel.
        source: the file, for messages.

    Raises:
        ValueError: this is no network of the authors, or has norms and α of different numbers of modalities.
    """
    blocks = tuple(1 + max(_numbers(weights, rf"layer{stage}\.(\d+)\."), default=-1) for stage in range(1, 5))
    if CLASSIFIER not in weights or not any(blocks):
        raise ValueError(
            f"{source} is no RefineNet of AsymFusion's authors: expected {CLASSIFIER!r} and blocks such as "
            f"'layer1.0.conv1.module.weight', found {sorted(weights)[:3]}"
        )
    if blocks not in BLOCKS:
        known = ", ".join(f"{found} (ResNet-{depth})" for found, depth in BLOCKS.items())
        raise ValueError(f"{source} has {blocks} residual blocks in its four stages; expected {known}")
    count = 1 + max(_numbers(weights, r"(?:.*\.)?bn_(\d+)\."), default=-1)
    if "alpha" in weights and weights["alpha"].shape != (count,):
        raise ValueError(
            f"{source} has norms of {count} modalities, but its 'alpha' has shape {list(weights['alpha'].shape)}; "
            f"expected [{count}]"
        )
    num_classes, width = weights[CLASSIFIER].shape[:2]
    return Architecture(BLOCKS[blocks], num_classes, width, count)


def _numbers(names: Mapping[str, Tensor], pattern: str) -> list[int]:
    return [int(found[1]) for name in names if (found := re.match(pattern, name))]
