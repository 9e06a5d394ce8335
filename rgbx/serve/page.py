"""The page: one file that asks nobody but the server that it comes from."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib.resources import files
from typing import NamedTuple


class Page(NamedTuple):
    """The HTML of a page, and the Content-Security-Policy that it needs."""

    html: bytes
    policy: str


def build_page(checkpoint: str) -> Page:
    """The page of a model; it looks as reports do.

    Args:
        checkpoint: what its title says.
    """
    here, report = files("rgbx.serve"), files("rgbx.report")
    style = "".join(
        folder.joinpath(name).read_text("utf-8")
        for folder, name in ((report, "style.css"), (report, "gallery.css"), (here, "page.css"))
    )
    script = here.joinpath("page.js").read_text("utf-8")
    html = here.joinpath("page.html").read_text("utf-8")
    for mark, text in (("{checkpoint}", escape(checkpoint)), ("{style}", style), ("{script}", script)):
        html = html.replace(mark, text)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html.encode(), policy)


def _hash(text: str) -> str:
    """How a policy names the one text that it allows inside of a page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
