"""The builder of image-to-image translation: flat, plain parameters, as configs and checkpoints hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from rgbx.backbones import SharedBackbone
from rgbx.fusion import FusionMethod, build_fusion
from rgbx.generators import PatchDiscriminator, ResNetGenerator, UNetGenerator
from rgbx.heads import BackboneGenerator
from rgbx.layers import StackLayout
from rgbx.models.build import builder
from rgbx.models.modality_dropout import ModalityDropout
from rgbx.models.translation_objective import PAIR_CHANNELS, TranslationObjective
from rgbx.models.translation_preprocessor import TranslationPreprocessor
from rgbx.models.translator import Translator

GENERATORS = ("unet", "resnet", "backbone")
THREE_CHANNELS = ("rgb", "normal", "hha")


@builder
def multimodal_translator(
    *,
    modalities: Sequence[str],
    target: str,
    target_channels: int | None = None,
    generator: Mapping[str, Any] | str = "unet",
    pretrained: str | None = None,
    fusion: Mapping[str, Any] | str | None = "asymmetric",
    discriminator: Mapping[str, Any] | str | None = "patch",
    adversarial: str = "vanilla",
    adversarial_weight: float = 1.0,
    l1: float = 100.0,
    matching: float = 0.0,
    perceptual: Mapping[str, Any] | None = None,
    ranges: Mapping[str, Mapping[str, Any]] | None = None,
    modality_dropout: float | None = None,
) -> Translator:
    """Translation from several registered maps to another; by default pix2pix's U-Net with asymmetric fusion.

    Args:
        modalities: names of the maps to translate from, in the order of the ring in which they exchange.
        target: name of the map to translate to.
        target_channels: its channels; known for rgb, normal and hha (3), else 1 unless given.
        generator: a name or ``{"name": ..., **options}``: ``"unet"`` (options of `UNetGenerator`), ``"resnet"`` (of
            `ResNetGenerator`), or ``"backbone"``: ``backbone``, a timm model, ``norm_eval`` and ``weights`` as for
            segmentation, and ``width`` and ``norm`` of `BackboneGenerator`.
        pretrained: of a backbone's weights: None, ``"timm"`` or a weight file; not kept in checkpoints.
        fusion: a method's name or ``{"name": ..., **fields}``, see `rgbx.fusion`; None for no exchange.
        discriminator: ``"patch"``, or a dict of options of `PatchDiscriminator`; None trains without one, by L1 alone.
        adversarial: ``"vanilla"``, ``"lsgan"`` or ``"hinge"``.
        adversarial_weight, l1, matching, perceptual: see `TranslationObjective`.
        ranges: per map its range in its own unit, see `TranslationPreprocessor`.
        modality_dropout: probability of training a step on a proper subset; None never draws one.

    Raises:
        ValueError: an unknown generator, or options that contradict each other.
    """
    if discriminator is None and matching:
        raise ValueError(f"feature matching (matching={matching}) needs a discriminator, found discriminator=None")
    method = build_fusion(fusion)
    channels = target_channels or (3 if target in THREE_CHANNELS else 1)
    return Translator(
        _build_generator(tuple(modalities), channels, generator, method, pretrained),
        TranslationPreprocessor(modalities, target, ranges),
        TranslationObjective(
            adversarial=adversarial,
            adversarial_weight=adversarial_weight,
            l1=l1,
            matching=matching,
            perceptual=perceptual,
        ),
        discriminator=None if discriminator is None else _build_discriminator(discriminator),
        modality_dropout=None if modality_dropout is None else ModalityDropout(modalities, modality_dropout),
        ensemble="learned" if method is None else method.ensemble,
    )


def _build_discriminator(discriminator: Mapping[str, Any] | str) -> nn.Module:
    options = {"name": discriminator} if isinstance(discriminator, str) else dict(discriminator)
    name = options.pop("name", "patch")
    if name != "patch":
        raise ValueError(f"discriminator is {name!r}; expected 'patch' or None")
    return PatchDiscriminator(PAIR_CHANNELS, **options)


def _build_generator(
    modalities: tuple[str, ...],
    channels: int,
    generator: Mapping[str, Any] | str,
    fusion: FusionMethod | None,
    pretrained: str | None,
) -> nn.Module:
    options = {"name": generator} if isinstance(generator, str) else dict(generator)
    name = options.pop("name", None)
    if name not in GENERATORS:
        raise ValueError(f"generator is {name!r}; expected one of {GENERATORS}")
    if name == "backbone":
        head_width = int(options.pop("width", 128))
        norm = options.pop("norm", "private")
        options.setdefault("name", options.pop("backbone", "resnet18"))
        backbone = SharedBackbone(modalities=modalities, fusion=fusion, norm=norm, pretrained=pretrained, **options)
        return BackboneGenerator(backbone, channels, norm=norm, width=head_width)
    if pretrained:
        raise ValueError(f"pretrained={pretrained!r} is of a backbone; the generator {name!r} has no such weights")
    network = UNetGenerator if name == "unet" else ResNetGenerator
    return network(StackLayout(modalities), channels, fusion=fusion, **options)
