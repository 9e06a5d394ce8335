"""What a study file declares: a config, what every run changes in it, the methods, the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rgbx._text import nearest
from rgbx.study.checks import (
    Overrides,
    by_method,
    check_config,
    check_head,
    check_method,
    check_methods,
    check_overrides,
    check_scores,
    check_seeds,
    check_subsets,
    folder_name,
)

REQUIRED = ("config", "methods", "seeds")
OPTIONAL = ("budget", "modalities", "scores", "head", "baseline", "method_seeds", "method_modalities")


@dataclass(frozen=True)
class Study:
    """A declared grid.

    Attributes:
        file: the study file.
        config: the config that every run starts from.
        budget: overrides of every run.
        methods: name to the overrides that make the method, in the order of the table.
        seeds: of every method that `method_seeds` does not name.
        modalities: subsets to test ("rgb+depth"), the headline first; None for all together, then each alone.
        scores: names of the scores of the table, the one that is compared first; None for the usual ones.
        head: of the model, whose scores these are, but those named "HEAD/SCORE"; None for its first.
        baseline: the method that the others are compared with, or None.
        method_seeds: seeds of single methods.
        method_modalities: subsets of single methods.
    """

    file: Path
    config: Path
    methods: dict[str, Overrides]
    seeds: tuple[int, ...]
    budget: Overrides
    modalities: tuple[str, ...] | None
    scores: tuple[str, ...] | None
    head: str | None
    baseline: str | None
    method_seeds: dict[str, tuple[int, ...]]
    method_modalities: dict[str, tuple[str, ...]]

    def seeds_of(self, method: str) -> tuple[int, ...]:
        """The seeds that a method is trained with."""
        return self.method_seeds.get(method, self.seeds)

    def grid(self) -> list[tuple[str, int]]:
        """Method and seed of every run: all methods with their first seed, then with their second, and so on."""
        rounds = max(len(self.seeds_of(method)) for method in self.methods)
        return [
            (method, self.seeds_of(method)[i])
            for i in range(rounds)
            for method in self.methods
            if i < len(self.seeds_of(method))
        ]

    def subsets_of(self, method: str, modalities: Sequence[str]) -> tuple[str, ...]:
        """The subsets that a method is tested on: those of the study that its network can take.

        Args:
            method: its name.
            modalities: what its network takes.

        Raises:
            ValueError: none is left.
        """
        alone = tuple(dict.fromkeys(("+".join(modalities), *modalities)))
        wanted = self.method_modalities.get(method, self.modalities) or alone
        found = tuple(subset for subset in wanted if set(subset.split("+")) <= set(modalities))
        if not found:
            raise ValueError(
                f"{self.file}: method {method!r} takes the modalities {tuple(modalities)}, but is to be tested on "
                f"{wanted}; name one of its own in modalities or method_modalities"
            )
        return found

    def folder_of(self, method: str, seed: int) -> Path:
        """Where a run lies inside the study's work directory."""
        return Path(folder_name(method), f"seed_{seed}")


def declare_study(values: Mapping[str, Any], file: Path) -> Study:
    """Checks the names of a study file and their values.

    Args:
        values: what the file defines, in plain types; names with a leading underscore are its author's own.
        file: for messages, and for `config`, which is relative to its folder.

    Raises:
        ValueError: a name or value that cannot be used; the message names it and what was expected.
        FileNotFoundError: no such config.
    """
    _check_names(values, file)
    methods = check_methods(values["methods"], file)
    modalities, scores, baseline = (values.get(name) for name in ("modalities", "scores", "baseline"))
    if baseline is not None:
        check_method(baseline, methods, file, "baseline")
    seeds = by_method("method_seeds", values, file)
    subsets = by_method("method_modalities", values, file)
    return Study(
        file=file,
        config=check_config(values["config"], file),
        methods={name: check_overrides(value, file, f"method {name!r}") for name, value in methods.items()},
        seeds=check_seeds(values["seeds"], file, "seeds"),
        budget=check_overrides(values.get("budget") or {}, file, "budget"),
        modalities=None if modalities is None else check_subsets(modalities, file, "modalities"),
        scores=None if scores is None else check_scores(scores, file),
        head=check_head(values.get("head"), file),
        baseline=baseline,
        method_seeds={name: check_seeds(value, file, f"method_seeds[{name!r}]") for name, value in seeds.items()},
        method_modalities={
            name: check_subsets(value, file, f"method_modalities[{name!r}]") for name, value in subsets.items()
        },
    )


def _check_names(values: Mapping[str, Any], file: Path) -> None:
    known = (*REQUIRED, *OPTIONAL)
    for name in values:
        if name not in known and not name.startswith("_"):
            raise ValueError(
                f"{file}: unknown name {name!r}{nearest(name, known)}; a study has {', '.join(known)} (begin the "
                "names of your own variables with an underscore)"
            )
    for name in REQUIRED:
        if name not in values:
            raise ValueError(f"{file}: {name!r} is missing; a study needs {', '.join(REQUIRED)}")
