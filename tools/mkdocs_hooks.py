"""What `mkdocs build` does besides: pages are written for a repository's file view, the site takes them as they are.

Links out of docs/ lead to files of the repository. Those files become pages of the site, below `repository/`: texts as
they are, sources as code. Pages of the API exist in the navigation alone, and are made of docstrings.
"""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
AWAY, PICTURES = "repository", (".png", ".svg", ".jpg")
_FENCE = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(\]\(|\bsrc=\")([^)\s\"#:]+)(#[^)\s\"]*)?(?=[)\"])")
_NAMED = re.compile(r"^```(\w+) (?!title=)([^\n`]+)$", re.MULTILINE)
_SHAPE = re.compile(r"#\s*(.*\[.*\].*)$")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the API, and every file of the repository that a page leads to."""
    for name in (path for path in _paths(config.nav) if path.startswith("api/")):
        package = name.removeprefix("api/").removesuffix(".md")
        files.append(File.generated(config, name, content=f"# {package}\n\n::: {package}\n"))
    waiting = [f"docs/{file.src_uri}" for file in files.documentation_pages() if not file.src_uri.startswith("api/")]
    seen = set(waiting)
    for source in waiting:
        for target in (found for found in _links(source) if found not in seen):
            seen.add(target)
            if not target.startswith("docs/"):
                files.append(_mounted(target, config))
            if target.endswith(".md") or (ROOT / target).is_dir():
                waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links to where the files are on the site, and the name of a file behind a fence into its title."""
    boosts = [boost for start, boost in config.extra["boost"].items() if page.file.src_uri.startswith(start)]
    source = _source(page.file.src_uri)
    if page.file.src_uri in config.extra["wide"]:
        page.meta["hide"] = ["navigation", "toc"]
    page.meta["search"] = {"boost": boosts[0] if boosts else 1, "exclude": not source.endswith(".md")}

    def turned(match: re.Match[str]) -> str:
        target = normpath(join(dirname(source), match[2]))
        if not (ROOT / target).exists() or target.startswith(".."):
            return match[0]  # mkdocs says what is wrong
        return f"{match[1]}{relpath(_place(target), dirname(page.file.src_uri) or '.')}{match[3] or ''}"

    parts = _FENCE.split(_NAMED.sub(r'```\1 title="\2"', markdown))
    return "".join(part if part.startswith("```") else _LINK.sub(turned, part) for part in parts)


def _paths(nav: Any) -> list[str]:
    """All files of a navigation."""
    if isinstance(nav, str):
        return [nav]
    return [path for part in (nav.values() if isinstance(nav, dict) else nav) for path in _paths(part)]


def _links(source: str) -> list[str]:
    """Files and folders of the repository that a page leads to; those in a folder are led to by its list."""
    text = _FENCE.sub("", (ROOT / source).read_text()) if (ROOT / source).is_file() else _listed(ROOT / source)
    found = (normpath(join(dirname(source), match[2])) for match in _LINK.finditer(text))
    return [path for path in found if not path.startswith("..") and (ROOT / path).exists()]


def _place(path: str) -> str:
    """Where a file of the repository is among the sources of the site."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"{AWAY}/{path}" if path.endswith((".md", *PICTURES)) else f"{AWAY}/{path}.md"


def _source(place: str) -> str:
    """The inverse of `_place`, of pages."""
    path = place.removeprefix(f"{AWAY}/")
    if path == place:
        return f"docs/{place}"
    return path if (ROOT / path).is_file() else path.removesuffix(".md")


def _mounted(path: str, config: MkDocsConfig) -> File:
    """A file of the repository as one of the site: a text, a picture, a source in a page, or a folder as a list."""
    file, place, hidden = ROOT / path, _place(path), InclusionLevel.NOT_IN_NAV
    if file.suffix == ".md" or file.suffix in PICTURES:
        return File.generated(config, place, abs_src_path=str(file), inclusion=hidden)
    kind = {".py": "python", ".toml": "toml", ".cpp": "cpp", ".json": "json", ".sh": "bash"}.get(file.suffix, "text")
    text = f"````{kind}\n{file.read_text()}\n````" if file.is_file() else _listed(file)
    return File.generated(config, place, content=f"# {path}\n\n{text}\n", inclusion=hidden)


def _listed(folder: Path) -> str:
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(("_", ".")))
    return "\n".join(f"- [{path.name}]({folder.name}/{path.name})" for path in files)


class Shapes(griffe.Extension):
    """Ends what is said of a function by the shapes that stand behind its arguments and its answer."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Called by griffe for every function that it has read."""
        if func.docstring is None or func.lineno is None or func.docstring.lineno is None:
            return
        shapes = []
        for line in func.lines[: func.docstring.lineno - func.lineno]:
            if (name := re.match(r"\s*(\w+):|\s*\)\s*(->)", line)) and (shape := _SHAPE.search(line)):
                shapes.append(f"`{name[1] or 'returned'}: {shape[1]}`")
        if shapes:
            func.docstring.value += f"\n\n**Shapes:** {'; '.join(shapes)}."
