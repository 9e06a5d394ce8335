"""Plans a training of a folder: `rgbx init`."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

from rgbx._files import refuse_unwritable
from rgbx.cli.arguments import CONFIG, RECORD, planning, work_dir_of
from rgbx.cli.errors import command
from rgbx.configure import (
    Data,
    DryRun,
    config_text,
    find_initial,
    plan_record,
    plan_training,
    read_folder,
    summary,
    this_machine,
)
from rgbx.datasets.folder import DECLARATION
from rgbx.maps import replace_file
from rgbx.profile.measure import find_device


@command("init")
def main(arguments: argparse.Namespace) -> int:
    """Plans and writes; exit code 0, 2 for a folder that cannot be trained on or a user's error."""
    write_plan(arguments)
    return 0


def write_plan(arguments: argparse.Namespace) -> Path:
    """Plans the training of a folder and writes its config, its record and, where it needs one, its declaration.

    Args:
        arguments: of `rgbx init`.

    Returns:
        The config.

    Raises:
        OSError, ValueError: see `rgbx.configure.read_folder` and `find_initial`; nothing was written.
    """
    root = Path(arguments.folder).expanduser()
    work_dir = work_dir_of(root, arguments.work_dir)
    asked = planning(arguments)
    device = find_device(asked["device"])
    refuse_unwritable(work_dir, "--work-dir DIR writes elsewhere")
    data = read_folder(root, asked["split"], asked["modalities"])
    if data.declaration:
        refuse_unwritable(
            root / DECLARATION,
            "its layout is not known, so that it needs this file beside its frames: make the folder writable, or copy "
            "it to where you may write",
        )
    machine = this_machine(device)
    weights = cache(partial(find_initial, wanted=asked["pretrained"]))
    plan = plan_training(data, machine, asked["budget"], DryRun(data, machine, device, weights), weights)
    text = config_text(
        data,
        machine,
        plan,
        work_dir=str(work_dir.resolve()),
        command=shlex.join(arguments.command_line),
        device=asked["device"],
    )
    files = {work_dir / CONFIG: text, work_dir / RECORD: plan_record(data, machine, plan, asked=asked)}
    if data.declaration:
        files[root / DECLARATION] = data.declaration
    _write(files)
    for warning in data.warnings:
        print(f"Warning: {warning}")
    print(summary(data, plan))
    for note in plan.notes:
        print(f"Note: {note}.")
    print(_next(data, work_dir))
    return work_dir / CONFIG


def _write(files: Mapping[Path, str]) -> None:
    """Writes all files, or none."""
    before, written = {path: path.read_bytes() if path.exists() else None for path in files}, []
    made = [folder for path in files for folder in path.parents if not folder.exists()]
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            written.append(path)
            replace_file(path, text.encode())
    except BaseException:
        for path in written:
            with suppress(OSError):  # what failed first is told, and a full disk may fail again
                if (content := before[path]) is None:
                    path.unlink(missing_ok=True)
                elif path.read_bytes() != content:
                    replace_file(path, content)
        for folder in sorted(made, key=lambda folder: -len(folder.parts)):
            with suppress(OSError):  # it is not there, or somebody else's files are
                folder.rmdir()
        raise


def next_inputs(names: Iterable[str], recorded: Path | None) -> str:
    """What `rgbx predict` may be given, for the line that tells it: maps, or the folder of a recording, in which the
    files of one frame have names of their own and are no partners by their stems.
    """
    return " ".join(f"{name}={name.upper()}" for name in names) if recorded is None else shlex.quote(str(recorded))


def _next(data: Data, work_dir: Path) -> str:
    """The commands that follow."""
    place = shlex.quote(str(work_dir))
    inputs = next_inputs(data.modalities, data.root if data.recorded else None)
    lines = [f"Wrote {work_dir / CONFIG} and {RECORD}, with the reason of every choice."]
    if data.declaration:
        file = data.root / DECLARATION
        named = ": see whether its reasons hold, and put the names of your classes" if data.classes else ""
        lines.append(f"Wrote {file}{named}.")
    lines += [
        "", "Next:", "", f"    rgbx train {place}/{CONFIG}",
        f"    rgbx predict {place} {inputs} --out predictions     (then)",
    ]  # fmt: skip
    return "\n".join(lines)
