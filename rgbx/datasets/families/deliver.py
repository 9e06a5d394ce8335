"""DELIVER: rendered street scenes in RGB, depth, events and lidar (Zhang et al., CVPR 2023, arXiv 2303.01480)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, Literal, Unpack

import cv2
import numpy as np

from rgbx._files import File
from rgbx.datasets.files import FileDataset
from rgbx.datasets.frames import Frame
from rgbx.datasets.sample import Common, Sample
from rgbx.maps import HHA, RELATIVE_DEPTH, RGB, STANDARD_MAPS, Encoding, LabelEncoding, MapSpec, read_image
from rgbx.maps.files import read_colours
from rgbx.maps.folders import files_below, split_name

_CLASSES = (
    ("building", (70, 70, 70)), ("fence", (100, 40, 40)), ("other", (55, 90, 80)), ("pedestrian", (220, 20, 60)),
    ("pole", (153, 153, 153)), ("road line", (157, 234, 50)), ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)), ("vegetation", (107, 142, 35)), ("cars", (0, 0, 142)), ("wall", (102, 102, 156)),
    ("traffic sign", (220, 220, 0)), ("sky", (70, 130, 180)), ("ground", (81, 0, 81)), ("bridge", (150, 100, 100)),
    ("rail track", (230, 150, 140)), ("ground rail", (180, 165, 180)), ("traffic light", (250, 170, 30)),
    ("static", (110, 190, 160)), ("dynamic", (170, 120, 50)), ("water", (45, 60, 150)),
    ("terrain", (145, 170, 100)), ("two-wheeler", (0, 0, 230)), ("bus", (0, 60, 100)), ("truck", (0, 0, 70)),
)  # fmt: skip
DELIVER_CLASSES = tuple(name for name, _ in _CLASSES)
DELIVER_PALETTE = [list(colour) for _, colour in _CLASSES]
DELIVER_WEATHERS = ("cloud", "fog", "night", "rain", "sun")
DELIVER_CASES = ("motionblur", "overexposure", "underexposure", "lidarjitter", "eventlowres")
_FILES = {  # folder, and what follows the frame's number
    "rgb": ("img", "_rgb_front.png"),
    "hha": ("hha", "_depth_front.png"),
    "depth": ("depth", "_depth_front.png"),
    "lidar": ("lidar", "_lidar_front.png"),
    "event": ("event", "_event_front.png"),
    "label": ("semantic", "_semantic_front.png"),
}
_PICTURES = {name: Encoding(MapSpec.of_unit(name, "encoded", "nearest")) for name in ("lidar", "event")}


class DELIVER(FileDataset):
    """`{img,hha,depth,lidar,event,semantic}/{weather}/{split}/MAP_*/*.png`, 25 classes.

    Labels hold their class in the first channel: 1..25, and 0 or 255 where there is none; train id = value - 1.
    "hha", "lidar" and "event" are pictures, uint8 [H, W, 3]; events of another size than their image are brought to
    its size by nearest neighbour, as the authors do. Their figures for depth are those of "hha".

    Args:
        root: the folder that holds img, semantic and so on.
        split: "train", "val" or "test".
        modalities: of "rgb", "hha", "depth", "lidar" and "event".
        conditions: weathers (`DELIVER_WEATHERS`), sensor failures (`DELIVER_CASES`, found in the names of folders or
            files), or both; a frame must have one of the weathers and one of the failures named. None takes all.
        depth_encoding: what files of "depth" hold: "grey" for one channel of no known unit, read as 0..1, or "carla"
            for the simulator's colours, red + 256 green + 65536 blue of 2^24 - 1 on a scale of 1000 m.
        common: `transforms` and `targets`, see `DenseDataset`.

    Raises:
        FileNotFoundError: no frame of this split and these conditions, or a missing file.
        ValueError: unknown modalities, conditions or depth encoding; when read, files that hold something else.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        modalities: Sequence[str] = ("rgb", "hha"),
        conditions: Sequence[str] | None = None,
        depth_encoding: Literal["grey", "carla"] = "grey",
        **common: Unpack[Common],
    ) -> None:
        depths = {"grey": GreyDepth(RELATIVE_DEPTH), "carla": CarlaDepth(STANDARD_MAPS["depth"])}
        if depth_encoding not in depths:
            raise ValueError(f"depth_encoding must be 'grey' or 'carla', found {depth_encoding!r}")
        self.root, self.split = Path(root), split
        frames, others = _frames(self.root, split, conditions)
        super().__init__(
            frames,
            {"rgb": RGB, "hha": HHA, "depth": depths[depth_encoding], **_PICTURES},
            FirstChannel(offset=1, void=(0,)),
            named={PurePath(frame.sample_id).name for frame in others},
            modalities=modalities,
            classes=DELIVER_CLASSES,
            palette=DELIVER_PALETTE,
            **common,
        )

    @property
    def metainfo(self) -> dict[str, Any]:
        """Also the conditions there are: a frame has those that its `sample_id` names, as in the authors' code."""
        return {**super().metainfo, "conditions": [*DELIVER_WEATHERS, *DELIVER_CASES]}

    def read_frame(self, frame: Frame, names: Sequence[str]) -> Sample:
        """Also brings events to the size of the label."""
        arrays = super().read_frame(frame, names)
        height, width = arrays["label"].shape
        if "event" in arrays and arrays["event"].shape[:2] != (height, width):
            arrays["event"] = cv2.resize(arrays["event"], (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        return arrays


class FirstChannel(LabelEncoding):
    """Class ids in a grey image, or in the red channel of a colour image."""

    def stored(self, path: File) -> np.ndarray:
        """uint8 [H, W].

        Raises:
            FileNotFoundError, ValueError: missing, truncated, or not 8 bits per channel.
        """
        return np.ascontiguousarray(read_colours(path, transparent=True)[..., 0])


class GreyDepth(Encoding):
    """Depth of no known unit, 0..1 of the file's range."""

    def stored(self, path: File) -> np.ndarray:
        """Whole numbers [H, W]; colours are refused with a hint."""
        try:
            return super().stored(path)
        except ValueError as error:
            raise ValueError(f"{error} If these are the simulator's colours, use depth_encoding='carla'") from error


class CarlaDepth(Encoding):
    """Depth from the colours of CARLA's depth camera, in metres up to 1000.

    The encoding is that of the simulator's documentation: the far plane at 1000 m, red the least significant byte.
    """

    def stored(self, path: File) -> np.ndarray:
        """Colours, uint8 [H, W, C].

        Raises:
            FileNotFoundError, ValueError: missing, truncated, or not three channels of 8 bits.
        """
        image = read_image(path)
        if image.ndim != 3 or image.dtype != np.uint8:
            raise ValueError(
                f"depth {path}: expected CARLA's three channels of 8 bits, found {image.dtype} of shape {image.shape}; "
                "a grey image needs depth_encoding='grey'"
            )
        return image

    def decode(self, raw: np.ndarray, path: File = "") -> np.ndarray:
        """Metres, float32 [H, W], of colours, uint8 [H, W, C]."""
        steps = raw[..., :3].astype(np.float64) @ np.array([1.0, 256.0, 65536.0])
        return (steps * (1000 / (2**24 - 1))).astype(np.float32)


def _frames(root: Path, split: str, conditions: Sequence[str] | None) -> tuple[list[Frame], list[Frame]]:
    """Frames that meet the conditions, and those that do not."""
    weathers, cases = _conditions(conditions)
    folder, suffix = _FILES["rgb"]
    frames: list[Frame] = []
    others: list[Frame] = []
    for name in files_below(root / folder):
        parts = name.split("/")
        stem = split_name(name, "", (suffix,))
        if len(parts) != 4 or parts[1] != split or not stem:
            continue
        weather, _, scene, number = stem.split("/")
        files = {key: root / kind / f"{stem}{end}" for key, (kind, end) in _FILES.items()} | {
            "rgb": root / folder / name
        }
        fits = weather in weathers and (not cases or any(case in f"{scene}/{number}".lower() for case in cases))
        (frames if fits else others).append(Frame(f"{weather}/{scene}/{number}", files))
    if not frames:
        found = sorted(str(path.relative_to(root)) for path in (root / folder).glob("*/*") if path.is_dir())
        raise FileNotFoundError(
            f"{root}: no frames {folder}/{{weather}}/{split}/*/*{suffix} with conditions {conditions}; found {found}"
        )
    return frames, others


def _conditions(conditions: Sequence[str] | None) -> tuple[Sequence[str], Sequence[str]]:
    known = (*DELIVER_WEATHERS, *DELIVER_CASES)
    if isinstance(conditions, str) or (conditions is not None and not set(conditions) <= set(known)):
        raise ValueError(f"conditions must be some of {list(known)}, found {conditions!r}")
    weathers = [name for name in conditions or () if name in DELIVER_WEATHERS]
    return weathers or DELIVER_WEATHERS, [name for name in conditions or () if name in DELIVER_CASES]
