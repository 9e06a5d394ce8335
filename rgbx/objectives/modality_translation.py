"""Modality translation: codes of the modalities in one space, in which a discriminator cannot tell them apart.

Source: Mai, Hu and Xing, "Modality to Modality Translation: An Adversarial Representation Learning and Graph Fusion
Network for Multimodal Fusion" (ARGF, AAAI 2020). An encoder of each modality leads to the space and a decoder back, one
classifier is shared by all, and a discriminator tells codes of the target modality from those of the others, which are
so translated to it. The released code has no licence; written anew.

There each sample is one vector for a modality, here every location of a stage's features is. The form ``"released"``
has the authors' losses: sums of absolute differences, also between class probabilities and truth, beside the mean
cross-entropy of the adversary, which at their α is a thousandth of the rest. ``"mean"``, the default, is ours: means, a
cross-entropy of the classes, and features that are standardised before they are to be reproduced.

The authors make four optimizer steps of one forward pass, of which the later ones follow gradients of weights that are
stepped already; current torch refuses that. Here one step takes the gradients of all losses but the discriminator's
from one forward pass. The discriminator steps after it, on codes that the stepped encoders make anew of the features of
that pass, without gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgbx._processes import shared_mean
from rgbx._text import one_of
from rgbx.layers import StackLayout, untracked
from rgbx.layers.codes import Codes
from rgbx.layers.stages import check_stages, chosen_stages
from rgbx.objectives.base import Objective, Site, Step, objective
from rgbx.tasks import Classes

FORMS = ("mean", "released")
MOST_WIDTH = 2**12
Parts = Mapping[str, Tensor]


def code_discriminator(width: int, hidden: Sequence[int] = (64, 16)) -> nn.Sequential:
    """Codes [N, d, h, w] to logits [N, 1, h, w] of being the target modality's."""
    first, second = hidden
    return nn.Sequential(
        nn.Conv2d(width, first, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(first, second, 1),
        nn.Tanh(),
        nn.Conv2d(second, 1, 1),
    )


def code_classifier(width: int, classes: int) -> nn.Sequential:
    """Codes [N, d, h, w] of any modality to logits [N, K, h, w]."""
    return nn.Sequential(nn.BatchNorm2d(width), nn.Conv2d(width, width, 1), nn.Tanh(), nn.Conv2d(width, classes, 1))


def judged(
    logits: Tensor,  # [...]
    truth: float,
) -> Tensor:
    """The mean binary cross-entropy against 0 or 1, a scalar."""
    return F.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits, truth, dtype=torch.float32))


def difference(
    x: Tensor,  # [...]
    truth: Tensor,  # [...]
    form: str = "mean",
) -> Tensor:
    """The absolute difference, a scalar: its mean, or of the form "released" its sum."""
    return F.l1_loss(x.float(), truth.float(), reduction="sum" if form == "released" else "mean")


def class_difference(
    logits: Tensor,  # [N, K, h, w]
    shares: Tensor,  # [N, K, h, w]
    form: str = "mean",
) -> Tensor:
    """How far classes lie from the truth, a scalar.

    Args:
        logits: of the classes.
        shares: of each class in a location, 0 in all of them where nothing is labelled, which does not count.
        form: "mean": the mean cross-entropy; "released": the sum of absolute differences of the probabilities.
    """
    counted = shares.sum(1, keepdim=True) > 0
    if form == "released":
        return difference(logits.float().softmax(1) * counted, shares, form)
    total = shared_mean(counted.sum()).clamp(min=torch.finfo(torch.float32).tiny)
    return -(shares * logits.float().log_softmax(1)).sum() / total


def class_shares(
    label: Tensor,  # int64 [N, H, W]
    classes: int,
    size: tuple[int, int],
    stride: int,
) -> Tensor:
    """The share of each class in the labelled pixels of each location, float32 [N, K, *size]; 0 where there are none.

    Args:
        label: class ids; others than 0 to K − 1 are no label.
        classes: K.
        size: h and w of the features, which padding at right and bottom may have made larger.
        stride: pixels to a location.
    """
    height, width = (side * stride for side in size)
    label = label[:, :height, :width]
    count, (rows, columns) = len(label), (torch.arange(side, device=label.device) // stride for side in label.shape[1:])
    images = torch.arange(count, device=label.device)[:, None, None]
    cells = (images * size[0] + rows[:, None]) * size[1] + columns  # [N, H, W], numbered
    known = label.where((label >= 0) & (label < classes), classes)
    every = torch.bincount(
        (cells * (classes + 1) + known).flatten(), minlength=count * size[0] * size[1] * (classes + 1)
    )
    counts = every.view(count, *size, classes + 1)[..., :classes].movedim(-1, 1).float()
    return counts / counts.sum(1, keepdim=True).clamp(min=1)


@objective("modality_translation")
class ModalityTranslation(Objective):
    """Modality translation: codes in one space from which features, classes, but not the modality can be told.

    With codes e_m of features x_m, decoders G_m, the discriminator D and the classifier C, over all locations of each
    chosen stage, the mean over stages of

    - ``adversarial``: α Σ_sources BCE(D(e_source), 1), of a step that holds the target and another modality;
    - ``reconstruction``: (1 − α) Σ_m |G_m(e_m) − x_m|, x_m without gradient;
    - ``classification``: Σ_m of C(e_m) against the classes of the location, of every head of the task ``classes``;

    against the discriminator's ½ (BCE(D(e_target), 1) + Σ_sources BCE(D(e_source), 0)). All but the last reach the
    features, and so the network.

    In a network with codes of its own, of ``fusion="graph"`` or ``hallucinate``, these are trained and
    stay when it predicts; otherwise the objective has its own.

    Args:
        site: the model.
        stages: from 1, at stride 4; None for the deepest.
        form: ``"mean"`` or ``"released"``, see this file.
        alpha: α in 0..1; with 0 there is no discriminator.
        target: the modality to which the others are translated; None for the first.
        joint: whether the losses of heads train the encoders of the network's codes at these stages: those that a graph
            fuses, as the paper has it, or those that branches are filled in from. False keeps them, and what lies
            beneath a code, from the heads, as the released code does; decoders, and what reads them, learn from heads
            still, and the codes that fill in from ``loss_hallucination``. The objective's own codes no head reads.
        width: d of its own codes.
        hidden: channels inside their encoders and decoders; None for 2d.

    Raises:
        ValueError: one modality, inputs that are joined, an unknown stage or modality, or an option of another kind.
    """

    def __init__(
        self,
        site: Site,
        *,
        stages: Sequence[int] | None = None,
        form: str = "mean",
        alpha: float = 0.05,
        target: str | None = None,
        joint: bool = True,
        width: int = 64,
        hidden: int | None = None,
    ) -> None:
        super().__init__()
        what = f"objective {self.name!r}"
        if len(site.modalities) < 2 or site.joined:
            why = "the fusion method joins the inputs" if site.joined else "there is one"
            raise ValueError(f"{what} compares features of modalities, and {why}: {list(site.modalities)}")
        if form not in FORMS:
            raise ValueError(f"{what} has form={form!r}; expected one of {one_of(FORMS, form)}")
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 <= alpha <= 1:
            raise ValueError(f"{what} has alpha={alpha!r}; expected a number in 0..1")
        if target is not None and target not in site.modalities:
            raise ValueError(f"{what} has target={target!r}; expected one of {one_of(site.modalities, target)}")
        if not isinstance(joint, bool):
            raise ValueError(f"{what} has joint={joint!r}; expected True or False")
        for key, value in (("width", width), ("hidden", hidden)):
            if not (type(value) is int and 1 <= value <= MOST_WIDTH) and (key == "width" or value is not None):
                raise ValueError(f"{what} has {key}={value!r}; expected 1 to {MOST_WIDTH}")
        count = len(site.channels)
        numbers = chosen_stages(check_stages([count] if stages is None else stages, what), count, what, "network")
        self.form, self.alpha, self.target = form, float(alpha), target or site.modalities[0]
        self.strides = {number: site.strides[number - 1] for number in numbers if site.strides}
        self.codes = nn.ModuleDict()  # its own, of the stages where the network has none, or lacks decoders
        self._used: dict[int, tuple[Codes, Codes]] = {}  # encoders and decoders of each stage, also the network's
        sides = None if hidden is None else (hidden, hidden)
        for number in numbers:
            lent = site.codes.get(number)
            if lent is None or lent.decode is None:
                own = Codes(
                    site.channels[number - 1],
                    StackLayout(site.modalities),
                    width if lent is None else lent.width,
                    encoder_hidden=sides,
                    decoder_hidden=sides,
                    encoding=lent is None,
                    standardised=form == "mean",
                )
                self.codes[f"{number}"] = own
                self._used[number] = (lent or own, own)
            else:
                self._used[number] = (lent, lent)
            self._used[number][0].joint = joint
        widths = {number: encoders.width for number, (encoders, _) in self._used.items()}
        self.heads = {name: task.channels for name, task in site.tasks.items() if isinstance(task, Classes)}
        self.classifiers = nn.ModuleDict(
            {
                f"{number}_{head}": code_classifier(widths[number], k)
                for number in numbers
                for head, k in self.heads.items()
            }
        )
        if alpha:
            self.opponent = nn.ModuleDict({f"{number}": code_discriminator(widths[number]) for number in numbers})

    def forward(self, step: Step) -> dict[str, Tensor]:
        """``adversarial``, ``reconstruction`` and ``classification``, scalars, as far as the step has them."""
        found: dict[str, list[Tensor]] = {}
        for number, parts in self._stages(step):
            encoders, decoders = self._used[number]
            with self._tracking(number):
                codes = encoders.codes_of(parts)
                wanted = {name: decoders.wanted(x, name) for name, x in parts.items()}
                decoded = {name: decoders.decoded(code, name) for name, code in codes.items()}
            back = [difference(decoded[name], wanted[name], self.form) for name in codes]
            found.setdefault("reconstruction", []).append((1 - self.alpha) * torch.stack(back).sum())
            if (fooled := self._adversarial(number, codes)) is not None:
                found.setdefault("adversarial", []).append(self.alpha * fooled)
            if told := [self._classification(step, number, head, codes) for head in self.heads]:
                found.setdefault("classification", []).append(torch.stack(told).sum())
        return {name: torch.stack(terms).mean() for name, terms in found.items()}

    def opponent_losses(self, step: Step) -> dict[str, Tensor]:
        """``discriminator``, of codes that are made anew of the step's features; {} without the target or a source."""
        terms = []
        for number, parts in self._stages(step):
            encoders = self._used[number][0]
            with torch.no_grad(), untracked(encoders.modules()):
                codes = encoders.codes_of(parts)
            if self.target in codes and len(codes) > 1:
                logits = {name: self._judge(number)(code) for name, code in codes.items()}
                each = [judged(x, float(name == self.target)) for name, x in logits.items()]
                terms.append(torch.stack(each).sum() / 2)
        return {"discriminator": torch.stack(terms).mean()} if terms else {}

    def _stages(self, step: Step) -> Iterator[tuple[int, Parts]]:
        """The chosen stages, and the features of the modalities, [N, C, h, w], that codes are made of."""
        for number in self._used:
            yield number, step.own_features[number - 1]

    def _tracking(self, number: int) -> AbstractContextManager[None]:
        """Norms of the network's codes see each batch once: where the network runs."""
        encoders, decoders = self._used[number]
        lent = [
            codes
            for codes in (encoders, decoders)
            if f"{number}" not in self.codes or codes is not self.codes[f"{number}"]
        ]
        return untracked([module for codes in lent for module in codes.modules()]) if lent else nullcontext()

    def _judge(self, number: int) -> nn.Module:
        assert isinstance(self.opponent, nn.ModuleDict)
        return self.opponent[f"{number}"]

    def _adversarial(self, number: int, codes: Parts) -> Tensor | None:
        if self.opponent is None or self.target not in codes or len(codes) < 2:
            return None
        sources = [code for name, code in codes.items() if name != self.target]
        return torch.stack([judged(self._judge(number)(code), 1.0) for code in sources]).sum()

    def _classification(self, step: Step, number: int, head: str, codes: Parts) -> Tensor:
        label, size = step.targets[head].truth, next(iter(codes.values())).shape[-2:]
        stride = self.strides.get(number) or -(-label.shape[1] // size[0])
        shares = class_shares(label, self.heads[head], (size[0], size[1]), stride)
        logits = [self.classifiers[f"{number}_{head}"](code) for code in codes.values()]
        return torch.stack([class_difference(x, shares, self.form) for x in logits]).sum()
