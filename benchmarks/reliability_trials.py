"""Trainings that do something to themselves at a chosen moment, and what they leave behind.

A training is three epochs of a small network on rendered rooms, of real configs and by the real command, in a process
that is forked from one which has imported torch, as that takes longer than the training. Nothing else is made easier.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import torch

import rgbx._whole
from rgbx.cli.train import main as train
from rgbx.train.checkpoint_hook import CheckpointHook
from rgbx.train.stopping import REQUESTS

FORKS = multiprocessing.get_context("forkserver")
FIRST, EPOCHS, STEPS = 1, 3, 8  # steps of an epoch
HEAD = """from mmengine.config import read_base

with read_base():
    from rgbx.configs.{} import *

data_root = "{}"
dataset.update(size=(48, 64))
train_dataloader.update(batch_size=2, num_workers=2, persistent_workers=True)
train_dataloader["dataset"].update(num_frames=16)
val_dataloader.update(batch_size=2, num_workers=0, dataset=dict(split="val", num_frames=6))
train_cfg.update(max_epochs=3, val_interval=1)
default_hooks.update(checkpoint=dict(step_interval=3, save_best="auto"), logger=dict(interval=2))
"""
SYSTEMS = {
    "segmentation": (
        "rooms.asymfusion_small_rooms_160x120",
        "optim_wrapper.update(dtype='bfloat16', accumulative_counts=2)\nema = dict(momentum=0.05)\n",
    ),
    "translation": (
        "rooms.translate_depth_thermal_rgb_rooms_128x128",
        "model.update(generator=dict(name='unet', width=4, depth=4, dropout=0.5))\n"
        "model.update(discriminator=dict(width=4, layers=2))\n"
        "optim_wrapper.update(dtype=None)\nval_cfg.update(pictures=2)\n",
    ),
    "two heads": (
        "rooms.joint_r18_rooms_160x120",
        "model.update(backbone='test_resnet', modality_dropout=0.5)\noptim_wrapper.update(dtype=None)\nema = True\n",
    ),
}
MODALITIES = {"translation": 'dataset.update(modalities=("depth", "thermal", "rgb"))\n'}


class Moment(NamedTuple):
    """When a process does something to itself.

    Attributes:
        kind: "step" or "validation", after which batch; "half", where some bytes of a checkpoint are written;
            "unnamed", all of them, but not under its name; "unnoted", under its name, but not noted as the newest.
        number: of it, from 1, over the whole process.
        signal: that it sends itself.
    """

    kind: str
    number: int
    signal: int = signal.SIGKILL


class Trial(NamedTuple):
    """A process to run.

    Attributes:
        words: of `rgbx train`.
        log: gets what it prints.
        moment: when it does something to itself; None for never.
        rank, port: of one of two processes; None for one alone.
        prepare: is called in it first.
    """

    words: tuple[str, ...]
    log: Path
    moment: Moment | None = None
    rank: int | None = None
    port: int = 0
    prepare: Callable[[], object] | None = None


def act(trial: Trial) -> None:
    """What a trial's process does: `rgbx train`, and the time to its first step beside the log."""
    os.setsid()
    for number in REQUESTS:  # under nohup a hang-up is ignored, as it should be
        signal.signal(number, signal.SIG_DFL)
    began = time.monotonic()
    torch.set_num_threads(1)
    if trial.rank is not None:
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(trial.port), RANK=str(trial.rank), WORLD_SIZE="2")
        os.environ.update(LOCAL_RANK=str(trial.rank), LOCAL_WORLD_SIZE="2")
    if trial.moment is not None:
        disturb(trial.moment)
    name = "after_train_iter"
    stepped = getattr(CheckpointHook, name)

    def first(hook: CheckpointHook, *arguments: Any, **options: Any) -> None:
        setattr(CheckpointHook, name, stepped)
        trial.log.with_suffix(".first").write_text(str(time.monotonic() - began))
        stepped(hook, *arguments, **options)

    setattr(CheckpointHook, name, first)
    with trial.log.open("a", buffering=1) as sys.stdout:
        sys.stderr = sys.stdout
        if trial.prepare is not None:
            trial.prepare()
        code = train(list(trial.words))
        sys.stdout.flush()
        os._exit(code)


def disturb(moment: Moment) -> None:
    """Makes this process send itself a signal at some moment."""
    count = 0

    def once() -> None:
        nonlocal count
        count += 1
        if count == moment.number:
            os.kill(os.getpid(), moment.signal)

    def after(owner: Any, name: str) -> None:
        usual = getattr(owner, name)

        def called(*arguments: Any, **options: Any) -> Any:
            answer = usual(*arguments, **options)
            once()
            return answer

        setattr(owner, name, called)

    class Half:
        """Takes part of a checkpoint, of which the smallest here has 100 kB."""

        def __init__(self, file: Any) -> None:
            self.file, self.taken = file, 0

        def write(self, data: bytes) -> int:
            self.taken += len(data)
            written = self.file.write(data)
            if self.taken > 50_000:
                self.file._file.flush()
                os.kill(os.getpid(), moment.signal)
            return int(written)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

    def halved(state: Any, file: Any) -> None:
        nonlocal count
        count += 1
        saved(state, Half(file) if count == moment.number else file)

    saved = torch.save
    if moment.kind == "step":
        after(CheckpointHook, "after_train_iter")
    elif moment.kind == "validation":
        after(CheckpointHook, "before_val_iter")
    elif moment.kind == "half":
        torch.save = halved  # type: ignore[assignment]
    elif moment.kind == "unnamed":
        after(torch, "save")
    else:
        after(rgbx._whole, "sync_folder")


def start(trial: Trial) -> BaseProcess:
    """Begins a trial."""
    process = FORKS.Process(target=act, args=(trial,))
    process.start()
    return process


def end(*processes: BaseProcess, patience: float = 300) -> int:
    """Waits for processes and for all that they have started; the first one's exit code.

    Raises:
        RuntimeError: one of their workers lives on, or one does not end.
    """
    for process in processes:
        process.join(patience)
        if process.is_alive():
            process.kill()
            raise RuntimeError(f"process {process.pid} did not end in {patience} s")
    patience, began = 30, time.monotonic()
    while left := [pid for process in processes for pid in session(process.pid or 0)]:
        if time.monotonic() - began > patience:
            raise RuntimeError(f"{left} live on after their process has ended")
        time.sleep(0.05)
    return int(processes[0].exitcode or 0)


def session(leader: int) -> list[int]:
    """Processes that a process has started, however deep, and that are not over."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[3]) == leader and words[0] != "Z":
            found.append(int(status.parent.name))
    return found


class Place:
    """A temporary folder with the configs of the systems, their rendered rooms, and undisturbed runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.references: dict[str, Path] = {}
        self.fresh: dict[str, float] = {}
        for name, (base, text) in SYSTEMS.items():
            config = HEAD.format(base, folder / f"rooms of {name}") + MODALITIES.get(name, "") + text
            self.config(name).write_text(config)

    def config(self, name: str) -> Path:
        """The config of a system."""
        return self.folder / f"{name.replace(' ', '_')}.py"

    def trial(self, name: str, run: str, *more: str, **options: Any) -> Trial:
        """A training of a system in a folder of its own."""
        work = self.folder / run
        words = (str(self.config(name)), "--work-dir", str(work), *more)
        return Trial(words, self.folder / f"{run.replace('/', '_')}.log", **options)

    def run(self, name: str, run: str, *more: str, **options: Any) -> int:
        """Trains to the end, however that is; returns the exit code."""
        return end(start(self.trial(name, run, *more, **options)))

    def both(self, name: str, run: str, *more: str, victim: Moment | None = None, whole: bool = False) -> int:
        """The same in two processes, of which the second may do something to itself; the other one is killed with it
        where the `whole` machine is to fail.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        more = ("--launcher", "pytorch", *more)
        trials = [self.trial(name, run, *more, rank=rank, port=port) for rank in range(2)]
        processes = [start(trials[0]), start(trials[1]._replace(moment=victim))]
        if victim is not None and victim.signal == signal.SIGKILL:
            processes[1].join()
            if whole:
                processes[0].kill()
        return end(*processes)

    def reference(self, name: str, twice: bool = False) -> Path:
        """The folder of a run that nothing disturbed, in one process or in two."""
        run = f"{name} undisturbed{' in two' if twice else ''}"
        if run not in self.references:
            code = self.both(name, run) if twice else self.run(name, run)
            check(code == 0, f"{name} ended with {code}: {self.said(run)}")
            self.references[run] = self.folder / run
            self.fresh[run] = self.first(run)
        return self.references[run]

    def said(self, run: str) -> str:
        """The last line that a training printed."""
        lines = self.log(run).read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def log(self, run: str) -> Path:
        """What a training printed."""
        return self.folder / f"{run.replace('/', '_')}.log"

    def first(self, run: str) -> float:
        """Seconds from the command to its first step."""
        return float(self.log(run).with_suffix(".first").read_text())


def check(right: bool, what: str) -> None:
    """Ends the scenario where something is not as it should be.

    Raises:
        RuntimeError: it is not.
    """
    if not right:
        raise RuntimeError(what)


def compare(found: Path, expected: Path, *, names: bool = True) -> None:
    """Whether two finished runs left the same, to the last bit.

    Raises:
        RuntimeError: they did not.
    """
    kept = [sorted(path.name for path in folder.glob("*.pth")) for folder in (found, expected)]
    check(kept[0] == kept[1] or not names, f"{found} holds {kept[0]}, expected {kept[1]}")
    for name in kept[1] if names else [f"epoch_{EPOCHS}.pth"]:
        states = [torch.load(folder / name, weights_only=True) for folder in (found, expected)]
        for key in ("state_dict", "optimizer", "param_schedulers", "ema_state_dict"):
            check(same(*(state.get(key) for state in states)), f"{found / name} differs in {key}")
        scores = [state["message_hub"]["runtime_info"].get("best_score") for state in states]
        check(scores[0] == scores[1], f"{found / name} has the best score {scores[0]}, expected {scores[1]}")
    left = [path.name for path in found.rglob(".*") if path.is_file()]
    check(not left, f"{found} holds {left}")
    check((found / "curves.png").is_file(), f"{found} has no curves.png")


def same(first: object, second: object) -> bool:
    """Whether nested containers of tensors are equal to the last bit."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return torch.equal(first, second)
    return first == second


def steps_lost(place: Place, run: str) -> int:
    """Steps that a killed run had made and not saved, as far as its log and its newest checkpoint say."""
    notes = [json.loads(line) for line in scalars(place.folder / run) if line.startswith("{")]
    made = max((int(note["iter"]) for note in notes if "iter" in note), default=0)
    saved = 0
    for path in (place.folder / run).glob("epoch_*.pth"):
        words = path.stem.split("_")
        saved = max(saved, int(words[3]) if "iter" in words else int(words[1]) * STEPS)
    return max(0, made - saved)


def scalars(folder: Path) -> list[str]:
    return [line for log in folder.glob("*/vis_data/scalars.json") for line in log.read_text().splitlines()]
