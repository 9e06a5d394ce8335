"""What a study file declares: a config, what every run changes in it, the methods, the seeds.

Every message about a value names the file, the field, what was found and what was expected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rgbx._text import nearest, nearest_file

Overrides = dict[str, Any]  # dotted path in the config to a plain value
Same = Callable[[Any], Hashable]  # values that give equal ones are the same
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
    methods = _check_methods(values["methods"], file)
    modalities, scores, baseline = (values.get(name) for name in ("modalities", "scores", "baseline"))
    head = values.get("head")
    if head is not None and not isinstance(head, str):
        raise ValueError(f"{file}: head is {head!r}; expected the name of one of the model's heads, such as 'labels'")
    if baseline is not None:
        _check_method(baseline, methods, file, "baseline")
    seeds, subsets = (
        _by_method(name, values.get(name), methods, file) for name in ("method_seeds", "method_modalities")
    )
    return Study(
        file=file,
        config=_check_config(values["config"], file),
        methods={name: _check_overrides(value, file, f"method {name!r}") for name, value in methods.items()},
        seeds=_seeds(values["seeds"], f"{file}: seeds"),
        budget=_check_overrides(values.get("budget") or {}, file, "budget"),
        modalities=None if modalities is None else _subsets(modalities, f"{file}: modalities"),
        scores=None if scores is None else _scores(scores, f"{file}: scores"),
        head=head,
        baseline=None if baseline is None else str(baseline),
        method_seeds={name: _seeds(value, f"{file}: method_seeds[{name!r}]") for name, value in seeds.items()},
        method_modalities={
            name: _subsets(value, f"{file}: method_modalities[{name!r}]") for name, value in subsets.items()
        },
    )


def _check_names(values: Mapping[str, object], file: Path) -> None:
    known = (*REQUIRED, *OPTIONAL)
    for name in values:
        if name not in known and not name.startswith("_"):
            raise ValueError(
                f"{file}: unknown name {name!r}; a study has {', '.join(known)} (begin the names of your "
                f"own variables with an underscore){nearest(name, known)}"
            )
    for name in REQUIRED:
        if name not in values:
            raise ValueError(f"{file}: {name!r} is missing; a study needs {', '.join(REQUIRED)}")


def _check_config(value: object, file: Path) -> Path:
    """The config's path.

    Raises:
        ValueError: not a string.
        FileNotFoundError: no such file beside the study.
    """
    if not isinstance(value, str):
        raise ValueError(f"{file}: config is {value!r}; expected the path of a config, relative to this file")
    path = Path(file.parent, value)
    if not path.is_file():
        raise FileNotFoundError(f"{file}: config {value!r} does not exist{nearest_file(path)}")
    return path.resolve()


def _check_methods(value: object, file: Path) -> dict[str, Any]:
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


def _check_overrides(value: object, file: Path, where: str) -> Overrides:
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


def _several(value: object, where: str, expected: str, right: Callable[[Any], bool], same: Same = lambda x: x) -> Any:
    """A list's or tuple's values as a tuple: at least one, all right, no two the same.

    Raises:
        ValueError: something else; the message says where and what was expected.
    """
    found = tuple(value) if isinstance(value, (list, tuple)) else ()
    if not found or not all(map(right, found)) or len(set(map(same, found))) < len(found):
        raise ValueError(f"{where} is {value!r}; expected {expected}")
    return found


def _seeds(value: object, where: str) -> tuple[int, ...]:
    expected = "different integers of 0..2**32-1, such as (0, 1, 2)"
    return _several(value, where, expected, lambda seed: type(seed) is int and 0 <= seed < SEEDS)


def _subsets(value: object, where: str) -> tuple[str, ...]:
    def right(subset: object) -> bool:
        return isinstance(subset, str) and all(subset.split("+"))

    expected = "different subsets, such as ('rgb+depth', 'rgb')"
    return _several(value, where, expected, right, lambda subset: frozenset(subset.split("+")))


def _scores(value: object, where: str) -> tuple[str, ...]:
    return _several(value, where, "different names, such as ('PSNR', 'SSIM')", lambda name: isinstance(name, str))


def _by_method(name: str, value: object, methods: Collection[str], file: Path) -> dict[str, object]:
    """A dict whose keys are methods.

    Raises:
        ValueError: something else.
    """
    value = value or {}
    if not isinstance(value, dict):
        raise ValueError(f"{file}: {name} is {value!r}; expected a dict of methods")
    for method in value:
        _check_method(method, methods, file, name)
    return value


def _check_method(method: object, methods: Collection[str], file: Path, where: str) -> None:
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
