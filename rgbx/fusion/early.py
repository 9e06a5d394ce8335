"""Early fusion: the modalities are joined before the first layer.

Source: Couprie et al., "Indoor Semantic Segmentation using depth information" (arXiv 1301.3572), whose network reads
RGB and depth as one image, and the "RGBD" row of Long et al., "Fully Convolutional Networks for Semantic Segmentation"
(arXiv 1411.4038), table 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rgbx.fusion.base import FusionMethod, fusion_method


@fusion_method("early")
@dataclass(frozen=True, kw_only=True)
class EarlyFusion(FusionMethod):
    """Early fusion: the modalities are the channels of one input, and one network makes one prediction.

    Differs from the papers: every modality takes three input channels, a one-channel map three equal ones, and the
    pretrained first convolution is repeated over the M modalities and divided by M. A modality that is absent is zero
    after normalization.
    """

    concatenates_inputs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stages is not None:
            raise ValueError(f"early fusion joins the inputs and has no stages, found stages={self.stages}")
