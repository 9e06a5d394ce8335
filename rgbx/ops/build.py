"""``python -m rgbx.ops build``: compiles the kernels beside this file, as far as the machine allows.

Also read by setup.py as a plain file, so it imports nothing of rgbx, and torch only when called. The libraries use
LibTorch's stable ABI: one built here serves every later torch from 2.10 on.

Environment: RGBX_BUILD_CUDA=auto (default: if nvcc is found), 0 (never) or 1 (fail if it cannot);
TORCH_CUDA_ARCH_LIST, such as "8.0;9.0+PTX"; CUDA_HOME; CXX; CXXFLAGS.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SOURCES = FOLDER / "csrc"
DEVICES = ("cpu", "cuda")
STABLE_SINCE = "0x020a000000000000"  # torch 2.10
CUDA_FOLDERS = ("/usr/local/cuda", "/opt/cuda")
DEFAULT_ARCHITECTURES = "7.5;8.0;8.6;8.9;9.0;10.0;12.0+PTX"


class NotBuiltError(Exception):
    """Says in one sentence why a library was not built."""


def source_digest() -> str:
    """Names the C++ sources by content, so that a library built from others is noticed."""
    digest = hashlib.sha256()
    for source in sorted(path for path in SOURCES.glob("*") if path.suffix in (".h", ".cpp", ".cuh", ".cu")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


def sources_of(device: str) -> list[Path]:
    """What the library for "cpu" or "cuda" is compiled from."""
    return sorted(SOURCES.glob({"cpu": "*_cpu.cpp", "cuda": "*_cuda.cu"}[device]))


def library_name(device: str) -> str:
    """The file name of the library for "cpu" or "cuda"."""
    return f"librgbx_{device}.so"


def build(target: Path, device: str) -> str:
    """Compiles the library for "cpu" or "cuda" to `target`; returns what it was built for.

    Raises:
        NotBuiltError: if something that is needed is missing, or the compiler fails.
    """
    architectures = platform.machine() if device == "cpu" else " ".join(cuda_architectures())
    stamp = f"rgbx-build {source_digest()} {architectures}"
    torch_folder = _torch_folder()
    common = [
        "-O3",
        "-shared",
        f"-DTORCH_TARGET_VERSION={STABLE_SINCE}",
        f'-DRGBX_BUILD="{stamp}"',
        f"-I{torch_folder / 'include'}",
        f"-L{torch_folder / 'lib'}",
        "-ltorch_cpu",
    ]
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.so")
    with tempfile.TemporaryDirectory() as stubs:
        command = _cpu_command() if device == "cpu" else _cuda_command(torch_folder, Path(stubs))
        done = subprocess.run([*command, *common, "-o", str(partial)], capture_output=True, text=True)
    if done.returncode:
        partial.unlink(missing_ok=True)
        raise NotBuiltError(f"the compiler failed: {shlex.join(map(str, done.args))}\n{done.stderr.strip()}")
    partial.replace(target)
    return architectures


def cuda_architectures() -> list[str]:
    """Compute capabilities to build for, of TORCH_CUDA_ARCH_LIST or the default list, that nvcc knows."""
    asked = os.environ.get("TORCH_CUDA_ARCH_LIST")
    names = (asked or DEFAULT_ARCHITECTURES).replace(";", " ").replace(",", " ").split()
    nvcc = _nvcc()
    try:
        listing = subprocess.run([str(nvcc), "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotBuiltError(f"{nvcc} does not run: {error}") from None
    known = [name for name in names if f"compute_{_digits(name)}" in listing.split()]
    if not known or (asked and known != names):
        raise NotBuiltError(f"{nvcc} does not know {sorted({*names} - {*known})} of {names}")
    if not asked and not known[-1].endswith("+PTX"):
        known[-1] += "+PTX"  # GPUs that are newer than this nvcc translate it themselves
    return known


def wanted_cuda() -> str:
    """The value of RGBX_BUILD_CUDA.

    Raises:
        SystemExit: if it is neither auto, 0 nor 1.
    """
    value = os.environ.get("RGBX_BUILD_CUDA", "auto")
    if value not in ("auto", "0", "1"):
        raise SystemExit(f"RGBX_BUILD_CUDA is {value!r}; expected auto, 0 or 1")
    return value


def build_all(folder: Path = FOLDER) -> list[str]:
    """Builds what the machine allows; returns one sentence per library.

    Raises:
        SystemExit: if RGBX_BUILD_CUDA=1 and the CUDA library cannot be built.
    """
    sentences = []
    for device in DEVICES:
        if device == "cuda" and wanted_cuda() == "0":
            sentences.append("CUDA kernels not built: RGBX_BUILD_CUDA=0.")
            continue
        name = {"cpu": "CPU", "cuda": "CUDA"}[device]
        try:
            sentences.append(f"{name} kernels built for {build(folder / library_name(device), device)}.")
        except NotBuiltError as reason:
            if device == "cuda" and wanted_cuda() == "1":
                raise SystemExit(f"RGBX_BUILD_CUDA=1, but the CUDA kernels cannot be built: {reason}") from None
            sentences.append(f"{name} kernels not built, plain torch serves instead: {reason}")
    return sentences


def _cpu_command() -> list[str]:
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    if shutil.which(compiler[0]) is None:
        raise NotBuiltError(f"there is no C++ compiler {compiler[0]!r} (set CXX)")
    flags = ["-std=c++17", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off"]  # kernels round as plain torch does
    flags += shlex.split(os.environ.get("CXXFLAGS", ""))
    return [*compiler, *flags, *map(str, sources_of("cpu"))]


def _cuda_command(torch_folder: Path, stubs: Path) -> list[str]:
    generate = []
    for name in cuda_architectures():
        digits = _digits(name)
        generate.append(f"-gencode=arch=compute_{digits},code=sm_{digits}")
        if name.endswith("+PTX"):
            generate.append(f"-gencode=arch=compute_{digits},code=compute_{digits}")
    linked = ["-Xlinker", "--no-as-needed", "-ltorch_cuda"]
    if not (torch_folder / "lib/libtorch_cuda.so").is_file():  # a torch without CUDA: its name is enough to link
        linked += _stub("libtorch_cuda.so", stubs)
    flags = [
        "-std=c++17",
        "-DUSE_CUDA",
        "--threads=0",
        "-Xcompiler=-fPIC,-fvisibility=hidden",
        "--expt-relaxed-constexpr",
    ]
    nvcc = _nvcc()
    runtime = _runtime(nvcc.parents[1])
    if runtime is not None:
        flags += [f"--cudart={'static' if runtime.suffix == '.a' else 'shared'}", f"-L{runtime.parent}"]
    return [str(nvcc), *flags, *generate, *map(str, sources_of("cuda")), *linked]


def _stub(name: str, folder: Path) -> list[str]:
    """An empty library of that name; returns the options that let a linker find it."""
    command = [*shlex.split(os.environ.get("CXX", "c++")), "-shared", f"-Wl,-soname,{name}", "-x", "c", os.devnull]
    subprocess.run([*command, "-o", str(folder / name)], check=True)
    return [f"-L{folder}"]


def _nvcc() -> Path:
    """nvcc of CUDA_HOME, of the PATH, or of the usual folder, whichever has the runtime library beside it."""
    on_path = shutil.which("nvcc")
    found = [str(Path(on_path).resolve().parents[1])] if on_path else []
    homes = [*filter(None, [os.environ.get("CUDA_HOME")]), *found, *CUDA_FOLDERS]
    for home in map(Path, homes):
        if (home / "bin/nvcc").is_file() and _runtime(home) is not None:
            return home / "bin/nvcc"
    searched = ", ".join(homes)
    raise NotBuiltError(
        f"there is no CUDA toolkit with bin/nvcc and libcudart_static.a or libcudart.so (looked in {searched})."
    )


def _runtime(home: Path) -> Path | None:
    """CUDA's runtime library under a toolkit's folder: NVIDIA's own, of conda, or of Debian; rather the static one."""
    machine = platform.machine()
    folders = ("lib64", "lib", f"targets/{machine}-linux/lib", f"lib/{machine}-linux-gnu")
    paths = (home / folder / name for name in ("libcudart_static.a", "libcudart.so") for folder in folders)
    return next((path for path in paths if path.exists()), None)


def _torch_folder() -> Path:
    try:
        import torch
    except ImportError:
        raise NotBuiltError(f"torch is not installed for {sys.executable}.") from None
    return Path(torch.__file__).parent


def _digits(name: str) -> str:
    return name.removesuffix("+PTX").replace(".", "")
