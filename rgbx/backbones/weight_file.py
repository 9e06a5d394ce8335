"""Files of weights, read without running code that they may hold, unless their author is trusted."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "segmenter", "teacher")
"""Keys under which training scripts save the weights beside other things, in the order of preference."""

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
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weight file {path} does not exist")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"weight file {path} is damaged or no weight file: {error}") from error
    content = read_pickle(path, trust=_trusted.get() if trust is None else trust, what="weight file")
    tensors = _tensors(content)
    if not tensors:
        held = sorted(map(str, content))[:8] if isinstance(content, Mapping) else type(content).__name__
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
        path: an existing file.
        trust: unpickle arbitrary objects; such a file can run any code.
        what: the file's part, for error messages.

    Raises:
        ValueError: if the file needs trust, or is damaged.
    """
    path = Path(path)
    damaged = f"{what} {path} is damaged or no {what}"
    try:
        return torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        if trust or not (zipfile.is_zipfile(path) or path.read_bytes()[:1] == b"\x80"):  # no pickle at all
            raise ValueError(damaged) from error
        raise ValueError(
            f"{what} {path} holds Python objects besides tensors and plain types "
            f"({_culprit(error)}), and reading them can run any code: pass --trust if "
            "you trust the file's author"
        ) from error
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{what} {path} holds objects of code that is not installed here: {error}") from error
    except (RuntimeError, EOFError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{damaged}: {reason}") from error


def _culprit(error: Exception) -> str:
    """The class or function that torch's restricted unpickler refused."""
    found = re.search(r"(?:GLOBAL|[Gg]lobal:?|class|function) `?([A-Za-z_][\w.]*\.\w+)", str(error))
    return found[1] if found else "of an unknown kind"
