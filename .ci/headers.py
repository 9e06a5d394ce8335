"""Checks that the kernels' sources compile with the headers of the lowest torch that pyproject.toml admits, and others.

    python .ci/headers.py                # the lowest, and 2.11
    python .ci/headers.py 2.10.0 2.12.0  # these

Nothing is linked, and nothing installed: only the headers of a wheel are unpacked, of the smallest there is, that for
macOS, as those used here are the same for every system. The CUDA sources are checked where nvcc is found. A wheel that
cannot be downloaded is told and is no failure; a source that does not compile is one.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from versions import floor, requirements  # noqa: E402  # the module beside this one

from rgbx.ops import build  # noqa: E402

ALSO = ("2.11.0",)  # what machines with GPUs have today


def unpacked_headers(version: str, folder: Path) -> Path | None:
    """The include folder of that torch; None where its wheel cannot be had."""
    platforms = [f"--platform=macosx_{system}_0_arm64" for system in (11, 12, 13, 14)]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version=3.11",
    ]
    done = subprocess.run(
        [*command, *platforms, f"torch=={version}", "-d", str(folder)], capture_output=True, text=True
    )
    wheel = next(folder.glob("torch-*.whl"), None)
    if done.returncode or wheel is None:
        print(
            f"torch {version}: not checked, as its wheel cannot be downloaded: {done.stderr.strip().splitlines()[-1:]}"
        )
        return None
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith("torch/include/torch/")])
    return folder / "torch/include"


def checks(include: Path) -> Iterator[tuple[str, list[str]]]:
    """Name of each source with the command that compiles it to nothing."""
    common = [f"-DTORCH_TARGET_VERSION={build.STABLE_SINCE}", '-DRGBX_BUILD="none"', f"-I{include}", "-std=c++17"]
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    for source in build.sources_of("cpu"):
        yield source.name, [*compiler, "-fsyntax-only", *common, str(source)]
    try:
        build.cuda_architectures()
    except build.NotBuiltError as reason:
        print(f"CUDA sources: not checked: {reason}")
        return
    cuda = ["-DUSE_CUDA", "--expt-relaxed-constexpr", "-arch=sm_90", "-c", "-o", os.devnull]
    for source in build.sources_of("cuda"):
        yield source.name, [str(build._nvcc()), *cuda, *common, str(source)]


def main() -> int:
    lowest = next(str(floor(one)) for one in requirements() if one.name == "torch")
    failed = False
    for version in sys.argv[1:] or [lowest if lowest.count(".") == 2 else f"{lowest}.0", *ALSO]:
        with tempfile.TemporaryDirectory() as folder:
            include = unpacked_headers(version, Path(folder))
            for source, command in checks(include) if include else ():
                done = subprocess.run(command, capture_output=True, text=True)
                print(f"torch {version}: {source} {'does not compile' if done.returncode else 'compiles'}", flush=True)
                if done.returncode:
                    failed = True
                    print(done.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
