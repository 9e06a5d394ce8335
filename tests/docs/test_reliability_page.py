"""docs/reliability.md is what benchmarks/reliability.py writes of what it has found, and says how much that was."""

import importlib.util
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOUND = json.loads((ROOT / "benchmarks/results/reliability.json").read_text())


def test_the_page_is_of_what_is_kept(monkeypatch):
    spec = importlib.util.spec_from_file_location("reliability_page", ROOT / "benchmarks/reliability_page.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "reliability_page", module)
    spec.loader.exec_module(module)
    assert (ROOT / "docs/reliability.md").read_text() == module.page(FOUND)


def test_what_was_tried_is_no_less_than_the_page_promises():
    kills = sum(row["tries"] for row in FOUND["kills"]["rows"])
    assert kills >= 30 and len(FOUND["kills"]["rows"]) == 3
    assert {"two processes", "signals", "disks", "folders", "studies", "preparations", "lists"} < FOUND.keys()
    assert "20,000 steps" in FOUND["long run"]["rows"][0]["what"]
