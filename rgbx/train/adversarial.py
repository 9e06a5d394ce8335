"""Alternating optimisation of a generator and its opponents, the discriminators: an optimizer each."""

from __future__ import annotations

from mmengine.optim import OptimWrapperDict
from torch import nn

from rgbx.train.distributed import unwrap
from rgbx.train.optim import PartsConstructor, is_of_opponent


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
        network = unwrap(model)
        own = [p for name, p in network.named_parameters() if p.requires_grad and not is_of_opponent(name)]
        parts = {"generator": self.groups_of("generator", own), "discriminator": self.opponent_groups(network)}
        return OptimWrapperDict(**{part: self.build(groups) for part, groups in parts.items() if groups})
