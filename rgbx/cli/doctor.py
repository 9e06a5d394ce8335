"""Examines a dataset and reports what is wrong with it."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rgbx._choices import DATALOADERS
from rgbx._late import late
from rgbx._types import Options
from rgbx.cli.arguments import existing_dataset
from rgbx.cli.errors import FAILED, ConfigError, command
from rgbx.datasets import build_dataset, propose, recognise, split_names
from rgbx.datasets.declaration import read_declaration
from rgbx.datasets.folder import DECLARATION
from rgbx.datasets.sample import build_from
from rgbx.doctor import diagnose, text_report
from rgbx.maps import replace_file

if TYPE_CHECKING:
    from rgbx.cli.config import Config


@command("doctor")
def main(arguments: argparse.Namespace) -> int:
    """Parses, opens the splits, examines, reports.

    Exit code 0 clean or facts only, 1 warnings, 2 errors (also of the command itself).
    """
    if not _declared(arguments.target, write=arguments.write_toml):
        return FAILED
    builders = dataset_builders(
        arguments.target,
        arguments.split,
        modalities=arguments.modalities,
        data_root=arguments.data_root,
        options=arguments.cfg_options,
    )
    optional = Path(arguments.target).is_dir() and not arguments.split
    diagnosis = diagnose(builders, samples=arguments.samples, seed=arguments.seed, optional=optional)
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(text_report(diagnosis, width=min(shutil.get_terminal_size((120, 24)).columns, 140), colour=colour))
    if arguments.write_toml:
        print(_next_step(arguments.target))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"target": arguments.target, **diagnosis.as_dict()}, indent=2) + "\n")
    if arguments.contact_sheet and diagnosis.splits:
        late("rgbx.cli.doctor_sheet", "save_sheet")(diagnosis, arguments.contact_sheet)
        print(f"contact sheet: {arguments.contact_sheet}")
    return diagnosis.exit_code


def _declared(target: str, *, write: bool) -> bool:
    """Whether the target can be opened; proposes, or writes, a declaration for an unknown folder.

    Raises:
        ConfigError: `write`, and the target needs none, or none can be proposed.
    """
    known = recognise(target) if Path(target).is_dir() else []
    if write and not Path(target).is_dir():
        raise ConfigError(f"--write-toml needs a folder, found {target}")
    if write and known:
        raise ConfigError(f"--write-toml would change how {target} is read: it is {known[0]}")
    if known or not Path(target).is_dir():
        return True
    proposal, file = propose(target), Path(target, DECLARATION)
    if proposal.text is None:
        if write:
            raise ConfigError(f"no {DECLARATION} can be proposed for {target}: {'; '.join(proposal.notes)}")
        return True  # opening it says what was looked for
    if write:
        replace_file(file, proposal.text.encode())
        print(f"wrote {file}:\n\n{proposal.text}")
        return True
    if any(recognise(path) for path in Path(target).iterdir() if path.is_dir()):
        return True  # opening it names that folder
    print(
        f"{target} has no known layout. With --write-toml, this is written as its {DECLARATION} and examined:\n\n"
        f"{proposal.text}"
    )
    for note in proposal.notes:
        if note not in proposal.text:
            print(f"Note: {note}")
    return False


def _next_step(target: str) -> str:
    """What to do with a folder whose declaration was just written."""
    file = Path(target, DECLARATION)
    command = f"\n\n    rgbx train {shlex.quote(target)}"
    if not read_declaration(file).classes:
        return (
            f"{file} has no labels: its maps can be translated into each other. Next: see whether its reasons hold, "
            f"and train:{command}"
        )
    return f"Next: see whether the reasons in {file} hold, name its classes, and train:{command}"


def dataset_builders(
    target: str,
    split: str | None = None,
    *,
    modalities: Sequence[str] | None = None,
    data_root: str | None = None,
    options: Sequence[str] = (),
) -> dict[str, Callable[[], Any]]:
    """Split name -> function that builds its dataset, from a config file or from a dataset's folder.

    Raises:
        FileNotFoundError, ConfigError: no such target or split, or a config without datasets.
    """
    if target.endswith(".py"):
        config = late("rgbx.cli.config", "load_config")(target, options=options, data_root=data_root)
        return _from_config(config, target, split, {} if modalities is None else {"modalities": tuple(modalities)})
    if data_root or options:
        raise ConfigError("--data-root and --cfg-options need a config; the target here is a folder")
    existing_dataset(target)
    names = (split,) if split else split_names(target)
    return {name: partial(build_dataset, target, name, modalities=modalities) for name in names}


def _from_config(config: Config, target: str, split: str | None, changes: Options) -> dict[str, Callable[[], Any]]:
    """The datasets of the loaders; equal ones once, under all their names."""
    names: dict[str, list[str]] = {}
    datasets: dict[str, Any] = {}
    for loader in DATALOADERS:
        if isinstance(config.get(loader), dict) and config[loader].get("dataset"):
            dataset = {key: value for key, value in config[loader].dataset.items() if key != "transforms"}
            dataset |= changes
            names.setdefault(repr(dataset), []).append(loader.removesuffix("_dataloader"))
            datasets[repr(dataset)] = dataset
    if not datasets:
        raise ConfigError(f"{target} has no dataset in {', '.join(DATALOADERS)}")
    found = {key: dataset for key, dataset in datasets.items() if split is None or split in names[key]}
    if not found:
        raise ConfigError(
            f"--split {split}: {target} has {', '.join(name for group in names.values() for name in group)}"
        )
    return {", ".join(names[key]): partial(build_from, dataset) for key, dataset in found.items()}
