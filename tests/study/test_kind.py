"""What results are: scores by the unit of a target against the table of docs/translation.md, and what messages say."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rgbx.evaluate.translation_scores import score_names
from rgbx.maps import STANDARD_MAPS
from rgbx.metrics import scores
from rgbx.study.costs import Cost, Costs
from rgbx.study.document import study_document
from rgbx.study.kind import SEGMENTATION, SEGMENTATION_SCORES, segmentation_kind, translation_kind
from rgbx.study.plot import plot_study
from rgbx.study.runs import read_state
from rgbx.study.scores import gather
from rgbx.study.table import csv_text, markdown_table

PAGE = Path(__file__).parents[3] / "docs/translation.md"
UNITS = {"colours": "rgb8", "metres": "metre", "normals": "unit_vector", "relative": "relative", "other": "sensor"}


@pytest.mark.parametrize("row", UNITS)
def test_scores_of_a_unit_are_those_of_the_page(row):
    (cell,) = re.findall(rf"^\| {row} \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    documented = re.sub(r"\([^)]*\)|; with weights.*| in its unit", "", cell)
    assert {name.strip() for name in documented.split(",")} == set(score_names(UNITS[row]))


@pytest.mark.parametrize(
    ("unit", "names", "lower"),
    [
        ("rgb8", ("PSNR", "SSIM", "MAE"), (False, False, True)),
        ("relative", ("PSNR", "SSIM", "MAE"), (False, False, True)),
        ("metre", ("MAE", "AbsRel", "delta1"), (True, True, False)),
        ("unit_vector", ("angle_mean", "angle_median", "within_11.25"), (True, True, False)),
        ("sensor", ("MAE",), (True,)),
    ],
)
def test_scores_by_default(unit, names, lower):
    found = translation_kind(unit).scores
    assert (tuple(score.name for score in found), tuple(score.lower for score in found)) == (names, lower)


def test_what_a_score_is_called():
    psnr, _, mae = translation_kind("rgb8").scores
    assert (psnr.heading("depth"), mae.heading()) == ("PSNR depth, dB", "MAE, of 0..255 ↓")
    assert (psnr.label, mae.label) == ("PSNR (dB)", "MAE (of 0..255, lower is better)")
    assert (psnr.said(12.3456), mae.said(None)) == ("PSNR 12.35", "MAE undefined")
    miou = SEGMENTATION.headline
    assert (miou.heading("rgb"), miou.label, miou.lower, miou.said(0.5)) == ("mIoU rgb", "mIoU", False, "mIoU 0.500")


def test_scores_of_segmentation_are_those_of_a_confusion_matrix():
    plain = [name for name, value in scores(torch.eye(2)).items() if isinstance(value, float)]
    assert set(plain) == set(SEGMENTATION_SCORES)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: segmentation_kind(("mIou",)), "'mIou'; did you mean 'mIoU'.*; the results have mIoU, mAcc"),
        (lambda: segmentation_kind(("PSNR",)), "'PSNR'"),
        (lambda: translation_kind("metre", ("absrel",)), "'absrel'; did you mean 'AbsRel'"),
        (lambda: translation_kind("metre", ("PSNR",)), "the results have MAE, RMSE, AbsRel, delta1"),
        (lambda: translation_kind("rgb8", ("FID",), evaluator={"fid": None}), "'FID'"),
    ],
)
def test_unknown_scores_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_scores_that_may_be_there_pass():
    kind = translation_kind("rgb8", ("FID", "PSNR"), evaluator={"fid": {"weights": "w.pth"}})
    assert [score.name for score in kind.scores] == ["FID", "PSNR"]
    assert translation_kind("", ("angle_mean",), certain=False).headline.name == "angle_mean"


@pytest.fixture
def translated(declare, make_runs):
    """Two methods and two seeds, MAE and delta1 as made up here."""
    study = declare(methods={"fused": {}, "plain": {}}, seeds=(0, 1), baseline="plain", modalities=("rgb+depth", "rgb"))
    runs = [replace(run, kind=translation_kind("metre", ("MAE", "delta1"))) for run in make_runs(study)]
    values = {}
    for i, run in enumerate(runs):
        values[run.method, run.seed] = {
            s: {"MAE": 0.5 + i / 10 + k / 100, "delta1": 0.9} for k, s in enumerate(run.subsets)
        }
        run.folder.mkdir(parents=True)
        result = {
            "format": "rgbx-translation-result/1",
            "protocol": {"name": "rgbx"},
            "config": {"sha256": run.sha256},
            "dataset": {"type": "T", "samples": 2, "fingerprint": "f" * 20},
            "versions": {},
            "machine": "m",
            "date": "2026-01-01T",
            "dtype": "float32",
            "subsets": {s: {"ensemble": found} for s, found in values[run.method, run.seed].items()},
        }
        run.results.write_text(json.dumps(result))
    return study, runs, values


def test_a_table_of_translation(translated, mean_and_sd, tmp_path):
    study, runs, values = translated
    costs = Costs("m", {}, {"fused": Cost((4, 6), 10, 20)})
    gathered = gather(study, {run: read_state(run) for run in runs}, costs.methods)
    heading, _, fused, plain = [line.split(" | ") for line in markdown_table(gathered).splitlines()]
    assert heading[1:6] == ["MAE rgb+depth, m ↓", "MAE rgb, m ↓", "delta1", "minus plain", "by seed"]
    mean, sd = mean_and_sd([values["fused", seed]["rgb+depth"]["MAE"] for seed in (0, 1)])
    assert fused[1] == f"{mean:.3f} ± {sd:.3f}" and fused[3] == "0.900 ± 0.000"
    gains = [values["fused", seed]["rgb+depth"]["MAE"] - values["plain", seed]["rgb+depth"]["MAE"] for seed in (0, 1)]
    assert fused[5] == ", ".join(f"{gain:+.3f}" for gain in gains) and plain[5] == "—"
    header, first, *_ = csv_text(gathered).splitlines()
    assert header.startswith("method,seed,state,MAE rgb+depth,MAE rgb,delta1,headline,")
    assert first.startswith("fused,0,done,0.5,0.51,0.9,rgb+depth,")
    text = study_document(gathered, command="x", costs=costs, picture="p.png", overrides={})
    for expected in (
        "![MAE by method](p.png)",
        "MAE of the ensemble, in m, lower is better",
        "Parameters: of the generator",
    ):
        assert expected in text
    assert "mIoU" not in text and "Commit" not in text
    plot_study(gathered, tmp_path / "p.png")
    assert (tmp_path / "p.png").is_file()


def test_a_score_that_no_result_has_is_named_when_the_table_is_made(translated):
    study, runs, _ = translated
    runs = [replace(run, kind=translation_kind("", ("RMSE",), certain=False)) for run in runs]
    with pytest.raises(ValueError, match=r"results.json: scores names 'RMSE'.*; the results have MAE, delta1"):
        gather(study, {run: read_state(run) for run in runs}, {})


def test_standard_targets_have_scores():
    assert all(translation_kind(spec.unit).scores for spec in STANDARD_MAPS.values())
