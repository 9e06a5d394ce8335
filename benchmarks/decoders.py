"""Where the time goes that a sample of PNGs takes to load, and what other decoders of PNG take.

    OMP_NUM_THREADS=1 PYTHONPATH=benchmarks:. python benchmarks/decoders.py data/nyuv2_320x240 --out FILE.md

ROOT is as that of `benchmarks/data.py`: natural frames, enlarged to 640x480 where they are smaller, and written by
OpenCV: RGB and label as PNGs of 8 bits, depth as PNG of 16. Decoders work on bytes in memory. The rows take turns, a
pass of warm-up is not counted, and medians of the process's CPU time are told, with the least of all passes beside
them, as other work on the machine makes everything slower at times. malloc keeps its memory, as in the commands that
run networks.

"inflate" is the decompression of a PNG's data alone, to bytes that are yet to be unfiltered: what no decoder that uses
the same library can go below. zlib is Python's; zlib-ng, ISA-L and libdeflate (the packages `zlib-ng`, `isal` and
`deflate`) are measured where they are installed, and so are the decoders of `imagecodecs`, torchvision and `qoi`; rgbx
needs none of them. Every decoder has to give the values that OpenCV gives.
"""

from __future__ import annotations

import argparse
import datetime
import io
import os
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, features

import rgbx
from data import DEPTH, _processor, make_dataset, write_frames
from rgbx.datasets import SampleKey
from rgbx.maps import LabelEncoding
from rgbx.maps.files import read_image, read_rgb

KINDS = ("rgb", "depth", "label")
DATA = b"IDAT"
Array = np.ndarray[Any, Any]
Row = Callable[[bytes], Any]


def data_of(png: bytes) -> bytes:
    """The compressed pixels of a PNG."""
    parts, at = [], 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] == DATA:
            parts.append(png[at + 8 : at + 8 + length])
        at += 12 + length
    return b"".join(parts)


def by_opencv(data: bytes) -> Array:
    """Colours as OpenCV has them, BGR."""
    image: Array | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image


def optional(name: str) -> Any:
    """A module that may not be installed, or None."""
    try:
        return import_module(name)
    except (ImportError, RuntimeError):  # torchvision beside another build of torch
        return None


def inflaters(size: int) -> dict[str, Row]:
    """What decompresses a PNG's data to so many bytes, of the libraries that are here."""
    found: dict[str, Row] = {"zlib": zlib.decompress}
    if (zlib_ng := optional("zlib_ng.zlib_ng")) is not None:
        found["zlib-ng"] = zlib_ng.decompress
    if (isal := optional("isal.isal_zlib")) is not None:
        found["ISA-L"] = isal.decompress
    if (libdeflate := optional("deflate")) is not None:
        found["libdeflate"] = lambda data: libdeflate.zlib_decompress(data, size)
    return found


def decoders() -> dict[str, Row]:
    """What decodes a PNG to RGB, of the libraries that are here; OpenCV to BGR."""
    found: dict[str, Row] = {"OpenCV": by_opencv, "Pillow": lambda data: np.asarray(Image.open(io.BytesIO(data)))}
    if (imagecodecs := optional("imagecodecs")) is not None:
        found["imagecodecs"] = imagecodecs.png_decode
    if (torchvision := optional("torchvision.io")) is not None:
        found["torchvision"] = lambda data: torchvision.decode_png(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    return found


def rows_of(folder: Path, stems: Sequence[str]) -> dict[str, list[Callable[[], Any]]]:
    """What is measured by its title: a call for each frame."""
    rows: dict[str, list[Callable[[], Any]]] = {}

    def add(title: str, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
        rows[title] = [lambda item=item: function(item) for item in items]  # type: ignore[misc]

    encodings = {"rgb": read_rgb, "depth": DEPTH.read, "label": LabelEncoding().read}
    for kind in KINDS:
        files = [folder / f"{stem}_{kind}.png" for stem in stems]
        pngs = [path.read_bytes() for path in files]
        add(f"{kind}: file", Path.read_bytes, files)
        for called, inflate in inflaters(len(zlib.decompress(data_of(pngs[0])))).items():
            add(f"{kind}: inflate, {called}", inflate, [data_of(png) for png in pngs])
        for called, decode in decoders().items():
            for png in pngs if called != "OpenCV" else ():
                check(decode(png), by_opencv(png), f"{called} of {kind}")
            add(f"{kind}: decode, {called}", decode, pngs)
        add(f"{kind}: as rgbx reads it", encodings[kind], files)
    colours = [read_image(folder / f"{stem}_rgb.png") for stem in stems]
    add("rgb: BGR to RGB", lambda image: cv2.cvtColor(image, cv2.COLOR_BGR2RGB), colours)
    add("rgb as JPEG: as rgbx reads it", read_rgb, [folder / f"{stem}_rgb.jpg" for stem in stems])
    if (qoi := optional("qoi")) is not None:
        add("rgb as QOI: decode", qoi.decode, [qoi.encode(image) for image in colours])
    for suffix in (".png", ".jpg"):
        dataset = make_dataset(folder, stems, suffix)
        whole = f"a sample, RGB as {suffix[1:].upper()}"
        add(f"{whole}: read", dataset.read, range(len(stems)))
        keys = [SampleKey(i, i) for i in range(len(stems))]
        add(f"{whole}: with crops, flips and packing", dataset.__getitem__, keys)
    return rows


def check(found: Any, expected: Array, where: str) -> None:
    """Refuses a decoder that gives other values than OpenCV."""
    array = np.asarray(found)
    if array.ndim == 3:
        array = array.transpose(1, 2, 0) if array.shape[0] in (1, 3) else array
        array = array[..., 0] if array.shape[2] == 1 else array[..., ::-1]
    if array.dtype != expected.dtype or not np.array_equal(array, expected):
        raise SystemExit(f"{where}: other values than OpenCV's")


def measure(rows: dict[str, list[Callable[[], Any]]], passes: int) -> dict[str, tuple[float, float]]:
    """Median and least CPU milliseconds a frame of each row."""
    times: dict[str, list[float]] = {title: [] for title in rows}
    for number in range(passes + 1):
        for title, calls in rows.items():
            start = time.process_time()
            for call in calls:
                call()
            if number:
                times[title].append(1000 * (time.process_time() - start) / len(calls))
    return {title: (statistics.median(found), min(found)) for title, found in times.items()}


def main() -> None:
    """Measures and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder with rgb/, depth/ and masks/ or label/")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--passes", type=int, default=15)
    parser.add_argument("--out", type=Path, help="a Markdown file to write")
    arguments = parser.parse_args()
    rgbx.keep_memory()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        stems = write_frames(arguments.root, Path(place), arguments.frames)
        found = measure(rows_of(Path(place), stems), arguments.passes)
        sizes = {kind: sum(p.stat().st_size for p in Path(place).glob(f"*_{kind}.png")) / len(stems) for kind in KINDS}
    lines = [
        f"{len(stems)} frames of 640x480, {arguments.passes} passes, one core of {_processor()}; load average "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the end. OpenCV {cv2.__version__}, Pillow "
        f"{Image.__version__} with zlib {features.version('zlib')}, Python's zlib {zlib.ZLIB_RUNTIME_VERSION}; PNGs of "
        f"{', '.join(f'{kind} {size / 1000:.0f} kB' for kind, size in sizes.items())}; {datetime.date.today()}. How: "
        "`benchmarks/decoders.py`.",
        "",
        "| what | CPU ms | least |",
        "|---|---:|---:|",
        *(f"| {title} | {median:.2f} | {least:.2f} |" for title, (median, least) in found.items()),
    ]
    print("\n".join(lines))
    if arguments.out:
        arguments.out.write_text("\n".join(["# Decoders", "", *lines]) + "\n")


if __name__ == "__main__":
    main()
