"""What a generator and its discriminator minimise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rgbx.layers.stack import match_channels
from rgbx.losses import AdversarialLoss, PerceptualLoss, feature_matching, l1_loss
from rgbx.models.predictor import ENSEMBLE

Maps = Mapping[str, Tensor]  # name: [N, c, H, W] in -1..1
CHANNELS = 3  # of each half of a pair; one-channel maps are repeated
PAIR_CHANNELS = 2 * CHANNELS


class TranslationObjective(nn.Module):
    """L_G = Σ_m adversarial + l1 · Σ_{m, ens} L1 + optional terms, L_D = Σ_m ½(real + fake).

    The discriminator judges pairs [input_m, image_m] against [input_m, target]. Where the target was not measured,
    images count as -1 there, as the target does, so that holes tell the discriminator nothing. A network with one
    prediction for all inputs has it judged beside each of them, and these terms are averaged.

    Args:
        adversarial: the kind of `AdversarialLoss`.
        adversarial_weight: factor of its generator's side.
        l1: factor of the L1 losses of every branch and the ensemble.
        matching: factor of feature matching; 0 leaves it out.
        perceptual: options of `PerceptualLoss` (``weights``, a file, which only training needs, and ``layers``) and
            ``weight``, its factor (10); None leaves it out.

    Raises:
        ValueError: a weight below 0, or options of `perceptual` that are missing or unknown.

    Source: arXiv 1611.07004; over several modalities arXiv 2011.05005, section 4.2; feature matching and perceptual
    loss as in arXiv 1711.11585.
    """

    def __init__(
        self,
        *,
        adversarial: str = "vanilla",
        adversarial_weight: float = 1.0,
        l1: float = 100.0,
        matching: float = 0.0,
        perceptual: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if min(adversarial_weight, l1, matching) < 0:
            raise ValueError(f"weights of losses must be >= 0, found {adversarial_weight}, {l1} and {matching}")
        self.adversarial = AdversarialLoss(adversarial)
        self.adversarial_weight, self.l1, self.matching = adversarial_weight, l1, matching
        options = dict(perceptual or {})
        self.perceptual_weight = float(options.pop("weight", 10.0)) if options else 0.0
        if self.perceptual_weight < 0 or (self.perceptual_weight and "weights" not in options):
            raise ValueError(
                f"perceptual needs 'weights', a VGG file, and a weight >= 0; found {dict(perceptual or {})}"
            )
        if unknown := sorted(set(options) - {"weights", "layers"}):
            raise ValueError(f"perceptual has the unknown options {unknown}; known are weights, weight and layers")
        self.perceptual_options = options
        self._perceptual: list[PerceptualLoss] = []  # in a list: its frozen network belongs in no checkpoint

    def reconstruction(self, images: Maps, target: Tensor, valid: Tensor | None) -> dict[str, Tensor]:
        """``loss_l1_NAME`` of every image and, where asked for, ``loss_perceptual``."""
        losses = {f"loss_l1_{name}": self.l1 * l1_loss(image, target, valid) for name, image in images.items()}
        if self.perceptual_weight:
            shown = [_masked(x, valid) for name, x in images.items() if name != ENSEMBLE or len(images) == 1]
            network = self._perceptual_network(target)
            terms = [network(_three(x), _three(target)) for x in shown]
            losses["loss_perceptual"] = self.perceptual_weight * torch.stack(terms).sum()
        return losses

    def generator(self, discriminator: nn.Module, inputs: Maps, images: Maps, target: Tensor) -> dict[str, Tensor]:
        """``loss_adversarial`` and, where asked for, ``loss_matching``.

        Args:
            discriminator: maps pairs [B, 6, H, W] to features, the last being logits.
            inputs: of the modalities present.
            images: of the branches alone, or the one prediction under ``ensemble``; holes filled.
            target: holes filled.
        """
        fake = discriminator(_pairs(inputs, images))
        losses = {"loss_adversarial": self.adversarial_weight * len(images) * self.adversarial.generator(fake[-1])}
        if self.matching:
            with torch.no_grad():
                real = discriminator(_pairs(inputs, {ENSEMBLE: target}))
            losses["loss_matching"] = self.matching * len(images) * feature_matching(fake, real)
        return losses

    def discriminator(self, discriminator: nn.Module, inputs: Maps, images: Maps, target: Tensor) -> dict[str, Tensor]:
        """``loss_discriminator``, arguments as in `generator`; gradients do not reach the images."""
        real = discriminator(_pairs(inputs, {ENSEMBLE: target}))[-1]
        fake = discriminator(_pairs(inputs, {name: image.detach() for name, image in images.items()}))[-1]
        return {"loss_discriminator": len(images) * self.adversarial.discriminator(real, fake)}

    def fill(self, images: Maps, valid: Tensor | None) -> dict[str, Tensor]:
        """What the discriminator sees: the branches, or the one prediction, with the target's holes."""
        branches = {name: x for name, x in images.items() if name != ENSEMBLE} or images
        return {name: _masked(x, valid) for name, x in branches.items()}

    def _perceptual_network(self, like: Tensor) -> PerceptualLoss:
        if not self._perceptual:
            self._perceptual.append(PerceptualLoss(**self.perceptual_options).to(like.device))
        return self._perceptual[0]


def _pairs(inputs: Maps, images: Maps) -> Tensor:
    """[input_m, image_m] of all modalities [M*N, 6, H, W], or of each with the one image that there is."""
    halves = ((x, images[name] if name in images else images[ENSEMBLE]) for name, x in inputs.items())
    return torch.cat([torch.cat([_three(x), _three(image)], dim=1) for x, image in halves])


def _three(x: Tensor) -> Tensor:
    return match_channels(x, CHANNELS, "a map")


def _masked(image: Tensor, valid: Tensor | None) -> Tensor:
    return image if valid is None else image.where(valid, -1)
