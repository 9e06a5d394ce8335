"""Complete models: built from plain parameters, loaded from checkpoints, used to predict."""

from rgbx._protocol import PROTOCOLS, Protocol
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
