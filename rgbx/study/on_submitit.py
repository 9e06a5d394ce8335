"""Jobs of Slurm by submitit, which submits them, and requeues them when they are preempted or out of time.

submitit's own local executor, processes of this machine, is for trying out what a cluster would do.
"""

from __future__ import annotations

import ast
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rgbx._text import nearest
from rgbx.study import executors
from rgbx.study.commands import Commands, PutOffError
from rgbx.study.environment import child_environment
from rgbx.study.work import interruptible

try:
    import submitit
    from submitit.core.utils import DelayedSubmission, FailedJobError, UncompletedJobError
    from submitit.helpers import TorchDistributedEnvironment, clean_env
except ImportError as error:
    raise ImportError(f'jobs of Slurm need {error.name}: pip install "rgbx[slurm]"') from error

TIMEOUT = 240  # minutes of a job, unless --slurm timeout_min=N
DELAY = 120  # seconds before the end of a job's time at which it is asked to save, unless --slurm signal_delay_s=N
REQUEUED = 100  # times that a job may run out of time
PATIENCE_OF_QUEUE = 10.0  # seconds between two questions to Slurm which jobs it has
PATIENCE_OF_FILES = 30.0  # seconds until what a job has written is seen on another machine
OF_ALL = {  # parameters that submitit has for every cluster, and their types
    "name": str,
    "timeout_min": int,
    "mem_gb": float,
    "nodes": int,
    "cpus_per_task": int,
    "gpus_per_node": int,
    "tasks_per_node": int,
    "stderr_to_stdout": bool,
}
OF_SLURM = {  # those of Slurm that are no text
    "signal_delay_s": int,
    "array_parallelism": int,
    "cpus_per_gpu": int,
    "gpus_per_task": int,
    "num_gpus": int,
    "use_srun": bool,
    "setup": list,
    "teardown": list,
    "srun_args": list,
    "additional_parameters": dict,
}
WORDS = {int: "a whole number", float: "a number", bool: "True or False", dict: "a dict"}
KEPT = ("SBATCH_", "SLURM_CONF", "SLURM_CLUSTERS", "SUBMITIT_PREEMPT_SIGNAL")  # what users say to Slurm and submitit
ALL_DEVICES = "all"


@dataclass
class Stoppable:
    """What a job does: commands, which are asked to end, and save, when submitit has been told to requeue the job.

    Attributes:
        work: what to do with them.
        device: see `child_environment`.
        patience: seconds that a command has to end once it was asked to.
        hold: seconds that the job stays after a command was asked to end by another than submitit: whoever did, Slurm
            before it kills or requeues the job, or `scancel`, is to find it there.
        devices: CUDA_VISIBLE_DEVICES of the commands, or ALL_DEVICES; None for those that the cluster gives.
    """

    work: Callable[[Commands], object]
    device: str
    patience: float
    hold: float
    devices: str | None = None
    _commands: Commands | None = None

    def __call__(self) -> object:
        if self.devices is not None:  # which submitit's local executor hides
            os.environ["CUDA_VISIBLE_DEVICES"] = self.devices
            if self.devices == ALL_DEVICES:
                del os.environ["CUDA_VISIBLE_DEVICES"]
        self._commands = Commands(child_environment(self.device, _join_processes()))
        try:
            return interruptible(self.work, self._commands, _leave_signal_to_submitit)
        except PutOffError:
            time.sleep(self.hold)
            raise

    def checkpoint(self) -> DelayedSubmission:
        """Called by submitit before it requeues the job."""
        if self._commands is not None:
            self._commands.stop(self.patience)
        return DelayedSubmission(replace(self, _commands=None))


def _leave_signal_to_submitit() -> None:
    """Commands inherit that the signal is blocked: Slurm sends it to all processes of a job, and it would end most."""
    name = submitit.JobEnvironment.USR_SIG
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.Signals[f"SIG{name}"]])


def _join_processes() -> int:
    """Tells torch of the job's other processes, where there are any; among how many this one's cores are divided."""
    job = submitit.JobEnvironment()
    if job.num_tasks == 1:
        return 1
    TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    return 1 if "SLURM_CPUS_PER_TASK" in os.environ else max(1, job.num_tasks // job.num_nodes)


class SubmititJob:
    """A job, see `executors.Job`."""

    def __init__(self, job: submitit.Job[object], patience: float) -> None:
        self.job, self.patience = job, patience
        self.tasks = [job.task(k) for k in range(job.num_tasks)]
        self.name, self.log = f"job {job.job_id}", str(job.paths.stdout)

    def is_written(self) -> bool:
        """Whether all its processes have left what they gave."""
        folder = self.job.paths.folder
        with contextlib.suppress(OSError):
            folder.chmod(folder.stat().st_mode)  # a network file system looks anew
        return all(task.paths.result_pickle.exists() for task in self.tasks)

    def result(self) -> object:
        """What its first process gave."""
        end = time.monotonic() + self.patience
        while not self.is_written():
            if time.monotonic() > end:
                break
            time.sleep(0.2)
        ended = [task for task in self.tasks if task.paths.result_pickle.exists()]
        try:
            given = [task.result() for task in ended]  # an error of any of them is one of the job
            if len(ended) < len(self.tasks):
                raise PutOffError("it was killed")
            return given[0]
        except (FailedJobError, UncompletedJobError) as error:
            kind = PutOffError if PutOffError.__name__ in str(error) else RuntimeError
            raise kind(executors.last_words(error)) from error


class Submitit:
    """Jobs of one call, see `executors.Cluster`."""

    def __init__(
        self, folder: Path, cluster: str | None, parameters: Mapping[str, object], most: int | None, device: str
    ) -> None:
        if submitit.JobEnvironment.USR_SIG in ("TERM", "KILL", "STOP"):
            raise ValueError(
                f"SUBMITIT_PREEMPT_SIGNAL is {submitit.JobEnvironment.USR_SIG}; commands need that: take USR2"
            )
        try:
            self.executor = submitit.AutoExecutor(folder.absolute(), cluster or "slurm", **_how_workers_start())
        except RuntimeError as error:
            raise ValueError(f"{error} --cluster local makes jobs of processes of this machine") from error
        self.device, self.is_slurm = device, self.executor.cluster == "slurm"
        self.most = sys.maxsize if self.is_slurm else most or 1
        given = {
            "timeout_min": TIMEOUT,
            "name": "rgbx",
            "stderr_to_stdout": True,  # one log
            "slurm_signal_delay_s": DELAY,
            **({} if most is None else {"slurm_array_parallelism": most}),
            **{name if name in OF_ALL else f"slurm_{name}": value for name, value in parameters.items()},
        }
        self.executor.update_parameters(**{**given, **_for_requeue(given)})
        own = not self.is_slurm and "gpus_per_node" not in given
        self.devices = os.environ.get("CUDA_VISIBLE_DEVICES", ALL_DEVICES) if own else None
        self.delay = float(str(given["slurm_signal_delay_s"]))
        self._asked = -PATIENCE_OF_QUEUE
        self._queue: set[str] | None = None

    def submit(self, works: Sequence[Callable[[Commands], object]]) -> list[SubmititJob]:
        """Several as one array.

        Raises:
            ValueError: Slurm takes none; the message is its own.
        """
        hold, patience = (self.delay, PATIENCE_OF_FILES) if self.is_slurm else (0.0, 0.0)
        try:
            with _as_outside_of_jobs(), self.executor.batch():
                jobs = [
                    self.executor.submit(Stoppable(work, self.device, self.delay / 3, hold, self.devices))
                    for work in works
                ]
        except FailedJobError as error:  # of the program that submits
            raise ValueError(f"nothing was submitted: {str(error).strip().splitlines()[-1]}") from error
        self._asked = -PATIENCE_OF_QUEUE
        return [SubmititJob(job, patience) for job in jobs]

    def ended(self, jobs: Sequence[SubmititJob]) -> list[SubmititJob]:
        """Jobs that have left their results, or are no longer there.

        Slurm is asked for its queue, as not every cluster keeps accounts, by which submitit goes.
        """
        return [job for job in jobs if job.is_written() or not self._is_there(job.job)]

    def _is_there(self, job: submitit.Job[object]) -> bool:
        if not self.is_slurm:
            return not job.done()
        if time.monotonic() - self._asked > PATIENCE_OF_QUEUE:
            command = ["squeue", "--noheader", "--array", "--me", "--format=%i"]
            plain = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
            done = subprocess.run(command, capture_output=True, text=True, env=plain)
            self._asked, self._queue = time.monotonic(), None if done.returncode else set(done.stdout.split())
        return self._queue is None or job.job_id in self._queue  # where it does not answer, it may later

    def cancel(self, jobs: Sequence[SubmititJob]) -> None:
        """By `scancel`, which lets a training save its step; those of this machine have a second to do so."""
        for job in jobs:
            with contextlib.suppress(OSError):
                job.job.cancel(check=False)


@contextlib.contextmanager
def _as_outside_of_jobs() -> Iterator[None]:
    """Without what Slurm tells a job of itself, which jobs submitted by it would take for theirs."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
    with clean_env():
        os.environ.update(kept)
        yield


def _how_workers_start() -> dict[str, str | int]:
    """With the packages of this process, whatever folder they start in."""
    python = shlex.join(["env", f"PYTHONPATH={executors.python_path()}", sys.executable, "-P"])
    own: dict[str, str | int] = {"python": python, "max_num_timeout": REQUEUED}
    return {f"{cluster}_{name}": value for cluster in ("slurm", "local") for name, value in own.items()}


def _for_requeue(given: Mapping[str, object]) -> dict[str, object]:
    """Jobs that Slurm may requeue, and whose processes have the cores of the job: `srun` no longer asks for them."""
    cores = [f"--cpus-per-task={given['cpus_per_task']}"] if "cpus_per_task" in given else []
    own, arguments = given.get("slurm_additional_parameters"), given.get("slurm_srun_args")
    return {
        "slurm_additional_parameters": {"requeue": True, **(own if isinstance(own, dict) else {})},
        "slurm_srun_args": ["--kill-on-bad-exit=1", *cores, *(arguments if isinstance(arguments, list) else [])],
    }


def parse_parameters(texts: Sequence[str]) -> dict[str, object]:
    """NAME=VALUE of submitit's parameters: those of every cluster, and those of Slurm, by their names there.

    Raises:
        ValueError: a name that submitit does not have, or a value of another kind.
    """
    known = sorted({*OF_ALL, *submitit.SlurmExecutor._valid_parameters()})
    found: dict[str, object] = {}
    for name, text in executors.options_of(texts, "--slurm").items():
        if name == "time":
            raise ValueError(f"--slurm time={text}: jobs go on by their time in minutes: timeout_min=240")
        if name not in known:
            raise ValueError(f"--slurm {name}: submitit has no such parameter{nearest(name, known)}")
        found[name] = _value(name, text)
    return found


def _value(name: str, text: str) -> object:
    kind: type = {**OF_ALL, **OF_SLURM}.get(name, str)
    if kind is str:
        return True if text == "True" else text  # such as exclusive=True
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if kind is list:
        return list(value) if isinstance(value, (list, tuple)) else [text]
    if not isinstance(value, (int, float) if kind is float else kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"--slurm {name}={text}: expected {WORDS[kind]}")
    return value


def open_cluster(
    folder: Path, cluster: str | None, parameters: Sequence[str], most: int | None, device: str
) -> Submitit:
    """Jobs by submitit.

    Args:
        folder: for their logs.
        cluster: "slurm", as None is, or "local".
        parameters: NAME=VALUE, see `parse_parameters`.
        most: jobs at a time; None for all that Slurm lets run, or one on this machine.
        device: of the commands.

    Raises:
        ValueError: a parameter that there is not, or no Slurm.
    """
    return Submitit(folder, cluster, parse_parameters(parameters), most, device)
