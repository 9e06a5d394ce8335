"""Losses of image-to-image translation; all are computed in at least float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from rgbx._processes import shared_mean
from rgbx._text import one_of

ADVERSARIAL_LOSSES = ("vanilla", "lsgan", "hinge")


class AdversarialLoss:
    """The two sides of the adversarial game on patch logits of any shape, each a mean over patches.

    With r the logits of real and f those of generated images:

    =========  ================================  ====================
    kind       discriminator                     generator
    =========  ================================  ====================
    vanilla    ½ (-log σ(r) - log(1 - σ(f)))     -log σ(f)
    lsgan      ½ ((r - 1)² + f²)                 (f - 1)²
    hinge      ½ (max(0, 1 - r) + max(0, 1 + f)) -f
    =========  ================================  ====================

    The factor ½ on the discriminator is that of pix2pix (arXiv 1611.07004, section 3.3) and is applied to all kinds;
    the hinge loss was published without it. The generator's vanilla loss is the one that does not saturate.

    Source: Goodfellow et al. (arXiv 1406.2661, section 3), Mao et al. (arXiv 1611.04076, with a = 0 and
    b = c = 1; its generator carries a ½ that pix2pix and CycleGAN leave out), Lim and Ye (arXiv 1705.02894).
    """

    def __init__(self, kind: str = "vanilla") -> None:
        if kind not in ADVERSARIAL_LOSSES:
            raise ValueError(f"adversarial loss is {kind!r}; expected one of {one_of(ADVERSARIAL_LOSSES, kind)}")
        self.kind = kind

    def generator(
        self,
        fake_logits: Tensor,  # [N, 1, h, w] or other
    ) -> Tensor:
        """The generator's loss for the logits of its images."""
        return self._real(fake_logits) if self.kind != "hinge" else -_wide(fake_logits).mean()

    def discriminator(
        self,
        real_logits: Tensor,  # [N, 1, h, w] or other
        fake_logits: Tensor,  # [N, 1, h, w] or other
    ) -> Tensor:
        """The discriminator's loss; the generated images should be detached before it sees them."""
        return (self._real(real_logits) + self._fake(fake_logits)) / 2

    def _real(
        self,
        logits: Tensor,  # [N, 1, h, w] or other
    ) -> Tensor:
        x = _wide(logits)
        if self.kind == "vanilla":
            return F.softplus(-x).mean()
        return (x - 1).square().mean() if self.kind == "lsgan" else F.relu(1 - x).mean()

    def _fake(
        self,
        logits: Tensor,  # [N, 1, h, w] or other
    ) -> Tensor:
        x = _wide(logits)
        if self.kind == "vanilla":
            return F.softplus(x).mean()
        return x.square().mean() if self.kind == "lsgan" else F.relu(1 + x).mean()


def feature_matching(
    fake_features: Sequence[Tensor],  # one [N, c, h, w] a block
    real_features: Sequence[Tensor],  # one [N, c, h, w] a block
) -> Tensor:
    """Σ over the discriminator's blocks of the mean absolute difference of its features; real ones are detached.

    Args:
        fake_features: what `PatchDiscriminator` returns for generated images; the logits at the end do not count.
        real_features: the same for the targets.

    Raises:
        ValueError: if the lists differ in length or hold nothing but logits.

    Source: Wang et al., pix2pixHD (arXiv 1711.11585, section 3.2).
    """
    if len(fake_features) != len(real_features) or len(fake_features) < 2:
        raise ValueError(
            f"{len(fake_features)} feature maps of generated and {len(real_features)} of real images given; expected "
            "equally many, the last being the logits"
        )
    pairs = zip(fake_features[:-1], real_features[:-1], strict=True)
    return torch.stack([(_wide(fake) - _wide(real.detach())).abs().mean() for fake, real in pairs]).sum()


def l1_loss(
    prediction: Tensor,  # [N, C, H, W]
    target: Tensor,  # [N, C, H, W]
    valid: Tensor | None = None,  # bool [N, 1, H, W]
) -> Tensor:
    """Mean absolute difference over all channels of the valid pixels; zero, with zero gradient, if there is none.

    Of several processes that train together it is that over the valid pixels of all of them.
    What the target holds at invalid pixels, NaN included, has no effect.

    Raises:
        ValueError: if the shapes do not fit each other.
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"target has shape {list(target.shape)}; expected that of the prediction, {[*prediction.shape]}"
        )
    if valid is None:
        difference = (_wide(prediction) - _wide(target)).abs()
        return difference.sum() / shared_mean(difference.new_tensor(float(difference.numel())))
    expected = (target.shape[0], 1, *target.shape[2:])
    if valid.shape != expected or valid.dtype != torch.bool:
        raise ValueError(f"valid is {valid.dtype} {list(valid.shape)}; expected bool {list(expected)}")
    prediction = _wide(prediction)
    difference = prediction - torch.where(valid, _wide(target), prediction.detach())
    counted = shared_mean(valid.sum() * prediction.shape[1])
    return difference.abs().sum() / counted.clamp(min=torch.finfo(difference.dtype).tiny)


def _wide(
    x: Tensor,  # [...]
) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
