"""Many frames in jobs of which one is killed, by the real commands; and the memory of an evaluation, image by image.

python benchmarks/many_frames.py                                # 2,000 frames in 4 shards, a minute or two on two cores
python benchmarks/many_frames.py --memory 20000 --out benchmarks/results/many_frames.json

Four jobs of `rgbx predict --shard I/4` predict rendered rooms, two at a time; the second is killed by SIGKILL in its
midst, and started again. Their files are compared, byte by byte, with those of one process that nobody disturbed, once
as single files and once as tar files (`--tar`). --memory N counts images of 40 classes as `rgbx test` does, and
writes the result file: N/4, N/2 and N of them, each in a process of its own, as a process has costs that no image adds
to; the line through N/4 and N has both, and N/2 tells how straight it is. What Python and NumPy keep is traced as well,
of N/20, which is the same in every run.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch

from rgbx._protocol import PROTOCOLS
from rgbx.evaluate.metric import file_sizes
from rgbx.evaluate.result import build_result, write_result
from rgbx.models import multimodal_segmentor
from rgbx.models.checkpoint import to_plain
from rgbx.tasks import build_task
from rgbx.tasks.base import Prediction

SHARDS, CLASSES, SIZE = 4, 40, (48, 64)
KINDS = {"files": ["--save", "ids", "areas"], "tars": ["--save", "ids", "--tar", "50"]}


def make_inputs(folder: Path, frames: int) -> list[str]:
    """A checkpoint and frames of blocks; gives the words of the command."""
    rng = np.random.default_rng(0)
    for name, high, kind in (("rgb", 256, np.uint8), ("depth", 8000, np.uint16)):
        (folder / name).mkdir()
        for k in range(frames):
            blocks = rng.integers(0, high, (6, 8, 3) if name == "rgb" else (6, 8), dtype=kind)
            image = blocks.repeat(SIZE[0] // 6, 0).repeat(SIZE[1] // 8, 1)
            cv2.imwrite(str(folder / name / f"{k:06d}.png"), image)
    torch.manual_seed(0)
    model = multimodal_segmentor(backbone="test_resnet", modalities=("rgb", "depth"), num_classes=CLASSES)
    torch.save({"state_dict": model.state_dict(), "model": to_plain(model.recipe)}, folder / "model.pth")
    maps = [f"rgb={folder / 'rgb'}", f"depth={folder / 'depth'}", "--map", "depth", "scale=1000"]
    return [sys.executable, "-m", "rgbx", "predict", str(folder / "model.pth"), *maps, "--device", "cpu"]


def start(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that is no record of the run."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    told = ("predict.json", "progress/")
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if not name.startswith(told)
    }


def disturbed(words: list[str], out: Path) -> int:
    """Four jobs, the second killed and run again; gives how many notes it had left."""
    jobs = {number: start([*words, "--out", str(out), "--shard", f"{number}/{SHARDS}"]) for number in (3, 2)}
    notes = out / "progress/1.jsonl"
    while jobs[2].poll() is None and not (notes.is_file() and notes.read_bytes().count(b"\n") > 1):
        time.sleep(0.005)
    jobs[2].send_signal(signal.SIGKILL)
    assert jobs[2].wait() == -signal.SIGKILL, "the job was done before it could be killed"
    left = notes.read_bytes().count(b"\n")
    jobs[2] = start([*words, "--out", str(out), "--shard", f"2/{SHARDS}"])
    for number, other in ((3, 1), (2, 4)):
        assert jobs[number].wait() == 0
        jobs[other] = start([*words, "--out", str(out), "--shard", f"{other}/{SHARDS}"])
    assert all(job.wait() == 0 for job in jobs.values())
    return left


def measure_shards(frames: int, kinds: list[str]) -> list[dict[str, object]]:
    """Predicts as single files or as tar files, disturbed and not."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = make_inputs(folder, frames)
        for kind in kinds:
            further = KINDS[kind]
            whole, out = folder / f"{kind}_whole", folder / f"{kind}_out"
            assert start([*words, *further, "--out", str(whole)]).wait() == 0
            left = disturbed([*words, *further], out)
            one, other = contents(whole), contents(out)
            found.append(
                {"as": kind, "frames": frames, "files": len(one), "noted_at_the_kill": left, "equal": one == other}
            )
            print(f"{frames} frames as {kind}: {len(one)} files, {left} notes at the kill, equal: {one == other}")
    return found


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure_memory(images: int, *, traced: bool = False) -> dict[str, float]:
    """Bytes of so many images, of ten of forty classes each, a quarter of the pixels wrong, of three predictions."""
    torch.set_num_threads(1)
    if traced:
        tracemalloc.start()
    task = build_task("labels", {"task": "classes", "num_classes": CLASSES})
    names = [f"class {k}" for k in range(CLASSES)]
    counter = task.counter(PROTOCOLS["rgbx"], {"classes": names, "palette": [[k, k, k] for k in range(CLASSES)]})
    rng, records = np.random.default_rng(0), []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rgb.png")
        file.write_bytes(bytes(200_000))
        batch, before = {"paths": {"rgb": [str(file)], "depth": [str(file)]}}, resident()
        held = tracemalloc.get_traced_memory()[0]
        for k in range(images):
            present = rng.choice(CLASSES, 10, replace=False)
            label = torch.from_numpy(np.kron(rng.choice(present, (6, 8)), np.ones((4, 4), np.int64)))
            predictions = {}
            for name in ("ensemble", "rgb", "depth"):
                wrong = torch.from_numpy(rng.random(label.shape) < 0.25)
                guess = torch.from_numpy(rng.choice(present, label.shape))
                predictions[name] = torch.where(wrong, guess, label).to(torch.uint8)
            sample_id = f"scene_{k // 1000:05d}/frame_{k:07d}"
            records.append(counter.count(sample_id, Prediction(predictions, label), file_sizes(batch, 0)))
        held = tracemalloc.get_traced_memory()[0] - held
        kept, cells = resident() - before, sum(len(record.cells["ensemble"]) for record in records)
        found = {"rgb+depth": {"labels": counter.evaluation(records)}}
        rules, config = PROTOCOLS["rgbx"], {"file": ""}
        kinds = {"labels": "classes"}
        result = build_result(found, kinds, protocol=rules, config=config, checkpoint=file, dataset=object())
        write_result(result, file.with_suffix(".json"))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        size = file.with_suffix(".json").stat().st_size
    return {
        "images": images,
        "cells_of_a_prediction": cells / images,
        "bytes_traced": held,
        "bytes_kept": kept,
        "bytes_at_most": peak,
        "bytes_in_result_file": size,
    }


def memory_by_image(most: int) -> dict[str, object]:
    """What a process takes, and what each image adds to it, between a quarter of the images and all."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        few, middle, many = pool.map(measure_memory, (most // 4, most // 2, most))
        traced = pool.submit(measure_memory, most // 20, traced=True).result()
    found: dict[str, object] = {"images": [one["images"] for one in (few, middle, many)]}
    found["cells_of_a_prediction"] = round(many["cells_of_a_prediction"], 1)
    found["bytes_traced_of_an_image"] = round(traced["bytes_traced"] / traced["images"])
    for name in ("bytes_kept", "bytes_at_most", "bytes_in_result_file"):
        each = (many[name] - few[name]) / (many["images"] - few["images"])
        found[name] = {
            "of_an_image": round(each),
            "of_the_process": round(many[name] - each * many["images"]),
            "measured": [round(one[name]) for one in (few, middle, many)],
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--memory", type=int, default=0, metavar="IMAGES")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    memory = memory_by_image(options.memory) if options.memory else {}
    print("".join(f"{name}: {value}\n" for name, value in memory.items()), end="")
    found = {"shards": measure_shards(options.frames, options.kinds), "memory": memory}
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
