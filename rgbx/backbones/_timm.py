"""The one place that imports timm, once torchvision is known to import, and what is asked of its networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypedDict

from torch import nn

from rgbx._compiler import compiler_later
from rgbx._torchvision import ensure_torchvision

ensure_torchvision()

with compiler_later():
    import timm
    from timm.models._features import FeatureGetterNet


class StageInfo(TypedDict):
    """A stage of a network: channels, stride, and the module that it ends with."""

    num_chs: int
    reduction: int
    module: str


class StageInfos(Protocol):
    """The stages of a network, shallow to deep."""

    def get_dicts(self) -> list[StageInfo]: ...


class TimmNetwork(nn.Module):
    """The part of timm's networks with ``features_only`` that is used here; they are not of this class."""

    feature_info: StageInfos
    pretrained_cfg: Mapping[str, str | tuple[str, ...]] | None
    set_grad_checkpointing: Callable[[bool], None]


__all__ = ["FeatureGetterNet", "StageInfo", "TimmNetwork", "timm"]
