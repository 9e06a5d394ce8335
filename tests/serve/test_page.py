"""The page in a browser: files are dropped, samples clicked, keys pressed; what it shows is what the model predicts."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from playwright.sync_api import expect

from rgbx.serve.app import build_app

SAMPLES = Path(__file__).parents[2] / "data/samples"
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
REFUSED = "the server responded with a status of 4"  # what Chromium itself says of a refusal, which the page shows
ANSWERED = "#shown[aria-busy=false] #result:visible"
PIXEL = """([selector, x, y]) => {
  const canvas = document.querySelector(selector);
  return [...canvas.getContext("2d").getImageData(x, y, 1, 1).data];
}"""
DROP = """([selector, kind, files]) => {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  for (const [name, text] of files) transfer.items.add(new File([bytes(text)], name));
  const [type, key] = kind === "paste" ? [ClipboardEvent, "clipboardData"] : [DragEvent, "dataTransfer"];
  const target = selector ? document.querySelector(selector) : document.body;
  target.dispatchEvent(new type(kind, { bubbles: true, cancelable: true, [key]: transfer }));
}"""
CONTRASTS = """() => {
  const parse = (text) => {
    const found = text.match(/[\\d.]+(e-\\d+)?/g).map(Number);
    const scale = text.startsWith("color(") ? 1 : 255;
    return [...found.slice(0, 3).map((value) => value / scale), found[3] ?? 1];
  };
  const light = (colour) => {
    const linear = colour.slice(0, 3).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const behind = (element) => {
    let [colour, left] = [[0, 0, 0], 1];
    for (let each = element; each && left > 0; each = each.parentElement) {
      const [r, g, b, alpha] = parse(getComputedStyle(each).backgroundColor);
      colour = colour.map((value, k) => value + left * alpha * [r, g, b][k]);
      left *= 1 - alpha;
    }
    return colour;
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !element.checkVisibility() || element.closest(".unseen, script")) continue;
    const pair = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
    found.push([walk.currentNode.data.trim(), (pair[0] + 0.05) / (pair[1] + 0.05)]);
  }
  return found;
}"""


@pytest.fixture
def open_page(browser, address):
    """Opens the page; in the end nothing has gone wrong in it, and it has asked nobody else."""
    contexts, troubles, asked = [], [], set()

    def open_(viewport=DESKTOP, scheme="light", url=address):
        context = browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20000)
        page.on("console", lambda message: message.type == "error" and troubles.append(message.text))
        page.on("filechooser", lambda chooser: None)  # from here on none is the system's
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: asked.add(urlsplit(request.url)[:2]))
        page.goto(url)
        page.wait_for_selector(".map")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert [text for text in troubles if REFUSED not in text] == []
    assert {host.partition(":")[0] for scheme, host in asked if scheme != "data" and scheme != "blob"} == {"127.0.0.1"}


def files_of(name):
    return {kind: SAMPLES / kind / f"{name}.png" for kind in ("rgb", "depth")}


def sent(*paths):
    return [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in paths]


def readout(page):
    rows = "rows => rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim()))"
    return dict(page.locator("#readout tr").evaluate_all(rows))


def shares(page):
    rows = "rows => rows.map((row) => [row.cells[0].textContent.trim(), row.cells[2].textContent])"
    return dict(page.locator("#areas tr:has(button)").evaluate_all(rows))


def expected_shares(labels):
    found = {name: share for name, share in labels.areas.items() if share}
    return {name: f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %" for name, share in found.items()}


@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
def test_a_sample_is_clicked(open_page, rooms, viewport, scheme):
    """What is drawn, counted and read out is what the model predicts; every text can be read."""
    page = open_page(viewport, scheme)
    expected = rooms.predict(**files_of("test_002"))
    labels = expected["labels"]
    page.click("#samples li:nth-child(3) button")
    page.wait_for_selector(ANSWERED)
    assert shares(page) == expected_shares(labels)
    for view in ("Ensemble", "Confidence", "RGB branch", "Depth branch", "RGB", "Depth"):
        assert page.locator("button.view", has_text=re.compile(f"^{view}$", re.IGNORECASE)).count() == 1, view
    x, y = 30, 80
    page.locator("#stage").scroll_into_view_if_needed()
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + (x + 0.5) / 160 * box["width"], box["y"] + (y + 0.5) / 120 * box["height"])
    found = readout(page)
    assert found["Pixel"] == f"x {x}, y {y}"
    assert found["Ensemble"] == labels.classes[labels.ids[y, x]]
    assert found["RGB branch"] == labels.classes[labels.branches["rgb"].ids[y, x]]
    assert abs(float(found["Confidence"]) - labels.confidence[y, x]) <= 0.01
    assert found["RGB"].split() == [str(value) for value in expected.inputs["rgb"][:, y, x]]
    assert float(found["depth"].removesuffix(" m")) == pytest.approx(expected.inputs["depth"][0, y, x], rel=5e-3)
    page.locator("#opacity").fill("30")
    mixed = page.evaluate(PIXEL, ["#stage canvas", x, y])[:3]
    assert np.abs(np.array(mixed) - labels.overlay(0.3)[y, x]).max() <= 2
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 40 and [each for each in contrasts if each[1] < 4.5] == []


def test_everything_by_keyboard(open_page, rooms):
    page = open_page(scheme="dark")

    def tab_to(selector):
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                outline = "(e) => getComputedStyle(e.closest('.drop') ?? e).outlineStyle"
                assert page.evaluate(outline, page.locator(":focus").element_handle()) == "solid", selector
                return
        raise AssertionError(f"no {selector} is reached")

    for name, file in files_of("test_001").items():
        tab_to(f"[data-map={name}] input[type=file]")
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        with page.expect_response("**/predict"):
            chooser.value.set_files(file)
        page.wait_for_selector(ANSWERED)
    labels = rooms.predict(**files_of("test_001"))["labels"]
    tab_to("#stage")
    for key in ("ArrowRight", "Shift+ArrowDown", "ArrowUp", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    assert readout(page)["Pixel"] == "x 71, y 69"
    assert readout(page)["Ensemble"] == labels.classes[labels.ids[69, 71]]
    expect(page.locator("#pixel")).to_contain_text(f"x 71, y 69. Ensemble: {labels.classes[labels.ids[69, 71]]}")
    tab_to("#opacity")
    page.keyboard.press("End")
    assert page.evaluate(PIXEL, ["#stage canvas", 71, 69])[:3] == labels.palette[labels.ids[69, 71]]
    tab_to("button.view:nth-child(2)")
    page.keyboard.press("Enter")
    assert page.inner_text("#caption").strip() == "Confidence"
    tab_to("#areas button")
    page.keyboard.press("Space")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    largest = max(labels.areas, key=labels.areas.get)
    assert page.locator(":focus").text_content().strip() == largest
    page.locator("button.view").first.press("Enter")
    shown = [[x, y] for y in range(4, 120, 16) for x in range(4, 160, 16)]
    drawn = [page.evaluate(PIXEL, ["#stage canvas", *place])[:3] for place in shown]
    photo = labels.background()
    for (x, y), colour in zip(shown, drawn, strict=True):
        is_largest = labels.classes[labels.ids[y, x]] == largest
        assert colour == (labels.palette[labels.ids[y, x]] if is_largest else photo[y, x].tolist())


def test_files_are_dropped_and_pasted_and_taken_away(open_page, rooms):
    """Several find their maps by their names; one goes where it is dropped. With one map the model predicts without."""
    page = open_page()
    files = files_of("test_003")
    (_, depth), (_, rgb) = sent(files["depth"], files["rgb"])
    page.evaluate(DROP, ["", "drop", [["my_depth.png", depth], ["photo.png", rgb]]])
    page.wait_for_selector(ANSWERED)
    assert [page.inner_text(f"[data-map={name}] .file") for name in ("rgb", "depth")] == ["photo.png", "my_depth.png"]
    both = shares(page)
    assert both == expected_shares(rooms.predict(**files)["labels"])
    with page.expect_response("**/predict"):
        page.click("[data-map=rgb] .remove")
    expect(page.locator("#took")).to_contain_text("without RGB")
    alone = shares(page)
    assert alone == expected_shares(rooms.predict(depth=files["depth"])["labels"]) != both
    page.evaluate(DROP, ["[data-map=rgb] .drop", "paste", sent(files["rgb"])])
    expect(page.locator("#took")).not_to_contain_text("without")
    assert shares(page) == both
    page.click("[data-map=rgb] .remove")
    page.click("[data-map=depth] .remove")
    expect(page.locator("#invitation")).to_be_visible()
    page.evaluate(DROP, ["", "drop", [["7.png", depth], ["7.JPG", rgb]]])
    expect(page.locator("#took")).not_to_contain_text("without")
    assert [page.inner_text(f"[data-map={name}] .file") for name in ("rgb", "depth")] == ["7.JPG", "7.png"]


def test_the_sample_that_was_clicked_last_is_shown(open_page):
    """Also where the files of the one before come later."""
    page, held = open_page(), []
    page.route("**/samples/0/rgb", lambda route: held.append(route))
    page.click("#samples li:nth-child(1) button")
    page.click("#samples li:nth-child(2) button")
    page.wait_for_selector(ANSWERED)
    with page.expect_response("**/samples/0/rgb") as late:
        held[0].continue_()
    late.value.finished()
    page.evaluate("fetch('healthz').then((answer) => answer.blob())")  # after which the late files are read, too
    expect(page.locator("[data-map=rgb] .file")).to_have_text("test_001.png")
    expect(page.locator("#samples [aria-pressed=true] img")).to_have_attribute("alt", "test_001")


def test_what_is_wrong_stands_beside_its_map_and_can_be_said_there(open_page, rooms, tmp_path):
    page, files = open_page(PHONE), files_of("test_004")
    depth = (cv2.imread(str(files["depth"]), cv2.IMREAD_UNCHANGED) / 40).round().astype(np.uint8)
    cv2.imwrite(str(tmp_path / "depth8.png"), depth)
    page.set_input_files("[data-map=depth] input[type=file]", tmp_path / "depth8.png")
    wrong = page.locator("[data-map=depth] .wrong")
    expect(wrong).to_contain_text("depth depth8.png: expected one channel of 16 bits, found 1 channel of 8 bits")
    expect(page.locator("#result")).to_be_hidden()
    page.get_by_label("Steps per metre").fill("25")
    page.get_by_label("Bits").first.select_option("8")
    page.wait_for_selector(ANSWERED)
    expect(wrong).to_be_hidden()
    told = rooms.predict(depth=tmp_path / "depth8.png", depth_scale=25, depth_bits=8)
    assert shares(page) == expected_shares(told["labels"])
    page.evaluate(DROP, ["[data-map=rgb] .drop", "drop", [["a.png", base64.b64encode(b"no image").decode()]]])
    expect(page.locator("[data-map=rgb] .wrong")).to_contain_text("a.png: the file is damaged or no image")


def test_every_head_is_shown(open_page, serve, model, frame):
    page = open_page(url=serve(build_app(model, "three heads")))
    for name, file in frame.items():
        page.set_input_files(f"[data-map={name}] input[type=file]", file)
    titles = ["Predicted labels", "Predicted normal", "Predicted dense", "Given"]
    expect(page.locator(".views-title")).to_have_text(titles)
    page.wait_for_selector(ANSWERED)
    expect(page.locator("button.view")).to_have_count(4 + 3 + 3 + 2)
    page.locator("button.view").nth(7).click()
    dense = model.predict(**frame)["dense"]
    found = readout(page)
    assert float(found["dense"].removesuffix(" m").replace("−", "-")) == pytest.approx(dense.values[20, 28], rel=5e-3)
    low, high, unit = page.inner_text("#bar").replace("−", "-").split()
    assert [float(low), float(high)] == pytest.approx(dense.bar.limits, rel=5e-3) and unit == "m"
    page.focus("#stage")
    for _ in range(4):
        page.keyboard.press("Shift+ArrowUp")
        page.keyboard.press("Shift+ArrowLeft")
    assert readout(page)["depth"] == "not measured"
