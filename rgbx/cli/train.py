"""Trains what a config describes, or a folder by the config that is planned for it."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import torch.distributed

from rgbx._files import read_json
from rgbx._late import late
from rgbx._lock import locked
from rgbx._runs import checkpoints_in, find_intact, find_last, find_result, intact_in
from rgbx._whole import FULL, no_room
from rgbx.cli.arguments import CONFIG, RECORD, planning, work_dir_of
from rgbx.cli.checks import check_training
from rgbx.cli.config import Config, check_roots, load_config, without_initial_weights
from rgbx.cli.derived import derive_from_checkpoint, derive_from_data
from rgbx.cli.errors import INTERRUPTED, STOPPED, ConfigError, building, command, leaving_nothing
from rgbx.datasets import FolderDataset
from rgbx.evaluate.metric import headlines
from rgbx.maps.files import replace_file
from rgbx.models.folder import find_checkpoint
from rgbx.profile.measure import find_device, measure_complexity
from rgbx.tasks import Embedding
from rgbx.train.console import writers_closed
from rgbx.train.distributed import finish_together
from rgbx.train.runner import Runner
from rgbx.train.stopping import TrainingStopped
from rgbx.train.trackers import add_trackers

OWN_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"  # in torchrun's environment: each start has a store of its own
OLD_ADDRESSES = (
    "processes that torchrun starts again (--max-restarts) may look for each other at the addresses of those that "
    f"died, and fail once more: start it as {OWN_STORE} torchrun ..."
)
RUN_ID = "torchrun.id"  # in a work directory: the run of torchrun that began last
ONCE_MORE = "Interrupted before the first epoch was saved: start again with the same command."


@command("train")
def main(arguments: argparse.Namespace) -> int:
    """Parses, builds, runs; exit code 0, 2 for a user's error, 75 where a signal asked it to end, 130 for Ctrl-C."""
    with ExitStack() as alone:
        if Path(arguments.config).is_dir():
            alone.enter_context(_alone(work_dir_of(arguments.config, arguments.work_dir)))
            arguments.config = str(_config_of(arguments))
        config = read_config(arguments)
        alone.enter_context(_alone(config.work_dir))
        configure(config, arguments)
        return _run(config, arguments)


def _alone(work_dir: str | Path) -> AbstractContextManager[object]:
    """Keeps other trainings out of a work directory; of several processes the first one does."""
    first = os.environ.get("RANK", "0") == "0"
    return locked(Path(work_dir), "another training", alone=True) if first else nullcontext()


def _run(config: Config, arguments: argparse.Namespace) -> int:
    """Builds and trains; the exit code."""
    warnings = check_training(config, arguments.config)
    runner: Runner | None = None
    try:
        with (
            leaving_nothing(config.work_dir, unless=lambda: runner is not None and runner.began),
            writers_closed(),
        ):
            with building(arguments.config):
                runner = Runner.from_cfg(config)
                runner.prepare_training()
            if arguments.overwrite and not config.get("resume") and runner.rank == 0:
                for path in checkpoints_in(config.work_dir):  # only now that the new run can begin
                    path.unlink()
            if runner.rank == 0 and _run_id():
                replace_file(Path(config.work_dir, RUN_ID), _run_id().encode())
            _train(runner, warnings)
        finish_together()
        if runner.rank == 0 and checkpoints_in(config.work_dir):
            print(_next(arguments, runner))
    except TrainingStopped as stopped:
        finish_together()
        if runner is not None and runner.rank == 0:
            print(resume_hint(arguments.command_line, config.work_dir, str(stopped)), file=sys.stderr)
        return STOPPED
    except KeyboardInterrupt:
        of_this_run = config.get("resume") or (runner is not None and runner.began)
        hint = resume_hint(arguments.command_line, config.work_dir) if of_this_run else ONCE_MORE
        print(f"\n{hint}", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        if error.errno not in FULL or error.filename is not None:
            raise
        told = no_room(error, Path(config.work_dir, "any"))  # such as a log, of which the error does not say the name
        raise OSError(told.errno, f"{told.strerror}{intact_in(Path(config.work_dir))}", config.work_dir) from error
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


def _config_of(arguments: argparse.Namespace) -> Path:
    """The config of a dataset's folder, planned where there is none yet.

    Raises:
        ConfigError: the config is another folder's or was planned by other options, or several processes would plan.
    """
    config = work_dir_of(arguments.config, arguments.work_dir) / CONFIG
    if config.is_file() and not arguments.overwrite:
        _refuse_another_plan(config, arguments)
        print(f"Training by {config}, which was planned before; --overwrite plans anew, by the same dataset.toml.")
        return config
    if arguments.launcher == "pytorch":
        raise ConfigError(f"{config} is not there yet: plan it first, by rgbx init {arguments.config}")
    planned: Path = late("rgbx.cli.init", "write_plan")(argparse.Namespace(**vars(arguments), folder=arguments.config))
    return planned


def _refuse_another_plan(config: Path, arguments: argparse.Namespace) -> None:
    """Whether a plan is of this folder, and by the options that are stated now.

    Raises:
        ConfigError: it is not.
    """
    file, own = config.with_name(RECORD), str(Path(arguments.config).resolve())
    record: Any = read_json(file) if file.is_file() else {}
    out = "--work-dir DIR trains elsewhere, --overwrite plans anew"
    if not isinstance(record, dict):
        raise ConfigError(f"{file} is no plan: {out}")
    if record.get("folder", own) != own:
        raise ConfigError(f"{config} was planned for {record['folder']}: {out}")
    asked = record.get("asked") or {}
    chosen = {choice["choice"]: choice["value"] for choice in record.get("choices", ())}
    taken = {  # what "all maps" or "auto" came to
        "modalities": chosen.get("modalities"),
        "pretrained": chosen.get("pretrained") or "none",
        "device": record.get("machine", {}).get("device"),
    }
    differ = [
        f"--{name} {_words(value)} (the plan: {_words(asked[name]) if name in asked else 'not told'})"
        for name, value in planning(arguments).items()
        if getattr(arguments, name) is not None and value not in (asked.get(name), taken.get(name))
    ]
    if differ:
        raise ConfigError(f"{config} was planned otherwise than {', '.join(differ)}: {out}")


def _words(value: object) -> str:
    """An option's value as a command line has it."""
    if isinstance(value, dict):
        return " ".join(f"{part}={name}" for part, name in value.items()) or "as usual"
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, float):
        return str(late("rgbx.configure.planner", "time_text")(value))
    return "all" if value is None else str(value)


def _train(runner: Runner, warnings: Sequence[str]) -> None:
    for warning in warnings:
        runner.logger.warning(warning)
    if runner.rank == 0:
        runner.logger.info(describe_model(runner))
    runner.train()
    if runner.rank == 0 and runner.keeps_scalars:
        _plot(runner)


def _plot(runner: Runner) -> None:
    """Writes ``curves.png`` of the loss and each head's first score."""
    dataset = runner.train_dataloader.dataset
    scores = headlines(runner.network.tasks, dataset.metainfo)
    late("rgbx.train.curves", "plot_losses")(runner.work_dir, Path(runner.work_dir, "curves.png"), scores)


def _next(arguments: argparse.Namespace, runner: Runner) -> str:
    """What a training has come to, and the commands that follow."""
    best, kept = runner.message_hub.get_info("best_ckpt"), find_result(runner.work_dir)
    told = f"Trained {runner.max_epochs} epochs; "
    if best == kept.name:
        metric, epoch = re.findall(r"best_(.+)_epoch_(\d+)", best)[0]
        told += f"the best is {kept}, of epoch {epoch}: {metric} {runner.message_hub.get_info('best_score'):.4g}."
    else:
        told += f"the last checkpoint is {kept}."
    place = shlex.quote(runner.work_dir)
    report = shlex.quote(str(Path(runner.work_dir, "report")))
    test = f"    rgbx test {shlex.quote(str(arguments.config))} {place} --report {report}"
    lines = [told, "", "Next:", "", *([test] if runner.cfg.get("test_dataloader") else [])]
    return "\n".join([*lines, *(f"    {text}" for text in _uses(runner, place))])


def _uses(runner: Runner, place: str) -> list[str]:
    """The commands that use a model: one for heads that predict, and one for those that embed."""
    model, dataset = runner.network, runner.train_dataloader.dataset
    while not isinstance(dataset, FolderDataset) and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    recorded = dataset.root if isinstance(dataset, FolderDataset) and dataset.stamps else None
    embedding = [task for task in model.tasks.values() if isinstance(task, Embedding)]
    found = []
    if len(embedding) < len(model.tasks):
        inputs = late("rgbx.cli.init", "next_inputs")(model.modalities, recorded)
        found.append(f"rgbx predict {place} {inputs} --out predictions")
    if embedding:
        maps = [f"{name}={name.upper()}" for name in model.modalities]
        masks = "" if all(task.by == "frame" for task in embedding) else " --masks MASKS"
        found.append(f"rgbx retrieve {place} --index {maps[-1]} --query {maps[0]}{masks} --out found")
    return found


def describe_model(runner: Runner) -> str:
    """Parameters and operations of the model, at the size of the training samples, and the weights it starts from."""
    model = runner.network
    sample = runner.train_dataloader.dataset[0]
    size = next(sample[name].shape[-2:] for name in model.modalities if name in sample)
    description = f"{type(model).__name__}: {measure_complexity(model, tuple(size))}"
    weights = getattr(getattr(model, "backbone", None), "pretrained_summary", None)
    return description if weights is None else f"{description}\n{weights}"


def read_config(arguments: argparse.Namespace) -> Config:
    """The config with its work directory."""
    config = load_config(arguments.config, options=arguments.cfg_options, data_root=arguments.data_root)
    config.work_dir = str(
        arguments.work_dir or config.get("work_dir") or Path("work_dirs", Path(arguments.config).stem)
    )
    return config


def configure(config: Config, arguments: argparse.Namespace) -> None:
    """Adds everything that the command line says to what `read_config` gives, in place.

    Raises:
        ConfigError: arguments that contradict each other.
    """
    use_launcher(config, arguments)
    if _started_again(config.work_dir) and (arguments.resume is None or checkpoints_in(config.work_dir)):
        arguments.resume = "auto"  # also where the first start went on from a file, which is older than these
    _refuse_begun(config, arguments)
    if arguments.device is not None:
        find_device(arguments.device)
        config.device = arguments.device
    check_roots(config)
    randomness = dict(config.get("randomness") or {})
    if arguments.seed is not None:
        randomness["seed"] = arguments.seed
    if arguments.deterministic:
        randomness["deterministic"] = True
    config.randomness = {"seed": 0, **randomness}
    if arguments.load_from:
        config.load_from = str(find_checkpoint(arguments.load_from))
    if arguments.resume is not None or config.get("resume"):
        _resume(config, arguments.resume or "auto")
    if config.get("resume") and isinstance(config.model, dict):  # a run keeps the figures that it began with
        derive_from_checkpoint(config.model, config.load_from, trust=config.trust_checkpoint)
    if told := derive_from_data(config):
        print(told)
    if arguments.log:
        stem = Path(arguments.config).stem
        add_trackers(config, arguments.log, Path(config.work_dir).resolve().name if stem == Path(CONFIG).stem else stem)


def _started_again(work_dir: str) -> bool:
    """Whether torchrun has started the processes again, after one of them died.

    It counts that where the process died, and not on other nodes, whose processes it starts again, too; there the run's
    name tells, which the first process notes when it begins.
    """
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":
        return True
    if os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") == "0":
        return False  # whoever gives the name again has started it by hand
    note = Path(work_dir, RUN_ID)
    return bool(_run_id()) and note.is_file() and note.read_text(errors="replace") == _run_id()


def _run_id() -> str:
    """The name of a run of torchrun, which all of its nodes share; "" where it has none."""
    found = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return "" if found == "none" else found


def _refuse_begun(config: Config, arguments: argparse.Namespace) -> None:
    """Whether a run that is not resumed would write over the checkpoints of another one.

    Raises:
        ConfigError: it would, unasked, or it starts from one that is to be removed.
    """
    left = checkpoints_in(config.work_dir)
    if not left or arguments.resume is not None or config.get("resume"):
        return
    if not arguments.overwrite:
        raise ConfigError(
            f"{config.work_dir} holds the checkpoints of a run, such as {left[0].name}: --resume continues it, "
            "--work-dir DIR trains elsewhere, --overwrite removes them and begins anew"
        )
    start = arguments.load_from or config.get("load_from")
    if start and find_result(start).resolve() in {path.resolve() for path in left}:
        raise ConfigError(f"--overwrite would remove {start}, which the run is to start from: give another --work-dir")


def _resume(config: Config, source: str) -> None:
    """Notes what to resume: a file, or the newest intact one; "auto" with nothing there starts as without it."""
    folder = config.work_dir if source == "auto" else source
    found = find_intact(folder) if Path(folder).is_dir() else Path(folder) if source != "auto" else None
    config.resume = found is not None
    if found is None:
        print(f"Nothing to resume in {config.work_dir}: starting at epoch 1.")
    else:
        config.load_from = str(found)
        without_initial_weights(config)


def use_launcher(config: Config, arguments: argparse.Namespace) -> None:
    """Notes the launcher and the trust in the config.

    Raises:
        ConfigError: torchrun is asked for but did not start this process.
    """
    if arguments.launcher == "pytorch" and "RANK" not in os.environ:
        raise ConfigError(
            "--launcher pytorch needs torchrun: torchrun --nproc-per-node 2 -m rgbx train CONFIG --launcher pytorch"
        )
    if arguments.overwrite and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        raise ConfigError(
            "--overwrite would begin anew whenever torchrun restarts the processes (--max-restarts "
            f"{os.environ['TORCHELASTIC_MAX_RESTARTS']}): give another --work-dir, or leave one of the two out"
        )
    if os.environ.get("TORCHELASTIC_RESTART_COUNT") and os.environ["RANK"] == "0" and _meets_at_old_addresses():
        print(f"warning: {OLD_ADDRESSES}", file=sys.stderr)
    config.launcher = arguments.launcher
    config.trust_checkpoint = bool(arguments.trust or config.get("trust_checkpoint", False))


def _meets_at_old_addresses() -> bool:
    """Whether torchrun will start processes again beside a store that still has the addresses of those before."""
    told = os.environ
    return told.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0" and told.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def resume_hint(command_line: Sequence[str], work_dir: str, what: str = "Interrupted") -> str:
    """What to do after an interruption: the same command, with --resume."""
    last = find_last(work_dir)
    if last is None:
        return ONCE_MORE
    words = [*_without_flags(command_line), "--resume"]
    if "RANK" in os.environ:
        started = words[1:] if words[0] == "python" else words
        words = ["torchrun", *_torchrun_options(), *started]
        words = [OWN_STORE, *words] if "--max-restarts" in words else words
    where = ", on every node" if "--nnodes" in words else ""
    return f"{what}; {last} is complete. Resume with{where}: {shlex.join(words)}"


def _torchrun_options() -> list[str]:
    """What torchrun was asked for by the words that start this run again, as far as it tells."""
    told = os.environ
    local = int(told.get("LOCAL_WORLD_SIZE", "1"))
    words = ["--nproc-per-node", str(local)]
    nodes = int(told.get("GROUP_WORLD_SIZE") or int(told.get("WORLD_SIZE", local)) // local)
    if nodes > 1:
        meeting = ["--rdzv-backend", "c10d", "--rdzv-endpoint", told.get("MASTER_ADDR", "HOST")]
        words = ["--nnodes", str(nodes), *words, *meeting, "--rdzv-id", told.get("TORCHELASTIC_RUN_ID", "ID")]
    if told.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        words += ["--max-restarts", told["TORCHELASTIC_MAX_RESTARTS"]]
    return words


def _without_flags(words: Sequence[str]) -> list[str]:
    """The words without --overwrite and --resume, which argparse also takes abbreviated, and the latter's value."""
    kept: list[str] = []
    after_flag = False
    for word in words:
        name = word.partition("=")[0]
        is_flag = len(name) > 2 and "--resume".startswith(name)
        if len(name) > 2 and "--overwrite".startswith(name):
            continue
        if not is_flag and not (after_flag and not word.startswith("-")):
            kept.append(word)
        after_flag = is_flag and "=" not in word
    return kept
