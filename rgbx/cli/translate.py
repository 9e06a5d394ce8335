"""Translates files or folders of maps with a trained checkpoint: any of its heads that predicts a map."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rgbx.cli.arguments import named_paths
from rgbx.cli.config import load_config
from rgbx.cli.errors import ConfigError, command
from rgbx.cli.model import config_model, model_from
from rgbx.cli.predict import answers, describe_maps, parse_maps
from rgbx.models import MultimodalModel, Predictor
from rgbx.models.checkpoint import read_checkpoint
from rgbx.models.folder import find_checkpoint
from rgbx.models.inputs import Frame, paired
from rgbx.profile.measure import find_device
from rgbx.tasks import Map


@command("translate")
def main(arguments: argparse.Namespace) -> int:
    """Builds, translates file after file; exit code 0, 2 for a user's error, 130 for Ctrl-C."""
    inputs = named_paths(arguments.input)
    model = read_translator(arguments)
    head = find_map(model, arguments.head)
    predictor = Predictor(model, arguments.protocol, modalities=tuple(inputs), heads=[head])
    if absent := [name for name in model.modalities if name not in inputs]:
        print(f"The model also takes {', '.join(absent)}, which --input does not give: translating without.")
    said = parse_maps(arguments.map)
    reading, written = describe_maps(model, list(inputs), predictor.tasks, said, usual=True)
    jobs = list_jobs(inputs, Path(arguments.out), overwrite=arguments.overwrite)
    frames = iter([Frame(job.out.stem, job.files) for job in jobs])
    for job, result in zip(
        jobs, answers(predictor, reading, frames, model.trained_on, branch=arguments.branch), strict=True
    ):
        written[head].write(job.out, written[head].nearest(result[head].values))
    target = predictor.tasks[head].target
    print(f"{len(jobs)} image{'s' if len(jobs) > 1 else ''} of {target} written: {arguments.out}")
    return 0


def read_translator(arguments: argparse.Namespace) -> MultimodalModel:
    """The checkpoint's model on the device, in evaluation mode.

    Raises:
        ConfigError: a config of another model.
    """
    *configs, checkpoint = arguments.model
    file = find_checkpoint(checkpoint)
    state = read_checkpoint(file, trust=arguments.trust)
    ours = config_model(load_config(configs[0], options=arguments.cfg_options)) if configs else None
    return model_from(ours, state, file, arguments.model_from).to(find_device(arguments.device))


def find_map(model: MultimodalModel, head: str | None) -> str:
    """The head to translate with.

    Args:
        model: of any heads.
        head: its name; None for the only one that predicts a map.

    Raises:
        ConfigError: no such head, none, or several.
    """
    maps = {name: task for name, task in model.tasks.items() if isinstance(task, Map)}
    known = ", ".join(f"{name} ({task.kind})" for name, task in model.tasks.items())
    if head is not None and head not in maps:
        raise ConfigError(f"--head {head}: no head of that name predicts a map; the model has {known}")
    if not maps or (head is None and len(maps) > 1):
        raise ConfigError(f"{'say which by --head' if maps else 'no head predicts a map'}; the model has {known}")
    return head or next(iter(maps))


class Job(NamedTuple):
    """The files of one translation by the name of their map, and the PNG to write."""

    files: dict[str, Path]
    out: Path


def list_jobs(inputs: Mapping[str, Path], out: Path, *, overwrite: bool = False) -> list[Job]:
    """What to translate: one job for files, one per stem for folders.

    Args:
        inputs: files, or folders whose images are matched by their stems.
        out: the PNG to write, or the folder of them.
        overwrite: whether results may replace files that are there; inputs are never replaced.

    Raises:
        FileNotFoundError: an image without its partner, which is named.
        FileExistsError: a result is there already.
        ConfigError: files beside folders, or a result that is no PNG.
    """
    folders = [path.is_dir() for path in inputs.values()]
    if any(folders) and not all(folders):
        raise ConfigError("--input takes files or folders, not both at once")
    jobs = _folder_jobs(inputs, out) if all(folders) else [_file_job(inputs, out)]
    read = {path.resolve() for job in jobs for path in job.files.values()}
    for job in jobs:
        if job.out.resolve() in read:
            raise ConfigError(f"{job.out} is an input; write the result elsewhere")
        if job.out.exists() and not overwrite:
            raise FileExistsError(f"{job.out} is there already: choose another --out, or pass --overwrite")
    return jobs


def _file_job(inputs: Mapping[str, Path], out: Path) -> Job:
    out = out / f"{next(iter(inputs.values())).stem}.png" if out.is_dir() else out
    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out {out}: results are PNG files, as others lose values; end it in .png")
    return Job(dict(inputs), out)


def _folder_jobs(inputs: Mapping[str, Path], out: Path) -> list[Job]:
    if out.suffix.lower() == ".png" or (out.exists() and not out.is_dir()):
        raise ConfigError(f"--out {out} is a file, and the inputs are folders: give a folder")
    return [Job(files, out / f"{stem}.png") for stem, files in paired(inputs).items()]
