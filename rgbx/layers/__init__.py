"""Layers that know the modalities: the stack, its private norms and layers, gates on its maps; gradient reversal."""

from rgbx.layers.adapters import Adapters, build_adapters
from rgbx.layers.hallucination import Hallucinate, Hallucination, build_hallucinate
from rgbx.layers.private import modality_norm, owner, replace_norms, separate_layers, settled, untracked
from rgbx.layers.purification import Purification, SequencePurification, StageGates, build_purification
from rgbx.layers.reversal import reverse_gradient
from rgbx.layers.stack import (
    CLIP,
    Gated,
    ModalityAffine,
    ModalityLayer,
    ModalityNorm,
    StackLayout,
    Trace,
    concatenate_modalities,
    mean_of_others,
    split_modalities,
    stack_modalities,
    sum_of_others,
)
from rgbx.layers.subset_norm import (
    begin_subset,
    fit_subset_statistics,
    has_subset_statistics,
    keep_subset_statistics,
    recount_subsets,
)
from rgbx.layers.synchronised import are_together, synchronise_norms

__all__ = [
    "CLIP",
    "Adapters",
    "Gated",
    "Hallucinate",
    "Hallucination",
    "ModalityAffine",
    "ModalityLayer",
    "ModalityNorm",
    "Purification",
    "SequencePurification",
    "StackLayout",
    "StageGates",
    "Trace",
    "are_together",
    "begin_subset",
    "build_adapters",
    "build_hallucinate",
    "build_purification",
    "concatenate_modalities",
    "fit_subset_statistics",
    "has_subset_statistics",
    "keep_subset_statistics",
    "mean_of_others",
    "modality_norm",
    "owner",
    "recount_subsets",
    "replace_norms",
    "reverse_gradient",
    "separate_layers",
    "settled",
    "split_modalities",
    "stack_modalities",
    "sum_of_others",
    "synchronise_norms",
    "untracked",
]
