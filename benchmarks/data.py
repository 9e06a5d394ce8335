"""Measures the input pipeline: decoding, cropping, packing, HHA, kept frames, and memory over many samples.

    OMP_NUM_THREADS=1 python benchmarks/data.py data/nyudv2 --out benchmarks/results/data.md

ROOT holds NYU Depth V2 frames: rgb/, depth/ and masks/ of the list layout (640x480, 16-bit depth), or rgb/, depth/ and
label/ of the 320x240 copy, which are enlarged to 640x480. Up to --frames of them are written to a temporary folder: RGB
as JPEG of quality 95 and as PNG, depth as 16-bit PNG at 5000 per metre, labels as PNG, all PNGs with OpenCV's default
compression.

Method: one process, OpenCV and torch on one thread; malloc keeps its memory, as it does in the commands that run
networks and their loaders' workers, unless --system-malloc is given. The pipelines take turns: each pass runs every
pipeline once over all frames, a pass of warm-up is not counted, and the median over the passes is reported, in process
CPU time (other work on the machine counts little) and in wall time. All make crops of 480x480 at a scale drawn from 0.5
to 2.0, mirrored half the time.

- rgbx: `FileDataset` with `RandomScaleCrop`, `HorizontalFlip`, `PackSample`: read, checked, cut out, resized, packed.
- plain: the usual order: decode, resize the whole image, pad, crop, flip, tensors. No checks.
- plain, normalised: the same, and RGB to normalised float32 on the host, as most training code does; rgbx leaves that
  to the device.
- albumentations: the same steps by the library, without normalisation.
- decoding alone: `cv2.imread` of the three files: what no pipeline without kept frames can go below.
- shards: those that `rgbx prepare shards` makes of the PNGs; their sizes are told below the table.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations
import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

import rgbx
from rgbx.datasets import CachedFrames, EpochSampler, SampleKey, validate_sample
from rgbx.datasets.families.nyudv2 import NYUDV2_CLASSES, NYUDV2_PALETTE
from rgbx.datasets.files import FileDataset, Frame
from rgbx.datasets.prepare import write_shards
from rgbx.datasets.shards import ShardedDataset
from rgbx.maps import RGB, STANDARD_MAPS, Encoding, LabelEncoding
from rgbx.maps.hha import NYUDV2_CAMERA, hha
from rgbx.transforms import HorizontalFlip, PackSample, RandomScaleCrop

DEPTH = Encoding(STANDARD_MAPS["depth"], scale=5000.0)
CROP, SCALE = 480, (0.5, 2.0)
MEAN = np.array([123.675, 116.28, 103.53], np.float32)
STD = np.array([58.395, 57.12, 57.375], np.float32)
SHARDS: dict[str, dict[str, Any]] = {
    "shards of PNG": {},
    "shards without compression": {"uncompressed": True},
    "shards, RGB as JPEG": {"jpeg": 95},
    "shards, RGB as JPEG, depth without compression": {"jpeg": 95, "uncompressed": True},
}
Array = np.ndarray[Any, Any]
Pipeline = Callable[[int, int], Any]  # (frame, pass) to a sample


def write_frames(root: Path, folder: Path, count: int) -> list[str]:
    """Writes 640x480 frames as rgb.jpg, rgb.png, depth.png, label.png per stem; returns the stems."""
    small = (root / "label").is_dir()
    labels = root / ("label" if small else "masks")
    stems = [path.stem for path in sorted(labels.glob("*.png"))][:count]
    if not stems:
        raise SystemExit(f"{labels}: no *.png; ROOT must hold rgb/, depth/ and masks/ (or label/)")
    for stem in stems:
        rgb = imread(next((root / "rgb").glob(f"{stem}.*")))
        depth, label = imread(root / "depth" / f"{stem}.png"), imread(labels / f"{stem}.png")
        if small:
            metres = (depth.astype(np.float32) + 0.5) / 25.5
            depth = np.rint(cv2.resize(metres, (640, 480)) * 5000).astype(np.uint16)
            rgb = cv2.resize(rgb, (640, 480), interpolation=cv2.INTER_CUBIC)
            label = cv2.resize(label - 1, (640, 480), interpolation=cv2.INTER_NEAREST)  # void 0 becomes 255
        cv2.imwrite(str(folder / f"{stem}_rgb.jpg"), rgb, [cv2.IMWRITE_JPEG_QUALITY, 95])
        for kind, array in (("rgb", rgb), ("depth", depth), ("label", label)):
            cv2.imwrite(str(folder / f"{stem}_{kind}.png"), array)
    return stems


def make_dataset(folder: Path, stems: Sequence[str], rgb_suffix: str) -> FileDataset:
    """The files as any family in files reads them."""
    suffixes = {"rgb": f"rgb{rgb_suffix}", "depth": "depth.png", "label": "label.png"}
    frames = [Frame(stem, {key: folder / f"{stem}_{end}" for key, end in suffixes.items()}) for stem in stems]
    return FileDataset(
        frames,
        {"rgb": RGB, "depth": DEPTH},
        LabelEncoding(),
        modalities=("rgb", "depth"),
        classes=NYUDV2_CLASSES,
        palette=NYUDV2_PALETTE,
        transforms=[RandomScaleCrop(CROP, scale=SCALE), HorizontalFlip(), PackSample()],
    )


def decode(dataset: FileDataset, index: int) -> list[Array]:
    """The three files by cv2.imread, colours as they come (BGR)."""
    files = dataset.frames[index].files
    return [imread(files[key]) for key in ("rgb", "depth", "label")]


def imread(path: Path) -> Array:
    image: Array | None = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise SystemExit(f"{path}: no such image")
    return image


def plain(dataset: FileDataset, index: int, number: int, *, normalise: bool) -> dict[str, torch.Tensor]:
    """Decodes, resizes whole images, pads, crops, flips, makes tensors."""
    rng = np.random.default_rng((number, index))
    bgr, raw, label = decode(dataset, index)
    rgb: Array = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    depth: Array = raw.astype(np.float32) / 5000
    factor = rng.uniform(*SCALE)
    size = (round(rgb.shape[1] * factor), round(rgb.shape[0] * factor))
    rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR)
    depth, label = (cv2.resize(array, size, interpolation=cv2.INTER_NEAREST) for array in (depth, label))
    down, right = max(CROP - size[1], 0), max(CROP - size[0], 0)
    if down or right:
        border = (down // 2, down - down // 2, right // 2, right - right // 2, cv2.BORDER_CONSTANT)
        rgb, depth = (cv2.copyMakeBorder(array, *border, value=0) for array in (rgb, depth))
        label = cv2.copyMakeBorder(label, *border, value=255)
    top, left = (int(rng.integers(side - CROP + 1)) for side in rgb.shape[:2])
    rgb, depth, label = (array[top : top + CROP, left : left + CROP] for array in (rgb, depth, label))
    if rng.random() < 0.5:
        rgb, depth, label = (cv2.flip(array, 1) for array in (rgb, depth, label))
    if normalise:
        rgb = (rgb.astype(np.float32) - MEAN) / STD
    return to_tensors(rgb, depth, label)


def to_tensors(rgb: Array, depth: Array, label: Array) -> dict[str, torch.Tensor]:
    return {
        "rgb": torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))),
        "depth": torch.from_numpy(np.ascontiguousarray(depth[None])),
        "label": torch.from_numpy(label.astype(np.int64)),
    }


@functools.cache
def albumentations_compose() -> albumentations.Compose:
    steps = [
        albumentations.RandomScale((SCALE[0] - 1, SCALE[1] - 1), mask_interpolation=cv2.INTER_NEAREST, p=1),
        albumentations.PadIfNeeded(CROP, CROP, fill_mask=255),
        albumentations.RandomCrop(CROP, CROP),
        albumentations.HorizontalFlip(),
    ]
    return albumentations.Compose(steps, additional_targets={"depth": "mask"})


def by_albumentations(dataset: FileDataset, index: int, number: int) -> dict[str, torch.Tensor]:
    bgr, raw, label = decode(dataset, index)
    rgb, depth = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), raw.astype(np.float32) / 5000
    done = albumentations_compose()(image=rgb, mask=label, depth=depth)
    return to_tensors(done["image"], done["depth"], done["mask"])


def time_pipelines(pipelines: dict[str, Pipeline], frames: int, passes: int) -> dict[str, tuple[float, float]]:
    """Median CPU and wall milliseconds per sample of each pipeline; they take turns in every pass."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in pipelines}
    for number in range(passes + 1):
        for name, pipeline in pipelines.items():
            wall, cpu = time.perf_counter(), time.process_time()
            for index in range(frames):
                pipeline(index, number)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            times[name].append((1000 * cpu / frames, 1000 * wall / frames))
    return {
        name: (statistics.median(c for c, _ in found[1:]), statistics.median(w for _, w in found[1:]))
        for name, found in times.items()
    }


def time_stages(dataset: FileDataset, frames: int, passes: int) -> dict[str, float]:
    """Mean CPU milliseconds per sample of reading, checking and every transform."""
    seconds: dict[str, list[float]] = {}
    for number in range(passes):
        for index in range(frames):
            rng = np.random.default_rng((number, index))
            clock = time.process_time()
            sample = dataset.read(index)
            clock = _note(seconds, "read", clock)
            validate_sample(sample, dataset.maps, dataset.num_classes)
            clock = _note(seconds, "check", clock)
            for transform in dataset.transforms:
                sample = transform(sample, rng)
                clock = _note(seconds, type(transform).__name__, clock)
    return {name: 1000 * statistics.fmean(values) for name, values in seconds.items()}


def _note(seconds: dict[str, list[float]], name: str, start: float) -> float:
    now = time.process_time()
    seconds.setdefault(name, []).append(now - start)
    return now


def resident_mib(pids: Sequence[int]) -> float:
    """Resident memory of processes together, pages they share counted once per process."""
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in pids) / 2**20


class Repeated(torch.utils.data.Dataset[Any]):
    """A few frames visited many times, each visit with its own draws."""

    def __init__(self, dataset: FileDataset, count: int) -> None:
        self.dataset, self.count = dataset, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: SampleKey) -> Any:
        return self.dataset[SampleKey(key.index % len(self.dataset), key.seed + key.index)]


def measure_memory(dataset: FileDataset, samples: int, workers: int) -> list[tuple[int, float]]:
    """(samples so far, MiB of this process and its workers) from the 20th batch to the last but a few of one epoch."""
    repeated = Repeated(dataset, samples)
    loader = DataLoader(repeated, batch_size=8, sampler=EpochSampler(repeated), num_workers=workers)
    batches = iter(loader)
    pids = [os.getpid(), *(worker.pid for worker in getattr(batches, "_workers", []))]
    found, last = [], len(loader) - 2 * workers - 1  # workers end when they have nothing left to prepare
    points = {min(20, last), last, *range(len(loader) // 10, last, len(loader) // 10)}
    for number, _ in enumerate(batches, start=1):
        if number in points:
            found.append((8 * number, resident_mib(pids)))
    return found


def report(arguments: argparse.Namespace, folder: Path) -> list[str]:
    """Measures everything; the lines of a Markdown page."""
    stems = write_frames(Path(arguments.root), folder, arguments.frames)
    frames, passes = len(stems), arguments.passes
    jpeg, png = (make_dataset(folder, stems, suffix) for suffix in (".jpg", ".png"))
    in_memory, on_disk = CachedFrames(jpeg), CachedFrames(jpeg, folder=folder / "kept")
    depths = [DEPTH.read(folder / f"{stem}_depth.png") for stem in stems]
    pipelines: dict[str, Pipeline] = {
        "HHA of one depth image": lambda i, _: hha(depths[i], **NYUDV2_CAMERA, gravity=None)
    }
    for kind, dataset in (("JPEG", jpeg), ("PNG", png)):
        pipelines |= {
            f"{kind}: rgbx": lambda i, n, d=dataset: d[SampleKey(i, n)],  # type: ignore[misc]
            f"{kind}: plain": functools.partial(plain, dataset, normalise=False),
            f"{kind}: plain, normalised": functools.partial(plain, dataset, normalise=True),
            f"{kind}: albumentations": functools.partial(by_albumentations, dataset),
            f"{kind}: decoding alone": lambda i, _, d=dataset: decode(d, i),  # type: ignore[misc]
        }
    pipelines["rgbx, frames kept in memory"] = lambda i, n: in_memory[SampleKey(i, n)]
    pipelines["rgbx, frames kept on disk"] = lambda i, n: on_disk[SampleKey(i, n)]
    for kind, options in SHARDS.items():
        write_shards(folder / kind, {"train": png}, folder, **options)
        packed = ShardedDataset(folder / kind, "train", transforms=png.transforms)
        pipelines[f"rgbx, {kind}"] = lambda i, n, d=packed: d[SampleKey(i, n)]  # type: ignore[misc]
    times = time_pipelines(pipelines, frames, passes)
    lines = [
        f"{frames} frames of 640x480, {passes} passes, one core of {_processor()}; load average "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the end. Python {platform.python_version()}, torch "
        f"{torch.__version__}, OpenCV {cv2.__version__}, numpy {np.__version__}, albumentations "
        f"{albumentations.__version__}, {datetime.date.today()}. How: `benchmarks/data.py`.",
        "",
        "| pipeline | CPU ms | samples/s of CPU | wall ms | CPU time / rgbx |",
        "|---|---|---|---|---|",
    ]
    for name, (cpu, wall) in times.items():
        base = times.get(f"{name.split(':')[0]}: rgbx", times["JPEG: rgbx"])[0]
        ratio = "" if name.startswith("HHA") else f"{cpu / base:.2f}"
        lines.append(f"| {name} | {cpu:.2f} | {1000 / cpu:.0f} | {wall:.2f} | {ratio} |")
    sizes = {kind: sum(path.stat().st_size for path in (folder / kind).rglob("*.tar")) / frames for kind in SHARDS}
    lines += ["", f"kB of a sample: {', '.join(f'{kind} {size / 1000:.0f}' for kind, size in sizes.items())}."]
    for kind, dataset in (("JPEG", jpeg), ("PNG", png)):
        over = times[f"{kind}: rgbx"][0] - times[f"{kind}: decoding alone"][0]
        stages = ", ".join(f"{name} {ms:.2f}" for name, ms in time_stages(dataset, frames, passes).items())
        lines += ["", f"{kind}: {over:.2f} ms of CPU over decoding alone. Stages, ms of CPU: {stages}."]
    if arguments.samples:
        found = measure_memory(jpeg, arguments.samples, arguments.workers)
        listed = ", ".join(f"{mib:.0f} at {count}" for count, mib in found)
        lines += [
            "",
            f"Resident MiB of the process and its {arguments.workers} workers (JPEG, batches of 8, {arguments.samples} "
            f"samples): {listed}.",
        ]
    return lines


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", help="folder with rgb/, depth/ and masks/ or label/")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--passes", type=int, default=9)
    parser.add_argument("--samples", type=int, default=10000, help="of the memory measurement; 0 leaves it out")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--system-malloc", action="store_true", help="leave malloc as it is")
    parser.add_argument("--out", help="a Markdown file to write")
    arguments = parser.parse_args()
    if not arguments.system_malloc:
        rgbx.keep_memory()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        lines = report(arguments, Path(folder))
    print("\n".join(lines))
    if arguments.out:
        Path(arguments.out).write_text("# Input pipeline\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
