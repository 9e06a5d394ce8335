"""One checkpoint under every evaluation protocol, and with damaged modalities: how far the protocols differ.

Each protocol is a run of `tools/test.py`; results that are there are not made again. Protocols of several scales and
the damaged modalities take frames 0, K, 2K, … only; the table has the number of frames.

    python benchmarks/evaluation.py configs/nyudv2/asymfusion_r18_nyudv2_320x240_8e.py CHECKPOINT \\
        --data-root data/nyuv2_320x240 --dtype bfloat16 --out benchmarks/results/evaluation_nyudv2.md
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from rgbx._text import modality_title
from rgbx.evaluate.result import damage_rows, damaged_score, headline, read_result, shown, titled
from rgbx.evaluate.result_form import HeadResult, Result
from rgbx.tasks import PROTOCOLS

ROOT = Path(__file__).resolve().parents[1]


def run_protocol(name: str, switches: list[str], options: argparse.Namespace) -> tuple[Result, HeadResult]:
    """The result of a run of tools/test.py, made now or before, and that of its first head."""
    file = options.work_dir / f"{name}.json"
    if not file.is_file():
        command = [sys.executable, "tools/test.py", str(options.config), str(options.checkpoint), "--json", str(file)]
        command += ["--data-root", str(options.data_root)] if options.data_root else []
        command += ["--dtype", options.dtype] if options.dtype else []
        command += ["--heads", options.head] if options.head else []
        subprocess.run([*command, *switches], cwd=ROOT, check=True)
    result = read_result(file)
    return result, result["heads"][options.head or next(iter(result["heads"]))]


def protocol_row(name: str, result: Result, head: HeadResult) -> str:
    """The score given all modalities, those of the branches, and how they were measured."""
    found, speed = headline(head), result["speed"]
    rows = titled({found.subset: found.predictions}).values()
    scores = " / ".join(shown(found.score, row[found.score.name], digits=4) for row in rows)
    return (
        f"| {name} | {result['dataset']['samples']} | {scores} "
        f"| {speed['images_per_second']:.2f} | {speed['metric_share']:.1%} |"
    )


def robustness_rows(head: HeadResult) -> list[str]:
    """The score under every corruption at its severities."""
    score, lines = damaged_score(head), []
    for row in damage_rows(head):
        values = " ".join(shown(score, value) for value in row.values.values())
        lines.append(f"| {modality_title(row.modality)} | {row.corruption} | {values} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--dtype", help="of tools/test.py")
    parser.add_argument("--head", help="of the model (its first)")
    usual = [name for name, rules in PROTOCOLS.items() if rules.tasks != ("map",) and name != "rgbx-sliding"]
    parser.add_argument("--protocols", nargs="+", default=usual)
    parser.add_argument("--every-scales", type=int, default=4, help="K of the protocols with several scales")
    parser.add_argument("--every-damage", type=int, default=8, help="K of the damaged modalities; 0 leaves them out")
    parser.add_argument("--work-dir", type=Path, default=ROOT / "work_dirs/evaluation")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.work_dir.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for name in options.protocols:
        several = ["--every", str(options.every_scales)] if len(PROTOCOLS[name].scales) > 1 else []
        result, head = run_protocol(name, ["--protocol", name, *several], options)
        score = headline(head).score
        unit = "%" if score.percent else score.unit
        titles = " / ".join(titled({headline(head).subset: headline(head).predictions}))
        title = f"| protocol | frames | {score.name}, {unit}: {titles} | images/s | metric's share |"
        lines = lines or [title, "|---|---|---|---|---|"]
        lines.append(protocol_row(name, result, head))
    if options.every_damage:
        result, head = run_protocol("robustness", ["--robustness", "--every", str(options.every_damage)], options)
        lines += ["", f"Damaged, {result['dataset']['samples']} frames:", ""]
        lines += [f"| damaged | by | {damaged_score(head).name} at severities 1 to 5 |", "|---|---|---|"]
        lines += robustness_rows(head)
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
