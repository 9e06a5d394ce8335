"""Builders with flat, plain parameters: what stands between a config or checkpoint and the classes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeVar

from rgbx.backbones import SharedBackbone, to_channels_last
from rgbx.fusion import build_fusion
from rgbx.heads import build_decoder
from rgbx.losses import IGNORE_INDEX, build_loss
from rgbx.models.modality_dropout import ModalityDropout
from rgbx.models.preprocessor import MultimodalPreprocessor
from rgbx.models.segmentor import Segmentor

_BUILDERS: dict[str, Callable[..., Any]] = {}
_Model = TypeVar("_Model")


def builder(function: Callable[..., _Model]) -> Callable[..., _Model]:
    """Enters a builder in the table and lets its models remember how they were built, without their initial weights."""

    @functools.wraps(function)
    def build(**parameters: Any) -> _Model:
        bound = inspect.signature(function).bind(**parameters)
        bound.apply_defaults()
        plain = {key: _plain(value) for key, value in bound.arguments.items() if key != "pretrained"}
        model: Any = function(**parameters)
        model.recipe = {"builder": function.__name__, "parameters": plain}
        return model

    _BUILDERS[function.__name__] = build
    return build


def _plain(value: Any) -> Any:
    """The value in plain containers, as checkpoints may hold."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, Fraction):
        return float(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a model parameter is {value!r}; expected plain numbers, strings, lists or dicts")


def build_model(recipe: Mapping[str, Any]) -> Any:
    """Builds the model that a checkpoint describes under its key ``model``, with random weights.

    Raises:
        ValueError: if the recipe names no builder of rgbx.
    """
    name = recipe.get("builder")
    if name not in _BUILDERS:
        raise ValueError(f"the checkpoint names the model builder {name!r}; expected one of {sorted(_BUILDERS)}")
    return _BUILDERS[name](**recipe["parameters"])


@builder
def multimodal_segmentor(
    *,
    modalities: Sequence[str],
    num_classes: int,
    backbone: str = "resnet18",
    pretrained: str | None = None,
    norm: str = "private",
    norm_eval: bool = False,
    weights: str = "shared",
    fusion: Mapping[str, Any] | str | None = "asymmetric",
    decoder: Mapping[str, Any] | str | None = None,
    loss: Mapping[str, Any] | str = "cross_entropy",
    statistics: Mapping[str, Any] | None = None,
    modality_dropout: float | None = None,
    detach_ensemble: bool = True,
    pad_to_stride: bool = True,
    stems: Mapping[str, str] | None = None,
) -> Segmentor:
    """Semantic segmentation on any timm backbone; by default AsymFusion (arXiv 2108.05009) with the light decoder.

    Args:
        modalities: names in the order of the ring in which they exchange, e.g. ``("rgb", "depth")``.
        num_classes: K.
        backbone: a timm model with ``features_only``.
        pretrained: None, ``"timm"``, a timm name with a tag, ``"hf-hub:OWNER/NAME"`` or the path of a weight file; not
            kept in checkpoints.
        norm: ``"private"``, ``"affine"`` or ``"shared"``.
        norm_eval: keep the backbone's running statistics frozen in training.
        weights: ``"shared"``, or ``"separate"`` for an encoder per modality.
        fusion: a method's name or ``{"name": ..., **fields}``, see `rgbx.fusion`; None for no exchange.
        decoder: ``"light"`` (default), ``"refinenet"`` or ``{"name": ..., **options}``, see `rgbx.heads`.
        loss: a name or ``{"name": ..., **options}``, see `rgbx.losses.build_loss`.
        statistics: normalization of modalities without a default, see `MultimodalPreprocessor`.
        modality_dropout: probability of training a step on a proper subset; None never draws one.
        detach_ensemble: whether the ensemble's loss trains only α.
        pad_to_stride: pad images to multiples of the deepest stride, see `Segmentor`.
        stems: modalities with a first convolution of their own, by how it is made: ``"sum"``, ``"mean"``, ``"copy"``.
    """
    if not 1 <= num_classes <= IGNORE_INDEX:
        raise ValueError(
            f"num_classes is {num_classes}; expected 1 to {IGNORE_INDEX}, as class ids are uint8 and "
            f"{IGNORE_INDEX} marks ignored pixels"
        )
    method = build_fusion(fusion)
    network = SharedBackbone(
        backbone,
        tuple(modalities),
        fusion=method,
        norm=norm,
        weights=weights,
        pretrained=pretrained,
        norm_eval=norm_eval,
        stems=stems,
    )
    head_norm = "shared" if network.single_branch else norm
    head = build_decoder(decoder, network.channels, num_classes, network.layout, norm=head_norm)
    model = Segmentor(
        network,
        head,
        build_loss(loss),
        MultimodalPreprocessor(modalities, statistics),
        modality_dropout=None if modality_dropout is None else ModalityDropout(modalities, modality_dropout),
        detach_ensemble=detach_ensemble,
        ensemble="learned" if method is None else method.ensemble,
        pad_to_stride=pad_to_stride,
    )
    to_channels_last(model)
    return model
