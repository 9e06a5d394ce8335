"""Processes of tests, forked from one that has imported torch and rgbx once, which takes longer than what they do."""

import multiprocessing
import os
import socket

import torch
from torch.multiprocessing import start_processes

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([f"rgbx.cli.{name}" for name in ("train", "evaluate", "study", "prepare", "predict")])


def processes(count, function, *arguments):
    """Calls function(rank, *arguments) in several processes, and waits for all; `set_rank` makes them one group."""
    start_processes(function, arguments, nprocs=count, start_method="forkserver")


def two_processes(function, *arguments):
    """See `processes`."""
    processes(2, function, *arguments)


def set_rank(rank, port, count=2):
    """What torchrun would say to one of several processes."""
    address = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ.update(address, RANK=str(rank), WORLD_SIZE=str(count), LOCAL_RANK=str(rank))
    torch.set_num_threads(1)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
