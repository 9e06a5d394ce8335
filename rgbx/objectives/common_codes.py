"""Codes in one space by classes and by a game: whose code it is, and whether a feature was made from a code.

Source: CM-GANs, "Cross-modal Generative Adversarial Networks for Common Representation Learning" (ACM TOMM 2019),
sections 3 and 4. Per modality m, with a feature x_m and its code s_m: a decoder makes features from s_m, which a
linear *intra-modality* judge tells from real ones; an *inter-modality* judge of m tells [s_m, x_m] from [s_other, x_m]
and from a pair that does not belong together. The encoder of m is judged by the *other* modality's inter-modality
judge, which it should persuade that s_m is the other's own. No reconstruction distance is trained. A class head reads
the codes.

Options say what the released code has in place of the paper: one class head per modality (``class_head="private"``), a
"wrong" pair that matches and is of another item (``wrong="released"``), and in the decoder ``codes`` upper layers that
are equal at the start only (``shared="initial"``).

Differs from both: they train all judges once and then the generators five times, one modality after the other, each
with an Adam step of its own; here the model is stepped once on the sum of what its parts are asked, and then all
judges once on theirs (which their separate parameters make the same as one step each). A `discriminator_lr` of a fifth
of the rate stands for the five steps. Means over the other modalities stand where there are more than two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgbx._text import one_of
from rgbx.heads.code_encoder import SLOPE, deepest_or, stages_joined
from rgbx.layers import untracked
from rgbx.maps import IGNORE_INDEX
from rgbx.objectives.base import Objective, Site, Step, objective
from rgbx.tasks import Embedding
from rgbx.tasks.embedding import Regions

CLASS_HEADS = ("shared", "private")
WRONG = ("mismatched", "released")


class Items(NamedTuple):
    """What is known of B items in one modality.

    Attributes:
        codes: [B, D].
        features: [B, C]; without gradients, as no encoder should change what is judged beside its codes.
        wrong: int64 [B], of each item another one that is not of its class, or frame.
    """

    codes: Tensor
    features: Tensor
    wrong: Tensor


class Layered(nn.Sequential):
    """FC, BN, LeakyReLU, FC: a decoder, or a judge's layers."""

    def __init__(self, channels_in: int, hidden: int, channels_out: int) -> None:
        super().__init__()
        self.hidden, self.bn = nn.Linear(channels_in, hidden), nn.BatchNorm1d(hidden)
        self.act, self.out = nn.LeakyReLU(SLOPE), nn.Linear(hidden, channels_out)


class Judges(nn.Module):
    """The discriminators of all modalities, [B] logits each; above 0 is "real".

    Args:
        channels: C of the features of each modality, by its name.
        code: D.
        hidden: width inside the inter-modality judges.
    """

    def __init__(self, channels: Mapping[str, int], code: int, hidden: int) -> None:
        super().__init__()
        self.intra = nn.ModuleDict({name: nn.Linear(size, 1) for name, size in channels.items()})
        self.inter = nn.ModuleDict({name: Layered(code + size, hidden, 1) for name, size in channels.items()})

    def feature(
        self,
        name: str,
        x: Tensor,  # [B, C]
    ) -> Tensor:
        """Whether features are real ones of the modality, [B]."""
        logits: Tensor = self.intra[name](x)
        return logits[:, 0]

    def pair(
        self,
        name: str,
        code: Tensor,  # [B, D]
        x: Tensor,  # [B, C]
    ) -> Tensor:
        """Whether codes are the modality's own of these features, [B]."""
        logits: Tensor = self.inter[name](torch.cat([code, x], dim=1))
        return logits[:, 0]

    def intra_loss(
        self,
        name: str,
        made: Tensor,  # [B, C]
        real: Tensor,  # [B, C]
    ) -> Tensor:
        """BCE(made, 0) + BCE(real, 1)."""
        return verdict(self.feature(name, made), 0) + verdict(self.feature(name, real), 1)

    def inter_loss(
        self,
        name: str,
        x: Tensor,  # [B, C]
        own: Tensor,  # [B, D]
        others: Sequence[Tensor],  # [B, D] of each other modality
        wrong: tuple[Tensor, Tensor] | None,  # [W, D] and [W, C]
    ) -> Tensor:
        """BCE([own, x], 1) + ½ BCE([other, x], 0) + ½ BCE(the wrong pair, 0), without the last where there is none."""
        fake = torch.stack([verdict(self.pair(name, code, x), 0) for code in others]).mean()
        if wrong is not None:
            fake = fake + verdict(self.pair(name, *wrong), 0)
        return verdict(self.pair(name, own, x), 1) + fake / 2


def verdict(
    logits: Tensor,  # [B]
    real: int,
) -> Tensor:
    """Mean binary cross-entropy against 1 or 0, []."""
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.binary_cross_entropy_with_logits(exact, torch.full_like(exact, real))


def wrong_partners(
    labels: Tensor,  # int64 [B]
) -> Tensor:
    """For each item a random one of another label, int64 [B]; the item itself where all are of its own."""
    chance = torch.rand(len(labels), len(labels), device=labels.device)
    other = labels[:, None] != labels
    found = chance.masked_fill(~other, -1).argmax(1)
    return torch.where(other.any(1), found, torch.arange(len(labels), device=labels.device))


@objective("common_codes")
class CommonCodes(Objective):
    """Codes of all modalities in one space, by their classes and by judges of whose they are.

    Args:
        site: of a model with a head that embeds.
        num_classes: K of the class head; None leaves it out, as frames must, which have no classes.
        class_head: ``"shared"`` by the modalities, or ``"private"``.
        adversary: whether there are decoders and judges.
        wrong: ``"mismatched"``: another item's code beside these features; ``"released"``: another item's pair.
        hidden: width inside decoders and judges.
        stages: whose features are judged, 1 being the shallowest; None for the deepest.

    Raises:
        ValueError: no head that embeds, or several; or an option that makes no sense.
    """

    of_own_batch = True  # by how many items it has

    def __init__(
        self,
        site: Site,
        *,
        num_classes: int | None = None,
        class_head: str = "shared",
        adversary: bool = True,
        wrong: str = "mismatched",
        hidden: int = 256,
        stages: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        heads = [name for name, task in site.tasks.items() if isinstance(task, Embedding)]
        if len(heads) != 1:
            raise ValueError(f"objective 'common_codes' is of one head of task 'embedding'; the model has {heads}")
        for name, value, known in (("class_head", class_head, CLASS_HEADS), ("wrong", wrong, WRONG)):
            if value not in known:
                raise ValueError(
                    f"objective 'common_codes': {name} is {value!r}; expected one of {one_of(known, value)}"
                )
        self.head, self.wrong, self.stages = heads[0], wrong, deepest_or(stages, len(site.channels))
        task = site.tasks[self.head]
        if num_classes is not None and (type(num_classes) is not int or not 1 <= num_classes <= IGNORE_INDEX):
            raise ValueError(
                f"objective 'common_codes': num_classes is {num_classes!r}; expected 1 to {IGNORE_INDEX}, or None"
            )
        if num_classes is not None and isinstance(task, Embedding) and task.by == "frame":
            raise ValueError(
                f"objective 'common_codes': num_classes is {num_classes}, but head {self.head!r} embeds frames, which "
                "have no classes; leave num_classes out"
            )
        self.num_classes, self.stride = num_classes, site.strides[self.stages[0] - 1] if site.strides else None
        code, size = task.channels, sum(site.channels[i - 1] for i in self.stages)
        names = site.modalities if class_head == "private" else (class_head,)
        self.classifiers = nn.ModuleDict({name: nn.Linear(code, num_classes) for name in names if num_classes})
        self.decoders = nn.ModuleDict({name: Layered(code, hidden, size) for name in site.modalities if adversary})
        if adversary:
            self.opponent = Judges(dict.fromkeys(site.modalities, size), code, hidden)
        elif not num_classes:
            raise ValueError("objective 'common_codes' has nothing to ask: give num_classes, or adversary=True")

    def forward(self, step: Step) -> dict[str, Tensor]:
        """``class``, and of the game ``inter`` and ``intra``: sums over the modalities.

        Raises:
            ValueError: a region whose class id is not below `num_classes`; the message names its image.
        """
        labels, items = self._items(step)
        found: dict[str, Tensor] = {}
        if len(labels) and self.classifiers:
            found["class"] = self._sum(self.class_loss(name, each.codes, labels) for name, each in items.items())
        if self._plays(items):
            found["inter"] = self._sum(self.inter_loss(name, items) for name in items)
            found["intra"] = self._sum(
                verdict(self.judges.feature(name, self.decoders[name](each.codes)), 1) for name, each in items.items()
            )
        return found

    def opponent_losses(self, step: Step) -> dict[str, Tensor]:
        """``inter`` and ``intra`` of the judges, sums over the modalities."""
        items = self._items(step)[1]
        if not self._plays(items):
            return {}
        with torch.no_grad(), untracked(self.decoders.modules()):
            made = {name: self.decoders[name](each.codes) for name, each in items.items()}
        return {
            "inter": self._sum(self._judged(name, items) for name in items),
            "intra": self._sum(self.judges.intra_loss(name, made[name], each.features) for name, each in items.items()),
        }

    @property
    def judges(self) -> Judges:
        """The opponent.

        Raises:
            ValueError: there is none.
        """
        if not isinstance(self.opponent, Judges):
            raise ValueError("objective 'common_codes' was built without an adversary")
        return self.opponent

    def class_loss(
        self,
        name: str,
        codes: Tensor,  # [B, D]
        labels: Tensor,  # int64 [B]
    ) -> Tensor:
        """Cross-entropy of a modality's class head, []."""
        classify = self.classifiers[name if name in self.classifiers else "shared"]
        logits = classify(codes)
        return F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels)

    def inter_loss(self, name: str, items: Mapping[str, Items]) -> Tensor:
        """What the judges of the other modalities, beside their features [B, C], make of codes [B, D] of this one."""
        others = [
            verdict(self.judges.pair(other, items[name].codes, each.features), 1)
            for other, each in items.items()
            if other != name
        ]
        return torch.stack(others).mean()

    def _judged(self, name: str, items: Mapping[str, Items]) -> Tensor:
        """The loss of a modality's inter-modality judge; codes [B, D], features [B, C]."""
        codes, x, wrong = items[name]
        rows = (wrong != torch.arange(len(wrong), device=wrong.device)).nonzero()[:, 0]
        beside = x[wrong[rows]] if self.wrong == "released" else x[rows]
        others = [each.codes for other, each in items.items() if other != name]
        return self.judges.inter_loss(name, x, codes, others, (codes[wrong[rows]], beside) if len(rows) > 1 else None)

    def _plays(self, items: Mapping[str, Items]) -> bool:
        """Whether there is a game, and enough items of two modalities for statistics."""
        return self.opponent is not None and len(items) > 1 and len(next(iter(items.values())).codes) > 1

    def _items(self, step: Step) -> tuple[Tensor, dict[str, Items]]:
        """Classes [B] of the items of a step, and the items of each modality."""
        task, target = step.tasks[self.head], step.targets[self.head]
        if not isinstance(task, Embedding):
            raise ValueError(f"head {self.head!r} is of task {task.kind!r}; expected 'embedding'")
        found = task.regions(step.branches(self.head), target)
        self._check_classes(found, step.sample_ids)
        wrong = wrong_partners(found.images if task.by == "frame" else found.classes)
        maps = {
            name: stages_joined([stage[name].detach() for stage in step.features], self.stages) for name in found.codes
        }
        features = task.regions(maps, target, self.stride).codes
        return found.classes, {name: Items(x, features[name], wrong) for name, x in found.codes.items()}

    def _check_classes(self, regions: Regions, names: Sequence[str]) -> None:
        if self.num_classes is None or not (beyond := (regions.classes >= self.num_classes).nonzero()[:, 0]).numel():
            return
        place = int(regions.images[beyond[0]])
        image = f"sample {names[place]!r}" if names else f"image {place} of the batch"
        raise ValueError(
            f"objective 'common_codes': {image} has a region of class {int(regions.classes[beyond[0]])}; expected 0 to "
            f"{self.num_classes - 1}, or {IGNORE_INDEX} to ignore. Check num_classes and the dataset's label offset"
        )

    @staticmethod
    def _sum(terms: Iterable[Tensor]) -> Tensor:
        """Of scalars, []."""
        return torch.stack(list(terms)).sum()
