"""What the doctor found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]
Certainty = Literal["certain", "likely", "possible", "undecided"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
_EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One statement about a dataset.

    Attributes:
        check: the name of the check.
        severity: "error" spoils or stops a training, "warning" should be looked at, "info" is a fact.
        certainty: "certain" follows from the files, "likely" from statistics that seldom mislead, "possible" from
            statistics that sometimes do; "undecided" says that the sample did not settle the question.
        split: the split, or "train, test" where it is about several.
        message: one sentence with the figures.
        fix: the likely remedy; "" where nothing needs one.
        evidence: the figures by name, plain values only; of NaN and infinity JSON has null.
        files: some of the files or list lines concerned.
        frames: the sample ids concerned, all of them.
    """

    check: str
    severity: Severity
    certainty: Certainty
    split: str
    message: str
    fix: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    frames: frozenset[str] = field(default=frozenset(), repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, frames sorted."""
        return {
            **vars(self),
            "evidence": _plain(self.evidence),
            "files": list(self.files),
            "frames": sorted(self.frames),
        }


def _plain(value: object) -> Any:
    """Mappings and sequences with numpy's numbers turned into Python's, and None for NaN and infinity."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not math.isfinite(number) else number


def examples(names: Iterable[object], count: int = _EXAMPLES) -> tuple[str, ...]:
    """The first few names, and how many more there are."""
    listed = list(dict.fromkeys(str(name) for name in names))
    more = (f"and {len(listed) - count} more",) if len(listed) > count else ()
    return (*listed[:count], *more)


def counted(part: Sized | int, whole: int, what: str = "sampled frames") -> str:
    """ "3 of 64 sampled frames"."""
    return f"{part if isinstance(part, int) else len(part)} of {whole} {what}"
