"""Agents of torchrun over loopback: two nodes train what one does, and a worker that dies is started again."""

import os
import signal
import sys
from pathlib import Path

import torch
from processes import FORKS, free_port
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from rgbx.cli.train import main

CONFIG = """
from dying import DiesOnce

train_cfg.update(max_epochs=4)
model.update(dropout=0.0)
custom_hooks = [dict(type=DiesOnce)]
"""


def worker(config, work_dir, *options):
    torch.set_num_threads(1)
    told = {name: os.environ[name] for name in ("RANK", "TORCHELASTIC_RESTART_COUNT", "GROUP_RANK")}
    with Path(work_dir).with_suffix(".starts").open("a") as starts:
        print(*told.values(), file=starts)
    if code := main([str(config), "--work-dir", str(work_dir), "--launcher", "pytorch", *options]):
        sys.exit(code)


def agent(nodes, local, port, identity, once, arguments):
    """What `torchrun --nnodes --nproc-per-node --rdzv-endpoint --max-restarts 3 -m rgbx train` does, by its API."""
    os.setsid()  # so that a test that fails can end it with its workers
    os.environ.update({"KILL_ONCE": str(once)} if once else {})
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=local,
        run_id=identity,
        rdzv_backend="c10d",
        rdzv_endpoint=f"127.0.0.1:{port}",
        max_restarts=3,
        monitor_interval=0.1,
        start_method="fork",  # of this process, which has imported everything
        local_addr="127.0.0.1",
    )
    elastic_launch(config, worker)(*arguments)


def launch(nodes, local, arguments, once=None):
    """Starts an agent for each node, and waits for all."""
    port = free_port()
    agents = [
        FORKS.Process(target=agent, args=(nodes, local, port, f"run{port}", once, arguments)) for _ in range(nodes)
    ]
    try:
        for each in agents:
            each.start()
        for each in agents:
            each.join(120)
        return [each.exitcode for each in agents]
    finally:
        for each in agents:
            if each.is_alive():
                os.killpg(each.pid, signal.SIGKILL)
                each.join()


def weights(folder):
    return torch.load(folder / "epoch_4.pth", weights_only=True)["state_dict"]


def test_two_nodes_and_a_killed_worker_come_to_the_weights_of_one_node(write_config, tmp_path):
    """The second of two agents loses its worker; both start theirs again, which go on from the newest file."""
    config = write_config(CONFIG)
    assert launch(1, 2, (config, tmp_path / "one")) == [0]
    assert launch(2, 1, (config, tmp_path / "two"), once=tmp_path / "killed") == [0, 0]
    assert (tmp_path / "killed").exists()
    starts = [line.split() for line in (tmp_path / "two.starts").read_text().splitlines()]
    assert len(starts) >= 4 and {group for _, _, group in starts} == {"0", "1"} and starts[-1][1] != "0"
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.equal(two[name], x) for name, x in one.items())
    logs = [path.read_text() for path in (tmp_path / "two").rglob("*.log")]
    assert sum("Resumed" in log and "after epoch 2" in log for log in logs) == 1
    assert not [path.name for path in (tmp_path / "two").iterdir() if path.name == "lock" or ".tmp" in path.name]
