"""Writes a checkpoint's model as files that run without rgbx, one for each subset of modalities, and checks each."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rgbx._text import text_table
from rgbx._types import Batch
from rgbx.cli.config import load_config
from rgbx.cli.errors import ConfigError, building, command
from rgbx.cli.sources import split_of
from rgbx.cli.subsets import usual_subsets
from rgbx.datasets import build_dataset
from rgbx.datasets.sample import DenseDataset, build_from
from rgbx.export.onnx import OPSET, restate, run_onnx, write_onnx
from rgbx.export.parity import Parity, synthetic
from rgbx.export.program import SUFFIXES, Deployed, Runner, described, run_torch, trace, write_torch
from rgbx.maps import replace_file
from rgbx.models.folder import find_checkpoint
from rgbx.models.load import load
from rgbx.models.multimodal import MultimodalModel
from rgbx.transforms import PackSample
from rgbx.transforms.packing import collate

FRAMES = 50
BATCHES = "{count} frames of noise in the ranges of the maps, of several sizes"


class Exported(NamedTuple):
    """A file that was written, and what its JSON says."""

    file: Path
    about: Mapping[str, Any]

    def row(self) -> list[str]:
        """A line of the table."""
        parity = self.about["parity"]
        equal = f"{parity['equal_classes']:.4%}" if "equal_classes" in parity else "-"
        size = f"{self.file.stat().st_size / 1e6:.1f} MB"
        opset = str(self.about.get("opset", "-"))
        return [str(self.file), size, f"{parity['largest_difference']:.2g}", equal, str(parity["frames"]), opset]


@command("export")
def main(arguments: argparse.Namespace) -> int:
    """Traces, writes and checks each file, prints a table; exit code 0, 2 for a user's error, 130 for Ctrl-C."""
    checkpoint = find_checkpoint(arguments.checkpoint)
    model = load(checkpoint, trust=arguments.trust)
    asked = [model.layout.order(text.split("+")) for text in arguments.modalities]
    subsets = list(dict.fromkeys(asked)) or usual_subsets(model.modalities)
    files = {subset: Path(arguments.out, "+".join(subset) + SUFFIXES[arguments.format]) for subset in subsets}
    for file in (each for path in files.values() for each in (path, path.with_suffix(".json"))):
        if file.exists() and not arguments.overwrite:
            raise FileExistsError(f"{file} is there already: choose another --out, or pass --overwrite")
    deployed = {
        subset: Deployed(model, subset, scores=arguments.scores, branches=arguments.branches) for subset in subsets
    }
    dataset = None if arguments.data is None else open_data(arguments, max(subsets, key=len))
    identity = {"file": checkpoint.name, "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()}
    exported = [export(model, deployed[subset], files[subset], identity, arguments, dataset) for subset in subsets]
    header = ["file", "size", "largest difference", "equal classes", "frames", "opset"]
    print(text_table(header, [each.row() for each in exported]))
    print(f"Each answers as the model does, {exported[0].about['parity']['against']}.")
    return 0


def export(
    model: MultimodalModel,
    deployed: Deployed,
    file: Path,
    identity: Mapping[str, str],
    arguments: argparse.Namespace,
    dataset: DenseDataset | None,
) -> Exported:
    """Writes a file and the JSON beside it; what does not answer as the model does is removed again.

    Raises:
        ConfigError: it does not.
        ValueError: the model cannot be exported.
    """
    print(f"{file}: traced and written ...", flush=True)
    about = described(deployed, identity)
    program = trace(deployed)
    file.parent.mkdir(parents=True, exist_ok=True)
    run: Runner
    if arguments.format == "onnx":
        about["opset"] = OPSET
        write_onnx(program, file, about)
        run = run_onnx(file, about)
    else:
        write_torch(program, file, about)
        run = run_torch(file, about)
    try:
        parity = Parity(model, about)
        for batch in synthetic(model, about) if dataset is None else frames(dataset, arguments.frames or FRAMES):
            parity.see(batch, run)
        if failures := parity.failures():
            raise ConfigError(f"{file} does not answer as the model does, and is removed: {'; '.join(failures)}")
        against = (
            BATCHES.format(count=parity.frames) if dataset is None else f"{parity.frames} frames of {arguments.data}"
        )
        about["parity"] = parity.as_dict(f"by Predictor in float32 on {against}")
        if arguments.format == "onnx":
            restate(file, about)
        else:
            write_torch(program, file, about)
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    replace_file(file.with_suffix(".json"), (json.dumps(about, indent=2) + "\n").encode())
    return Exported(file, about)


def open_data(arguments: argparse.Namespace, modalities: Sequence[str]) -> DenseDataset:
    """The frames that files are checked on.

    Raises:
        ConfigError: a config without a test split, or frames without one of the modalities.
        FileNotFoundError, ValueError: see `rgbx.datasets.build_dataset`.
    """
    target = arguments.data
    if target.endswith(".py"):
        config = load_config(target, options=arguments.cfg_options, data_root=arguments.data_root)
        loader = config.get("test_dataloader") or config.get("val_dataloader")
        if loader is None:
            raise ConfigError(f"{target} has no test_dataloader")
        with building(target):
            dataset: DenseDataset = build_from(loader.dataset)
    else:
        folder = Path(target)
        dataset = build_dataset(
            folder, split_of(folder, arguments.split), modalities=modalities, transforms=[dict(type=PackSample)]
        )
    return dataset


def frames(dataset: DenseDataset, count: int) -> Iterator[Batch]:
    """So many frames, spread evenly over a dataset, as batches of one."""
    for i in np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int):
        yield collate([dataset[int(i)]])
