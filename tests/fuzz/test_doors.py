"""No input makes a reader raise anything but a ValueError or OSError that names it, take 2 s, or take 1 GB.

`RGBX_FUZZ=10` tries ten times as many inputs, other ones each time, and shows the figures of each door.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest
from fuzz.doors import DOORS
from fuzz.mutations import changes
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

FACTOR = float(os.environ.get("RGBX_FUZZ", "1"))
LONGEST, LARGEST = 2.0, 2**30  # seconds and bytes
STATUS = Path("/proc/self/status")


def memory(field):
    """VmRSS, the memory in use, or VmHWM, the most there was, in bytes; 0 where the system does not tell."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


def forget_peak():
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")


def timed(read, folder, file):
    """Seconds, and the message of a refusal."""
    start = time.perf_counter()
    message = None
    try:
        read(folder, file)
    except (ValueError, OSError) as error:
        message = str(error)
    return time.perf_counter() - start, message


@pytest.fixture
def folder():
    """In memory where there is such a place: each input is a file."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        yield Path(name)


@pytest.mark.usefixtures("own_loop")
@pytest.mark.parametrize("name", DOORS)
@pytest.mark.filterwarnings("ignore")
def test_nothing_but_refusals_leaves(name, folder):
    door = DOORS[name]
    door.prepare(folder)
    seeds = door.seeds()
    rights = {file: (folder / file).read_bytes() for file in seeds if (folder / file).is_file()}
    seeds = {file: rights[file] if content is None else content for file, content in seeds.items()}
    counts, slowest = {"inputs": 0, "refused": 0}, 0.0
    forget_peak()
    before = memory("VmRSS")

    @settings(
        max_examples=round(door.inputs * FACTOR),
        derandomize=FACTOR <= 1,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(sorted(seeds)), changes, st.integers(0, 9), st.sampled_from(door.enter))
    def enter(relative, done, way, read):
        nonlocal slowest
        file = folder / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(door.change(seeds[relative], done, way))
        counts["inputs"] += 1
        seconds, message = timed(read, folder, file)
        if seconds > LONGEST:  # where the machine is busy with others, the same takes less now
            seconds = min(seconds, timed(read, folder, file)[0])
        if message is not None:
            counts["refused"] += 1
            assert any(text in message for text in (file.name, str(folder), *door.named)), message
        slowest = max(slowest, seconds)
        assert seconds < LONGEST, f"{seconds:.2f} s"
        assert memory("VmHWM") - before < LARGEST
        if relative in rights:
            file.write_bytes(rights[relative])

    enter()
    taken = max(memory("VmHWM") - before, 0) / 2**20
    share = counts["refused"] / counts["inputs"]
    print(f"| {name} | {counts['inputs']} | {share:.0%} | {slowest:.2f} s | {taken:.0f} MiB |")
    assert share < 1
