"""Turns checkpoints of other projects into checkpoints of rgbx, telling of every tensor, and slims its own."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rgbx.cli.errors import command
from rgbx.convert import KeyReport, convert_asymfusion, slim
from rgbx.models import MultimodalModel
from rgbx.models.folder import find_checkpoint


@command("convert")
def main(arguments: argparse.Namespace) -> int:
    """Converts and reports; exit code 0, 2 for a user's error, 130 for Ctrl-C."""
    return _slim(arguments) if arguments.format == "slim" else _convert(arguments)


def _slim(arguments: argparse.Namespace) -> int:
    source = find_checkpoint(arguments.source)
    before, after = slim(source, arguments.out, trust=arguments.trust, overwrite=arguments.force)
    print(
        f"{arguments.out} is written: {after / 1e6:.1f} MB of {before / 1e6:.1f}. It predicts and is fine-tuned from, "
        "but resumes no training."
    )
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    _check_free(arguments.report, arguments)
    model, report = convert_asymfusion(
        arguments.source,
        arguments.out,
        modalities=arguments.modalities,
        num_classes=arguments.num_classes,
        network=arguments.format,
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
        "Their scores: rgbx test CONFIG CHECKPOINT --protocol asymfusion, with a config of this model."
    )
    return 0


def _description(model: MultimodalModel) -> dict[str, object]:
    parameters = (model.recipe or {})["parameters"]
    classes = parameters["heads"]["labels"]["num_classes"]
    return {"backbone": parameters["backbone"]["name"], "num_classes": classes, "modalities": parameters["modalities"]}


def _check_free(path: Path | None, arguments: argparse.Namespace) -> None:
    if path is not None and path.is_dir():
        raise IsADirectoryError(f"--report {path} is a folder; expected a file to write")
    if path is not None and path.exists() and not arguments.force:
        raise FileExistsError(f"{path} exists; choose another name, or pass --force")
    if path is not None and path.resolve() in (arguments.source.resolve(), arguments.out.resolve()):
        raise FileExistsError(f"--report {path} is one of the checkpoints; choose another name")


def _write_report(arguments: argparse.Namespace, report: KeyReport, found: dict[str, object]) -> None:
    content = {"from": str(arguments.source), "to": str(arguments.out), "model": found, **report.as_dict()}
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    arguments.report.write_text(json.dumps(content, indent=2) + "\n")
