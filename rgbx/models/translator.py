"""Image-to-image translation from any subset of the modalities: an image per modality and their learned ensemble."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from rgbx.fusion import fusion_penalty
from rgbx.layers import split_modalities
from rgbx.models.modality_dropout import ModalityDropout
from rgbx.models.predictor import ENSEMBLE
from rgbx.models.segmentor import ENSEMBLES
from rgbx.models.translation_objective import TranslationObjective
from rgbx.models.translation_predictor import TranslationPredictor
from rgbx.models.translation_preprocessor import TranslationPreprocessor


class Translator(BaseModel):
    """Shared generator, one image o_m per modality, ens = Σ_m softmax(α)_m · o_m with the images detached.

    The ensemble's L1 loss trains α alone. With a subset of the modalities present, softmax(α) runs over that subset;
    a single image is its own ensemble. A fusion method that merges the modalities leaves one image and no α.

    A training step updates the generator and α, then the discriminator, which sees the same images: one pass through
    the generator serves both. Without a discriminator only the generator is trained.

    Args:
        generator: maps {modality: [N, c, H, W]} to a stack [M*N, C, H, W] in -1..1; has ``layout`` and
            ``single_branch``.
        preprocessor: brings a collated batch to -1..1.
        objective: the losses.
        discriminator: maps pairs [B, 6, H, W] to a list of features, the last being logits; None trains without.
        modality_dropout: draws the subset of modalities of a training step; None trains on all that are given.
        ensemble: ``"learned"`` as above, or ``"mean"``: the mean of the images, nothing learned.

    Source: arXiv 2011.05005, section 4.2, and arXiv 2108.05009; the modes are those of mmengine's BaseModel.
    """

    alternates = True  # its training step takes several passes, see `train_step`
    predictor_class = TranslationPredictor

    def __init__(
        self,
        generator: Any,
        preprocessor: TranslationPreprocessor,
        objective: TranslationObjective,
        *,
        discriminator: nn.Module | None = None,
        modality_dropout: ModalityDropout | None = None,
        ensemble: str = "learned",
    ) -> None:
        super().__init__(data_preprocessor=preprocessor)
        self.generator, self.objective, self.discriminator = generator, objective, discriminator
        self.layout, self.target = generator.layout, preprocessor.target
        self.modalities: tuple[str, ...] = generator.layout.modalities
        if ENSEMBLE in self.modalities:
            raise ValueError(f"no modality may be called {ENSEMBLE!r}: that is the name of the joint prediction")
        if ensemble not in ENSEMBLES:
            raise ValueError(f"ensemble is {ensemble!r}; expected one of {ENSEMBLES}")
        learned = ensemble == "learned" and not generator.single_branch and len(self.modalities) > 1
        voters = self.modalities if learned else ()
        self.alpha = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in voters})
        self.modality_dropout = modality_dropout
        self._visible = self.modalities
        self.recipe: dict[str, Any] | None = None

    @property
    def needs_unused_parameter_search(self) -> bool:
        """Whether some passes leave parameters without a gradient."""
        return self.discriminator is not None or self.modality_dropout is not None

    def use_modalities(self, names: Iterable[str] | None) -> None:
        """Restricts what the model sees to the named modalities; None lifts the restriction.

        Raises:
            ValueError: for a modality the model does not know.
        """
        self._visible = self.modalities if names is None else self.layout.order(names)

    def set_epoch_seed(self, seed: int) -> None:
        """Restarts the draws of modality dropout; the seed must be the same in all processes of a run."""
        if self.modality_dropout is not None:
            self.modality_dropout.set_seed(seed)

    def compile_network(self, **options: Any) -> None:
        """Compiles the generator in place by torch.compile, for each subset of the modalities on its own."""
        dynamo = torch._dynamo.config
        dynamo.recompile_limit = max(dynamo.recompile_limit, 4 * 2 ** len(self.modalities))
        self.generator.compile(**options)

    def train_step(
        self, data: Mapping[str, Any], optim_wrapper: OptimWrapper | OptimWrapperDict, network: nn.Module | None = None
    ) -> dict[str, Tensor]:
        """Updates the generator, then the discriminator; returns what is logged.

        Args:
            data: a collated batch in its own units.
            optim_wrapper: of the parts ``generator`` and ``discriminator``, or one of the generator alone.
            network: the distributed wrapper of this model that forward passes go through; None for the model itself.
        """
        network = self if network is None else network
        batch = self.data_preprocessor(data, training=True)
        wrapper = _part(optim_wrapper, "generator")
        with wrapper.optim_context(network), _frozen(self.discriminator):
            losses, images = network(**batch, mode="generator")
        total, logged = self.parse_losses(losses)
        wrapper.update_params(total)
        if self.discriminator is None:
            return logged
        wrapper = _part(optim_wrapper, "discriminator")
        with wrapper.optim_context(network):
            losses = network(**batch, images=images, mode="discriminator")
        wrapper.update_params(losses["loss_discriminator"])
        return {**logged, "discriminator": losses["loss_discriminator"].detach()}

    def forward(
        self,
        inputs: Mapping[str, Tensor],  # [N, c, H, W] each, -1..1
        target: Tensor | None = None,  # [N, C, H, W], -1..1
        valid: Tensor | None = None,  # bool [N, 1, H, W]
        truth: Tensor | None = None,  # [N, C, H, W], in the target's unit
        sample_id: Sequence[str] | None = None,
        images: Mapping[str, Tensor] | None = None,  # [N, C, H, W] each
        mode: str = "tensor",
    ) -> Any:
        """Runs the model in one of its modes.

        ``"tensor"``: images {name: [N, C, H, W]} in -1..1 of every modality present and of the ensemble.
        ``"predict"``: what `TranslationPredictor` gives with the protocol ``rgbx``. ``"loss"``: the generator's losses
        {``loss_...``: scalar}; ``"generator"``: these, and {modality: image} as the discriminator is to see them,
        detached; ``"discriminator"``: its losses for these ``images``.

        Raises:
            ValueError: for another mode, inputs with none of the modalities in use, or losses without a target.
        """
        if mode == "predict":
            return TranslationPredictor(self).predict(inputs, valid=valid, truth=truth, sample_id=sample_id)
        if mode == "tensor":
            return self.images(self._select(inputs))
        if mode not in ("loss", "generator", "discriminator"):
            raise ValueError(f"mode is {mode!r}; expected 'tensor', 'predict', 'loss', 'generator' or 'discriminator'")
        if target is None:
            raise ValueError(f"the batch has no {self.target!r}; training needs the map to translate to")
        if mode == "discriminator":
            if self.discriminator is None:
                raise ValueError("this model was built without a discriminator")
            images = dict(images or {})
            seen = {name: x for name, x in inputs.items() if name in images}
            if self.generator.single_branch:
                images = {ENSEMBLE: images[ENSEMBLE]}
            return self.objective.discriminator(self.discriminator, seen, images, target)
        selected = self._select(inputs, draw=True)
        with self.layout.holding(selected):
            losses, shown = self.generator_losses(self.images(selected), selected, target, valid)
        if self.generator.single_branch:  # the one image under the names of those that it was made from
            shown |= dict.fromkeys(selected, shown[ENSEMBLE])
        return losses if mode == "loss" else (losses, shown)

    def images(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Images [N, C, H, W] in -1..1 of the given modalities and their ensemble."""
        with self.layout.holding(inputs):
            return self.assemble(self.generator(inputs))

    def assemble(self, stack: Tensor) -> dict[str, Tensor]:
        """The images of a stack [M*N, C, H, W] that the generator made, by name, and their ensemble."""
        if self.generator.single_branch:
            return {ENSEMBLE: stack}
        branches = split_modalities(stack, self.layout)
        return {**branches, ENSEMBLE: self._ensemble(branches)}

    def _select(self, inputs: Mapping[str, Tensor], *, draw: bool = False) -> dict[str, Tensor]:
        present = [name for name in self._visible if name in inputs]
        if not present:
            raise ValueError(f"inputs hold {sorted(inputs)}; expected at least one of {list(self._visible)}")
        if draw and self.training and self.modality_dropout is not None:
            present = [name for name in self.modality_dropout.draw() if name in present] or present
        return {name: inputs[name] for name in present}

    def _ensemble(self, branches: Mapping[str, Tensor]) -> Tensor:
        votes = torch.stack([image.detach() for image in branches.values()])
        if len(votes) == 1:
            return votes[0]
        if not self.alpha:
            return votes.mean(0)
        weights = torch.stack([self.alpha[name] for name in branches]).softmax(0)
        return (weights.view(-1, 1, 1, 1, 1) * votes).sum(0)

    def generator_losses(
        self, images: Mapping[str, Tensor], inputs: Mapping[str, Tensor], target: Tensor, valid: Tensor | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The generator's losses for its images of these inputs, and the images as the discriminator sees them."""
        images = dict(images)
        if len(images) == 2:  # one branch, whose ensemble is the same image
            del images[ENSEMBLE]
        losses = self.objective.reconstruction(images, target, valid)
        shown = self.objective.fill(images, valid)
        if self.discriminator is not None:
            losses |= self.objective.generator(self.discriminator, inputs, shown, target)
        penalty = fusion_penalty(self.generator, self.layout)
        if penalty is not None:
            losses["loss_fusion"] = penalty
        return losses, {name: image.detach() for name, image in shown.items()}


def _part(optim_wrapper: OptimWrapper | OptimWrapperDict, name: str) -> OptimWrapper:
    if isinstance(optim_wrapper, OptimWrapperDict):
        return optim_wrapper[name]
    if name != "generator":
        raise ValueError(
            "a discriminator needs an optimizer of its own: optim_wrapper=dict(constructor=AdversarialConstructor, ...)"
        )
    return optim_wrapper


@contextmanager
def _frozen(module: nn.Module | None) -> Iterator[None]:
    """No gradients for the module's parameters; they still flow through it to its input."""
    trained = [] if module is None else [p for p in module.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
