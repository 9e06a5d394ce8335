"""Tables of made-up scores against means and deviations computed here."""

import csv
import dataclasses
import io
import random

import plain_objective  # noqa: F401
import pytest

from rgbx.models import multimodal_segmentor
from rgbx.objectives import objective_text
from rgbx.study.costs import Cost, Costs
from rgbx.study.document import study_document
from rgbx.study.plot import front, plot_front, plot_study
from rgbx.study.runs import write_note
from rgbx.study.scores import gather, summarise
from rgbx.study.table import csv_text, markdown_table, missing_runs

COSTS = {
    "fused": Cost((12, 16), 1_234_567, 3_456_000_000, (10.0, 20.0, 12.0), 2_340_000, (50.0, 70.0, 60.0)),
    "none, at all": Cost((12, 16), 1_000_000, 3_000_000_000, (5.0, 10.0, 24.0), 0, (40.0, 35.0, 60.0)),
}
TITLES = {"rgb+depth": "both", "rgb": "RGB alone", "depth": "depth alone"}
METHODS = {"fused": {}, "none, at all": {"model.fusion": None}, "rgb only": {"model.modalities": ("rgb",)}}


@pytest.fixture
def study(declare):
    return declare(methods=METHODS, baseline="none, at all", modalities=("rgb+depth", "rgb", "depth"))


@pytest.fixture
def scores(make_runs, study):
    rng = random.Random(0)
    return {(run.method, run.seed, subset): rng.uniform(0.3, 0.7) for run in make_runs(study) for subset in run.subsets}


@pytest.fixture
def gathered(study, make_runs, write_results, scores):
    states = write_results(make_runs(study), lambda run, subset: scores[run.method, run.seed, subset])
    return gather(study, states, COSTS)


def cells(markdown):
    """Rows of a Markdown table by their first cell, as dicts by heading."""
    header, _, *lines = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in markdown.splitlines()]
    return {line[0]: dict(zip(header, line, strict=True)) for line in lines}


def test_means_and_deviations(gathered, scores, mean_and_sd):
    table = cells(markdown_table(gathered))
    assert list(table) == list(METHODS)
    for method, subset in (("fused", "rgb+depth"), ("fused", "depth"), ("none, at all", "rgb"), ("rgb only", "rgb")):
        mean, sd = mean_and_sd([scores[method, seed, subset] for seed in range(3)])
        assert table[method][f"mIoU {TITLES[subset]}"] == f"{mean:.3f} ± {sd:.3f}"
    assert (table["rgb only"]["mIoU both"], table["rgb only"]["mIoU depth alone"]) == ("—", "—")


def test_differences_are_paired_by_seed(gathered, scores, mean_and_sd):
    table = cells(markdown_table(gathered))
    for method, subset in (("fused", "rgb+depth"), ("rgb only", "rgb")):
        gains = [scores[method, seed, subset] - scores["none, at all", seed, "rgb+depth"] for seed in range(3)]
        mean, sd = mean_and_sd(gains)
        assert table[method]["minus none, at all"] == f"{mean:+.3f} ± {sd:.3f}"
        assert table[method]["by seed"] == ", ".join(f"{gain:+.3f}" for gain in gains)
    assert table["none, at all"]["minus none, at all"] == "—"


def test_costs(gathered):
    table = cells(markdown_table(gathered))
    row = table["fused"]
    assert (row["parameters, M"], row["GFLOP"], row["latency, ms"], row["× the first"]) == (
        "1.23",
        "3.46",
        "12.00",
        "1.00",
    )
    row = table["none, at all"]  # round by round 0.5, 0.5 and 2 times the first
    assert (row["GFLOP"], row["latency, ms"], row["× the first"]) == ("3.00", "10.00", "0.50")
    assert table["rgb only"]["parameters, M"] == "—"
    columns = ("training step, ms", "step × the first", "of training alone, M")  # steps by round 0.8, 0.5 and 1
    expected = {
        "fused": ("60.00", "1.00", "2.34"),
        "none, at all": ("40.00", "0.80", "0.00"),
        "rgb only": ("—", "—", "—"),
    }
    assert {method: tuple(row[name] for name in columns) for method, row in table.items()} == expected


def test_columns_that_nothing_fills_are_not_there(study, make_runs, write_results):
    """Of costs without times, or of before steps were timed, and of methods without anything of training alone."""
    states = write_results(make_runs(study), lambda run, subset: 0.5)
    for times, absent in (((), ("latency, ms", "× the first")), ((3.0,), ())):
        found = {method: Cost((12, 16), 10, 20, times) for method in METHODS}
        table = cells(markdown_table(gather(study, states, found)))
        absent += ("training step, ms", "step × the first", "of training alone, M")
        assert not set(absent) & set(table["fused"]) and ("latency, ms" in table["fused"]) == bool(times)


def test_objectives_are_named_below_the_table(study, make_runs, write_results):
    """With weight, and the options that are not as usual; as the recipe holds them, in lists."""
    site = dict(modalities=("rgb", "depth"), backbone="test_resnet", num_classes=2)
    given = {"fused": ["judged"], "none, at all": [dict(name="judged", weight=0.25, width=5, stages=(2,))]}
    recipes = {name: multimodal_segmentor(**site, objectives=found).recipe for name, found in given.items()}
    told = {name: recipe["parameters"]["objectives"] for name, recipe in recipes.items()}
    runs = [
        dataclasses.replace(run, objectives=tuple(map(objective_text, told.get(run.method, ()))))
        for run in make_runs(study)
    ]
    states = write_results(runs, lambda run, subset: 0.5)
    text = study_document(gather(study, states, {}), command="x", costs=None, picture="p.png", overrides={})
    assert "\n- Objectives of fused: judged × 1.\n" in text
    assert "\n- Objectives of none, at all: judged × 0.25, width 5, stages [2].\n" in text
    assert "Objectives of rgb only" not in text


def test_csv_is_exact(gathered, scores):
    rows = list(csv.DictReader(io.StringIO(csv_text(gathered))))
    assert [(row["method"], int(row["seed"])) for row in rows] == [(m, s) for m in METHODS for s in range(3)]
    for row in rows:
        for subset in ("rgb+depth", "rgb", "depth"):
            expected = scores.get((row["method"], int(row["seed"]), subset))
            assert row[f"mIoU {subset}"] == ("" if expected is None else repr(expected))
        base = scores["none, at all", int(row["seed"]), "rgb+depth"]
        own = scores[row["method"], int(row["seed"]), row["headline"]]
        assert row["minus_baseline"] == ("" if row["method"] == "none, at all" else repr(own - base))
    assert (rows[0]["parameters"], rows[0]["latency_ms"], rows[-1]["parameters"]) == ("1234567", "12.0", "")
    assert [(rows[i]["training_parameters"], rows[i]["step_ms"]) for i in (0, -1)] == [("2340000", "60.0"), ("", "")]


def test_what_is_missing_is_said(study, make_runs, write_results, scores):
    """Seed 1 of one method failed, another method was not run, and the baseline lacks seed 2."""
    runs = make_runs(study)
    absent = {("fused", 1), ("none, at all", 2), *(("rgb only", seed) for seed in range(3))}
    for run in runs:
        if (run.method, run.seed) == ("fused", 1):
            write_note(run, seconds=1.0, failure="train ended with exit code 2: error: out of paint")
    states = write_results(
        runs, lambda run, subset: None if (run.method, run.seed) in absent else scores[run.method, run.seed, subset]
    )
    gathered = gather(study, states, {})
    table = cells(markdown_table(gathered))
    mean = (scores["fused", 0, "rgb+depth"] + scores["fused", 2, "rgb+depth"]) / 2
    assert table["fused"]["mIoU both"].startswith(f"{mean:.3f} ± ")
    assert table["fused"]["mIoU both"].endswith("(n = 2), 1 failed")
    assert table["fused"]["mIoU RGB alone"].endswith("(n = 2)")
    gain = scores["fused", 0, "rgb+depth"] - scores["none, at all", 0, "rgb+depth"]  # the one seed that both have
    assert table["fused"]["minus none, at all"] == f"{gain:+.3f} (n = 1)"
    assert table["none, at all"]["mIoU both"].endswith("(n = 2), 1 not run")
    assert table["rgb only"]["mIoU RGB alone"] == "3 not run"
    assert "latency, ms" not in table["fused"]
    assert missing_runs(gathered)[0] == "fused, seed 1: failed: train ended with exit code 2: error: out of paint"
    text = study_document(gathered, command="x", costs=None, picture="p.png", overrides={})
    assert "## Not in the table\n\n- fused, seed 1: failed: train ended" in text


def test_one_seed_has_no_deviation(declare, make_runs, write_results):
    study = declare(seeds=(4,), methods={"a": {}})
    gathered = gather(study, write_results(make_runs(study), lambda run, subset: 0.5), {})
    assert cells(markdown_table(gathered))["a"]["mIoU both"] == "0.500"
    assert summarise([0.5]).sd is None and summarise([]) is None


def test_results_of_other_frames_are_refused(study, make_runs, write_results):
    runs = make_runs(study)
    states = write_results(runs[:3], lambda run, subset: 0.5)
    states |= write_results(runs[3:], lambda run, subset: 0.5, fingerprint="0" * 64)
    with pytest.raises(ValueError, match=r"differ \(heads\.labels\.fingerprint: f+\.\.\. against 0+"):
        gather(study, states, {})


def test_the_document_says_what_was_done(gathered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    costs = Costs("x86_64, 2 threads", {}, COSTS)
    overrides = {"train_cfg.max_epochs": 6, "model.pretrained": "/home/someone/weights.pth"}
    text = study_document(
        gathered, command="python tools/study.py s.py", costs=costs, picture="s.png", overrides=overrides
    )
    for expected in (
        "# Study study\n\n    python tools/study.py s.py\n",
        "Config: base.py; every run: `train_cfg.max_epochs=6`, `model.pretrained='weights.pth'`",
        "Seeds: 0, 1, 2",
        "Halves, 3 test frames, fingerprint ffffffffffffffff",
        "Protocol: rgbx, float32",
        "Versions: rgbx 1, torch 2",
        "Machine: a machine, 2 cores",
        "Date: 2026-01-02",
        "per frame of 12×16",
        "Measured on x86_64, 2 threads.",
        "- Training step: one batch",
        "- Of training alone: parameters of discriminators, objectives",
        "- none, at all: `model.fusion=None`",
        "![mIoU by method](s.png)",
    ):
        assert expected in text
    assert markdown_table(gathered) in text
    assert "/home" not in text and str(tmp_path) not in text and "Not in the table" not in text


def test_the_plot_shows_every_value(gathered, scores, tmp_path, monkeypatch):
    """Dots and bars are read back from the figure; the deviations are those of the table."""
    import matplotlib.figure

    kept = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda self, path, **options: kept.append(self))
    plot_study(gathered, tmp_path / "out/study.png")
    left, right = kept[0].axes
    dots = [line for line in left.lines if line.get_marker() == "o"]
    for y, (method, subset) in enumerate((("fused", "rgb+depth"), ("none, at all", "rgb+depth"), ("rgb only", "rgb"))):
        values = [scores[method, seed, subset] for seed in range(3)]
        assert sorted(dots[y].get_xdata()) == sorted(values) and {round(float(v)) for v in dots[y].get_ydata()} == {y}
    low, high = left.containers[0].lines[2][0].get_segments()[0][:, 0]
    found = gathered.rows[0].summary()
    assert (low, high) == pytest.approx((found.mean - found.sd, found.mean + found.sd))
    assert [text.get_text() for text in left.get_yticklabels()] == ["fused", "none, at all", "rgb only  [RGB alone]"]
    assert left.get_ylim()[0] > left.get_ylim()[1]
    assert [bars.get_label() for bars in right.containers] == ["RGB alone", "depth alone"]


def test_the_plot_is_a_picture(gathered, declare, make_runs, write_results, tmp_path):
    plot_study(gathered, tmp_path / "out/study.png")
    assert (tmp_path / "out/study.png").read_bytes().startswith(b"\x89PNG")
    study = declare(methods={"a": {}, "b": {}}, seeds=(0,))
    runs = make_runs(study)
    states = write_results(runs, lambda run, subset: None)
    plot_study(gather(study, states, {}), tmp_path / "none.png")
    assert (tmp_path / "none.png").is_file()


def test_the_front_is_what_nothing_beats():
    rng = random.Random(1)
    points = [(rng.randint(1, 9), rng.randint(1, 9)) for _ in range(40)]
    for lower in (False, True):
        sign = -1 if lower else 1
        beaten = {p for p in points for q in points if q != p and q[0] <= p[0] and sign * q[1] >= sign * p[1]}
        assert front(points, lower=lower) == sorted(set(points) - beaten)


def test_scores_against_costs(gathered, declare, make_runs, write_results, tmp_path, monkeypatch):
    import matplotlib.figure

    kept = []
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda self, path, **options: kept.append(self))
    assert plot_front(gathered, tmp_path / "front.png")
    latency, parameters = kept[0].axes
    for axes, costs in ((latency, (12.0, 10.0)), (parameters, (1.234567, 1.0))):
        found = [tuple(float(x[0]) for x in bars.lines[0].get_data()) for bars in axes.containers]
        means = [row.summary().mean for row in gathered.rows[:2]]
        assert found == [pytest.approx(pair) for pair in zip(costs, means, strict=True)]
    kept.clear()
    assert not plot_front(dataclasses.replace(gathered, rows=gathered.rows[2:]), tmp_path / "none.png") and not kept
