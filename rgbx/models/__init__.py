"""Complete models: built from plain parameters, loaded from checkpoints, used to predict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rgbx._late import late_names
from rgbx._protocol import PROTOCOLS, Protocol

if TYPE_CHECKING:
    from rgbx.models.build import multimodal, multimodal_embedder, multimodal_segmentor, multimodal_translator
    from rgbx.models.load import load
    from rgbx.models.modality_dropout import ModalityDropout
    from rgbx.models.multimodal import Head, MultimodalModel, Preprocessor
    from rgbx.models.predict import Predictor
    from rgbx.models.result import Result

__all__ = [
    "PROTOCOLS",
    "Head",
    "ModalityDropout",
    "MultimodalModel",
    "Predictor",
    "Preprocessor",
    "Protocol",
    "Result",
    "load",
    "multimodal",
    "multimodal_embedder",
    "multimodal_segmentor",
    "multimodal_translator",
]

# tables of results do without models, which bring timm
__getattr__ = late_names(
    __name__,
    {
        "build": ("multimodal", "multimodal_embedder", "multimodal_segmentor", "multimodal_translator"),
        "load": ("load",),
        "modality_dropout": ("ModalityDropout",),
        "multimodal": ("Head", "MultimodalModel", "Preprocessor"),
        "predict": ("Predictor",),
        "result": ("Result",),
    },
)
