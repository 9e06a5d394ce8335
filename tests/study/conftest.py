"""Made-up studies: declared in a dict, with result files in the form that tools/test.py writes."""

import json
import statistics
from pathlib import Path

import pytest

from rgbx.study import declare_study
from rgbx.study.runs import Run, read_state


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
    """A result file's content, as far as a study reads it."""
    return {
        "format": "rgbx-result/1",
        "protocol": {"name": "rgbx"},
        "config": {"file": "base.py", "sha256": run.sha256},
        "dataset": {"type": "Halves", "samples": 3, "fingerprint": fingerprint},
        "versions": {"rgbx": "1", "torch": "2"},
        "machine": "a machine, 2 cores",
        "date": date,
        "dtype": "float32",
        "subsets": {name: {"ensemble": {"mIoU": value}} for name, value in scores.items()},
    }


@pytest.fixture
def make_runs(tmp_path):
    """The runs of a study without configs: of a method that starts with "rgb" on RGB alone."""

    def make(study, text=""):
        return [
            Run(
                method=method,
                seed=seed,
                folder=tmp_path / "work" / study.folder_of(method, seed),
                overrides={**study.methods[method], "randomness.seed": seed},
                resolved={"model.x": repr(study.methods[method].get("model.x")), "text": repr(text)},
                sha256=f"{method} {seed} {text}",
                subsets=study.subsets_of(method, ("rgb",) if method.startswith("rgb") else ("rgb", "depth")),
            )
            for method, seed in study.grid()
        ]

    return make


@pytest.fixture
def write_results():
    """Writes result files; `score(run, subset)` gives mIoU, or None to write nothing of this run."""

    def write(runs, score, **values):
        for run in runs:
            scores = {subset: score(run, subset) for subset in run.subsets}
            if None not in scores.values():
                run.folder.mkdir(parents=True, exist_ok=True)
                run.results.write_text(json.dumps(result_of(run, scores, **values)))
        return {run: read_state(run) for run in runs}

    return write


class FakeCommands:
    """Stands for training and testing: notes its calls, leaves a checkpoint and a result, or fails as it is told."""

    def __init__(self, runs, failures=()):
        self.runs = {str(run.folder): run for run in runs}
        self.failures, self.calls = dict(failures), []

    def __call__(self, name, arguments, log):
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
            run.results.write_text(json.dumps(result_of(run, dict.fromkeys(run.subsets, 0.25))))
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
