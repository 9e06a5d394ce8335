"""The house keeps its floors: imports only point down, and each floor knows only the libraries it may."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "rgbx"
FLOORS = [
    ("ops",),
    ("layers",),
    ("fusion",),
    ("backbones",),
    ("generators",),
    ("heads",),
    ("tasks",),
    ("objectives",),
    ("models",),
    ("evaluate",),
    ("report", "train", "profile", "convert"),
    ("study", "configure", "export", "serve"),
    ("cli",),
]
ASIDE = {
    "maps": set(),
    "losses": {"ops"},
    "metrics": set(),
    "transforms": {"maps", "datasets"},
    "datasets": {"maps", "transforms"},
    "doctor": {"maps", "datasets"},
}
LOSS_LIBRARIES = {"torch", "numpy", "segmentation_models_pytorch"}
SOURCES = sorted(PACKAGE.rglob("*.py"))


def imported(path):
    """Full names of the modules a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def floor_of(path):
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else None


def allowed_below(floor):
    if floor in ASIDE:
        return {floor} | ASIDE[floor]
    index = next(i for i, rooms in enumerate(FLOORS) if floor in rooms)
    below = {room for rooms in FLOORS[:index] for room in rooms} | {floor}
    return below | set(ASIDE) if index >= FLOORS.index(("tasks",)) else below


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    floor, name = floor_of(path), str(path.relative_to(PACKAGE))
    for module in imported(path):
        top, _, rest = module.partition(".")
        if top == "rgbx" and rest and floor and not rest.startswith("_"):
            assert rest.split(".")[0] in allowed_below(floor), f"{name} imports {module}"
        if floor in ("losses", "metrics") and top not in sys.stdlib_module_names and top != "rgbx":
            assert top in LOSS_LIBRARIES, f"{name} imports {module}"


def test_models_do_not_read_datasets():
    for path in (PACKAGE / "models").rglob("*.py"):
        assert not [m for m in imported(path) if m.startswith(("rgbx.datasets", "rgbx.doctor", "rgbx.transforms"))], (
            path
        )


def test_no_room_without_an_owner():
    corners = {"utils", "helpers", "misc", "common"}
    assert not [p for p in PACKAGE.rglob("*") if p.stem in corners]


def test_importing_is_silent_and_offline():
    """Runs in a fresh process in which opening a network connection is an error."""
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise SystemExit('network call at import')\n"
        "socket.socket.connect = refuse\n"
        "import rgbx, rgbx.models, rgbx.datasets, rgbx.doctor, rgbx.transforms, rgbx.evaluate, rgbx.train, rgbx.cli\n"
        "import sys\n"
        "assert 'albumentations' not in sys.modules, 'rgbx does without it, unless it is asked for by name'\n"
        "import rgbx.transforms.compose\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NO_ALBUMENTATIONS_UPDATE"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_waiting_threads_do_not_spin_unless_asked_to():
    """GNU OpenMP reads the environment when torch loads it, which `import rgbx` does not yet."""
    code = "import rgbx, os, sys; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    bare = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    for given, expected in (({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")):
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=bare | given, capture_output=True, text=True)
        assert done.stdout.split() == [expected, "False"], given


def test_the_picture_shows_every_room():
    picture = (ROOT / "docs/images/architecture.svg").read_text()
    page = (ROOT / "docs/architecture.md").read_text()
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == {room for rooms in FLOORS for room in rooms} | set(ASIDE)
    for room in rooms:
        assert f">{room}</text>" in picture and f"**{room}**" in page, room
