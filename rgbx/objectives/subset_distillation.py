"""Distillation from all modalities to some of them: what a network says with every sensor teaches it to do with fewer.

Each step runs the network once more on a proper subset of its modalities, drawn anew. The joint answer of the first run
is the teacher, without gradient, of every branch of the second, by t² KL(softmax(teacher / t) ‖ softmax(student / t)),
the mean over pixels; beside that the second run is trained on the labels like the first.

Source: the divergence at a temperature and its factor t² are those of Hinton, Vinyals and Dean, "Distilling the
Knowledge in a Neural Network" (arXiv 1503.02531, section 2). That the teacher is the same network given more, in the
same step, is the inplace distillation of Yu and Huang, "Universally Slimmable Networks and Improved Training
Techniques" (arXiv 1903.05134), here of modalities in place of widths.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from rgbx.objectives.base import Branches, Objective, Site, Step, objective
from rgbx.tasks import ENSEMBLE, Classes


def distilled(
    student: Tensor,  # [N, C, H, W], logits
    teacher: Tensor,  # [N, C, H, W], logits
    temperature: float = 1.0,
) -> Tensor:
    """t² KL(softmax(teacher / t) ‖ softmax(student / t)), the mean over images and pixels, a scalar.

    Args:
        student: gets the gradient.
        teacher: gets none.
        temperature: t.
    """
    scores = (student.float() / temperature).log_softmax(1)
    truth = (teacher.detach().float() / temperature).log_softmax(1)
    return temperature**2 * (truth.exp() * (truth - scores)).sum(1).mean()


@objective("subset_distillation")
class SubsetDistillation(Objective):
    """Of every head of the task ``classes``: ``teacher`` and ``labels`` of a run on a subset, see this file.

    A step that has one modality only has neither. The step itself should be given all modalities, as the teacher is
    what it answers: leave ``modality_dropout`` out.

    Args:
        site: the model.
        temperature: t.
        labels: factor of the losses of the heads' tasks in the second run; 0 leaves them out.

    Raises:
        ValueError: no head with class logits, one modality, or an option of another kind.
    """

    reduces: ClassVar[bool] = True

    def __init__(self, site: Site, *, temperature: float = 1.0, labels: float = 1.0) -> None:
        super().__init__()
        what = f"objective {self.name!r}"
        _check_number(temperature, f"{what} has temperature", above=True)
        _check_number(labels, f"{what} has labels", above=False)
        if len(site.modalities) < 2:
            raise ValueError(f"{what} leaves modalities out; the model has {list(site.modalities)} alone")
        self.heads = tuple(name for name, task in site.tasks.items() if isinstance(task, Classes))
        if not self.heads:
            found = {name: task.kind for name, task in site.tasks.items()}
            raise ValueError(f"{what} needs a head of the task 'classes'; the model has {found}")
        self.prefixes = {name: f"{name}_" if len(site.tasks) > 1 else "" for name in self.heads}
        self.temperature, self.labels = float(temperature), float(labels)

    def forward(self, step: Step) -> dict[str, Tensor]:
        """``teacher`` and ``labels``, of a model of several heads ``HEAD_teacher`` and ``HEAD_labels``, scalars."""
        outputs = step.reduced() if step.reduced is not None and len(step.present) > 1 else {}
        losses: dict[str, Tensor] = {}
        for head in self.heads if outputs else ():
            students, teacher = _branches(outputs[head]), step.outputs[head][ENSEMBLE]
            found = [distilled(x, _sized(teacher, x), self.temperature) for x in students.values()]
            losses[f"{self.prefixes[head]}teacher"] = torch.stack(found).mean()
            if self.labels:
                own = step.tasks[head].losses(outputs[head], step.targets[head])
                losses[f"{self.prefixes[head]}labels"] = self.labels * torch.stack([*own.values()]).sum()
        return losses


def _branches(outputs: Branches) -> Mapping[str, Tensor]:
    """What each modality says, as the joint answer may carry no gradient to it; that answer where they are merged."""
    return {name: x for name, x in outputs.items() if name != ENSEMBLE} or outputs


def _sized(
    x: Tensor,  # [N, C, h, w]
    like: Tensor,  # [N, C, H, W]
) -> Tensor:
    """At the other's size."""
    same = x.shape[-2:] == like.shape[-2:]
    return x if same else interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _check_number(value: object, what: str, *, above: bool) -> None:
    number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else -1.0
    if number < 0 or (above and number == 0) or not number <= sys.float_info.max:
        raise ValueError(f"{what}={value!r}; expected a number {'above 0' if above else 'of at least 0'}")
