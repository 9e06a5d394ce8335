"""Alternating optimisation of a generator and its opponents, the discriminators: an optimizer each."""

from __future__ import annotations

from typing import Any

from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from rgbx.train.distributed import unwrap
from rgbx.train.optim import PartsConstructor

PARTS = ("generator", "discriminator")


def is_of_opponent(name: str) -> bool:
    """Whether a parameter, by its name in the model, is a discriminator's."""
    return ".opponent." in name


class AdversarialConstructor(PartsConstructor):
    """Builds an optimizer for the discriminator and one for all the rest, the generator and the ensemble's α.

    What lies under `.opponent.` is the discriminator; where a model has none there is the generator's optimizer alone.
    Both have the config's `optimizer` and wrapper. Norms, biases and α, that is every parameter of fewer than two
    axes, get no weight decay. Options, in the config's `paramwise_cfg`: `generator_lr` and `discriminator_lr`, in
    place of the optimizer's `lr`.

    Raises:
        ValueError: unknown options, or no learning rate.
    """

    OPTIONS = ("generator_lr", "discriminator_lr")

    def __call__(self, model: nn.Module) -> OptimWrapperDict:
        parameters: dict[str, list[nn.Parameter]] = {part: [] for part in PARTS}
        for name, parameter in unwrap(model).named_parameters():
            if parameter.requires_grad:
                parameters[PARTS[is_of_opponent(name)]].append(parameter)
        return OptimWrapperDict(**{part: self._build(part, found) for part, found in parameters.items() if found})

    def _build(self, part: str, parameters: list[nn.Parameter]) -> OptimWrapper:
        groups: list[dict[str, Any]] = [{"params": [p for p in parameters if p.ndim > 1], "name": part}]
        others = [p for p in parameters if p.ndim <= 1]
        groups.append({"params": others, "name": f"{part}_no_decay", "weight_decay": 0.0})
        rate = self.options.get(f"{part}_lr", self.optimizer.get("lr"))
        if rate is None:
            raise ValueError(f"the optimizer's config has no lr; give it, or {part}_lr")
        optimizer = OPTIMIZERS.build({**self.optimizer, "lr": rate, "params": [g for g in groups if g["params"]]})
        return OPTIM_WRAPPERS.build({**self.wrapper, "optimizer": optimizer})
