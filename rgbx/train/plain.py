"""mmengine's message hub as plain types and tensors, so that a checkpoint needs no trust to be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import HistoryBuffer, MessageHub

from rgbx.models.checkpoint import to_plain


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
