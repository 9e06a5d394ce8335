"""How long the page of `rgbx serve` takes in a browser, and whether it answers right under load and writes nothing.

A network on ResNet-18 with random weights, 40 classes, serves RGB and depth of 640×480 in a process of its own. In
headless Chromium the page is opened anew, a pair of files is dropped on it, and the time is taken from the drop until
the overlay is painted; beside it stands `model.predict` of the same files in this process, in turns. Then 50 requests
of mixed subsets come at once, of which each answer is compared with `model.predict`. In the server's process every file
that is opened for writing is counted.

    GOMP_SPINCOUNT=1000 python benchmarks/serve.py --rounds 7 --out benchmarks/results/serve.md

The variable is what rgbx sets itself where it is imported before torch, as in the server.
"""

from __future__ import annotations

import argparse
import base64
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import torch
from playwright.sync_api import Browser, Page, sync_playwright

from rgbx.models import MultimodalModel, Result, load, multimodal_segmentor
from rgbx.tasks.result import ClassesResult

ROOT = Path(__file__).resolve().parents[1]
SIZE = (480, 640)
SUBSETS = (("rgb", "depth"), ("rgb",), ("depth",))
AT_ONCE = 50
WATCHED = """import os, sys
from rgbx.cli.main import main
place, on = sys.argv[1], []
def see(event, arguments):
    if on and event == "open" and "__pycache__" not in str(arguments[0]):  # what Python keeps of modules
        path, mode, flags = arguments
        if set(mode or "") & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            os.write(2, f"written {path}\\n".encode())
    elif on and event in ("os.mkdir", "os.rename", "tempfile.mkstemp", "tempfile.mkdtemp"):
        os.write(2, f"written {arguments}\\n".encode())
sys.addaudithook(see)
import rgbx.cli.serve
served = rgbx.cli.serve._Server.startup
async def startup(self, sockets=None):
    await served(self, sockets)
    on.append(True)
rgbx.cli.serve._Server.startup = startup
sys.exit(main(["serve", place, "--port", "0", "--no-open"]))
"""
DROP = """(files) => {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  for (const [name, text] of files) transfer.items.add(new File([bytes(text)], name));
  const shown = document.getElementById("shown");
  return new Promise((done) => {
    const start = performance.now();
    const wait = () => {
      if (document.getElementById("result").hidden || shown.getAttribute("aria-busy") === "true") {
        requestAnimationFrame(wait);
      } else {
        requestAnimationFrame(() => done(performance.now() - start));
      }
    };
    document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
    requestAnimationFrame(wait);
  });
}"""
PAINTED = """() => new Promise((done) => {
  new PerformanceObserver((list) => {
    const first = list.getEntries().find((entry) => entry.name === "first-contentful-paint");
    if (first) done(first.startTime);
  }).observe({ type: "paint", buffered: true });
})"""


def save_model(path: Path) -> MultimodalModel:
    """A checkpoint of random weights, whose training had depth in millimetres."""
    torch.manual_seed(0)
    model = multimodal_segmentor(modalities=("rgb", "depth"), num_classes=40, backbone="resnet18")
    meta = {"dataset_meta": {"stored": {"depth": {"scale": 1000.0}}}}
    torch.save({"state_dict": model.state_dict(), "model": model.recipe, "meta": meta}, path)
    return load(path)


def save_frame(folder: Path) -> dict[str, Path]:
    """A photo as JPEG, and depth of 16 bits with holes."""
    rng = np.random.default_rng(0)
    rgb = cv2.resize(rng.integers(0, 256, (24, 32, 3), np.uint8), SIZE[::-1])
    depth = cv2.resize(rng.integers(500, 6000, (24, 32), np.uint16), SIZE[::-1])
    depth[:, :20] = 0
    files = {"rgb": folder / "photo.jpg", "depth": folder / "depth.png"}
    cv2.imwrite(str(files["rgb"]), rgb)
    cv2.imwrite(str(files["depth"]), depth)
    return files


@contextmanager
def serving(checkpoint: Path) -> Iterator[tuple[str, int, list[str]]]:
    """The address of a server in a process of its own, its id, and afterwards what it has written."""
    written: list[str] = []
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", WATCHED, str(checkpoint)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split(" served at ")[1].split()[0], process.pid, written
        process.terminate()
        written += [line for line in process.communicate()[1].splitlines() if line.startswith("written ")]


def cpu_of(process: int) -> float:
    """Milliseconds of CPU time of a process so far, as Linux tells it."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return 1000 * (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def opened(browser: Browser, address: str) -> tuple[Page, float]:
    """A page in a new context, and the milliseconds to its first paint."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(address)
    painted = page.evaluate(PAINTED)
    page.wait_for_selector(".map")
    return page, painted


def answer_of(model: MultimodalModel, files: Mapping[str, Path]) -> ClassesResult:
    """What the model says of a frame in this process."""
    maps: dict[str, Any] = dict(files)
    result = model.predict(**maps, keep_probability=False)
    assert isinstance(result, Result) and isinstance(result["labels"], ClassesResult)
    return result["labels"]


def right_under_load(address: str, model: MultimodalModel, files: dict[str, Path]) -> tuple[int, float]:
    """How many of 50 answers at once are equal to the model's, and the seconds until the last."""
    expected = {names: answer_of(model, {name: files[name] for name in names}).ids for names in SUBSETS}
    data = {name: (file.name, file.read_bytes()) for name, file in files.items()}

    def ask(index: int) -> bool:
        names = SUBSETS[index % len(SUBSETS)]
        sent = {name: data[name] for name in names}
        found = httpx.post(f"{address}predict", files=sent, timeout=600).json()["heads"]["labels"]["ids"]
        ids = cv2.imdecode(np.frombuffer(base64.b64decode(found), np.uint8), cv2.IMREAD_UNCHANGED)
        return ids is not None and np.array_equal(ids, expected[names])

    start = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        right = sum(pool.map(ask, range(AT_ONCE)))
    return right, time.perf_counter() - start


def measure(folder: Path, rounds: int) -> list[str]:
    """The lines of the table."""
    model, files = save_model(folder / "r18.pth"), save_frame(folder)
    sent = [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in files.values()]
    paints, drops, costs, predicts, own = (list[float]() for _ in range(5))
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with serving(folder / "r18.pth") as (address, number_of, written), sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for number in range(rounds + 1):  # the first is not counted
            page, painted = opened(browser, address)
            before = cpu_of(number_of)
            dropped = page.evaluate(DROP, sent)
            cost = cpu_of(number_of) - before
            page.context.close()
            start, began = time.perf_counter(), time.process_time()
            answer_of(model, files).confidence.mean()
            took, used = 1000 * (time.perf_counter() - start), 1000 * (time.process_time() - began)
            if number:
                measured = (paints, painted), (drops, dropped), (costs, cost), (predicts, took), (own, used)
                for found, value in measured:
                    found.append(value)
        browser.close()
        right, seconds = right_under_load(address, model, files)
    ratios = [drop / predict for drop, predict in zip(drops, predicts, strict=True)]
    return [
        f"| first paint | {_told(paints)} | 1000 ms |",
        f"| drop to overlay | {_told(drops)} | 2000 ms |",
        f"| of it CPU time of the server | {_told(costs)} | |",
        f"| `model.predict` of the same files, in turns | {_told(predicts)} | |",
        f"| of it CPU time | {_told(own)} | |",
        f"| drop to overlay, of `model.predict` | {statistics.median(ratios):.2f} × | |",
        f"| {AT_ONCE} requests at once, subsets mixed: right | {right} of {AT_ONCE}, in {seconds:.1f} s | all |",
        f"| files opened for writing by the server | {len(written)} {' '.join(written[:3])}".rstrip() + " | 0 |",
    ]


def _told(milliseconds: list[float]) -> str:
    return f"{statistics.median(milliseconds):.0f} ms ({min(milliseconds):.0f} to {max(milliseconds):.0f})"


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), arguments.rounds)
    beside = f"{torch.get_num_threads()} of them used, beside a load of {os.getloadavg()[0]:.1f}"
    lines = [
        "# Serving",
        "",
        f"Medians of {arguments.rounds} (least to most), {platform.machine()}, {os.cpu_count()} cores, {beside}, "
        f"torch {torch.__version__}; ResNet-18, 40 classes, RGB and depth of 640×480. "
        "By `benchmarks/serve.py`.",
        "",
        "| | measured | bar |",
        "|---|---|---|",
        *rows,
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


if __name__ == "__main__":
    main()
