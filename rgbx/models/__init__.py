"""Complete models and the builders that configs and checkpoints name."""

from rgbx.models.build import build_model, multimodal_segmentor
from rgbx.models.modality_dropout import ModalityDropout
from rgbx.models.predictor import Predictor
from rgbx.models.preprocessor import MultimodalPreprocessor
from rgbx.models.protocol import PROTOCOLS, Protocol
from rgbx.models.segmentor import Segmentor

__all__ = [
    "PROTOCOLS",
    "ModalityDropout",
    "MultimodalPreprocessor",
    "Predictor",
    "Protocol",
    "Segmentor",
    "build_model",
    "multimodal_segmentor",
]
