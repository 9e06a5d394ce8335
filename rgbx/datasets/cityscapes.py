"""Cityscapes as downloaded (Cordts et al., CVPR 2016), 19 training classes, depth from disparity.

Packages leftImg8bit and gtFine; for depth also disparity and camera, all below one root as
`{package}/{split}/{city}/{frame}_{package suffix}`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rgbx.datasets.reading import read_image, read_label, read_rgb
from rgbx.datasets.sample import IGNORE_INDEX, DenseDataset, Sample, Transform

_TRAIN_CLASSES = (  # label id, name, colour; the position is the train id
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)
CITYSCAPES_CLASSES = tuple(name for _, name, _ in _TRAIN_CLASSES)
CITYSCAPES_PALETTE = [list(colour) for _, _, colour in _TRAIN_CLASSES]

_SUFFIXES = {
    "rgb": ("leftImg8bit", "leftImg8bit.png"),
    "depth": ("disparity", "disparity.png"),
    "camera": ("camera", "camera.json"),
}


class Cityscapes(DenseDataset):
    """Cityscapes frames with labels and, where asked, metric depth.

    Args:
        root: the folder that holds leftImg8bit, gtFine, disparity and camera.
        split: "train", "val" or "test" (whose labels are all void).
        modalities: of "rgb" and "depth". Depth = baseline * fx / disparity; pixels without a
            disparity are 0. Distant pixels are coarse: disparity comes in steps of 1/256 pixel.
        cities: only these; None takes all.
        label_kind: "labelIds" (as downloaded, mapped to train ids here) or "labelTrainIds".
        transforms: see `DenseDataset`.

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
        transforms: Sequence[Transform | dict[str, Any]] = (),
    ) -> None:
        unknown = [name for name in modalities if name not in ("rgb", "depth")]
        if unknown:
            raise ValueError(f"Cityscapes has the modalities 'rgb' and 'depth', found {unknown}")
        if label_kind not in ("labelIds", "labelTrainIds"):
            raise ValueError(f"label_kind must be 'labelIds' or 'labelTrainIds', found {label_kind!r}")
        super().__init__(
            modalities=modalities, classes=CITYSCAPES_CLASSES, palette=CITYSCAPES_PALETTE, transforms=transforms
        )
        self.root, self.split = Path(root), split
        self.label_kind = label_kind
        self._lookup = train_id_lookup() if label_kind == "labelIds" else None
        packages = ("leftImg8bit", *(("disparity", "camera") if "depth" in modalities else ()))
        for package in packages:
            if not (self.root / package / split).is_dir():
                raise FileNotFoundError(
                    f"{self.root / package / split}: no such folder; Cityscapes with {modalities} "
                    f"needs the packages {', '.join((*packages, 'gtFine'))}"
                )
        self.frames = _frames(self.root / "leftImg8bit" / split, cities)

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, index: int) -> Sample:
        """rgb uint8 [H, W, 3], depth float32 [H, W] in metres, label uint8 [H, W]."""
        frame = self.frames[index]
        kinds = {**_SUFFIXES, "label": ("gtFine", f"gtFine_{self.label_kind}.png")}
        wanted = [*self.modalities, "label", *(["camera"] if "depth" in self.modalities else [])]
        paths = {
            name: str(self.root / kinds[name][0] / self.split / frame.split("_")[0] / f"{frame}_{kinds[name][1]}")
            for name in wanted
        }
        label = read_label(paths["label"], self._lookup)
        sample: Sample = {"sample_id": frame, "paths": paths, "label": label}
        if "rgb" in paths:
            sample["rgb"] = read_rgb(paths["rgb"])
        if "depth" in paths:
            sample["depth"] = read_disparity_depth(paths["depth"], paths["camera"])
        return sample

    def encode_label(self, label: np.ndarray) -> np.ndarray:
        """Label ids uint8 [H, W], 0 (unlabelled) for 255: what the evaluation server takes, whatever `label_kind`."""
        return label_id_lookup()[label]

    def prediction_name(self, sample_id: str) -> str:
        """`{city}_{seq}_{frame}_leftImg8bit.png`; the server looks for `{city}_{seq}_{frame}*.png` in any folder."""
        return f"{sample_id}_leftImg8bit.png"


def train_id_lookup() -> np.ndarray:
    """uint8 [256]: Cityscapes label id to train id, 255 where a class is not trained."""
    lookup = np.full(256, IGNORE_INDEX, np.uint8)
    for train_id, (label_id, _, _) in enumerate(_TRAIN_CLASSES):
        lookup[label_id] = train_id
    return lookup


def label_id_lookup() -> np.ndarray:
    """uint8 [256]: train id to Cityscapes label id, 0 (unlabelled) for everything that is no train id."""
    lookup = np.zeros(256, np.uint8)
    lookup[: len(_TRAIN_CLASSES)] = [label_id for label_id, _, _ in _TRAIN_CLASSES]
    return lookup


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
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; depth needs Cityscapes' camera package")
    try:
        camera = json.loads(path.read_text(encoding="utf-8"))
        product = float(camera["extrinsic"]["baseline"]) * float(camera["intrinsic"]["fx"])
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"camera {path}: expected extrinsic.baseline and intrinsic.fx, found {type(error).__name__}: {error}"
        ) from error
    if not product > 0:
        raise ValueError(f"camera {path}: baseline * fx must be > 0, found {product}")
    return product


def _frames(folder: Path, cities: Sequence[str] | None) -> list[str]:
    found = sorted(path.name for path in folder.iterdir() if path.is_dir())
    missing = [city for city in cities or () if city not in found]
    if missing:
        raise FileNotFoundError(f"{folder}: no cities {missing}; it has {found}")
    names = [
        path.name
        for city in (found if cities is None else cities)
        for path in sorted((folder / city).glob("*_leftImg8bit.png"))
    ]
    if not names:
        raise FileNotFoundError(f"{folder}: no files {{city}}/*_leftImg8bit.png")
    return [name.removesuffix("_leftImg8bit.png") for name in names]
