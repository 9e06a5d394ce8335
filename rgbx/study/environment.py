"""The environment of a run's processes: threads and devices."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping


def child_environment(device: str, jobs: int, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables of a run: its share of the threads, and only the device that was asked for.

    A job of Slurm has the cores that it was given, where nothing binds it to them, too.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N", the Nth of those that are visible here.
        jobs: runs at a time, among which the threads of OMP_NUM_THREADS, or else all cores that are ours, are divided.
        environment: ours.

    Raises:
        ValueError: no such device.
    """
    known = dict(os.environ if environment is None else environment)
    given = known.get("OMP_NUM_THREADS", "")
    threads = int(given) if given.isdecimal() and int(given) else _cores(known)
    known["OMP_NUM_THREADS"] = str(max(1, threads // jobs))
    index = re.fullmatch(r"cuda:(\d+)", device)
    if device == "cpu":
        known["CUDA_VISIBLE_DEVICES"] = ""
    elif index:
        known["CUDA_VISIBLE_DEVICES"] = _visible(int(index[1]), known.get("CUDA_VISIBLE_DEVICES"))
    elif device not in ("auto", "cuda"):
        raise ValueError(f"--device is {device!r}; expected auto, cpu, cuda or cuda:N")
    return known


def _cores(environment: Mapping[str, str]) -> int:
    own = environment.get("SLURM_CPUS_PER_TASK") or environment.get("SLURM_CPUS_ON_NODE") or ""
    visible = len(os.sched_getaffinity(0))
    return min(visible, int(own)) if own.isdecimal() and int(own) else visible


def _visible(index: int, visible: str | None) -> str:
    if visible is None:
        return str(index)
    names = [name.strip() for name in visible.split(",") if name.strip()]
    if index >= len(names):
        raise ValueError(f"--device is 'cuda:{index}', but CUDA_VISIBLE_DEVICES={visible!r} shows {len(names)} devices")
    return names[index]
