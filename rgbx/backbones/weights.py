"""Pretrained weights of the one network, before its norms are multiplied over the modalities."""

from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rgbx.backbones._timm import timm

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightSummary:
    """What became of a weight file.

    Attributes:
        source: file or model name.
        loaded: parameters and buffers of the network that were filled.
        missing: those left at their initial values.
        unused: entries of the file without a place in the network.
    """

    source: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{self.source}: {len(self.loaded)} tensors loaded"
        for label, names in (("left at their initial values", self.missing), ("unused", self.unused)):
            if names:
                text += f"; {len(names)} {label} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        return text


def load_pretrained(network: nn.Module, name: str, source: str) -> WeightSummary:
    """Fills a timm feature network from ``"timm"`` (by the model's name, over the network) or a local weight file.

    A file may hold the state dict itself or hold it under ``state_dict`` or ``model``, with or without ``module.``
    prefixes. A residual block that the file does not hold keeps timm's initialization, whose last norm scale is zero,
    so that the block starts as the identity.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file is no weight file or fits less than half of the network.
    """
    state = _fetch_timm_weights(name) if source == "timm" else read_state_dict(source)
    summary = _copy_matching(network, state, source if source != "timm" else f"timm weights of {name}")
    if len(summary.loaded) < len(summary.missing):
        raise ValueError(f"{summary}; this does not look like weights of {name}")
    logger.info("pretrained weights %s", summary)
    return summary


def _fetch_timm_weights(name: str) -> dict[str, Tensor]:
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # the hub client raises many kinds when offline
        raise RuntimeError(
            f"pretrained weights of {name} could not be fetched ({type(error).__name__}); "
            "download them elsewhere and pass pretrained='/path/to/file.pth'"
        ) from error


def read_state_dict(path: str) -> dict[str, Tensor]:
    """Reads the tensors of a weight file (.pth or .safetensors) without running any code stored in it.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no state dict of tensors.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"pretrained weights {path}: no such file")
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        return load_file(path)
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is no file of plain tensors: {str(error).splitlines()[0]}") from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = {k.removeprefix("module."): v for k, v in dict(content).items() if isinstance(v, Tensor)}
    if not tensors:
        raise ValueError(f"{path} holds no tensors; expected a state dict")
    return tensors


def _copy_matching(network: nn.Module, state: dict[str, Tensor], source: str) -> WeightSummary:
    """Copies entries of equal shape; timm's flattened stage names (``stages_0`` for ``stages.0``) count as equal."""
    by_name = {key.replace(".", "_"): key for key in state}
    loaded, missing, used = [], [], set()
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            found = by_name.get(key.replace(".", "_"))
            if found is not None and state[found].shape == tensor.shape:
                tensor.copy_(state[found])
                loaded.append(key)
                used.add(found)
            elif not key.endswith("num_batches_tracked"):
                missing.append(key)
    unused = tuple(key for key in state if key not in used)
    return WeightSummary(source, tuple(loaded), tuple(missing), unused)
