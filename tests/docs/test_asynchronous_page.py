"""docs/asynchronous.md does what it says: its code runs, and its figures are the benchmark's."""

from __future__ import annotations

import re
from pathlib import Path

from rgbx.cli.config import load_config
from rgbx.fusion import build_fusion

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "asynchronous.md").read_text()


def test_the_code_runs(capsys):
    names = {}
    for text in re.findall(r"^```python[^\n]*\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        exec(text.replace('"resnet18"', '"test_resnet"'), names)
    printed = capsys.readouterr().out
    assert "{'rgb': (2, 1, 3, 48, 64), 'depth': (2, 5, 1, 48, 64)}" in printed and "loss_fusion" in printed
    shipped = load_config(str(ROOT / re.search(r"`(configs/\S+\.py)`", PAGE)[1])).model
    assert dict(shipped["fusion"]) == {"name": "mea"}
    assert names["model"].recipe["parameters"]["fusion"]["target"] == "learned"  # by default


def test_fields_that_the_page_names():
    for line in set(re.findall(r'`(\w+)=("\w+")`', PAGE)):
        name, value = line[0], eval(line[1])
        assert build_fusion({"name": "mea", name: value} if name != "fusion" else value)


def test_the_figures_are_those_of_the_benchmark():
    result = (ROOT / "benchmarks" / "results" / "asynchronous.md").read_text()
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and re.search(r"\(\+?-?\d\.\d", line)]
    assert len(rows) >= 8 and all(row in result for row in rows)
