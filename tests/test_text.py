"""The nearest of known names; titles of predictions; CSV files: what spreadsheets would run is text."""

import csv
import io
import re

import pytest

from rgbx._runs import find_result
from rgbx._text import branch_title, csv_text, nearest, nearest_file, one_of, subset_title, subset_titles
from rgbx.cli.arguments import existing_config


@pytest.mark.parametrize(
    "text",
    ["=1+1", '=cmd|"/c calc"!A1', "+SUM(A1)", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1+1", "-", "-1e", "+1-1"],
)
def test_formulas_become_text(text):
    rows = list(csv.reader(io.StringIO(csv_text([text], [[text]]), newline="")))
    assert rows == [[f"'{text}"], [f"'{text}"]]


@pytest.mark.parametrize("cell", [-1.5, -3, 1e-17, "-1.5", "+2", "-.5e-3", "mIoU", "a=b", "", None, float("-inf")])
def test_all_else_is_as_it_is(cell):
    (row,) = list(csv.reader(io.StringIO(csv_text([cell, "x"], []))))
    assert row == ["" if cell is None else str(cell), "x"]


def test_numbers_are_in_full_precision():
    assert csv_text(["a"], [[0.1 + 0.2], [-1 / 3]]) == "a\n0.30000000000000004\n-0.3333333333333333\n"


@pytest.mark.parametrize(
    ("subset", "known", "title"),
    [
        (("rgb",), ("rgb", "depth"), "RGB alone"),
        (("rgb", "depth"), ("rgb", "depth"), "both"),
        (("rgb", "depth"), ("rgb", "depth", "thermal"), "RGB + depth"),
        (("rgb", "depth", "thermal"), ("rgb", "depth", "thermal"), "all"),
    ],
)
def test_titles(subset, known, title):
    assert subset_title(subset, known) == title


def test_a_branch_is_no_subset():
    """What a model that is given both predicts from RGB is not what it predicts from RGB alone."""
    titles = subset_titles(["rgb+near_infrared", "rgb", "near_infrared"])
    assert list(titles.values()) == ["both", "RGB alone", "near infrared alone"]
    assert subset_titles(["rgb+depth"]) == {"rgb+depth": "RGB + depth"}  # there is nothing that it is more than
    assert branch_title("rgb") == "RGB branch" and branch_title("rgb") not in titles.values()


@pytest.mark.parametrize(
    ("name", "hint"),
    [("rbg", "; did you mean 'rgb'?"), ("Depth", "; did you mean 'depth'?"), ("lidar", ""), ("depth" * 30_000, "")],
)
def test_the_nearest_name(name, hint):
    assert nearest(name, ["rgb", "depth", "thermal"]) == hint
    assert one_of(("rgb", "depth", "thermal"), name) == f"rgb, depth, thermal{hint}"


def test_the_nearest_file_also_where_its_folder_is_misspelt(tmp_path):
    (tmp_path / "own_new").mkdir()
    (tmp_path / "own_new/config.py").touch()
    near = f"; did you mean '{tmp_path}/own_new/config.py'?"
    assert nearest_file(tmp_path / "own_nw/config.py") == near
    assert nearest_file(tmp_path / "own_new/confg.py") == "; did you mean 'config.py'?"
    assert nearest_file(tmp_path / "own_nw/plan.json") == nearest_file(tmp_path / "a/b/c.py") == ""
    for find in (existing_config, find_result):
        with pytest.raises(FileNotFoundError, match=re.escape(near)):
            find(tmp_path / "own_nw/config.py")


def test_names_may_be_other_things_than_text():
    assert one_of((None, "same"), "none") == "None, same; did you mean 'None'?"
