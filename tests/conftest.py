"""Fixtures shared by all tests: where the real public frames are, unpacked once, and reference answers.

The frames lie outside the repository (research-only terms), in the folder that the environment
variable RGBX_SHARED names (default: ../shared beside the repository), as tars in its `data/`.
Tests that need them skip, with the reason, where they are absent.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import runpy
import shutil
import signal
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))  # tiny.py and other stand-ins that several rooms use


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder that holds `data/` with the tars of real frames."""
    folder = Path(os.environ.get("RGBX_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder}: set RGBX_SHARED to the one with data/*.tar")
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium, as the system has it; `browser.new_page()` opens a page."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    required = os.environ.get("RGBX_REQUIRE_BROWSER") == "1"
    if found is None and not required:
        pytest.skip("no Chromium here: install Debian's package chromium")
    find = importlib.import_module if required else pytest.importorskip  # tests of kernels run where there is none
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with find("playwright.sync_api").sync_playwright() as tools:
        started = tools.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu", "--disable-quic", *quiet]
        )
        yield started
        started.close()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A cluster of Ray on this machine, with two CPUs; what uses Ray in this process uses it."""
    ray = pytest.importorskip("ray")
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    known = signal.getsignal(signal.SIGTERM)
    ray.init(num_cpus=2, object_store_memory=100 * 2**20, **quiet)
    signal.signal(signal.SIGTERM, known)  # which Ray has taken, also for the tests that come after
    yield
    ray.shutdown()


@pytest.fixture
def own_loop() -> Iterator[None]:
    """Lets a test run an event loop in this thread, where that of `browser` may be waiting."""
    waiting = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    yield
    asyncio._set_running_loop(waiting)


class Companion(NamedTuple):
    """Reference answers of a companion system.

    Attributes:
        answers: arrays by their names.
        shapes: of the weights that they were computed with, by key.
        tensor: such a weight, of its key and shape.
    """

    answers: dict[str, np.ndarray]
    shapes: dict[str, list[int]]
    tensor: Callable[[str, Sequence[int]], np.ndarray]


@pytest.fixture(scope="session")
def companion(shared_dir: Path) -> Callable[[str], Companion]:
    """Reads the reference answers of a name, such as "argf"."""
    folder = shared_dir / "companions"

    def read(name: str) -> Companion:
        file = folder / f"{name}.npz"
        if not file.is_file():
            pytest.skip(f"no reference answers: {file} is absent (RGBX_SHARED names its folder)")
        make, tag = runpy.run_path(str(folder / "seeded.py"))["tensor"], name.replace("_", "-") + "/"
        shapes = json.loads((folder / f"{name}_keys.json").read_text())
        return Companion(dict(np.load(file)), shapes, lambda key, shape: make(key, shape, tag))

    return read


@pytest.fixture(scope="session")
def nyuv2_320x240(shared_dir: Path) -> Path:
    """All 1449 frames of NYU Depth V2 at 320x240: rgb/, depth/, label/, train.txt, test.txt."""
    names = ("nyuv2_320x240_train.tar", "nyuv2_320x240_test.tar")
    return _unpacked(shared_dir, names) / "nyuv2_320x240"


@pytest.fixture(scope="session")
def layouts(shared_dir: Path) -> Path:
    """A few real frames in each public folder layout: nyudv2/, cityscapes/, mfnet/, ..."""
    return _unpacked(shared_dir, ("layouts.tar.gz",)) / "layouts"


def _unpacked(shared_dir: Path, names: Sequence[str]) -> Path:
    """Unpacks tars into a folder keyed by their names, sizes and times; reruns reuse it.

    The folder appears by one rename, so test processes that start together never see half of it.
    """
    archives = [shared_dir / "data" / name for name in names]
    for archive in archives:
        if not archive.is_file():
            pytest.skip(f"no real frames: {archive} is absent (RGBX_SHARED names its folder)")
    stamp = "-".join(f"{a.stat().st_size:x}.{a.stat().st_mtime_ns:x}" for a in archives)
    cache = Path(tempfile.gettempdir()) / f"rgbx-test-frames-{os.getuid()}"
    cache.mkdir(mode=0o700, exist_ok=True)
    target = cache / f"{names[0].split('.')[0]}-{stamp}"
    if target.is_dir():
        return target
    partial = Path(tempfile.mkdtemp(dir=cache, prefix="partial-"))
    try:
        for archive in archives:
            with tarfile.open(archive) as tar:
                tar.extractall(partial, filter="data")
        partial.rename(target)
    except OSError:
        if not target.is_dir():  # a real failure, not another process that was first
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target
