"""A model with its preprocessing and the meaning of its answer as one traced program, for one set of modalities.

What goes in are maps in their units, of any batch and size; what comes out are class ids and confidence, maps in their
units, or codes, as protocol "rgbx" of `rgbx.models.Predictor` gives them.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from rgbx import __version__
from rgbx._types import Meta
from rgbx.backbones._timm import timm
from rgbx.export.unstack import CHECKS, Replayed
from rgbx.maps import STANDARD_MAPS, Encoding
from rgbx.maps.palette import default_palette
from rgbx.models.multimodal import MultimodalModel, measured
from rgbx.tasks import ENSEMBLE, Map, Task

FORMAT = "rgbx-export/1"
SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
ARRAYS = ("batch", "height", "width")
_HOLES = {"metre": "0, negative, NaN or infinite", "unit_vector": "(0, 0, 0), NaN or infinite"}
_LARGEST_SIDE, _LARGEST_BATCH = 2**14, 2**12  # torch asks for bounds

Arrays = dict[str, np.ndarray]  # input or output by name: [N, ...]
Runner = Callable[[Arrays], Arrays]


class Deployed(nn.Module):
    """A model from maps in their units to its answer, without a branch that depends on their values or size.

    Args:
        model: in evaluation mode.
        modalities: those that are given, in declared order.
        scores: whether class probabilities are given, too.
        branches: whether each branch's answer is given beside the ensemble's, where branches are kept apart.
        size: height and width of the maps, where the program is for these alone; None for any.

    Raises:
        ValueError: a model that cannot be exported, two outputs of one name, or a size that is too small.
    """

    def __init__(
        self,
        model: MultimodalModel,
        modalities: Sequence[str],
        *,
        scores: bool = False,
        branches: bool = False,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        lengths = model.trained_on.get("clips", {}) if model.backbone.reads_clips else {}
        if (clips := max(lengths.values(), default=1)) > 1:
            raise ValueError(
                f"this model was trained on clips of {clips} frames; export takes one frame of each map, which such a "
                "model answers worse"
            )
        self.modalities, self.scores = model.layout.order(modalities), scores
        self.inputs = {name: model.data_preprocessor.meaning(name) for name in self.modalities}
        self.stride, self.mode = model.stride, {"zeros": "constant"}.get(model.padding, model.padding)
        self.smallest = max(model.backbone.smallest, self.stride + 1 if self.stride > 1 else 1)
        self.size = size
        if size is not None and min(size) < self.smallest:
            raise ValueError(f"size is {size[0]}x{size[1]}; this model takes sides of at least {self.smallest}")
        self.model = copy.copy(model)  # with its padding here, in a form that holds for all sizes
        self.model.padding = "none"
        self.branches = (ENSEMBLE, *(self.modalities if branches and not model.backbone.single_branch else ()))
        self.outputs: dict[str, dict[str, Any]] = {}
        for head, task in model.tasks.items():
            for branch in self.branches:
                for name, about in self._described(head, task, branch):
                    if name in self.outputs or name in model.modalities:
                        raise ValueError(f"two arrays would be called {name!r}; rename the head {head!r}")
                    self.outputs[name] = about

    def _described(self, head: str, task: Task, branch: str) -> list[tuple[str, dict[str, Any]]]:
        """Name and meaning of what `_answer` gives, in its order."""
        name = f"predicted_{head}" if head in self.model.modalities else head
        name = name if branch == ENSEMBLE else f"{name}_{branch}"
        of: dict[str, Any] = {"head": head} if branch == ENSEMBLE else {"head": head, "branch": branch}
        dense = {"dtype": "float32", "shape": ["batch", task.channels, "height", "width"]}
        if task.kind != "classes":
            unit = {"unit": task.unit or "none"} if isinstance(task, Map) else {}
            return [(name, {**of, "task": task.kind, **dense, **unit})]
        known = self.model.trained_on
        classes, palette = (list(known.get(key, ())) for key in ("classes", "palette"))
        about = {
            **of,
            "task": task.kind,
            "dtype": "uint8",
            "shape": list(ARRAYS),
            "classes": classes if len(classes) == task.channels else [str(k) for k in range(task.channels)],
            "palette": palette if len(palette) == task.channels else default_palette(task.channels),
        }
        found = [(name, about), (f"{name}_confidence", {**of, "dtype": "float32", "shape": list(ARRAYS)})]
        return [*found, (f"{name}_scores", {**of, **dense, "unit": "probability"})] if self.scores else found

    def forward(
        self,
        *maps: Tensor,  # [N, c, H, W] each, in its unit
    ) -> tuple[Tensor, ...]:
        """The outputs, in the order of `outputs`."""
        height, width = maps[0].shape[-2:]
        normalise = self.model.data_preprocessor.inputs
        inputs = {}
        for name, x in zip(self.modalities, maps, strict=True):
            inputs[name] = self._pad(normalise[name](x, measured(x, None, self.inputs[name])))
        outputs = self.model.outputs(inputs)
        found: list[Tensor] = []
        for head, task in self.model.tasks.items():
            for branch in self.branches:
                found += self._answer(task, outputs[head][branch])
        return tuple(x[..., :height, :width] for x in found)  # last, where there is least to copy

    def _pad(
        self,
        x: Tensor,  # [N, c, H, W]
    ) -> Tensor:
        if self.stride == 1:
            return x
        # as multiples of whole numbers, so that a tracer knows that the stride divides them
        height, width = (self.stride * ((side + self.stride - 1) // self.stride) for side in x.shape[-2:])
        return F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]), mode=self.mode)

    def _answer(
        self,
        task: Task,
        output: Tensor,  # [N, C, H, W]
    ) -> list[Tensor]:
        if task.kind != "classes":
            return [task.range.denormalise(output) if isinstance(task, Map) else output]
        largest, ids = output.max(1, keepdim=True)
        shares = (output - largest).exp()  # runtimes turn axes round for a softmax that is not of the last one
        whole = shares.sum(1, keepdim=True)
        answer = [ids[:, 0].to(torch.uint8), whole.reciprocal()[:, 0]]
        return [*answer, shares / whole] if self.scores else answer


def answer_of(head: str, about: Meta) -> str:
    """The output that is the ensemble's answer of a head, by the JSON of a file."""
    outputs = about["outputs"].items()
    return next(name for name, each in outputs if each["head"] == head and "task" in each and "branch" not in each)


def trace(deployed: Deployed) -> ExportedProgram:
    """Traces a model for any batch, and any size or its own, with the stack of its modalities taken apart.

    Raises:
        ValueError: the model does something that a program of fixed operations cannot.
    """
    sides = {"min": deployed.smallest, "max": _LARGEST_SIDE}
    sizes = {0: Dim("batch", min=1, max=_LARGEST_BATCH)}
    if deployed.size is None:
        sizes |= {2: Dim("height", **sides), 3: Dim("width", **sides)}
    examples = tuple(_example(deployed, name) for name in deployed.modalities)

    def traced(module: nn.Module) -> ExportedProgram:
        return torch.export.export(
            module,
            examples,
            dynamic_shapes={"maps": tuple(sizes for _ in examples)},
            prefer_deferred_runtime_asserts_over_guards=True,
        )

    try:
        # with gradients, as then private norms act part by part, each of which is a batch norm that runtimes know
        with torch.enable_grad(), _whole_padding():
            program = traced(deployed)
            program = traced(Replayed(program.module(check_guards=False)))
    except Exception as error:  # torch raises dozens of kinds
        said = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        hint = "" if deployed.size else "; as a program for maps of one size it may be (--size HxW)"
        raise ValueError(f"this model cannot be traced as a program of fixed operations: {said}{hint}") from error
    for node in list(program.graph.nodes):
        if node.target in CHECKS:  # of sizes that a trace of symbols could not rule out; all of them compute alike
            program.graph.erase_node(node)
        node.meta.pop("stack_trace", None)  # which names files of this machine
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return program


@contextlib.contextmanager
def _whole_padding() -> Iterator[None]:
    """Lets timm compute TensorFlow's padding, which depends on the size, by whole numbers alone.

    It divides and rounds up, and no file holds a program that rounds a size.
    """
    known = timm.layers.padding.get_same_padding

    def get_same_padding(x: int, kernel_size: int, stride: int, dilation: int) -> int:
        if isinstance(x, Tensor):
            return known(x, kernel_size, stride, dilation)
        return max(((x + stride - 1) // stride - 1) * stride + (kernel_size - 1) * dilation + 1 - x, 0)

    timm.layers.padding.get_same_padding = get_same_padding
    try:
        yield
    finally:
        timm.layers.padding.get_same_padding = known


def _example(deployed: Deployed, name: str) -> Tensor:
    """A map whose sides are no multiples, so that nothing of the padding is left out."""
    meaning = deployed.inputs[name]
    side = deployed.stride * (2 + (deployed.smallest - 1) // deployed.stride) + deployed.stride // 3
    shape = (3, meaning.channels[0], *(deployed.size or (side, side + deployed.stride)))
    return torch.ones(shape, dtype=torch.uint8 if meaning.dtype == "uint8" else torch.float32)


def described(deployed: Deployed, checkpoint: Mapping[str, str]) -> dict[str, Any]:
    """What the JSON beside a file says, but for opset and parity.

    Args:
        deployed: the model.
        checkpoint: its ``file`` and ``sha256``.
    """
    found: dict[str, Any] = {
        "format": FORMAT,
        "rgbx": __version__,
        "checkpoint": dict(checkpoint),
        "modalities": list(deployed.modalities),
        "protocol": "rgbx",
        "size": {"multiple": 1, "smallest": deployed.smallest},
        "inputs": {name: _input(deployed, name) for name in deployed.modalities},
        "outputs": copy.deepcopy(deployed.outputs),
    }
    if deployed.size is not None:
        of = dict(zip(ARRAYS[1:], deployed.size, strict=True))
        found["size"] |= of
        for each in (*found["inputs"].values(), *found["outputs"].values()):
            each["shape"] = [of.get(axis, axis) for axis in each["shape"]]
    return found


def _input(deployed: Deployed, name: str) -> dict[str, Any]:
    meaning, known = deployed.inputs[name], deployed.model.trained_on
    spec = {**STANDARD_MAPS, **known.get("maps", {})}.get(name)
    about: dict[str, Any] = {
        "dtype": "uint8" if meaning.dtype == "uint8" else "float32",
        "shape": ["batch", meaning.channels[0], "height", "width"],
        "unit": meaning.unit or "unknown",
    }
    if about["dtype"] == "float32":
        about["not_measured"] = _HOLES.get("metre" if meaning.positive else meaning.unit, "NaN or infinite")
    options = known.get("stored", {}).get(name)
    about["stored"] = None if options is None or spec is None else stored(Encoding(spec, **options))
    return about


def stored(encoding: Encoding) -> dict[str, Any]:
    """How the files of the training held a map, options of `Encoding`, also those that are a unit's defaults."""
    found = {item.name: getattr(encoding, item.name) for item in dataclasses.fields(encoding) if item.name != "spec"}
    scale = encoding.steps if encoding.unit in ("metre", "sensor", "relative") and encoding.log is None else None
    return {**found, "bits": encoding.file_bits, "scale": scale, "missing": list(encoding.missing)}


def write_torch(program: ExportedProgram, file: Path, about: Meta) -> None:
    """Writes a ``.pt2``, which ``torch.export.load(file).module()`` runs; the JSON is its extra file ``rgbx.json``.

    Raises:
        OSError: the file cannot be written.
        ValueError: an operation that such files do not hold.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No complete tensor found")  # of weights of which the program has views alone
        try:
            torch.export.save(program, file, extra_files={"rgbx.json": json.dumps(about)})
        except (AssertionError, NotImplementedError, TypeError) as error:  # of its serializer
            raise ValueError(f"{file}: a .pt2 cannot hold this program: {error}; --format onnx may") from error


def run_torch(file: Path, about: Meta) -> Runner:
    """What runs a ``.pt2`` file on arrays."""
    module = torch.export.load(file).module()

    def run(given: Arrays) -> Arrays:
        with torch.no_grad():
            found = module(*(torch.from_numpy(given[name]) for name in about["modalities"]))
        return {name: x.numpy() for name, x in zip(about["outputs"], found, strict=True)}

    return run
