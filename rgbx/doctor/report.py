"""The findings as a text for a terminal."""

from __future__ import annotations

import textwrap

from rgbx.doctor.diagnosis import Diagnosis
from rgbx.doctor.finding import SEVERITIES, Finding

_COLOURS = {"error": "\033[1;31m", "warning": "\033[1;33m", "info": "\033[36m"}
_INDENT = 35


def text_report(diagnosis: Diagnosis, *, width: int = 100, colour: bool = False) -> str:
    """What was read, a table of the findings with errors first and the facts split by split, and a line that sums up.

    Args:
        width: columns of the terminal.
        colour: with ANSI colours.
    """
    width = max(width, 72)
    lines = []
    for split in diagnosis.splits:
        maps = ", ".join(f"{name} ({spec.unit})" for name, spec in split.dataset.maps.items())
        head = f"{split.name}: {type(split.dataset).__name__}, {len(split)} frames, {split.sampled} read; {maps}; "
        lines += textwrap.wrap(f"{head}{split.dataset.num_classes} classes", width, subsequent_indent="  ")
    lines += ["", f"{'severity':<9}{'certainty':<11}{'check':<15}found"]
    problems = [finding for finding in diagnosis.findings if finding.severity != "info"]
    several = len({finding.split for finding in diagnosis.findings}) > 1
    if problems:
        lines.append(_rule("", width))
    for finding in problems:
        lines += _rows(finding, width, colour, several)
    facts = [finding for finding in diagnosis.findings if finding.severity == "info"]
    for name in dict.fromkeys(finding.split for finding in facts):
        lines.append(_rule(name if several else "", width))
        for finding in facts:
            lines += _rows(finding, width, colour, False) if finding.split == name else []
    return "\n".join([*lines, "", summary(diagnosis)])


def _rule(name: str, width: int) -> str:
    return f"-- {name} ".ljust(width, "-") if name else "-" * width


def summary(diagnosis: Diagnosis) -> str:
    """ "1 error, no warnings, 7 facts."""
    counts = {kind: sum(f.severity == kind for f in diagnosis.findings) for kind in SEVERITIES}
    names = {"error": ("error", "errors"), "warning": ("warning", "warnings"), "info": ("fact", "facts")}
    return ", ".join(f"{count or 'no'} {names[kind][count != 1]}" for kind, count in counts.items()) + "."


def _rows(finding: Finding, width: int, colour: bool, several: bool) -> list[str]:
    start, end = (_COLOURS[finding.severity], "\033[0m") if colour else ("", "")
    head = f"{start}{finding.severity:<9}{end}{finding.certainty:<11}{finding.check:<15}"
    text = f"{finding.split}: {finding.message}" if several else finding.message
    body = textwrap.wrap(text, width - _INDENT, break_long_words=False, break_on_hyphens=False)
    if finding.severity != "info":
        for name in finding.files:
            body += textwrap.wrap(name, width - _INDENT, subsequent_indent="  ", break_on_hyphens=False)
        body += textwrap.wrap(f"-> {finding.fix}", width - _INDENT, subsequent_indent="   ") if finding.fix else []
    return [head + body[0], *(" " * _INDENT + line for line in body[1:])]
