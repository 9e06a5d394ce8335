"""What each method costs: parameters, operations, and times of predicting and of training, measured side by side."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rgbx._files import read_json
from rgbx._types import Batch, Options
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
from rgbx.train.loops import still_step

ROUNDS, REPEATS = 5, 10
STEPS, FIRST_STEPS = 2, 1  # of training in a round, timed and not
FORMAT = "rgbx-study-costs/2"
WITHOUT_STEPS = "rgbx-study-costs/1"
UNMEASURED = (ValueError, TypeError, KeyError, AttributeError, RuntimeError, OSError, ImportError)


@dataclass(frozen=True)
class Cost:
    """Of one method, at the size of the first test frame, with the modalities of its headline.

    Attributes:
        size: height and width.
        parameters: the number of those that predict.
        flops: per frame, two per multiply-add.
        milliseconds: of a forward pass of one frame: the median of each round; empty where not measured.
        of_training: the number of parameters of training alone: discriminators, objectives and their opponents.
        steps: milliseconds of a step of training, as `milliseconds`.
    """

    size: Size
    parameters: int
    flops: int
    milliseconds: tuple[float, ...] = ()
    of_training: int = 0
    steps: tuple[float, ...] = ()

    @property
    def latency(self) -> float | None:
        """Median over the rounds, in milliseconds."""
        return statistics.median(self.milliseconds) if self.milliseconds else None

    @property
    def step(self) -> float | None:
        """Of a step of training the median over the rounds, in milliseconds."""
        return statistics.median(self.steps) if self.steps else None

    def ratio(self, first: Cost) -> float | None:
        """How many times the latency of another method: the median over the rounds, each of which timed both."""
        return _ratio(self.milliseconds, first.milliseconds)

    def step_ratio(self, first: Cost) -> float | None:
        """The same of a step of training."""
        return _ratio(self.steps, first.steps)


def _ratio(own: tuple[float, ...], others: tuple[float, ...]) -> float | None:
    return statistics.median(a / b for a, b in zip(own, others, strict=False)) if own and others else None


@dataclass(frozen=True)
class Costs:
    """Costs of a study's methods and where they were measured.

    Attributes:
        machine: in words.
        key: says of which configs and versions.
        methods: their costs by name.
        has_steps: whether steps of training are told: files of before have none.
    """

    machine: str
    key: Options
    methods: Mapping[str, Cost]
    has_steps: bool = True

    def has(self, key: Options, *, latency: bool) -> bool:
        """Whether these are the costs asked for, of every method: those that failed are tried again."""
        complete = set(self.methods) == set(key["subsets"])
        timed = all(cost.milliseconds and (cost.steps or not self.has_steps) for cost in self.methods.values())
        return dict(self.key) == dict(key) and complete and (timed or not latency)


class Subject(NamedTuple):
    """What is measured of a method.

    Attributes:
        model: with any weights.
        size: of a frame.
        modalities: those present.
        dtype: of autocast by name, such as "auto"; None for full precision.
        training: reads a batch of its training data, and says what its config does of `optim_wrapper`; None where it is
            not trained.
    """

    model: MultimodalModel
    size: Size
    modalities: tuple[str, ...]
    dtype: str | None = None
    training: Callable[[], tuple[Batch, Options]] | None = None


def measure_costs(
    builders: Mapping[str, Callable[[], Subject]],
    *,
    device: str = "auto",
    key: Options,
    latency: bool = True,
    say: Callable[[str], None] = print,
) -> Costs:
    """Builds all models, counts, and times them in turn, several rounds, so that what slows the machine slows all.

    First the passes of all, then the steps of training: of each method 16.

    Args:
        builders: by method, what makes its subject.
        device: see `rgbx.profile.measure.find_device`.
        key: see `Costs`.
        latency: whether to time.
        say: hears of what cannot be measured, methods and steps, which are left out.
    """
    counted: dict[str, Cost] = {}
    subjects: dict[str, Subject] = {}
    forwards: dict[str, Callable[[], object]] = {}
    place = find_device(device)
    for method, build in builders.items():
        try:
            subject = build()
            counted[method], forwards[method] = _count(subject, place)
            subjects[method] = subject
        except UNMEASURED as error:
            say(f"The costs of {method!r} cannot be measured: {' '.join(str(error).split())}")
    times: dict[str, tuple[float, ...]] = {}
    steps: dict[str, tuple[float, ...]] = {}
    if latency:
        times = _time_in_turn(forwards, partial(time_passes, device=place, repeats=REPEATS))
        trained = _steps(subjects, say)
        steps = _time_in_turn(trained, partial(time_passes, device=place, repeats=STEPS, warmup=FIRST_STEPS))
    methods = {
        name: replace(cost, milliseconds=times.get(name, ()), steps=steps.get(name, ()))
        for name, cost in counted.items()
    }
    return Costs(describe_machine(place), dict(key), methods)


def _count(subject: Subject, device: torch.device) -> tuple[Cost, Callable[[], object]]:
    """Parameters and operations of a model, and its forward pass of one frame."""
    model, size, names, name, _ = subject
    complexity = measure_complexity(model.eval().to(device), size, modalities=names)
    dtype = autocast_dtype(name, device.type) or torch.float32
    inputs = random_inputs(model, model.layout.order(names), 1, size, device)
    cost = Cost(size, complexity.used_at_test, complexity.flops, of_training=complexity.of_training)
    return cost, make_forward(model, inputs, dtype)


def _steps(subjects: Mapping[str, Subject], say: Callable[[str], None]) -> dict[str, Callable[[], object]]:
    """A step of training of each method that one can be made of, which is made once."""
    found: dict[str, Callable[[], object]] = {}
    for method, subject in subjects.items():
        if subject.training is None:
            continue
        try:
            found[method] = still_step(subject.model, *subject.training())
            found[method]()
        except UNMEASURED as error:
            found.pop(method, None)
            say(f"The step of training of {method!r} cannot be measured: {' '.join(str(error).split())}")
    return found


def _time_in_turn(
    calls: Mapping[str, Callable[[], object]], time: Callable[[Callable[[], object]], tuple[float, ...]]
) -> dict[str, tuple[float, ...]]:
    """Milliseconds: of each round the median."""
    rounds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            rounds[name].append(1000 * statistics.median(time(call)))
    return {name: tuple(medians) for name, medians in rounds.items()}


def write_costs(costs: Costs, path: Path) -> None:
    """Keeps costs as JSON."""
    replace_file(path, (json.dumps({"format": FORMAT, **asdict(costs)}, indent=1) + "\n").encode())


def read_costs(path: Path) -> Costs | None:
    """Costs that were kept; None where there are none of a known format."""
    try:
        kept: Any = read_json(path)
        has_steps = kept["format"] == FORMAT
        methods = {
            name: Cost(
                (int(cost["size"][0]), int(cost["size"][1])),
                int(cost["parameters"]),
                int(cost["flops"]),
                tuple(map(float, cost["milliseconds"])),
                *((int(cost["of_training"]), tuple(map(float, cost["steps"]))) if has_steps else ()),
            )
            for name, cost in kept["methods"].items()
        }
        known = kept["format"] in (FORMAT, WITHOUT_STEPS)
        return Costs(str(kept["machine"]), dict(kept["key"]), methods, has_steps) if known else None
    except (OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError):
        return None
