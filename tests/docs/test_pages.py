"""No page of the documentation holds what was to be written later."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])
LATER = re.compile(r"^[ \t|]*[A-Z][A-Z_]{3,}[ \t|]*$|\b(TODO|FIXME|TBD|XXX|BARS)\b", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def placeholders(text):
    """Lines of one word in capitals, and words that say that something follows, outside of code."""
    return [match.group() for match in LATER.finditer(FENCED.sub("", text))]


@pytest.mark.parametrize(
    "text", ["What it brings\n\nBARS\n\n", "| BARS |\n", "TABLE\n", "the rest is TODO.", "one TBD"]
)
def test_a_placeholder_is_seen(text):
    assert placeholders(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_holds_a_placeholder(page):
    assert not placeholders(page.read_text())
