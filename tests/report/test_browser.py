"""The report in a real browser: headless Chromium runs a script added to a copy of the page and prints the result."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

from rgbx.report import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
    "--virtual-time-budget=4000",
]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install Debian's package chromium")

CHECK = """
<script>
addEventListener("load", () => {
  const found = {};
  found.images = [...document.images].map((image) => image.naturalWidth);
  const table = document.querySelector("table.classes");
  const headings = [...table.tHead.rows[0].cells];
  const column = (i) => [...table.tBodies[0].rows].map((row) => row.cells[i].textContent);
  found.headings = headings.map((th) => th.textContent);
  found.order = headings.map((th) => th.getAttribute("aria-sort"));
  found.focusable = headings.every((th) => (th.firstChild.focus(), document.activeElement === th.firstChild));
  found.first = column(1);
  headings[1].firstChild.click();
  found.turned = [headings[1].getAttribute("aria-sort"), column(1)];
  found.clicks = headings.map((th, i) => [0, 1].map(() => {
    th.firstChild.click();
    return [th.getAttribute("aria-sort"), column(i), document.querySelectorAll("table.classes [aria-sort]").length];
  }));
  found.told = document.getElementById("told").textContent;
  const matrix = document.querySelector("table.confusion");
  const point = (row, cell) => {
    matrix.rows[row].cells[cell].dispatchEvent(new Event("pointerover", { bubbles: true }));
    return document.querySelector(".pointed").textContent;
  };
  found.pointed = [point(1, 1), point(1, 2)];
  found.marked = [...matrix.querySelectorAll(".at")].map((cell) => cell.textContent);
  const [slider, over] = [document.querySelector(".mix input"), document.querySelector(".over")];
  slider.value = 25;
  slider.dispatchEvent(new Event("input"));
  found.mixed = getComputedStyle(over.firstChild).opacity;
  const rgb = over.closest("article").querySelector("img[data-rgb]").src;
  found.behind = getComputedStyle(over).backgroundImage.includes(rgb);
  const frame = document.createElement("pre");
  frame.id = "found";
  frame.textContent = JSON.stringify(found);
  document.body.append(frame);
});
</script>
"""
WIDTH = """
<script>
addEventListener("load", () => parent.postMessage([document.documentElement.scrollWidth, innerWidth], "*"));
</script>
"""


def run(page, tmp_path):
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, f"the page's script did not run: {done.stderr[-2000:]}"
    return json.loads(unescape(found[1]))


def number(text):
    return None if text == "–" else float(text.replace("−", "-"))


def test_images_load_columns_sort_and_cells_tell(write_result, tmp_path):
    page = tmp_path / "checked.html"
    path = write_result()
    page.write_text(write_report(path).read_text().replace("</body>", CHECK + "</body>"))
    found = run(page, tmp_path)
    confusion = json.loads(path.read_text())["heads"]["labels"]["subsets"]["rgb+depth"]["ensemble"]["confusion"]
    assert found["images"] == [8] * 21
    assert found["headings"][:3] == ["Class", "gap", "both"]
    assert found["order"] == [None, "descending", *[None] * 7]
    assert found["focusable"]
    for heading, pair in zip(found["headings"], found["clicks"], strict=True):
        textual = heading == "Class"
        expected = ["ascending", "descending"] if textual else ["descending", "ascending"]
        assert [order for order, _, _ in pair] == expected, heading
        for order, cells, sorted_columns in pair:
            assert sorted_columns == 1
            values = [cell if textual else number(cell) for cell in cells]
            measured = [value for value in values if value not in (None, "–")]
            key = (lambda text: text.lower().strip("<>&")) if textual else None
            assert measured == sorted(measured, key=key, reverse=order == "descending"), heading
            assert len(measured) == len(values) or values[-1] in (None, "–")  # what was not measured stays last
    assert found["turned"] == ["ascending", [*found["first"][-2::-1], "–"]]  # it was sorted already, so it turns
    assert found["told"] == "Sorted by share of pixels, ascending"
    right, wrong = (f"{pixels:,}".replace(",", "\u2009") for pixels in confusion[0][:2])
    shares = [f"{100 * pixels / sum(confusion[0]):.1f}" for pixels in confusion[0][:2]]
    assert found["pointed"][0] == f"wall: {shares[0]} % right ({right} pixels)"
    assert found["pointed"][1] == f"wall predicted as floor: {shares[1]} % of it ({wrong} pixels)"
    assert found["marked"] == ["floor", "wall"]
    assert (found["mixed"], found["behind"]) == ("0.25", True)


@pytest.mark.parametrize("kind", ["classes", "map", "joint"])
def test_a_phone_does_not_scroll_sideways(write_result, framed, tmp_path, kind):
    options = {"classes": [f"a class with a long name {k}" for k in range(40)]} if kind == "classes" else {}
    html = write_report(write_result(kind=kind, **options)).read_text()
    (tmp_path / "narrow.html").write_text(html.replace("</body>", WIDTH + "</body>"))
    scrolled, seen = run(framed(tmp_path / "phone.html", "narrow.html", 390), tmp_path)
    assert seen == 390
    assert scrolled <= 390
