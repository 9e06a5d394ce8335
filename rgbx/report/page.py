"""The page of a report: its sections in order, in one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from rgbx.evaluate.result_reading import Result
from rgbx.report import overview, sections

CONTENT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def render_page(result: Result, folder: str | Path) -> str:
    """The whole page as HTML.

    Args:
        result: a checked result.
        folder: where the pictures' relative paths start.

    Raises:
        ValueError: a picture that lies outside `folder` or is no PNG.
        FileNotFoundError: a picture that is not there.
    """
    parts = [
        ("classes", "Classes", sections.classes(result)),
        ("confusion", "Confusion", sections.confusion(result)),
        ("calibration", "Calibration", sections.calibration(result)),
        ("subsets", "Missing modalities", sections.subsets(result)),
        ("robustness", "Damaged modalities", sections.robustness(result)),
        ("frames", "Frames", sections.frames(result, Path(folder))),
        ("provenance", "Where the numbers come from", overview.provenance(result)),
    ]
    shown = [part for part in parts if part[2]]
    body = "".join(_section(*part) for part in shown)
    title = overview.title(result)
    return _DOCUMENT.format(
        title=escape(title),
        policy=CONTENT_POLICY,
        style=_beside("style.css"),
        script=_beside("sort.js"),
        head=overview.summary(result, title),
        links=_links(shown),
        body=body,
    )


def _section(key: str, heading: str, html: str) -> str:
    return f'<section id="{key}" aria-labelledby="{key}-h">\n<h2 id="{key}-h">{heading}</h2>\n{html}</section>\n'


def _links(parts: Iterable[tuple[str, str, Any]]) -> str:
    return "".join(f'<li><a href="#{key}">{heading}</a></li>' for key, heading, _ in parts)


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
{head}<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{body}</main>
<p class="unseen" role="status" id="told"></p>
<script>
{script}</script>
</body>
</html>
"""
