"""Synthetic rooms as a dataset: rendered on the fly, or kept as PNG files."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from rgbx._choices import PAINTS
from rgbx._files import read_json
from rgbx._text import one_of
from rgbx.datasets.rooms.classes import CLASSES, HEATER, HOT_HEATER, PALETTE
from rgbx.datasets.rooms.rendering import DECODERS, MAPS, RENDERER_VERSION, make_scene, render, render_scene
from rgbx.datasets.sample import Common, DenseDataset, Sample
from rgbx.maps.files import encode_png, read_image, replace_file

SPLITS = ("train", "test", "val")
FIRST_OF_VAL = 2**32  # scenes below it are train's and test's
MANIFEST = "manifest.json"  # seed, size and renderer of the frames in a root
STORED = {"depth": {"scale": 1000.0}, "thermal": {"scale": 100.0, "add": -273.15}, "edge": {"scale": 255.0, "bits": 8}}
DEFAULT_FRAMES = {"train": 600, "test": 200, "val": 100}
LARGEST = 2**12  # side of an image
_EXPECTED = {
    "renderer": "a whole number",
    "seed": "a whole number",
    "size": f"[height, width] of 8..{LARGEST}",
    "splits": f"an object with the number of frames of some of {', '.join(SPLITS)}",
    "paints": f"one of {PAINTS}",
}


class SyntheticRooms(DenseDataset):
    """Endless rendered rooms, on the fly or kept as PNG files.

    Args:
        split: "train" (even scenes), "test" (odd scenes) or "val" (scenes from 2**32 on), so that no two share a scene.
        num_frames: frames in the split; by default what `root` was rendered for, otherwise 600 for
            train, 200 for test and 100 for val. Frame i does not depend on it.
        size: (H, W) in pixels.
        modalities: of rgb, depth, thermal, normal, edge. With thermal, heaters are two classes.
        seed: which world of scenes.
        paints: "random" for segmentation; "class" for translation to rgb, where the class of a surface says its colour.
        root: folder of rendered frames, `{split}/{map}/000000.png`; missing ones are rendered and
            written when they are read. On-disk and on-the-fly frames are equal.
        common: `transforms` and `targets`, see `DenseDataset`.

    Raises:
        ValueError: a wrong split, modality, size, count or kind of paints, or a root rendered with
            another seed, size, kind of paints or renderer.
        OSError: a file of the root cannot be read; the message names it.
    """

    def __init__(
        self,
        *,
        split: str = "train",
        num_frames: int | None = None,
        size: tuple[int, int] = (120, 160),
        modalities: Sequence[str] = ("rgb", "depth"),
        seed: int = 0,
        paints: str = "random",
        root: str | Path | None = None,
        **common: Unpack[Common],
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; expected one of {one_of(SPLITS, split)}")
        if min(size) < 8 or (num_frames is not None and num_frames < 1):
            raise ValueError(f"size must be at least 8x8 and num_frames at least 1, found {size} and {num_frames}")
        if paints not in PAINTS:
            raise ValueError(f"paints is {paints!r}; expected one of {one_of(PAINTS, paints)}")
        unknown = sorted(set(modalities) - set(MAPS[:-1]))
        if unknown:
            raise ValueError(f"modalities {unknown} are not rendered; expected some of {one_of(MAPS[:-1], unknown[0])}")
        count = len(CLASSES) if "thermal" in modalities else HEATER + 1
        super().__init__(modalities=modalities, classes=CLASSES[:count], palette=PALETTE[:count], **common)
        self.split, self.seed, self.size, self.paints = split, seed, (int(size[0]), int(size[1])), paints
        self.root = None if root is None else Path(root)
        self.num_frames = DEFAULT_FRAMES[split] if num_frames is None else num_frames
        if self.root is not None:
            self.num_frames = self._claim_root(num_frames)

    def __len__(self) -> int:
        return self.num_frames

    @property
    def metainfo(self) -> dict[str, Any]:
        """Beside the base's, how files hold modalities with a scale, in the words of `rgbx.maps.Encoding`."""
        return {**super().metainfo, "stored": {name: STORED[name] for name in self.modalities if name in STORED}}

    def read(self, index: int) -> Sample:
        names = (*self.modalities, "label")
        paths: dict[str, str] = {}
        if self.root is None:
            frame: Mapping[str, np.ndarray] = render(self.seed, self.scene_index(index), self.size, self.paints)
        else:
            self.write(index)
            paths = {name: str(self.path(name, index)) for name in names}
            frame = {name: DECODERS[name](_load(Path(paths[name]), name, self.size)) for name in names}
        sample: dict[str, Any] = {name: frame[name] for name in names}
        sample["label"] = self.seen_classes(sample["label"])
        return {**sample, "sample_id": self.name_of(index), "paths": paths}

    def seen_classes(self, label: np.ndarray) -> np.ndarray:
        """A label of all classes, uint8 [H, W], in those of the dataset: without thermal, heaters are one class."""
        return label if len(self.classes) > HOT_HEATER else np.where(label == HOT_HEATER, np.uint8(HEATER), label)

    def name_of(self, index: int) -> str:
        """See `DenseDataset.name_of`."""
        return f"{self.split}/{index:06d}"

    def scene_index(self, index: int) -> int:
        """The scene that frame `index` shows: even for train, odd for test, from `FIRST_OF_VAL` on for val."""
        return FIRST_OF_VAL + index if self.split == "val" else 2 * index + SPLITS.index(self.split)

    def path(self, name: str, index: int) -> Path:
        """File of one map of one frame; needs a root."""
        if self.root is None:
            raise ValueError("SyntheticRooms without a root keeps no files")
        return self.root / self.split / name / f"{index:06d}.png"

    def write(self, index: int) -> bool:
        """Renders frame `index` into the root unless all its files are there; True if it did."""
        paths = {name: self.path(name, index) for name in MAPS}
        if all(path.exists() and path.stat().st_size for path in paths.values()):
            return False
        key = (self.seed, self.scene_index(index))
        raw, _ = render_scene(make_scene(*key, self.size, self.paints), key, self.size)
        for name, path in paths.items():
            replace_file(path, encode_png(raw[name]), many=True)
        return True

    def _claim_root(self, num_frames: int | None) -> int:
        """Checks or starts the manifest of the root; returns the number of frames to use."""
        path = Path(self.root or "") / MANIFEST
        ours = {"renderer": RENDERER_VERSION, "seed": self.seed, "size": list(self.size), "paints": self.paints}
        found = self._manifest(path)
        if found:
            found.setdefault("paints", "random")  # which older manifests do not say
        for field, value in ours.items():
            if found and found.get(field) != value:
                raise ValueError(
                    f"{path}: field {field!r} is {found.get(field)!r}, expected "
                    f"{value!r}; use another root or the recorded {field} (dataset.{field} in a config)"
                )
        splits = dict(found.get("splits", {}))
        promised = splits.get(self.split, 0)
        if num_frames is None:
            num_frames = promised or DEFAULT_FRAMES[self.split]
        if num_frames > promised:
            splits[self.split] = num_frames
            replace_file(path, (json.dumps({**ours, "splits": splits}, indent=2) + "\n").encode())
        return num_frames

    def _manifest(self, path: Path) -> dict[str, Any]:
        """The manifest's fields; empty if there is none yet."""
        if not path.exists():
            if any((path.parent / split).exists() for split in SPLITS):
                raise ValueError(
                    f"{path} is missing, but {path.parent} holds frames: not a folder of rendered rooms; use another "
                    "root"
                )
            return {}
        try:
            return read_manifest(path)
        except ValueError as error:
            raise ValueError(f"{error}; delete it or use another root") from error


def read_manifest(path: Path) -> dict[str, Any]:
    """The fields of a manifest: renderer, seed, size, splits (frames of each), and paints but in the oldest.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no JSON, or a field that is missing or wrong; the message names file and field.
    """
    fields = read_json(path)
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: expected an object with the fields renderer, seed, size and splits")
    size, splits = fields.get("size"), fields.get("splits")
    right = {
        "renderer": _is_whole(fields.get("renderer"), 0),
        "seed": _is_whole(fields.get("seed"), 0),
        "size": isinstance(size, list) and len(size) == 2 and all(_is_whole(side, 8, LARGEST) for side in size),
        "splits": isinstance(splits, dict)
        and all(name in SPLITS and _is_whole(count, 1) for name, count in splits.items()),
        "paints": fields.get("paints", "random") in PAINTS,
    }
    for field, is_right in right.items():
        if not is_right:
            raise ValueError(
                f"{path}: field {field!r} is {reprlib.repr(fields.get(field))}, expected {_EXPECTED[field]}"
            )
    return fields


def _is_whole(value: object, low: int, high: int = 2**63 - 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _load(path: Path, name: str, size: tuple[int, int]) -> np.ndarray:
    try:
        raw = read_image(path)
    except (OSError, ValueError) as error:
        raise OSError(f"{error}; delete it to have it rendered again") from error
    dtype = np.uint16 if name in ("depth", "thermal", "normal") else np.uint8
    shape = (*size, 3) if name in ("rgb", "normal") else size
    if raw.dtype != dtype or raw.shape != shape:
        raise OSError(
            f"{path}: expected {np.dtype(dtype)} {shape}, found {raw.dtype} {raw.shape}; "
            "delete it to have it rendered again"
        )
    return raw
