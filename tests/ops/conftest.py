"""Fixtures of the operator tests: which implementations there are, and the kernel loops compiled for the host.

A test that needs a compiled kernel skips, saying why, where there is none. RGBX_REQUIRE_KERNELS=cpu or =cpu,cuda turns
that skip into a failure.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # cases.py and guarded.py, which these tests share

from rgbx.ops._extension import KERNELS
from rgbx.ops.build import SOURCES


def lacking(device: str, reason: str) -> None:
    """Skips the test, or fails it where the kernels of that device are required."""
    if device in os.environ.get("RGBX_REQUIRE_KERNELS", "").split(","):
        pytest.fail(f"RGBX_REQUIRE_KERNELS asks for {device}: {reason}")
    pytest.skip(reason)


@pytest.fixture
def need_kernel() -> Callable[[str], None]:
    """Called with "cpu" or "cuda", returns only where that kernel can run."""

    def need(device: str) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            lacking(device, "no CUDA device")
        if not KERNELS[device].loaded:
            lacking(device, f"no compiled {device} kernel: {KERNELS[device].detail}")

    return need


@pytest.fixture(scope="session")
def host_kernels(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The CPU loops and the CUDA threads, the latter stepped through one by one, on plain memory."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    if shutil.which(compiler[0]) is None:
        lacking("cpu", f"no C++ compiler {compiler[0]!r}")
    library = tmp_path_factory.mktemp("host") / "kernels.so"
    include = [f"-I{SOURCES}", f"-I{Path(torch.__file__).parent / 'include'}"]
    source = Path(__file__).parent / "host_kernels.cpp"
    command = [
        *compiler,
        "-std=c++17",
        "-O1",
        "-ffp-contract=off",
        "-shared",
        "-fPIC",
        *include,
        str(source),
        "-o",
        str(library),
    ]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))
