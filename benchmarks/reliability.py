"""Kills, signals, full disks, damaged folders, long runs: each is done to real commands, and what is left is compared.

    python benchmarks/reliability.py                     # what is not kept yet, one scenario after the other
    python benchmarks/reliability.py kills signals       # these anew
    python benchmarks/reliability.py --page              # docs/reliability.md of what is kept

See `reliability_trials` for what a training is here. One that was killed or stopped is resumed by the same command with
--resume; then its checkpoints are compared, bit by bit, with those of a run that nothing disturbed. What was found is
kept in benchmarks/results/reliability.json. As root it also fills a disk of its own, in memory.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lists import measure
from reliability_page import draw, page
from reliability_trials import (
    FORKS,
    SYSTEMS,
    Moment,
    Place,
    Trial,
    check,
    compare,
    end,
    scalars,
    session,
    start,
    steps_lost,
)

from rgbx.cli.errors import FAILED, STOPPED
from rgbx.cli.study import main as run_study

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests"))  # whose code kills studies and preparations, at fewer moments
import killed  # noqa: E402

PAGE, PICTURE = ROOT / "docs/reliability.md", ROOT / "docs/images/reliability.png"
RESULTS = ROOT / "benchmarks/results/reliability.json"
MOMENTS = [
    *(Moment("step", number) for number in (1, 4, 9, 14, 23)),
    *(Moment("validation", number) for number in (1, 5, 9)),
    *(Moment("half", number) for number in (1, 5)),
    *(Moment("unnamed", number) for number in (2, 6)),
    *(Moment("unnoted", number) for number in (3, 7)),
]


Rows = list[dict[str, Any]]


def row(what: str, tries: int, outcome: str, **figures: float) -> dict[str, Any]:
    """What was tried, how often, and how it ended; figures beside."""
    return {"what": what, "tries": tries, "outcome": outcome, **figures}


def kills(place: Place) -> Rows:
    """SIGKILL at steps, in validations and while checkpoints are written."""
    rows = []
    for name in SYSTEMS:
        reference, delays, repeated = place.reference(name), [], []
        for moment in MOMENTS:
            run = f"{name} killed at {moment.kind} {moment.number}"
            check(place.run(name, run, moment=moment) == -signal.SIGKILL, f"{run}: it was not killed")
            repeated.append(steps_lost(place, run))
            check(place.run(name, run, "--resume") == 0, f"{run}: {place.said(run)}")
            compare(place.folder / run, reference)
            delays.append(place.first(run) - place.fresh[f"{name} undisturbed"])
            shutil.rmtree(place.folder / run)
        rows.append(
            row(
                f"`kill -9`, {name}",
                len(MOMENTS),
                "all equal to the undisturbed run, bit for bit",
                resume_s=statistics.median(delays),
                slowest_resume_s=max(delays),
                steps_again=max(repeated),
            )
        )
    return rows


def two_processes(place: Place) -> Rows:
    """One of two processes, or both, are killed; one alone gets a signal."""
    name, rows = "segmentation", []
    reference = place.reference(name, twice=True)
    moments = [Moment("step", 2), Moment("step", 6), Moment("step", 11), Moment("validation", 2)]
    for whole in (False, True):
        for moment in moments:
            run = f"{name} of two, killed at {moment.kind} {moment.number}{' whole' * whole}"
            check(place.both(name, run, victim=moment, whole=whole) != 0, f"{run}: it went on")
            check(place.both(name, run, "--resume") == 0, f"{run}: {place.said(run)}")
            compare(place.folder / run, reference)
        what = "both of two processes killed" if whole else "one of two processes killed, the other ends"
        rows.append(row(what, len(moments), "all equal to the undisturbed run of two, bit for bit"))
    asked = [Moment("step", number, signal.SIGTERM) for number in (1, 6, 11)]
    for moment in asked:
        run = f"{name} of two, stopped at {moment.number}"
        check(place.both(name, run, victim=moment) == STOPPED, f"{run}: {place.said(run)}")
        check(place.both(name, run, "--resume") == 0, f"{run}: {place.said(run)}")
        compare(place.folder / run, reference)
    rows.append(
        row("SIGTERM to one of two processes", len(asked), f"both save and end ({STOPPED}); equal, bit for bit")
    )
    return rows


def signals(place: Place) -> Rows:
    """SIGTERM, SIGHUP and SIGUSR1 at steps and in validations."""
    rows = []
    moments = [("step", 1), ("step", 10), ("step", 19), ("validation", 2)]
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        for name in SYSTEMS:
            for kind, count in moments:
                run = f"{name} got {number.name} at {kind} {count}"
                code = place.run(name, run, moment=Moment(kind, count, number))
                check(code == STOPPED, f"{run}: {code}, {place.said(run)}")
                check(steps_lost(place, run) == 0, f"{run}: steps are lost")
                check(place.run(name, run, "--resume") == 0, f"{run}: {place.said(run)}")
                compare(place.folder / run, place.reference(name))
                shutil.rmtree(place.folder / run)
        tries = len(SYSTEMS) * len(moments)
        rows.append(row(f"{number.name}", tries, f"saved, exit code {STOPPED}, no step again; equal, bit for bit"))
    return rows


def disks(place: Place) -> Rows:
    """A disk that is full, a limit on the size of files, a folder that may not be written."""
    name, rows = "segmentation", []
    reference = place.reference(name)
    size = max(path.stat().st_size for path in reference.glob("epoch_*.pth"))
    if os.geteuid() == 0:
        run, mounted = "a small disk", place.folder / "a small disk"
        mounted.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={2 * size + 200_000}", "tmpfs", str(mounted)]
        if subprocess.run(mount, capture_output=True).returncode == 0:
            try:
                code = place.run(name, run)
                _ended_in_a_sentence(place, run, code, "No space left on device")
                subprocess.run(["mount", "-o", "remount,size=64m", str(mounted)], check=True)
                check(place.run(name, run, "--resume") == 0, place.said(run))
                compare(mounted, reference)
                rows.append(
                    row("a disk (tmpfs) fills up, and is given room", 1, "one sentence; then equal, bit for bit")
                )
            finally:
                subprocess.run(["umount", str(mounted)], check=False)
    run = "a limit on files"
    code = place.run(name, run, prepare=Limit(size // 2))
    _ended_in_a_sentence(place, run, code, "File too large")
    check(place.run(name, run, "--resume") == 0, place.said(run))
    compare(place.folder / run, reference)
    rows.append(
        row("files may not grow to a checkpoint's size (RLIMIT_FSIZE)", 1, "one sentence; then equal, bit for bit")
    )
    run = "a folder of others"
    (place.folder / run).mkdir(mode=0o555)
    code = place.run(name, run, prepare=as_nobody)
    check(code == FAILED and "Traceback" not in place.log(run).read_text(), place.said(run))
    rows.append(row("a work directory that may not be written", 1, f"refused: {place.said(run).rpartition(': ')[2]}"))
    return rows


class Limit(NamedTuple):
    """Lets no file of this process grow beyond some bytes."""

    size: int

    def __call__(self) -> None:
        """Sets the limit, for which Python already ignores the signal."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))


def as_nobody() -> None:
    """Gives up the rights of root, who may write anywhere."""
    if os.geteuid() == 0:
        os.setuid(65534)


def _ended_in_a_sentence(place: Place, run: str, code: int, reason: str) -> None:
    said = place.log(run).read_text()
    check(code == FAILED, f"{run}: {code}, {said[-300:]}")
    check(reason in place.said(run) and place.said(run).startswith("error: "), f"{run}: {place.said(run)}")
    check("Traceback" not in said, f"{run}: {said[-2000:]}")
    left = [path.name for path in (place.folder / run).glob(".*")]
    check(not left, f"{run} left {left}")


def folders(place: Place) -> Rows:
    """Work directories that were copied, moved and damaged; two trainings in one."""
    rows = []
    for name in SYSTEMS:
        begun = f"{name} begun"
        check(place.run(name, begun, moment=Moment("step", 20)) == -signal.SIGKILL, place.said(begun))
    name = "segmentation"
    work, reference = place.folder / f"{name} begun", place.reference(name)
    for how, carry in (("copied", shutil.copytree), ("moved", shutil.move)):
        source = place.folder / f"{name} begun, {how}"
        shutil.copytree(work, source)
        before = {path.name: path.stat().st_mtime_ns for path in source.iterdir()}
        carry(source, place.folder / how)
        check(place.run(name, how, "--resume") == 0, place.said(how))
        compare(place.folder / how, reference)
        if how == "copied":
            after = {path.name: path.stat().st_mtime_ns for path in source.iterdir()}
            check(before == after, "the original has changed")
        rows.append(row(f"a work directory is {how} and resumed", 1, "equal, bit for bit; an original stays as it is"))
    generator = random.Random(0)
    for name in SYSTEMS:
        flipped, reference = 12, place.reference(name)
        for number in range(flipped):
            run = f"{name} with a flipped bit, {number}"
            shutil.copytree(place.folder / f"{name} begun", place.folder / run)
            newest = place.folder / run / (place.folder / run / "last_checkpoint").read_text()
            data = bytearray(newest.read_bytes())
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
            newest.write_bytes(data)
            check(place.run(name, run, "--resume", str(newest)) == FAILED, f"{run}: it was resumed by name")
            check("intact in its folder: " in place.said(run), place.said(run))
            check(place.run(name, run, "--resume") == 0, place.said(run))
            check(f"{newest.name} is damaged" in place.log(run).read_text(), f"{run}: it was not told")
            compare(place.folder / run, reference, names=False)
            shutil.rmtree(place.folder / run)
        outcome = "refused by name, an intact one offered; `--resume` goes on from that; equal, bit for bit"
        rows.append(row(f"one bit of the newest checkpoint flipped, {name}", flipped, outcome))
    name = "segmentation"
    cut: dict[str, Callable[[Path, Path], object]] = {
        "cut in half": lambda folder, newest: os.truncate(newest, newest.stat().st_size // 2),
        "emptied": lambda folder, newest: os.truncate(newest, 0),
        "removed": lambda folder, newest: newest.unlink(),
        "not noted": lambda folder, newest: (folder / "last_checkpoint").unlink(),
        "noted by nonsense": lambda folder, newest: (folder / "last_checkpoint").write_bytes(b"\xff\0/etc/passwd"),
    }
    for how, change in cut.items():
        run = f"the newest is {how}"
        shutil.copytree(work, place.folder / run)
        change(place.folder / run, place.folder / run / (place.folder / run / "last_checkpoint").read_text())
        check(place.run(name, run, "--resume") == 0, place.said(run))
        compare(place.folder / run, place.reference(name), names=False)
        rows.append(row(f"the newest checkpoint is {how}", 1, "resumed from what is intact; equal, bit for bit"))
    return [*rows, _two_in_one(place)]


def _two_in_one(place: Place) -> dict[str, Any]:
    name, run, tries = "segmentation", "two in one", 5
    first = start(place.trial(name, run, "--cfg-options", "train_cfg.max_epochs=100000"))
    while not list((place.folder / run).glob("epoch_*.pth")):
        time.sleep(0.02)
    for number in range(tries):
        trial = place.trial(name, run, *(["--overwrite"] if number % 2 else ["--resume"]))
        code = end(start(trial._replace(log=place.log(f"second {number}"))))
        said = place.said(f"second {number}")
        check(code == FAILED and f"process {first.pid} on " in said, f"{code}: {said}")
        check(first.is_alive(), "the first one has ended")
    first.kill()
    end(first)
    return row("a second training in the same work directory", tries, "refused, the first one named by its process")


LONG = """from mmengine.config import read_base
from mmengine.dataset import default_collate
from mmengine.optim import PolyLR
from tiny import Halves, tiny_segmentor
from torch.optim import SGD

from rgbx.datasets import EpochSampler
from rgbx.train.optim import AutocastOptimWrapper, EncoderDecoderConstructor
from rgbx.transforms import ColorJitter, HorizontalFlip, PackSample

with read_base():
    from rgbx.configs._base_.runtime import *

model = dict(type=tiny_segmentor, modalities=("rgb", "depth"), num_classes=3)
train_dataloader = dict(
    batch_size=2, num_workers=2, persistent_workers=True,
    sampler=dict(type=EpochSampler, shuffle=True), collate_fn=dict(type=default_collate),
    dataset=dict(type=Halves, root=".", length=400,
        transforms=[dict(type=HorizontalFlip), dict(type=ColorJitter), dict(type=PackSample)]))
val_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type=EpochSampler, shuffle=False),
    collate_fn=dict(type=default_collate),
    dataset=dict(type=Halves, root=".", length=20, transforms=[dict(type=PackSample)]))
del test_cfg, test_evaluator
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=10)
optim_wrapper = dict(
    type=AutocastOptimWrapper, constructor=EncoderDecoderConstructor, optimizer=dict(type=SGD, lr=0.01),
    paramwise_cfg=dict(encoder_lr_mult=1.0))
param_scheduler = [dict(type=PolyLR, power=0.9, convert_to_iter_based=True)]
ema = dict(momentum=0.01)
default_hooks.update(checkpoint=dict(step_interval=500), logger=dict(interval=50))
"""  # a network of some hundred weights, as what is asked is what steps leave behind; all around it is real


def long_run(place: Place) -> Rows:
    """20,000 steps: memory, descriptors, shared memory and logs."""
    steps, config = 20_000, place.folder / "long.py"
    config.write_text(LONG)
    work = place.folder / "long"
    process = start(Trial((str(config), "--work-dir", str(work)), place.log("long")))
    series = []
    while process.is_alive():
        found = _footprint(process.pid or 0, work)
        if found is not None:
            series.append(found)
        process.join(1.0)
    check(end(process) == 0, place.said("long"))
    made = max(int(json.loads(line).get("iter", 0)) for line in scalars(work))
    check(made == steps, f"{made} steps were made")
    table = np.array([[entry[key] for key in KEYS] for entry in series])
    warm = table[table[:, 0] > steps / 10]
    slopes = {key: _slope(warm[:, 0], warm[:, index]) for index, key in enumerate(KEYS) if index}
    keep = table[np.linspace(0, len(table) - 1, 200).round().astype(int)]
    logs = sum(path.stat().st_size for path in work.rglob("*") if path.is_file() and path.suffix != ".pth")
    checkpoints = max(path.stat().st_size for path in work.glob("epoch_*.pth"))
    return [
        {
            "what": "20,000 steps of a network of some hundred weights, with two workers, an average of the weights, "
            "100 epochs, 10 validations, and a state saved every 500 steps",
            "tries": 1,
            "outcome": "flat within the noise",
            "slopes": slopes,
            "series": {key: keep[:, index].round(3).tolist() for index, key in enumerate(KEYS)},
            "logs_mb": logs / 1e6,
            "checkpoint_mb": checkpoints / 1e6,
        }
    ]


KEYS = ("step", "rss", "workers", "files", "shared")


def _footprint(leader: int, work: Path) -> dict[str, float] | None:
    """Step, MB of the main process and of its workers, open files, and MB of shared memory in use."""
    try:
        steps = [json.loads(line).get("iter", 0) for line in scalars(work)[-3:]]
        own = _resident(leader)
        workers = sum(_resident(pid) for pid in session(leader) if pid != leader)
        files = len(list(Path(f"/proc/{leader}/fd").iterdir()))
        shared = sum(path.stat().st_size for path in Path("/dev/shm").iterdir())
    except (OSError, ValueError):
        return None
    return dict(zip(KEYS, (float(max(steps, default=0)), own, workers, float(files), shared / 1e6), strict=True))


def _resident(pid: int) -> float:
    """MB of a process, of pages that others share its part of them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1e3
    return 0.0


def _slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Change of y over 10,000 of x, and its standard error of blocks, as neighbouring samples are not independent."""
    blocks = [np.polyfit(*part, 1)[0] for part in zip(np.array_split(x, 8), np.array_split(y, 8), strict=True)]
    whole = float(np.polyfit(x, y, 1)[0])
    return whole * 1e4, float(np.std(blocks, ddof=1) / len(blocks) ** 0.5 * 1e4)


def studies(place: Place) -> Rows:
    """A study that is killed at its moments, also with runs in processes of their own; two at once; a changed file."""
    study = killed.KilledStudy(_made(place, "study"))
    text = study.file.read_text()
    refusals: list[bool] = []

    def call_too(process: BaseProcess) -> None:
        code, said = study_said(study, last)
        refusals.append(code == FAILED and f"still at work (process {process.pid} on " in said)

    def call_changed() -> None:
        study.file.write_text(text + "budget['train_cfg.max_epochs'] = 3")
        code, said = study_said(study, last)
        refusals.append(code == FAILED and "is not that of the run" in said)
        study.file.write_text(text)

    found = []
    for moment in killed.MOMENTS:
        last = moment.replace(" ", "_")
        late = moment not in ("in the first epoch",)  # where something lies there that could be taken for another's
        found.append(study.kill(moment, meanwhile=call_too, after=call_changed if late else lambda: None))
    apart = killed.KilledStudy(_made(place, "apart"), apart=True, workers=2)
    found += [apart.kill(moment) for moment in killed.MOMENTS]
    for each in found:
        check(each.code == 0 and each.equal and each.ended, f"{each}")
    check(all(refusals), f"{refusals}")
    return [
        row(
            "`kill -9` in trainings, in tests and between runs",
            len(found),
            "equal tables and weights; no process lives on",
        ),
        row(
            "another call while the study is at work",
            len(killed.MOMENTS),
            "refused, the first one named by its process",
        ),
        row(
            "a changed study file on the folder of a killed one",
            len(killed.MOMENTS) - 1,
            "refused, what changed is named",
        ),
    ]


def study_said(study: killed.KilledStudy, name: str) -> tuple[int, str]:
    """Exit code and error of a call of `rgbx study` in this process."""
    with redirect_stderr(io.StringIO()) as errors, redirect_stdout(io.StringIO()):
        code = run_study(study.words(name))
    return code, errors.getvalue()


def preparations(place: Place) -> Rows:
    """Preparations killed before each of their changes to the disk."""
    rows = []
    for dataset, title in (("mfnet", "MFNet"), ("cityscapes", "Cityscapes")):
        found = killed.preparations_killed(dataset, _made(place, dataset))
        wrong = [each for each in found if each.code or not each.equal]
        check(not wrong, f"{dataset}: {wrong}")
        rows.append(row(f"`kill -9` of a preparation of {title}", len(found), "all equal, byte for byte"))
    return rows


def lists(place: Place) -> Rows:
    """Lists of ten and of one million lines are opened, and read by two workers."""
    rows = []
    for count, kind, what in ((10_000_000, "columns", "of the files of each frame"), (1_000_000, "stems", "of names")):
        found = measure(count, kind)
        outcome = (
            f"{found['seconds']:.0f} s of CPU until all ids, paths and files are checked, at most "
            f"{found['peak_beyond_imports_mb']:,.0f} MB beyond what is imported, {found['kept_mb']:,.0f} MB kept; "
            f"a sample takes {found['sample_ms']:.2f} ms; two workers of a loader have "
            f"{found['workers_private_mb']:.0f} MB of their own together"
        )
        rows.append(row(f"{count:,} lines {what}, {found['list_mb']:.0f} MB", 1, outcome))
    return rows


def bad_input(place: Place) -> Rows:
    """What `tests/fuzz` prints of its doors."""
    command = [sys.executable, "-m", "pytest", "tests/fuzz", "-s", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rows = []
    for line in done.stdout.splitlines():
        words = [word.strip() for word in line.strip(".| ").split("|")]
        if len(words) == 5 and words[1].isdecimal():
            door, inputs, refused, slowest, memory = words
            rows.append({"door": door, "inputs": int(inputs), "refused": refused, "slowest": slowest, "memory": memory})
    return rows


def _made(place: Place, name: str) -> Path:
    folder = place.folder / name
    folder.mkdir()
    return folder


SCENARIOS: dict[str, Callable[[Place], Rows]] = {
    "kills": kills,
    "signals": signals,
    "two processes": two_processes,
    "disks": disks,
    "folders": folders,
    "studies": studies,
    "preparations": preparations,
    "long run": long_run,
    "lists": lists,
    "bad input": bad_input,
}


def kept() -> dict[str, Any]:
    """What was found so far, by scenario."""
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Carries out scenarios, and writes what they found and the page; 1 where one of them did not end as it should."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS], metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--page", action="store_true", help="write the page alone")
    options = parser.parse_args(arguments)
    FORKS.set_forkserver_preload(["rgbx.cli.train"])
    failed = False
    for name in [] if options.page else options.scenarios or [each for each in SCENARIOS if each not in kept()]:
        began = time.monotonic()
        try:
            with tempfile.TemporaryDirectory(prefix="reliability_") as folder:
                rows = SCENARIOS[name](Place(Path(folder)))
        except RuntimeError as error:
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            failed = True
            continue
        versions = f"Python {platform.python_version()}, torch {torch.__version__}"
        machine = f"{platform.machine()}, {os.cpu_count()} cores, {versions}"
        about = {"seconds": time.monotonic() - began, "date": time.strftime("%Y-%m-%d"), "machine": machine}
        RESULTS.write_text(json.dumps({**kept(), name: {**about, "rows": rows}}, indent=1) + "\n")
        for found in rows:
            print({key: value for key, value in found.items() if key != "series"}, flush=True)
    PAGE.write_text(page(kept()))
    if "long run" in kept():
        draw(kept(), PICTURE)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
