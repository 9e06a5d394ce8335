"""tools/study.py with stand-ins for training and testing, and once for real."""

import csv
import json
import re
import shutil
import signal
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

import rgbx.cli.study
from rgbx.cli.arguments import build_parser, parse
from rgbx.cli.config import load_config
from rgbx.cli.main import run
from rgbx.cli.study import child_environment, main
from rgbx.cli.study_runs import method_overrides, read_study, resolve_runs
from rgbx.study.commands import Commands
from rgbx.study.declaration import OPTIONAL, as_options
from rgbx.study.runs import read_state
from rgbx.train.stopping import REQUESTS

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "configs/studies").glob("*.py"))
ROOMS = "configs/rooms/asymfusion_r18_rooms_160x120.py"
TINY = """
config = {config!r}
_loaders = ("train", "val", "test")
budget = {{
    "model.backbone": "test_resnet.r160_in1k", "model.decoder.width": 8, "model.modality_dropout": None,
    "train_cfg.max_epochs": 1, "train_cfg.val_interval": 1, "param_scheduler": [],
    "train_dataloader.batch_size": 2, "train_dataloader.persistent_workers": False,
    **{{f"{{_name}}_dataloader.dataset.size": (40, 64) for _name in _loaders}},
    **{{f"{{_name}}_dataloader.dataset.num_frames": 2 for _name in _loaders}},
    **{{f"{{_name}}_dataloader.num_workers": 0 for _name in _loaders}},
}}
methods = {{"fused": {{}}, "rgb, alone": {{"model.modalities": ("rgb",), "model.fusion": None}}}}
seeds = (0,)
baseline = "fused"
modalities = ("rgb+depth", "rgb")
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Configs name their rooms relative to where one is: what is rendered must not land in this repository."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write_study(tmp_path):
    def write(text="", name="mine.py"):
        path = tmp_path / name
        path.write_text(TINY.format(config=str(ROOT / ROOMS)) + text)
        return str(path)

    return write


class FakeCommands:
    """Leaves the result of a run: mIoU 0.5, or of its seed; exit codes and interruptions as told."""

    calls: list = []  # noqa: RUF012 (cleared by the fixture)
    codes: dict = {}  # noqa: RUF012

    def __init__(self, environment):
        self.stopped = False

    def stop(self):
        self.stopped = True

    def __call__(self, name, arguments, log, keep_open=None):
        options = dict(word.split("=", 1) for word in arguments[arguments.index("--cfg-options") + 1 :])
        folder = Path(arguments[arguments.index("--work-dir") + 1])
        method = (folder if name == "train" else folder.parent).parent.name
        self.calls.append((name, method, int(options["randomness.seed"])))
        code = self.codes.get((name, method), 0)
        if isinstance(code, BaseException):
            raise code
        with log.open("a") as file:
            file.write("error: as told\n" if code else "fine\n")
        if name == "test" and not code:
            subsets = arguments[arguments.index("--modalities") + 1 : arguments.index("--cfg-options")]
            subsets = [word for word in subsets if not word.startswith(("-", "/"))]
            note = json.loads((log.parent / "run.json").read_text())
            score = 0.5 + int(options["randomness.seed"]) / 10
            counts = {"IoU": [score], "Acc": [score], "pixels": [1], "confusion": [[1]]}
            result = {
                "format": "rgbx-result/2",
                "protocol": {"name": "rgbx"},
                "config": {"file": "base.py", "sha256": note["sha256"]},
                "checkpoint": {"file": "epoch_1.pth", "sha256": "c"},
                "dataset": {"type": "T", "samples": 2, "every": 1},
                "versions": {},
                "machine": "m",
                "date": "2026-01-01T",
                "dtype": "float32",
                "heads": {
                    "labels": {
                        "task": "classes",
                        "about": {"classes": ["all"], "palette": [[0, 0, 0]]},
                        "fingerprint": "f" * 20,
                        "scores": [{"name": "mIoU", "unit": "fraction", "digits": 3, "lower": False}],
                        "subsets": {subset: {"ensemble": {"mIoU": score, **counts}} for subset in subsets},
                        "images": [],
                    }
                },
            }
            (log.parent / "results.json").write_text(json.dumps(result))
        return code


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """The study runs in tmp_path with stand-ins, whose calls are noted."""
    monkeypatch.setattr(rgbx.cli.study, "Commands", FakeCommands)
    monkeypatch.setattr(FakeCommands, "calls", [])
    monkeypatch.setattr(FakeCommands, "codes", {})
    monkeypatch.chdir(tmp_path)
    return FakeCommands.calls


def options(path, tmp_path):
    (tmp_path / "rooms").mkdir(exist_ok=True)
    return [path, "--work-dir", str(tmp_path / "work"), "--data-root", str(tmp_path / "rooms"), "--no-latency"]


def test_runs_what_is_not_done_and_tabulates(write_study, calls, tmp_path, capsys):
    path = write_study("seeds = (0, 1)\nmethod_seeds = {'rgb, alone': (1,)}")
    assert main([*options(path, tmp_path), "--only", "fused", "--seeds", "1"]) == 0
    assert calls == [("train", "fused", 1), ("test", "fused", 1)]
    printed = capsys.readouterr().out
    assert "[1/1] fused, seed 1: mIoU 0.600" in printed
    assert "0.600 (n = 1), 1 not run" in printed
    calls.clear()
    assert main(options(path, tmp_path)) == 0
    assert [(method, seed) for name, method, seed in calls if name == "train"] == [("fused", 0), ("rgb_alone", 1)]
    printed = capsys.readouterr().out
    assert "3 runs, 1 done before, 1 at a time" in printed and "[3/3]" in printed
    text = (tmp_path / "work/mine.md").read_text()
    assert "| fused | 0.550 ± 0.071 | 0.550 ± 0.071 | — | — |" in text
    assert "| rgb, alone | — | 0.600 (n = 1) | +0.000 (n = 1) | +0.000 |" in text
    assert "rgbx study mine.py --data-root rooms\n" in text and str(tmp_path) not in text
    rows = list(csv.DictReader((tmp_path / "work/mine.csv").open()))
    assert [row["mIoU rgb+depth"] for row in rows] == ["0.5", "0.6", ""]
    assert (tmp_path / "work/mine.png").is_file()
    calls.clear()
    assert main([*options(path, tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert calls == [] and (tmp_path / "out/mine.md").read_text() == text


def test_dry_run_only_prints(write_study, calls, tmp_path, capsys):
    path = write_study("seeds = (0, 1)")
    assert main([*options(path, tmp_path), "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "fused, seed 0 on rgb+depth, rgb: not run",
        "rgb, alone, seed 0 on rgb: not run",
        "fused, seed 1 on rgb+depth, rgb: not run",
        "rgb, alone, seed 1 on rgb: not run",
        "4 runs, 0 done",
    ]
    assert calls == [] and not (tmp_path / "work").exists()
    assert main([*options(path, tmp_path), "--seeds", "1"]) == 0
    capsys.readouterr()
    assert main([*options(path, tmp_path), "--dry-run"]) == 0
    assert "fused, seed 1 on rgb+depth, rgb: done, mIoU 0.600" in capsys.readouterr().out


def test_failures_are_told_and_give_another_exit_code(write_study, calls, tmp_path, capsys):
    path = write_study()
    FakeCommands.codes = {("train", "fused"): 2}
    assert main(options(path, tmp_path)) == 1
    assert [call[:2] for call in calls] == [("train", "fused"), ("train", "rgb_alone"), ("test", "rgb_alone")]
    text = (tmp_path / "work/mine.md").read_text()
    assert "| fused | 1 failed | — |" in text
    assert "- fused, seed 0: failed: train ended with exit code 2: error: as told" in text
    assert main([*options(path, tmp_path), "--table-only"]) == 0
    assert "1 failed" in capsys.readouterr().out


def test_interruption(write_study, calls, tmp_path, capsys):
    path = write_study()
    FakeCommands.codes = {("train", "fused"): KeyboardInterrupt()}
    assert main(options(path, tmp_path)) == 130
    assert "the same command goes on" in capsys.readouterr().err
    FakeCommands.codes = {}
    assert main(options(path, tmp_path)) == 0


def test_a_changed_config_is_not_reused_silently(write_study, calls, tmp_path, capsys):
    path = write_study()
    assert main(options(path, tmp_path)) == 0
    calls.clear()
    write_study("budget['train_cfg.max_epochs'] = 2\n")
    for extra in ([], ["--table-only"], ["--table-only", "--rerun-changed"]):
        assert main([*options(path, tmp_path), *extra]) == 2
        error = capsys.readouterr().err
        assert "fused, seed 0 (and 1 other runs)" in error and "train_cfg.max_epochs: 1 → 2. --rerun-changed" in error
    assert calls == []
    assert main([*options(path, tmp_path), "--dry-run"]) == 0
    assert "fused, seed 0 on rgb+depth, rgb: changed (train_cfg.max_epochs: 1 → 2)" in capsys.readouterr().out
    assert main([*options(path, tmp_path), "--rerun-changed", "--only", "fused"]) == 0
    assert [call[:2] for call in calls] == [("train", "fused"), ("test", "fused")]
    assert (tmp_path / "work/fused/seed_0.changed_1/results.json").is_file()
    assert "| rgb, alone | — | 1 of another config |" in (tmp_path / "work/mine.md").read_text()


def test_what_is_damaged_stops_only_its_own_run(write_study, calls, tmp_path, capsys):
    """A note and a result; the third run goes on, and the table has what there is."""
    path = write_study("methods['other'] = {'model.fusion': None}")
    assert main([*options(path, tmp_path), "--only", "fused", "rgb, alone"]) == 0
    whole = (tmp_path / "work/fused/seed_0/run.json").read_text()
    (tmp_path / "work/fused/seed_0/run.json").write_text(whole[:100])
    (tmp_path / "work/rgb_alone/seed_0/results.json").write_text("")
    capsys.readouterr()
    calls.clear()
    assert main([*options(path, tmp_path), "--dry-run"]) == 1
    first, second, third, last = capsys.readouterr().out.splitlines()
    assert "fused, seed 0 on rgb+depth, rgb: damaged (" in first and "fused/seed_0/run.json is damaged" in first
    assert "rgb_alone/seed_0/results.json:1: not valid JSON" in second
    assert third.endswith(": not run") and last == "3 runs, 0 done"
    assert main([*options(path, tmp_path), "--table-only"]) == 1 and calls == []
    assert main([*options(path, tmp_path)]) == 1
    assert [call[:2] for call in calls] == [("train", "other"), ("test", "other")]
    printed = capsys.readouterr()
    assert "[1/1] other, seed 0: mIoU 0.500" in printed.out
    assert "fused, seed 0 is left as it is: " in printed.err and "rgb, alone, seed 0 is left as it is: " in printed.err
    text = (tmp_path / "work/mine.md").read_text()
    assert "| fused | 1 damaged | — |" in text and "| other | 0.500 | 0.500 |" in text
    assert "- fused, seed 0: damaged: run.json is damaged (" in text
    rows = csv.DictReader((tmp_path / "work/mine.csv").open())
    assert [row["state"] for row in rows] == ["damaged", "damaged", "done"]
    assert main([*options(path, tmp_path), "--only", "other"]) == 0
    (tmp_path / "work/fused/seed_0/run.json").write_text(whole)
    (tmp_path / "work/rgb_alone/seed_0/results.json").unlink()
    assert main(options(path, tmp_path)) == 0


def test_a_method_replaces_dicts_of_the_config_and_of_the_budget(write_study, tmp_path, calls):
    """Fields that belong to another method must not leak into one."""
    text = (
        "budget['model.fusion'] = {'name': 'x', 'fraction': 0.5}\nbudget['model.fusion.stages'] = (4,)\n"
        "methods['y'] = {'model.fusion': {'name': 'y'}, 'optim_wrapper.optimizer': {'type': 'SGD', 'lr': 1e-3}}\n"
    )
    study = read_study(write_study(text))
    arguments = parse("study", [study.file])
    configs = {
        name: load_config(study.config, options=as_options(method_overrides(study, name, arguments)))
        for name in study.methods
    }
    assert configs["fused"].model.fusion == {"name": "x", "fraction": 0.5, "stages": (4,)}
    assert configs["y"].model.fusion == {"name": "y"}
    assert configs["y"].optim_wrapper.optimizer == {"type": "SGD", "lr": 1e-3}
    assert configs["rgb, alone"].model.fusion is None
    assert configs["rgb, alone"].model.modalities == ("rgb",)
    assert configs["y"].model.backbone == "test_resnet.r160_in1k"


def test_switches_reach_the_config(write_study, tmp_path):
    study = read_study(write_study())
    words = ["--dtype", "bfloat16", "--cfg-options", "model.norm=shared", "train_cfg.max_epochs=7"]
    arguments = parse("study", [study.file, *words])
    run = resolve_runs(study, tmp_path, arguments)[0]
    assert run.resolved["optim_wrapper.dtype"] == run.resolved["test_cfg.dtype"] == "'bfloat16'"
    assert (run.resolved["model.norm"], run.resolved["train_cfg.max_epochs"]) == ("'shared'", "7")
    assert run.resolved["randomness.seed"] == "0"
    arguments.dtype = "float32"
    other = resolve_runs(study, tmp_path, arguments)[0]
    assert other.resolved["optim_wrapper.dtype"] == "None" and other.sha256 != run.sha256


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        ("method = 3", [], "did you mean 'methods'"),
        (
            "methods = {'a': {'model.fusoin': None}}; baseline = None",
            [],
            "method 'a': model.fusoin: model has no 'fusoin'",
        ),
        ("methods = {'a': {'model.norm': 'odd'}}; baseline = None", [], "mine.py, method 'a': "),
        ("methods = {'a': {'model.backbone': 'no_such'}}; baseline = None", ["--dry-run"], "no_such"),
        ("scores = ('mIou',)", [], "mine.py, method 'fused': scores names 'mIou'; the results have mIoU"),
        ("head = 'depth'", [], "mine.py, method 'fused': scores are asked for of head 'depth'"),
        ("scores = 'mIoU'", [], "scores is 'mIoU'; expected different names"),
        ("methods['a'] = {'model.target': 'rgb'}", [], "model has no 'target'"),
        ("", ["--only", "fusd"], "'fusd' is no method of"),
        ("", ["--seeds", "4"], "has the seeds [0], found [4]"),
        ("", ["--device", "gpu"], "expected auto, cpu, cuda or cuda:N"),
        ("x = y", [], "mine.py, line "),
        ("config = 'nowhere.py'", [], "config 'nowhere.py' does not exist"),
    ],
)
def test_mistakes_are_one_sentence(write_study, calls, tmp_path, capsys, text, arguments, message):
    assert main([*options(write_study(text), tmp_path), *arguments]) == 2
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert error.startswith("error: ") and message in error
    assert calls == []


def test_a_missing_study_is_named(capsys, write_study, tmp_path):
    write_study()
    assert main([str(tmp_path / "mien.py")]) == 2
    assert "does not exist; did you mean 'mine.py'" in capsys.readouterr().err


def test_environment_of_runs(monkeypatch):
    given = {"OMP_NUM_THREADS": "8", "CUDA_VISIBLE_DEVICES": "3,5", "A": "b"}
    found = child_environment("auto", 3, given)
    assert found == {**given, "OMP_NUM_THREADS": "2"}
    assert child_environment("cuda:1", 16, given)["CUDA_VISIBLE_DEVICES"] == "5"
    assert child_environment("cuda:1", 16, given)["OMP_NUM_THREADS"] == "1"
    assert child_environment("cpu", 1, given)["CUDA_VISIBLE_DEVICES"] == ""
    assert child_environment("cuda:2", 1, {})["CUDA_VISIBLE_DEVICES"] == "2"
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(6)))
    assert child_environment("auto", 2, {})["OMP_NUM_THREADS"] == "3"
    of_a_job = {"SLURM_CPUS_ON_NODE": "4", "SLURM_CPUS_PER_TASK": "2"}
    assert child_environment("auto", 1, of_a_job)["OMP_NUM_THREADS"] == "2"
    del of_a_job["SLURM_CPUS_PER_TASK"]
    assert child_environment("auto", 2, of_a_job)["OMP_NUM_THREADS"] == "2"
    with pytest.raises(ValueError, match="shows 2 devices"):
        child_environment("cuda:2", 1, given)


def test_a_scheduler_may_end_it(write_study, calls, tmp_path, monkeypatch):
    """By each signal that a training ends by, with its exit code."""
    path = write_study()
    for number in REQUESTS:

        def signalled(self, name, arguments, log, keep_open, number=number):
            signal.raise_signal(number)
            return 0

        monkeypatch.setattr(FakeCommands, "__call__", signalled)
        assert main(options(path, tmp_path)) == 75
        assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_studies_of_the_repository_resolve(path, tmp_path):
    """Every override is of something that is read, every model is built; the rest is as it must be."""
    study = read_study(path)
    runs = resolve_runs(study, tmp_path, parse("study", [path]))
    assert len({run.sha256 for run in runs}) == len(runs) == len({run.folder for run in runs})
    assert all(read_state(run).kind == "not run" for run in runs)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--slurm", "partition=gpu"], "--slurm is of --executor submitit, found --executor local"),
        (["--executor", "ray", "--cluster", "local"], "--cluster is of --executor submitit, found --executor ray"),
        (["--executor", "submitit", "--ray", "num_gpus=1"], "--ray is of --executor ray, found --executor submitit"),
        (["--executor", "submitit", "--slurm", "nodes=2"], "a run of a study is one process"),
        (["--executor", "submitit", "--cluster", "local", "--no-wait"], "--no-wait is of Slurm"),
        (["--executor", "submitit", "--slurm", "partitoin=gpu"], "did you mean 'partition'?"),
    ],
)
def test_options_of_executors(write_study, words, told, capsys):
    assert run("study", [write_study(), *words]) == 2
    assert told in capsys.readouterr().err


class FirstApart(Commands):
    """The first method is tested in a process of its own; all else is done here, which saves three starts."""

    def __call__(self, name, arguments, log, keep_open=None):
        if (log.parts[-3], name) == ("fused", "test"):
            return super().__call__(name, arguments, log, keep_open)
        with log.open("a") as file, redirect_stdout(file), redirect_stderr(file):
            return run(name, arguments)


def test_a_real_study(write_study, tmp_path, monkeypatch, capsys):
    """Two methods train one epoch and are tested on a few rendered rooms."""
    monkeypatch.setattr(rgbx.cli.study, "Commands", FirstApart)
    monkeypatch.chdir(tmp_path)
    path = write_study()
    assert main([*options(path, tmp_path)[:-1], "--device", "cpu"]) == 0, (
        tmp_path / "work/fused/seed_0/log.txt"
    ).read_text()
    expected = {}
    for name, subsets in (("fused", ("rgb+depth", "rgb")), ("rgb_alone", ("rgb",))):
        folder = tmp_path / "work" / name / "seed_0"
        assert (folder / "epoch_1.pth").is_file()
        result = json.loads((folder / "results.json").read_text())
        found = result["heads"]["labels"]["subsets"]
        assert tuple(found) == subsets
        expected[name] = {subset: scores["ensemble"]["mIoU"] for subset, scores in found.items()}
    rows = {row["method"]: row for row in csv.DictReader((tmp_path / "work/mine.csv").open())}
    fused, alone = rows["fused"], rows["rgb, alone"]
    assert float(fused["mIoU rgb+depth"]) == expected["fused"]["rgb+depth"]
    assert float(fused["mIoU rgb"]) == expected["fused"]["rgb"]
    assert (alone["mIoU rgb+depth"], float(alone["mIoU rgb"])) == ("", expected["rgb_alone"]["rgb"])
    assert float(alone["minus_baseline"]) == expected["rgb_alone"]["rgb"] - expected["fused"]["rgb+depth"]
    assert int(fused["flops"]) > int(alone["flops"]) > 0 and float(fused["latency_ms"]) > 0
    assert float(fused["step_ms"]) > 0 and float(alone["step_ms"]) > 0 and fused["training_parameters"] == "0"
    text = (tmp_path / "work/mine.md").read_text()
    assert "SyntheticRooms, 2 test frames" in text and "per frame of 40×64" in text and str(tmp_path) not in text
    capsys.readouterr()
    assert main([*options(path, tmp_path)[:-1], "--device", "cpu"]) == 0
    assert "at a time" not in capsys.readouterr().out


def test_the_page_shows_a_study(tmp_path):
    """docs/studies.md: its examples resolve, and its tables name every switch and every optional name."""
    page = (ROOT / "docs/studies.md").read_text()
    example, gates = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    folder = tmp_path / "configs/studies"
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    (folder / "example.py").write_text(example)
    parser = build_parser("study")
    runs = resolve_runs(read_study(folder / "example.py"), tmp_path, parser.parse_args(["example.py"]))
    assert len(runs) == 9 and {run.resolved["train_cfg.max_epochs"] for run in runs} == {"6"}
    (folder / "gates.py").write_text(gates)
    runs = resolve_runs(read_study(folder / "gates.py"), tmp_path, parser.parse_args(["gates.py"]))
    assert {run.objectives for run in runs} == {(), ("knowledge_guidance × 1",)} and len(runs) == 9
    switches = {word for action in parser._actions for word in action.option_strings} - {"-h", "--help"}
    assert switches == set(re.findall(r"--[a-z][a-z-]*", page.split("## Run")[1].split("## Read")[0]))
    assert set(re.findall(r"^\| `(\w+) =", page, re.MULTILINE)) | {"budget"} == set(OPTIONAL)
