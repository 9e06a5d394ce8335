"""Segmentation and translation from one backbone, whose features are computed once for both heads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import Tensor

from rgbx.generators import pad_to_multiple
from rgbx.models.joint_predictor import HeadOutputs, JointPredictor
from rgbx.models.predictor import Predictor
from rgbx.models.segmentor import Segmentor
from rgbx.models.translation_predictor import TranslationPredictor
from rgbx.models.translator import Translator


class SharedInputs(BaseDataPreprocessor):
    """The inputs of a translation with the labels of a segmentation.

    Args:
        translation: a `TranslationPreprocessor`.
        targets: whether to keep what only a translator takes.
    """

    def __init__(self, translation: Any, *, targets: bool) -> None:
        super().__init__(non_blocking=True)
        self.translation, self.targets = translation, targets

    def forward(self, data: Mapping[str, Any], training: bool = False) -> dict[str, Any]:
        """``inputs``, ``label`` and ``sample_id``, and with `targets` also ``target``, ``valid`` and ``truth``."""
        found = self.translation(data, training)
        kept = found if self.targets else {key: found[key] for key in ("inputs", "sample_id")}
        return {**kept, "label": self.cast_data({"label": data.get("label")})["label"]}

    def mirror(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Maps in -1..1 of the scene in a mirror: normals turn their x too, but where there are none (-1, -1, -1)."""
        mirrored = {name: x.flip(-1) for name, x in inputs.items()}
        if "normal" in mirrored:
            x = mirrored["normal"]
            x[:, 0] = torch.where((x == -1).all(1), x[:, 0], -x[:, 0])
        return mirrored


class JointModel(BaseModel):
    """A segmentor and a translator whose generator stands on the segmentor's backbone.

    A training step adds the losses of both. `segmentor` and `translator` are complete models that predict on their
    own, from the same maps in -1..1.

    Args:
        segmentor: its preprocessor is replaced by one that gives it the translator's inputs.
        translator: with a `BackboneGenerator` on the segmentor's backbone and without a discriminator.
        weight: factor of the translation's losses.

    Raises:
        ValueError: the two do not share their backbone, or one needs training steps of its own kind.
    """

    predictor_class = JointPredictor

    def __init__(self, segmentor: Segmentor, translator: Translator, *, weight: float = 1.0) -> None:
        super().__init__(data_preprocessor=SharedInputs(translator.data_preprocessor, targets=True))
        if getattr(translator.generator, "backbone", None) is not segmentor.backbone:
            raise ValueError("the translator's generator must stand on the segmentor's backbone")
        if translator.discriminator is not None or translator.modality_dropout or segmentor.modality_dropout:
            raise ValueError("a joint model trains on all modalities by one optimizer: no discriminator, no dropout")
        self.backbone = segmentor.backbone  # named first, as optimizers know encoders by this name
        self.segmentor, self.translator, self.weight = segmentor, translator, weight
        self.segmentor.data_preprocessor = SharedInputs(translator.data_preprocessor, targets=False)
        self.segmentor.reflects = True  # as `_both` pads, so that both see in use what they were trained on
        self.modalities, self.layout = segmentor.modalities, self.backbone.layout
        self.needs_unused_parameter_search = False
        self.recipe: dict[str, Any] | None = None

    def use_modalities(self, names: Iterable[str] | None) -> None:
        """Restricts both heads to the named modalities; None lifts the restriction."""
        chosen = None if names is None else list(names)
        self.segmentor.use_modalities(chosen)
        self.translator.use_modalities(chosen)

    def forward(
        self,
        inputs: Mapping[str, Tensor],  # [N, c, H, W] each, -1..1
        label: Tensor | None = None,  # int64 [N, H, W]
        target: Tensor | None = None,  # [N, C, H, W], -1..1
        valid: Tensor | None = None,  # bool [N, 1, H, W]
        truth: Tensor | None = None,
        sample_id: Sequence[str] | None = None,
        mode: str = "tensor",
    ) -> Any:
        """Runs both heads on features that are computed once.

        ``"loss"``: the losses of both, those of translation times `weight` and under ``loss_translation_...``.
        ``"tensor"``: {"segmentation": logits, "translation": images}, at the inputs' size. ``"predict"``: per sample
        what the translator predicts and, under ``segmentation``, what the segmentor does.

        Raises:
            ValueError: another mode, or losses without label or target.
        """
        if mode == "predict":
            visible = set(self.segmentor.visible(inputs))
            network = HeadOutputs(self.translator, *self._both({n: x for n, x in inputs.items() if n in visible}))
            images = TranslationPredictor(network).predict(inputs, valid=valid, truth=truth, sample_id=sample_id)
            classes = Predictor(network).predict(inputs, label, sample_id)
            return [{**image, "segmentation": found} for image, found in zip(images, classes, strict=True)]
        if mode not in ("tensor", "loss"):
            raise ValueError(f"mode is {mode!r}; expected 'tensor', 'loss' or 'predict'")
        with self.layout.holding(inputs):
            logits, pictures = self._both(inputs)
            if mode == "tensor":
                return {"segmentation": logits, "translation": pictures}
            if target is None:
                raise ValueError(f"the batch has no {self.translator.target!r}; training needs it beside the label")
            losses = self.segmentor.losses(logits, label)
            others, _ = self.translator.generator_losses(pictures, inputs, target, valid)
        others.pop("loss_fusion", None)  # of the backbone, which the segmentation's losses have already
        return losses | {f"loss_translation_{k.removeprefix('loss_')}": self.weight * x for k, x in others.items()}

    def _both(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Logits and images at the inputs' size."""
        height, width = next(iter(inputs.values())).shape[-2:]
        stride = self.backbone.strides[-1]
        padded = {name: pad_to_multiple(x, stride) for name, x in inputs.items()}
        size = next(iter(padded.values())).shape[-2:]
        with self.layout.holding(inputs):
            features = self.backbone(padded)
            logits = {
                name: F.interpolate(x, size=size, mode="bilinear", align_corners=False)[..., :height, :width]
                for name, x in self.segmentor.head_logits(features).items()
            }
            return logits, self.translator.assemble(self.translator.generator.decode(features, (height, width)))
