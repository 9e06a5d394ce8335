"""Semantic segmentation from any subset of the modalities: predictions per modality and their learned ensemble."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from rgbx.backbones import SharedBackbone
from rgbx.fusion import fusion_penalty
from rgbx.layers import split_modalities
from rgbx.losses import IGNORE_INDEX
from rgbx.models.modality_dropout import ModalityDropout
from rgbx.models.predictor import ENSEMBLE, Predictor, image_logits
from rgbx.models.preprocessor import MultimodalPreprocessor

ENSEMBLES = ("learned", "mean")


class Segmentor(BaseModel):
    """Shared backbone and decoder, one prediction o_m per modality, ens = Σ_m softmax(α)_m · o_m.

    Each branch is trained by its own loss. By default the ensemble reads detached predictions, so that its loss
    trains only α. With a subset of the modalities present, softmax(α) runs over that subset.

    Images whose sides the deepest stride does not divide are padded at the right and bottom and predictions cropped,
    unless `pad_to_stride` is off: then the network sees them as they are.

    Args:
        backbone: features of the modalities present.
        decoder: maps the backbone's feature stacks to logits [M*N, K, h, w].
        loss: maps logits [N, K, H, W] and labels [N, H, W] to a scalar.
        preprocessor: normalises a collated batch.
        modality_dropout: draws the subset of modalities of a training step; None trains on all that are given.
        detach_ensemble: whether the ensemble's loss stops at the predictions.
        ensemble: ``"learned"`` as above, or ``"mean"``: the mean of the branches' probabilities, nothing learned.
        pad_to_stride: False as the authors' network does it, for backbones of padded convolutions such as ResNets.

    A fusion method that merges the modalities leaves one prediction, which is the ensemble, and no α.

    Source: arXiv 2108.05009, section 3.4; the modes are those of mmengine's BaseModel.
    """

    def __init__(
        self,
        backbone: SharedBackbone,
        decoder: nn.Module,
        loss: nn.Module,
        preprocessor: MultimodalPreprocessor,
        *,
        modality_dropout: ModalityDropout | None = None,
        detach_ensemble: bool = True,
        ensemble: str = "learned",
        pad_to_stride: bool = True,
    ) -> None:
        super().__init__(data_preprocessor=preprocessor)
        self.backbone, self.head, self.loss = backbone, decoder, loss
        self.layout, self.modalities = backbone.layout, backbone.layout.modalities
        if ENSEMBLE in self.modalities:
            raise ValueError(f"no modality may be called {ENSEMBLE!r}: that is the name of the joint prediction")
        if ensemble not in ENSEMBLES:
            raise ValueError(f"ensemble is {ensemble!r}; expected one of {ENSEMBLES}")
        voters = self.modalities if ensemble == "learned" and not backbone.single_branch else ()
        self.alpha = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in voters})
        self.modality_dropout = modality_dropout
        self.detach_ensemble = detach_ensemble
        self.pad_to_stride = pad_to_stride
        self.reflects = False  # whether images are padded by reflection instead of zeros, as a joint model trains
        self._visible = self.modalities
        self.recipe: dict[str, Any] | None = None

    @property
    def needs_unused_parameter_search(self) -> bool:
        """Whether some training steps leave parameters without a gradient: those of modalities that do not predict."""
        return self.modality_dropout is not None or self.backbone.single_branch

    def use_modalities(self, names: Iterable[str] | None) -> None:
        """Restricts what the model sees to the named modalities; None lifts the restriction.

        Raises:
            ValueError: for a modality the model does not know.
        """
        self._visible = self.modalities if names is None else self.backbone.layout.order(names)

    def set_epoch_seed(self, seed: int) -> None:
        """Restarts the draws of modality dropout; the seed must be the same in all processes of a run."""
        if self.modality_dropout is not None:
            self.modality_dropout.set_seed(seed)

    def compile_network(self, **options: Any) -> None:
        """Compiles backbone and decoder in place by torch.compile; the state dict keeps its keys.

        Each subset of the modalities is compiled on its own, in training and in evaluation; torch's limit on that is
        raised so that none of them falls back to eager execution.
        """
        variants = 4 * 2 ** len(self.modalities)
        dynamo = torch._dynamo.config
        dynamo.recompile_limit = max(dynamo.recompile_limit, variants)
        self.backbone.network.compile(**options)
        self.head.compile(**options)

    def forward(
        self,
        inputs: Mapping[str, Tensor],  # [N, c, H, W] each
        label: Tensor | None = None,  # [N, H, W]
        sample_id: Sequence[str] | None = None,
        mode: str = "tensor",
    ) -> Any:
        """Runs the model in one of three modes.

        ``"tensor"``: logits {name: [N, K, H, W]} of every modality present and of the ensemble, at the input's size.
        ``"loss"``: {``loss_NAME``: scalar} for the same names. ``"predict"``: what `Predictor` gives with the protocol
        ``rgbx``: per sample a dict of ``sample_id``, ``label`` and ``prediction`` {name: class ids uint8 [H, W]};
        logits are resized bilinearly to the label where its size differs, never the label.

        Raises:
            ValueError: for another mode, inputs with none of the modalities in use, or predicting while training.
        """
        if mode == "predict":
            return Predictor(self).predict(inputs, label, sample_id)
        if mode not in ("tensor", "loss"):
            raise ValueError(f"mode is {mode!r}; expected 'tensor', 'loss' or 'predict'")
        present = self.visible(inputs)
        if mode == "loss" and self.training and self.modality_dropout is not None:
            present = [name for name in self.modality_dropout.draw() if name in present] or present
        with self.layout.holding(present):
            names, stack = image_logits(self, {name: inputs[name] for name in present})
            sizes = [stack.shape[0] // len(names)] * len(names)  # unlike chunks, these let an export keep N dynamic
            logits = dict(zip(names, stack.split(sizes), strict=True))
            return logits if mode == "tensor" else self.losses(logits, label)

    @property
    def stride(self) -> int:
        """What the sides of `decoder_logits`' inputs must be multiples of."""
        return self.backbone.strides[-1] if self.pad_to_stride else 1

    def decoder_logits(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits [N, K, h, w] of every modality present and of the ensemble, at the decoder's resolution.

        Args:
            inputs: normalised [N, c, H, W], sides divisible by `stride`.

        Raises:
            ValueError: inputs with none of the modalities in use.
        """
        present = {name: inputs[name] for name in self.visible(inputs)}
        self._check_batch_norm(present)
        with self.layout.holding(present):
            return self.head_logits(self.backbone(present))

    def head_logits(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """Logits as in `decoder_logits` from the backbone's features of the modalities that its layout says."""
        stack = self.head(features).float().contiguous()  # a class axis that is not last suits the losses
        if self.backbone.single_branch:
            return {ENSEMBLE: stack}
        branches = split_modalities(stack, self.backbone.layout)
        return {**branches, ENSEMBLE: self._ensemble(branches)}

    def visible(self, inputs: Mapping[str, Tensor]) -> list[str]:
        """The modalities in use of those given, in declared order; ValueError where there is none."""
        present = [name for name in self._visible if name in inputs]
        if not present:
            raise ValueError(f"inputs hold {sorted(inputs)}; expected at least one of {list(self._visible)}")
        return present

    def _check_batch_norm(self, padded: Mapping[str, Tensor]) -> None:
        """Training statistics need more than one value, also at the deepest stage."""
        batch, _, height, width = next(iter(padded.values())).shape
        stride = self.backbone.strides[-1]
        if self.training and not self.backbone.norm_eval and batch * -(-height // stride) * -(-width // stride) < 2:
            raise ValueError(
                f"a batch of 1 image of {height}×{width} leaves one pixel at stride {stride}, too few for the "
                "statistics of batch norm; train on larger images, on more of them, or with norm_eval=True"
            )

    def _ensemble(self, branches: Mapping[str, Tensor]) -> Tensor:
        votes = [logits.detach() if self.detach_ensemble else logits for logits in branches.values()]
        if not self.alpha:
            return torch.stack(votes).log_softmax(2).logsumexp(0) - math.log(len(votes))  # of the mean probability
        weights = torch.stack([self.alpha[name] for name in branches]).softmax(0)
        return torch.stack([w * v for w, v in zip(weights, votes, strict=True)]).sum(0)

    def losses(self, logits: Mapping[str, Tensor], label: Tensor | None) -> dict[str, Tensor]:
        """``loss_NAME`` of logits at the label's size, and ``loss_fusion`` where the backbone has a penalty."""
        if label is None:
            raise ValueError("the batch has no 'label'; training needs int64 labels [N, H, W]")
        _check_labels(label, num_classes=next(iter(logits.values())).shape[1])
        losses = {f"loss_{name}": self.loss(x, label) for name, x in logits.items()}
        if not self.training:
            return losses
        penalty = fusion_penalty(self.backbone, self.layout)
        return losses if penalty is None else {**losses, "loss_fusion": penalty}


def _check_labels(label: Tensor, num_classes: int) -> None:
    low, high = torch.where(label == IGNORE_INDEX, 0, label).aminmax()
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"labels hold class id {int(low if low < 0 else high)}; expected 0 to {num_classes - 1}, or "
            f"{IGNORE_INDEX} to ignore. Check num_classes and the dataset's label offset"
        )
