"""docs/retrieval.md does what it says: its commands and code run, one after the other; tables name what there is."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import cv2

from rgbx.models.build import embedder_parameters
from rgbx.tasks.embedding import AUC, TABLE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "retrieval.md").read_text()
FENCED = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_runs(place, run_tools, capsys):
    (_, _, regions), (_, _, code), (_, file, config), (_, _, frames) = FENCED.findall(PAGE)
    run_tools(regions)
    printed = capsys.readouterr().out
    assert "8 frames of depth indexed" in printed and "Right is regions of the same id" in printed
    rows = json.loads(Path("found/retrieved.json").read_text())
    label = cv2.imread("data/few/test/label/000003.png", cv2.IMREAD_UNCHANGED)
    assert len(rows) == len(set(label.ravel().tolist()) - {255}) and len(rows[0]["answers"]) == 10
    assert (place / "found/retrieved.png").is_file() and (place / "work_dirs/codes/report/report.html").is_file()
    names: dict = {}
    exec(code, names)
    assert -1 <= names["likeness"] <= 1 and names["regions"].shape == (2, 2)
    (place / file).write_text(config)
    run_tools(frames)
    assert "Right is the frame of the same name; of 8 queries" in capsys.readouterr().out


def test_tables_name_what_there_is():
    options = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([^|]*) \|", PAGE.split("## Options")[1], re.MULTILINE)
    parameters = inspect.signature(embedder_parameters).parameters
    for cell, defaults in options:
        names = re.findall(r"`(\w+)`", cell)
        for name, default in zip(names, defaults.split(", "), strict=True):
            assert not default.strip() or repr(parameters[name].default).replace("'", '"') == default.strip("`"), name
    told = {re.sub("k$", "", name) for name in re.findall(r"^\| `([\w@]+)` \| [a-z]", PAGE.split("## `rgbx")[0], re.M)}
    assert told == {re.sub(r"\d+$", "", score.name) for score in (*TABLE, AUC)} - {"chance"}
