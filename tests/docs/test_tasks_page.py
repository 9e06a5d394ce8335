"""docs/tasks.md does what it says: its task is trained beside another, tested, reported and loaded."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rgbx.tasks import TASKS, Target

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tasks.md").read_text()
FENCED = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TABLES, ADD = re.split(r"^## Add a task$", PAGE, flags=re.M)
((_, _, BUILD),) = FENCED.findall(TABLES)
(_, FILE, CODE), (_, CONFIG, TEXT), (_, _, COMMANDS), (_, _, LOAD) = FENCED.findall(ADD)


@pytest.fixture
def known_tasks():
    """What is imported from the page's file is forgotten afterwards."""
    known = dict(TASKS)
    yield
    TASKS.clear()
    TASKS.update(known)
    sys.modules.pop(Path(FILE).stem, None)


def test_three_heads():
    found = {}
    exec(BUILD, found)
    model = found["model"].eval()
    batch = {"rgb": torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8), "depth": torch.rand(1, 1, 64, 96)}
    (sample,) = model.predict(batch)
    shapes = {name: tuple(head.prediction["ensemble"].shape) for name, head in sample["heads"].items()}
    assert shapes == {"labels": (64, 96), "normal": (3, 64, 96), "dense": (1, 64, 96)}


@pytest.mark.usefixtures("known_tasks")
def test_a_task_of_the_user(place, run_tools, capsys):
    """With a smaller backbone, as checkpoints of a ResNet-18 and its optimizer take longer to write than to train."""
    (place / FILE).write_text(CODE)
    (place / CONFIG).write_text(f"{TEXT}model.update(backbone='test_resnet')\n")
    run_tools(COMMANDS)
    assert "F" in capsys.readouterr().out
    loaded = {}
    exec(LOAD, loaded)
    model = loaded["model"]
    assert list(model.heads) == ["labels", "objects"]
    result = json.loads((place / "work_dirs/saliency/report/results.json").read_text())
    objects = result["heads"]["objects"]
    assert [score["name"] for score in objects["scores"]] == ["F", "MAE"]
    assert set(objects["subsets"]) == {"rgb+depth", "rgb"}
    assert 0 < objects["subsets"]["rgb+depth"]["ensemble"]["MAE"] < 1
    assert (place / "work_dirs/saliency/report/report.html").is_file()
    check_scores(model.tasks["objects"])
    check_prediction(model, place)


def check_prediction(model, folder):
    """Of arrays, with a picture as the task draws it."""
    rgb = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    found = model.predict(rgb=rgb)["objects"]
    batch = {"rgb": torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None]}
    expected = model.predict(batch)[0]["heads"]["objects"].prediction["ensemble"].numpy()
    np.testing.assert_array_equal(found.values, expected[0])
    found.save(folder / "objects.png")
    with Image.open(folder / "objects.png") as image:
        np.testing.assert_array_equal(np.asarray(image), model.tasks["objects"].draw(expected, {}))


def check_scores(task):
    """Against a count pixel by pixel."""
    rng = np.random.default_rng(0)
    values, truth = rng.random((6, 7)), rng.integers(0, 2, (6, 7))
    valid = rng.random((6, 7)) > 0.2
    right = found = true = 0
    error = []
    for i, j in np.ndindex(6, 7):
        if valid[i, j]:
            right += values[i, j] > 0.5 and truth[i, j]
            found += values[i, j] > 0.5
            true += truth[i, j]
            error.append(abs(values[i, j] - truth[i, j]))
    precision, recall = right / found, right / true
    expected = 1.3 * precision * recall / (0.3 * precision + recall)
    target = Target(torch.tensor(truth)[None].float(), torch.tensor(valid)[None])
    scores = task.scores_of(task.measure(torch.tensor(values)[None].float(), target))
    assert scores["F"] == pytest.approx(expected, rel=1e-6)
    assert scores["MAE"] == pytest.approx(np.mean(error), rel=1e-6)
