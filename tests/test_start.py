"""What commands leave out of their processes, and the memory that they keep."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rgbx import _memory
from rgbx.cli.arguments import COMMANDS, WITH_NETWORKS

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
WITHOUT_NETWORKS = ("timm", "torchvision", "matplotlib", "mmengine", "torch._dynamo")


def found_by(code, **environment):
    """What a new process prints, in words."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def imported(modules, wanted):
    """Which of the modules that are not wanted are there after each import, in one process."""
    lines = ["import importlib, sys"]
    for name in modules:
        lines.append(f"importlib.import_module({name!r})")
        lines.append(f"print(*[{name!r} + ':' + m for m in {wanted[name]!r} if m in sys.modules])")
    return found_by("\n".join(lines))


def test_what_runs_no_network_brings_none():
    names = [f"rgbx.cli.{COMMANDS[name].module}" for name in ("compare", "doctor", "prepare", "submit")]
    assert imported(names, dict.fromkeys(names, WITHOUT_NETWORKS)) == []


def test_no_command_brings_the_compiler_with_its_imports():
    compiler = ("torch._dynamo", "matplotlib")
    wanted = {
        "rgbx.cli.predict": (*compiler, "mmengine", "sympy"),
        "rgbx.cli.serve": compiler,
        "rgbx.cli.train": (*compiler, "rgbx.cli.init"),
    }
    assert imported(list(wanted), wanted) == []


IMPORTED = """
import gc, sys
from rgbx._late import imported
gc.set_threshold(1)
seen = []
gc.callbacks.append(lambda phase, info: seen.append("json.tool" in sys.modules))
module = imported("json.tool")
gc.collect()
print(module is sys.modules["json.tool"], all(seen), gc.isenabled(), gc.get_freeze_count() > 0)
try:
    imported("rgbx.nothing")
except ModuleNotFoundError as error:
    print(error.name, gc.isenabled())
gc.disable()
imported("stringprep")
print(gc.isenabled())
"""


def test_nothing_is_collected_while_a_command_is_imported():
    assert found_by(IMPORTED)[:6] == ["True"] * 4 + ["rgbx.nothing", "True"]
    assert found_by(IMPORTED)[-1] == "False"


def test_a_prediction_does_without_the_compiler():
    code = f"""
import sys, rgbx
maps = {{name: f"{SAMPLES}/{{name}}/test_000.png" for name in ("rgb", "depth")}}
rgbx.load("{SAMPLES}/rooms.pth").predict(**maps)
print("torch._dynamo" in sys.modules)
"""
    assert found_by(code) == ["False"]


def test_the_compiler_comes_when_it_is_asked_for():
    code = """
import sys
from rgbx._compiler import COMPILER, compiler_later
import torch
ran = []
with compiler_later():
    mark = torch.compiler.disable(lambda: ran.append(torch.compiler.is_compiling()))
    from torch._dynamo.utils import is_compile_supported
    print(type(sys.modules[COMPILER]).__name__)
print(COMPILER in sys.modules, is_compile_supported("cpu") in (True, False), COMPILER in sys.modules)
mark()
print(torch.compile(lambda x: (mark(), x + 1)[1], backend="eager")(torch.zeros(1)).item(), ran)
"""
    assert found_by(code) == ["_Stand", "False", "True", "True", "1.0", "[False,", "False]"]


def test_a_part_of_the_compiler_is_its_own():
    code = """
import sys
from rgbx._compiler import compiler_later
with compiler_later():
    import torch._dynamo.config as part
import torch
print(part is torch._dynamo.config, part is sys.modules["torch._dynamo.config"], part.recompile_limit > 0)
with compiler_later():
    print(type(torch._dynamo).__name__)
"""
    assert found_by(code) == ["True", "True", "True", "module"]


MEMORY = """
import resource, rgbx
print(rgbx.keep_memory())
block = b"x" * (48 << 20)
del block
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
block = b"y" * (48 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not _memory._is_glibc(), reason="malloc is not glibc's")
def test_memory_is_kept_and_only_where_nobody_says_otherwise(monkeypatch):
    for name in [name for name in os.environ if name.startswith(_memory._THEIRS)]:
        monkeypatch.delenv(name)
    pages = (48 << 20) // os.sysconf("SC_PAGE_SIZE")
    taken, faults = found_by(MEMORY, RGBX_MALLOC="keep")
    assert taken == "True" and int(faults) < pages / 20
    for environment in ({"RGBX_MALLOC": "system"}, {"MALLOC_ARENA_MAX": "2"}, {"LD_PRELOAD": "libjemalloc.so.2"}):
        assert found_by(MEMORY, **environment)[0] == "False"


def test_another_word_is_refused(monkeypatch):
    monkeypatch.setenv("RGBX_MALLOC", "jemalloc")
    with pytest.raises(ValueError, match="'jemalloc'; expected 'keep' or 'system'"):
        _memory.keep_memory()


def test_memory_is_the_programs_affair():
    assert found_by("import sys, rgbx; print('rgbx._memory' in sys.modules)") == ["False"]
    assert set(WITH_NETWORKS) < set(COMMANDS) and "doctor" not in WITH_NETWORKS
