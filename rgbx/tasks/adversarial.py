"""A head's opponent: a discriminator that judges its images beside the maps they were made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rgbx.generators import PatchDiscriminator
from rgbx.layers.stack import match_channels
from rgbx.losses import AdversarialLoss, feature_matching
from rgbx.tasks.base import ENSEMBLE

CHANNELS = 3  # of each half of a pair; one-channel maps are repeated
DISCRIMINATORS = ("patch",)

Maps = Mapping[str, Tensor]  # name: [N, c, H, W]


class Opponent(nn.Module):
    """Σ_m adversarial for the head, Σ_m ½(real + fake) for the discriminator.

    It judges pairs [input_m, image_m] against [input_m, target]. A head with one prediction for all inputs has it
    judged beside each of them, and these terms are averaged.

    Args:
        discriminator: ``"patch"``, or a dict of options of `PatchDiscriminator` with its ``name``.
        loss: the kind of `AdversarialLoss`: ``"vanilla"``, ``"lsgan"`` or ``"hinge"``.
        weight: factor of the head's adversarial loss.
        matching: factor of feature matching; 0 leaves it out.

    Raises:
        ValueError: another discriminator, or a factor below 0.

    Source: arXiv 1611.07004; over several modalities arXiv 2011.05005, section 4.2; feature matching as in arXiv
    1711.11585.
    """

    def __init__(
        self,
        discriminator: Mapping[str, Any] | str = "patch",
        *,
        loss: str = "vanilla",
        weight: float = 1.0,
        matching: float = 0.0,
    ) -> None:
        super().__init__()
        options = {"name": discriminator} if isinstance(discriminator, str) else dict(discriminator)
        if (name := options.pop("name", "patch")) not in DISCRIMINATORS:
            raise ValueError(f"discriminator is {name!r}; expected 'patch' or None")
        if min(weight, matching) < 0:
            raise ValueError(f"weights of losses must be >= 0, found {weight} and {matching}")
        self.discriminator = PatchDiscriminator(2 * CHANNELS, **options)
        self.adversarial, self.weight, self.matching = AdversarialLoss(loss), weight, matching

    def head_losses(self, inputs: Maps, images: Maps, target: Tensor) -> dict[str, Tensor]:
        """``loss_adversarial`` and, where asked for, ``loss_matching``.

        Args:
            inputs: of the modalities present, normalised.
            images: of the branches alone, or the one prediction under ``ensemble``; holes filled.
            target: [N, c, H, W], holes filled.
        """
        fake = self.discriminator(_pairs(inputs, images))
        losses = {"loss_adversarial": self.weight * len(images) * self.adversarial.generator(fake[-1])}
        if self.matching:
            with torch.no_grad():
                real = self.discriminator(_pairs(inputs, {ENSEMBLE: target}))
            losses["loss_matching"] = self.matching * len(images) * feature_matching(fake, real)
        return losses

    def own_loss(
        self,
        inputs: Maps,
        images: Maps,
        target: Tensor,  # [N, c, H, W]
    ) -> Tensor:
        """The discriminator's loss, arguments as in `head_losses`; gradients do not reach the images."""
        real = self.discriminator(_pairs(inputs, {ENSEMBLE: target}))[-1]
        fake = self.discriminator(_pairs(inputs, {name: image.detach() for name, image in images.items()}))[-1]
        return len(images) * self.adversarial.discriminator(real, fake)


def _pairs(inputs: Maps, images: Maps) -> Tensor:
    """[input_m, image_m] of all modalities [M*N, 6, H, W], or of each with the one image that there is."""
    halves = ((x, images[name] if name in images else images[ENSEMBLE]) for name, x in inputs.items())
    return torch.cat([torch.cat([three_channels(x), three_channels(image)], dim=1) for x, image in halves])


def three_channels(
    x: Tensor,  # [N, 1 or 3, H, W]
) -> Tensor:
    """The map with three channels, one repeated."""
    return match_channels(x, CHANNELS, "a map")
