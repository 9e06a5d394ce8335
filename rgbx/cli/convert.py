"""Turns checkpoints of other projects into checkpoints of rgbx, saying what became of every tensor, and slims its own."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rgbx.cli.errors import command
from rgbx.convert import KeyReport, convert_asymfusion, slim
from rgbx.models import MultimodalModel


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Parses, converts, reports; exit code 0, 2 for a user's error, 130 for Ctrl-C."""
    arguments = _parser().parse_args(argv)
    return _slim(arguments) if arguments.format == "slim" else _convert(arguments)


def _slim(arguments: argparse.Namespace) -> int:
    before, after = slim(arguments.source, arguments.out, trust=arguments.trust, overwrite=arguments.force)
    print(
        f"{arguments.out} is written: {after / 1e6:.1f} MB of {before / 1e6:.1f}. It predicts and is fine-tuned from; it "
        "resumes no training."
    )
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    _check_free(arguments.report, arguments)
    model, report = convert_asymfusion(
        arguments.source,
        arguments.out,
        modalities=arguments.modalities,
        num_classes=arguments.num_classes,
        trust=arguments.trust,
        overwrite=arguments.force,
    )
    found = _description(model)
    print(f"{arguments.source}: {found['backbone']} with RefineNet, {found['num_classes']} classes")
    print("modalities: " + ", ".join(f"{name} (bn_{i})" for i, name in enumerate(model.modalities)) + "\n")
    print(report)
    if arguments.report:
        _write_report(arguments, report, found)
    print(
        f"\n{arguments.out} is written. It takes rgb 0..255 and depth in metres and normalises them as its authors do. "
        "Their scores: tools/test.py CONFIG CHECKPOINT --protocol asymfusion, with a config of this model."
    )
    return 0


def _description(model: MultimodalModel) -> dict[str, object]:
    parameters = (model.recipe or {})["parameters"]
    classes = parameters["heads"]["labels"]["num_classes"]
    return {"backbone": parameters["backbone"]["name"], "num_classes": classes, "modalities": parameters["modalities"]}


def _check_free(path: Path | None, arguments: argparse.Namespace) -> None:
    if path is not None and path.exists() and not arguments.force:
        raise FileExistsError(f"{path} exists; choose another name, or pass --force")
    if path is not None and path.resolve() in (arguments.source.resolve(), arguments.out.resolve()):
        raise FileExistsError(f"--report {path} is one of the checkpoints; choose another name")


def _write_report(arguments: argparse.Namespace, report: KeyReport, found: dict[str, object]) -> None:
    content = {"from": str(arguments.source), "to": str(arguments.out), "model": found, **report.as_dict()}
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(json.dumps(content, indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Convert a checkpoint of another project to one of rgbx, or slim one.")
    formats = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")
    asymfusion = formats.add_parser(
        "asymfusion",
        help="RefineNet on ResNet-50, -101 or -152 of AsymFusion's authors",
        description="Convert a checkpoint of github.com/yikaiw/AsymFusion. ResNet depth, class count and number of "
        "modalities are read off its tensors; each of them must have its place, and all that are there are reported.",
    )
    asymfusion.add_argument("source", type=Path, metavar="IN", help="their file, such as model-best.pth.tar")
    asymfusion.add_argument(
        "out", type=Path, metavar="OUT", help="the checkpoint to write, such as asymfusion_r101.pth"
    )
    asymfusion.add_argument(
        "--modalities",
        nargs="+",
        choices=("rgb", "depth"),
        help="what the file must hold, in the order in which the authors' code was given them (rgb depth)",
    )
    asymfusion.add_argument("--num-classes", type=int, metavar="K", help="what the file must hold (any)")
    asymfusion.add_argument("--report", type=Path, metavar="FILE", help="write what became of every key there, as JSON")
    slimmed = formats.add_parser(
        "slim",
        help="a checkpoint of rgbx without optimizer and history, with weights of 16 bits",
        description="Write a checkpoint for predicting and handing on: without optimizer, schedules, history and config, "
        "with weights of 16 bits.",
    )
    slimmed.add_argument("source", type=Path, metavar="IN", help="a checkpoint of rgbx, such as epoch_20.pth")
    slimmed.add_argument("out", type=Path, metavar="OUT", help="the checkpoint to write, such as rooms.pth")
    for parser_of_format in (asymfusion, slimmed):
        parser_of_format.add_argument("--force", action="store_true", help="replace files that exist")
        parser_of_format.add_argument(
            "--trust",
            action="store_true",
            help="read a file that holds arbitrary Python objects, which can run any code",
        )
    return parser
