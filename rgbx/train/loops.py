"""A step of training, and the loops that make and score them, for models that are plain torch modules."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, ValLoop
from torch import Tensor, nn

from rgbx.models import Predictor
from rgbx.models.protocol import Protocol
from rgbx.train.adversarial import is_of_opponent
from rgbx.train.distributed import unwrap

Batch = Mapping[str, Any]  # collated samples, in their own units


class TrainLoop(EpochBasedTrainLoop):
    """mmengine's loop over epochs, with steps that ask nothing of a model but its losses."""

    def run_iter(self, idx: int, data_batch: Batch) -> None:
        """One batch; hooks see the losses as `outputs`."""
        self.runner.call_hook("before_train_iter", batch_idx=idx, data_batch=data_batch)
        outputs = training_step(self.runner.model, data_batch, self.runner.optim_wrapper)
        self.runner.call_hook("after_train_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs)
        self._iter += 1


def training_step(model: nn.Module, data: Batch, optim_wrapper: OptimWrapper | OptimWrapperDict) -> dict[str, Tensor]:
    """Updates a model by one batch.

    A model that alternates is updated in two passes: its generator, through opponents that are left as they are, then
    its opponents, which see the images of the first pass.

    Args:
        model: a model of `rgbx.models`, or the distributed wrapper around one, through which all passes go.
        data: a collated batch.
        optim_wrapper: of the whole model, or by part: ``generator`` and ``discriminator``.

    Returns:
        What is logged: ``loss``, which is the sum of the others, each loss, and ``discriminator`` where there is one.

    Raises:
        ValueError: one optimizer for a model that alternates.
    """
    network = unwrap(model)
    batch = network.data_preprocessor(data, training=True)
    wrapper = optim_wrapper["generator"] if isinstance(optim_wrapper, OptimWrapperDict) else optim_wrapper
    if not network.alternates:
        with wrapper.optim_context(model):
            losses = model(**batch, mode="loss")
        return _update(wrapper, losses)
    if not isinstance(optim_wrapper, OptimWrapperDict):
        raise ValueError(
            "a discriminator needs an optimizer of its own: optim_wrapper=dict(constructor=AdversarialConstructor, ...)"
        )
    with wrapper.optim_context(model), _frozen_opponents(network):
        losses, shown = model(**batch, mode="generator")
    logged = _update(wrapper, losses)
    wrapper = optim_wrapper["discriminator"]
    with wrapper.optim_context(model):
        losses = model(**batch, shown=shown, mode="discriminator")
    return logged | {"discriminator": _update(wrapper, losses)["loss"].detach()}


def _update(wrapper: OptimWrapper, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A step on the sum of the losses."""
    total = typing.cast(Tensor, sum(losses.values()))
    wrapper.update_params(total)
    return {"loss": total, **losses}


@contextmanager
def _frozen_opponents(network: nn.Module) -> Iterator[None]:
    """No gradients for the parameters of opponents; they still flow through these to what is shown."""
    trained = [p for name, p in network.named_parameters() if is_of_opponent(name) and p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


class ValidationLoop(ValLoop):
    """Scores the model by the rules of a protocol.

    Args:
        runner, dataloader, evaluator: as in mmengine.
        protocol: a name of `rgbx.models.PROTOCOLS`, or a `Protocol`.
    """

    def __init__(self, runner: Any, dataloader: Any, evaluator: Any, *, protocol: str | Protocol = "rgbx") -> None:
        super().__init__(runner, dataloader, evaluator)
        self.predictor = getattr(runner.network, "predictor_class", Predictor)(runner.network, protocol)

    def run_iter(self, idx: int, data_batch: Batch) -> None:
        """Predicts and counts one batch."""
        self.runner.call_hook("before_val_iter", batch_idx=idx, data_batch=data_batch)
        outputs = self.predictor(data_batch)
        self.evaluator.process(data_samples=outputs, data_batch=data_batch)
        self.runner.call_hook("after_val_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs)
