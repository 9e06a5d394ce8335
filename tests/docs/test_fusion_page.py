"""docs/fusion.md does what it says: its method is added in both ways, trained and loaded; its tables are true."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rgbx.fusion import FUSION_METHODS, AsymmetricFusion, FusionMethod, build_fusion
from rgbx.layers import StackLayout
from rgbx.models import load, multimodal_segmentor

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "fusion.md").read_text()
FENCED = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
METHODS, SWITCHES, ADD = re.split(r"^## (?:Switches of asymmetric fusion|Add a fusion method)$", PAGE, flags=re.M)
(_, FILE, CODE), (_, CONFIG, TEXT), (_, _, COMMANDS), (_, _, LOAD) = FENCED.findall(ADD)
OPTIONAL = "  # not needed for a file in rgbx/fusion/"


@pytest.fixture
def known_methods():
    """What is imported from the page's file is forgotten afterwards."""
    known = dict(FUSION_METHODS)
    yield
    FUSION_METHODS.clear()
    FUSION_METHODS.update(known)
    sys.modules.pop(Path(FILE).stem, None)


@pytest.mark.usefixtures("known_methods")
def test_a_file_of_the_user(place, run_tools, capsys):
    (place / FILE).write_text(CODE)
    (place / CONFIG).write_text(f"{TEXT}model.update(backbone='test_resnet')\n")  # quicker to train and to write
    run_tools(COMMANDS)
    assert re.search(r"^both +[\d.]", capsys.readouterr().out, re.MULTILINE)
    loaded = {}
    exec(LOAD, loaded)
    gates = [m for m in loaded["model"].modules() if type(m).__name__ == "GatedSum"]
    assert [gate.gate.out_channels for gate in gates] == [32, 48, 192, 96]
    trained = torch.load("work_dirs/gated/epoch_2.pth", weights_only=True)
    assert trained["meta"]["iter"] == 2
    assert trained["model"]["parameters"]["fusion"] == {"name": "gated_sum", "stages": None, "bias": -1.0}
    assert all(gate.gate.weight.abs().sum() > 0 for gate in gates), "they start at zero"
    check_values(type(gates[0]))
    del FUSION_METHODS["gated_sum"]  # as where the file was not imported
    with pytest.raises(ValueError, match="A fusion method of your own is known once its file is imported"):
        load("work_dirs/gated/epoch_2.pth")


def check_values(gated_sum):
    """The module does what its docstring says, for three modalities and for two of them."""
    layout = StackLayout("abc")
    module = gated_sum(4, layout, 0.5)
    torch.nn.init.normal_(module.gate.weight)
    a, b, c = x = torch.randn(3, 2, 4, 5, 6)
    gate = torch.sigmoid(torch.einsum("oc,mnchw->mnohw", module.gate.weight[..., 0, 0], x) + 0.5)
    expected = torch.stack([a + gate[0] * (b + c) / 2, b + gate[1] * (a + c) / 2, c + gate[2] * (a + b) / 2])
    torch.testing.assert_close(module(x.flatten(0, 1)), expected.flatten(0, 1))
    with layout.holding("ac"):
        two = torch.cat([a + gate[0] * c, c + gate[2] * a])
        torch.testing.assert_close(module(torch.cat([a, c])), two)


def test_a_file_in_the_package(place):
    """In a process of its own, with a copy of the package that holds the file."""
    shutil.copytree(ROOT / "rgbx", place / "rgbx", ignore=shutil.ignore_patterns("__pycache__"))
    (place / "rgbx/fusion" / FILE).write_text(CODE)
    (place / CONFIG).write_text("\n".join(line for line in TEXT.splitlines() if OPTIONAL not in line) + "\n")
    loading = "\n".join(line for line in LOAD.splitlines() if OPTIONAL not in line)
    assert loading != LOAD.rstrip() and "custom_imports" not in (place / CONFIG).read_text()
    render, train, _ = (shlex.split(line) for line in COMMANDS.splitlines())
    program = (
        "import rgbx.cli.render_rooms, rgbx.cli.train\n"
        f"assert not rgbx.cli.render_rooms.main({render[2:]})\n"
        f"assert not rgbx.cli.train.main({[*train[3:], 'model.backbone=test_resnet']})\n"
        f"{loading}\n"
        "print(rgbx.__file__, model.backbone.stage_fusions[0])"
    )
    environment = {**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"{place / 'rgbx' / '__init__.py'} GatedSum(" in done.stdout


def rows(text):
    """(first cell, second cell) of the tables' lines, code ticks removed."""
    cells = re.findall(r"^\| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    return {first.strip("`"): second for first, second in cells if set(first) != {"-"}}


def test_the_table_holds_every_method():
    """With the first lines of their docstrings."""
    expected = {name: inspect.getdoc(method).splitlines()[0] for name, method in FUSION_METHODS.items()}
    table = rows(METHODS)
    del table["name"]
    assert table == expected


def test_every_switch_is_named_and_builds():
    lines = [first for first in rows(SWITCHES) if first.startswith("dict(")]
    methods = [build_fusion(eval(line)) for line in lines]
    assert all(isinstance(method, AsymmetricFusion) for method in methods)
    assert len(set(methods)) == len(methods)
    default = AsymmetricFusion()
    changed = {
        field.name
        for field in dataclasses.fields(AsymmetricFusion)
        for method in methods
        if getattr(method, field.name) != getattr(default, field.name)
    }
    assert changed == {field.name for field in dataclasses.fields(AsymmetricFusion)}
    for name, value in re.findall(r"^\| `model\.(\w+)=(.+?)` \|", SWITCHES, re.MULTILINE):
        assert name in inspect.signature(multimodal_segmentor).parameters
        multimodal_segmentor(modalities=("rgb", "depth"), num_classes=2, backbone="test_resnet", **{name: eval(value)})


def test_members_exist():
    for member in re.findall(r"^\| `(\w+)(?:\(.*?\))?(?: = .*?)?` \|", ADD, re.MULTILINE):
        assert hasattr(FusionMethod, member), member
