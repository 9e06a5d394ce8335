"""Does fusion pay on the synthetic rooms? Networks on one modality, on both, and on both with modality dropout.

Every network has the same architecture, data and schedule; only what it is given differs. The first three train for
ten epochs. The one with modality dropout replaces them all and gets as much training as the three together: thirty
epochs, of whose steps a third sees RGB, a third depth and a third both. Each is trained and tested by the ordinary
tools, once per seed. Runs that are finished are not repeated: give another --work-dir after a change of the config.

    python benchmarks/fusion_rooms.py --seeds 0 1 2 --jobs 2
"""

from __future__ import annotations

import argparse
import concurrent.futures
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import torch

from rgbx._text import subset_titles
from rgbx.evaluate.result import read_result

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs/rooms/asymfusion_r18_rooms_160x120.py"
NETWORKS = {
    "RGB": ["model.modalities=('rgb',)", "model.modality_dropout=None", "train_cfg.max_epochs=10"],
    "depth": ["model.modalities=('depth',)", "model.modality_dropout=None", "train_cfg.max_epochs=10"],
    "both": ["model.modality_dropout=None", "train_cfg.max_epochs=10"],
    "both, modality dropout": ["train_cfg.max_epochs=30"],
}
SUBSETS = {"RGB": ["rgb"], "depth": ["depth"]}
ALL_SUBSETS = ["rgb", "depth", "rgb+depth"]


def run_one(network: str, seed: int, work_dir: Path, threads: int) -> dict[str, float]:
    """Trains and tests one network; returns mIoU per subset of modalities."""
    folder = work_dir / f"{network.replace(',', '').replace(' ', '_')}_seed{seed}"
    result = folder / "result.json"
    if not result.is_file():
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        overrides = ["--cfg-options", *NETWORKS[network]] if NETWORKS[network] else []
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log.txt").open("a") as log:

            def call(*command: str) -> None:
                full = [sys.executable, *command]
                subprocess.run(full, cwd=ROOT, env=environment, stdout=log, stderr=log, check=True)

            call("tools/train.py", str(CONFIG), "--work-dir", str(folder), "--resume", "--seed", str(seed), *overrides)
            subsets = SUBSETS.get(network, ALL_SUBSETS)
            scores = folder / "results.json"
            call(
                *("tools/test.py", str(CONFIG), str(folder), "--modalities", *subsets),
                *("--json", str(scores), *overrides),
            )
        table = read_result(scores)["heads"]["labels"]["subsets"]
        result.write_text(json.dumps({name: row["ensemble"]["mIoU"] for name, row in table.items()}))
    return json.loads(result.read_text())


def summarise(results: dict[str, dict[int, dict[str, float]]]) -> str:
    """A Markdown table of mean ± standard deviation over the seeds, and the bars that fusion should clear."""
    lines = ["| trained on | given in the test | mIoU | seeds |", "|---|---|---|---|"]
    mean: dict[tuple[str, str], float] = {}
    titles = subset_titles(ALL_SUBSETS)
    for network, by_seed in results.items():
        for subset in SUBSETS.get(network, ALL_SUBSETS):
            values = [row[subset] for row in by_seed.values()]
            mean[network, subset] = statistics.mean(values)
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            each = ", ".join(f"{value:.3f}" for value in values)
            lines.append(f"| {network} | {titles[subset]} | {mean[network, subset]:.3f} ± {spread:.3f} | {each} |")
    single = max(mean["RGB", "rgb"], mean["depth", "depth"])
    both, dropped = mean["both", "rgb+depth"], "both, modality dropout"
    lines += [
        "",
        f"- both above the better single modality: {both - single:+.3f}",
        f"- what modality dropout adds to both: {mean[dropped, 'rgb+depth'] - both:+.3f}",
    ]
    for network, (name,) in SUBSETS.items():
        share = mean[dropped, name] / mean[network, name]
        lines.append(f"- {titles[name]} from the checkpoint with modality dropout: {share:.2f} of its own network")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each with its share of the cores")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "work_dirs/fusion_rooms")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/fusion_rooms.md")
    options = parser.parse_args()
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    subprocess.run([sys.executable, "tools/render_rooms.py", "data/rooms"], cwd=ROOT, check=True)
    results: dict[str, dict[int, dict[str, float]]] = {network: {} for network in NETWORKS}
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        futures = {
            pool.submit(run_one, network, seed, options.work_dir, threads): (network, seed)
            for network in reversed(NETWORKS)  # the longest first, so that no core idles at the end
            for seed in options.seeds
        }
        for future in concurrent.futures.as_completed(futures):
            network, seed = futures[future]
            results[network][seed] = future.result()
            print(network, seed, future.result(), flush=True)
    results = {network: dict(sorted(by_seed.items())) for network, by_seed in results.items()}
    header = (
        f"# Fusion on the synthetic rooms\n\nmIoU on the test split (protocol `rgbx`), {CONFIG.name}, seeds "
        f"{options.seeds}. 10 epochs; with modality dropout 30, a third of them on each subset. "
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, torch "
        f"{torch.__version__}, {datetime.date.today()}.\n\n"
    )
    options.out.write_text(header + summarise(results) + "\n")
    print(options.out.read_text())


if __name__ == "__main__":
    main()
