"""Which scores a study shows: by the tasks of its model, and as result files have them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from rgbx.maps import STANDARD_MAPS
from rgbx.study.costs import Cost, Costs
from rgbx.study.document import study_document
from rgbx.study.plot import plot_study
from rgbx.study.runs import DONE, read_state
from rgbx.study.scores import gather
from rgbx.study.shown import Shown, choose_scores
from rgbx.study.table import csv_text, markdown_table
from rgbx.tasks import Classes, Map
from rgbx.tasks.classes import SCORES
from rgbx.tasks.map import describe_score, score_names

PAGE = Path(__file__).parents[2] / "docs/translation.md"
UNITS = {"colours": "rgb8", "metres": "metre", "normals": "unit_vector", "relative": "relative", "other": "sensor"}


@pytest.mark.parametrize("row", UNITS)
def test_scores_of_a_unit_are_those_of_the_page(row):
    (cell,) = re.findall(rf"^\| {row} \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    documented = re.sub(r"\([^)]*\)|; with weights.*| in its unit", "", cell)
    assert {name.strip() for name in documented.split(",")} == set(score_names(UNITS[row]))


def map_of(unit):
    return Map("out", unit=unit, range=dict(low=0.0, high=1.0))


TASKS = {
    "classes": (Classes("out", num_classes=3), ("mIoU",), (False,)),
    "rgb8": (map_of("rgb8"), ("PSNR", "SSIM", "MAE"), (False, False, True)),
    "relative": (map_of("relative"), ("PSNR", "SSIM", "MAE"), (False, False, True)),
    "metre": (map_of("metre"), ("MAE", "AbsRel", "delta1"), (True, True, False)),
    "unit_vector": (map_of("unit_vector"), ("angle_mean", "angle_median", "within_11.25"), (True, True, False)),
}


@pytest.mark.parametrize(("task", "names", "lower"), TASKS.values(), ids=TASKS)
def test_scores_by_default(task, names, lower):
    found = choose_scores({"out": task}, None, meta={}).scores
    assert tuple(score.name for score in found) == names
    assert tuple(score.lower for score in found) == lower


def test_what_a_score_is_called():
    psnr, _, mae = choose_scores({"out": map_of("rgb8")}, None).scores
    assert (psnr.heading("depth"), mae.heading()) == ("PSNR depth, dB", "MAE, of 0..255 ↓")
    assert (psnr.label, mae.label) == ("PSNR (dB)", "MAE (of 0..255, lower is better)")
    assert (psnr.said(12.3456), mae.said(None)) == ("PSNR 12.35", "MAE undefined")
    miou = SCORES["mIoU"]
    assert (miou.heading("rgb"), miou.label, miou.lower, miou.said(0.5)) == ("mIoU rgb", "mIoU", False, "mIoU 0.500")


def test_scores_of_several_heads():
    tasks = {"labels": TASKS["classes"][0], "depth": Map("depth")}
    assert choose_scores(tasks, None, meta={}) == Shown("labels", (SCORES["mIoU"],))
    metres = describe_score("MAE", "metre")
    found = choose_scores(tasks, ("depth/MAE", "mIoU"), meta={})
    assert found == Shown("labels", (replace(metres, name="depth/MAE"), SCORES["mIoU"]))
    assert (found.heads, found.headline.heading("rgb")) == (["labels", "depth"], "depth/MAE rgb, m ↓")
    found = choose_scores(tasks, ("MAE", "labels/mIoU"), "depth", meta={})
    assert found == Shown("depth", (metres, replace(SCORES["mIoU"], name="labels/mIoU")))


@pytest.mark.parametrize(
    ("task", "names", "head", "message"),
    [
        ("classes", ("mIou",), None, "'mIou'; the results have mIoU, mAcc.*; did you mean 'mIoU'"),
        ("classes", ("PSNR",), None, "'PSNR'"),
        ("metre", ("absrel",), None, "'absrel'.*; did you mean 'AbsRel'"),
        ("metre", ("PSNR",), None, "the results have MAE, AbsRel, delta1"),
        ("rgb8", ("FID",), None, "'FID'"),
        ("rgb8", ("labels/mIoU",), None, r"head 'labels'; the model has \['out'\]"),
        ("rgb8", None, "ot", "head 'ot'.*; did you mean 'out'"),
    ],
)
def test_unknown_scores_are_refused(task, names, head, message):
    with pytest.raises(ValueError, match=message):
        choose_scores({"out": TASKS[task][0]}, names, head, meta={})


def test_scores_that_may_be_there_pass():
    """Those of an option; those of a map that data which is not there yet may describe, but no default without it."""
    found = choose_scores({"out": map_of("rgb8")}, ("FID", "PSNR"), meta={}, options={"fid": {"weights": "w.pth"}})
    assert [score.name for score in found.scores] == ["FID", "PSNR"]
    unknown = {"shade": Map("shade", range=dict(low=0.0, high=1.0))}
    assert choose_scores(unknown, ("PSNR",)).headline.name == "PSNR"
    with pytest.raises(ValueError, match="known once its data is there"):
        choose_scores(unknown, None)


def test_standard_targets_have_scores():
    for name in STANDARD_MAPS:
        if name not in ("lidar", "event", "thermal"):  # of which no range is known
            assert choose_scores({name: Map(name, range=dict(low=0.0, high=1.0))}, None).scores


@pytest.fixture
def translated(declare, make_runs, write_results):
    """Two methods and two seeds of classes and depth, MAE, delta1 and mIoU as made up here."""
    study = declare(methods={"fused": {}, "plain": {}}, seeds=(0, 1), baseline="plain", modalities=("rgb+depth", "rgb"))
    tasks = {"labels": TASKS["classes"][0], "dense": map_of("metre")}
    shown = choose_scores(tasks, ("MAE", "delta1", "labels/mIoU"), "dense", meta={})
    runs, values = make_runs(study, shown=shown), {}
    for i, run in enumerate(runs):
        for k, subset in enumerate(run.subsets):
            found = {"MAE": 0.5 + i / 10 + k / 100, "delta1": 0.9, "labels/mIoU": 0.25}
            values[run.method, run.seed, subset] = found
    write_results(runs, lambda run, subset: values[run.method, run.seed, subset])
    return study, runs, values


def test_a_table_of_two_heads(translated, mean_and_sd, tmp_path):
    study, runs, values = translated
    costs = Costs("m", {}, {"fused": Cost((4, 6), 10, 20)})
    gathered = gather(study, {run: read_state(run) for run in runs}, costs.methods)
    heading, _, fused, plain = [line.split(" | ") for line in markdown_table(gathered).splitlines()]
    assert heading[1:7] == ["MAE both, m ↓", "MAE RGB alone, m ↓", "delta1", "labels/mIoU", "minus plain", "by seed"]
    own = {method: [values[method, seed, "rgb+depth"]["MAE"] for seed in (0, 1)] for method in study.methods}
    mean, sd = mean_and_sd(own["fused"])
    assert (fused[1], fused[3], fused[4]) == (f"{mean:.3f} ± {sd:.3f}", "0.900 ± 0.000", "0.250 ± 0.000")
    assert fused[6] == ", ".join(f"{a - b:+.3f}" for a, b in zip(own["fused"], own["plain"], strict=True))
    assert plain[6] == "—"
    header, first, *_ = csv_text(gathered).splitlines()
    assert header.startswith("method,seed,state,MAE rgb+depth,MAE rgb,delta1,labels/mIoU,headline,")
    assert first.startswith("fused,0,done,0.5,0.51,0.9,0.25,rgb+depth,")
    text = study_document(gathered, command="x", costs=costs, picture="p.png", overrides={})
    for expected in ("![MAE by method](p.png)", "MAE of the ensemble, in m, lower is better", "without discriminators"):
        assert expected in text
    assert "Commit" not in text
    plot_study(gathered, tmp_path / "p.png")
    assert (tmp_path / "p.png").is_file()


def test_units_and_directions_are_those_of_the_results(translated):
    """Where the data was not there when the study began."""
    study, runs, _ = translated
    runs = [replace(run, shown=Shown("dense", (replace(run.shown.headline, unit="", lower=False),))) for run in runs]
    gathered = gather(study, {run: read_state(run) for run in runs}, {})
    assert gathered.shown.headline == describe_score("MAE", "metre")


def test_a_score_that_no_result_has_is_named_when_the_table_is_made(translated):
    study, runs, _ = translated
    runs = [replace(run, shown=Shown("dense", (describe_score("RMSE", "metre"),))) for run in runs]
    with pytest.raises(ValueError, match=r"results.json: scores names 'RMSE'.*; the results have MAE, delta1"):
        gather(study, {run: read_state(run) for run in runs}, {})


@pytest.mark.parametrize("task", ["classes", "map"])
def test_results_of_the_first_release_are_read(declare, make_runs, task):
    """A result file of 0.1.0 in a run's folder, of segmentation and of translation."""
    head, name = ("labels", "mIoU") if task == "classes" else ("depth", "MAE")
    scores = {"mIoU": 0.375, "mAcc": 0.5, "fwIoU": 0.5, "aAcc": 0.5, "IoU": [0.375], "Acc": [1.0], "pixels": [8]}
    old = {
        "protocol": {"name": "rgbx"},
        "config": {"file": "base.py"},
        "checkpoint": {"file": "epoch_1.pth", "sha256": "c" * 64},
        "dataset": {"type": "Rooms", "samples": 2, "every": 1, "fingerprint": "f" * 64},
        "images": [],
    }
    if task == "classes":
        old |= {"format": "rgbx-result/1", "subsets": {"rgb+depth": {"ensemble": {**scores, "confusion": [[8]]}}}}
        old["dataset"] |= {"classes": ["all"], "palette": [[1, 2, 3]]}
    else:
        old |= {"format": "rgbx-translation-result/1", "subsets": {"rgb+depth": {"ensemble": {"MAE": 0.375}}}}
        old["target"] = {"name": "depth", "unit": "metre", "channels": 1}
    study = declare(methods={"a": {}}, seeds=(0,), modalities=("rgb+depth",))
    (run,) = make_runs(study, shown=Shown(head, (replace(describe_score("MAE", "metre"), name=name),)))
    run.folder.mkdir(parents=True)
    run.results.write_text(json.dumps({**old, "config": {"file": "base.py", "sha256": run.sha256}}))
    state = read_state(run)
    assert (state.kind, run.score(state)) == (DONE, 0.375)
    assert gather(study, {run: state}, {}).rows[0].scores["rgb+depth"] == {0: 0.375}
