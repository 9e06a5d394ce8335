"""Predicting with both heads of a joint model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rgbx.models.protocol import Protocol, find_protocol


class HeadOutputs:
    """What both heads made of one batch, as the network that `Predictor` and `TranslationPredictor` ask for it.

    Args:
        translator: in evaluation mode.
        logits: at the inputs' size.
        images: in -1..1.
    """

    stride = 1

    def __init__(self, translator: Any, logits: dict[str, Tensor], images: dict[str, Tensor]) -> None:
        self.training, self.target = translator.training, translator.target
        self.data_preprocessor = translator.data_preprocessor
        self._logits, self._images = logits, images

    def decoder_logits(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self._logits

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return self._images

    def modules(self) -> Iterator[nn.Module]:
        return iter(())


class JointPredictor:
    """Predicts classes and images from one batch, by the protocol ``rgbx``.

    Args:
        model: a `JointModel` in evaluation mode.
        protocol: ``"rgbx"``; others are for models of one head, such as `model.segmentor`.
        dtype: of autocast; None computes in the weights' own precision.

    Raises:
        ValueError: another protocol.
    """

    def __init__(self, model: Any, protocol: str | Protocol = "rgbx", *, dtype: torch.dtype | None = None) -> None:
        name = protocol if isinstance(protocol, str) else protocol.name
        if name != "rgbx":
            raise ValueError(f"protocol {name!r}: a model of two heads is tested by 'rgbx'")
        self.model, self.protocol, self.dtype = model, find_protocol(protocol), dtype

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Per sample of a collated batch in its own units what `JointModel` predicts."""
        data = self.model.data_preprocessor(batch)
        device = next(iter(data["inputs"].values())).device.type
        with torch.autocast(device, self.dtype, enabled=self.dtype is not None):
            found: list[dict[str, Any]] = self.model(**data, mode="predict")
        return found
