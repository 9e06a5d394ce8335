"""Result files: what they say, what is refused, and how files of rgbx 0.1.0 are read."""

import hashlib
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from made_result import make_joint_result, make_map_result, make_result

from rgbx._protocol import PROTOCOLS, Protocol
from rgbx.evaluate.result import (
    FORMAT,
    build_result,
    headline,
    plain,
    read_result,
    robustness_text,
    score_table,
    shown,
    write_result,
)
from rgbx.tasks.score import Score

OLD = Path(__file__).with_name("results_0.1.0")


class Counted:
    """An evaluation of two images by numbers made up."""

    images = (SimpleNamespace(sample_id="a"), SimpleNamespace(sample_id="b"))
    table = (Score("MAE", "m", 2, lower=True), Score("share", "fraction"))
    names = ("ensemble", "rgb")

    def __init__(self, value=0.5):
        self.value = value

    def scores(self, name):
        kept = {"histogram": torch.tensor([1, 2])}
        return {"MAE": self.value, "share": float("nan" if name == "rgb" else "inf"), **kept}

    def image_scores(self, record):
        return {"MAE": self.value, "values": 7}

    def about(self):
        return {"name": "depth", "size": (4, 5)}

    def fingerprint(self):
        return "f0" * 32


def build(checkpoint, **options):
    evaluations = {
        "rgb+depth": {"near": Counted(), "far": Counted(2.0)},
        "rgb": {"near": Counted(1.0), "far": Counted()},
    }
    return build_result(
        evaluations,
        {"near": "map", "far": "map"},
        protocol=PROTOCOLS["cen"],
        config={"file": "c.py", "sha256": "0" * 64},
        checkpoint=checkpoint,
        dataset=SimpleNamespace(),
        **{"every": 2, "speed": {"images_per_second": 1.5}, **options},
    )


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "epoch_1.pth"
    path.write_bytes(b"weights")
    return path


def test_a_written_result_says_what_was_measured(checkpoint, tmp_path):
    result = build(checkpoint, chosen={"selected_on": "val"}, dtype="bfloat16")
    write_result(result, tmp_path / "deep/results.json")
    found = read_result(tmp_path / "deep/results.json")
    assert found == plain(result)
    assert found["format"] == FORMAT == "rgbx-result/2"
    assert (found["protocol"]["name"], found["protocol"]["stretched"]) == ("cen", ["rgb"])
    digest = hashlib.sha256(b"weights").hexdigest()
    assert found["checkpoint"] == {"file": str(checkpoint), "sha256": digest, "selected_on": "val"}
    assert found["dataset"] == {"type": "SimpleNamespace", "samples": 2, "every": 2}
    assert found["dtype"] == "bfloat16"
    assert list(found["heads"]) == ["near", "far"]
    near = found["heads"]["near"]
    assert (near["task"], near["about"]) == ("map", {"name": "depth", "size": [4, 5]})
    assert list(near["subsets"]["rgb+depth"]) == ["ensemble", "rgb"]
    assert near["subsets"]["rgb"]["ensemble"] == {"MAE": 1.0, "share": None, "histogram": [1, 2]}
    assert near["images"][1] == {"sample_id": "b", "MAE": 0.5, "values": 7}
    assert near["scores"][0] == {"name": "MAE", "unit": "m", "digits": 2, "lower": True}
    assert score_table(near) == Counted.table
    main = headline(found["heads"]["far"])
    assert (main.subset, main.score.name, main.value) == ("rgb+depth", "MAE", 2.0)


def test_a_field_has_a_line(checkpoint, tmp_path):
    """So that two files can be read side by side."""
    write_result(build(checkpoint), tmp_path / "r.json")
    lines = (tmp_path / "r.json").read_text().splitlines()
    assert [line for line in lines if line.startswith('"subsets": ')] and not [line for line in lines if "NaN" in line]
    assert sum(line.startswith(('"protocol": ', '"machine": ', '"images": ')) for line in lines) == 4


@pytest.mark.parametrize("make", [make_result, make_map_result, make_joint_result])
def test_made_up_results_are_right_in_form(make, tmp_path):
    write_result(make(), tmp_path / "r.json")
    found = read_result(tmp_path / "r.json")
    assert found["heads"] == json.loads(json.dumps(make()["heads"]))
    assert found["protocol"] == {**json.loads(json.dumps(Protocol("", "").as_dict())), **make()["protocol"]}


def labels(path, value):
    def change(result):
        *parents, key = path
        place = result["heads"]["labels"]
        for parent in parents:
            place = place[parent]
        if value is KeyError:
            del place[key]
        else:
            place[key] = value

    return change


TABLE = {"source": "s", "deviations": [], "score": "mIoU", "every": 1, "label": "left", "columns": ["black", "omitted"]}
TABLE |= {"rows": [{"name": "RGB", "values": [0.5, None]}], "summary": []}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(format="other"), r"'format' is 'other', expected 'rgbx-result/2' or 'rgbx-result/1' or"),
        (lambda r: r["dataset"].pop("every"), r"dataset\.every: expected int, found None"),
        (lambda r: r["dataset"].update(samples=True), r"dataset\.samples: expected int, found True"),
        (lambda r: r.update(protocol="rgbx"), r"protocol: expected dict, found 'rgbx'"),
        (lambda r: r.update(heads={}), r"heads: expected at least one, found 0 entries"),
        (lambda r: r["heads"].update(labels=3), r"heads\.labels: expected dict, found 3"),
        (labels(["task"], KeyError), r"heads\.labels\.task: expected str, found None"),
        (labels(["scores"], []), r"heads\.labels\.scores: expected at least one, found 0 entries"),
        (labels(["scores", 1, "lower"], 0), r"heads\.labels\.scores\[1\]\.lower: expected bool, found 0"),
        (labels(["about", "classes"], KeyError), r"heads\.labels\.about\.classes: expected list, found None"),
        (
            labels(["about", "palette", 0], [0, 0, 256]),
            r"about\.palette: expected one \[r, g, b\] of 0\.\.255 for each",
        ),
        (labels(["about", "palette"], [[0, 0, 0]]), r"about\.palette: expected one \[r, g, b\]"),
        (labels(["subsets", "rgb", "ensemble"], KeyError), r"subsets\.rgb: expected scores of 'ensemble'"),
        (
            labels(["subsets", "rgb", "rgb", "mIoU"], KeyError),
            r"subsets\.rgb\.rgb\.mIoU: expected the score, found None",
        ),
        (
            labels(["subsets", "rgb", "rgb", "aAcc"], "1"),
            r"subsets\.rgb\.rgb\.aAcc: expected a number or null, found '1'",
        ),
        (
            labels(["subsets", "rgb", "rgb", "IoU"], [1.0] * 5),
            r"subsets\.rgb\.rgb\.IoU: expected 6 entries, found 5 entries",
        ),
        (labels(["images", 2, "sample_id"], 5), r"images\[2\]\.sample_id: expected str, found 5"),
        (labels(["images", 2, "confusion"], KeyError), r"images\[2\]\.confusion: expected list, found None"),
        (labels(["robustness", "score"], KeyError), r"robustness\.score: expected str, found None"),
        (
            labels(["robustness", "corruptions", 3, "severity"], "1"),
            r"robustness\.corruptions\[3\]\.severity: expected int, found '1'",
        ),
        (labels(["benchmarks"], {"miss": {}}), r"benchmarks\.miss\.source: expected str, found None"),
        (labels(["benchmarks"], {"a/b": TABLE}), r"benchmarks: expected names of letters.*found 'a/b'"),
        (
            labels(["benchmarks"], {"miss": {**TABLE, "columns": ["black"]}}),
            r"benchmarks\.miss\.rows\[0\]\.values: expected 1 values, found 2 entries",
        ),
        (labels(["pictures"], [{"kind": "best"}]), r"pictures\[0\]\.sample_id: expected str, found None"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, message):
    result = make_result()
    change(result)
    (tmp_path / "r.json").write_text(json.dumps(result))
    with pytest.raises(ValueError, match=rf"r\.json: (field |heads\.labels\.)?{message}"):
        read_result(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not valid JSON"), (json.dumps({"format": "other"}), "'format' is 'other'"), ("[]", "'format' is None")],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_result(tmp_path / "results.json")
    with pytest.raises(FileNotFoundError, match=r"result file .*no such file"):
        read_result(tmp_path / "absent.json")


def test_an_old_segmentation_is_a_head_called_labels():
    old, found = json.loads((OLD / "segmentation.json").read_text()), read_result(OLD / "segmentation.json")
    assert (found["format"], list(found["heads"])) == (FORMAT, ["labels"])
    head = found["heads"]["labels"]
    assert (head["subsets"], head["images"]) == (old["subsets"], old["images"])
    assert head["fingerprint"] == old["dataset"]["fingerprint"]
    assert head["about"] == {key: old["dataset"][key] for key in ("classes", "palette", "ignore_index")}
    assert [entry["name"] for entry in head["scores"]] == ["mIoU", "mAcc", "aAcc", "fwIoU", "boundary_f", "ece"]
    assert [entry["lower"] for entry in head["scores"]] == [False] * 5 + [True]
    assert found["dataset"] == {"type": "SyntheticRooms", "samples": 5, "every": 40}
    assert (found["date"], found["versions"]) == (old["date"], old["versions"])
    first, before = head["robustness"]["corruptions"][4], old["robustness"]["corruptions"][4]
    assert (first["value"], first["relative_change"]) == (before["mIoU"], -before["relative_drop"])
    assert head["robustness"]["clean"] == old["robustness"]["clean"]["mIoU"]
    assert head["robustness"]["mean"] == old["robustness"]["mean_corruption_mIoU"]
    picture = head["pictures"][0]
    assert picture["value"] == old["pictures"][0]["mIoU"]
    titles = ["input/rgb", "input/depth", "truth", "RGB branch", "depth branch", "ensemble", "errors of the ensemble"]
    assert dict(zip(titles, old["pictures"][0]["files"].values(), strict=True)) == picture["files"]


def test_an_old_translation_is_a_head_of_its_target():
    old, found = json.loads((OLD / "translation.json").read_text()), read_result(OLD / "translation.json")
    head = found["heads"]["rgb"]
    assert (head["task"], head["subsets"], head["images"]) == ("map", old["subsets"], old["images"])
    assert head["about"] == {"name": "rgb", "unit": "rgb8", "channels": 3, "weights": {}, "kernel": {}}
    main = headline(head)
    assert (main.subset, main.score.name, main.score.unit) == ("depth+thermal", "PSNR", "dB")
    assert [score.name for score in score_table(head)] == ["PSNR", "SSIM", "MAE", "RMSE"]


def test_rules_that_old_files_lack_are_as_they_were():
    """So old and new results of one protocol compare."""
    rules = [read_result(OLD / f"{name}.json")["protocol"] for name in ("segmentation", "translation")]
    new = json.loads(json.dumps(PROTOCOLS["rgbx"].as_dict()))
    for found in rules:
        assert {**found, "source": ""} == {**new, "source": ""}


def test_old_files_by_cmx_bear_the_name_that_their_rules_have_today(checkpoint, tmp_path):
    old = json.loads((OLD / "segmentation.json").read_text())
    old["protocol"] = {key: PROTOCOLS["cmx-ms-fixed"].as_dict()[key] for key in old["protocol"]} | {"name": "cmx-ms"}
    (tmp_path / "old.json").write_text(json.dumps(old))
    found, fixed = read_result(tmp_path / "old.json")["protocol"], PROTOCOLS["cmx-ms-fixed"].as_dict()
    assert {**found, "source": ""} == {**json.loads(json.dumps(fixed)), "source": ""}
    write_result({**build(checkpoint), "protocol": PROTOCOLS["cmx-ms"].as_dict()}, tmp_path / "new.json")
    assert read_result(tmp_path / "new.json")["protocol"]["name"] == "cmx-ms"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("segmentation", lambda r: r["dataset"].pop("classes"), r"dataset\.classes: expected list, found None"),
        ("segmentation", lambda r: r.update(subsets={}), r"heads\.labels\.subsets: expected at least one"),
        ("segmentation", lambda r: r["robustness"].update(clean=1.0), r"robustness\.clean: expected dict, found 1\.0"),
        ("segmentation", lambda r: r["pictures"][1].pop("files"), r"pictures\[1\]\.files: expected dict, found None"),
        ("translation", lambda r: r["target"].pop("unit"), r"target\.unit: expected str, found None"),
        (
            "translation",
            lambda r: r["subsets"]["depth"].pop("ensemble"),
            r"heads\.rgb\.subsets\.depth: expected scores of 'ensemble'",
        ),
    ],
)
def test_what_is_wrong_in_an_old_file_is_named(tmp_path, name, change, message):
    result = json.loads((OLD / f"{name}.json").read_text())
    change(result)
    (tmp_path / "r.json").write_text(json.dumps(result))
    with pytest.raises(ValueError, match=rf"r\.json(:1)?: {message}"):
        read_result(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("score", "value", "plain", "signed"),
    [
        (Score("mIoU", "fraction"), 0.4567, "45.7", "+45.7"),
        (Score("PSNR", "dB", 2), -1.238, "-1.24", "-1.24"),
        (Score("KID", "", 5), None, "-", "-"),
    ],
)
def test_values_as_people_read_them(score, value, plain, signed):
    assert (shown(score, value), shown(score, value, signed=True)) == (plain, signed)


def test_robustness_in_a_terminal():
    """Of 40 % and a fall by 0.1 and 0.3 of it; of a score whose low values are good a rise."""
    rows = [
        {"modality": "rgb", "corruption": "noise", "severity": 1 + i, "value": v} for i, v in enumerate((0.36, 0.28))
    ]
    entry = {"name": "mIoU", "unit": "fraction", "digits": 3, "lower": False}
    robustness = {"every": 1, "score": "mIoU", "clean": 0.4, "corruptions": rows, "mean": 0.32}
    head = {"scores": [entry], "robustness": robustness, "subsets": {}}
    assert robustness_text(head).splitlines() == [
        "damaged  by        1     2  mean  relative drop",
        "-------  -----  ----  ----  ----  -------------",
        "RGB      noise  36.0  28.0  32.0           20.0",
        "clean 40.0, mean over corruptions 32.0",
    ]
    lower = {**head, "scores": [{**entry, "unit": "m", "lower": True}]}
    assert robustness_text(lower).splitlines()[0].endswith("relative rise")
    assert robustness_text(lower).splitlines()[2].split()[2:] == ["0.360", "0.280", "0.320", "-20.0", "%"]
    assert robustness_text({**head, "robustness": {**robustness, "corruptions": []}}).startswith("no corruption")


def test_what_is_no_number_is_a_dash():
    score = Score("mIoU", "fraction")
    assert [shown(score, value) for value in (None, float("nan"), float("inf"))] == ["-"] * 3
    assert shown(score, 0.45678, digits=4) == "45.68"


PICTURE = {"sample_id": "frame/000", "kind": "best", "value": None}
DAMAGED = {
    "not UTF-8": (b'{"format": "\xe9"}', "not UTF-8"),
    "deep": (b"[" * 100_000, "not valid JSON"),
    "no number": (b'{"format": NaN}', "not valid JSON: NaN is no JSON; what is not a number is null"),
    "twice": (b'{"format": "a", "format": "b"}', "not valid JSON: an object has 'format' twice"),
    "half a character": (b'{"format": "\\ud800"}', "not valid JSON: .*surrogates"),
    "a long number": (b'{"format": ' + b"9" * 5000 + b"}", "not valid JSON"),
    "a list for a name": (b'{"format": ["rgbx-result/2"]}', "field 'format' is"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_are_refused_by_name(tmp_path, case):
    content, message = DAMAGED[case]
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"r\.json(:1)?: {message}"):
        read_result(tmp_path / "r.json")


def test_a_byte_order_mark_is_read(tmp_path):
    write_result(make_result(), tmp_path / "r.json")
    (tmp_path / "marked.json").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "r.json").read_bytes())
    assert read_result(tmp_path / "marked.json") == read_result(tmp_path / "r.json")


def test_pipes_folders_and_giants_are_no_result_files(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(ValueError, match=r"pipe\.json: expected a file, found a named pipe"):
        read_result(tmp_path / "pipe.json")
    with pytest.raises(ValueError, match="expected a file, found a folder"):
        read_result(tmp_path)
    write_result(make_result(), tmp_path / "r.json")
    monkeypatch.setattr("rgbx.evaluate.result.MOST_BYTES", 100)
    with pytest.raises(ValueError, match=r"r\.json: the file has \d+ bytes; at most 100 are read"):
        read_result(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (labels(["scores", 0, "digits"], 10**6), r"scores\[0\]\.digits: expected 0\.\.17, found 1000000"),
        (
            labels(["about", "palette"], [[0, 0, 0]] * 5000),
            "palette: expected .* for each of 6 classes, found 5000 entries",
        ),
        (labels(["about", "classes", 2], 7), r"about\.classes\[2\]: expected str, found 7"),
        (labels(["images", 1, "confusion"], [[0, 9, 4]]), r"images\[1\]\.confusion: expected list of \[true class"),
        (labels(["images", 1, "confusion"], [[0, 1, -4]]), r"images\[1\]\.confusion: expected list of \[true class"),
        (labels(["images", 1, "mIoU"], "0.5"), r"images\[1\]\.mIoU: expected a number or null, found '0\.5'"),
        (labels(["images", 1, "values"], [3]), r"images\[1\]\.values: expected a number or null, found 1 entries"),
        (labels(["subsets", "rgb", "rgb", "IoU", 3], 10**400), r"rgb\.IoU\[3\]: expected a number or null, found 1000"),
        (labels(["subsets", "rgb", "rgb", "pixels", 0], -1), r"rgb\.pixels: expected counts"),
        (labels(["subsets", "rgb", "rgb", "confusion", 0], [1, 2]), r"rgb\.confusion: expected rows of 6 counts"),
        (
            labels(["subsets", "rgb", "rgb", "reliability", "count"], [1]),
            r"rgb\.reliability: expected lists of one length",
        ),
        (labels(["subsets", "rgb"], 3), r"subsets\.rgb: expected dict, found 3"),
        (labels(["robustness", "corruptions", 0, "value"], {}), r"corruptions\[0\]\.value: expected a number or null"),
        (labels(["pictures"], [PICTURE | {"files": {}, "legend": {"a": [1, 2]}}]), r"legend\.a: expected \[r, g, b\]"),
        (labels(["pictures"], [PICTURE | {"files": {"x": "../x.png"}}]), r"files\.x: expected a file below the result"),
        (
            labels(["pictures"], [PICTURE | {"files": {"x": "/etc/x.png"}}]),
            r"files\.x: expected a file below the result",
        ),
        (lambda r: r.update(versions=["1"]), "versions: expected dict, found 1 entries"),
        (lambda r: r["protocol"].update(absent=[]), r"protocol\.absent: expected str, found 0 entries"),
    ],
)
def test_what_a_report_could_not_show_is_named(tmp_path, change, message):
    result = make_result()
    change(result)
    (tmp_path / "r.json").write_text(json.dumps(result))
    with pytest.raises(ValueError, match=rf"r\.json: (heads\.labels\.)?.*{message}"):
        read_result(tmp_path / "r.json")


def test_what_may_be_absent_is_null(tmp_path):
    result = make_result()
    del result["heads"]["labels"]["pictures"], result["heads"]["labels"]["robustness"]["mean"]
    del result["heads"]["labels"]["robustness"]["corruptions"][1]["value"]
    (tmp_path / "r.json").write_text(json.dumps(result))
    head = read_result(tmp_path / "r.json")["heads"]["labels"]
    assert head["pictures"] is head["robustness"]["mean"] is head["robustness"]["corruptions"][1]["value"] is None
    assert robustness_text(head)
