"""The one way to translate: from a batch to maps in their own units, by the rules of a protocol."""

from __future__ import annotations

import typing
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rgbx.models.translation_protocol import TranslationProtocol, find_translation_protocol

Inputs = Mapping[str, Tensor]  # modality: [N, c, H, W] in -1..1


class TranslationNetwork(typing.Protocol):
    """What a predictor needs of a model; `Translator` is one."""

    training: bool
    target: str
    data_preprocessor: Any

    def __call__(self, inputs: Inputs) -> dict[str, Tensor]: ...

    def modules(self) -> Iterator[nn.Module]: ...


class TranslationPredictor:
    """Translates with a model by the rules of a protocol.

    Args:
        model: in evaluation mode.
        protocol: one of `TRANSLATION_PROTOCOLS`, by name, or one of your own.
        dtype: of autocast, such as `torch.bfloat16`; None computes in the weights' own precision.

    Raises:
        ValueError: an unknown protocol.
    """

    def __init__(
        self,
        model: TranslationNetwork,
        protocol: str | TranslationProtocol = "rgbx",
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.model, self.protocol, self.dtype = model, find_translation_protocol(protocol), dtype

    def __call__(self, batch: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Translates a collated batch in its own units; see `predict`."""
        return self.predict(**self.model.data_preprocessor(batch))

    @torch.no_grad()
    def predict(
        self,
        inputs: Inputs,
        target: Tensor | None = None,
        *,
        valid: Tensor | None = None,  # bool [N, 1, H, W]
        truth: Tensor | None = None,  # [N, C, H, W], in the target's unit
        sample_id: Sequence[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Images in the target's unit, of every branch and the ensemble.

        Args:
            inputs: what to translate.
            target: not used; batches have it.
            valid: where the truth was measured.
            truth: passed through, stretched where the protocol says so.
            sample_id: names of the samples.

        Returns:
            Per sample a dict of ``sample_id`` and ``prediction`` {branch or "ensemble": float32 [C, H, W]}, and, where
            there is truth, ``target`` {name: [C, H, W]} and ``valid`` {name: bool [1, H, W]}.

        Raises:
            ValueError: the model is in training mode.
        """
        if self.model.training:
            raise ValueError("the model is in training mode, in which predictions are random: call .eval()")
        first = next(iter(inputs.values()))
        ids = [str(i) for i in range(len(first))] if sample_id is None else list(sample_id)
        name, stretched = self.model.target, self.model.target in self.protocol.stretched
        with self._dropout(ids), torch.autocast(first.device.type, self.dtype, enabled=self.dtype is not None):
            found = self.model(inputs)
        images = {
            branch: self.model.data_preprocessor.denormalise(name, image.float()) for branch, image in found.items()
        }
        samples: list[dict[str, Any]] = []
        for i, each in enumerate(ids):
            prediction = {branch: stretch(image[i]) if stretched else image[i] for branch, image in images.items()}
            samples.append({"sample_id": each, "prediction": prediction})
            if truth is not None:
                samples[-1]["target"] = {name: stretch(truth[i]) if stretched else truth[i]}
            if valid is not None:
                samples[-1]["valid"] = {name: valid[i]}
        return samples

    @contextmanager
    def _dropout(self, sample_ids: Sequence[str]) -> Iterator[None]:
        """Dropout where the protocol has it, the same for the same samples, leaving the global generators alone."""
        if not self.protocol.dropout:
            yield
            return
        layers = [module for module in self.model.modules() if isinstance(module, nn.modules.dropout._DropoutNd)]
        with torch.random.fork_rng():
            torch.manual_seed(zlib.crc32("\n".join(sample_ids).encode()))
            try:
                for layer in layers:
                    layer.train()
                yield
            finally:
                for layer in layers:
                    layer.eval()


def stretch(image: Tensor) -> Tensor:
    """An image [C, H, W] stretched over 0..255 and cut to whole numbers, float32; a constant one becomes 0."""
    x = image.float()
    span = x.max() - x.min()
    return ((x - x.min()) * 255 / span.clamp(min=torch.finfo(x.dtype).tiny)).floor()
