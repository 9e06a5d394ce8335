"""Networks whose authors have published scores and weights that rgbx converts: where they lie, and what they reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_NYUDV2 = (
    "NYU Depth V2, 654 test frames: `rgbx prepare nyudv2 nyu_depth_v2_labeled.mat data/nyudv2`, or the lists of rgb, "
    "masks and depth that the authors link to"
)
_CEN = "Wang et al., Deep Multimodal Fusion by Channel Exchanging, NeurIPS 2020 (arXiv 2011.05005)"
_CEN_WEIGHTS = "https://drive.google.com/drive/folders/{} (named by github.com/yikaiw/CEN, README.md)"


@dataclass(frozen=True)
class Published:
    """A network, and what its authors say of it.

    Attributes:
        source: of the scores.
        weights: where its checkpoint is to be had.
        network: see `rgbx.convert.convert_asymfusion`.
        config: of rgbx, whose test data are meant, by its place among the shipped ones.
        data: what is to lie in its data root.
        scores: in percent, of the ensemble, by their names.
        protocol: by which they were measured.
        depth: layers of the ResNet that the file must hold.
        sha256: of the checkpoint's file; "" where nobody has noted it yet.
    """

    source: str
    weights: str
    network: str
    config: str
    data: str
    scores: Mapping[str, float]
    protocol: str = "asymfusion"
    depth: int = 101
    sha256: str = ""


PUBLISHED = {
    "cen-r101-nyudv2": Published(
        _CEN,
        _CEN_WEIGHTS.format("1wim_cBG-HW0bdipwA1UbnGeDwjldPIwV"),
        "cen",
        "nyudv2/cen_r101_nyudv2_authors.py",
        _NYUDV2,
        {"mIoU": 51.1, "mAcc": 62.8, "aAcc": 76.2},
    ),
    "cen-r152-nyudv2": Published(
        _CEN,
        _CEN_WEIGHTS.format("1DGF6vHLDgBgLrdUNJOLYdoXCuEKbIuRs"),
        "cen",
        "nyudv2/cen_r152_nyudv2_authors.py",
        _NYUDV2,
        {"mIoU": 51.6, "mAcc": 64.4, "aAcc": 77.0},
        depth=152,
    ),
    "asymfusion-r152-nyudv2": Published(
        "Wang et al., Learning Deep Multimodal Feature Representation with Asymmetric Multi-layer Fusion, ACM MM 2020 "
        "(arXiv 2108.05009)",
        "not published; a checkpoint that github.com/yikaiw/AsymFusion has trained (main.py --enc 152)",
        "asymfusion",
        "nyudv2/asymfusion_r152_nyudv2_authors.py",
        _NYUDV2,
        {"mIoU": 51.2},
        depth=152,
    ),
}
"""By the names that `rgbx reproduce` takes."""
