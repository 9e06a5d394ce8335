"""On which frames a checkpoint was chosen, as its file notes it and as results say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rgbx._types import Options, State
from rgbx.evaluate.session import Session

SELECTED = "selected"  # in the `meta` of a checkpoint
_CHOICES = ("holdout", "cities", "every")  # options of datasets that take a part of a split


def selection(session: Session, dataset: Options | object, by: str) -> dict[str, Any]:
    """What a checkpoint notes of the validation that chose it.

    Args:
        session: that has evaluated the frames.
        dataset: the options of the dataset in the config, or the dataset.
        by: the score that was best.

    Returns:
        ``on``, the split, ``by``, and ``frames``, see `Session.frames`.
    """
    return {"on": split_name(dataset), "by": by, "frames": session.frames()}


def split_name(dataset: Options | object) -> str:
    """The part of its data that a dataset is, in words: "val", "train (holdout only)", or its class."""
    options = dataset if isinstance(dataset, Mapping) else vars(dataset)
    if options.get("dataset") is not None:  # a dataset around another one
        inner, parts = split_name(options["dataset"]), _parts(options)
        return f"{inner} ({parts})" if parts else inner
    name = options.get("split") or options.get("list_file") or getattr(options.get("type"), "__name__", None)
    parts = _parts(options)
    return f"{name or type(dataset).__name__}{f' ({parts})' if parts else ''}"


def _parts(options: Options) -> str:
    found = {key: options[key] for key in _CHOICES if options.get(key) not in (None, 1, ())}
    texts = {key: ", ".join(map(str, x)) if isinstance(x, (list, tuple)) else str(x) for key, x in found.items()}
    return "; ".join(f"{key} {text}" for key, text in texts.items())


def selection_facts(state: State, file: str, frames: Sequence[str]) -> dict[str, str]:
    """What a result says of the choice of its checkpoint.

    Args:
        state: what the checkpoint's file holds.
        file: its name, for messages.
        frames: those that were scored, see `Session.frames`.

    Returns:
        ``selected_on``, the split and the score; where frames are scored that the checkpoint was chosen on, also
        ``overlap``, how many. Nothing where the checkpoint does not tell.

    Raises:
        ValueError: the checkpoint's note is of another form.
    """
    meta = state.get("meta")
    note = meta.get(SELECTED) if isinstance(meta, Mapping) else None
    if note is None:
        epoch = meta.get("epoch") if isinstance(meta, Mapping) and "optimizer" in state else None
        return {} if epoch is None else {"selected_on": f"no split: epoch {epoch} of its run, not selected"}
    right = isinstance(note, Mapping) and isinstance(note.get("frames"), (list, tuple))
    if not right or not all(isinstance(note.get(key), str) for key in ("on", "by")):
        raise ValueError(f"checkpoint {file}: meta.{SELECTED} is {note!r:.60}; expected a dict of on, by and frames")
    known = {frame for frame in note["frames"] if isinstance(frame, str)}
    common = sum(frame in known for frame in frames)
    facts = {"selected_on": f"{note['on']}, by {note['by']}"}
    return facts | ({"overlap": f"{common} of {len(frames)} frames"} if common else {})
