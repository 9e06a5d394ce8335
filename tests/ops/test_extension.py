"""Which implementation is loaded, and what is said where none is."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import torch

from rgbx.ops import _extension
from rgbx.ops._extension import Kernel, load
from rgbx.ops.build import FOLDER, source_digest


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **environment}
    return subprocess.run([sys.executable, *code.split(" ", 1)], env=variables, capture_output=True, text=True)


def test_the_report_names_every_device_and_a_reason():
    done = run("-m rgbx.ops", RGBX_OPS="reference")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^cpu .*plain torch; no compiled kernel: RGBX_OPS=reference", done.stdout, re.MULTILINE)
    assert re.search(r"^cuda .*plain torch; no compiled kernel: ", done.stdout, re.MULTILINE)


def test_the_report_names_what_is_loaded(need_kernel):
    need_kernel("cpu")
    done = run("-m rgbx.ops", RGBX_OPS="auto")
    assert re.search(r"^cpu +compiled kernel, built for \w+ \(.*librgbx_cpu\.so\)$", done.stdout, re.MULTILINE)


def test_an_unknown_mode_is_refused():
    done = run("-c import rgbx.ops", RGBX_OPS="fast")
    assert done.returncode != 0
    assert "RGBX_OPS is 'fast'; expected one of auto, reference, kernel" in done.stderr


def test_importing_prints_nothing():
    done = run("-c import rgbx.ops")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_library_is_named(tmp_path):
    kernel = load("cpu", "auto", tmp_path)
    assert not kernel.loaded and "not built" in kernel.detail and kernel.path == tmp_path / "librgbx_cpu.so"


def test_a_library_of_other_sources_is_refused(tmp_path):
    (tmp_path / "librgbx_cpu.so").write_bytes(b"\0rgbx-build 0123456789abcdef x86_64\0")
    kernel = load("cpu", "auto", tmp_path)
    assert not kernel.loaded and "built from other sources" in kernel.detail


def test_a_damaged_library_is_refused(tmp_path):
    (tmp_path / "librgbx_cpu.so").write_bytes(f"\0rgbx-build {source_digest()} x86_64\0".encode())
    kernel = load("cpu", "auto", tmp_path)
    assert not kernel.loaded and "does not load" in kernel.detail


@pytest.fixture(autouse=True)
def nothing_remembered():
    """What is asked once a process, asked anew before and after each test."""
    yield _forget()
    _forget()


def _forget():
    for remembered in (_extension.gpu_misfit, _extension.may_use_kernel):
        remembered.cache_clear()


def test_kernel_mode_refuses_a_device_without_one(monkeypatch):
    monkeypatch.setattr(_extension, "MODE", "kernel")
    monkeypatch.setattr(_extension, "KERNELS", {"cpu": Kernel(FOLDER / "librgbx_cpu.so", False, "it is not built")})
    with pytest.raises(RuntimeError, match=r"RGBX_OPS=kernel.*'cpu'.*librgbx_cpu\.so: it is not built"):
        _extension.may_use_kernel(torch.device("cpu"))
    with pytest.raises(RuntimeError, match=r"'mps'.*there are kernels for .*cpu.*cuda"):
        _extension.may_use_kernel(torch.device("mps"))


@pytest.mark.parametrize(
    ("capability", "architectures", "runs"),
    [
        ((9, 0), ["8.0", "9.0"], True),
        ((8, 9), ["8.0", "9.0"], True),  # code for 8.0 runs on 8.9
        ((8, 0), ["8.6", "9.0"], False),  # not the other way round
        ((7, 0), ["7.5", "12.0+PTX"], False),
        ((12, 1), ["9.0+PTX"], True),
        ((10, 0), ["9.0"], False),
    ],
)
def test_which_gpus_a_library_fits(capability, architectures, runs):
    assert _extension.runs_on(capability, architectures) is runs


def test_a_gpu_without_code_gets_plain_torch_or_a_refusal(monkeypatch):
    kernel = Kernel(FOLDER / "librgbx_cuda.so", True, "built for 8.0 9.0")
    monkeypatch.setattr(_extension, "KERNELS", {"cuda": kernel})
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (7, 0))
    with pytest.warns(UserWarning, match=r"plain torch serves on cuda:0, as .* built for 8\.0 9\.0, which has no code"):
        assert not _extension.may_use_kernel(torch.device("cuda", 0))
    monkeypatch.setattr(_extension, "MODE", "kernel")
    _extension.may_use_kernel.cache_clear()
    with pytest.raises(RuntimeError, match=r"built for 8\.0 9\.0, which has no code for compute capability 7\.0"):
        _extension.may_use_kernel(torch.device("cuda", 0))


def test_a_driver_that_is_too_old_is_told_once_and_gets_plain_torch(monkeypatch):
    kernel = Kernel(FOLDER / "librgbx_cuda.so", True, "built for 9.0")
    monkeypatch.setattr(_extension, "KERNELS", {"cuda": kernel})
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    monkeypatch.setattr(_extension, "_said_by_cuda", lambda library, index: "CUDA driver version is insufficient")
    with pytest.warns(UserWarning, match=r"plain torch serves on cuda:1.*does not start there: CUDA driver") as told:
        assert not any(_extension.may_use_kernel(torch.device("cuda", 1)) for _ in range(3))
    assert len(told) == 1
    monkeypatch.setattr(_extension, "_said_by_cuda", lambda library, index: None)
    _forget()
    assert _extension.may_use_kernel(torch.device("cuda", 1))
