"""State as plain types and tensors, so that a checkpoint needs no trust to be read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub


def to_plain(value: Any) -> Any:
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
    if isinstance(value, (list, set, frozenset)) or type(value).__name__ == "deque":
        return [to_plain(item) for item in value]
    return _plain_object(value)


def _plain_object(value: Any) -> Any:
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


def message_hub_to_plain(hub: MessageHub) -> dict[str, Any]:
    """mmengine's message hub (logged histories and run information) as plain types.

    The hub keeps HistoryBuffer objects and whatever a hook stored; information that has no plain
    form is left out, as nothing that rgbx resumes from is of that kind.
    """
    state = hub.state_dict()
    information = {}
    for name, value in state["runtime_info"].items():
        try:
            information[name] = to_plain(value)
        except TypeError:
            continue
    histories = {
        name: {
            "values": torch.as_tensor(buffer.data[0], dtype=torch.float64),
            "counts": torch.as_tensor(buffer.data[1], dtype=torch.int64),
        }
        for name, buffer in state["log_scalars"].items()
    }
    return {
        "log_scalars": histories,
        "runtime_info": information,
        "resumed_keys": {
            name: bool(kept) for name, kept in state["resumed_keys"].items() if name in histories or name in information
        },
    }


def message_hub_from_plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `message_hub_to_plain`, for `MessageHub.load_state_dict`."""
    histories = {
        name: HistoryBuffer(buffer["values"].tolist(), buffer["counts"].tolist())
        for name, buffer in state["log_scalars"].items()
    }
    return {**state, "log_scalars": histories}
