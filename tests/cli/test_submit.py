"""rgbx submit, with stand-ins for Slurm's programs; tests/slurm/run.sh has a real one."""

import os
import re
from pathlib import Path

import pytest
from page_commands import PAGES, in_blocks
from submitit.core.utils import DelayedSubmission

import rgbx.cli.submit
from rgbx.cli.main import main
from rgbx.study.commands import PutOffError, RunError

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / "configs/rooms/asymfusion_r18_rooms_160x120.py")
TRAIN = ["train", CONFIG, "--work-dir", "run"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """`sbatch` keeps the script that it is given."""
    for name, text in {"sbatch": 'cp "$1" kept.sh; echo Submitted batch job 12', "srun": ""}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def submitted():
    """What the jobs are to do, in their order."""
    paths = sorted(Path("work_dirs/jobs").glob("*_submitted.pkl"), key=lambda path: (len(path.name), path.name))
    works = [DelayedSubmission.load(path).function.work for path in paths]
    return [(work.name, *work.words) for work in works]


def commands_of_the_page():
    return [command for command in in_blocks("docs/scale.md") if command.startswith("rgbx submit")]


@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize("command", commands_of_the_page())
def test_commands_of_the_page(command, capsys):
    """Each is submitted with the parameters that it names, to do what stands behind --, and to go on where it was."""
    assert "docs/scale.md" in PAGES
    for name in ("photos", "depths"):
        Path(name).mkdir()
    Path("best.pth").touch()
    options, _, words = command.replace("CONFIG", CONFIG).partition(" -- ")
    given = words.split()
    assert main([*options.split()[1:], "--", *given]) == 0
    lines = set(re.findall(r"#SBATCH --(\S+)", Path("kept.sh").read_text()))
    names = {"timeout_min": "time", "tasks_per_node": "ntasks-per-node"}
    for name, value in re.findall(r"(\w+)=(\S+)", options):
        assert f"{names.get(name, name.replace('_', '-'))}={value}" in lines
    count = int((re.findall(r"--array (\d+)", options) or [0])[0])
    shards = [("--shard", f"{i}/{count}") for i in range(1, count + 1)] or [()]
    assert submitted() == [(*given, "--resume", *shard) for shard in shards]
    assert ("array=0-99%100" in lines) == bool(count)
    assert capsys.readouterr().out.count("rgbx " + given[0]) == len(shards)


@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--", "serve", "run"], "rgbx submit carries out train, test, predict, study; found 'serve'"),
        (["--", *TRAIN, "--overwrite"], "--overwrite would begin anew whenever the job is requeued"),
        (["--array", "2", "--", *TRAIN], "--array is of test and predict, whose work is divided; found 'train'"),
        (["--", "train", "config/none.py"], "config/none.py"),
        (["--slurm", "tasks_per_node=2", "--", *TRAIN], "add --launcher pytorch to train"),
        (["--slurm", "nodes=2", "--", "study", CONFIG], "a run of a study is one process"),
        (["--array", "2", "--", "predict", "a.pth", "rgb=a", "--out", "b", "--shard=1/2"], "leave one of them out"),
        (["--slurm", "partitoin=gpu", "--", *TRAIN], "did you mean 'partition'?"),
        (["--", *TRAIN, "--cfg-optoins", "a=1"], "--cfg-optoins"),
    ],
)
def test_what_cannot_work_is_told_before_it_waits(words, told, capsys):
    try:
        code = main(["submit", *words])
    except SystemExit as end:
        code = end.code
    assert code == 2 and told in capsys.readouterr().err
    assert not Path("kept.sh").exists()


class Ends:
    """A cluster whose jobs have ended as told."""

    def __init__(self, *results):
        self.results, self.cancelled = list(results), []

    def submit(self, works):
        return [Ended(work, result) for work, result in zip(works, self.results, strict=True)]

    def ended(self, jobs):
        if isinstance(self.results[0], KeyboardInterrupt):
            raise self.results[0]
        return jobs[:1]

    def cancel(self, jobs):
        self.cancelled += jobs


class Ended:
    log = "a.log"

    def __init__(self, work, result):
        self.name, self._result = f"job of {work.words[-1]}", result

    def result(self):
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([None, None], 0),
        ([None, RuntimeError("predict ended with exit code 2")], 2),
        ([PutOffError("it was killed"), None], 75),
    ],
)
def test_waiting_tells_what_became_of_the_jobs(results, code, monkeypatch, capsys):
    monkeypatch.setattr(rgbx.cli.submit, "open_cluster", lambda *_, **__: Ends(*results))
    monkeypatch.setattr(rgbx.cli.submit, "POLL", 0)
    Path("run").mkdir()
    Path("best.pth").touch()
    assert main(["submit", "--array", "2", "--wait", "--", "predict", "best.pth", "rgb=run", "--out", "out"]) == code
    text = capsys.readouterr()
    assert text.out.count("has ended") == results.count(None)
    for result in filter(None, results):
        assert f"{result}" in text.err and "job of " in text.err


def test_ctrl_c_cancels_what_has_not_ended(monkeypatch):
    cluster = Ends(KeyboardInterrupt(), None)
    monkeypatch.setattr(rgbx.cli.submit, "open_cluster", lambda *_, **__: cluster)
    Path("best.pth").touch()
    Path("run").mkdir()
    words = ["--array", "2", "--wait", "--", "predict", "best.pth", "rgb=run", "--out", "out"]
    assert main(["submit", *words]) == 130
    assert [job.name for job in cluster.cancelled] == ["job of 1/2", "job of 2/2"]


def test_a_command_as_a_job_does_it(tmp_path):
    """0 is success, 75 and the end by SIGTERM are an interruption, all else is a failure of the job."""
    work = rgbx.cli.submit.Submitted("train", ("a", "--resume"), tmp_path)
    seen = []

    def commands(name, words):
        seen.append((name, words, Path.cwd()))
        return codes.pop()

    codes = [0]
    assert work(commands) is None and seen == [("train", ("a", "--resume"), tmp_path)]
    for code in (75, -15):
        codes = [code]
        with pytest.raises(PutOffError):
            work(commands)
    codes = [2]
    with pytest.raises(RunError, match="train ended with exit code 2"):
        work(commands)
