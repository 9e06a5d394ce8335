"""Runs of a study as tasks of Ray, on a cluster or on this machine."""

from __future__ import annotations

import ast
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rgbx._text import nearest
from rgbx.study import executors
from rgbx.study.commands import Commands, PutOffError
from rgbx.study.environment import child_environment
from rgbx.study.work import interruptible

try:
    import ray
except ImportError as error:
    raise ImportError(f'--executor ray needs {error.name}: pip install "rgbx[ray]"') from error

STORE = 80 * 1024**2  # bytes of Ray's store of objects on this machine: runs hand over nothing but what became of them
PATIENCE = 70.0  # seconds until a run that is asked to end has done so
KILLED = tuple(
    getattr(ray.exceptions, name)
    for name in ("WorkerCrashedError", "NodeDiedError", "LocalRayletDiedError")
    if hasattr(ray.exceptions, name)
)
KNOWN = ("num_cpus", "num_gpus", "memory", "resources", "accelerator_type", "scheduling_strategy")


def _carry_out(work: Callable[[Commands], object], device: str, folder: str) -> object:
    """In a process of Ray's, from the folder that paths are relative to; Ray cancels as by Ctrl-C there."""
    os.chdir(folder)
    return interruptible(work, Commands(child_environment(device, 1)))


class RayJob:
    """A task of Ray, see `executors.Job`."""

    def __init__(self, reference: ray.ObjectRef) -> None:
        self.reference = reference
        self.name, self.log = f"Ray's task {reference.hex()[:12]}", "the run's log.txt"

    def result(self) -> object:
        try:
            return ray.get(self.reference)
        except KILLED as error:
            raise PutOffError("it was killed") from error
        except PutOffError:
            raise
        except ray.exceptions.RayError as error:
            raise RuntimeError(executors.last_words(error)) from error


class Ray:
    """Tasks of one call, see `executors.Cluster`."""

    def __init__(self, options: dict[str, object], device: str, most: int | None) -> None:
        self.device, self.most = device, most or sys.maxsize
        self._remote = ray.remote(_carry_out).options(max_retries=0, **options)

    def submit(self, works: Sequence[Callable[[Commands], object]]) -> list[RayJob]:
        return [RayJob(self._remote.remote(work, self.device, str(Path.cwd()))) for work in works]

    def ended(self, jobs: Sequence[RayJob]) -> list[RayJob]:
        references = [job.reference for job in jobs]
        ready = set(ray.wait(references, num_returns=len(references), timeout=0)[0]) if references else set()
        return [job for job in jobs if job.reference in ready]

    def cancel(self, jobs: Sequence[RayJob]) -> None:
        """Waits while those that have begun save their steps."""
        for job in jobs:
            ray.cancel(job.reference)
        end = time.monotonic() + PATIENCE
        while len(self.ended(jobs)) < len(jobs) and time.monotonic() < end:
            time.sleep(0.2)


def open_cluster(address: str | None, options: Sequence[str], most: int | None, device: str) -> Ray:
    """Joins a cluster of Ray, or starts one on this machine for as long as this process lives.

    Args:
        address: of the cluster; None starts one here.
        options: NAME=VALUE of a task, such as num_gpus=1.
        most: runs at a time; None for as many as their resources allow.
        device: of the runs.

    Raises:
        ValueError: an option that there is not, or no cluster at that address.
    """
    found: dict[str, object] = {}
    for name, text in executors.options_of(options, "--ray").items():
        if name not in KNOWN:
            raise ValueError(f"--ray {name}: expected one of {', '.join(KNOWN)}{nearest(name, KNOWN)}")
        try:
            found[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[name] = text
    if not ray.is_initialized():
        _join(address)
    here = ray.cluster_resources()
    for name, resource in (("num_cpus", "CPU"), ("num_gpus", "GPU")):
        wanted = found.get(name, 0)
        if not address and isinstance(wanted, (int, float)) and wanted > here.get(resource, 0):
            raise ValueError(
                f"--ray {name}={wanted}: this machine has {here.get(resource, 0):g}, and no run would begin"
            )
    return Ray(found, device, most)


def _join(address: str | None) -> None:
    known = signal.getsignal(signal.SIGTERM)  # which Ray takes
    try:
        ray.init(
            address or "local",
            log_to_driver=False,
            include_dashboard=None if address else False,
            object_store_memory=None if address else STORE,
            runtime_env={"env_vars": {"PYTHONPATH": executors.python_path()}},
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ValueError(f"--ray-address {address}: {error}") from error
    finally:
        signal.signal(signal.SIGTERM, known)
