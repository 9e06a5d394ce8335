"""ONNX files: written from a traced program, and run by onnxruntime."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from rgbx._types import Meta
from rgbx.export.program import Arrays, Runner

try:
    import onnx
    import onnxruntime
    import onnxscript  # noqa: F401  # by which torch writes ONNX
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass
except ImportError as error:
    raise ImportError(f'rgbx export needs {error.name}: pip install "rgbx[export]"') from error

OPSET = 20
KEY = "rgbx"  # of the metadata that holds the JSON


def write_onnx(program: ExportedProgram, file: Path, about: Meta) -> None:
    """Writes a program as one file; names of inputs and outputs are those of the JSON, which stands in its metadata.

    Raises:
        ValueError: an operation that ONNX does not have.
    """
    with _silent():
        try:
            found = torch.onnx.export(
                program,
                dynamo=True,
                external_data=False,
                opset_version=OPSET,
                input_names=list(about["modalities"]),
                output_names=list(about["outputs"]),
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            said = next((line for line in str(error.__cause__ or error).splitlines() if line.strip()), "")
            raise ValueError(f"this model cannot be written as ONNX: {said}") from error
    assert found is not None
    ClearMetadataAndDocStringPass()(found.model)  # which tell of this machine's files, line by line
    model = found.model_proto
    _name_sizes(model, about)
    state(model, about)
    onnx.checker.check_model(model)
    onnx.save(model, file)


def state(model: onnx.ModelProto, about: Meta) -> None:
    """Puts the JSON into a model's metadata, in place of what stood there."""
    onnx.helper.set_model_props(model, {KEY: json.dumps(about)})


def restate(file: Path, about: Meta) -> None:
    """Puts the JSON into a file's metadata."""
    model = onnx.load(file)
    state(model, about)
    onnx.save(model, file)


def _name_sizes(model: onnx.ModelProto, about: Meta) -> None:
    """The axes of inputs and outputs have the names of the JSON in place of a tracer's formulas."""
    shapes = {name: each["shape"] for part in ("inputs", "outputs") for name, each in about[part].items()}
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        for dim, name in zip(dims, shapes[value.name], strict=True):
            dim.Clear()
            if isinstance(name, int):
                dim.dim_value = name
            else:
                dim.dim_param = name


def session(file: Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """onnxruntime's session of a file on the CPU.

    Args:
        file: an ONNX file.
        threads: that an operation takes; 0 for all cores.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def run_onnx(file: Path, about: Meta, threads: int = 0) -> Runner:
    """What runs an ONNX file on arrays."""
    opened = session(file, threads)

    def run(given: Arrays) -> Arrays:
        return dict(zip(about["outputs"], opened.run(list(about["outputs"]), given), strict=True))

    return run


@contextlib.contextmanager
def _silent() -> Any:
    """Without what the exporter and its libraries say on the way."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
