"""The base of the checks: each sees every sampled frame of a split once, then answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rgbx.doctor.finding import Certainty, Finding, Severity, examples
from rgbx.doctor.inspection import InspectedFrame, Split


class Check:
    """One question about a split.

    Args:
        split: what the frames belong to.
    """

    name = ""

    def __init__(self, split: Split) -> None:
        self.split = split
        self.maps = split.dataset.maps
        self.num_classes = split.dataset.num_classes
        self.classes = split.dataset.classes

    def see(self, frame: InspectedFrame) -> None:
        """Keeps what the answer needs, small, and never the frame's arrays."""

    def findings(self) -> Iterable[Finding]:
        """The answer, when all frames have been seen."""
        return ()

    def finding(self, severity: Severity, certainty: Certainty, message: str, fix: str = "", **details: Any) -> Finding:
        """A finding of this check; details are `evidence`, `files` and `frames`."""
        details["files"] = examples(details.get("files", ()))
        details["frames"] = frozenset(details.get("frames", ()))
        return Finding(self.name, severity, certainty, self.split.name, message, fix, **details)

    @property
    def metric_maps(self) -> list[str]:
        """The modalities in metres."""
        return [name for name, spec in self.maps.items() if spec.unit == "metre"]
