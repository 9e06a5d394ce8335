"""Which file a checkpoint's name means: the best or the last of a work directory, a model's folder, or a hub's name."""

from __future__ import annotations

import re
from pathlib import Path

from rgbx._digest import fault_of
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
    """The newest checkpoint that `--resume` could continue from, or None where no epoch was finished.

    Only files inside `work_dir` count, also where an older note holds an absolute path. `find_intact` looks into them.
    """
    return next(iter(_newest_first(Path(work_dir))), None)


def find_intact(work_dir: str | Path) -> Path | None:
    """The newest checkpoint whose bytes are those that were written, or None where no epoch was finished.

    Raises:
        ValueError: there are checkpoints, and all are damaged.
    """
    found = _newest_first(Path(work_dir))
    intact = next((path for path in found if not fault_of(path)), None)
    if found and intact is None:
        raise ValueError(
            f"no checkpoint of {work_dir} is intact ({'; '.join(f'{path.name}: {fault_of(path)}' for path in found)}): "
            "put a copy of one there, or begin anew with --overwrite"
        )
    return intact


def passed_over(path: Path) -> list[str]:
    """A sentence for each damaged checkpoint that a training would have gone on from rather than from this one."""
    found = _newest_first(path.parent)
    newer = found[: found.index(path)] if path in found else []
    return [f"checkpoint {other} is damaged: {fault}" for other in newer if (fault := fault_of(other))]


def intact_in(folder: Path, but: str = "") -> str:
    """The newest and the best checkpoint of a folder that are intact, for messages; "" where there is none.

    Args:
        folder: of a run.
        but: the name of one that is not meant.
    """
    best = sorted(folder.glob("best_*.pth"), key=lambda file: file.stat().st_mtime, reverse=True)
    kinds = (_newest_first(folder), best)
    found = [next((path.name for path in kind if path.name != but and _is_intact(path)), "") for kind in kinds]
    names = " and ".join(filter(None, found))
    return names and f"; intact in its folder: {names}"


def _is_intact(path: Path) -> bool:
    try:
        return not fault_of(path)
    except OSError:
        return False


def _newest_first(work_dir: Path) -> list[Path]:
    """The checkpoints that a training can go on from; first of all the one that the note names."""
    found, note = resumable_in(work_dir)[::-1], work_dir / LAST_CHECKPOINT
    if note.is_file():
        name = Path(note.read_bytes()[:LONGEST_NOTE].decode(errors="replace").strip()).name
        if name in {file.name for file in work_dir.iterdir() if file.is_file()}:
            found = [work_dir / name, *(path for path in found if path.name != name)]
    return found


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
