"""The Dockerfile: linted, and what it copies is let in and is all that an installation needs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
LINES = [line for line in FILE.splitlines() if line and not line.startswith("#")]


def test_the_linter_has_nothing_to_say():
    """hadolint, with the exceptions that the file names: versions of Debian's packages, and of setuptools."""
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert set(re.findall(r"ignore=(\S+)", FILE)) == {"DL3006", "DL3008", "DL3013"}


def let_in(path: str) -> bool:
    """Whether .dockerignore lets a file into the build: of its patterns the last that fits decides."""
    inside = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = path.split("/")
        above = ["/".join(parts[: k + 1]) for k in range(len(parts))]
        names = parts if "**/" in line else above
        if line and not line.startswith("#") and any(fnmatch(name, pattern) for name in names):
            inside = line.startswith("!")
    return inside


def copied() -> list[str]:
    return [source for line in LINES if line.startswith("COPY ") and "--from" not in line
            for source in shlex.split(line)[1:-1]]  # fmt: skip


def test_what_is_copied_is_there_and_let_in():
    for source in copied():
        path = ROOT / source
        files = (
            [path]
            if path.is_file()
            else [file for file in path.rglob("*") if file.suffix in (".py", ".toml", ".cpp", ".md")]
        )
        assert files and all(let_in(str(file.relative_to(ROOT))) for file in files), source


@pytest.mark.parametrize(
    "path", [".git/config", ".venv/bin/python", "data/nyudv2/rgb/1.png", "work_dirs/a/b.pth", "rgbx/ops/librgbx_cpu.so",
             "rgbx/cli/__pycache__/main.pyc", "tests/conftest.py", "benchmarks/ops.py"],
)  # fmt: skip
def test_what_is_kept_out(path):
    assert not let_in(path)


def test_all_that_an_installation_reads_is_copied():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {"pyproject.toml", "setup.py", "rgbx", project["readme"], *project["license-files"]}
    needed |= set(re.findall(r'"rgbx\.\w+": "(.*?)"', (ROOT / "setup.py").read_text()))
    assert needed | {"constraints.txt"} == set(copied())
    extras = re.search(r"ARG EXTRAS=(\S+)", FILE)[1].split(",")
    assert set(extras) <= set(project["optional-dependencies"])


def test_both_devices_have_their_stages_and_the_user_has_no_rights():
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", FILE, re.MULTILINE)
    assert [name for _, name in stages] == ["build-cpu", "build-cuda", "run-cpu", "run-cuda", "build", "run"]
    assert [base for base, name in stages if "-" not in name] == ["build-${DEVICE}", "run-${DEVICE}"]
    last = FILE[FILE.rindex("FROM ") :]
    assert re.search(r"^USER (?!0)\d+$", last, re.MULTILINE) and 'ENTRYPOINT ["rgbx"]' in last
    assert FILE.count("-c constraints.txt") == 2 and "--no-build-isolation" in FILE
