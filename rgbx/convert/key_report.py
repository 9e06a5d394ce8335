"""What became of every tensor of a foreign checkpoint, by name."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rgbx._text import text_table


@dataclass(frozen=True)
class KeyReport:
    """Every tensor of the file is in exactly one of `used` and `unused`.

    Attributes:
        used: the file's key -> the keys of the rgbx model that it fills.
        unused: the file's keys without a place in the model.
        absent: counters of batches that the file lacks; the model has 0 there, and nothing reads them.
        kept: entries beside the weights that the converted checkpoint keeps under ``meta``.
        dropped: names of entries beside the weights that it does not keep.
    """

    used: Mapping[str, tuple[str, ...]]
    unused: tuple[str, ...]
    absent: tuple[str, ...]
    kept: Mapping[str, float]
    dropped: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Every key, for a file."""
        return {"renamed" if name == "used" else name: value for name, value in asdict(self).items()}

    def __str__(self) -> str:
        """The tensors used, grouped by the first part of their name, and all others one by one."""
        total = len(self.used) + len(self.unused)
        lines = [
            text_table(["in the file", "in rgbx", "tensors"], self._rows(), texts=2),
            f"{len(self.used)} of {total} tensors used, all under new names.",
            f"Unused tensors: {', '.join(self.unused) or 'none'}.",
        ]
        if self.absent:
            lines.append(f"Not in the file, 0 in the model: {', '.join(self.absent)}.")
        if self.kept:
            lines.append(f"Kept as notes: {', '.join(f'{name} {value:g}' for name, value in self.kept.items())}.")
        if self.dropped:
            lines.append(f"Left out, being no weights: {', '.join(self.dropped)}.")
        return "\n".join(lines)

    def _rows(self) -> list[list[str]]:
        groups: dict[str, list[str]] = {}
        counts: dict[str, int] = {}
        for key, targets in self.used.items():
            group = key.removeprefix("module.").split(".")[0]
            groups.setdefault(group, []).extend(targets)
            counts[group] = counts.get(group, 0) + 1
        return [[group, _common_path(targets), str(counts[group])] for group, targets in groups.items()]


def _common_path(keys: list[str]) -> str:
    """The module that holds all of these, which have a last part of their own."""
    columns = zip(*(key.split(".")[:-1] for key in keys), strict=False)
    return ".".join(parts[0] for parts in itertools.takewhile(lambda parts: len(set(parts)) == 1, columns))
