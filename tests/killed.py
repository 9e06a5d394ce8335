"""Preparations and studies that are killed by SIGKILL and repeated; tests try few moments, others may try all.

Each function leaves in a folder what it made, and returns what became of every kill.
"""

import json
import os
import signal
import sys
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from processes import FORKS

import rgbx.cli.study
import rgbx.study.commands
from rgbx._lock import locked
from rgbx.cli.main import run
from rgbx.cli.prepare import main as prepare
from rgbx.cli.study import main as study

ROOT = Path(__file__).parents[1]
PATIENCE = 300  # seconds
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")


# --- preparations ----------------------------------------------------------------------------------------------------


class PreparationKill(NamedTuple):
    """A preparation that was killed before one of its changes to the disk.

    Attributes:
        change: how many it had made.
        code: of the repeated command.
        equal: whether the folder is then, byte for byte, that of an undisturbed preparation.
    """

    change: int
    code: int
    equal: bool


def lay_mfnet(root, frames=2):
    """Frames in MFNet's format, with their list."""
    for name, shape in (("images", (6, 8, 4)), ("labels", (6, 8))):
        (root / name).mkdir(parents=True)
        for k in range(frames):
            array = np.random.default_rng(k).integers(0, 9, shape, dtype=np.uint8)
            Image.fromarray(array).save(root / name / f"{k}.png")
    (root / "train.txt").write_text("".join(f"{k}\n" for k in range(frames)))


def lay_cityscapes(root, frames=2):
    """Frames in the format of Cityscapes, with all packages; some pixels of each are too far."""
    disparity = np.arange(48, dtype=np.uint16).reshape(6, 8)
    arrays = {
        ("leftImg8bit", "leftImg8bit.png"): np.zeros((6, 8, 3), np.uint8),
        ("gtFine", "gtFine_labelIds.png"): np.full((6, 8), 7, np.uint8),
        ("disparity", "disparity.png"): disparity,
    }
    for k in range(frames):
        for (package, suffix), array in arrays.items():
            path = root / package / "val" / "ulm" / f"ulm_{k:06d}_000019_{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
        camera = root / "camera" / "val" / "ulm" / f"ulm_{k:06d}_000019_camera.json"
        camera.parent.mkdir(parents=True, exist_ok=True)
        camera.write_text('{"extrinsic": {"baseline": 0.2}, "intrinsic": {"fx": 2000}}')


def lay_for_shards(root, frames=2):
    """Two splits of MFNet, so that two shards are written."""
    lay_mfnet(root, frames)
    (root / "val.txt").write_text("1\n0\n")


LAY = {"mfnet": lay_mfnet, "cityscapes": lay_cityscapes, "shards": lay_for_shards}


def preparations_killed(dataset, folder, *, every=1, frames=2):
    """Kills a preparation before each of its changes to the disk, or every few of them, and repeats it."""
    source, whole = folder / "in", folder / "whole"
    LAY[dataset](source, frames)
    changes = FORKS.Value("i")
    _in_process(_prepare, [dataset, str(source), str(whole)], whole, None, changes)
    found = []
    for change in range(0, changes.value, every):
        out = folder / f"killed_{change}"
        code = _in_process(_prepare, [dataset, str(source), str(out)], out, change, changes)
        assert code == -signal.SIGKILL, f"change {change} was never reached"
        with silent():
            code = prepare([dataset, str(source), str(out)])
        found.append(PreparationKill(change, code, tree(out) == tree(whole)))
    return found


def tree(folder):
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _prepare(words, folder, change, changes):
    """Prepares; kills this process before it changes something below a folder for the Nth time."""
    made, below = 0, str(folder)

    def look(event, given):
        nonlocal made
        writes = event in CHANGES or (event == "open" and (given[2] or 0) & WRITING)
        if writes and str(given[0]).startswith(below):
            if made == change:
                os.kill(os.getpid(), signal.SIGKILL)
            made += 1

    sys.addaudithook(look)
    with silent():
        code = prepare(words)
    changes.value = made
    raise SystemExit(code)


@contextmanager
def silent():
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def _in_process(function, *arguments):
    process = FORKS.Process(target=function, args=arguments)
    process.start()
    process.join()
    return process.exitcode


# --- studies ---------------------------------------------------------------------------------------------------------

STUDY = """
config = {config!r}
_loaders = ("train", "val", "test")
_frames = {{"train": 8, "val": 1, "test": 2}}
budget = {{
    "model.backbone": "test_resnet.r160_in1k", "model.decoder.width": 8, "model.modality_dropout": None,
    "train_cfg.max_epochs": {epochs}, "train_cfg.val_interval": 1, "param_scheduler": [],
    "train_dataloader.batch_size": 2, "train_dataloader.persistent_workers": False,
    **{{f"{{_name}}_dataloader.dataset.size": (40, 64) for _name in _loaders}},
    **{{f"{{_name}}_dataloader.dataset.num_frames": _frames[_name] for _name in _loaders}},
    **{{f"{{_name}}_dataloader.num_workers": {workers} for _name in _loaders}},
}}
_methods = {{"fused": {{}}, "rgb alone": {{"model.modalities": ("rgb",), "model.fusion": None}}}}
methods = {{_name: _methods[_name] for _name in {methods}}}
seeds = (0,)
modalities = ("rgb+depth", "rgb")
"""
MOMENTS = {  # what has happened in a study's folder
    "in the first epoch": lambda work: "$ rgbx train" in _log(work, "fused"),
    "in the second epoch": lambda work: (work / "fused/seed_0/last_checkpoint").is_file(),
    "in the test": lambda work: "$ rgbx test" in _log(work, "fused"),
    "between two runs": lambda work: (work / "fused/seed_0/results.json").is_file(),
    "in the second run": lambda work: (work / "rgb_alone/seed_0/last_checkpoint").is_file(),
}


class StudyKill(NamedTuple):
    """A study that was killed and repeated.

    Attributes:
        moment: of the kill.
        seconds: that the notes of all runs told of right after it.
        ended: whether all that it had started was gone ten seconds later, and its folder free for others.
        code: of the repeated command.
        equal: whether the table, and the weights of all runs, are those of an undisturbed study.
    """

    moment: str
    seconds: float
    ended: bool
    code: int
    equal: bool


class Here(rgbx.study.commands.Commands):
    """Trains and tests in the study's own process, which saves the start of others, and is killed with it."""

    def __call__(self, name, arguments, log):
        with log.open("a") as file, redirect_stdout(file), redirect_stderr(file):
            return run(name, arguments)


class KilledStudy:
    """A small study, undisturbed once, then killed at any moments.

    Args:
        folder: for all that it makes.
        apart: trains and tests in processes of their own, as the command does.
        methods: of the study; the moments in or before the second run are only of both.
        epochs: of each training, and `workers`: that load its frames.
    """

    def __init__(self, folder, *, apart=False, methods=("fused", "rgb alone"), epochs=2, workers=0):
        self.folder, self.apart, self.methods = folder, apart, methods
        self.file = folder / "small.py"
        config = str(ROOT / "configs/rooms/asymfusion_r18_rooms_160x120.py")
        self.file.write_text(STUDY.format(config=config, methods=methods, epochs=epochs, workers=workers))
        (folder / "rooms").mkdir()
        assert self.run("whole") == 0

    def words(self, name):
        place = ["--work-dir", str(self.folder / name), "--data-root", str(self.folder / "rooms")]
        return [str(self.file), *place, "--no-latency", "--device", "cpu"]

    def start(self, name):
        """The study as a process of its own, which goes on."""
        process = FORKS.Process(target=_study, args=(self.words(name), self.folder, self.apart))
        process.start()
        return process

    def run(self, name):
        """Runs it to its end; returns its exit code."""
        process = self.start(name)
        process.join()
        return process.exitcode

    def kill(self, moment, *, meanwhile=lambda process: None, after=lambda: None):
        """Kills it at a moment and repeats it.

        Args:
            moment: a key of MOMENTS.
            meanwhile: is called with the process before it is killed; it is stopped so long.
            after: is called when it has been killed.
        """
        name = moment.replace(" ", "_")
        work, process = self.folder / name, self.start(name)
        wait_for(lambda: MOMENTS[moment](work) or not process.is_alive())
        assert process.is_alive(), f"the study had ended before it was {moment}"
        os.kill(process.pid, signal.SIGSTOP)
        meanwhile(process)
        started = descendants(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        end = time.monotonic() + 10
        while not (ended := all(map(has_ended, started)) and is_free(work)) and time.monotonic() < end:
            time.sleep(0.02)
        notes = [json.loads(path.read_text()) for path in work.glob("*/seed_0/run.json")]
        after()
        code = self.run(name)
        return StudyKill(moment, sum(note["seconds"] for note in notes), ended, code, self.is_whole(name))

    def is_whole(self, name):
        """Whether a study gave what the undisturbed one did."""
        one, other = self.folder / "whole", self.folder / name
        runs = [path.relative_to(one) for path in one.glob("*/seed_0")]
        return (
            (one / "small.csv").read_bytes() == (other / "small.csv").read_bytes()
            and len(runs) == len(self.methods)
            and all(same_weights(one / path, other / path) for path in runs)
        )


def is_free(folder):
    """Whether nobody is at work in a folder."""
    try:
        with locked(folder, "a study"):
            return True
    except ValueError:
        return False


def same_weights(one, other):
    """Whether two runs ended with the same last checkpoint, bit for bit."""
    name = Path((one / "last_checkpoint").read_text().strip()).name
    first, second = (torch.load(folder / name, weights_only=True)["state_dict"] for folder in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def _study(words, folder, apart):
    os.chdir(folder)
    rgbx.study.commands.BEAT = 0.05
    if not apart:
        rgbx.cli.study.Commands = Here
    with (folder / "study.log").open("a") as log, redirect_stdout(log), redirect_stderr(log):
        raise SystemExit(study(words))


def _log(work, method):
    log = work / method / "seed_0/log.txt"
    return log.read_text() if log.is_file() else ""


# --- processes -------------------------------------------------------------------------------------------------------


def wait_for(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def descendants(number):
    """The numbers of all processes that one has started, and these in turn."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents.setdefault(int(path.read_text().rpartition(")")[2].split()[1]), []).append(int(path.parent.name))
        except OSError:  # it has ended
            continue
    found = list(parents.get(number, []))
    for child in found:
        found += parents.get(child, [])
    return found


def has_ended(number):
    """Gone, or a zombie that nobody has asked for."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
