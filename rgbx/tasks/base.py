"""What a task is: the only place that knows what a prediction means.

A task reads its target from a batch, turns a decoder's output into what a branch predicts, joins the branches to an
ensemble, has a loss, turns added views into values in units, counts them image by image, scores the counts and draws
them. Predicting, evaluating, reporting, comparing and studying exist once and loop over the heads of a model.

A task of one's own is a class under `task(NAME)` in one file; `docs/tasks.md` writes one.
"""

from __future__ import annotations

import inspect
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rgbx._processes import together
from rgbx._protocol import Protocol, Size
from rgbx._registry import Registry
from rgbx._text import check_options
from rgbx._types import Meta, Options, Scores
from rgbx.tasks.result import ENSEMBLE as ENSEMBLE
from rgbx.tasks.result import Answer, HeadResult
from rgbx.tasks.score import Score

Branches = Mapping[str, Tensor]  # modality, or "ensemble": [N, C, H, W]


class NotFiniteError(ValueError):
    """A network's answer that is NaN or infinite, so that it means nothing.

    Attributes:
        samples: the places of these images in the batch.
    """

    def __init__(self, samples: Sequence[int]) -> None:
        self.samples = tuple(samples)
        super().__init__(f"scores of {list(samples)} in the batch are NaN or infinite; no class is the largest of them")


class Target(NamedTuple):
    """What a head is to predict for a batch.

    Attributes:
        truth: as the task has it: int64 [N, H, W] class ids, or [N, C, H, W] in the map's unit.
        valid: bool [N, 1, H, W], where it was measured; None where all of it counts.
    """

    truth: Tensor
    valid: Tensor | None = None


class Frame(NamedTuple):
    """What outputs at a decoder's size stand for.

    Attributes:
        padded: (H, W) of the image as the network saw it, to which outputs are resized.
        size: (H, W) of the image itself, the first rows and columns of that.
    """

    padded: Size
    size: Size


class Prediction(NamedTuple):
    """What a head predicts for one sample.

    Attributes:
        prediction: branch or "ensemble" to what the task says: uint8 [H, W] class ids, or float32 [C, H, W] in units.
        target: of the sample, [H, W] or [C, H, W]; None where the batch has none.
        valid: bool [1, H, W] of the target; None where all of it counts.
        probability: {"ensemble": float32 [K, H, W]} where a task has it and it was asked for; where the ensemble was
            not, of each branch that was.
        confidence: its largest over the classes, {"ensemble": float32 [H, W]}, likewise.
    """

    prediction: dict[str, Tensor]
    target: Tensor | None = None
    valid: Tensor | None = None
    probability: dict[str, Tensor] | None = None
    confidence: dict[str, Tensor] | None = None


class Evaluation(ABC):
    """Counts and scores of a dataset under one subset of modalities.

    Attributes:
        images: what was counted of each image, with its `sample_id`, in the dataset's order.
        table: the scores there are; the first is the headline.
    """

    images: Sequence[Any]
    table: tuple[Score, ...]

    @property
    @abstractmethod
    def names(self) -> list[str]:
        """The predictions, see `ensemble_first`."""

    @abstractmethod
    def scores(self, name: str) -> dict[str, Any]:
        """Every score of a prediction by its name, a fraction of 1 or in its unit, and what reports show beside."""

    def logged(self, name: str) -> dict[str, float]:
        """The scores of a prediction as logs show them."""
        return {key: value for key, value in self.scores(name).items() if isinstance(value, float)}

    @abstractmethod
    def image_scores(self, record: Any) -> dict[str, Any]:
        """Scores of one image's ensemble, and what a comparison of two results adds up."""

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """What result files say of the target, in plain types."""

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 of what was evaluated: ids, file sizes and truth, wherever the files lie."""


def ensemble_first(names: Iterable[str]) -> list[str]:
    """Names of predictions, each once: the ensemble, then branches in their order."""
    return sorted(dict.fromkeys(names), key=lambda name: name != ENSEMBLE)


class Counter(ABC):
    """Counts predictions image by image; made by `Task.counter`. Nothing in it depends on the images it has seen.

    Attributes:
        records: the dataclasses of which records consist, beside plain values, tensors and arrays; jobs that share an
            evaluation hand them on in files, and `check` looks at what comes back. Without any they cannot.
    """

    records: ClassVar[tuple[type, ...]] = ()

    @abstractmethod
    def count(self, sample_id: str, found: Prediction, file_sizes: dict[str, int]) -> Any:
        """The record of one image.

        Raises:
            ValueError: no target, or one that cannot be scored; the message names the sample.
        """

    @abstractmethod
    def evaluation(self, records: Sequence[Any]) -> Evaluation:
        """The scores of all images, in the dataset's order."""

    def check(self, record: object) -> None:
        """Refuses a record that a file holds and that `count` cannot have given, so that `evaluation` may rely on it.

        Args:
            record: one of the classes of `records`.

        Raises:
            ValueError: which field, what was found there and what was expected.
        """
        name = getattr(record, "sample_id", None)
        if not isinstance(name, str):
            raise ValueError(f"sample_id is {reprlib.repr(name)}; expected text")

    def report(self, found: Mapping[str, Scores]) -> str:
        """A table for the terminal; empty for none.

        Args:
            found: the scores of each prediction, see `Evaluation.scores`, by its title; the ensemble's come first.
        """
        return ""


class Task(nn.Module, ABC):
    """One head's meaning.

    Attributes:
        kind: the name in `TASKS`, that configs, checkpoints and results use.
        decoder: the name of the usual decoder.
        target: key of the sample that holds the truth; ``TARGET_valid`` may mask it. "" where none is needed.
        apart: whether no branch may see another modality, so that a model which exchanges features is refused.
        channels: C of the decoder's output.
        coarse: whether training leaves outputs at the decoder's size, as they are pooled anyway.
        stride: pixels of the image to a side of a location of such outputs; None where no model says it.
        options: of `counter`, by name, that this task takes.
    """

    kind: ClassVar[str]
    decoder: ClassVar[str] = "light"
    apart: ClassVar[bool] = False
    coarse: ClassVar[bool] = False
    options: ClassVar[tuple[str, ...]] = ()
    target: str
    channels: int
    stride: int | None = None

    @abstractmethod
    def read_target(
        self,
        batch: Mapping[str, Tensor],  # NAME: [N, H, W] or [N, C, H, W]
    ) -> Target | None:
        """The target in a collated batch on the device; None where the batch has none."""

    @abstractmethod
    def activate(
        self,
        raw: Tensor,  # [B, C, h, w]
    ) -> Tensor:
        """A decoder's output as what branches predict, float32 [B, C, h, w]."""

    def ensemble(
        self,
        votes: Sequence[Tensor],  # [N, C, h, w] each
        weights: Tensor | None,  # [M], summing to 1; None for the plain mean
    ) -> Tensor:
        """What the branches predict together, [N, C, h, w]: Σ_m w_m · v_m."""
        stack = torch.stack(list(votes))
        return stack.mean(0) if weights is None else (weights.view(-1, 1, 1, 1, 1) * stack).sum(0)

    @abstractmethod
    def losses(self, outputs: Branches, target: Target) -> dict[str, Tensor]:
        """``loss_...`` to scalars, of outputs at the target's size."""

    @property
    def loses_coarse(self) -> bool:
        """Whether `coarse_losses` gives what `losses` gives."""
        return False

    def coarse_losses(self, outputs: Branches, padded: Size, target: Target) -> dict[str, Tensor]:
        """`losses` of outputs at the decoder's size, which are not resized as a whole; for `padded` see `Frame`."""
        raise NotImplementedError(f"task {self.kind!r} has losses of resized outputs alone")

    def sample_losses(self, outputs: Branches, target: Target) -> dict[str, Tensor]:
        """The sum of `losses` by prediction and by image, each as if it were alone in the batch: {name: [N]}."""
        with together(False):
            return self._sample_losses(outputs, target)

    def _sample_losses(self, outputs: Branches, target: Target) -> dict[str, Tensor]:
        truth, valid = target.truth, target.valid
        alone = [Target(truth[i : i + 1], None if valid is None else valid[i : i + 1]) for i in range(len(truth))]
        return {
            name: torch.stack(
                [
                    torch.stack(list(self.losses({name: x[i : i + 1]}, one).values())).sum()
                    for i, one in enumerate(alone)
                ]
            )
            for name, x in outputs.items()
        }

    def mirror(
        self,
        output: Tensor,  # [B, C, H, W]
    ) -> Tensor:
        """The output for a mirrored scene as that of the scene."""
        return output.flip(-1)

    def score(
        self,
        output: Tensor,  # [B, C, H, W]
        protocol: Protocol,
    ) -> Tensor:
        """What views of an image add up, [B, C, H, W]."""
        return output

    @abstractmethod
    def finish(
        self, total: Branches, target: Target | None, protocol: Protocol, *, keep_probability: bool = False
    ) -> list[Prediction]:
        """The predictions of each sample from the sum of the views' scores, {branch: [N, C, H, W]}."""

    def finishes_coarse(self, protocol: Protocol) -> bool:
        """Whether `finish_coarse` gives by this protocol what `finish` gives, for maps of the image's own size."""
        return False

    def finish_coarse(
        self, outputs: Branches, frame: Frame, target: Target | None, *, keep_confidence: bool = False
    ) -> list[Prediction]:
        """The predictions of each sample from outputs at the decoder's size, which are not resized as a whole."""
        raise NotImplementedError(f"task {self.kind!r} finishes resized outputs alone")

    @abstractmethod
    def table(self, meta: Meta | None = None, **options: Any) -> tuple[Score, ...]:
        """The scores of this task, the headline first.

        Args:
            meta: the dataset's, where it says what the target means.
            options: of `counter`.
        """

    @abstractmethod
    def counter(self, protocol: Protocol, meta: Meta, **options: Any) -> Counter:
        """What counts the predictions of a dataset.

        Args:
            protocol: whose rules hold.
            meta: the dataset's.
            options: those of `options`.
        """

    @abstractmethod
    def draw(
        self,
        values: np.ndarray,  # [H, W] or [C, H, W]
        about: Meta,
        *,
        truth: np.ndarray | None = None,  # [H, W] or [C, H, W]
        valid: np.ndarray | None = None,  # bool [1, H, W]
        masked: bool = False,
    ) -> np.ndarray:
        """A prediction, or the truth, as uint8 RGB [H, W, 3].

        Args:
            values: [H, W] or [C, H, W].
            about: what the result or dataset says of the target.
            truth: whose range of values gives the colours, so that pictures can be compared.
            valid: bool [1, H, W], of the truth.
            masked: whether pixels that are not valid are left out, as in the truth's own picture.
        """

    def error(
        self,
        values: np.ndarray,  # [H, W] or [C, H, W]
        truth: np.ndarray,  # [H, W] or [C, H, W]
        background: np.ndarray,  # uint8 RGB [H, W, 3]
        about: Meta,
        valid: np.ndarray | None = None,  # bool [1, H, W]
    ) -> np.ndarray | None:
        """Where a prediction is wrong, as uint8 RGB [H, W, 3]; None for a task without such a picture."""
        return None

    def result(self, answer: Answer) -> HeadResult:
        """What `MultimodalModel.predict` gives of this head's ensemble for one frame."""
        return HeadResult(self, answer, ENSEMBLE)

    def legend(
        self,
        maps: Sequence[np.ndarray],  # [H, W] or [C, H, W]
        about: Meta,
    ) -> dict[str, Sequence[int]]:
        """Name to colour of what pictures of these maps show; empty where colours need no names."""
        return {}

    def write(
        self,
        path: Path,
        values: np.ndarray,  # [H, W] or [C, H, W]
        dataset: Any,
    ) -> None:
        """Writes a prediction as the dataset stores its own targets.

        Raises:
            ValueError: for a task that has no file form.
        """
        raise ValueError(f"predictions of task {self.kind!r} have no form as files")


TASKS: Registry[Task] = Registry("task", "kind")
task = TASKS.enter


def find_task(name: object) -> type[Task]:
    """The class of a task.

    Raises:
        ValueError: an unknown name.
    """
    return TASKS.find(name, f"task is {name!r}")


def build_task(head: str, options: Options) -> Task:
    """Builds a head's task from plain values.

    Args:
        head: the head's name.
        options: ``task``, its name, and the keyword arguments of its class.

    Raises:
        ValueError: an unknown task or option, or one that is missing.
    """
    given = dict(options)
    kind = find_task(given.pop("task", None))
    parameters = inspect.signature(kind).parameters
    known = [name for name in parameters if name != "head"]
    check_options(given, known, f"head {head!r} of the task {kind.kind!r}")
    missing = [name for name in known if parameters[name].default is inspect.Parameter.empty and name not in given]
    if missing:
        raise ValueError(f"head {head!r} lacks {missing[0]!r}, which task {kind.kind!r} needs")
    return kind(head, **given)
