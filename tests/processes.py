"""Processes of tests, forked from one that has imported torch and rgbx once, which takes longer than what they do."""

import multiprocessing
import os
import socket

import torch
from torch.multiprocessing import start_processes

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([f"rgbx.cli.{name}" for name in ("train", "evaluate", "study", "prepare", "predict")])


def two_processes(function, *arguments):
    """Calls function(rank, *arguments) in two processes, and waits for both; `set_rank` makes them one group."""
    start_processes(function, arguments, nprocs=2, start_method="forkserver")


def set_rank(rank, port):
    """What torchrun would say to one of two processes."""
    address = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ.update(address, RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    torch.set_num_threads(1)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
