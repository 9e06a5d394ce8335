"""Cityscapes as downloaded (Cordts et al., CVPR 2016), 19 training classes, depth from disparity.

Packages leftImg8bit and gtFine; for depth also disparity and camera, all below one root as
`{package}/{split}/{city}/{frame}_{package suffix}`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np

from rgbx._files import inside, read_json
from rgbx.datasets.files import FileDataset
from rgbx.datasets.frames import Frame
from rgbx.datasets.sample import Common, Sample
from rgbx.maps import IGNORE_INDEX, RGB, STANDARD_MAPS, Encoding, LabelEncoding, read_image
from rgbx.maps.folders import files_below, split_name

_TRAIN_CLASSES = (  # label id, name, colour; the position is the train id
    (7, "road", (128, 64, 128)), (8, "sidewalk", (244, 35, 232)), (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)), (13, "fence", (190, 153, 153)), (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)), (20, "traffic sign", (220, 220, 0)), (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)), (23, "sky", (70, 130, 180)), (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)), (26, "car", (0, 0, 142)), (27, "truck", (0, 0, 70)), (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)), (32, "motorcycle", (0, 0, 230)), (33, "bicycle", (119, 11, 32)),
)  # fmt: skip
CITYSCAPES_CLASSES = tuple(name for _, name, _ in _TRAIN_CLASSES)
CITYSCAPES_PALETTE = [list(colour) for _, _, colour in _TRAIN_CLASSES]
_ID_OF = {label_id: train_id for train_id, (label_id, _, _) in enumerate(_TRAIN_CLASSES)}
LABEL_IDS = LabelEncoding(table=tuple(_ID_OF.get(label_id, IGNORE_INDEX) for label_id in range(256)))
_KINDS = {
    "rgb": ("leftImg8bit", "leftImg8bit.png"),
    "depth": ("disparity", "disparity.png"),
    "camera": ("camera", "camera.json"),
}
METRIC_DEPTH = ("depth", "depth.png")  # package and suffix of what rgbx prepare writes
METRIC_DEPTH_SCALE = 256.0  # its raw units per metre


class Cityscapes(FileDataset):
    """Cityscapes frames with labels and, where asked, metric depth.

    Args:
        root: the folder that holds leftImg8bit, gtFine, disparity and camera.
        split: "train", "val" or "test" (whose labels are all void).
        modalities: of "rgb" and "depth". Depth = baseline * fx / disparity; pixels without a
            disparity are 0. Distant pixels are coarse: disparity comes in steps of 1/256 pixel.
        cities: only these; None takes all.
        label_kind: "labelIds" (as downloaded, mapped to train ids here) or "labelTrainIds".
        common: `transforms` and `targets`, see `DenseDataset`.
        prepared: the folder that `rgbx prepare cityscapes` wrote (it may be root itself): depth and train ids are
            read from there, so that root needs leftImg8bit only.

    Raises:
        FileNotFoundError: a package, split or city that is not there.
        ValueError: unknown modalities or label kind.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        modalities: Sequence[str] = ("rgb", "depth"),
        cities: Sequence[str] | None = None,
        label_kind: Literal["labelIds", "labelTrainIds"] = "labelIds",
        prepared: str | Path | None = None,
        **common: Unpack[Common],
    ) -> None:
        if label_kind not in ("labelIds", "labelTrainIds"):
            raise ValueError(f"label_kind must be 'labelIds' or 'labelTrainIds', found {label_kind!r}")
        self.root, self.split = Path(root), inside(root, split, "split")
        self.label_kind = "labelTrainIds" if prepared else label_kind
        kinds = {
            "rgb": (self.root, *_KINDS["rgb"]),
            "label": (Path(prepared or root), "gtFine", f"gtFine_{self.label_kind}.png"),
        }
        if "depth" in modalities and prepared:
            kinds["depth"] = (Path(prepared), *METRIC_DEPTH)
        elif "depth" in modalities:
            kinds |= {name: (self.root, *_KINDS[name]) for name in ("depth", "camera")}
        for folder in [place / package / split for place, package, _ in kinds.values()]:
            if not folder.is_dir():
                needed = ", ".join(package for _, package, _ in kinds.values())
                raise FileNotFoundError(
                    f"{folder}: no such folder; Cityscapes with {modalities} needs the packages {needed}; "
                    "modalities=('rgb',) needs no depth"
                )
        super().__init__(
            [_frame(name, split, kinds) for name in frame_names(self.root / "leftImg8bit" / split, cities)],
            {"rgb": RGB, "depth": Encoding(STANDARD_MAPS["depth"], scale=METRIC_DEPTH_SCALE)},
            LabelEncoding() if self.label_kind == "labelTrainIds" else LABEL_IDS,
            modalities=modalities,
            classes=CITYSCAPES_CLASSES,
            palette=CITYSCAPES_PALETTE,
            **common,
        )

    def read(self, index: int) -> Sample:
        """rgb uint8 [H, W, 3], depth float32 [H, W] in metres, label uint8 [H, W]."""
        sample = super().read(index)
        camera = self.frames[index].files.get("camera")
        return sample if camera is None else {**sample, "paths": {**sample["paths"], "camera": str(camera)}}

    def read_frame(self, frame: Frame, names: Sequence[str]) -> Sample:
        """The arrays of the named maps; depth from a disparity needs the camera's file too."""
        if "camera" not in frame.files or "depth" not in names:
            return super().read_frame(frame, names)
        sample = super().read_frame(frame, [name for name in names if name != "depth"])
        return {**sample, "depth": read_disparity_depth(frame.files["depth"], frame.files["camera"])}

    def encode_label(self, label: np.ndarray) -> np.ndarray:
        """Label ids, uint8 [H, W], 0 (unlabelled) for 255: what the server takes, whatever `label_kind`."""
        return LABEL_IDS.encode(label)

    def prediction_name(self, sample_id: str) -> str:
        """`{city}_{seq}_{frame}_leftImg8bit.png`; the server looks for `{city}_{seq}_{frame}*.png` in any folder."""
        return f"{sample_id}_leftImg8bit.png"


def read_disparity_depth(disparity_path: str | Path, camera_path: str | Path) -> np.ndarray:
    """Depth of a Cityscapes frame: baseline * fx / disparity, disparity = (p - 1) / 256 pixels.

    Args:
        disparity_path: 16-bit image; p = 0 means no match and p = 1 infinitely far: both give 0.
        camera_path: the frame's camera.json with the baseline in metres and fx in pixels.

    Returns:
        float32 [H, W], metres, 0 = no measurement.

    Raises:
        FileNotFoundError, ValueError: naming the file and the field.
    """
    raw = read_image(disparity_path)
    if raw.ndim != 2 or raw.dtype != np.uint16:
        raise ValueError(
            f"disparity {disparity_path}: expected one channel of 16 bits, found {raw.dtype} of shape {raw.shape}"
        )
    valid = raw > 1
    depth = np.zeros(raw.shape, np.float32)
    np.divide(
        np.float32(256 * _baseline_times_focal_length(Path(camera_path))),
        raw.astype(np.float32) - 1,
        out=depth,
        where=valid,
    )
    return depth


def _baseline_times_focal_length(path: Path) -> float:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; depth needs Cityscapes' camera package")
    camera: Any = read_json(path)
    try:
        product = float(camera["extrinsic"]["baseline"]) * float(camera["intrinsic"]["fx"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"camera {path}: expected extrinsic.baseline and intrinsic.fx, found {type(error).__name__}: {error}"
        ) from error
    if not 0 < product < math.inf:
        raise ValueError(f"camera {path}: baseline * fx must be > 0, found {product}")
    return product


def frame_names(folder: Path, cities: Sequence[str] | None = None) -> list[str]:
    """The frames of one split, such as "aachen_000000_000019", in the order of cities and names.

    Args:
        folder: leftImg8bit/{split}.
        cities: only these; None takes all.

    Raises:
        FileNotFoundError: a city that is not there, or no frame.
    """
    files: dict[str, list[str]] = {}
    for file in files_below(folder):
        city, slash, name = file.rpartition("/")
        if slash and (stem := split_name(name, "", ("_leftImg8bit.png",))):
            files.setdefault(city, []).append(stem)
    found = sorted(files)
    missing = [city for city in cities or () if city not in found]
    if missing:
        raise FileNotFoundError(f"{folder}: no cities {missing}; it has {found}")
    names = [name for city in (found if cities is None else cities) for name in files[city]]
    if not names:
        raise FileNotFoundError(f"{folder}: no files {{city}}/*_leftImg8bit.png")
    return names


def frame_path(root: Path, package: str, split: str, name: str, suffix: str) -> Path:
    """Where the file of one frame lies; its city is the first part of its name."""
    return root / package / split / name.split("_")[0] / f"{name}_{suffix}"


def _frame(name: str, split: str, kinds: Mapping[str, tuple[Path, str, str]]) -> Frame:
    return Frame(
        name, {kind: frame_path(root, package, split, name, suffix) for kind, (root, package, suffix) in kinds.items()}
    )
