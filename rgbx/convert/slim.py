"""Checkpoints without what only a training needs, for predicting and for handing on."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from rgbx._types import State
from rgbx.evaluate.selection import SELECTED
from rgbx.models.checkpoint import read_checkpoint, save_atomically, to_plain
from rgbx.models.load import model_of

KEPT = ("epoch", "seed", "dataset_meta", SELECTED)  # of `meta`; the rest is the config, with the paths of its machine


def slim(source: str | Path, out: str | Path, *, trust: bool = False, overwrite: bool = False) -> tuple[int, int]:
    """Writes a checkpoint without optimizer, schedules and history, with weights of 16 bits.

    Weights of two axes and more become float16; norms, biases and statistics, which are few, keep their type.
    `rgbx.load` gives float32 as before, rounded to 11 significant bits.

    Args:
        source: a checkpoint of rgbx.
        out: the file to write.
        trust: unpickle arbitrary objects of `source`; such a file can run any code.
        overwrite: replace `out` where it exists.

    Returns:
        The sizes of both files in bytes.

    Raises:
        FileExistsError, IsADirectoryError: `out` exists, or is `source`, or a folder.
        FileNotFoundError: no such file.
        ValueError: as `rgbx.load`, or a weight beyond what 16 bits hold.
    """
    source, out = Path(source), Path(out)
    check_target(source, out, overwrite=overwrite)
    state = read_checkpoint(source, trust=trust)
    model = model_of(state, source)
    large = {name for name, x in model.named_parameters(remove_duplicate=False) if x.ndim > 1}
    weights = {name: _halved(name, x, source) if name in large else x for name, x in model.state_dict().items()}
    found = state.get("meta")
    meta = {key: found[key] for key in KEPT if key in found} if isinstance(found, dict) else {}
    content: State = {"meta": meta, "model": model.recipe, "state_dict": weights}
    save_atomically(to_plain(content), out)
    return source.stat().st_size, out.stat().st_size


def check_target(source: Path, out: Path, *, overwrite: bool) -> None:
    """Refuses to write over a file.

    Raises:
        FileExistsError: `out` exists without `overwrite`, or is `source`.
        IsADirectoryError: `out` is a folder.
    """
    if out.is_dir():
        raise IsADirectoryError(f"{out} is a folder; expected a file to write, such as {out / 'slim.pth'}")
    if out.exists() and (not overwrite or (source.exists() and out.samefile(source))):
        raise FileExistsError(f"{out} exists; choose another name{'' if overwrite else ', or pass --force'}")


def _halved(
    name: str,
    value: Tensor,  # [...]
    source: Path,
) -> Tensor:
    """In float16."""
    half = value.to(torch.float16).contiguous()
    if not half.isfinite().all():
        largest = float(value.abs().max())
        raise ValueError(f"checkpoint {source}: {name} has values up to {largest:g}; 16 bits hold at most 65504")
    return half
