"""What a model takes: parameters by part, and of a forward pass operations, memory and time."""

from __future__ import annotations

import platform
import statistics
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from rgbx.layers import owner
from rgbx.maps import STANDARD_MAPS
from rgbx.models import MultimodalModel

WARMUP = 3
Size = tuple[int, int]  # height and width


@dataclass(frozen=True)
class Complexity:
    """Parameters and operations with some of the modalities present.

    Attributes:
        backbone: parameters of the network that all heads read.
        heads: those of each head, its opponent left out.
        objectives: those of objectives, without their opponents; they predict nothing.
        opponents: those of discriminators, of heads and of objectives, which predict nothing.
        private: how many of all belong to a single modality.
        flops: floating-point operations for one sample, two per multiply-add.
        size: of the image they were counted at.
    """

    backbone: int
    heads: Mapping[str, int]
    objectives: int
    opponents: int
    private: int
    flops: int
    size: Size

    @property
    def used_at_test(self) -> int:
        """Parameters of what predicts."""
        return self.backbone + sum(self.heads.values())

    @property
    def of_training(self) -> int:
        """Parameters of training alone."""
        return self.objectives + self.opponents

    @property
    def total(self) -> int:
        """Parameters, those of training alone included."""
        return self.used_at_test + self.of_training

    def __str__(self) -> str:
        training = {"objectives": self.objectives, "opponents": self.opponents}
        parts = {"backbone": self.backbone, **self.heads, **{name: n for name, n in training.items() if n}}
        return (
            f"{self.total / 1e6:.2f} M parameters ({', '.join(f'{name} {n / 1e6:.2f}' for name, n in parts.items())}; "
            f"{self.private / 1e6:.3f} M = {100 * self.private / self.total:.2f} % private to a modality), "
            f"{self.flops / 1e9:.2f} GFLOP at {self.size[0]}×{self.size[1]}"
        )


def measure_complexity(
    model: MultimodalModel, size: Size = (480, 640), *, modalities: Iterable[str] | None = None
) -> Complexity:
    """Counts parameters, and the operations of one forward pass (convolutions and products).

    Args:
        model: runs once in evaluation mode and is left in the mode it was in.
        size: of the image.
        modalities: those present; what belongs to an absent one is not counted. None for all.

    Raises:
        ValueError: a modality that the model does not know.
    """
    present = model.layout.order(model.modalities if modalities is None else modalities)
    counts: Counter[str] = Counter()
    private = 0
    for name, parameter in model.named_parameters():
        modality = owner(name)
        if (modality or present[0]) in present and _votes(name, present):
            counts[_part(name)] += parameter.numel()
            private += parameter.numel() if modality else 0
    heads = {name: counts[f"heads.{name}"] for name in model.heads}
    parts = (counts["backbone"], heads, counts["objectives"], counts["opponents"])
    return Complexity(*parts, private, _count_operations(model, size, present), size)


def _part(name: str) -> str:
    """Of the model, to which a parameter or buffer belongs: "backbone", "heads.NAME", "objectives", "opponents"."""
    first, *rest = name.split(".")
    if first in ("heads", "objectives") and rest[1] == "opponent":
        return "opponents"
    return f"heads.{rest[0]}" if first == "heads" else first


def _predicts(name: str) -> bool:
    """Whether a parameter or buffer is not of training alone."""
    return _part(name) not in ("objectives", "opponents")


def _votes(parameter: str, present: Sequence[str]) -> bool:
    """False for the α of an absent modality; one alone has no α, as its prediction is the ensemble."""
    *_, kind, name = parameter.split(".")
    return kind != "alpha" or (name in present and len(present) > 1)


def _count_operations(model: MultimodalModel, size: Size, names: Iterable[str]) -> int:
    device, training = next(model.parameters()).device, model.training
    channels = getattr(model.backbone, "input_channels", {})
    inputs = {name: torch.zeros(1, channels.get(name, 1), *size, device=device) for name in names}
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.outputs(inputs)
    model.train(training)
    return int(counter.get_total_flops())


@dataclass(frozen=True)
class Profile:
    """One row of a profile.

    Attributes:
        modalities: names of those present.
        batch: samples at once.
        dtype: precision by name; other than ``"float32"`` by autocast.
        parameters: those that a model for these modalities alone would have, without what is of training alone.
        flops: floating-point operations per sample, two per multiply-add.
        peak_bytes: most memory in use at once, weights that predict and inputs included; None if the device ran out of
            memory. On CUDA what torch's allocator handed out, for whatever lies there; on a CPU the tensors alive
            between two operations, without what a kernel needs for itself.
        seconds: wall times of the repetitions until the outputs of all heads are there; empty if the device ran out of
            memory.
    """

    modalities: tuple[str, ...]
    batch: int
    dtype: str
    parameters: int
    flops: int
    peak_bytes: int | None
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median seconds per batch, NaN without measurements."""
        return statistics.median(self.seconds) if self.seconds else float("nan")

    @property
    def p95(self) -> float:
        """95th percentile of the seconds per batch, linear between measurements; NaN without any."""
        return float(torch.tensor(self.seconds, dtype=torch.float64).quantile(0.95)) if self.seconds else float("nan")

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file; times in milliseconds, None for what could not be measured."""
        return {
            "modalities": list(self.modalities),
            "batch": self.batch,
            "dtype": self.dtype,
            "parameters": self.parameters,
            "flops_per_sample": self.flops,
            "peak_bytes": self.peak_bytes,
            "median_ms": 1000 * self.median if self.seconds else None,
            "p95_ms": 1000 * self.p95 if self.seconds else None,
            "images_per_second": self.batch / self.median if self.seconds else None,
            "repeats": len(self.seconds),
        }


def profile_model(
    model: MultimodalModel,
    *,
    size: Size,
    modalities: Sequence[str],
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
    repeats: int = 30,
) -> Profile:
    """Measures the forward pass from normalised maps to the outputs of all heads, on the device of the model.

    Args:
        model: is left in evaluation mode.
        size: image height and width.
        modalities: those present.
        batch: samples at once.
        dtype: precision; other than float32 by autocast.
        repeats: timed passes, after three that are not.

    Raises:
        ValueError: a modality that the model does not know, or a batch or number of repetitions below 1.
    """
    if batch < 1 or repeats < 1:
        raise ValueError(f"batch and repeats must be at least 1, found {batch} and {repeats}")
    model.eval()
    complexity = measure_complexity(model, size, modalities=modalities)
    device = next(model.parameters()).device
    names = model.layout.order(modalities)
    peak: int | None = None
    seconds: tuple[float, ...] = ()
    try:
        inputs = random_inputs(model, names, batch, size, device)
        forward = make_forward(model, inputs, dtype)
        weights = (x for name, x in [*model.named_parameters(), *model.named_buffers()] if _predicts(name))
        peak = peak_bytes(forward, device, [*weights, *inputs.values()])
        seconds = time_passes(forward, device, repeats)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        peak = None
    name = str(dtype).removeprefix("torch.")
    return Profile(names, batch, name, complexity.used_at_test, complexity.flops, peak, seconds)


def random_inputs(
    model: MultimodalModel, names: Iterable[str], batch: int, size: Size, device: torch.device
) -> dict[str, Tensor]:  # [N, c, H, W] each
    """Normally distributed maps of what a stem of several channels reads, or else the standard map of that name has.

    One channel for any other modality.
    """
    own = getattr(model.backbone, "input_channels", {})
    channels = {name: own.get(name) or (STANDARD_MAPS[name].channels if name in STANDARD_MAPS else 1) for name in names}
    return {name: torch.randn(batch, count, *size, device=device) for name, count in channels.items()}


def make_forward(
    model: MultimodalModel,
    inputs: Mapping[str, Tensor],  # [N, c, H, W] each, normalised
    dtype: torch.dtype,
) -> Callable[[], object]:
    """A forward pass from normalised maps to the outputs of all heads; other than float32 by autocast."""
    device = next(model.parameters()).device.type

    @torch.no_grad()
    def forward() -> object:
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            return model.outputs(inputs)

    return forward


def time_passes(
    call: Callable[[], object], device: torch.device, repeats: int, *, warmup: int = WARMUP
) -> tuple[float, ...]:
    """Seconds of each call, after a warm-up of so many, waiting for the device before and after it."""
    taken = []
    for i in range(warmup + repeats):
        _wait(device)
        start = time.perf_counter()
        call()
        _wait(device)
        if i >= warmup:
            taken.append(time.perf_counter() - start)
    return tuple(taken)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(
    call: Callable[[], object],
    device: torch.device,
    held: Iterable[Tensor],  # [...]
) -> int:
    """Most memory in use during a call; see `Profile.peak_bytes`.

    Args:
        call: runs once.
        device: where it runs.
        held: tensors that exist before, such as weights and inputs.
    """
    if device.type == "cuda":
        _wait(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        _wait(device)
        return torch.cuda.max_memory_allocated(device)
    with LiveTensors(held) as live:
        call()
    return live.peak


Kwargs = dict[str, object] | None


class LiveTensors(TorchDispatchMode):
    """Adds up the memory of all tensors alive while it is active: those given, and those that operations return.

    The tensors given must outlive it.

    Attributes:
        live: bytes alive now.
        peak: most bytes alive at once so far.
    """

    def __init__(
        self,
        held: Iterable[Tensor] = (),  # [...]
    ) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._sizes: dict[int, int] = {}
        for tensor in held:
            self._enter(tensor, stays=True)

    def __torch_dispatch__(
        self, func: Callable[..., object], types: object, args: tuple[object, ...] = (), kwargs: Kwargs = None
    ) -> object:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._enter(leaf)
        return out

    def _enter(
        self,
        tensor: Tensor,  # [...]
        *,
        stays: bool = False,
    ) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata  # views share their storage
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            self.live += storage.nbytes()
            self.peak = max(self.peak, self.live)
            if not stays:
                weakref.finalize(storage, self._leave, key).atexit = False

    def _leave(self, key: int) -> None:
        self.live -= self._sizes.pop(key)


def describe_machine(device: torch.device) -> str:
    """The device in a few words, with the version of torch."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    threads = torch.get_num_threads()
    return f"{platform.machine()}, {threads} thread{'s' * (threads > 1)}, torch {torch.__version__}"


def find_device(device: str) -> torch.device:
    """The device of a name; ``"auto"`` is CUDA where there is one.

    Raises:
        ValueError: no such device; or CUDA is asked for where there is none, or not as many.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device is {device}, but torch {torch.__version__} sees no CUDA device")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device is {device!r}; expected auto, cpu, cuda or cuda:N") from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device is {device}, but torch sees {torch.cuda.device_count()} CUDA devices")
    return found
