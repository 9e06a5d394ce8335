"""Plans a training of a folder: the body of `rgbx init`."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from rgbx.cli.errors import ConfigError, command
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

CONFIG, RECORD = "config.py", "plan.json"
_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Parses, plans, writes; exit code 0, 2 for a folder that cannot be trained on or a user's error."""
    arguments = _parser().parse_args(argv)
    write_plan(arguments)
    return 0


def write_plan(arguments: argparse.Namespace) -> Path:
    """Plans the training of a folder and writes its config, its record and, where it needs one, its declaration.

    Args:
        arguments: of `add_init_arguments`.

    Returns:
        The config.

    Raises:
        ConfigError: files that are there already.
        OSError, ValueError: see `rgbx.configure.read_folder` and `find_initial`; nothing was written.
    """
    root = Path(arguments.folder).expanduser()
    work_dir = default_work_dir(root) if arguments.work_dir is None else Path(arguments.work_dir)
    for file in (work_dir / CONFIG, work_dir / RECORD):
        if file.exists() and not arguments.overwrite:
            raise ConfigError(f"{file} is there already: --overwrite replaces it, --work-dir DIR writes elsewhere")
    device = find_device(arguments.device)
    data = read_folder(root, dict(arguments.split), arguments.modalities)
    machine = this_machine(device)
    weights = cache(partial(find_initial, wanted=arguments.pretrained))
    plan = plan_training(data, machine, arguments.budget, DryRun(data, machine, device, weights), weights)
    words = shlex.join(["rgbx", "init", str(arguments.folder), "--budget", f"{arguments.budget:g}s"])
    text = config_text(data, machine, plan, work_dir=str(work_dir.resolve()), command=words)
    files = {work_dir / CONFIG: text, work_dir / RECORD: plan_record(data, machine, plan)}
    if data.declaration:
        files[root / DECLARATION] = data.declaration
    _write(files)
    for warning in data.warnings:
        print(f"Warning: {warning}")
    print(summary(data, plan))
    print(_next(data, work_dir))
    return work_dir / CONFIG


def default_work_dir(folder: Path) -> Path:
    """Where the training of a folder goes."""
    return Path("work_dirs", folder.expanduser().resolve().name)


def _write(files: Mapping[Path, str]) -> None:
    """Writes all files, or none."""
    before = {path: path.read_bytes() if path.exists() else None for path in files}
    made = [folder for path in files for folder in path.parents if not folder.exists()]
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, text.encode())
    except BaseException:
        for path, content in before.items():
            if content is not None:
                path.write_bytes(content)
            else:
                path.unlink(missing_ok=True)
        for folder in sorted(made, key=lambda folder: -len(folder.parts)):
            if folder.is_dir():
                folder.rmdir()
        raise


def _next(data: Data, work_dir: Path) -> str:
    """The commands that follow."""
    place = shlex.quote(str(work_dir))
    maps = " ".join(f"{name}={name.upper()}" for name in data.modalities)
    lines = [f"Wrote {work_dir / CONFIG} and {RECORD}, with the reason of every choice."]
    if data.declaration:
        file = data.root / DECLARATION
        named = ": see whether its reasons hold, and put the names of your classes" if data.classes else ""
        lines.append(f"Wrote {file}{named}.")
    lines += [
        "", "Next:", "", f"    rgbx train {place}/{CONFIG}",
        f"    rgbx predict {place} {maps} --out predictions     (then)",
    ]  # fmt: skip
    return "\n".join(lines)


def seconds(text: str) -> float:
    """An argument's type: a duration, such as 30min, 1h or 8h."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", text.strip().lower())
    if not found or found[2] not in _UNITS or not float(found[1]) > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; expected such as 30min, 1h or 8h")
    return float(found[1]) * _UNITS[found[2]]


def _split(text: str) -> tuple[str, str]:
    role, equals, name = text.partition("=")
    if role not in ("train", "val", "test") or not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not train=NAME, val=NAME or test=NAME")
    return role, name


def add_init_arguments(parser: argparse._ActionsContainer) -> None:
    """What planning takes beside its folder; `rgbx train FOLDER` has the same."""
    parser.add_argument("--budget", type=seconds, default=3600.0, metavar="TIME", help="such as 30min, 1h, 8h (1h)")
    parser.add_argument("--device", default="auto", metavar="cpu|cuda|auto", help="what trains (auto)")
    parser.add_argument(
        "--pretrained", default="auto", metavar="auto|none|timm|FILE", help="weights the encoder starts from (auto)"
    )
    parser.add_argument(
        "--split", nargs="+", type=_split, default=[], metavar="PART=NAME",
        help="names of the folder's splits that are not the usual ones, such as train=day val=dusk",
    )  # fmt: skip
    parser.add_argument("--modalities", nargs="+", metavar="NAME", help="take these of the folder's maps (all)")
    parser.add_argument("--overwrite", action="store_true", help="replace the files of an earlier plan")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Plan a training of a folder within a budget of time.")
    parser.add_argument("folder", help="that holds the dataset")
    parser.add_argument("--work-dir", help=f"where {CONFIG} and {RECORD} go (work_dirs/ and the folder's name)")
    add_init_arguments(parser)
    return parser
