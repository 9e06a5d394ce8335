"""The models that rgbx comes with, what they take and what they reach; and a checkpoint as a folder, also on the hub.

Costs are those of the kept file `models.json`, or are measured; scores come from kept result files of `rgbx test`, one
for each config that was trained.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

import rgbx
from rgbx._files import read_json
from rgbx._runs import HUB
from rgbx._text import markdown_rows, modality_title, text_table
from rgbx._types import Options
from rgbx.cli.arguments import shipped_configs
from rgbx.cli.config import Config, load_config
from rgbx.cli.errors import ConfigError, command
from rgbx.cli.evaluate import resolved_hash
from rgbx.cli.model import config_model
from rgbx.convert import push_model, save_model
from rgbx.convert.hub import interval_text, score_tables
from rgbx.evaluate.result import headline, read_result, shown
from rgbx.evaluate.result_form import Result
from rgbx.maps import replace_file
from rgbx.models.folder import find_checkpoint
from rgbx.profile.measure import (
    describe_machine,
    find_device,
    make_forward,
    measure_complexity,
    random_inputs,
    time_passes,
)
from rgbx.report.tables import word

FORMAT, COSTS, RESULTS = "rgbx-models/1", "models.json", "models"
USUAL_SIZE = {"SyntheticRooms": (120, 160), "RoomClips": (120, 160)}  # of datasets whose configs do not say one
UNTRAINED = "not trained"
OF_DATA = "of your data"


@dataclass(frozen=True)
class Costs:
    """What a config's model takes, of one frame with all its maps; None where that depends on the data.

    Attributes:
        config: its name, "rooms/asymfusion_small_rooms_160x120".
        heads: their tasks.
        modalities: what it is given.
        size: height and width of its training samples.
        parameters: those that predict.
        flops: floating-point operations, two per multiply-add.
        wall_ms, cpu_ms: median wall time, and mean time of the processor.
        repeats: timed passes.
    """

    config: str
    heads: Mapping[str, str]
    modalities: Sequence[str] | None = None
    size: Sequence[int] | None = None
    parameters: int | None = None
    flops: int | None = None
    wall_ms: float | None = None
    cpu_ms: float | None = None
    repeats: int = 0


class Kept(NamedTuple):
    """Costs of models, and on which machine and day they were measured, in words."""

    about: str
    models: list[Costs]


@command("models")
def main(arguments: argparse.Namespace) -> int:
    """Lists, saves or pushes; exit code 0, 2 for a user's error, 130 for Ctrl-C."""
    return {"save": _save, "push": _push, None: _list}[arguments.action](arguments)


def _save(arguments: argparse.Namespace) -> int:
    folder = save_model(
        find_checkpoint(arguments.checkpoint),
        arguments.folder,
        results=arguments.results,
        license_name=arguments.license,
        trust=arguments.trust,
        overwrite=arguments.overwrite,
    )
    print(f'{folder} is written; rgbx.load("{folder}") loads it, and every command takes it as a checkpoint.')
    return 0


def _push(arguments: argparse.Namespace) -> int:
    place = push_model(
        find_checkpoint(arguments.checkpoint),
        arguments.repository,
        private=arguments.private,
        revision=arguments.revision,
        results=arguments.results,
        license_name=arguments.license,
        trust=arguments.trust,
    )
    at = f"@{arguments.revision}" if arguments.revision else ""
    print(f'It lies at {place}; rgbx.load("{HUB}{arguments.repository}{at}") loads it.')
    return 0


def _list(arguments: argparse.Namespace) -> int:
    names = chosen_configs(arguments.configs)
    kept = measure(names, arguments) if arguments.latency else read_costs(names)
    scores = read_scores(kept_results() / RESULTS)
    if arguments.json:
        content = {"format": FORMAT, "about": kept.about, "models": [vars(costs) for costs in kept.models]}
        replace_file(Path(arguments.json), f"{json.dumps(content, indent=1)}\n".encode())
    if arguments.markdown:
        replace_file(Path(arguments.markdown), page(kept, scores).encode())
    if not arguments.markdown:
        rows = [cells(costs, scores.get(costs.config, ())) for costs in kept.models]
        print(f"{text_table(HEADER, rows, texts=3)}\n{kept.about}")
    return 0


# --- what is kept ----------------------------------------------------------------------------------------------------


def kept_results() -> Path:
    """The folder of what was measured of the shipped configs: in the installed package, or in a checkout."""
    package = Path(rgbx.__file__).parent
    inside = package / "results"
    return inside if inside.is_dir() else package.parent / "benchmarks" / "results"


def chosen_configs(asked: Sequence[str] = ()) -> list[str]:
    """The names of shipped configs that train a model, or those asked for, which `existing_config` has found."""
    known = [path.relative_to(shipped_configs()).with_suffix("").as_posix() for path in _trainable()]
    if not asked:
        return known
    names = [Path(name).with_suffix("").as_posix().removeprefix("configs/") for name in asked]
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"--configs {unknown[0]} is no config that comes with rgbx; `rgbx models` lists them")
    return names


def _trainable() -> list[Path]:
    return [path for path in sorted(shipped_configs().glob("[!_]*/*.py")) if path.parent.name != "studies"]


def read_costs(names: Sequence[str]) -> Kept:
    """What was measured and kept.

    Args:
        names: of configs.

    Raises:
        ConfigError: nothing was kept of one of them.
    """
    file = kept_results() / COSTS
    found: Any = read_json(file)
    rows = {entry["config"]: Costs(**entry) for entry in found["models"]}
    if missing := [name for name in names if name not in rows]:
        raise ConfigError(f"{file} holds nothing of {missing[0]}: --latency measures it")
    return Kept(found["about"], [rows[name] for name in names])


def read_scores(folder: Path) -> dict[str, list[Result]]:
    """The result files of a folder by the name of their config, whose values of today they are of.

    Raises:
        ValueError: see `rgbx.evaluate.result.read_result`; or the config has changed since.
    """
    found: dict[str, list[Result]] = {}
    for file in sorted(folder.glob("*.json")):
        result = read_result(file)
        name = Path(result["config"]["file"]).with_suffix("").as_posix().rpartition("configs/")[2]
        if resolved_hash(shipped_configs() / f"{name}.py") != result["config"].get("sha256"):
            raise ValueError(f"{file} is of another form of {name} than today's: train and test it again, or remove it")
        found.setdefault(name, []).append(result)
    return found


# --- measuring -------------------------------------------------------------------------------------------------------


def measure(names: Sequence[str], arguments: argparse.Namespace) -> Kept:
    """Builds each config's model with random weights and runs it, one frame at a time in 32 bits."""
    device = find_device(arguments.device)
    models = []
    for name in names:
        models.append(_measured(name, device, arguments.repeats))
        print(f"{name}: {describe_costs(models[-1])}", flush=True)
    load = f"{os.getloadavg()[0]:.1f} processes wanted its {os.cpu_count()} cores"
    about = (
        f"Measured on {describe_machine(device)}, one frame in 32 bits, where {load} as it ended; "
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}."
    )
    return Kept(about, models)


def _measured(name: str, device: torch.device, repeats: int) -> Costs:
    config = load_config(shipped_configs() / f"{name}.py")
    if asks_data(config):
        return Costs(name, {"labels": "classes"})
    model, size = config_model(config).to(device).eval(), sample_size(config)
    complexity = measure_complexity(model, size)
    heads = {head: task.kind for head, task in model.tasks.items()}
    forward = make_forward(model, random_inputs(model, model.modalities, 1, size, device), torch.float32)
    forward()
    began = time.process_time()
    seconds = time_passes(forward, device, repeats, warmup=0)
    busy = (time.process_time() - began) / repeats
    costs = Costs(name, heads, list(model.modalities), list(size), complexity.used_at_test, complexity.flops)
    wall = 1000 * statistics.median(seconds)
    return replace(costs, wall_ms=round(wall, 2), cpu_ms=round(1000 * busy, 2), repeats=repeats)


def asks_data(config: Config) -> bool:
    """Whether a config's model follows from its data."""
    return "dataset" in (config.model.get("modalities"), config.model.get("num_classes"))


def sample_size(config: Config) -> tuple[int, int]:
    """Height and width of a config's training samples: of its last crop or resizing, or of its dataset's frames."""
    dataset: Options = config.train_dataloader["dataset"]
    sizes = [each["size"] for each in dataset.get("transforms") or () if isinstance(each, dict) and each.get("size")]
    found = sizes[-1] if sizes else dataset.get("size") or USUAL_SIZE.get(getattr(dataset["type"], "__name__", ""))
    if found is None:
        raise ConfigError(f"{config.filename} does not say how large its samples are")
    return (found, found) if isinstance(found, int) else (found[0], found[1])


def describe_costs(costs: Costs) -> str:
    """Of one model, in a line."""
    if costs.parameters is None:
        return OF_DATA
    return f"{costs.parameters / 1e6:.2f} M parameters, {(costs.flops or 0) / 1e9:.2f} GFLOP, {costs.wall_ms:.1f} ms"


# --- telling ---------------------------------------------------------------------------------------------------------

HEADER = ["config", "predicts", "from", "size", "M params", "GFLOP", "ms", "CPU ms", "score"]


def cells(costs: Costs, results: Sequence[Result]) -> list[str]:
    """One row of the list: a config, what it takes, and the score of its first head with its interval."""
    known = costs.parameters is not None
    return [
        costs.config,
        ", ".join(costs.heads.values()),
        " + ".join(map(modality_title, costs.modalities)) if costs.modalities else OF_DATA,
        f"{costs.size[0]}x{costs.size[1]}" if costs.size else OF_DATA,
        f"{(costs.parameters or 0) / 1e6:.2f}" if known else "-",
        f"{(costs.flops or 0) / 1e9:.2f}" if known else "-",
        milliseconds(costs.wall_ms),
        milliseconds(costs.cpu_ms),
        "; ".join(map(score_text, results)) or UNTRAINED,
    ]


def milliseconds(value: float | None) -> str:
    """As a table has it."""
    return "-" if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def score_text(result: Result) -> str:
    """The headline of a result's first head, with its interval and protocol."""
    head = next(iter(result["heads"].values()))
    main, ends = headline(head), interval_text(result, head)
    value = f"{word(main.score)} {shown(main.score, main.value)} {main.score.sign}".rstrip()
    return f"{value}{f' ({ends})' if ends else ''}, {result['protocol']['name']}"


def page(kept: Kept, scores: Mapping[str, Sequence[Result]]) -> str:
    """The page docs/models.md."""
    rows = [HEADER, [*["---"] * 4, *["--:"] * 4, "---"]]
    for costs in kept.models:
        name, *rest = cells(costs, scores.get(costs.config, ()))
        rows.append([f"`{name}`", *rest])
    parts = [INTRODUCTION, markdown_rows(rows), kept.about, TOLD, "## Scores", SCORES]
    for costs in kept.models:
        for result in scores.get(costs.config, ()):
            parts += [f"### `{costs.config}`", *map("\n\n".join, score_tables(result))]
    return "\n\n".join(parts) + "\n"


INTRODUCTION = """# Models

Every config that comes with rgbx, what its model takes of one frame with all its maps, and what it was seen to reach.

    rgbx models
    rgbx models --latency --configs rooms/asymfusion_small_rooms_160x120

The first prints this list, the second measures on this machine. This page is written by

    rgbx models --markdown docs/models.md

from `benchmarks/results/models.json`, which `rgbx models --latency --json FILE` measured, and from the result files of
`rgbx test` in `benchmarks/results/models`; no number in it is typed. Encoders and widths trained alike on real frames,
as a front of score against time: [how large](backbones.md#how-large)."""
TOLD = """Size is that of the training samples. M params are millions of parameters that predict; GFLOP counts two
operations per multiply-add; ms is the median wall time of a forward pass, CPU ms the processor's time, which other work
changes less: with one thread about what a pass takes where nothing else runs. The score is that of the first head,
given all maps, with its 95 % interval over the test images, and the protocol ([evaluation](evaluation.md)). "Not
trained" says that there is no result file of that config; older measurements stand in `benchmarks/results`. The config
under `own` takes its maps and classes from your data ([training](training.md))."""
SCORES = """One seed each, at the config's own schedule. "Alone" is what the same network answers when one map is all
that it is given, a branch what it says of one map while it has all."""
