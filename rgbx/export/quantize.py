"""ONNX files of 8 bits: onnxruntime's static quantisation, and what it costs in the task's own score."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_static,
)

from rgbx._protocol import PROTOCOLS
from rgbx._types import Batch, Meta
from rgbx.export.parity import feed
from rgbx.export.program import Arrays, Runner, answer_of
from rgbx.models.multimodal import MultimodalModel
from rgbx.tasks import ENSEMBLE, Prediction

# Convolutions, and what lies between them, so that values stay 8 bits from one to the next. Normalisation, the sums of
# an answer and its largest class stay floats: nothing of the time is spent there, and all of the confidence.
QUANTISED = ["Conv", "Relu", "Add", "MaxPool", "Concat", "Slice", "Pad", "Split", "Resize", "Reshape"]


class _Frames(CalibrationDataReader):
    def __init__(self, batches: Iterable[Batch], about: Meta) -> None:
        self.fed: Iterator[Arrays] = (feed(batch, about) for batch in batches)

    def get_next(self) -> Arrays | None:
        return next(self.fed, None)


def quantise(file: Path, out: Path, about: Meta, batches: Iterable[Batch]) -> None:
    """Writes a file of 8 bits: weights by output channel, values of each map by its extremes over some frames.

    Norms are melted into the convolutions before them first, of which each modality then has its own.

    Args:
        file: that of floats.
        out: the file to write.
        about: the JSON of `file`.
        batches: collated frames of the training.
    """
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # it advises, on the root, what is done here
    try:
        with tempfile.TemporaryDirectory() as folder:
            melted = Path(folder, "melted.onnx")
            quant_pre_process(file, melted, skip_symbolic_shape=True)
            quantize_static(
                melted,
                out,
                _Frames(batches, about),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=QUANTISED,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
    finally:
        logging.root.setLevel(level)


def score(
    model: MultimodalModel, meta: Meta, about: Meta, run: Runner, batches: Iterable[Batch]
) -> dict[str, tuple[str, float, bool]]:
    """The headline score of each head on labelled frames: its name, value, and whether less is better.

    Args:
        model: whose tasks count.
        meta: the dataset's.
        about: the JSON of the file.
        run: runs the file.
        batches: of one frame each.

    Raises:
        ValueError: frames without a head's target, or of another size than the maps.
    """
    counters = {name: task.counter(PROTOCOLS["rgbx"], meta) for name, task in model.tasks.items()}
    records: dict[str, list[Any]] = {name: [] for name in counters}
    for batch in batches:
        found, targets = run(feed(batch, about)), model.data_preprocessor(batch)["targets"]
        for name, counter in counters.items():
            answer = torch.from_numpy(found[answer_of(name, about)][0])
            if name not in targets or targets[name].truth.shape[-2:] != answer.shape[-2:]:
                raise ValueError(
                    f"head {name!r}: --int8 is measured on frames with {model.tasks[name].target!r} of the maps' size, "
                    f"and sample {batch['sample_id'][0]!r} has none"
                )
            truth, valid = targets[name].truth[0], targets[name].valid
            one = Prediction({ENSEMBLE: answer}, truth, None if valid is None else valid[0])
            records[name].append(counter.count(batch["sample_id"][0], one, {}))
    result = {}
    for name, counter in counters.items():
        first = model.tasks[name].table(meta)[0]
        value = counter.evaluation(records[name]).scores(ENSEMBLE)[first.name]
        result[name] = (first.name, float(value), first.lower)
    return result


def losses(
    before: Mapping[str, tuple[str, float, bool]], after: Mapping[str, tuple[str, float, bool]]
) -> dict[str, dict[str, Any]]:
    """By head, the score of both files and what 8 bits lose of it; negative where they gain."""
    found = {}
    for head, (name, x, lower) in before.items():
        y = after[head][1]
        found[head] = {"score": name, "float": x, "int8": y, "loss": y - x if lower else x - y}
    return found
