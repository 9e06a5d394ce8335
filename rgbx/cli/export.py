"""Writes a checkpoint's model as files that run without rgbx, one for each subset of modalities, and checks each."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rgbx._text import text_table
from rgbx._types import Batch, Meta
from rgbx._whole import folder_beside
from rgbx.cli.config import load_config
from rgbx.cli.errors import ConfigError, building, command
from rgbx.cli.sources import split_of
from rgbx.cli.subsets import usual_subsets
from rgbx.datasets import build_dataset, split_names
from rgbx.datasets.sample import DenseDataset, build_from
from rgbx.export.onnx import OPSET, restate, run_onnx, write_onnx
from rgbx.export.parity import Parity, synthetic
from rgbx.export.program import SUFFIXES, Deployed, Runner, described, run_torch, trace, write_torch
from rgbx.export.quantize import losses, quantise, score
from rgbx.maps.files import file_hash
from rgbx.models.folder import find_checkpoint
from rgbx.models.load import load
from rgbx.models.multimodal import MultimodalModel
from rgbx.transforms import PackSample
from rgbx.transforms.packing import collate

FRAMES, CALIBRATION = 50, 32


class Exported(NamedTuple):
    """A file that was written, and what its JSON says."""

    file: Path
    about: Meta

    def row(self) -> list[str]:
        """A line of the table."""
        parity = self.about["parity"]
        equal = f"{parity['equal_classes']:.4%}" if "equal_classes" in parity else "-"
        size = f"{self.file.stat().st_size / 1e6:.1f} MB"
        opset = str(self.about.get("opset", "-"))
        return [str(self.file), size, f"{parity['largest_difference']:.2g}", equal, str(parity["frames"]), opset]


class Data(NamedTuple):
    """The frames that files are checked on, and of what; and those that numbers of 8 bits are chosen by."""

    checked: DenseDataset
    told: str
    training: DenseDataset | None


@command("export")
def main(arguments: argparse.Namespace) -> int:
    """Traces, writes and checks each file, prints a table; exit code 0, 2 for a user's error, 130 for Ctrl-C."""
    checkpoint = find_checkpoint(arguments.checkpoint)
    model = load(checkpoint, trust=arguments.trust)
    asked = [model.layout.order(text.split("+")) for text in arguments.modalities]
    subsets = list(dict.fromkeys(asked)) or usual_subsets(model.modalities)
    files = {subset: Path(arguments.out, "+".join(subset) + SUFFIXES[arguments.format]) for subset in subsets}
    _refuse_taken(files.values(), arguments)
    options = {"scores": arguments.scores, "branches": arguments.branches, "size": arguments.size}
    deployed = [Deployed(model, names, **options) for names in subsets]
    data = None if arguments.data is None else open_data(arguments, model.layout.order(set().union(*subsets)))
    identity = {"file": checkpoint.name, "sha256": file_hash(checkpoint)}
    exported: list[Exported] = []
    for each, file in zip(deployed, files.values(), strict=True):
        print(f"{file} ...", flush=True)
        exported.append(export(model, each, file, identity, arguments, data))
        if arguments.int8 and data is not None:
            print(f"{eight_bit(file)} ...", flush=True)
            exported.append(export_int8(model, exported[-1], arguments, data))
    header = ["file", "size", "largest difference", "equal classes", "frames", "opset"]
    print(text_table(header, [each.row() for each in exported]))
    print(f"Compared with {exported[0].about['parity']['against']}.")
    for one in exported:
        for head, lost in one.about.get("int8", {}).get("heads", {}).items():
            print(f"{one.file}, {head}: {lost['score']} {lost['float']:.4f}, with 8 bits {lost['int8']:.4f}")
    return 0


def export(
    model: MultimodalModel,
    deployed: Deployed,
    file: Path,
    identity: Mapping[str, str],
    arguments: argparse.Namespace,
    data: Data | None,
) -> Exported:
    """Writes a file and the JSON beside it; what does not answer as the model does is not kept.

    Raises:
        ConfigError: it does not.
        ValueError: the model cannot be exported.
    """
    about = described(deployed, identity)
    program = trace(deployed)
    with kept_if_right(file) as part:
        run: Runner
        if arguments.format == "onnx":
            about["opset"] = OPSET
            write_onnx(program, part, about)
            run = run_onnx(part, about)
        else:
            write_torch(program, part, about)
            run = run_torch(part, about)
        parity = _compared(model, about, run, arguments, data)
        if failures := parity.failures():
            raise ConfigError(f"{file} does not answer as the model does, and is not kept: {'; '.join(failures)}")
        about["parity"] = parity.as_dict(_against(parity, data))
        if arguments.format == "onnx":
            restate(part, about)
        else:
            write_torch(program, part, about)
        _write_json(part, about)
    return Exported(file, about)


def export_int8(model: MultimodalModel, of: Exported, arguments: argparse.Namespace, data: Data) -> Exported:
    """Writes the file of 8 bits beside one of floats, and measures what it loses.

    Raises:
        ValueError: see `rgbx.export.quantize.score`.
    """
    file, count = eight_bit(of.file), arguments.frames or FRAMES
    about = {key: value for key, value in of.about.items() if key != "parity"}
    with kept_if_right(file) as part:
        assert data.training is not None
        quantise(of.file, part, about, frames(data.training, CALIBRATION))
        meta, run = data.checked.metainfo, run_onnx(part, about)
        scores = [
            score(model, meta, about, each, frames(data.checked, count)) for each in (run_onnx(of.file, about), run)
        ]
        parity = _compared(model, about, run, arguments, data)
        about["parity"] = {**parity.as_dict(_against(parity, data)), "tolerance": {}}
        about["int8"] = {
            "calibrated": {
                "frames": min(CALIBRATION, len(data.training)),
                "of": "the training split",
                "by": "extremes",
            },
            "frames": parity.frames,
            "heads": losses(*scores),
        }
        restate(part, about)
        _write_json(part, about)
    return Exported(file, about)


def eight_bit(file: Path) -> Path:
    """The file of 8 bits beside one of floats."""
    return file.with_suffix(".int8.onnx")


@contextmanager
def kept_if_right(file: Path) -> Iterator[Path]:
    """Where to write a file and the JSON beside it, which take their places once the block has ended well."""
    with folder_beside(file) as folder:
        part = folder / file.name
        yield part
        for suffix in (file.suffix, ".json"):
            part.with_suffix(suffix).replace(file.with_suffix(suffix))


def _refuse_taken(files: Iterable[Path], arguments: argparse.Namespace) -> None:
    for file in files:
        written = [file, *([eight_bit(file)] if arguments.int8 else [])]
        for path in (each for one in written for each in (one, one.with_suffix(".json"))):
            if path.exists() and not arguments.overwrite:
                raise FileExistsError(f"{path} is there already: choose another --out, or pass --overwrite")


def _compared(
    model: MultimodalModel, about: Meta, run: Runner, arguments: argparse.Namespace, data: Data | None
) -> Parity:
    parity = Parity(model, about)
    for batch in synthetic(model, about) if data is None else frames(data.checked, arguments.frames or FRAMES):
        parity.see(batch, run)
    return parity


def _against(parity: Parity, data: Data | None) -> str:
    noise = "of noise in the ranges of the maps, of several sizes"
    return f"rgbx in float32 on {parity.frames} frames {noise if data is None else data.told}"


def _write_json(file: Path, about: Meta) -> None:
    file.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n")


def open_data(arguments: argparse.Namespace, modalities: Sequence[str]) -> Data:
    """The frames that files are checked on.

    Raises:
        ConfigError: a config without a test split, or no training split where one is needed.
        FileNotFoundError, ValueError: see `rgbx.datasets.build_dataset`.
    """
    target, training = arguments.data, None
    if target.endswith(".py"):
        config = load_config(target, options=arguments.cfg_options, data_root=arguments.data_root)
        loader, trained = config.get("test_dataloader"), config.get("train_dataloader")
        if loader is None or (arguments.int8 and trained is None):
            raise ConfigError(f"{target} has no {'train' if loader else 'test'}_dataloader")
        with building(target):
            checked = build_from(loader.dataset)
            if arguments.int8:  # as frames of the test are changed, not as those of a training
                training = build_from({**trained.dataset, "transforms": loader.dataset.get("transforms", [])})
        return Data(checked, f"of {target}", training)
    folder, split = Path(target), split_of(Path(target), arguments.split)
    options: dict[str, Any] = {"modalities": modalities, "transforms": [dict(type=PackSample)]}
    if arguments.int8 and "train" not in split_names(folder):
        found = ", ".join(split_names(folder))
        raise ConfigError(f"--int8 chooses its numbers by frames of the split 'train'; {folder} has {found}")
    checked = build_dataset(folder, split, **options)
    training = build_dataset(folder, "train", **options) if arguments.int8 else None
    return Data(checked, f"of {folder}, split {split}", training)


def frames(dataset: DenseDataset, count: int) -> Iterator[Batch]:
    """So many frames, spread evenly over a dataset, as batches of one."""
    for i in np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int):
        yield collate([dataset[int(i)]])
