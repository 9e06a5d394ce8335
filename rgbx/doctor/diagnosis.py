"""The whole examination: samples frames, runs all checks, survives whatever the frames hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rgbx.doctor.check import Check
from rgbx.doctor.colour import ColourOrder
from rgbx.doctor.delay import Delays
from rgbx.doctor.depth import DepthBits, DepthHoles, DepthUnits
from rgbx.doctor.duplicates import Thumbnail, all_thumbnails, find_duplicates, thumbnail_of
from rgbx.doctor.files import Blank, Columns, Files, Orientation, Sizes, refused_frames
from rgbx.doctor.finding import SEVERITIES, Finding
from rgbx.doctor.inspection import InspectedFrame, Split, one_line, open_split
from rgbx.doctor.label import LabelFormat, LabelIds, LabelOffset, untrained_classes
from rgbx.doctor.lineage import HHALineage
from rgbx.doctor.pairing import Pairing
from rgbx.doctor.registration import Registration

FILE_CHECKS: tuple[type[Check], ...] = (Files, Columns)
CONTENT_CHECKS: tuple[type[Check], ...] = (
    Sizes,
    Orientation,
    Blank,
    DepthBits,
    DepthUnits,
    DepthHoles,
    LabelFormat,
    LabelIds,
    LabelOffset,
    ColourOrder,
    Registration,
    Pairing,
    HHALineage,
    Delays,
)


@dataclass
class Diagnosis:
    """What was examined and what was found.

    Attributes:
        splits: those that could be opened.
        findings: errors first.
    """

    splits: list[Split] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 clean or info only, 1 warnings, 2 errors."""
        severities = {finding.severity for finding in self.findings}
        return 2 if "error" in severities else int("warning" in severities)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "exit_code": self.exit_code,
            "splits": [
                {
                    "name": split.name,
                    "dataset": type(split.dataset).__name__,
                    "frames": len(split),
                    "sampled": split.sampled,
                    "modalities": list(split.dataset.modalities),
                    "classes": split.dataset.num_classes,
                }
                for split in self.splits
            ],
            "findings": [finding.as_dict() for finding in self.findings],
        }


def diagnose(
    builders: Mapping[str, Callable[[], object]], *, samples: int = 64, seed: int = 0, optional: bool = False
) -> Diagnosis:
    """Examines the splits of a dataset; an exception of a frame, a constructor or a check becomes a finding.

    Args:
        builders: split name -> function that builds its dataset.
        samples: frames per split that are read; 0 reads all. Whether files are there and whole, and whether two are
            the same, is asked of all frames where the dataset lists its files.
        seed: which frames are drawn.
        optional: a split that is not there is only a fact, as long as another is.
    """
    diagnosis = Diagnosis()
    for name, build in builders.items():
        opened = open_split(name, build)
        if isinstance(opened, Finding):
            diagnosis.findings.append(opened)
        else:
            diagnosis.splits.append(opened)
    if optional and diagnosis.splits:
        diagnosis.findings = [_absence(finding) for finding in diagnosis.findings]
    diagnosis.findings = _merged(diagnosis.findings)
    thumbnails: list[Thumbnail] = []
    for split in diagnosis.splits:
        diagnosis.findings += examine(split, split.pick(samples, seed), thumbnails)
    diagnosis.findings += untrained_classes(diagnosis.splits, diagnosis.findings)
    diagnosis.findings += _guarded("duplicates", "all", lambda: _duplicates(diagnosis.splits, thumbnails))
    diagnosis.findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return diagnosis


def examine(split: Split, indices: list[int], thumbnails: list[Thumbnail]) -> Iterator[Finding]:
    """All checks that concern one split; adds the thumbnails of its frames."""
    failures: list[Finding] = []
    checks = [check for kind in (*FILE_CHECKS, *CONTENT_CHECKS) for check in _make(kind, split, failures)]
    refusals: dict[str, str] = {}
    for frame in split.inspect_all(indices):
        if frame.refusal:
            refusals[frame.sample_id] = frame.refusal
        for check in list(checks):
            if frame.swapped and not isinstance(check, FILE_CHECKS):
                continue
            if failed := _guarded(check.name, split.name, lambda c=check, f=frame: c.see(f), frame):  # type: ignore[misc]
                failures += failed
                checks.remove(check)
        if not frame.swapped and (small := thumbnail_of(split, frame)) is not None:
            thumbnails.append(small)
    found = [finding for check in checks for finding in _guarded(check.name, split.name, check.findings)]
    explained = {sample_id for finding in found if finding.severity != "info" for sample_id in finding.frames}
    yield from (*failures, *found, *refused_frames(split, refusals, explained))


def _absence(finding: Finding) -> Finding:
    """A split that cannot be opened as a fact, if the message says that it does not exist."""
    absent = finding.evidence.get("error") == "FileNotFoundError" or "split" in finding.message.lower()
    return replace(finding, severity="info", fix="") if absent else finding


def _merged(findings: Sequence[Finding]) -> list[Finding]:
    """Findings that say the same of several splits as one, under all their names."""
    same: dict[tuple[str, str], list[Finding]] = {}
    words = [finding.message for finding in findings]
    for finding in findings:
        name = rf"(?<![A-Za-z0-9_]){re.escape(finding.split)}(?![A-Za-z0-9_])"
        text = finding.message if words.count(finding.message) > 1 else re.sub(name, "SPLIT", finding.message)
        same.setdefault((finding.severity, text), []).append(finding)
    return [replace(group[0], split=", ".join(finding.split for finding in group)) for group in same.values()]


def _duplicates(splits: Sequence[Split], sampled: Sequence[Thumbnail]) -> Iterator[Finding]:
    total = sum(map(len, splits))
    every = None if len(sampled) == total else all_thumbnails(splits)
    return find_duplicates(splits, sampled if every is None else every, total)


def _make(kind: type[Check], split: Split, failures: list[Finding]) -> list[Check]:
    made: list[Check] = []
    failures += _guarded(kind.name, split.name, lambda: made.append(kind(split)))
    return made


def _guarded(
    name: str, split: str, call: Callable[[], Iterable[Finding] | None], frame: InspectedFrame | None = None
) -> list[Finding]:
    """The findings of a call; its exception as a finding."""
    try:
        return list(call() or ())
    except Exception as error:
        at = f" at {frame.sample_id}" if frame is not None else ""
        text = f"the check {name!r} stopped{at}: {one_line(error)}"
        fix = "What this check is for was not examined; look at the frame, or report this as a fault of the doctor."
        return [Finding(name, "warning", "certain", split, text, fix)]
