"""Which scores a study shows, of which heads: names in a study file, what they mean by the tasks of its model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rgbx._text import nearest
from rgbx._types import Meta
from rgbx.evaluate.result import score_table
from rgbx.evaluate.result_form import HeadResult, Result
from rgbx.tasks import ENSEMBLE, Score, Task


@dataclass(frozen=True)
class Shown:
    """The scores of a study's table.

    Attributes:
        head: of the model, that scores belong to whose names have no head: "mIoU" beside "depth/MAE".
        scores: by the names that the study uses; the first is compared, the others are shown of each headline.
    """

    head: str
    scores: tuple[Score, ...]

    @property
    def headline(self) -> Score:
        """The score by which methods are compared."""
        return self.scores[0]

    @property
    def heads(self) -> list[str]:
        """All heads that scores are of, the own one first."""
        return list(dict.fromkeys([self.head, *(self.place(score.name)[0] for score in self.scores)]))

    def place(self, name: str) -> tuple[str, str]:
        """Head and score of a name."""
        head, _, own = name.rpartition("/")
        return head or self.head, own

    def value(self, result: Result, subset: str, name: str) -> float | None:
        """A score of the ensemble; None where it was not measured under this subset."""
        head, own = self.place(name)
        found = result["heads"][head]["subsets"].get(subset) if head in result["heads"] else None
        value: float | None = found[ENSEMBLE].get(own) if found else None
        return value

    def covers(self, result: Result, subsets: Iterable[str]) -> bool:
        """Whether a result has all heads under these subsets."""
        heads = result["heads"]
        return all(head in heads and set(subsets) <= set(heads[head]["subsets"]) for head in self.heads)

    def as_measured(self, result: Result) -> Shown:
        """The same scores with the units and directions that a result gives them.

        Raises:
            ValueError: a score that the result does not have.
        """
        known = {head: _measured(result["heads"][head]) for head in self.heads if head in result["heads"]}
        return Shown(self.head, tuple(self.find(score.name, known) for score in self.scores))

    def find(self, name: str, known: Mapping[str, Mapping[str, Score]], *, certain: bool = True) -> Score:
        """A score by the study's name.

        Args:
            name: of the score.
            known: head to its scores by their own names.
            certain: whether there are no others.

        Raises:
            ValueError: no such score.
        """
        head, own = self.place(name)
        if own in known.get(head, {}):
            return replace(known[head][own], name=name)
        if not certain:
            return Score(name)
        names = [key if other == self.head else f"{other}/{key}" for other, table in known.items() for key in table]
        raise ValueError(f"scores names {name!r}; the results have {', '.join(names)}{nearest(name, names)}")


def _measured(head: HeadResult) -> dict[str, Score]:
    found = next(iter(head["subsets"].values()))[ENSEMBLE]
    return {score.name: score for score in score_table(head) if score.name in found}


def choose_scores(
    tasks: Mapping[str, Task],
    names: Sequence[str] | None,
    head: str | None = None,
    *,
    meta: Meta | None = None,
    options: Mapping[str, object] | None = None,
) -> Shown:
    """The scores that a study asks for.

    Args:
        tasks: of the heads of its model.
        names: "MAE", or "HEAD/MAE" of another head; None for the first of the head's table, and where that is no
            fraction two more.
        head: whose scores have names without one; None for the first.
        meta: the test data's; None where it is not there yet, and so may not say what a target means: then names that
            are not known pass until there are results.
        options: of the evaluation, such as ``fid``.

    Raises:
        ValueError: a head or a score that the results will not have.
    """
    own = next(iter(tasks)) if head is None else head
    empty = Shown(own, ())
    for name in (own, *(empty.place(name)[0] for name in names or ())):
        if name not in tasks:
            raise ValueError(
                f"scores are asked for of head {name!r}; the model has {list(tasks)}{nearest(name, tasks)}"
            )
    known = {name: {score.name: score for score in _table(task, meta, options or {})} for name, task in tasks.items()}
    if names is None:
        if not known[own]:
            raise ValueError(f"what head {own!r} predicts is known once its data is there; name the scores until then")
        first, *others = known[own].values()
        return Shown(own, (first, *(others[:2] if not first.percent else ())))
    return Shown(own, tuple(empty.find(name, known, certain=meta is not None) for name in names))


def _table(task: Task, meta: Meta | None, options: Mapping[str, object]) -> tuple[Score, ...]:
    """Empty for a target of which only the data that is not there yet says what it means."""
    try:
        return task.table(meta, **{key: value for key, value in options.items() if key in task.options})
    except ValueError:
        if meta is not None:
            raise
        return ()
