import csv
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rgbx.evaluate.comparison import headline_interval
from rgbx.models import PROTOCOLS
from rgbx.report import write_report
from rgbx.report.charts import histogram_svg, reliability_svg
from rgbx.report.markup import difference, number, percent
from rgbx.report.sections import ordinal, protocol_sentence
from rgbx.tasks.score import Score


class Page(HTMLParser):
    """Tags with their attributes, the text of table rows, and whether tags are closed in order."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.rows, self.open, self.told = [], [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("tr", "th") or (tag == "td" and self.open[-1] == "td"):
            self.open = self.open[:-1] if self.open[-1] == "td" else self.open
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("meta", "img", "input", "wbr", "path", "circle", "rect", "polygon", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open[-1] == "td" and tag != "td":
            self.open.pop()
        if tag not in ("path", "circle", "rect", "polygon", "polyline"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data
        if self.open and self.open[-1] not in ("style", "script"):
            self.told += data


def render(path):
    return Page(write_report(path).read_text())


def read(path, head="labels"):
    return json.loads(path.read_text())["heads"][head]


def csv_rows(path):
    return list(csv.DictReader(path.open(newline="", encoding="utf-8")))


def test_a_page_needs_nothing_else(write_result):
    page = render(write_result())
    assert page.open == []
    pointers = [(tag, a[key]) for tag, a in page.tags for key in ("src", "href", "srcset", "data") if key in a]
    pictures = [value for tag, value in pointers if tag == "img"]
    assert len(pictures) == 21
    assert all(value.startswith("data:image/png;base64,") for value in pictures)
    assert all(tag == "img" or value.startswith("#") for tag, value in pointers)
    ids = {a["id"] for _, a in page.tags if "id" in a}
    assert {value[1:] for tag, value in pointers if tag == "a"} <= ids
    assert not [tag for tag, _ in page.tags if tag in ("link", "iframe", "base")]
    style = write_report(write_result()).read_text().split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_the_page_says_what_was_measured(write_result):
    path = write_result()
    page, result = render(path), read(path)
    for text in ("every fourth of the split", "rgbx", "best_mIoU_epoch_8.pth", "tiny_r18", "ab" * 32, "f1" * 32):
        assert text in page.told
    for entry in result["pictures"]:
        assert entry["sample_id"] in page.told
    assert [alt for tag, a in page.tags if tag == "img" and (alt := a["alt"]) and not alt.strip()] == []
    scores = result["subsets"]["rgb+depth"]["ensemble"]
    row = next(row for row in page.rows if row[0] == "both")
    assert [row[1], *row[3:5]] == [f"{100 * scores[key]:.1f}" for key in ("mIoU", "mAcc", "aAcc")]


def test_masks_are_captioned_and_explained(write_result):
    """Of networks with gates; they are no pictures of classes, which are drawn without smoothing."""

    def masked(head):
        for entry in head["pictures"]:
            entry["files"]["mask/depth"] = entry["files"]["input/depth"]

    explained = "Masks are yellow where the network believes a modality"
    page = render(write_result(labels(masked)))
    assert explained in page.told and explained not in render(write_result()).told
    shown = [a for tag, a in page.tags if tag == "img" and a["alt"].startswith("mask of depth of the ")]
    assert len(shown) == 3 and all(a["class"] == "smooth" for a in shown)


def test_a_branch_is_told_from_the_modality_alone(write_result):
    """Three numbers that belong to RGB stand under three names, in the first table and in that of the classes."""

    def change(result):
        subsets = result["heads"]["labels"]["subsets"]
        subsets["rgb+depth"]["rgb"]["mIoU"], subsets["rgb"]["ensemble"]["mIoU"] = 0.931, 0.513
        subsets["rgb+depth"]["rgb"]["IoU"][0], subsets["rgb"]["ensemble"]["IoU"][0] = 0.274, 0.113
        subsets["rgb"]["rgb"]["mIoU"] = subsets["rgb"]["rgb"]["IoU"][0] = 0.5  # of its own branch nothing is shown

    page = render(write_result(change))
    first = {row[0]: row[1] for row in page.rows[1:6]}
    assert list(first) == ["both", "RGB branch", "depth branch", "RGB alone", "depth alone"]
    assert (first["RGB branch"], first["RGB alone"]) == ("93.1", "51.3")
    header = next(row for row in page.rows if row[:3] == ["Class", "gap", "both"])
    wall = next(row for row in page.rows if row[0] == "wall")
    assert [wall[header.index(title)] for title in ("RGB branch", "RGB alone")] == ["27.4", "11.3"]
    for row in page.rows:
        assert not {"rgb", "ensemble"} & set(row), row
    for text in ("RGB branch: the answer of one branch, the model still given both.", "given RGB and nothing else"):
        assert text in page.told


def test_the_page_opens_with_an_interval_and_a_warning(write_result):
    def change(result):
        result["checkpoint"]["overlap"] = "7 of 9 frames"

    path = write_result(change)
    low, high = headline_interval(read(path))
    told = render(path).told
    opening = told[: told.index("Classes")]
    assert f"95 % interval {100 * low:.1f} to {100 * high:.1f} %" in opening
    assert "chosen on 7 of 9 frames scored here" in opening
    assert "The checkpoint was chosen on" not in render(write_result()).told


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("rgbx", "each image is predicted whole, at its own size."),
        ("rgbx-sliding", "in windows of 1024×1024 pixels where it is larger, at its own size."),
        ("cmx-ms", "at 0.75, 1 and 1.25 times its size, also mirrored, and the predictions are added up."),
    ],
)
def test_a_protocol_is_a_plain_sentence(name, sentence):
    assert protocol_sentence(PROTOCOLS[name].as_dict()).endswith(sentence)


def test_a_legend_keeps_the_order_of_the_classes(write_result):
    """What the file says of the pictures; of an older file what occurs in truth and ensemble."""

    def change(result):
        head = result["heads"]["labels"]
        for image in head["images"]:
            image["confusion"] = [[3, 1, 90], [1, 1, 5]]
        head["pictures"][0]["sample_id"] = head["images"][0]["sample_id"]
        head["pictures"][1]["legend"] = {"floor": [1, 2, 3], "not labelled": [96, 96, 96]}

    html = write_report(write_result(change)).read_text()
    legends = [part.split("</ul>")[0] for part in html.split('<ul class="legend">')[1:]]
    texts = [[item.split("</i>")[1].removesuffix("</li>") for item in each.split("<li>")[1:]] for each in legends]
    assert texts[:2] == [["floor", "table &amp; lamp", "not labelled"], ["floor", "not labelled"]]
    assert "#010203" in legends[1]


def test_classes_stand_by_falling_gap(write_result):
    path = write_result()
    page, result = render(path), read(path)
    predictions = result["subsets"]["rgb+depth"]
    gaps = {}
    for k, name in enumerate(result["about"]["classes"]):
        iou = {p: predictions[p]["IoU"][k] for p in predictions}
        if iou["ensemble"] is not None:
            gaps[name] = iou["ensemble"] - max(iou["rgb"], iou["depth"])
    expected = [*sorted(gaps, key=gaps.get, reverse=True), "sofa"]  # which occurs nowhere
    start = next(i for i, row in enumerate(page.rows) if row[:3] == ["Class", "gap", "both"])
    rows = page.rows[start + 1 : start + 7]
    assert [row[0] for row in rows] == expected
    assert [row[1] for row in rows[:-1]] == [f"{100 * gaps[n]:+.1f}".replace("-", "−") for n in expected[:-1]]
    assert rows[-1][1] == "–"


def test_equal_branches_are_none_of_them_the_best(write_result, tmp_path):
    def tie(result):
        for branch in ("rgb", "depth"):
            result["heads"]["labels"]["subsets"]["rgb+depth"][branch]["IoU"][0] = 0.25
        result["heads"]["labels"]["subsets"]["rgb+depth"]["rgb"]["IoU"][1] = None

    write_report(write_result(tie), tmp_path / "out")
    rows = {row["id"]: row for row in csv_rows(tmp_path / "out/classes.csv")}
    assert rows["0"]["best"] == ""
    assert float(rows["0"]["gap"]) == pytest.approx(float(rows["0"]["IoU"]) - 0.25)
    assert rows["1"]["best"] == "depth"


def test_names_are_text_not_markup(write_result):
    html = write_report(write_result()).read_text()
    assert "<b>bed</b>" not in html
    assert "&lt;b&gt;bed&lt;/b&gt;" in html
    assert "table & lamp" not in html


def test_confusion_rows_add_up_to_a_hundred(write_result):
    path = write_result(right=0.9)
    page, result = render(path), read(path)
    start = next(i for i, row in enumerate(page.rows) if row[1:] == result["about"]["classes"])
    matrix = result["subsets"]["rgb+depth"]["ensemble"]["confusion"]
    for row, counts in zip(page.rows[start + 1 :], matrix, strict=False):
        whole = [round(100 * n / sum(counts)) if sum(counts) else 0 for n in counts]
        assert [int(text or 0) for text in row[1:]] == whole


def test_csv_files_hold_the_same_numbers(write_result, tmp_path):
    path = write_result()
    write_report(path, tmp_path / "out")
    result = read(path)
    tables = {file.stem: csv_rows(file) for file in (tmp_path / "out").glob("*.csv")}
    assert set(tables) == {"headline", "classes", "subsets", "robustness", "reliability", "confusion", "images"}
    first = tables["headline"][0]
    assert float(first["mIoU"]) == result["subsets"]["rgb+depth"]["ensemble"]["mIoU"]
    assert (first["protocol"], first["every"], first["checkpoint_sha256"]) == ("rgbx", "4", "ab" * 32)
    by_id = {int(row["id"]): row for row in tables["classes"]}
    assert [float(by_id[k]["IoU"]) for k in range(5)] == result["subsets"]["rgb+depth"]["ensemble"]["IoU"][:5]
    assert by_id[5]["IoU"] == by_id[5]["gap"] == ""
    matrix = result["subsets"]["rgb+depth"]["ensemble"]["confusion"]
    assert [[int(n) for n in list(row.values())[1:]] for row in tables["confusion"]] == matrix
    noise = next(row for row in tables["robustness"] if row["corruption"] == "gaussian_noise")
    clean = result["robustness"]["clean"]
    assert float(noise["severity 3"]) == pytest.approx(clean * 0.76)
    assert float(noise["drop"]) == pytest.approx(0.24)
    assert [float(row["mIoU"]) for row in tables["subsets"]] == [
        s["ensemble"]["mIoU"] for s in result["subsets"].values()
    ]
    assert len(tables["images"]) == 9


def test_copies_stand_on_their_own(write_result, tmp_path):
    path = write_result()
    first = write_report(path, tmp_path / "out")
    assert (tmp_path / "out/results.json").read_bytes() == path.read_bytes()
    again = write_report(tmp_path / "out/results.json")  # in place, from the copied pictures
    assert again == first
    assert again.read_text() == write_report(path, tmp_path / "third").read_text()


def test_optional_parts_may_be_absent(write_result):
    def strip(result):
        head = result["heads"]["labels"]
        head["robustness"] = None
        result["dataset"]["every"] = 1
        del result["speed"], result["machine"], head["images"][1:]
        head["subsets"] = {"rgb": {"ensemble": head["subsets"]["rgb"]["ensemble"]}}
        head["subsets"]["rgb"]["ensemble"].update(ece=None, reliability=None, boundary_f=None)

    page = render(write_result(strip, pictures=False))
    ids = {a["id"] for tag, a in page.tags if tag == "section"}
    assert ids == {"classes", "confusion", "rules", "provenance"}
    assert "of the split" not in page.told
    assert not [row for row in page.rows if "boundary F" in row or "gap" in row]
    assert "best branch" not in page.told and "no interval" in page.told  # of one image


def labels(change):
    return lambda result: change(result["heads"]["labels"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (labels(lambda head: head["subsets"].clear()), r"results\.json: heads\.labels\.subsets: expected at least one"),
        (labels(lambda head: head["pictures"][0]["files"].update(truth="../secret.png")), r"found '\.\./secret"),
        (labels(lambda head: head["pictures"][0]["files"].update(truth="/etc/passwd")), r"below the result file"),
        (labels(lambda head: head["pictures"][0]["files"].update(truth="results.json")), r"results\.json is no PNG"),
        (
            lambda result: result["heads"].update({"../up": result["heads"]["labels"]}),
            r"heads: expected names of letters",
        ),
    ],
)
def test_what_cannot_be_shown_is_named(write_result, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        write_report(write_result(change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_absent_files_are_named(tmp_path, write_result):
    with pytest.raises(FileNotFoundError, match=r"nothing\.json: no such file"):
        write_report(tmp_path / "nothing.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match=r"bad\.json:1: not valid JSON"):
        write_report(tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("value", "text"), [(0.123, "+12.3"), (-0.0104, "−1.0"), (0.0004, "0.0"), (-0.0004, "0.0"), (None, "–")]
)
def test_differences_in_points(value, text):
    assert difference(Score("mIoU", "fraction"), value) == text


def test_numbers_in_units():
    metres = Score("MAE", "m", digits=2, lower=True)
    assert [number(metres, 1.237), number(metres, None), difference(metres, -0.031)] == ["1.24", "–", "−0.03"]


def test_percent():
    assert [percent(0.12345), percent(0.12345, 2), percent(None)] == ["12.3", "12.35", "–"]


def test_reliability_dots_lie_where_they_should():
    """Empty bins have no dot; a bin with accuracy = confidence lies on the diagonal."""
    bins = {"count": [0, 10, 30], "confidence": [None, 0.5, 0.9], "accuracy": [None, 0.5, 0.6]}
    page = Page(reliability_svg("<rgb>", bins, 0.225))
    (x1, y1), (x2, y2) = [(float(a["cx"]), float(a["cy"])) for tag, a in page.tags if tag == "circle"]
    start, end = [tuple(map(float, part.split())) for part in diagonal(page)]
    side = end[0] - start[0]
    assert ((x1 - start[0]) / side, (start[1] - y1) / side) == pytest.approx((0.5, 0.5))
    assert ((x2 - start[0]) / side, (start[1] - y2) / side) == pytest.approx((0.9, 0.6))
    heights = [float(a["height"]) for tag, a in page.tags if tag == "rect"]
    assert heights[0] == 0
    assert heights[2] == pytest.approx(3 * heights[1], abs=0.2)
    assert page.tags[0][1]["aria-label"].startswith("<rgb>: calibration error 22.5 %")


def diagonal(page):
    path = next(a["d"] for tag, a in page.tags if tag == "path" and a.get("class") == "diagonal")
    return path.removeprefix("M").split("L")


@pytest.mark.parametrize(
    ("number", "text"), [(2, "second"), (11, "11th"), (21, "21st"), (32, "32nd"), (43, "43rd"), (112, "112th")]
)
def test_ordinals(number, text):
    assert ordinal(number) == text


def test_a_map_has_its_own_scores_and_units(write_result, tmp_path):
    path = write_result(kind="map", images=20)
    page, head = render(path), read(path, "depth")
    ids = {a["id"] for tag, a in page.tags if tag == "section"}
    assert ids == {"robustness", "images", "frames", "rules", "provenance"}
    scores = head["subsets"]["rgb+thermal"]["ensemble"]
    rows = [row for row in page.rows if row and row[0] in ("Prediction", "both")]
    assert rows[0] == ["Prediction", "MAE, m ↓", "minus both", "AbsRel, % ↓", "delta1, %", "RMSE, m ↓"]
    assert [rows[1][1], rows[1][3]] == [f"{scores['MAE']:.3f}", f"{100 * scores['AbsRel']:.1f}"]
    assert "depth in metres" in page.told
    write_report(path, tmp_path / "out")
    assert {file.stem for file in (tmp_path / "out").glob("*.csv")} == {"headline", "subsets", "robustness", "images"}
    assert float(csv_rows(tmp_path / "out/images.csv")[3]["RMSE"]) == head["images"][3]["RMSE"]
    darkness = next(row for row in csv_rows(tmp_path / "out/robustness.csv") if row["corruption"] == "darkness")
    assert float(darkness["drop"]) == pytest.approx(0.45)  # by which the error rose


def test_what_is_worse_is_shaded(write_result):
    """Of a score whose low values are good the rise, of others the fall."""
    for kind, bars in (("classes", {"less worse"}), ("map", {"more worse"})):
        page = render(write_result(kind=kind))
        summary = page.tags[: page.tags.index(("nav", {"aria-label": "Sections"}))]
        assert {a["class"] for tag, a in summary if tag == "i"} == bars  # branches, alone: worse than both
        shades = [float(a["style"].removeprefix("--v:")) for _, a in page.tags if a.get("class") == "n lost"]
        assert shades[:5] == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4])


def test_several_heads_share_a_page(write_result, tmp_path):
    path = write_result(kind="joint")
    page = render(path)
    assert page.open == []
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {"head-labels", "head-depth", "labels-classes", "depth-images", "labels-images", "provenance"} <= set(ids)
    pointers = {a["href"][1:] for tag, a in page.tags if tag == "a"}
    assert pointers <= set(ids)
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 42
    write_report(path, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.csv"))
    labels = csv_rows(tmp_path / "out/labels/headline.csv")
    depth = csv_rows(tmp_path / "out/depth/headline.csv")
    assert (labels[0]["fingerprint"], depth[0]["fingerprint"]) == ("f1" * 32, "d1" * 32)


@pytest.mark.parametrize(
    ("file", "folder", "title"),
    [
        ("work_dirs/kitchen/config.py", "photos", "kitchen on photos"),
        ("config.py", None, "config on Halves"),
        ("configs/rooms/small.py", "samples", "small on samples"),
    ],
)
def test_a_page_is_titled_by_names_that_were_given(write_result, tmp_path, file, folder, title):
    def change(result):
        result["config"]["file"] = file
        result["dataset"].update(type="Halves", folder=folder)

    page = write_report(write_result(change, pictures=False), tmp_path / "out").read_text()
    assert f"<title>{title}</title>" in page


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_a_spreadsheet_runs_no_name(write_result, tmp_path, start):
    formula = f"{start}SUM(A1)"

    def change(result):
        result["heads"]["labels"]["about"]["classes"][0] = formula
        result["heads"]["labels"]["images"][0]["sample_id"] = formula
        result["config"]["file"] = result["checkpoint"]["file"] = formula

    write_report(write_result(change, pictures=False), tmp_path / "out")
    cells = [
        cell for file in (tmp_path / "out").glob("*.csv") for row in csv.reader(file.open(newline="")) for cell in row
    ]
    assert f"'{formula}" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "-S"))]
    numbers = [float(row["gap"]) for row in csv_rows(tmp_path / "out/classes.csv") if row["gap"]]
    assert len(numbers) == 5  # numbers below 0 are as they were


@pytest.mark.parametrize(
    ("values", "ticks"),
    [([0.31, 0.52, 0.52, 0.78], [30, 40, 50, 60, 70, 80]), ([0.5, 0.5], [50, 60]), ([0.0, 0.0], [0, 0.2])],
)
def test_a_histogram_counts_every_image(values, ticks):
    score = Score("mIoU", "fraction")
    page = Page(f"<table><tr><td>{histogram_svg(values, score)}</td></tr></table>")
    assert page.tags[3][1]["aria-label"].startswith(f"mIoU, % of {len(values)} images")
    heights = [float(a["height"]) for tag, a in page.tags if tag == "rect"]
    counts = [values.count(value) for value in sorted(set(values))]
    assert heights == pytest.approx([90 * count / max(counts) for count in counts])
    written = histogram_svg(values, score).split("</g>")[1]
    assert [float(part.split("<")[0]) for part in written.split('class="mid">')[1 : len(ticks) + 1]] == ticks


def test_old_files_give_the_tables_of_their_time(tmp_path):
    """The CSV files beside these results were written by rgbx 0.1.0."""
    folder = Path(__file__).parents[1] / "evaluate/results_0.1.0"
    result = json.loads((folder / "segmentation.json").read_text())
    (tmp_path / "results.json").write_text(json.dumps({**result, "pictures": None}))
    write_report(tmp_path / "results.json")
    files = list(folder.glob("*.csv"))
    assert len(files) == 4
    for file in files:
        assert (tmp_path / file.name).read_text() == file.read_text()
    page = Page(write_report(folder / "translation.json", tmp_path / "map").read_text())
    assert next(row for row in page.rows if row[0] == "Prediction")[:2] == ["Prediction", "PSNR, dB"]
