"""What a study file declares: a config, what every run changes in it, the methods, the seeds.

Every message about a value names the file, the field, what was found and what was expected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rgbx._text import nearest

Overrides = dict[str, Any]  # dotted path in the config to a plain value
SEEDS = 2**32
SCALARS = (type(None), bool, int, float, str)
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


def declare_study(values: Mapping[str, object], file: Path) -> Study:
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
    seeds, subsets = (
        by_method(name, values.get(name), methods, file) for name in ("method_seeds", "method_modalities")
    )
    return Study(
        file=file,
        config=check_config(values["config"], file),
        methods={name: check_overrides(value, file, f"method {name!r}") for name, value in methods.items()},
        seeds=check_seeds(values["seeds"], file, "seeds"),
        budget=check_overrides(values.get("budget") or {}, file, "budget"),
        modalities=None if modalities is None else check_subsets(modalities, file, "modalities"),
        scores=None if scores is None else check_scores(scores, file),
        head=check_head(values.get("head"), file),
        baseline=None if baseline is None else str(baseline),
        method_seeds={name: check_seeds(value, file, f"method_seeds[{name!r}]") for name, value in seeds.items()},
        method_modalities={
            name: check_subsets(value, file, f"method_modalities[{name!r}]") for name, value in subsets.items()
        },
    )


def _check_names(values: Mapping[str, object], file: Path) -> None:
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


def check_config(value: object, file: Path) -> Path:
    """The config's path.

    Raises:
        ValueError: not a string.
        FileNotFoundError: no such file beside the study.
    """
    if not isinstance(value, str):
        raise ValueError(f"{file}: config is {value!r}; expected the path of a config, relative to this file")
    path = Path(file.parent, value)
    if not path.is_file():
        siblings = [item.name for item in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise FileNotFoundError(f"{file}: config {value!r} does not exist{nearest(path.name, siblings)}")
    return path.resolve()


def check_methods(value: object, file: Path) -> dict[str, Any]:
    """Methods whose names give different folders.

    Raises:
        ValueError: no dict, no method, or a name without a folder of its own.
    """
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{file}: methods is {value!r}; expected a dict of at least one name to its overrides")
    known: dict[str, str] = {}
    for name in value:
        folder = folder_name(name) if isinstance(name, str) else ""
        if not folder or folder in known:
            twin = f", as that of {known[folder]!r}" if folder else ""
            raise ValueError(f"{file}: the runs of method {name!r} would lie in a folder {folder!r}{twin}; rename it")
        known[folder] = name
    return value


def folder_name(method: str) -> str:
    """A method's name as that of a folder, in lower case."""
    return re.sub(r"[^\w.+-]+", "_", method.lower()).strip("_.")


def check_overrides(value: object, file: Path, where: str) -> Overrides:
    """Dotted names with plain values.

    Raises:
        ValueError: something else.
    """
    if not isinstance(value, dict):
        raise ValueError(f"{file}: {where} is {value!r}; expected a dict of dotted names in the config to their values")
    for path, item in value.items():
        if not isinstance(path, str) or not all(path.split(".")) or "=" in path or path.startswith("-"):
            raise ValueError(f"{file}: {where} overrides {path!r}; expected a dotted name such as 'model.fusion'")
        odd = list(_not_plain(item))
        if odd:
            raise ValueError(
                f"{file}: {where} sets {path} to {odd[0]!r}; expected None, True, False, finite numbers, strings, or "
                "lists, tuples and dicts of them"
            )
    return dict(value)


def _not_plain(value: object) -> Iterable[object]:
    """What a command line could not carry exactly."""
    items = [*value, *value.values()] if isinstance(value, dict) else value
    if type(value) in (dict, list, tuple) and isinstance(items, (list, tuple)):
        for item in items:
            yield from _not_plain(item)
    elif type(value) not in SCALARS or (isinstance(value, float) and not math.isfinite(value)):
        yield value


def check_seeds(value: object, file: Path, where: str) -> tuple[int, ...]:
    """Different seeds.

    Raises:
        ValueError: something else.
    """
    seeds = tuple(value) if isinstance(value, (list, tuple)) else ()
    valid = all(type(seed) is int and 0 <= seed < SEEDS for seed in seeds)
    if not seeds or not valid or len(set(seeds)) < len(seeds):
        raise ValueError(f"{file}: {where} is {value!r}; expected different integers of 0..2**32-1, such as (0, 1, 2)")
    return seeds


def check_subsets(value: object, file: Path, where: str) -> tuple[str, ...]:
    """Different subsets of modalities.

    Raises:
        ValueError: something else.
    """
    subsets = tuple(value) if isinstance(value, (list, tuple)) else ()
    valid = all(isinstance(subset, str) and all(subset.split("+")) for subset in subsets)
    if not subsets or not valid or len({frozenset(subset.split("+")) for subset in subsets}) < len(subsets):
        raise ValueError(f"{file}: {where} is {value!r}; expected different subsets, such as ('rgb+depth', 'rgb')")
    return subsets


def check_scores(value: object, file: Path) -> tuple[str, ...]:
    """Different names; which there are depends on the results.

    Raises:
        ValueError: something else.
    """
    names = tuple(value) if isinstance(value, (list, tuple)) else ()
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise ValueError(f"{file}: scores is {value!r}; expected different names, such as ('PSNR', 'SSIM')")
    return names


def check_head(value: object, file: Path) -> str | None:
    """A name; which heads there are depends on the model.

    Raises:
        ValueError: something else.
    """
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{file}: head is {value!r}; expected the name of one of the model's heads, such as 'labels'")
    return value


def by_method(name: str, value: object, methods: Collection[str], file: Path) -> dict[str, object]:
    """A dict whose keys are methods.

    Raises:
        ValueError: something else.
    """
    value = value or {}
    if not isinstance(value, dict):
        raise ValueError(f"{file}: {name} is {value!r}; expected a dict of methods")
    for method in value:
        check_method(method, methods, file, name)
    return value


def check_method(method: object, methods: Collection[str], file: Path, where: str) -> None:
    """Raises ValueError where a name is that of no method."""
    if method not in methods:
        raise ValueError(f"{file}: {where} names {method!r}, which is no method{nearest(str(method), methods)}")


def merge_overrides(*layers: Overrides) -> Overrides:
    """Overrides one after the other: a later value replaces the whole of an earlier one, dicts included."""
    merged: Overrides = {}
    for layer in layers:
        for path, value in layer.items():
            for known in [known for known in merged if known == path or known.startswith(f"{path}.")]:
                del merged[known]
            merged[path] = value
    return merged


def as_options(overrides: Overrides) -> list[str]:
    """What follows --cfg-options: values as Python literals, which come back exactly."""
    return [f"{path}={value!r}" for path, value in overrides.items()]
