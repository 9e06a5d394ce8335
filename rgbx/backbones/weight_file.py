"""Files of weights, read without running code that they may hold, unless their author is trusted."""

from __future__ import annotations

import itertools
import math
import pickle
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rgbx._digest import MOST_UNPACKED, DamagedFileError, fault_of
from rgbx._files import existing_file
from rgbx._pickles import rehearse

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "segmenter", "teacher")
"""Keys under which training scripts save the weights beside other things, in the order of preference."""
MOST_VALUES, DEEPEST = 500_000, 64  # of what lies in a file beside the values of tensors
MAY_BE_INFINITE = (".max", "mask")  # ends of names

_trusted: ContextVar[bool] = ContextVar("trusted", default=False)


@contextmanager
def trusting(trust: bool) -> Iterator[None]:
    """Within it, `read_state_dict` trusts files or not, as ``--trust`` on a command line says."""
    token = _trusted.set(trust)
    try:
        yield
    finally:
        _trusted.reset(token)


def read_state_dict(path: str | Path, *, trust: bool | None = None) -> dict[str, Tensor]:
    """Reads the tensors of a weight file onto the CPU, under the names that they have there.

    Args:
        path: ``.safetensors``, or a file of `torch.save` with the state dict itself or under one of `WRAPPERS`.
        trust: unpickle arbitrary objects; such a file can run any code. None for what `trusting` says, by default no.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it needs trust, is damaged, or holds no tensors.
    """
    path = existing_file(path, "weight file")
    content: object
    if path.suffix == ".safetensors":
        try:
            content = load_file(path)
        except Exception as error:  # SafetensorError, and what Python makes of headers that are none
            raise ValueError(f"weight file {path} is damaged or no weight file: {_first_line(error)}") from error
    else:
        content = read_pickle(path, trust=_trusted.get() if trust is None else trust, what="weight file")
    tensors = _tensors(content)
    if not tensors:
        held = shown_keys(content) if isinstance(content, Mapping) else type(content).__name__
        raise ValueError(f"weight file {path} holds no tensors, but {held}; expected a state dict")
    return tensors


def _tensors(content: object) -> dict[str, Tensor]:
    if isinstance(content, nn.Module):  # a whole model, which only a trusted file can hold
        return content.state_dict()
    if not isinstance(content, Mapping):
        return {}
    inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), (Mapping, nn.Module))), None)
    if inner is not None:
        return _tensors(inner)
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def read_pickle(path: str | Path, *, trust: bool = False, what: str = "file") -> Any:
    """What `torch.save` wrote, on the CPU.

    Args:
        path: the file.
        trust: unpickle arbitrary objects; such a file can run any code.
        what: the file's part, for error messages.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file needs trust, or holds containers without end, or tensors whose values are not all in it, or
            would take much more memory than it has bytes, see `rgbx._pickles`.
        DamagedFileError: a ValueError; its bytes are not those that were written, see `rgbx._digest.fault_of`, or they
            are none that torch wrote.
    """
    path = existing_file(path, what)
    damaged = f"{what} {path} is damaged or no {what}"
    times, beside = MOST_UNPACKED
    most = times * path.stat().st_size + beside
    try:
        if fault := fault_of(path):
            raise DamagedFileError(fault)
        if not trust:
            rehearse(path)
        content = torch.load(path, map_location="cpu", weights_only=not trust)
    except (ImportError, AttributeError) as error:
        if not trust:  # whatever such a file names, nothing was imported
            raise DamagedFileError(f"{damaged}: {_first_line(error)}") from error
        raise ValueError(f"{what} {path} holds objects of code that is not installed here: {error}") from error
    except Exception as error:  # damaged bytes make unpicklers raise errors of any kind
        culprit = None if trust or not isinstance(error, pickle.UnpicklingError) else _culprit(error)
        if culprit is None:
            reason = "" if isinstance(error, pickle.UnpicklingError) else f": {_first_line(error)}"
            raise DamagedFileError(f"{damaged}{reason}") from error
        raise ValueError(
            f"{what} {path} holds Python objects besides tensors and plain types ({culprit}), and reading them can run "
            "any code: pass --trust if you trust the file's author"
        ) from error
    _check_content(content, f"{what} {path}", most)
    return content


def _check_content(content: object, where: str, most: int) -> None:
    """Refuses what no training saves and nothing could walk through: see `read_pickle`."""
    count, storages, waiting = 0, dict[int, int](), [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, Tensor):
            kind = _odd_kind(value)
            if kind:
                raise ValueError(f"{where} holds a tensor that is {kind}; expected dense tensors")
            storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        elif isinstance(value, (Mapping, list, tuple, set, frozenset)):
            count += len(value)
            if depth > DEEPEST or count > MOST_VALUES:
                raise ValueError(f"{where} holds containers in each other without end, or far too many values")
            waiting += [(item, depth + 1) for item in (value.values() if isinstance(value, Mapping) else value)]
    if sum(storages.values()) > most:
        raise ValueError(f"{where} names tensors of {sum(storages.values())} bytes, far more than it has")


def _odd_kind(
    x: Tensor,  # [...]
) -> str:
    """How the values of a tensor are kept where that is not one by one in the order of their places."""
    if x.layout != torch.strided:
        return str(x.layout).removeprefix("torch.")
    kinds = {"on the meta device": x.is_meta, "nested": x.is_nested, "quantized": x.is_quantized}
    return next((kind for kind, found in kinds.items() if found), "")


def repeats_values(
    x: Tensor,  # [...]
) -> bool:
    """Whether a tensor has fewer values than its shape says, such as one that was expanded."""
    repeated = any(stride == 0 and size > 1 for stride, size in zip(x.stride(), x.shape, strict=True))
    return x.numel() > 0 and (repeated or math.prod(x.shape) * x.element_size() > x.untyped_storage().nbytes())


def cast(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Tensors of a file in the types of a model's, detached.

    Args:
        tensors: name to [...].
        own: the model's, which has all these names, name to [...].
        where: begins the messages.

    Raises:
        ValueError: whole numbers where the model has floating point or the reverse, and values that are NaN, or
            infinite in the model's type.
    """
    found = {}
    for name, tensor in tensors.items():
        kind = own[name].dtype
        if _numbers(tensor.dtype) != _numbers(kind):
            raise ValueError(f"{where}: {name} is of {tensor.dtype}; expected {kind}, or its like of another width")
        found[name] = tensor.detach().to(kind)
        if kind.is_floating_point:
            wrong = found[name].isnan() if name.endswith(MAY_BE_INFINITE) else ~found[name].isfinite()
            if wrong.any():
                raise ValueError(
                    f"{where}: {int(wrong.sum())} of the {wrong.numel()} values of {name} are NaN or infinite as "
                    f"{kind}: its training had diverged; take an earlier checkpoint"
                )
    return found


def _numbers(kind: torch.dtype) -> str:
    return "floating" if kind.is_floating_point else "complex" if kind.is_complex else "whole"


def shown_keys(content: Iterable[object]) -> list[str]:
    """The first keys of what a file holds, cut where they are long, for messages."""
    return sorted(reprlib.repr(key).strip("'") for key in itertools.islice(content, 50))[:8]


def _first_line(error: Exception) -> str:
    """What an error says first, or its type."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]


def _culprit(error: Exception) -> str | None:
    """The class or function that torch's restricted unpickler refused; None where it did not refuse one."""
    found = re.search(r"(?:GLOBAL|[Gg]lobal:?|class|function) `?([A-Za-z_][\w.]*\.\w+)", str(error))
    return found[1] if found else "of an unknown kind" if re.search("Unsupported (global|class)", str(error)) else None
