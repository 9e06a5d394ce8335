"""Complete models and the builders that configs and checkpoints name."""

from rgbx.models.build import build_model, multimodal_segmentor
from rgbx.models.build_joint import multimodal_joint
from rgbx.models.build_translator import multimodal_translator
from rgbx.models.joint import JointModel
from rgbx.models.modality_dropout import ModalityDropout
from rgbx.models.predictor import Predictor
from rgbx.models.preprocessor import MultimodalPreprocessor
from rgbx.models.protocol import PROTOCOLS, Protocol
from rgbx.models.segmentor import Segmentor
from rgbx.models.translation_predictor import TranslationPredictor
from rgbx.models.translation_preprocessor import TranslationPreprocessor
from rgbx.models.translation_protocol import TRANSLATION_PROTOCOLS, TranslationProtocol
from rgbx.models.translator import Translator

__all__ = [
    "PROTOCOLS",
    "TRANSLATION_PROTOCOLS",
    "JointModel",
    "ModalityDropout",
    "MultimodalPreprocessor",
    "Predictor",
    "Protocol",
    "Segmentor",
    "TranslationPredictor",
    "TranslationPreprocessor",
    "TranslationProtocol",
    "Translator",
    "build_model",
    "multimodal_joint",
    "multimodal_segmentor",
    "multimodal_translator",
]
