"""Building the kernels: what is built, what is not, and what is said about it."""

from __future__ import annotations

import platform
import re
import shutil

import pytest

from rgbx.ops import build


def need_compiler() -> None:
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler")


def test_a_library_says_what_it_was_built_from(tmp_path):
    need_compiler()
    target = tmp_path / "librgbx_cpu.so"
    machine = build.build(target, "cpu")
    stamp = re.search(rb"rgbx-build ([0-9a-f]{16}) ([^\0]*)\0", target.read_bytes())
    assert stamp and (stamp[1].decode(), stamp[2].decode()) == (build.source_digest(), machine)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_without_a_compiler_a_sentence_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("RGBX_BUILD_CUDA", "0")
    cpu, cuda = build.build_all(tmp_path)
    assert (
        cpu
        == "CPU kernels not built, plain torch serves instead: there is no C++ compiler 'no-such-compiler' (set CXX)"
    )
    assert cuda == "CUDA kernels not built: RGBX_BUILD_CUDA=0."


def without_cuda(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(build, "CUDA_FOLDERS", (str(tmp_path / "no-cuda"),))
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_without_cuda_auto_goes_on_and_1_fails(monkeypatch, tmp_path):
    without_cuda(monkeypatch, tmp_path)
    monkeypatch.setenv("RGBX_BUILD_CUDA", "auto")
    assert "CUDA kernels not built" in build.build_all(tmp_path)[1]
    assert "no CUDA toolkit with bin/nvcc and libcudart_static.a or libcudart.so" in build.build_all(tmp_path)[1]
    monkeypatch.setenv("RGBX_BUILD_CUDA", "1")
    with pytest.raises(SystemExit, match="RGBX_BUILD_CUDA=1, but the CUDA kernels cannot be built: there is no CUDA"):
        build.build_all(tmp_path)


def test_an_unknown_wish_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("RGBX_BUILD_CUDA", "yes")
    with pytest.raises(SystemExit, match="RGBX_BUILD_CUDA is 'yes'; expected auto, 0 or 1"):
        build.build_all(tmp_path)


def test_a_compile_error_is_shown_and_leaves_nothing(monkeypatch, tmp_path):
    need_compiler()
    monkeypatch.setenv("CXXFLAGS", "-DNOT_C++( -fno-such-flag")
    with pytest.raises(build.NotBuiltError, match="no-such-flag"):
        build.build(tmp_path / "librgbx_cpu.so", "cpu")
    assert not list(tmp_path.iterdir())


def test_architectures_are_those_asked_for(monkeypatch):
    try:
        build.cuda_architectures()
    except build.NotBuiltError as reason:
        pytest.skip(str(reason))
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0;9.0+PTX")
    assert build.cuda_architectures() == ["8.0", "9.0+PTX"]
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0 3.5")
    with pytest.raises(build.NotBuiltError, match=r"3\.5"):
        build.cuda_architectures()


@pytest.mark.parametrize(
    ("library", "linked"),
    [
        ("lib64/libcudart.so", "shared"),
        ("lib64/libcudart_static.a", "static"),
        ("targets/{machine}-linux/lib/libcudart_static.a", "static"),  # conda
        ("lib/{machine}-linux-gnu/libcudart_static.a", "static"),  # Debian
    ],
)
def test_a_toolkit_is_one_with_either_runtime(monkeypatch, tmp_path, library, linked):
    nvcc, runtime = tmp_path / "bin/nvcc", tmp_path / library.format(machine=platform.machine())
    for path in (nvcc, runtime):
        path.parent.mkdir(parents=True)
    nvcc.write_text("#!/bin/sh\necho compute_90\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setattr(build, "CUDA_FOLDERS", ())
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "9.0")
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(build.NotBuiltError, match="no CUDA toolkit"):
        build.cuda_architectures()
    runtime.touch()
    assert build.cuda_architectures() == ["9.0"]
    (tmp_path / "lib").mkdir(exist_ok=True)
    (tmp_path / "lib/libtorch_cuda.so").touch()
    command = build._cuda_command(tmp_path, tmp_path)
    assert command[0] == str(nvcc)
    assert f"--cudart={linked}" in command and f"-L{runtime.parent}" in command
