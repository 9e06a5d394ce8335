"""The gallery of predictions: what it shows of each frame, in which order, and in a real browser without a network."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from html import unescape
from urllib.parse import unquote

import cv2
import numpy as np
import pytest
from small_models import DENSE, LABELS, small

from rgbx.report import add_to_gallery, write_gallery

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
IDS = ["b/2", "a <1>", "c"]
CHECK = """
<script>
addEventListener("load", async () => {
  const images = [...document.images];
  images.forEach((image) => (image.loading = "eager"));
  const loaded = (image) => image.complete || new Promise((done) => (image.onload = image.onerror = done));
  await Promise.all(images.map(loaded));  // virtual time waits for files, not for decoding
  const order = document.getElementById("order");
  const shown = () => [...document.querySelectorAll("#thumbnails span")].map((span) => span.textContent);
  const orders = {};
  for (const option of order.options) {
    order.value = option.value;
    order.dispatchEvent(new Event("change"));
    orders[option.textContent] = shown();
  }
  const scrolled = [...document.querySelectorAll(".scroll")].map((box) => box.scrollWidth - box.clientWidth);
  parent.postMessage({ widths: images.map((image) => image.naturalWidth), orders, scrolled }, "*");
});
</script>
"""


@pytest.fixture(scope="module")
def results():
    """Of three frames of two sizes; the classes of each are given by hand."""
    model = small(None, heads={"labels": LABELS, "dense": DENSE}).eval()
    model.describe({"classes": ("wall", "floor & co", "box", "ball", "lamp"), "maps": {}, "stored": {}})
    rng = np.random.default_rng(0)
    found = []
    for number, name in enumerate(IDS):
        size = (24, 32) if number else (18, 30)
        rgb = cv2.resize(rng.integers(0, 256, (3, 4, 3), np.uint8), size[::-1])
        depth = rng.uniform(0.5, 4, size).astype(np.float32)
        result = model.predict(rgb=rgb, depth=depth, sample_id=name)
        ids = result["labels"].ids
        ids[:] = 3
        ids[: 2 * number] = 1
        found.append(result)
    return found


@pytest.fixture
def gallery(results, tmp_path):
    for result in results:
        result.save(tmp_path)
        add_to_gallery(result, tmp_path)
    return write_gallery(tmp_path, title="mine <b>")


def test_every_frame_with_its_pictures_classes_and_files(gallery, results):
    page = gallery.read_text()
    assert gallery.name == "index.html" and "<h1>mine &lt;b&gt;</h1>" in page and "<b>mine" not in page
    links = [unquote(unescape(link)) for link in re.findall(r'(?:src|href)="([^"#][^"]*)"', page)]
    assert all((gallery.parent / link).is_file() for link in links)
    frames = dict(zip(IDS, re.findall(r"<article.*?</article>", page, re.S), strict=True))
    for result in results:
        frame = unescape(frames[result.sample_id])
        titles = ["RGB", "depth", "predicted labels", "confidence of labels", "predicted dense"]
        assert re.findall(r"<figcaption>([\w ]+?)\s*<", frame) == titles
        names = re.findall(r"</i>([^<]+) <b>([\d.]+) %", frame)
        shares = {name: share for name, share in result["labels"].areas.items() if share}
        assert [name for name, _ in names] == list(shares)  # in the order of the classes
        assert [float(share) for _, share in names] == [round(100 * share, 1) for share in shares.values()]
        assert f"mean confidence <b>{result['labels'].confidence.mean():.2f}</b>" in frame
        median = float(np.median(result["dense"].values))
        assert f"median <b>{median:.3g} m</b>" in frame
    assert unescape(page).count("labels/a <1>.png") >= 1 or "labels/a%20%3C1%3E.png" in page


def test_files_that_were_read_are_named_without_where_they_lie(results, tmp_path):
    result = copy.copy(results[0])
    result.paths = {"rgb": "/tmp/of me/a <1>.jpg", "depth": ""}
    add_to_gallery(result, tmp_path)
    page = write_gallery(tmp_path).read_text()
    assert "<p class=note>Read: a &lt;1&gt;.jpg</p>" in page and "of me" not in page


def test_classes_of_all_frames_in_one_order(gallery):
    """Pixels count alike, whatever the sizes of the frames."""
    rows = re.findall(r"<th scope=row[^>]*>.*?</i>(.*?)</th>.*?>([\d.]+)</td>.*?>(\d+)</td>", gallery.read_text())
    pixels, of_floor = 18 * 30 + 2 * 24 * 32, 2 * 32 + 4 * 32
    assert [unescape(row[0]) for row in rows] == ["floor & co", "ball"] and [row[2] for row in rows] == ["2", "3"]
    assert float(rows[0][1]) == round(100 * of_floor / pixels, 2)


def test_pictures_are_those_of_the_results(gallery, results):
    records = [json.loads(line) for line in (gallery.parent / "predictions.jsonl").read_text().splitlines()]
    for record, result in zip(records, results, strict=True):
        for told, panel in zip(record["panels"], result.panels(), strict=True):
            kept = cv2.imread(str(gallery.parent / told["file"]))[..., ::-1].astype(float)
            assert kept.shape == panel.picture.shape
            assert np.abs(kept - panel.picture).mean() < 25  # JPEG of noise
        assert record["shown"] == 2


def test_a_frame_that_is_added_again_is_replaced(gallery, results):
    add_to_gallery(results[1], gallery.parent)
    assert len(re.findall("<article", write_gallery(gallery.parent).read_text())) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no predictions"),
        ("3\n", ":1: expected the JSON"),
        ("\n{}\n", ":2: the frame lacks"),
        ("{", ":1: expected"),
    ],
)
def test_damaged_notes_are_named(tmp_path, text, message):
    (tmp_path / "predictions.jsonl").write_text(text)
    with pytest.raises(ValueError, match=message):
        write_gallery(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"predictions\.jsonl"):
        write_gallery(tmp_path / "none")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install Debian's package chromium")
def test_in_a_browser(gallery, framed):
    """All pictures load from beside the page, thumbnails come in the order that is chosen, and tables fit a phone."""
    checked = framed(gallery.with_name("narrow.html"), "checked.html", 420)
    gallery.with_name("checked.html").write_text(gallery.read_text().replace("</body>", f"{CHECK}</body>"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--virtual-time-budget=4000"]
    done = subprocess.run(
        [CHROMIUM, *flags, "--dump-dom", checked.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    found = json.loads(unescape(re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)[1]))
    assert len(found["widths"]) == 3 * 6 and set(found["widths"]) == {30, 32}
    assert found["scrolled"] == [0]
    assert found["orders"]["as they came"] == IDS
    assert found["orders"]["most floor & co first"] == ["c", "a <1>", "b/2"]
    assert found["orders"]["most ball first"] == ["b/2", "a <1>", "c"]
