"""Made-up studies: declared in a dict, with result files in the form that tools/test.py writes."""

import dataclasses
import json
import statistics
from pathlib import Path

import pytest

from rgbx.study import declare_study
from rgbx.study.runs import Run, read_state
from rgbx.study.shown import Shown
from rgbx.tasks.classes import SCORES

SEGMENTATION = Shown("labels", (SCORES["mIoU"],))


@pytest.fixture
def declare(tmp_path):
    """Makes a study from its values; `config` and three methods are there unless given."""

    def make(**values):
        (tmp_path / "base.py").write_text("model = None\n")
        given = {
            "config": "base.py",
            "seeds": (0, 1, 2),
            "methods": {"a": {}, "b": {"model.x": 1}, "c": {"model.x": 2}},
        }
        return declare_study({**given, **values}, tmp_path / "study.py")

    return make


def result_of(run, scores, fingerprint="f" * 64, date="2026-01-02T10:00:00+00:00"):
    """A result file's content: subset to scores of the ensemble, by their names in the study."""
    shown = run.shown
    heads = {}
    for head in shown.heads:
        own = [score for score in shown.scores if shown.place(score.name)[0] == head]
        table = [{**dataclasses.asdict(score), "name": shown.place(score.name)[1]} for score in own]
        subsets = {}
        for subset, values in scores.items():
            found = {shown.place(name)[1]: value for name, value in values.items() if shown.place(name)[0] == head}
            counts = {"IoU": [0.5], "Acc": [0.5], "pixels": [1], "confusion": [[1]]} if head == "labels" else {}
            subsets[subset] = {"ensemble": {**counts, **found}}
        heads[head] = {
            "task": "classes" if head == "labels" else "map",
            "about": {"classes": ["all"], "palette": [[0, 0, 0]]} if head == "labels" else {},
            "fingerprint": fingerprint,
            "scores": table,
            "subsets": subsets,
            "images": [],
            "robustness": None,
            "pictures": None,
        }
    return {
        "format": "rgbx-result/2",
        "protocol": {"name": "rgbx"},
        "config": {"file": "base.py", "sha256": run.sha256},
        "checkpoint": {"file": "epoch_1.pth", "sha256": "c" * 64},
        "dataset": {"type": "Halves", "samples": 3, "every": 1},
        "versions": {"rgbx": "1", "torch": "2"},
        "machine": "a machine, 2 cores",
        "date": date,
        "dtype": "float32",
        "heads": heads,
    }


@pytest.fixture
def make_runs(tmp_path):
    """The runs of a study without configs: of a method that starts with "rgb" on RGB alone."""

    def make(study, text="", shown=SEGMENTATION):
        return [
            Run(
                method=method,
                seed=seed,
                folder=tmp_path / "work" / study.folder_of(method, seed),
                overrides={**study.methods[method], "randomness.seed": seed},
                resolved={"model.x": repr(study.methods[method].get("model.x")), "text": repr(text)},
                sha256=f"{method} {seed} {text}",
                subsets=study.subsets_of(method, ("rgb",) if method.startswith("rgb") else ("rgb", "depth")),
                shown=shown,
            )
            for method, seed in study.grid()
        ]

    return make


@pytest.fixture
def write_results():
    """Writes result files; `score(run, subset)` gives the headline or scores by name, None for no file."""

    def write(runs, score, **values):
        for run in runs:
            scores = {subset: score(run, subset) for subset in run.subsets}
            if None not in scores.values():
                run.folder.mkdir(parents=True, exist_ok=True)
                name = run.shown.headline.name
                named = {
                    subset: found if isinstance(found, dict) else {name: found} for subset, found in scores.items()
                }
                run.results.write_text(json.dumps(result_of(run, named, **values)))
        return {run: read_state(run) for run in runs}

    return write


class FakeCommands:
    """Stands for training and testing: notes its calls, leaves a checkpoint and a result, or fails as it is told."""

    def __init__(self, runs, failures=()):
        self.runs = {str(run.folder): run for run in runs}
        self.failures, self.calls = dict(failures), []

    def __call__(self, name, arguments, log, keep_open=None):
        folder = arguments[arguments.index("--work-dir") + 1] if name == "train" else arguments[1]
        run = self.runs[folder]
        self.calls.append((name, run.method, run.seed))
        self.arguments = list(arguments)
        code, said = self.failures.get((name, run.method, run.seed), (0, "fine"))
        with log.open("a") as file:
            file.write(f"starting\n{said}\n\n")
        if code:
            return code
        if name == "train":
            Path(folder, "epoch_1.pth").touch()
        else:
            run.results.write_text(json.dumps(result_of(run, {subset: {"mIoU": 0.25} for subset in run.subsets})))
        return 0


@pytest.fixture
def fake_commands():
    return FakeCommands


@pytest.fixture
def mean_and_sd():
    """By the textbook: the sum of squared deviations over n − 1."""

    def compute(values):
        mean = sum(values) / len(values)
        spread = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
        assert spread == pytest.approx(statistics.stdev(values))
        return mean, spread

    return compute
