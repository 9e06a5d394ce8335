"""Runs as jobs: of submitit on this machine, and of Ray on a local cluster."""

import importlib
import os
import re
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from killed import descendants, wait_for
from processes import FORKS

import rgbx.study.commands
from rgbx.study import executors
from rgbx.study.commands import Commands, PutOffError
from rgbx.study.executors import open_cluster, run_on
from rgbx.study.grid import Progress
from rgbx.study.on_submitit import parse_parameters
from rgbx.study.work import Outcome, Task


@dataclass(frozen=True)
class Told(Task):
    """A run without training: as its method says, and with a line in its log for each time that it began."""

    result: str = ""

    def __call__(self, commands: Commands) -> Outcome:
        self.run.folder.mkdir(parents=True, exist_ok=True)
        with self.run.log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        first = self.run.log.read_text().count("\n") == 1
        if self.run.method == "fails":
            raise RuntimeError("no such dataset")
        if self.run.method == "refuses":
            return Outcome(1.0, "the loss is not finite")
        if self.run.method == "is killed" and first:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.run.method == "is put off" and first:
            raise PutOffError("train was asked to end")
        if self.run.method == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.run.method != "is elsewhere":
            self.run.results.write_text(self.result)
        return Outcome(2.0)


@pytest.fixture
def tasks(declare, make_runs, write_results):
    def make(*methods):
        made = []
        for run in make_runs(declare(methods={name: {} for name in methods}, seeds=(0,))):
            write_results([run], lambda *_: 0.5)
            made.append(Told(run, "base.py", result=run.results.read_text()))
            run.results.unlink()
        return made

    return make


def carry_out(cluster, tasks):
    lines = []
    failed = run_on(cluster, tasks, Progress(len(tasks), 0, cluster.most, lines.append))
    return [run.method for run in failed], lines


def begun(task):
    return task.run.log.read_text().count("\n")


def test_runs_as_jobs_of_submitit(tmp_path, tasks):
    """One is killed, and submitted again."""
    (task,) = tasks("is killed")
    place = {"folder": tmp_path / "jobs", "cluster": "local", "parameters": ["timeout_min=3"]}
    failed, lines = carry_out(open_cluster("submitit", **place, most=1, device="cpu"), [task])
    assert failed == [] and begun(task) == 2
    assert "was killed or put off; it is submitted again" in lines[0]


@pytest.mark.usefixtures("ray_cluster")
def test_runs_as_tasks_of_ray(tasks):
    """Two at a time; one is killed and one put off, which are submitted again; one fails, and one says so itself."""
    importlib.import_module("ray.cloudpickle").register_pickle_by_value(sys.modules[__name__])
    todo = tasks("is done", "is killed", "is put off", "fails", "refuses")
    cluster = open_cluster("ray", address=None, options=["num_cpus=0.5"], most=2, device="cpu")
    failed, lines = carry_out(cluster, todo)
    assert sorted(failed) == ["fails", "refuses"], lines
    assert [begun(task) for task in todo] == [1, 2, 2, 1, 1]
    again = [line.partition(",")[0] for line in lines if "is submitted again" in line]
    assert sorted(again) == ["is killed", "is put off"]
    assert any("fails, seed 0: failed: " in line and "no such dataset" in line for line in lines)
    assert any("refuses, seed 0: failed: the loss is not finite" in line for line in lines)


class Here:
    """Carries out what it is given here, unless it refuses it."""

    most = 2

    def __init__(self, *refusals):
        self.refusals, self.count, self.cancelled = list(refusals), 0, []

    def submit(self, works):
        if self.refusals and self.refusals.pop(0):
            raise ValueError("nothing was submitted: socket timed out")
        self.count += len(works)
        return [Done(work) for work in works]

    def ended(self, jobs):
        return list(jobs)

    def cancel(self, jobs):
        self.cancelled += jobs


class Done:
    name, log = "job 7", "7.out"

    def __init__(self, work):
        self.work = work

    def result(self):
        if self.work.run.method == "dies":
            raise PutOffError("it was killed")
        return self.work(None)


def test_a_job_that_always_dies_is_given_up(tasks):
    cluster = Here()
    failed, lines = carry_out(cluster, tasks("dies"))
    assert (failed, cluster.count) == (["dies"], 3)
    assert "job 7, 3 times: it was killed; 7.out may tell why" in lines[-1]


def test_a_cluster_that_takes_no_more_is_asked_later(tasks, monkeypatch):
    """What it has taken goes on; one that takes nothing from the beginning ends the call."""
    monkeypatch.setattr(executors, "REFUSED", 0.01)
    monkeypatch.setattr(executors, "POLL", 0.01)
    cluster = Here(False, True, True)
    failed, lines = carry_out(cluster, tasks("one", "two", "three"))
    assert (failed, cluster.count, cluster.cancelled) == ([], 3, [])
    assert sum("socket timed out; tried again in" in line for line in lines) == 2
    with pytest.raises(ValueError, match="socket timed out"):
        carry_out(Here(True), tasks("four"))


def test_what_is_done_elsewhere_alone_has_failed(tasks, monkeypatch):
    """It would be done again and again."""
    monkeypatch.setattr(executors, "SHARED", 0.0)
    failed, lines = carry_out(Here(), tasks("is elsewhere"))
    assert failed == ["is elsewhere"] and "job 7 has done it, but nothing of it is seen in" in lines[0]


def test_runs_of_others_are_left_to_them(tasks):
    """Nothing is submitted for a run that another process is at work on."""
    (task,) = tasks("is done")
    pipe, ours = FORKS.Pipe()
    process = FORKS.Process(target=_hold, args=(task.run, ours))
    process.start()
    try:
        assert pipe.poll(30)
        failed, lines = carry_out(SimpleNamespace(most=1), [task])
        assert failed == [] and f"process {process.pid} on " in lines[0] and lines[0].endswith("left to it")
    finally:
        process.kill()
        process.join()


def _hold(run, pipe):
    with run.taken():
        pipe.send("held")
        time.sleep(60)


@dataclass(frozen=True)
class Training:
    """Stands for a training: its command goes on until it is asked to end, and the second time ends by itself."""

    folder: Path

    def __call__(self, commands: Commands) -> str:
        rgbx.study.commands.ENTRY = COMMAND
        first = not Path(self.folder, "saved").exists()
        code = commands("train", [str(self.folder), "60" if first else "0"])
        return f"ended with {code}"


COMMAND = """
import pathlib, signal, sys, time
folder, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
def save(number, frame):
    pathlib.Path(folder, "saved").touch()
    raise SystemExit(75)
signal.signal(signal.SIGTERM, save)
pathlib.Path(folder, "begun").touch()
time.sleep(seconds)
"""


def test_a_preempted_job_saves_and_is_requeued(tmp_path):
    """submitit's signal reaches all processes of a job, as Slurm's does, and only submitit's own acts on it."""
    cluster = open_cluster(
        "submitit", folder=tmp_path / "jobs", cluster="local", parameters=["timeout_min=3"], most=1, device="cpu"
    )
    (job,) = cluster.submit([Training(tmp_path)])
    wait_for(Path(tmp_path, "begun").exists)
    controller = job.job._process.pid
    for pid in descendants(controller):
        os.kill(pid, signal.SIGUSR2)
    wait_for(lambda: cluster.ended([job]) == [job])
    assert job.result() == "ended with 0"
    assert Path(tmp_path, "saved").exists()
    assert "Requeued job" in Path(job.log).read_text()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("partitoin=gpu", "--slurm partitoin: submitit has no such parameter; did you mean 'partition'?"),
        ("nodes=two", "--slurm nodes=two: expected a whole number"),
        ("mem_gb=much", "--slurm mem_gb=much: expected a number"),
        ("time=4:00:00", "--slurm time=4:00:00: jobs go on by their time in minutes: timeout_min=240"),
        ("stderr_to_stdout=yes", "--slurm stderr_to_stdout=yes: expected True or False"),
        ("additional_parameters=3", "--slurm additional_parameters=3: expected a dict"),
        ("gpu", "--slurm gpu: expected NAME=VALUE"),
    ],
)
def test_parameters_that_submitit_does_not_take(text, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_parameters([text])


def test_texts_stay_texts():
    given = ["account=20_24", "nodelist=[a,b]", "exclusive=True", "setup=['module load x', 'y']", "mem_gb=4"]
    assert list(parse_parameters(given).values()) == ["20_24", "[a,b]", True, ["module load x", "y"], 4]


def test_parameters_reach_slurm(tmp_path, monkeypatch):
    """As the lines of the script that `sbatch` is given: a stand-in keeps it."""
    sbatch = 'cp "$1" kept.sh; echo "$SLURM_CONF$SLURM_JOB_ID$SBATCH_ACCOUNT" > told; echo Submitted batch job 12'
    texts = {"sbatch": sbatch, "srun": "", "squeue": "echo 12_1; echo $SQUEUE_STATES", "scancel": "echo $1 >> gone"}
    for name, text in texts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_CONF", "/etc/other.conf")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SBATCH_ACCOUNT", "mine")
    monkeypatch.setenv("SQUEUE_STATES", "12_2")
    monkeypatch.chdir(tmp_path)
    parameters = ["partition=gpu", "gpus_per_node=1", "cpus_per_task=4", "timeout_min=30", "signal_delay_s=60"]
    cluster = open_cluster(
        "submitit", folder=tmp_path / "jobs", cluster="slurm", parameters=parameters, most=2, device="cpu"
    )
    jobs = cluster.submit([Training(tmp_path)] * 3)
    assert [job.name for job in jobs] == ["job 12_0", "job 12_1", "job 12_2"]
    assert Path("told").read_text() == "/etc/other.confmine\n"
    assert [job.name for job in cluster.ended(jobs)] == ["job 12_0", "job 12_2"]  # the queue has the other
    cluster.cancel(jobs[1:])
    wait_for(lambda: Path("gone").exists() and Path("gone").read_text() == "12_1\n12_2\n")
    script = Path("kept.sh").read_text()
    lines = set(re.findall(r"#SBATCH --(\S+)", script))
    assert {"partition=gpu", "gpus-per-node=1", "cpus-per-task=4", "time=30", "requeue", "array=0-2%2"} <= lines
    assert "signal=USR2@60" in lines and "job-name=rgbx" in lines
    assert re.search(r"^srun .*--kill-on-bad-exit=1 --cpus-per-task=4 env PYTHONPATH=\S+ ", script, re.MULTILINE)


def test_a_refusal_of_slurm_is_told(tmp_path, monkeypatch):
    for name, text in {"sbatch": "echo 'sbatch: error: invalid partition: gpu' >&2; exit 1", "srun": ""}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    cluster = open_cluster("submitit", folder=tmp_path / "jobs", cluster="slurm", parameters=[], most=2, device="cpu")
    with pytest.raises(ValueError, match="nothing was submitted: sbatch: error: invalid partition: gpu"):
        cluster.submit([Training(tmp_path)])
