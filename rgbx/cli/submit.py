"""Carries out a command of this project as a job of Slurm, which is requeued, and goes on, when it is preempted."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rgbx.cli.errors import FAILED, STOPPED, command
from rgbx.study.commands import ASKED_TO_END, Commands, PutOffError, RunError
from rgbx.study.executors import POLL, Cluster, Job, open_cluster


@dataclass(frozen=True)
class Submitted:
    """`rgbx NAME WORDS`, as a job does it.

    Attributes:
        name: of the command.
        words: its arguments.
        folder: that paths are relative to.
    """

    name: str
    words: tuple[str, ...]
    folder: Path

    def __call__(self, commands: Commands) -> None:
        """Carries it out.

        Raises:
            PutOffError: it was asked to end, by another than submitit.
            RunError: it ended with an error.
        """
        os.chdir(self.folder)
        code = commands(self.name, self.words)
        if code in ASKED_TO_END:
            raise PutOffError(f"{self.name} was asked to end, and goes on where it was")
        if code:
            raise RunError(f"{self.name} ended with exit code {code}")


@command("submit")
def main(arguments: argparse.Namespace) -> int:
    """Submits, and says by which jobs; 0, or what became of jobs that are waited for: 2 for a failure, 75."""
    cluster = open_cluster(
        "submitit",
        folder=Path(arguments.jobs_dir),
        cluster=arguments.cluster,
        parameters=arguments.slurm,
        most=arguments.array,
        device=arguments.device,
    )
    name, *words = arguments.command
    shards = [["--shard", f"{i}/{arguments.array}"] for i in range(1, (arguments.array or 0) + 1)] or [[]]
    works = [Submitted(name, (*words, *shard), Path.cwd()) for shard in shards]
    here, codes = arguments.cluster == "local", list[int]()
    for some in [[work] for work in works] if here else [works]:
        jobs = cluster.submit(some)
        for job, work in zip(jobs, some, strict=True):
            print(f"{job.name}: rgbx {shlex.join([work.name, *work.words])}\n  log: {job.log}", flush=True)
        codes += _ends(cluster, jobs) if arguments.wait or here else []
    return FAILED if FAILED in codes else max(codes, default=0)


def _ends(cluster: Cluster[Job], jobs: Sequence[Job]) -> list[int]:
    """Waits for jobs; on Ctrl-C they are cancelled."""
    left, codes = list(jobs), []
    try:
        while left:
            for job in cluster.ended(left):
                left.remove(job)
                codes.append(_end(job))
            time.sleep(POLL if left else 0)
    except BaseException:
        cluster.cancel(left)
        raise
    return codes


def _end(job: Job) -> int:
    try:
        job.result()
    except RuntimeError as error:
        print(f"{job.name} failed: {error}", file=sys.stderr)
        return FAILED
    except PutOffError as error:
        print(f"{job.name} has not done its work: {error}", file=sys.stderr)
        return STOPPED
    print(f"{job.name} has ended")
    return 0
