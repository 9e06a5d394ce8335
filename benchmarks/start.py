"""What commands cost before they begin: CPU seconds of a process, and of a training up to its first step.

    python benchmarks/start.py [--rounds N] [--markdown FILE]

Every measurement is a process of its own, in turn, so that what else runs meets all alike. A round before them, which
is not counted, compiles what has not been compiled and brings the files into memory.
A time is user and system time of the whole process with one thread, median of the rounds. The step is the first of the
config, forward, backward and update; a training is to reach its end in at most 1.3 times what importing torch and timm
and the step take. `import torch, timm` is as those libraries are by themselves, which brings torch's compiler.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from rgbx.cli.arguments import COMMANDS

ROOT = Path(__file__).parent.parent
CONFIGS = ("configs/rooms/asymfusion_small_rooms_160x120.py", "configs/rooms/asymfusion_r18_rooms_160x120.py")
IMPORTS = ("train", "test", "predict", "doctor", "compare")
LIBRARIES = "import torch, timm"
PLAIN = "from rgbx._torchvision import ensure_torchvision; ensure_torchvision(); import timm"  # torchvision may need it
IMPORT = "from rgbx.cli.main import module_of; module_of({!r})"
PREDICT = """
import tempfile
from rgbx.cli.main import main
maps = [f"{name}=data/samples/{name}/test_000.png" for name in ("rgb", "depth")]
with tempfile.TemporaryDirectory() as folder:
    raise SystemExit(main(["predict", "data/samples/rooms.pth", *maps, "--out", f"{folder}/out"]))
"""
FIRST_STEP = """
import os, sys, time
from rgbx.cli.main import main, module_of
module_of("train")
from rgbx.train import loops
plain = loops.training_step
def first(*given):
    begun = time.process_time()
    plain(*given)
    print("step", begun, time.process_time(), flush=True)
    os._exit(0)
loops.training_step = first
main(["train", *sys.argv[1:]])
"""


def measured(*words: str) -> tuple[float, str]:
    """CPU seconds of a Python process, and what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as what is installed is compiled, too
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{words} failed:\n{done.stderr[-2000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def first_step(config: str) -> tuple[float, float]:
    """CPU seconds of a training's process up to the end of its first step, and those of the step."""
    with tempfile.TemporaryDirectory() as folder:
        _, text = measured(
            "-c", FIRST_STEP, config, "--work-dir", folder, "--cfg-options", "train_dataloader.num_workers=0"
        )
    begun, ended = map(float, text.rpartition("step ")[2].split())
    return ended, ended - begun


def main() -> None:
    """Measures and prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="processes of each kind (5)")
    parser.add_argument("--commands", nargs="*", default=IMPORTS, help="whose imports are measured")
    parser.add_argument("--configs", nargs="*", default=CONFIGS, help="whose trainings are begun")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table here")
    options = parser.parse_args()
    plain = {"an empty process": ("-c", "pass"), "`rgbx --help`": ("-m", "rgbx", "--help")}
    plain |= {f"`rgbx {name} --help`": ("-m", "rgbx", name, "--help") for name in COMMANDS}
    plain |= {"`import torch`": ("-c", "import torch"), f"`{LIBRARIES}`": ("-c", PLAIN)}
    plain |= {f"what `rgbx {name}` imports": ("-c", IMPORT.format(name)) for name in options.commands}
    plain |= {"`rgbx predict`, of one frame": ("-c", PREDICT)}
    times: dict[str, list[float]] = {name: [] for name in plain}
    steps: dict[str, list[tuple[float, float]]] = {config: [] for config in options.configs}
    for number in range(-1, options.rounds):
        now = {name: measured(*words)[0] for name, words in plain.items()}
        begun = {config: first_step(config) for config in steps}
        if number < 0:
            continue
        for name, seconds in now.items():
            times[name].append(seconds)
        for config, step in begun.items():
            steps[config].append(step)
    libraries = statistics.median(times[f"`{LIBRARIES}`"])
    lines = [f"| process | CPU s | of `{LIBRARIES}` |", "|---|---:|---:|"]
    lines += [
        f"| {k} | {statistics.median(v):.2f} | {statistics.median(v) / libraries:.2f} |" for k, v in times.items()
    ]
    lines += ["", "| training | up to the end of its first step, CPU s | the step | libraries + step | ratio |"]
    lines += ["|---|---:|---:|---:|---:|"]
    for config, found in steps.items():
        end, own = (statistics.median(values) for values in zip(*found, strict=True))
        base = libraries + own
        lines.append(f"| `{config}` | {end:.2f} | {own:.2f} | {base:.2f} | {end / base:.2f} |")
    lines += [
        "",
        f"{options.rounds} rounds, Python {platform.python_version()}, torch {torch.__version__}, one thread.",
    ]
    text = "\n".join(lines)
    print(text)
    if options.markdown:
        options.markdown.write_text(f"# Start\n\n{text}\n")


if __name__ == "__main__":
    main()
