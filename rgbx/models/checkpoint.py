"""Checkpoint files: written whole or not at all, and read without trusting their author."""

from __future__ import annotations

import dataclasses
import math
import signal
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import starmap
from pathlib import Path, PurePath
from typing import IO, Any, cast

import numpy as np
import torch

from rgbx._digest import DamagedFileError, Digesting
from rgbx._runs import LAST_CHECKPOINT, intact_in
from rgbx._types import Options, State
from rgbx._whole import writing
from rgbx.backbones import read_pickle, shown_keys
from rgbx.maps import STANDARD_MAPS, Encoding, MapSpec, replace_file
from rgbx.models.folder import SUFFIX, read_folder

EXTRA_STATE = "_extra_state"  # torch's key for what a module saves besides tensors


def save_atomically(state: State, path: str | Path) -> None:
    """Writes a checkpoint with its digest beside its name, then renames it, so that a kill leaves no torn file.

    Ctrl-C takes effect when the file is whole.

    Raises:
        OSError: there is no room for it, or it cannot be written; nothing is left of it then. The message names what is
            intact in its folder.
    """
    path = Path(path)
    try:
        with interrupt_deferred(), writing(path, size=_least_bytes(state)) as file:
            digesting = Digesting(file)
            torch.save(dict(state), cast(IO[bytes], digesting))
            digesting.finish()
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, f"{error.strerror}{intact_in(path.parent)}", error.filename) from error


def _least_bytes(state: State) -> int:
    """What the tensors of a state take in a file, each memory once."""
    storages, waiting = dict[int, int](), [state]
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        elif isinstance(value, (Mapping, list, tuple)):
            waiting += value.values() if isinstance(value, Mapping) else value
    return sum(storages.values())


@contextmanager
def interrupt_deferred() -> Iterator[None]:
    """Lets a Ctrl-C wait for the end of the block: in the midst of `torch.save` it would abort the process.

    There the file is closed before torch's writer is destroyed, and the writer's destructor still writes to it.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    received: list[Any] = []
    signal.signal(signal.SIGINT, lambda *arguments: received.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if received:
        handler(*received[0])


def read_checkpoint(path: str | Path, *, trust: bool = False) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU.

    Args:
        path: a file written by rgbx, or any file of tensors in dicts; of a model as a folder its ``.safetensors``.
        trust: unpickle arbitrary objects; such a file can run any code.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file needs trust or is damaged, or holds no dict; see `rgbx.backbones.read_pickle`, and
            `rgbx.models.folder.read_folder`. Intact ones beside a damaged one are named.
    """
    if Path(path).suffix == SUFFIX:
        return read_folder(Path(path))
    try:
        state = read_pickle(path, trust=trust, what="checkpoint")
    except DamagedFileError as error:
        raise DamagedFileError(f"{error}{intact_in(Path(path).parent, but=Path(path).name)}") from error
    if not isinstance(state, dict):
        raise ValueError(f"checkpoint {path} holds a {type(state).__name__}, expected a dict")
    return state


def model_weights(state: State, path: str | Path) -> dict[str, Any]:
    """The model's tensors of a checkpoint: its `state_dict`, or the file itself if it is one.

    Modules may add plain values of their own under `..._extra_state`.

    Raises:
        ValueError: neither is there, or a tensor stands there twice, with and without the prefix ``module.``.
    """
    weights = state.get("state_dict", state)
    if not (isinstance(weights, Mapping) and weights and all(starmap(_is_of_model, weights.items()))):
        raise ValueError(f"checkpoint {path} has no `state_dict` of tensors; it holds {shown_keys(state)}")
    found = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    if len(found) < len(weights):
        raise ValueError(f"checkpoint {path} holds some tensors twice, with and without the prefix 'module.'")
    return found


def _is_of_model(name: object, value: object) -> bool:
    return isinstance(name, str) and (isinstance(value, torch.Tensor) or name.endswith(EXTRA_STATE))


def dataset_meta(state: State, key: str) -> State:
    """An entry of the training dataset's `metainfo`; empty where the checkpoint has none."""
    found: object = state
    for name in ("meta", "dataset_meta", key):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def specs_in(state: State) -> dict[str, MapSpec]:
    """Specs of the maps that a checkpoint was trained on; none where it does not say."""
    found = ((name, _spec_of(values)) for name, values in dataset_meta(state, "maps").items())
    return {name: spec for name, spec in found if spec is not None}


def _spec_of(values: object) -> MapSpec | None:
    try:
        return MapSpec.of_dict(values) if isinstance(values, Mapping) else None
    except TypeError:
        return None


def stored_in(state: State) -> dict[str, Options | None]:
    """How the files that a checkpoint was trained on hold its maps, options of `rgbx.maps.Encoding`.

    None for those in a way of their dataset's own, and for what no `Encoding` has.
    """
    specs, found = {**STANDARD_MAPS, **specs_in(state)}, dataset_meta(state, "stored")
    return {name: _options_of(specs[name], words) for name, words in found.items() if name in specs}


def _options_of(spec: MapSpec, words: object) -> Options | None:
    try:
        return Encoding.of_dict(spec, words).as_dict() if isinstance(words, Mapping) else None
    except ValueError:
        return None


def dataset_in(state: State) -> dict[str, Any]:
    """What a checkpoint says of the dataset that it was trained on, as its `metainfo` did; nothing that is damaged.

    Returns:
        ``maps`` and ``stored``, ``clips`` where it held any, ``times`` where files were paired by them (``max_gap`` and
        ``delays`` in seconds), and ``classes`` and ``palette`` where they are names and
        as many colours.
    """
    found: dict[str, Any] = {"maps": specs_in(state), "stored": stored_in(state)}
    lengths = {name: count for name, count in dataset_meta(state, "clips").items() if type(count) is int}
    found |= {"clips": lengths} if lengths else {}
    found |= {"times": times} if (times := _times_in(state)) else {}
    whole = state.get("meta")
    meta = whole.get("dataset_meta") if isinstance(whole, Mapping) else None
    classes, palette = (meta.get(key) for key in ("classes", "palette")) if isinstance(meta, Mapping) else ((), ())
    if isinstance(classes, (list, tuple)) and classes and all(isinstance(name, str) for name in classes):
        found["classes"] = tuple(classes)
        if isinstance(palette, (list, tuple)) and len(palette) == len(classes) and all(map(_is_colour, palette)):
            found["palette"] = [list(colour) for colour in palette]
    return found


def _times_in(state: State) -> dict[str, Any]:
    times = dataset_meta(state, "times")
    gap, delays = times.get("max_gap"), times.get("delays")
    if not _is_seconds(gap) or not isinstance(delays, Mapping):
        return {}
    return {"max_gap": gap, "delays": {name: delay for name, delay in delays.items() if _is_seconds(delay)}}


def _is_seconds(value: object) -> bool:
    return type(value) is float and math.isfinite(value)


def _is_colour(value: object) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == 3
        and all(type(part) is int and 0 <= part <= 255 for part in value)
    )


def write_last(work_dir: str | Path, filename: str) -> None:
    """Notes which checkpoint to resume from, by name only: the directory may be moved or copied."""
    replace_file(Path(work_dir, LAST_CHECKPOINT), filename.encode())


def to_plain(value: object) -> Any:
    """Copies nested state into dict, list, tuple, str, numbers, None and CPU tensors.

    Dataclasses and named tuples become dicts, arrays lists, paths and classes strings. Dict
    entries that are functions are left out: mmengine's one-cycle schedule keeps one in its state.

    Raises:
        TypeError: an object of any other type.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {
            to_plain(key): to_plain(item) for key, item in value.items() if isinstance(item, type) or not callable(item)
        }
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return to_plain(value._asdict())
    if isinstance(value, tuple):
        return tuple(to_plain(item) for item in value)
    if isinstance(value, (list, set, frozenset, deque)):
        return [to_plain(item) for item in value]
    return _plain_object(value)


def _plain_object(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: to_plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    for kind in (bool, int, float, str):  # subclasses, such as numpy's str_ or an enum of str
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(
        f"cannot keep {type(value).__module__}.{type(value).__qualname__} in a checkpoint: use plain types and tensors"
    )
