"""Knowledge guidance: the branch that is right teaches those that are not.

Source: MIM, multimodal information modulation (IEEE TMM 2023). Between modalities the one of the lowest loss teaches
the others by a Kullback-Leibler divergence; within a modality the better of what it says with and without its gates
teaches the other by a squared error. Teachers carry no gradient.

The loss file that the authors released is unfinished. Its parts, form ``"released"``, compare modalities by a batch's
loss, take the divergence of *features*, softmax over their channels, and their temperature multiplies the divergence
without dividing what the softmax is of. Form ``"sample"``, the default, is the reading that the paper's equations ask
for and ours where these are silent: every image has its own teacher and weights, which teaches class logits. Not
built here: the authors take two optimizer steps, and their masked losses never reach the encoders; here guidance is one
more summand of one loss.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from rgbx._processes import shared_mean
from rgbx._text import one_of
from rgbx.maps import IGNORE_INDEX
from rgbx.objectives.base import Objective, Site, Step, objective
from rgbx.tasks import Classes

FORMS = ("sample", "released")


def guidance_weights(
    losses: Tensor,  # [..., M], at least 0
) -> Tensor:
    """α_m = M (1 + λ_m)⁻¹ / Σ_k (1 + λ_k)⁻¹ with λ_m = L_m / Σ_k L_k, [..., M]; they sum to M, and are 1 of no loss."""
    whole = losses.sum(-1, keepdim=True)
    inverse = 1 / (1 + torch.where(whole > 0, losses / whole, 0.0))
    return losses.shape[-1] * inverse / inverse.sum(-1, keepdim=True)


def divergence(
    values: Sequence[Tensor],  # [N, C, ...] of each of M modalities
    teacher: Tensor,  # int64 [N]
    temperature: float = 1.0,
    where: Tensor | None = None,  # bool [N, ...]
) -> Tensor:
    """Σ_students mean over locations of KL(softmax(teacher / t) ‖ softmax(student / t)), [N].

    Args:
        values: logits or features; the softmax runs over C.
        teacher: which modality teaches, of each image; it gets no gradient.
        temperature: t.
        where: the locations that count; None for all. An image without any has 0.
    """
    scores = torch.stack([value.flatten(2) if value.ndim > 2 else value[..., None] for value in values]).float()
    scores = (scores / temperature).log_softmax(2)  # [M, N, C, P]
    taught = torch.arange(len(scores), device=teacher.device)[:, None] != teacher
    truth = scores.detach()[teacher, torch.arange(len(teacher), device=teacher.device)]
    pixels = (truth.exp() * (truth - scores)).sum(2)  # [M, N, P]
    counts = torch.ones_like(pixels[0]) if where is None else where.flatten(1).to(pixels)
    found = (pixels * counts).sum(2) / counts.sum(1).clamp(min=1)
    return torch.where(taught, found, 0.0).sum(0)


def inter_guidance(
    values: Sequence[Tensor],  # [N, C, ...] of each of M modalities
    teacher: Tensor,  # int64 [N]
    weights: Tensor,  # [N, M]
    temperature: float,
    form: str = "sample",
    where: Tensor | None = None,  # bool [N, ...]
) -> Tensor:
    """What a teacher asks of the other modalities, [N].

    ``"sample"``: α t² Σ_students KL at temperature t, α being the teacher's weight, so that gradients keep their size
    whatever t is. ``"released"``: ½ (t α)² Σ_students KL at temperature 1.
    """
    alpha = weights.gather(1, teacher[:, None])[:, 0]
    if form == "released":
        return (temperature * alpha) ** 2 / 2 * divergence(values, teacher, where=where)
    return alpha * temperature**2 * divergence(values, teacher, temperature, where)


def intra_guidance(
    gated: Tensor,  # [N, C, ...]
    ungated: Tensor,  # [N, C, ...]
    gated_better: Tensor,  # bool [N]
    where: Tensor | None = None,  # bool [N, ...]
) -> Tensor:
    """The mean squared error of an image's worse output against its better one, which gets no gradient, [N].

    Args:
        gated, ungated: what a modality says with its gates and without.
        gated_better: which is the better one, of each image.
        where: the locations that count; None for all. An image without any has 0.
    """
    better = gated_better.view(-1, *[1] * (gated.ndim - 1))
    taught = torch.where(better, ungated, gated).float()
    teacher = torch.where(better, gated, ungated).detach().float()
    pixels = (taught - teacher).square().mean(1).reshape(len(taught), -1)
    counts = torch.ones_like(pixels) if where is None else where.flatten(1).to(pixels)
    return (pixels * counts).sum(1) / counts.sum(1).clamp(min=1)


@objective("knowledge_guidance")
class KnowledgeGuidance(Objective):
    """Of every head of the task ``classes``: ``inter`` between modalities and ``intra`` within each, see this file.

    Each is a mean over the images that can be judged: an image without a label, whose losses are all 0, and one with a
    loss that is NaN or infinite have no teacher and are left out; without any other the loss is an exact 0. `intra` is
    added up over the modalities. A step with fewer than two modalities has none of it.

    Args:
        site: the model.
        inter: whether modalities teach each other.
        intra: whether a modality's outputs with gates and without teach each other, which runs the network once
            more; None where there are gates.
        temperature: t; of the form "released" the factor that the authors call so, theirs is 10.
        form: ``"sample"``: on class logits, by each image's losses; ``"released"``: on the features of the deepest
            stage, by the batch's mean losses.
        unlabelled: whether pixels without a label are taught as well, as a teacher needs no truth for them; not read
            by the form "released" between modalities.

    Raises:
        ValueError: no head with class logits, modalities that are merged, `intra` without gates, neither of the two
            parts, or an option of another kind.
    """

    def __init__(
        self,
        site: Site,
        *,
        inter: bool = True,
        intra: bool | None = None,
        temperature: float = 2.0,
        form: str = "sample",
        unlabelled: bool = True,
    ) -> None:
        super().__init__()
        what = f"objective {self.name!r}"
        for key, value in (("inter", inter), ("intra", intra), ("unlabelled", unlabelled)):
            if not isinstance(value, bool) and (key != "intra" or value is not None):
                raise ValueError(f"{what} has {key}={value!r}; expected True or False{', or None' * (key == 'intra')}")
        if form not in FORMS:
            raise ValueError(f"{what} has form={form!r}; expected one of {one_of(FORMS, form)}")
        number = isinstance(temperature, (int, float)) and not isinstance(temperature, bool)
        if not number or not 0 < temperature <= sys.float_info.max:
            raise ValueError(f"{what} has temperature={temperature!r}; expected a number above 0")
        if site.merged:
            raise ValueError(
                f"{what} needs a branch of each modality; the fusion method merges {list(site.modalities)}"
            )
        if intra and not site.gated:
            raise ValueError(f"{what} has intra=True; the network has no gates: set purification in the model")
        if not inter and not (site.gated if intra is None else intra):
            raise ValueError(f"{what} has inter=False and nothing within modalities; expected one of the two")
        self.heads = tuple(name for name, task in site.tasks.items() if isinstance(task, Classes))
        if not self.heads:
            found = {name: task.kind for name, task in site.tasks.items()}
            raise ValueError(f"{what} needs a head of the task 'classes'; the model has {found}")
        self.prefixes = {name: f"{name}_" if len(site.tasks) > 1 else "" for name in self.heads}
        self.inter, self.intra = inter, site.gated if intra is None else intra
        self.temperature, self.form, self.unlabelled = float(temperature), form, unlabelled

    def forward(self, step: Step) -> dict[str, Tensor]:
        """``inter`` and ``intra``, of a model of several heads ``HEAD_inter`` and ``HEAD_intra``, scalars."""
        losses: dict[str, Tensor] = {}
        if len(step.present) < 2:
            return losses
        for head in self.heads:
            if self.inter:
                losses[f"{self.prefixes[head]}inter"] = self._inter(step, head)
            if self.intra:
                losses[f"{self.prefixes[head]}intra"] = self._intra(step, head)
        return losses

    def _inter(self, step: Step, head: str) -> Tensor:
        losses, judged = self._judged(step.sample_losses(head))
        released = self.form == "released"
        stage = step.features[-1] if released else step.branches(head)
        found = inter_guidance(
            [stage[name] for name in step.present],
            losses.argmin(1),
            guidance_weights(losses),
            self.temperature,
            self.form,
            None if released else self._where(step, head),
        )
        return _mean(found, judged)

    def _intra(self, step: Step, head: str) -> Tensor:
        gated, ungated, where = step.branches(head), step.open_branches(head), self._where(step, head)
        losses, judged = self._judged(step.sample_losses(head))
        open_losses, open_judged = self._judged(step.open_losses(head))
        found = [
            intra_guidance(gated[name], ungated[name], losses[:, i] < open_losses[:, i], where)
            for i, name in enumerate(step.present)
        ]
        return _mean(torch.stack(found).sum(0), judged & open_judged)

    def _judged(
        self,
        found: dict[str, Tensor],  # [N] each
    ) -> tuple[Tensor, Tensor]:
        """Losses [N, M] without gradient, of the form "released" the batch's for every image, and bool [N]: usable."""
        losses = torch.stack(list(found.values()), 1).detach()
        judged = losses.isfinite().all(1) & (losses > 0).any(1)
        losses = torch.where(judged[:, None], losses, 0.0)
        if self.form == "released":
            losses = (losses.sum(0) / judged.sum().clamp(min=1)).expand_as(losses)
        return losses, judged

    def _where(self, step: Step, head: str) -> Tensor | None:
        """The pixels that are taught, bool [N, H, W]; None for all."""
        return None if self.unlabelled else step.targets[head].truth != IGNORE_INDEX


def _mean(
    found: Tensor,  # [N]
    judged: Tensor,  # bool [N]
) -> Tensor:
    """Over the images that were judged, in all processes that train together, a scalar."""
    total = torch.where(judged, found, 0.0).sum()
    return total / shared_mean(judged.sum()).clamp(min=torch.finfo(total.dtype).tiny)
