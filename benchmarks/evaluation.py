"""One checkpoint under every evaluation protocol, and with damaged modalities: how far the protocols differ.

Each protocol is a run of `tools/test.py`; results that are there are not made again. Protocols of several scales and
the damaged modalities take frames 0, K, 2K, … only; the table has the number of frames.

    python benchmarks/evaluation.py configs/nyudv2/asymfusion_r18_nyudv2_320x240_8e.py CHECKPOINT \\
        --data-root data/nyuv2_320x240 --dtype bfloat16 --out benchmarks/results/evaluation_nyudv2.md
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rgbx.models.protocol import PROTOCOLS

ROOT = Path(__file__).resolve().parents[1]


def run_protocol(name: str, switches: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """The result file of a run of tools/test.py, made now or before."""
    result = options.work_dir / f"{name}.json"
    if not result.is_file():
        command = [sys.executable, "tools/test.py", str(options.config), str(options.checkpoint), "--json", str(result)]
        command += ["--data-root", str(options.data_root)] if options.data_root else []
        command += ["--dtype", options.dtype] if options.dtype else []
        subprocess.run([*command, *switches], cwd=ROOT, check=True)
    return json.loads(result.read_text())


def protocol_row(name: str, result: dict[str, Any]) -> str:
    """mIoU of the ensemble and the branches, in percent, and how it was measured."""
    headline = next(iter(result["subsets"].values()))
    scores = " / ".join(f"{100 * row['mIoU']:.2f}" for row in headline.values())
    speed = result["speed"]
    return (
        f"| {name} | {result['dataset']['samples']} | {scores} | {100 * headline['ensemble']['aAcc']:.2f} "
        f"| {speed['images_per_second']:.2f} | {speed['metric_share']:.1%} |"
    )


def robustness_rows(result: dict[str, Any]) -> list[str]:
    """mIoU in percent of every corruption at its severities."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in result["robustness"]["corruptions"]:
        found.setdefault((row["modality"], row["corruption"]), []).append(f"{100 * row['mIoU']:.1f}")
    return [f"| {modality} | {corruption} | {' '.join(values)} |" for (modality, corruption), values in found.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--dtype", help="of tools/test.py")
    parser.add_argument("--protocols", nargs="+", default=[name for name in PROTOCOLS if name != "rgbx-sliding"])
    parser.add_argument("--every-scales", type=int, default=4, help="K of the protocols with several scales")
    parser.add_argument("--every-damage", type=int, default=8, help="K of the damaged modalities; 0 leaves them out")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "work_dirs/evaluation")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = [
        "| protocol | frames | mIoU of ensemble / branches, % | pixel accuracy, % | images/s | metric's share |",
        "|---|---|---|---|---|---|",
    ]
    for name in options.protocols:
        several = ["--every", str(options.every_scales)] if len(PROTOCOLS[name].scales) > 1 else []
        extra = ["--boundary", "--calibration"] if name == "rgbx" else []
        lines.append(protocol_row(name, run_protocol(name, ["--protocol", name, *several, *extra], options)))
    if options.every_damage:
        damaged = run_protocol("robustness", ["--robustness", "--every", str(options.every_damage)], options)
        lines += ["", f"Damaged, {damaged['dataset']['samples']} frames:", ""]
        lines += [
            "| modality | corruption | mIoU, %, at severities 1 to 5 |",
            "|---|---|---|",
            *robustness_rows(damaged),
        ]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
