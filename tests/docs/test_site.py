"""The site: built without a warning, whole, by itself, found by its search, and readable on a phone."""

from __future__ import annotations

import fcntl
import logging
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from inspect import isclass, isfunction
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

ROOT = Path(__file__).parents[2]
FOUND_FIRST = {
    "missing depth": "missing_sensor",
    "missing sensor": "missing_sensor",
    "hallucination": "missing_sensor",
    "thermal": "datasets",
    "mm": "datasets",
    "depth in mm": "datasets",
    "16-bit png": "datasets",
    "own dataset": "datasets",
    "resume": "training",
    "c++": "deploy",
    "ros 2": "deploy",
    "no gpu": "index",
    "docker": "docker",
    "timestamps": "clips",
    "wandb": "training",
    "mlflow": "training",
    "hugging face": "sharing",
    "browser": "serve",
    "curl": "serve",
    "onnx": "deploy",
    "int8": "deploy",
    "pretrained": "weights",
    "video": "predict",
    "pixel_shift": "api/rgbx.ops",
}


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The site in a folder, built once for all processes of a run; the file `warnings` has what was told."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if base.name.startswith("pytest-") else base.parent) / "site"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "warnings").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            told = _Told()
            logging.getLogger("mkdocs").addHandler(told)
            config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=False)
            config.plugins.on_startup(command="build", dirty=False)
            build(config)
            config.plugins.on_shutdown()
            logging.getLogger("mkdocs").removeHandler(told)
            (folder / "warnings").write_text("\n".join(told.warnings))
    return folder


class _Told(logging.Handler):
    """Keeps warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.warnings.append(record.getMessage())


class _Page(HTMLParser):
    """What a page refers to: places to go, files that are loaded, and names of places within."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.names: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.names |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag in ("a", "area") and given.get("href"):
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(given["href"])
        elif given.get("src"):
            self.loaded.append(given["src"])


@pytest.fixture(scope="session")
def pages(site) -> dict[str, _Page]:
    """{place: what it refers to} of every page."""
    return {str(path.relative_to(site)): _Page(path) for path in sorted(site.rglob("*.html"))}


def test_it_builds_without_a_warning(site):
    assert (site / "warnings").read_text() == ""


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    named = re.findall(r"^ +- .*: (\S+\.md)$", text, re.MULTILINE)
    assert sorted(name for name in named if not name.startswith("api/")) == sorted(
        str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")
    )
    assert len(set(named)) == len(named)
    assert all((ROOT / name[4:-3].replace(".", "/")).exists() or (ROOT / f"{name[4:-3].replace('.', '/')}.py").is_file()
               for name in named if name.startswith("api/"))  # fmt: skip


def test_links_and_pictures_are_there_and_nothing_is_loaded_from_elsewhere(site, pages):
    broken, elsewhere = [], []
    for place, page in pages.items():
        if place == "404.html":  # its links begin at the root of a server
            continue
        for link in (*page.links, *page.loaded):
            target, name = urldefrag(urljoin(place, link))
            if urlsplit(target).scheme:
                elsewhere += [(place, link)] if link in page.loaded else []
            elif not (site / unquote(target)).is_file() or (
                name and target in pages and unquote(name) not in pages[target].names
            ):
                broken.append((place, link))
    assert broken == [] and elsewhere == []
    for style in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", style.read_text()), style


def test_the_api_has_every_public_class_and_function(pages):
    places = [place for place in pages if place.startswith("api/")]
    told = {name.rpartition(".")[2] for place in places for name in pages[place].names}
    for place in places:
        package = import_module(place.removeprefix("api/").removesuffix(".html"))
        public = {name: getattr(package, name) for name in getattr(package, "__all__", ())}
        assert {name for name, x in public.items() if isfunction(x) or isclass(x)} <= told, place


def test_the_api_tells_signatures_and_shapes(site):
    page = re.sub(r"<[^>]+>", "", (site / "api/rgbx.ops.html").read_text())
    assert "num_modalities:" in page and "direction:" in page
    assert "Raises:" in page and "on a shape that is not [M*N, C, H, W]" in page
    assert "Shapes: b: [M*N, C, H, W]; a: [M*N, C, H, W]; returned: [M*N, C, H, W]." in page


@pytest.fixture
def address(site) -> Iterator[str]:
    """Of a server on loopback."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(site))
    handler.func.log_message = lambda *_: None  # type: ignore[attr-defined]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_search_finds_the_right_page_first(address, browser):
    """Typed into the box as a reader does; while typing, results of what stands there so far come and go."""
    page, asked = browser.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/index.html")
    box, empty = page.locator("input.md-search__input"), "Type to start searching"
    box.click()
    found = {}
    for query in FOUND_FIRST:
        box.fill("")
        page.wait_for_function(f"document.querySelector('.md-search-result__meta').textContent.includes('{empty}')")
        box.press_sequentially(query)
        page.wait_for_function(
            """word => [...document.querySelectorAll('.md-search-result__item:first-child a')].some(
                a => (new URL(a.href).searchParams.get('h') || '').split(' ').includes(word))""",
            arg=re.split(r"[ _-]", query)[-1],
        )
        first = page.locator(".md-search-result__item > a").first.get_attribute("href")
        found[query] = urlsplit(first).path.strip("/").removesuffix(".html")
    assert found == FOUND_FIRST
    page.locator(".md-search-result__item > a").first.click()
    page.wait_for_url("**/api/rgbx.ops.html*")
    assert {urlsplit(url).netloc for url in asked} == {urlsplit(address).netloc}
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_pages_without_scrolling_sideways(address, browser, scheme):
    """In the scheme that the reader's system has, text stands out from what is behind it."""
    page = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    for name in ("index", "concepts", "datasets", "missing_sensor", "training", "docker", "api/rgbx.models"):
        page.goto(f"{address}/{name}.html")
        wide, heading, behind = page.evaluate(
            """() => [document.documentElement.scrollWidth,
                getComputedStyle(document.querySelector('article')).color,
                getComputedStyle(document.body).backgroundColor]"""
        )
        assert wide <= 360, name
        light, dark = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (heading, behind))
        assert abs(light - dark) > 300 and (dark < light) == (scheme == "dark"), (name, heading, behind)
        assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0 && i.clientWidth <= 360)"), name
    page.close()
