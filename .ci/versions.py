"""Tests rgbx with the lowest version of each dependency that pyproject.toml admits, or with the newest.

python .ci/versions.py lowest           # beside the environment that runs this: torch and what is not named are its own
python .ci/versions.py lowest --whole   # an environment of its own with the lowest torch, several GB
python .ci/versions.py newest --whole   # the newest of everything, without constraints.txt

`make test` itself runs with the newest of all but torch, torchvision and timm, which constraints.txt holds. The tests
here are those that call each dependency (`CALLS`), not the whole suite: a minute on two cores.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("mat",)  # mlflow, of the development environment, wants newer packages of the others
OF_TORCH = ("torch", "torchvision")
OF_TESTS = ("hypothesis", "jsonschema", "playwright", "pytest", "pytest-xdist", "scikit-image", "torchmetrics")
CALLS = {  # tests, and what they call
    "tests/maps": "numpy, opencv, pillow",
    "tests/transforms": "albumentations, torchvision",
    "tests/doctor/test_label.py": "opencv",
    "tests/doctor/test_pictures.py": "matplotlib, opencv",
    "tests/doctor/test_depth.py": "opencv",
    "tests/datasets/nyudv2/test_mat.py": "h5py, scipy",
    "tests/datasets/shards/test_reading.py": "fsspec",
    "tests/backbones/test_weight_file.py": "safetensors, timm",
    "tests/backbones/test_weight_source.py": "huggingface_hub",
    "tests/convert/test_hub.py": "huggingface_hub, safetensors",
    "tests/losses/test_segmentation.py": "segmentation-models-pytorch, torchvision",
    "tests/heads/test_library_decoders.py": "segmentation-models-pytorch",
    "tests/evaluate/test_pictures.py": "matplotlib",
    "tests/cli/test_main.py": "argcomplete",
    "tests/cli/test_trackers.py": "tensorboard, mmengine-lite",
    "tests/train/test_optim.py": "mmengine-lite, packaging, tqdm",
}


def requirements(extras: Sequence[str] = EXTRAS) -> list[Requirement]:
    """What pyproject.toml asks for, that of the extras behind."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for name in extras for line in project["optional-dependencies"][name])]
    return [Requirement(line) for line in lines]


def floor(requirement: Requirement) -> Version:
    """The lowest version that a requirement admits.

    Raises:
        ValueError: it names none.
    """
    named = [Version(one.version) for one in requirement.specifier if one.operator in (">=", "==", "~=")]
    if not named:
        raise ValueError(f"pyproject.toml asks for {requirement} and names no lowest version; write {requirement}>=N")
    return max(named)


def pins(which: str, *, whole: bool) -> dict[str, str]:
    """Name of each package that is installed, with what pip is asked for."""
    asked = {one.name: one for one in requirements() if whole or one.name not in OF_TORCH}
    if which == "newest":
        return {name: str(one) for name, one in asked.items()}
    return {name: f"{name}=={floor(one)}" for name, one in asked.items()}


def make_environment(folder: Path, asked: Mapping[str, str], *, whole: bool) -> Path:
    """Installs what is asked for; without `whole` upon the packages of the environment that runs this.

    Returns:
        its Python.
    """
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    if not whole:
        lay_upon_this(folder)
    more = OF_TESTS if whole else ()
    subprocess.run([python, "-m", "pip", "install", "-q", "--upgrade", *asked.values(), *more], check=True)
    return python


def lay_upon_this(folder: Path) -> None:
    """Lets an environment import what it has not itself from the one that runs this.

    Its pip sees these packages, leaves those that fit, and never removes one. A checkout that is installed for editing
    is not among them.
    """
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "shared.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")


def installed(python: Path, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names with the versions that this Python imports."""
    code = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]), sep='\\n')"
    found = subprocess.run([python, "-c", code, *names], check=True, capture_output=True, text=True).stdout.split()
    yield from zip(names, found, strict=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=("lowest", "newest"))
    parser.add_argument("--whole", action="store_true", help="with a torch of its own, which is downloaded")
    parser.add_argument("--folder", type=Path, help="of the environment, anew each time (default .venv/WHICH)")
    parser.add_argument("tests", nargs="*", default=list(CALLS), help="files or folders (default: see CALLS)")
    options = parser.parse_args()
    folder = options.folder or Path(sys.prefix) / options.which
    asked = pins(options.which, whole=options.whole)
    python = make_environment(folder, asked, whole=options.whole)
    versions = dict(installed(python, [*asked, *([] if options.whole else OF_TORCH)]))
    print(f"{options.which}:", ", ".join(f"{name} {version}" for name, version in versions.items()))
    if options.which == "lowest":
        wrong = {one.name: versions[one.name] for one in requirements()
                 if one.name in asked and Version(versions[one.name]) != floor(one)}  # fmt: skip
        if wrong:
            raise SystemExit(f"these are not the lowest that pyproject.toml admits: {wrong}")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [python, "-m", "pytest", "-n", "2", "-q", "-p", "no:cacheprovider", *options.tests]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
