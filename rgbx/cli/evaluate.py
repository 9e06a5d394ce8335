"""Evaluates one checkpoint on the test split by a named protocol, also with modalities missing or damaged."""

from __future__ import annotations

import argparse
import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed

from rgbx._choices import CORRUPTIONS
from rgbx._runs import HUB, WEIGHTS
from rgbx._text import branch_title, modality_title, text_table
from rgbx.cli.checks import check_loops
from rgbx.cli.config import Config, check_roots, load_config, without_initial_weights
from rgbx.cli.derived import derive_from_checkpoint
from rgbx.cli.errors import ConfigError, building, command, leaving_nothing
from rgbx.cli.model import model_from
from rgbx.cli.subsets import all_subsets
from rgbx.cli.train import use_launcher
from rgbx.datasets import DenseDataset, EveryKth
from rgbx.datasets.class_weights import equal_class_weights
from rgbx.datasets.fingerprint import dataset_fingerprint
from rgbx.evaluate.benchmarks import BENCHMARKS, check_benchmarks, measure_benchmarks
from rgbx.evaluate.parts import Parts
from rgbx.evaluate.pictures import PictureObserver, PredictionWriter
from rgbx.evaluate.result import (
    MOST_BYTES,
    benchmark_text,
    build_result,
    damaged_score,
    given_titles,
    missing_text,
    plain,
    robustness_text,
    score_table,
    shown,
    versions,
    write_result,
)
from rgbx.evaluate.result_form import BenchmarkTable, Result, Robustness
from rgbx.evaluate.robustness import measure_robustness
from rgbx.evaluate.selection import selection_facts
from rgbx.evaluate.session import Observer, Session
from rgbx.maps.files import file_hash
from rgbx.models import Predictor
from rgbx.models.checkpoint import read_checkpoint
from rgbx.models.folder import find_checkpoint
from rgbx.models.precision import autocast_dtype
from rgbx.report import write_report
from rgbx.report.frames import write_frames
from rgbx.report.tables import word
from rgbx.tasks import ENSEMBLE, Evaluation, Score, ensemble_first
from rgbx.train.console import writers_closed
from rgbx.train.distributed import finish_together
from rgbx.train.runner import Runner

LOG = logging.getLogger("rgbx")


@command("test")
def main(arguments: argparse.Namespace) -> int:
    """Parses, builds, evaluates each subset of modalities, damages them where asked to, reports.

    Exit code 0, 2 for a user's error, 130 for Ctrl-C.
    """
    checkpoint = find_checkpoint(arguments.checkpoint)
    config = configure(arguments, checkpoint)
    with leaving_nothing(config.work_dir, unless=lambda: False), writers_closed():
        with building(arguments.config):
            runner = Runner.from_cfg(config)
            state = read_checkpoint(checkpoint, trust=arguments.trust)
            runner.use_model(model_from(runner.network, state, checkpoint, arguments.model_from))
            session = _session(runner, config, arguments)
        observers = _observers(arguments, session)
        modalities = tuple(session.model.modalities)
        subsets = sorted((tuple(text.split("+")) for text in arguments.modalities), key=len, reverse=True)
        subsets = subsets or (all_subsets(modalities) if _needs_subsets(arguments) else [modalities])
        session.check_subsets(subsets)
        check_benchmarks(session, arguments.robustness)
        parts = _parts(arguments, checkpoint, session, subsets) if arguments.shard else None
    if parts is not None:
        session.count_share(parts, subsets)
        if others := parts.missing(len(subsets)):
            LOG.info(f"Shard {parts.number} of {parts.shards} is done; missing: {', '.join(map(str, others))}")
            return 0
        session.merge(parts, subsets)
    try:
        for subset in () if parts else subsets:
            LOG.info(f"Given {' + '.join(map(modality_title, subset))}")
            session.evaluate(subset, observers)
        damaged = _damaged(arguments, session)
        if runner.rank == 0:
            chosen = selection_facts(state, str(checkpoint), session.frames())
            _tell_choice(chosen)
            _write_outputs(arguments, checkpoint, chosen, session, Path(runner.log_dir), damaged, observers)
        finish_together()
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


def _session(runner: Runner, config: Config, arguments: argparse.Namespace) -> Session:
    rules = dict(config.test_cfg)
    device = next(runner.network.parameters()).device.type
    metrics = runner.build_metrics(config.test_evaluator)
    metrics.options |= {name: True for name in ("boundary", "calibration") if getattr(arguments, name)}
    protocol = rules.get("protocol", "rgbx")
    tasks = Predictor(runner.network, protocol, heads=arguments.heads).tasks
    if arguments.report and any("calibration" in task.options for task in tasks.values()):
        metrics.options["calibration"] = True  # for its reliability diagram
    session = Session(
        runner.network,
        runner.build_dataloader(config.test_dataloader, seed=runner.seed),
        protocol=protocol,
        dtype=autocast_dtype(rules.get("dtype"), device),
        heads=arguments.heads,
        metrics=metrics,
        watch=runner.watch("test"),
    )
    runner.check_classes(session.whole_dataset)
    return session


class Damage(NamedTuple):
    """What `--robustness` measured, by head."""

    robustness: Mapping[str, Robustness]
    benchmarks: Mapping[str, dict[str, BenchmarkTable]]


def _needs_subsets(arguments: argparse.Namespace) -> bool:
    """Whether what `--robustness` names is told beside the other subsets."""
    return any(name == CORRUPTIONS or BENCHMARKS[name].subsets for name in arguments.robustness)


def _damaged(arguments: argparse.Namespace, session: Session) -> Damage:
    """What `--robustness` asks for."""
    names = [name for name in dict.fromkeys(arguments.robustness) if name != CORRUPTIONS]
    asked = CORRUPTIONS in arguments.robustness
    robustness = measure_robustness(session, every=arguments.every) if asked else {}
    return Damage(robustness, measure_benchmarks(session, names, every=arguments.every) if names else {})


def _parts(
    arguments: argparse.Namespace, checkpoint: Path, session: Session, subsets: Sequence[tuple[str, ...]]
) -> Parts:
    """The files of the jobs that share this evaluation, with all that changes a count."""
    whole = session.whole_dataset
    evaluated = {
        "config": config_identity(arguments)["sha256"],
        "checkpoint": file_hash(checkpoint),
        "model_from": arguments.model_from,
        "protocol": plain(session.protocol.as_dict()),
        "heads": list(session.tasks),
        "subsets": ["+".join(subset) for subset in subsets],
        "every": arguments.every,
        "dtype": str(session.dtype or torch.float32),
        "metrics": plain(session.metrics.options),
        "dataset": dataset_fingerprint(whole) if isinstance(whole, DenseDataset) else type(whole).__name__,
        "versions": versions(),
    }
    return Parts(parts_folder(arguments), arguments.shard, len(session.dataset), session.counters, evaluated)


def parts_folder(arguments: argparse.Namespace) -> Path:
    """Where jobs that share an evaluation keep what they have counted."""
    return Path(f"{arguments.json}.parts")


def _observers(arguments: argparse.Namespace, session: Session) -> list[Observer]:
    observers: list[Observer] = []
    if arguments.draw:
        meta, by_subset = session.whole_dataset.metainfo, bool(arguments.modalities)
        observers.append(PictureObserver(session.model, meta, count=arguments.draw_count, by_subset=by_subset))
    if arguments.save_predictions:
        folder, dataset = arguments.save_predictions, session.whole_dataset
        observers.append(PredictionWriter(session.model, folder, dataset, overwrite=arguments.overwrite))
    return observers


def _tell_choice(chosen: Mapping[str, str]) -> None:
    if "selected_on" in chosen:
        LOG.info(f"The checkpoint was chosen on {chosen['selected_on']}")
    if "overlap" in chosen:
        LOG.warning(
            f"{chosen['overlap']} scored here are frames that the checkpoint was chosen on, so their scores are better "
            "than those of others: choose on other frames (val_dataloader), or score the last epoch_N.pth"
        )


def _write_outputs(
    arguments: argparse.Namespace,
    checkpoint: Path,
    chosen: Mapping[str, str],
    session: Session,
    log_dir: Path,
    damaged: Damage,
    observers: Sequence[Observer],
) -> None:
    """Prints details first, then the scores and where the files are that the arguments ask for."""
    result = build_result(
        session.evaluations,
        {name: task.kind for name, task in session.tasks.items()},
        protocol=session.protocol,
        config=config_identity(arguments),
        checkpoint=checkpoint,
        chosen=chosen,
        dataset=session.whole_dataset,
        every=arguments.every,
        speed=session.speed,
        dtype=str(session.dtype or torch.float32).removeprefix("torch."),
        hallucinated=session.hallucinated,
    )
    for name, head in result["heads"].items():
        if sets := session.by_set(name):
            head["sets"] = {part: _part_scores(found) for part, found in sets.items()}
    for name, measured in damaged.robustness.items():
        result["heads"][name]["robustness"] = measured
    for name, tables in damaged.benchmarks.items():
        result["heads"][name]["benchmarks"] = tables
    _tell_details(result, session)
    file = Path(arguments.json or log_dir / "results.json")
    if arguments.no_images:
        for head in result["heads"].values():
            head["images"] = []
    write_result(result, file)
    if (size := file.stat().st_size) > MOST_BYTES:
        LOG.warning(
            f"{file} has {size} bytes; rgbx report and compare read {MOST_BYTES} at most: --no-images leaves out the "
            "scores of single images"
        )
    places = {"results": str(file)}
    if arguments.report:
        predict = {subset: session.predictor(subset.split("+")) for subset in session.evaluations}
        write_frames(result, session.dataset, predict, session.tasks, arguments.report)
        write_result(result, Path(arguments.report, "results.json"))
        places["report"] = str(write_report(Path(arguments.report, "results.json")))
    for observer in observers:
        if isinstance(observer, PictureObserver):
            places[f"{len(observer.draw(arguments.draw))} pictures"] = arguments.draw
        if isinstance(observer, PredictionWriter):
            places[f"{observer.count} predictions"] = arguments.save_predictions
    part = f" (1 in {arguments.every})" if arguments.every > 1 else ""
    for name in result["heads"]:
        of = f"Head {name}, " if len(result["heads"]) > 1 else ""
        frames = f"{result['dataset']['samples']} frames{part}"
        over = missing_text(result["heads"][name])
        table = subset_table(result, name) + f"\n{over}" * bool(over)
        LOG.info(f"{of}{frames}, protocol {session.protocol.name}, {table}\n")
    width = max(map(len, places))
    LOG.info("Files:\n" + "\n".join(f"{name.ljust(width)}  {place}" for name, place in places.items()))


def _part_scores(found: Evaluation) -> dict[str, object]:
    """Of the frames that have the same: how many, and every score of the ensemble."""
    scores = found.scores(ENSEMBLE)
    return {"frames": len(found.images), "scores": plain({score.name: scores.get(score.name) for score in found.table})}


def _tell_details(result: Result, session: Session) -> None:
    """What is not the last table: classes, damages, speed."""
    several = len(result["heads"]) > 1
    for name, table in session.reports().items() if session.metrics.table else ():
        if table and result["heads"][name]["task"] != "map":  # of a map, the last table says it all
            LOG.info(f"{f'Head {name}: ' * several}{table}\n")
    for name, head in result["heads"].items():
        if head["robustness"]:
            score = word(damaged_score(head))
            LOG.info(f"{f'Head {name}: ' * several}{score} with one modality damaged:\n{robustness_text(head)}\n")
        for key in head.get("benchmarks", ()):
            LOG.info(f"{f'Head {name}: ' * several}{key}:\n{benchmark_text(head, key)}\n")
    speed = session.speed
    LOG.info(f"{speed['images_per_second']:.2f} images/s; scoring took {100 * speed['metric_share']:.1f} % of it")


def subset_table(result: Result, head: str) -> str:
    """The scores of a head: a row for each subset of modalities that the model was given.

    Of maps, also a row for each branch, as images differ more. Fractions are in percent with two decimals.
    """
    entry = result["heads"][head]
    scores, titles = score_table(entry), given_titles(entry["subsets"], entry.get("hallucinated"))
    percent = all(score.percent for score in scores)
    rows = []
    for subset, predictions in entry["subsets"].items():
        shown_ones = [ENSEMBLE]
        if entry["task"] != "classes" and len(predictions) > 2:
            shown_ones = ensemble_first(predictions)
        for name in shown_ones:
            title = titles[subset] if name == ENSEMBLE else f"{titles[subset]}: {branch_title(name)}"
            rows.append(
                [title, *(shown(s, predictions[name].get(s.name), digits=4 if s.percent else None) for s in scores)]
            )
    kept = [0, *(i for i in range(1, len(scores) + 1) if any(row[i] != "-" for row in rows))]
    header = ["given", *(_heading(score, percent) for score in scores)]
    table = text_table([header[i] for i in kept], [[row[i] for i in kept] for row in rows])
    about = entry["about"]
    return (
        f"in percent:\n{table}" if percent else f"{about.get('name', head)} ({about.get('unit', 'no unit')}):\n{table}"
    )


def _heading(score: Score, percent: bool) -> str:
    unit = score.sign if not percent else score.beside
    return f"{word(score)}{f' ({unit})' if unit else ''}{' ↓' * score.lower}"


def _log_folder(checkpoint: Path, given: str) -> Path:
    """Where a test logs: beside the checkpoint, but not in a folder that is shared, nor in the cache of a hub."""
    if checkpoint.name != WEIGHTS:
        return checkpoint.parent / "test"
    name = given.partition("@")[0] if given.startswith(HUB) else checkpoint.parent.resolve().name
    return Path("work_dirs", Path(name).name, "test")


def configure(arguments: argparse.Namespace, checkpoint: Path) -> Config:
    """The config for a test run: no pretrained weights, no average of weights, no resuming.

    Args:
        arguments: of the command.
        checkpoint: its file.

    Raises:
        ConfigError: no test data, or arguments that cannot be followed.
    """
    config = load_config(arguments.config, options=arguments.cfg_options, data_root=arguments.data_root)
    if config.get("test_dataloader") is None:
        raise ConfigError(f"{arguments.config} has no test_dataloader")
    check_loops(config, arguments.config)
    check_roots(config, "test_dataloader")
    if arguments.every < 1:
        raise ConfigError(f"--every must be >= 1, found {arguments.every}")
    logs = parts_folder(arguments) / f"shard_{arguments.shard[0]}" if arguments.shard else None
    config.work_dir = str(arguments.work_dir or logs or _log_folder(checkpoint, arguments.checkpoint))
    use_launcher(config, arguments)
    without_initial_weights(config)
    if isinstance(config.model, dict):
        derive_from_checkpoint(config.model, checkpoint, trust=arguments.trust)
        equal_class_weights(config.model)  # the checkpoint holds those that training counted
    config.load_from, config.resume, config.ema, config.visualizer = None, False, False, None
    if arguments.every > 1:
        whole = config.test_dataloader["dataset"]
        config.test_dataloader = {
            **config.test_dataloader,
            "dataset": dict(type=EveryKth, dataset=whole, every=arguments.every),
        }
    given = {"protocol": arguments.protocol, "dtype": arguments.dtype}
    config.test_cfg = {**(config.get("test_cfg") or {}), **{key: value for key, value in given.items() if value}}
    return config


def config_identity(arguments: argparse.Namespace) -> dict[str, str]:
    """The config's file, and the SHA-256 of what it resolves to, wherever its data and results lie."""
    return {"file": str(arguments.config), "sha256": resolved_hash(arguments.config, arguments.cfg_options)}


def resolved_hash(config: str | Path, options: Sequence[str] = ()) -> str:
    """The SHA-256 of what a config resolves to, with overrides as "a.b.c=value"."""
    return config_sha256(load_config(config, options=options))


def config_sha256(config: Config) -> str:
    """The SHA-256 of a config as it was read, before it was completed."""
    return hashlib.sha256(config.pretty_text.encode()).hexdigest()
