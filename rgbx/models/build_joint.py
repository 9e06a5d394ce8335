"""The builder of segmentation and translation on one backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rgbx.backbones import SharedBackbone, to_channels_last
from rgbx.fusion import build_fusion
from rgbx.heads import BackboneGenerator, LightDecoder
from rgbx.losses import build_loss
from rgbx.models.build import builder
from rgbx.models.build_translator import THREE_CHANNELS
from rgbx.models.joint import JointModel
from rgbx.models.preprocessor import MultimodalPreprocessor
from rgbx.models.segmentor import Segmentor
from rgbx.models.translation_objective import TranslationObjective
from rgbx.models.translation_preprocessor import TranslationPreprocessor
from rgbx.models.translator import Translator


@builder
def multimodal_joint(
    *,
    modalities: Sequence[str],
    num_classes: int,
    target: str,
    backbone: str = "resnet18",
    pretrained: str | None = None,
    norm: str = "private",
    fusion: Mapping[str, Any] | str | None = "asymmetric",
    decoder: Mapping[str, Any] | None = None,
    translation_width: int = 128,
    loss: Mapping[str, Any] | str = "cross_entropy",
    l1: float = 1.0,
    ranges: Mapping[str, Mapping[str, Any]] | None = None,
) -> JointModel:
    """Classes and a further map from the same fused backbone.

    Args:
        modalities: names of the maps that both heads read.
        num_classes: K.
        target: name of the map to translate to.
        backbone: a timm model with ``features_only``.
        pretrained: None, ``"timm"`` or the path of a weight file; not kept in checkpoints.
        norm: ``"private"`` or ``"shared"``.
        fusion: a method's name or ``{"name": ..., **fields}``; None for no exchange.
        decoder: ``width`` and ``dropout`` of `LightDecoder`.
        translation_width: channels of the image decoder's pyramid.
        loss: of segmentation, see `rgbx.losses.build_loss`.
        l1: factor of the translation's L1 losses.
        ranges: per map its range in its own unit, see `TranslationPreprocessor`.
    """
    method = build_fusion(fusion)
    network = SharedBackbone(backbone, tuple(modalities), fusion=method, norm=norm, pretrained=pretrained)
    variant = "shared" if network.single_branch else norm
    head = LightDecoder(network.channels, num_classes, network.layout, norm=variant, **dict(decoder or {}))
    neutral = {name: {"mean": (0.0,), "std": (1.0,)} for name in modalities}
    segmentor = Segmentor(
        network,
        head,
        build_loss(loss),
        MultimodalPreprocessor(modalities, neutral),
        ensemble="learned" if method is None else method.ensemble,
    )
    channels = 3 if target in THREE_CHANNELS else 1
    translator = Translator(
        BackboneGenerator(network, channels, width=translation_width, norm=norm),
        TranslationPreprocessor(modalities, target, ranges),
        TranslationObjective(l1=l1),
    )
    model = JointModel(segmentor, translator)
    to_channels_last(model)
    return model
