"""Does the translation of Taskonomy fit what it is trained on? A few real views, trained and tested on the same ones.

The config's network, without dropout, discriminator, crops and mirroring, by the ordinary tools; the scores of the
ensemble and of each branch are printed and written.

    python benchmarks/overfit_taskonomy.py data/taskonomy --width 32 --out benchmarks/results/overfit_taskonomy.md
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from rgbx.evaluate.result import headline, read_result, score_table
from rgbx.evaluate.result_form import HeadResult

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs/taskonomy/translate_shade_texture_rgb_taskonomy_256x256.py"
RELATIVE = ("shade", "depth", "texture", "edge")


def overrides(options: argparse.Namespace, views: Path) -> list[str]:
    """The config's options of this run."""
    sources, maps = tuple(options.sources), [*options.sources, options.target]
    ranges = {name: {"low": 0.0, "high": 1.0} for name in maps if name in RELATIVE}
    transforms = "train_dataloader.dataset.transforms"
    return [
        *(f"{part}_dataloader.dataset.list_file='{views}'" for part in ("train", "val", "test")),
        *(f"{part}_dataloader.dataset.sources={sources}" for part in ("train", "val", "test")),
        *(f"{part}_dataloader.dataset.targets={(options.target,)}" for part in ("train", "val", "test")),
        *(f"{part}_dataloader.num_workers=0" for part in ("train", "val", "test")),
        *(f"{part}_dataloader.dataset.transforms.0.size={options.size}" for part in ("train", "val", "test")),
        "train_dataloader.persistent_workers=False",
        f"{transforms}.1.size={options.size}",
        f"{transforms}.2.probability=0",
        f"model.modalities={sources}",
        f"model.target={options.target}",
        f"model.ranges={ranges or None}",
        f"model.fusion={options.fusion}",
        "model.discriminator=None",
        f"model.generator.width={options.width}",
        f"model.generator.depth={options.depth}",
        "model.generator.dropout=0.0",
        f"optim_wrapper.optimizer.lr={options.lr}",
        f"train_cfg.max_epochs={options.epochs}",
        f"train_cfg.val_interval={options.epochs}",
        f"default_hooks.checkpoint.interval={options.epochs}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="the folder with one folder per domain")
    parser.add_argument("--sources", nargs="+", default=["shade", "texture"])
    parser.add_argument("--target", default="rgb")
    parser.add_argument("--views", type=int, default=3, help="the first so many that all these maps have (3)")
    parser.add_argument("--fusion", default="asymmetric")
    for name, value in (("size", 256), ("width", 64), ("depth", 8), ("epochs", 300)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--out", type=Path, help="Markdown file for the scores")
    parser.add_argument("--work-dir", type=Path, help="kept; otherwise a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.work_dir or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in (options.root / "rgb").glob("*_domain_rgb.png"))[: options.views]
        views = folder / "views.txt"
        views.write_text("".join(f"{{domain}}/{name.replace('_rgb.png', '_{domain}.png')}\n" for name in names))
        given = ["--data-root", str(options.root.resolve()), "--cfg-options", *overrides(options, views)]
        start = time.perf_counter()
        call(folder, "tools/train.py", str(CONFIG), "--work-dir", str(folder / "run"), *given)
        seconds = time.perf_counter() - start
        call(folder, "tools/test.py", str(CONFIG), str(folder / "run"), "--json", str(folder / "scores.json"), *given)
        head = read_result(folder / "scores.json")["heads"][options.target]
        text = report(options, len(names), seconds, head)
        print(text)
        if options.out:
            options.out.write_text(text)


def report(options: argparse.Namespace, views: int, seconds: float, head: HeadResult) -> str:
    """Markdown: what was run, and a line of scores per prediction."""
    found = headline(head).predictions
    names = [score.name for score in score_table(head)]
    table = "".join(f"| {name} | {' | '.join(f'{s[key]:.4g}' for key in names)} |\n" for name, s in found.items())
    return (
        f"# Overfitting {views} views of Taskonomy\n\n{' + '.join(options.sources)} to {options.target}, "
        f"{options.size}×{options.size}, U-Net of width {options.width} and depth {options.depth}, L1 alone, "
        f"{options.epochs} epochs in {seconds:.0f} s ({os.environ.get('OMP_NUM_THREADS', os.cpu_count())} threads, "
        f"{platform.machine()}, torch {torch.__version__}, {datetime.date.today()}); tested on the same views.\n\n"
        f"| prediction | {' | '.join(names)} |\n|---{'|---:' * len(names)}|\n{table}"
    )


def call(folder: Path, *command: str) -> None:
    """Runs a tool; its output goes to log.txt in the folder."""
    with (folder / "log.txt").open("a") as log:
        subprocess.run([sys.executable, *command], cwd=ROOT, stdout=log, stderr=log, check=True)


if __name__ == "__main__":
    main()
