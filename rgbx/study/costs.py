"""What each method costs: parameters, operations, and latency measured side by side."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rgbx._files import read_json
from rgbx._types import Options
from rgbx.maps import replace_file
from rgbx.models import MultimodalModel
from rgbx.models.precision import autocast_dtype
from rgbx.profile.measure import (
    Size,
    describe_machine,
    find_device,
    make_forward,
    measure_complexity,
    random_inputs,
    time_passes,
)

ROUNDS, REPEATS = 5, 10
FORMAT = "rgbx-study-costs/1"
PROBLEMS = (ValueError, TypeError, KeyError, AttributeError, RuntimeError)


@dataclass(frozen=True)
class Cost:
    """Of one method, at the size of the first test frame, with the modalities of its headline.

    Attributes:
        size: height and width.
        parameters: the number of those that predict.
        flops: per frame, two per multiply-add.
        milliseconds: of a forward pass of one frame: the median of each round; empty where not measured.
    """

    size: Size
    parameters: int
    flops: int
    milliseconds: tuple[float, ...] = ()

    @property
    def latency(self) -> float | None:
        """Median over the rounds, in milliseconds."""
        return statistics.median(self.milliseconds) if self.milliseconds else None

    def ratio(self, first: Cost) -> float | None:
        """How many times the latency of another method: the median over the rounds, each of which timed both."""
        pairs = list(zip(self.milliseconds, first.milliseconds, strict=False))
        return statistics.median(a / b for a, b in pairs) if pairs else None


@dataclass(frozen=True)
class Costs:
    """Costs of a study's methods and where they were measured; `key` says of which configs and versions."""

    machine: str
    key: Options
    methods: Mapping[str, Cost]

    def has(self, key: Options, *, latency: bool) -> bool:
        """Whether these are the costs asked for, of every method: those that failed are tried again."""
        complete = set(self.methods) == set(key["subsets"])
        timed = all(cost.milliseconds for cost in self.methods.values())
        return dict(self.key) == dict(key) and complete and (timed or not latency)


class Subject(NamedTuple):
    """What is measured of a method.

    Attributes:
        model: with any weights.
        size: of a frame.
        modalities: those present.
        dtype: of autocast by name, such as "auto"; None for full precision.
    """

    model: MultimodalModel
    size: Size
    modalities: tuple[str, ...]
    dtype: str | None = None


def measure_costs(
    builders: Mapping[str, Callable[[], Subject]],
    *,
    device: str = "auto",
    key: Options,
    latency: bool = True,
    say: Callable[[str], None] = print,
) -> Costs:
    """Builds all models, counts, and times them in turn, several rounds, so that what slows the machine slows all.

    Args:
        builders: by method, what makes its subject.
        device: see `rgbx.profile.measure.find_device`.
        key: see `Costs`.
        latency: whether to time.
        say: hears of methods that cannot be measured, which are left out.
    """
    counted: dict[str, Cost] = {}
    forwards: dict[str, Callable[[], object]] = {}
    place = find_device(device)
    for method, build in builders.items():
        try:
            counted[method], forwards[method] = _count(build(), place)
        except (*PROBLEMS, OSError, ImportError) as error:
            say(f"The costs of {method!r} cannot be measured: {' '.join(str(error).split())}")
    times = _time_in_turn(forwards, place) if latency else {}
    methods = {name: replace(cost, milliseconds=times.get(name, ())) for name, cost in counted.items()}
    return Costs(describe_machine(place), dict(key), methods)


def _count(subject: Subject, device: torch.device) -> tuple[Cost, Callable[[], object]]:
    """Parameters and operations of a model, and its forward pass of one frame."""
    model, size, names, name = subject
    complexity = measure_complexity(model.eval().to(device), size, modalities=names)
    dtype = autocast_dtype(name, device.type) or torch.float32
    inputs = random_inputs(model.layout.order(names), 1, size, device)
    return Cost(size, complexity.used_at_test, complexity.flops), make_forward(model, inputs, dtype)


def _time_in_turn(forwards: Mapping[str, Callable[[], object]], device: torch.device) -> dict[str, tuple[float, ...]]:
    rounds: dict[str, list[float]] = {name: [] for name in forwards}
    for _ in range(ROUNDS):
        for name, forward in forwards.items():
            rounds[name].append(1000 * statistics.median(time_passes(forward, device, REPEATS)))
    return {name: tuple(medians) for name, medians in rounds.items()}


def write_costs(costs: Costs, path: Path) -> None:
    """Keeps costs as JSON."""
    replace_file(path, (json.dumps({"format": FORMAT, **asdict(costs)}, indent=1) + "\n").encode())


def read_costs(path: Path) -> Costs | None:
    """Costs that were kept; None where there are none of this format."""
    try:
        kept: Any = read_json(path)
        methods = {
            name: Cost(
                (int(cost["size"][0]), int(cost["size"][1])),
                int(cost["parameters"]),
                int(cost["flops"]),
                tuple(map(float, cost["milliseconds"])),
            )
            for name, cost in kept["methods"].items()
        }
        return Costs(str(kept["machine"]), dict(kept["key"]), methods) if kept["format"] == FORMAT else None
    except (OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError):
        return None
