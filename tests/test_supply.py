"""What rgbx depends on: each version has a floor, the page tells it, the bill and the audit say what they know."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = ROOT / ".github/workflows/ci.yml"
SHIPPED = ("mat", "tiff", "metrics", "retrieval", "export", "serve", "weights", "ray", "slurm")


def load(name):
    """A script of .ci, which imports its neighbours as when it is run."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


versions = load("versions")
bom = load("bom")


def test_every_dependency_has_a_floor():
    asked = versions.requirements(SHIPPED)
    assert len(asked) == len(PROJECT["dependencies"]) + sum(len(PROJECT["optional-dependencies"][k]) for k in SHIPPED)
    assert all(versions.floor(one).release for one in asked)
    with pytest.raises(ValueError, match="names no lowest version; write tqdm>=N"):
        versions.floor(Requirement("tqdm"))
    assert str(versions.floor(Requirement("numpy<3,>=2.1,!=2.2"))) == "2.1"


def test_lowest_and_newest_ask_for_what_they_say():
    lowest, newest = (versions.pins(which, whole=False) for which in ("lowest", "newest"))
    assert lowest["numpy"] == "numpy==2" and newest["numpy"] == "numpy<3,>=2" and "torch" not in lowest
    assert versions.pins("lowest", whole=True)["torch"] == "torch==2.10"
    called = {name.strip() for names in versions.CALLS.values() for name in names.replace("opencv", "").split(",")}
    quiet = set(lowest) - called - {"opencv-python-headless"}
    assert not quiet, f"no test of `make lowest` calls {quiet}"
    assert all((ROOT / path).exists() for path in versions.CALLS)


def test_the_page_tells_every_package_and_its_versions():
    page = (ROOT / "docs/dependencies.md").read_text()
    base = set(re.findall(r"^\| ([\w-]+) \| (\S*\d\S*) \|", page, re.MULTILINE))
    extra = set(re.findall(r"^\| `(\w+)` \| ([\w-]+) \| (\S+) \|", page, re.MULTILINE))
    asked = [re.match(r"([\w-]+)(\S+)", line).groups() for line in PROJECT["dependencies"]]
    assert base == set(asked)
    assert extra == {(name, *re.match(r"([\w-]+)(\S+)", line).groups())
                     for name in SHIPPED for line in PROJECT["optional-dependencies"][name]}  # fmt: skip


def test_the_workflow_runs_the_same_script_with_every_python():
    """Linted by zizmor (permissions, pins, injections) and against GitHub's schema."""
    tools = Path(sys.executable).parent
    for command in (["zizmor", "--offline", ".github"],
                    ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", WORKFLOW]):  # fmt: skip
        done = subprocess.run([tools / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    (job,) = yaml.safe_load(WORKFLOW.read_text())["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    named = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert job["strategy"]["matrix"]["python"] == named and PROJECT["requires-python"] == f">={named[0]}"


def fake_packages(monkeypatch, needs):
    def requires(name):
        if name not in needs:
            raise importlib.metadata.PackageNotFoundError(name)
        return needs[name]

    monkeypatch.setattr(importlib.metadata, "requires", requires)


def test_the_bill_has_what_is_reached_and_nothing_else(monkeypatch):
    """An extra's packages only where the extra is asked for, and markers that do not hold are no need."""
    needs = {
        "A_a": ["b[x]>=1", "c; sys_platform == 'win32'", "t; extra == 'tests'"],
        "b": ["d; extra == 'x'"],
        "d": None,
    }
    fake_packages(monkeypatch, needs)
    edges = bom.reached([Requirement("A_a>=2")])
    assert edges == {"": {"a-a"}, "a-a": {"b"}, "b": {"d"}, "d": set()}
    parts = [{"name": name, "bom-ref": f"{name}==1", "version": "1"} for name in ("A_a", "b", "c", "d", "t")]
    bill = {"metadata": {"component": {"bom-ref": "root", "name": "rgbx"}}, "components": parts, "dependencies": []}
    found = bom.shipped(bill, edges, "9")
    assert [part["name"] for part in found["components"]] == ["A_a", "b", "d"]
    assert found["metadata"]["component"]["version"] == "9"
    assert {part["ref"]: part["dependsOn"] for part in found["dependencies"]} == {
        "root": ["A_a==1"], "A_a==1": ["b==1"], "b==1": ["d==1"], "d==1": []
    }  # fmt: skip
    with pytest.raises(ValueError, match="e is not installed here"):
        bom.reached([Requirement("e")])


WEAK = {"name": "pillow", "version": "10.1.0", "vulns": [{"id": "PYSEC-1"}]}
SOUND = {"name": "numpy", "version": "2.4", "vulns": []}
UNKNOWN = {"name": "pillow", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("answers", "code", "words"),
    [
        ([""], 0, "does not answer"),  # pip-audit had no connection
        ([[UNKNOWN]], 0, "does not answer"),
        ([[{**WEAK, "vulns": []}]], 0, "does not answer"),  # an index that knows of nothing
        ([[WEAK], [SOUND, UNKNOWN]], 0, "does not know every package"),
        ([[WEAK], [SOUND]], 0, "2 packages asked for, 0 with"),
        ([[WEAK], [SOUND, WEAK]], 1, "pillow 10.1.0: PYSEC-1"),
    ],
)
def test_an_audit_without_an_answer_is_none(monkeypatch, capsys, answers, code, words):
    said = iter(json.dumps({"dependencies": answer}) if answer else answer for answer in answers)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=next(said)))
    monkeypatch.setattr(bom, "materials", lambda: {"components": [{"name": "a", "version": "1+cpu"}] * 2})
    assert bom.audit() == code
    assert words in capsys.readouterr().out
