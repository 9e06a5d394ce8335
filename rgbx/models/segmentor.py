"""Semantic segmentation from any subset of the modalities: predictions per modality and their learned ensemble."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn

from rgbx.backbones import SharedBackbone
from rgbx.layers import split_modalities
from rgbx.losses import IGNORE_INDEX
from rgbx.models.modality_dropout import ModalityDropout
from rgbx.models.preprocessor import MultimodalPreprocessor

ENSEMBLE = "ensemble"


class Segmentor(BaseModel):
    """Shared backbone and decoder, one prediction o_m per modality, ens = Σ_m softmax(α)_m · o_m.

    Each branch is trained by its own loss. By default the ensemble reads detached predictions, so that its loss
    trains only α. With a subset of the modalities present, softmax(α) runs over that subset.

    Images whose sides the deepest stride does not divide are padded at the right and bottom and predictions cropped.

    Args:
        backbone: features of the modalities present.
        decoder: maps the backbone's feature stacks to logits [M*N, K, h, w].
        loss: maps logits [N, K, H, W] and labels [N, H, W] to a scalar.
        preprocessor: normalises a collated batch.
        modality_dropout: draws the subset of modalities of a training step; None trains on all that are given.
        detach_ensemble: whether the ensemble's loss stops at the predictions.

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
    ) -> None:
        super().__init__(data_preprocessor=preprocessor)
        self.backbone, self.head, self.loss = backbone, decoder, loss
        self.modalities = backbone.layout.modalities
        if ENSEMBLE in self.modalities:
            raise ValueError(f"no modality may be called {ENSEMBLE!r}: that is the name of the joint prediction")
        self.alpha = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in self.modalities})
        self.modality_dropout = modality_dropout
        self.detach_ensemble = detach_ensemble
        self._visible = self.modalities
        self.recipe: dict[str, Any] | None = None

    @property
    def needs_unused_parameter_search(self) -> bool:
        """Whether some training steps leave parameters without a gradient."""
        return self.modality_dropout is not None

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
        ``"loss"``: {``loss_NAME``: scalar} for the same names. ``"predict"``: per sample a dict of ``sample_id``,
        ``label`` and ``prediction`` {name: class ids uint8 [H, W]}; logits are resized bilinearly to the label where
        its size differs, never the label.

        Raises:
            ValueError: for another mode, or inputs with none of the modalities in use.
        """
        present = [name for name in self._visible if name in inputs]
        if not present:
            raise ValueError(f"inputs hold {sorted(inputs)}; expected at least one of {list(self._visible)}")
        if mode == "loss" and self.training and self.modality_dropout is not None:
            present = [name for name in self.modality_dropout.draw() if name in present] or present
        logits = self._logits({name: inputs[name] for name in present})
        if mode == "tensor":
            return logits
        if mode == "loss":
            return self._losses(logits, label)
        if mode == "predict":
            return self._predictions(_resize_to_label(logits, label), label, sample_id)
        raise ValueError(f"mode is {mode!r}; expected 'tensor', 'loss' or 'predict'")

    def _logits(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        height, width = next(iter(inputs.values())).shape[-2:]
        padded = {name: _pad_to_multiple(x, self.backbone.strides[-1]) for name, x in inputs.items()}
        self._check_batch_norm(padded)
        stack = self.head(self.backbone(padded)).float().contiguous()  # a class axis that is not last suits the losses
        size = next(iter(padded.values())).shape[-2:]
        branches = split_modalities(stack, self.backbone.layout)
        return {
            name: _crop(F.interpolate(x, size=size, mode="bilinear", align_corners=False), height, width)
            for name, x in {**branches, ENSEMBLE: self._ensemble(branches)}.items()
        }

    def _check_batch_norm(self, padded: Mapping[str, Tensor]) -> None:
        """Training statistics need more than one value, also at the deepest stage."""
        batch, _, height, width = next(iter(padded.values())).shape
        stride = self.backbone.strides[-1]
        if self.training and not self.backbone.norm_eval and batch * (height // stride) * (width // stride) < 2:
            raise ValueError(
                f"a batch of 1 image of {height}×{width} leaves one pixel at stride {stride}, too few for the "
                "statistics of batch norm; train on larger images, on more of them, or with norm_eval=True"
            )

    def _ensemble(self, branches: Mapping[str, Tensor]) -> Tensor:
        weights = torch.stack([self.alpha[name] for name in branches]).softmax(0)
        votes = [logits.detach() if self.detach_ensemble else logits for logits in branches.values()]
        return torch.stack([w * v for w, v in zip(weights, votes, strict=True)]).sum(0)

    def _losses(self, logits: Mapping[str, Tensor], label: Tensor | None) -> dict[str, Tensor]:
        if label is None:
            raise ValueError("the batch has no 'label'; training needs int64 labels [N, H, W]")
        _check_labels(label, num_classes=next(iter(logits.values())).shape[1])
        return {f"loss_{name}": self.loss(x, label) for name, x in logits.items()}

    @staticmethod
    def _predictions(
        logits: Mapping[str, Tensor], label: Tensor | None, sample_id: Sequence[str] | None
    ) -> list[dict[str, Any]]:
        classes = {name: x.argmax(1).to(torch.uint8) for name, x in logits.items()}
        count = len(next(iter(classes.values())))
        return [
            {
                "sample_id": str(i) if sample_id is None else sample_id[i],
                "label": None if label is None else label[i],
                "prediction": {name: x[i] for name, x in classes.items()},
            }
            for i in range(count)
        ]


def _pad_to_multiple(x: Tensor, stride: int) -> Tensor:
    height, width = x.shape[-2:]
    bottom, right = math.ceil(height / stride) * stride - height, math.ceil(width / stride) * stride - width
    return F.pad(x, (0, right, 0, bottom)) if bottom or right else x


def _crop(x: Tensor, height: int, width: int) -> Tensor:
    return x if x.shape[-2:] == (height, width) else x[..., :height, :width]


def _resize_to_label(logits: Mapping[str, Tensor], label: Tensor | None) -> Mapping[str, Tensor]:
    size = next(iter(logits.values())).shape[-2:]
    if label is None or label.shape[-2:] == size:
        return logits
    return {
        name: F.interpolate(x, size=label.shape[-2:], mode="bilinear", align_corners=False)
        for name, x in logits.items()
    }


def _check_labels(label: Tensor, num_classes: int) -> None:
    low, high = torch.where(label == IGNORE_INDEX, 0, label).aminmax()
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"labels hold class id {int(low if low < 0 else high)}; expected 0 to {num_classes - 1}, or "
            f"{IGNORE_INDEX} to ignore. Check num_classes and the dataset's label offset"
        )
