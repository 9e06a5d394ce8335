"""Late fusion: the modalities meet in their predictions alone.

Source: the "RGB-HHA" row of Long et al., "Fully Convolutional Networks for Semantic Segmentation" (arXiv 1411.4038),
table 4, where the scores of two networks are summed (averaged in the authors' code).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rgbx.fusion.base import FusionMethod, fusion_method


@fusion_method("late")
@dataclass(frozen=True, kw_only=True)
class LateFusion(FusionMethod):
    """Late fusion: nothing is exchanged, and the ensemble is the mean of the modalities' probabilities.

    Differs from the paper: probabilities are averaged, not scores; each branch is trained by its own loss (with
    ``detach_ensemble=False`` also by the ensemble's, the paper's only one); and the modalities share one network but
    for its norms, or with ``weights="separate"`` its decoder alone, where the paper has two networks.
    """

    ensemble: ClassVar[str] = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stages is not None:
            raise ValueError(f"late fusion exchanges nothing and has no stages, found stages={self.stages}")
