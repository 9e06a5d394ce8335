"""Evaluation protocols: everything between a network's outputs and a score that repositories do in their own way.

A mean IoU can only be compared with one of the same protocol, so each has a name that results carry.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

Size = tuple[int, int]  # (H, W) in pixels


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The rules of one evaluation; `rgbx.models.Predictor` and the tasks carry them out.

    Where heads are maps, views are averaged as images in place of what `sum_of` and `flip_sum` say.

    Attributes:
        name: what results are stamped with.
        source: where the rules come from.
        scales: factors on the image size; their scores are added.
        flip: whether the mirrored image is predicted too, at every scale.
        flip_sum: "scores" adds the mirrored prediction after `sum_of`, "logits" before it.
        size_rounding: H * scale becomes an integer by "round" (half to even) or "floor".
        multiple: scaled sides are then rounded up to multiples of this, by resizing.
        resizer: "torch" resizes inputs normalised, to exactly the scaled sides. "opencv" takes steps of 1/scale from
            pixel to pixel, however the sides were rounded, and resizes maps of 8 bits before they are normalised, to
            whole numbers; it also resizes the scores.
        one_channel_resize: how one-channel maps are resized; maps of more channels are resized bilinearly.
        pad_to: a smaller image is padded with zeros on both sides to at least this size (H, W), after normalization and
            before it is mirrored.
        window: size (H, W) of a sliding window; None predicts whole images.
        stride: from one window to the next; the last of a row or column is moved back to end at the image's border.
        swapped: windows have W rows and H columns, and the steps of `stride` are swapped likewise, but there are as
            many as `window` and `stride` ask for. Of a window that would begin n rows above the image's first, only
            the rows from the n-th last on are left. The scores of pixels in no window are 0.
        slide_if: windows are used where "both" sides of the image exceed the window, or where "any" does.
        window_weight: "sum" adds overlapping windows; "tent" averages them with weights that fall linearly from a
            window's centre to its border: row i of n weighs min(i + 1, n - i), columns alike, rows times columns.
        logits_to_label: "bilinear" or "bicubic" (a = -0.75, as OpenCV), from the decoder's size to the input's and,
            where that differs, to the label's. Labels are never resized.
        align_corners: of resizing inputs and of resizing from the input's size to the label's.
        resized: what is resized to the label's size: "logits", or the "scores" made of them.
        sum_of: what scales, mirrored images and windows add up: "logits", "softmax" or "exp" of the logits.
        absent: a class with neither true nor predicted pixels is left out of means ("skip") or counts as 0 ("zero").
        drop_labels_from: "num_classes" leaves out pixels whose label is K or more; None leaves out the dataset's
            ignore_index alone and refuses other labels beyond the classes.
        dropout: whether dropout stays on, drawn from the samples' ids alone.
        stretched: maps of which prediction and truth are each stretched before FID and KID, image by image, so that
            their smallest value becomes 0 and their largest 255, and cut to whole numbers.
        tasks: the kinds of task that the rules are made for; None for all.
    """

    name: str
    source: str
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    flip_sum: Literal["scores", "logits"] = "scores"
    size_rounding: Literal["round", "floor"] = "round"
    multiple: int = 1
    resizer: Literal["torch", "opencv"] = "torch"
    one_channel_resize: Literal["nearest", "bilinear"] = "nearest"
    pad_to: Size | None = None
    window: Size | None = None
    stride: Size | None = None
    swapped: bool = False
    slide_if: Literal["both", "any"] = "any"
    window_weight: Literal["sum", "tent"] = "tent"
    logits_to_label: Literal["bilinear", "bicubic"] = "bilinear"
    align_corners: bool = False
    resized: Literal["logits", "scores"] = "logits"
    sum_of: Literal["logits", "softmax", "exp"] = "logits"
    absent: Literal["skip", "zero"] = "skip"
    drop_labels_from: Literal["num_classes"] | None = None
    dropout: bool = False
    stretched: tuple[str, ...] = ()
    tasks: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"protocol {self.name!r}: scales must be positive factors, found {self.scales}")
        if self.multiple < 1:
            raise ValueError(f"protocol {self.name!r}: multiple must be >= 1, found {self.multiple}")
        if self.resizer == "opencv":
            own = (self.multiple, self.size_rounding, self.align_corners, self.resized)
            if own != (1, "round", False, "scores"):
                raise ValueError(
                    f"protocol {self.name!r}: resizer='opencv' needs multiple=1, size_rounding='round', "
                    f"align_corners=False and resized='scores', found {own}"
                )
        if self.swapped and (self.window is None or (self.slide_if, self.window_weight) != ("both", "sum")):
            raise ValueError(f"protocol {self.name!r}: swapped needs a window, slide_if='both' and window_weight='sum'")
        if (self.window is None) != (self.stride is None):
            raise ValueError(f"protocol {self.name!r}: window and stride belong together")
        if self.window is not None and self.stride is not None:
            if not all(0 < step <= side for step, side in zip(self.stride, self.window, strict=True)):
                raise ValueError(
                    f"protocol {self.name!r}: a stride of {self.stride} leaves gaps between windows of {self.window}"
                )
            if self.resized != "scores":
                raise ValueError(f"protocol {self.name!r}: windows need resized='scores', found {self.resized!r}")
        if self.logits_to_label == "bicubic" and self.resized == "scores":
            raise ValueError(f"protocol {self.name!r}: bicubic resizing makes scores negative; use resized='logits'")

    @property
    def views(self) -> int:
        """How many predictions are added up per pixel, windows aside."""
        return len(self.scales) * (2 if self.flip else 1)

    def as_dict(self) -> dict[str, Any]:
        """Every rule by its name, for result files."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "tasks"}


_CMX_SOURCE = "Zhang et al., arXiv 2203.04838: github.com/huaaaliu/RGBX_Semantic_Segmentation, engine/evaluator.py"
_CMX: dict[str, Any] = dict(
    flip_sum="logits",
    pad_to=(480, 640),
    window=(480, 640),
    stride=(320, 427),  # two thirds, rounded up
    slide_if="both",
    window_weight="sum",
    resized="scores",
    sum_of="exp",
    drop_labels_from="num_classes",
    tasks=("classes",),
)

_CMX_SCALES: dict[str, Any] = dict(scales=(0.75, 1.0, 1.25), flip=True)
_AS_RELEASED: dict[str, Any] = dict(resizer="opencv", one_channel_resize="bilinear", swapped=True)
_FIXED = "with windows whose sides are not swapped and inputs resized after normalization"

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("rgbx", source="whole images at one scale, logits resized bilinearly to the label"),
        Protocol(
            "rgbx-sliding",
            source="rgbx with windows of 1024×1024 whose probabilities are averaged, for images of 1024×2048",
            window=(1024, 1024),
            stride=(512, 512),
            resized="scores",
            sum_of="softmax",
        ),
        Protocol(
            "asymfusion",
            source="Wang et al., arXiv 2108.05009: github.com/yikaiw/AsymFusion, main.py, validate",
            logits_to_label="bicubic",
            drop_labels_from="num_classes",
            tasks=("classes",),
        ),
        Protocol("cmx-ss", _CMX_SOURCE, **_CMX, **_AS_RELEASED),
        Protocol("cmx-ms", _CMX_SOURCE, **_CMX, **_AS_RELEASED, **_CMX_SCALES),
        Protocol("cmx-ss-fixed", f"{_CMX_SOURCE}, {_FIXED}", **_CMX),
        Protocol("cmx-ms-fixed", f"{_CMX_SOURCE}, {_FIXED}", **_CMX, **_CMX_SCALES),
        Protocol(
            "dformer-ms",
            source="Yin et al., arXiv 2309.09668: github.com/VCIP-RGBD/DFormer, utils/val_mm.py, evaluate_msf",
            scales=(0.5, 0.75, 1.0, 1.25, 1.5),
            flip=True,
            size_rounding="floor",
            multiple=32,
            one_channel_resize="bilinear",
            align_corners=True,
            sum_of="softmax",
            absent="zero",
            tasks=("classes",),
        ),
        Protocol(
            "deliver",
            source="Zhang et al., arXiv 2303.01480: github.com/jamycheung/DELIVER, tools/val_mm.py, evaluate",
            absent="zero",
            tasks=("classes",),
        ),
        Protocol(
            "cen",
            source="Wang et al., arXiv 2011.05005: github.com/yikaiw/CEN, image2image_translation/main.py, evaluate: "
            "the generator is never put in evaluation mode, and colour images are stretched before FID and KID",
            dropout=True,
            stretched=("rgb",),
            tasks=("map",),
        ),
    )
}
