"""Builds rgbx as it is published, installs it clean outside of the checkout, and uses it there.

python .ci/wheel.py [FOLDER]    # keeps the sdist and the wheels in FOLDER

A sdist has every file of the repository that its tests need; a wheel of it, with kernels for CPUs and without, has
nothing but rgbx. Each is installed into an environment of its own; what rgbx needs comes from the one that runs this.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from versions import ROOT, lay_upon_this

NOT_IN_SDIST = {".gitignore", ".pre-commit-config.yaml", "data/README.md"}
USE = """
import importlib.metadata, pathlib, subprocess, sys
import rgbx, rgbx.ops
home = pathlib.Path(sys.prefix).resolve()
assert home in pathlib.Path(rgbx.__file__).resolve().parents, rgbx.__file__
assert importlib.metadata.version("rgbx") == rgbx.__version__
samples = pathlib.Path(rgbx.__file__).parent / "samples"
model = rgbx.load(samples / "rooms.pth")
result = model.predict(rgb=samples / "rgb/test_000.png", depth=samples / "depth/test_000.png")
assert result["labels"].ids.shape == (120, 160)
command = pathlib.Path(sys.executable).with_name("rgbx")
for words in (["--version"], ["--help"], ["models"], ["predict", samples / "rooms.pth", samples, "--out", "out"]):
    subprocess.run([command, *words], check=True, stdout=subprocess.DEVNULL)
assert len(list(pathlib.Path("out").rglob("*.png"))) >= 8
"""


def run(*command: str | Path, where: Path = ROOT, **more: str) -> str:
    """Standard output of a command; what it says on stderr is shown where it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more
    done = subprocess.run([*map(str, command)], cwd=where, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def build_sdist(folder: Path) -> Path:
    """The sdist, which must have all that git has but `NOT_IN_SDIST`."""
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", folder)
    (sdist,) = folder.glob("rgbx-*.tar.gz")
    with tarfile.open(sdist) as files:
        inside = {name.partition("/")[2] for name in files.getnames()}
    missing = {name for name in run("git", "ls-files").split("\n") if name} - inside - NOT_IN_SDIST
    if missing:
        raise SystemExit(f"{sdist.name} lacks {sorted(missing)}: see MANIFEST.in")
    return sdist


def build_wheel(sdist: Path, folder: Path, *, kernels: bool) -> Path:
    """A wheel of a sdist: with kernels beside the torch that is here; without them apart from it, as pip builds."""
    options = ["--no-build-isolation"] if kernels else []
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", *options, "-w", folder, sdist, RGBX_BUILD_CUDA="0")
    (wheel,) = folder.glob("rgbx-*.whl")
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
    tops = {name.partition("/")[0] for name in names} - {wheel.name[: wheel.name.index("-", 5)] + ".dist-info"}
    found = [name for name in names if name.endswith(".so")]
    if tops != {"rgbx"} or bool(found) is not kernels or kernels is wheel.name.endswith("none-any.whl"):
        raise SystemExit(f"{wheel.name}: expected rgbx alone and kernels={kernels}, found {sorted(tops)} and {found}")
    return wheel


def use(wheel: Path, folder: Path, *, kernels: bool) -> None:
    """Installs a wheel into a new environment, and predicts the samples that came with it, where no checkout is."""
    run(sys.executable, "-m", "venv", "--without-pip", folder / "clean")
    python = folder / "clean" / "bin" / "python"
    lay_upon_this(folder / "clean")
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--ignore-installed", wheel)
    run(python, "-c", USE, where=folder)
    said = run(python, "-m", "rgbx.ops", where=folder)
    if kernels and "cpu" not in said:
        raise SystemExit(f"{wheel.name}: python -m rgbx.ops says\n{said}")


def check(sdist: Path, folder: Path, *, kernels: bool) -> Path:
    """A wheel of a sdist that was built, installed and used."""
    wheel = build_wheel(sdist, folder, kernels=kernels)
    use(wheel, folder, kernels=kernels)
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, installed and used outside of the checkout", flush=True)
    return wheel


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(2) as pool:
        folder = Path(scratch)
        sdist = build_sdist(folder)
        wheels = [pool.submit(check, sdist, folder / name, kernels=name == "kernels") for name in ("plain", "kernels")]
        files = [sdist, *(wheel.result() for wheel in wheels)]
        for kept in map(Path, sys.argv[1:]):
            kept.mkdir(parents=True, exist_ok=True)
            for file in files:
                shutil.copy(file, kept)


if __name__ == "__main__":
    main()
