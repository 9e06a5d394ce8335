"""How long rgbx takes to start, beside `import torch, timm`, which it cannot do without.

Each measurement is a process of its own; the rounds go through all of them in turn, after one round that fills the
file cache and is not counted. CPU time is that of the process and its threads.

    python benchmarks/load.py --rounds 7 --out benchmarks/results/load.md
    python benchmarks/load.py --checkpoint work_dirs/demo/best.pth --imports   # what `rgbx.load` imports, and its cost

Beside a CPU-only torch the torchvision wheel of PyPI does not import, and so neither does timm. There the baseline
declares torchvision's two missing operators first, the same as `rgbx._torchvision` does.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from rgbx._torchvision import _SCHEMA

ROOT = Path(__file__).resolve().parents[1]
PLAIN = "import torch, timm"
DECLARED = f"""import torch
library = torch.library.Library("torchvision", "FRAGMENT")
for operator in ("nms", "qnms"):
    library.define(operator + {_SCHEMA!r})
import timm"""
MAKE_CHECKPOINT = """import sys, torch, rgbx.models
model = rgbx.models.multimodal_segmentor(modalities=("rgb", "depth"), num_classes=40, backbone="resnet18")
torch.save({"state_dict": model.state_dict(), "model": model.recipe, "meta": {}}, sys.argv[1])"""
COMMAND = "import sys; from rgbx.cli.{module} import main; sys.argv = ['rgbx']; main({arguments})"


def commands(checkpoint: Path) -> dict[str, list[str]]:
    """What is measured: name to a command line; the first is the baseline."""
    baseline = PLAIN if run([sys.executable, "-c", PLAIN]) else DECLARED
    one_command = (ROOT / "rgbx/cli/main.py").is_file()
    module, arguments = ("main", ["train", "--help"]) if one_command else ("train", ["--help"])
    codes = {
        "import torch, timm": baseline,
        "import torch": "import torch",
        "import rgbx": "import rgbx",
        "import rgbx.models": "import rgbx.models",
        "rgbx.load(FILE)": f"import rgbx; rgbx.load({str(checkpoint)!r})",
        "rgbx train --help": COMMAND.format(module=module, arguments=arguments),
    }
    return {name: [sys.executable, "-c", code] for name, code in codes.items()}


def run(command: Sequence[str]) -> tuple[float, float] | None:
    """Seconds of CPU time and of wall time of a new process; None where it fails."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tempfile.gettempdir(), env=environment, capture_output=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return None if done.returncode else (cpu, wall)


def measure(table: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(CPU seconds, wall seconds) of each round, by name; empty for what fails."""
    works = {name: command for name, command in table.items() if run(command) is not None}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in table}
    for _ in range(rounds):
        for name, command in works.items():
            times = run(command)
            if times is not None:
                found[name].append(times)
    return found


def rows(found: Mapping[str, Sequence[tuple[float, float]]]) -> list[str]:
    """A Markdown table of medians and of their ratios to the first entry."""
    medians = {name: [statistics.median(x) for x in zip(*times, strict=True)] for name, times in found.items()}
    baseline = next(iter(medians.values()))
    lines = ["| | CPU, s | wall, s | CPU, of the first row | wall, of the first row |", "|---|---|---|---|---|"]
    for name, values in medians.items():
        cells = ["fails", "", "", ""]
        if values:
            cells = [f"{x:.2f}" for x in values] + [f"{x / y:.2f} ×" for x, y in zip(values, baseline, strict=True)]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


def import_costs(command: Sequence[str]) -> list[tuple[str, float]]:
    """Packages and the milliseconds of their own modules' imports, without what these import; the dearest first."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    costs: defaultdict[str, float] = defaultdict(float)
    for own, name in re.findall(r"^import time: +(\d+) \| +\d+ \| +(\w+)", done.stderr, re.MULTILINE):
        costs["the standard library" if name in sys.stdlib_module_names else name] += int(own) / 1000
    return sorted(costs.items(), key=lambda item: -item[1])


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints, or writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="what `rgbx.load` is given (default: an untrained ResNet-18)")
    parser.add_argument("--rounds", type=int, default=5, help="medians of so many (default: %(default)s)")
    parser.add_argument("--imports", action="store_true", help="also the cost of each package that `rgbx.load` imports")
    parser.add_argument("--out", type=Path, help="a Markdown file to write to")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = options.checkpoint.resolve() if options.checkpoint else Path(folder, "resnet18.pth")
        if not options.checkpoint:
            run([sys.executable, "-c", MAKE_CHECKPOINT, str(checkpoint)])
        table = commands(checkpoint)
        lines = rows(measure(table, options.rounds))
        if options.imports:
            lines += ["", "| package | ms |", "|---|---|"]
            costs = import_costs(table["rgbx.load(FILE)"])[:25]
            lines += [f"| {name} | {milliseconds:.0f} |" for name, milliseconds in costs]
    title = f"Medians of {options.rounds}, {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}."
    text = "\n".join(["# Starting", "", title, "", *lines, ""])
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
