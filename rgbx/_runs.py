"""Which file a checkpoint's name means: the best or the last of a work directory, a model's folder, or a hub's name."""

from __future__ import annotations

import re
from pathlib import Path

from rgbx._files import existing_file
from rgbx._text import nearest, nearest_file

LAST_CHECKPOINT, LONGEST_NOTE = "last_checkpoint", 4096
_RESUMABLE = re.compile(r"epoch_(\d+)(?:_iter_(\d+))?\.pth", re.ASCII)
WEIGHTS, DESCRIPTION = "model.safetensors", "config.json"  # of a model as a folder
HUB = "hf-hub:"
_OF_HUB = re.compile(
    r"hf-hub:(?P<repository>[\w.-]{1,96}/[\w.-]{1,96})(@(?P<revision>[\w.-][\w./-]{0,199}))?", re.ASCII
)


def find_result(path: str | Path) -> Path:
    """The checkpoint to evaluate: the file itself, a work directory's best one or its last, or the weights of a folder.

    A name on a hub stays as it is, see `rgbx.models.folder.find_checkpoint`, which fetches it.

    Raises:
        FileNotFoundError: nothing lies there, or a directory without checkpoints.
        ValueError: neither a file nor a directory, or no name that a hub's repository can have.
    """
    if str(path).startswith(HUB):
        hub_name(str(path))
        return Path(path)
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        if not path.exists():
            near = nearest(path.name, (item.name for item in path.parent.glob("*"))) or nearest_file(path)
            raise FileNotFoundError(f"checkpoint {path}: no such file or work directory{near}")
        return existing_file(path, "checkpoint")  # says what it is
    best = sorted(path.glob("best_*.pth"), key=lambda file: file.stat().st_mtime)
    found = best[-1] if best else find_last(path)
    if found is None and all((path / name).is_file() for name in (WEIGHTS, DESCRIPTION)):
        found = path / WEIGHTS
    if found is None:
        raise FileNotFoundError(
            f"the folder {path} holds no checkpoint (best_*.pth or epoch_*.pth, or {WEIGHTS} with {DESCRIPTION}): give "
            "a checkpoint's file, the work directory of a training that has finished an epoch, or a folder of rgbx "
            "models save"
        )
    return found


def hub_name(text: str) -> tuple[str, str | None]:
    """Repository and revision of "hf-hub:OWNER/NAME" or "hf-hub:OWNER/NAME@REVISION"; None for the main one.

    Raises:
        ValueError: another form.
    """
    found = _OF_HUB.fullmatch(text)
    if found is None or ".." in text:
        raise ValueError(
            f"{text[:300]!r} names no model of a hub; expected hf-hub:OWNER/NAME, or with @REVISION behind it"
        )
    return found["repository"], found["revision"]


def find_last(work_dir: str | Path) -> Path | None:
    """The checkpoint that `--resume` continues from, or None where no epoch was finished.

    Only files inside `work_dir` count, also where an older note holds an absolute path.
    """
    work_dir = Path(work_dir)
    note = work_dir / LAST_CHECKPOINT
    if note.is_file():
        name = Path(note.read_bytes()[:LONGEST_NOTE].decode(errors="replace").strip()).name
        if name in {file.name for file in work_dir.iterdir() if file.is_file()}:
            return work_dir / name
    found = resumable_in(work_dir)
    return found[-1] if found else None


def resumable_name(epoch: int, iteration: int | None = None) -> str:
    """The file of a training's state after so many epochs, or inside the next one after so many iterations in all."""
    return f"epoch_{epoch}.pth" if iteration is None else f"epoch_{epoch}_iter_{iteration}.pth"


def is_inside_epoch(name: str) -> bool:
    """Whether a resumable checkpoint, by its name, was saved between two steps of an epoch."""
    found = _RESUMABLE.fullmatch(name)
    return found is not None and found[2] is not None


def resumable_in(work_dir: str | Path) -> list[Path]:
    """The checkpoints of a work directory that a training can go on from, the oldest state first."""
    found = {path: _RESUMABLE.fullmatch(path.name) for path in Path(work_dir).glob("epoch_*.pth")}
    states = {path: (int(match[1]), int(match[2] or 0)) for path, match in found.items() if match}
    return sorted(states, key=lambda path: states[path])


def checkpoints_in(work_dir: str | Path) -> list[Path]:
    """The checkpoints that a run has left, and the note of the last one; none where there is no such folder."""
    found = sorted(Path(work_dir).glob("best_*.pth"))
    found += resumable_in(work_dir)
    return found + [path for path in (Path(work_dir, LAST_CHECKPOINT),) if path.is_file()]


def config_hint(path: str | Path) -> str:
    """Names the config that training left beside a checkpoint, for messages; empty where there is none."""
    configs = sorted(Path(path).parent.glob("*.py"), key=lambda file: file.stat().st_mtime)
    return f" It was trained with {configs[-1]}" if configs else ""
