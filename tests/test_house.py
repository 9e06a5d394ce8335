"""The house keeps its measure: what `benchmarks/house.py` counts stays on its side of the numbers below."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHAPES_TOLD = 0.99  # at least, of the tensor arguments
ANY_ARGUMENTS = 42  # at most
FILES_ENTERED = 9  # at most, by one prediction
WALLS = {  # docs/dependencies.md says what is behind each
    "albumentations": ("transforms/compose.py",),
    "matplotlib": ("cli/", "evaluate/grid.py", "study/plot.py", "train/curves.py"),
    "mmengine": ("train/", "cli/config.py", "cli/options.py"),
    "segmentation_models_pytorch": ("losses/region.py", "heads/library_decoders.py"),
    "timm": ("backbones/_timm.py",),
    "torchvision": ("losses/", "transforms/colour_torchvision.py"),
}
LATE_IMPORTS = [("ops/build.py", "torch")]  # setup.py reads that file before there is a torch


def load_house():
    spec = importlib.util.spec_from_file_location("house", ROOT / "benchmarks" / "house.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["house"] = module  # where dataclasses look for their module
    spec.loader.exec_module(module)
    return module


house = load_house()
SOURCES = house.read_package(ROOT / "rgbx")
ARGUMENTS = [argument for source in SOURCES for argument in house.arguments(source)]


def inside(path):
    return str(path.relative_to(ROOT / "rgbx"))


def test_shapes_are_told():
    tensors = [argument for argument in ARGUMENTS if argument.is_tensor]
    silent = [f"{inside(a.file)}: {a.function}({a.name}: {a.annotation})" for a in tensors if not a.told]
    assert len(silent) <= (1 - SHAPES_TOLD) * len(tensors), "\n".join(silent)


def test_any_is_rare():
    found = [f"{inside(a.file)}: {a.function}({a.name}: {a.annotation})" for a in ARGUMENTS if a.is_any]
    assert len(found) <= ANY_ARGUMENTS, "\n".join(found)


def test_imports_run_at_the_top_and_in_no_circle():
    assert house.import_circles(SOURCES) == []
    assert [(inside(path), module) for path, module in house.imports_inside_functions(SOURCES)] == LATE_IMPORTS


@pytest.mark.parametrize("library", WALLS)
def test_libraries_stay_in_their_rooms(library):
    knows = {inside(source.path) for source in SOURCES for module, _ in house.imports(source)
             if module == library or module.startswith(f"{library}.")}  # fmt: skip
    assert knows and all(name.startswith(WALLS[library]) for name in knows), knows


def test_what_knows_albumentations_is_imported_by_name_alone():
    assert not [inside(source.path) for source in SOURCES for module, name in house.imports(source)
                if "rgbx.transforms.compose" in (module, f"{module}.{name}")]  # fmt: skip


def test_one_prediction_enters_few_files():
    entered = house.entries(house.trace_apart())
    assert "models/predict.py" in entered
    assert len(set(entered)) <= FILES_ENTERED, sorted(set(entered))


SMALL = {
    "__init__.py": "",
    "sub/__init__.py": "",
    "a.py": """\
from small import b

class A:
    pass

def _hidden():
    from small.sub import c
    import json
""",
    "b.py": """\
from typing import Any
from .sub.c import f
import small.a

def g(x: Any, y: dict[str, Any], *z: Any):
    '''One line,

    and more.
    '''
    return x
""",
    "sub/c.py": """\
def f(
    x: Tensor,  # [N, C]
    y: Mapping[str, np.ndarray],  # in [0, 1]
    z: Tensor | None = None,
):
    '''All of [N, C].

    Args:
        z: bool [N].
    '''


def one(x: Tensor, size: int) -> Tensor:  # [N, K]
    '''[N, C, H, W].'''


def none(x: Tensor) -> Tensor:  # [N, K]
    return x
""",
}


@pytest.fixture
def package(tmp_path):
    """A package in which every count is known."""
    for name, text in SMALL.items():
        path = tmp_path / "small" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "small"


def test_it_counts_what_is_there(package):
    rows = house.table(package)
    assert rows["function median / p90 / max"] == "2/5/5"
    assert rows["file median / max"] == "8/18"
    assert rows["tensor arguments with a shape told"] == "60% (3 of 5)"
    assert rows["`Any` arguments"] == "2"
    assert rows["public names per 1,000 lines"] == f"{1000 * 5 / 36:.1f}"
    assert rows["import circles / imports inside functions"] == "1/1"
    assert house.import_circles(house.read_package(package)) == [{"small.a", "small.b"}]
    told = {(a.function, a.name) for s in house.read_package(package) for a in house.arguments(s) if a.told}
    assert told == {("f", "x"), ("f", "z"), ("one", "x")}


def test_entries_of_calls():
    assert house.entries(["a", "a", "b", "a", "c", "c"]) == ["a", "b", "a", "c"]


def test_a_folder_that_is_no_package_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no __init__"):
        house.read_package(tmp_path)
