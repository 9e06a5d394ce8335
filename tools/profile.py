"""Measures a model: python tools/profile.py CONFIG [--size 480x640] [--batches 1 8] [--dtypes float32 bfloat16]."""

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path

HERE = Path(__file__).resolve().parent
ELSEWHERE = [folder for folder in sys.path if Path(folder).resolve() != HERE]

if __name__ == "__main__":
    sys.path[:] = ELSEWHERE
    from rgbx.cli.main import run

    raise SystemExit(run("profile"))

# A script finds its neighbours before the standard library, so a cProfile imported by one of them arrives here, while
# it wants the standard module of this name.
found = PathFinder.find_spec("profile", ELSEWHERE)
if found is None or found.loader is None:
    raise ImportError("the standard library has no module 'profile'")
standard = importlib.util.module_from_spec(found)
sys.modules["profile"] = standard
found.loader.exec_module(standard)
