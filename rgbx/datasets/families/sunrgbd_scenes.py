"""SUN RGB-D as downloaded (Song et al., CVPR 2015): a folder per scene, with splits and labels in the authors' toolbox.

SUNRGBD.zip holds `SUNRGBD/{kv1,kv2,realsense,xtion}/…/SCENE/` with image/, depth/, depth_bfx/ and annotations as
polygons with free names. The 37 classes are in SUNRGBDtoolbox.zip alone: `Metadata/SUNRGBD2Dseg.mat` (HDF5, one label
per frame, in the order of `Metadata/SUNRGBDMeta.mat`), and the split in `traintestSUNRGBD/allsplit.mat`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np

from rgbx._files import MOST_BYTES, inside
from rgbx.datasets.families.nyudv2_mat import check_packing, needed, read_matlab, reading_matlab
from rgbx.datasets.families.sunrgbd import SUNRGBD_CLASSES, SUNRGBD_PALETTE, SunDepth
from rgbx.datasets.files import FileDataset
from rgbx.datasets.frames import Frame
from rgbx.datasets.listing import Holdout, held_out
from rgbx.datasets.sample import Common, Sample
from rgbx.maps import RGB, STANDARD_MAPS, LabelEncoding
from rgbx.maps.folders import files_below, files_by_stem, is_hidden, join_name

CAMERAS = ("kv1", "kv2", "realsense", "xtion")
ALL = "all"
_TOOLBOX = "SUNRGBDtoolbox"
_SEGMENTATION, _META = "Metadata/SUNRGBD2Dseg.mat", "Metadata/SUNRGBDMeta.mat"
_SPLIT = "traintestSUNRGBD/allsplit.mat"
_IDS = LabelEncoding(offset=1, void=(0,))


class SUNRGBDScenes(FileDataset):
    """The scenes of SUNRGBD.zip, with the labels of SUNRGBDtoolbox.zip beside them.

    Args:
        root: holds SUNRGBD/ (or is it) and SUNRGBDtoolbox/.
        split: "train" or "test", which the toolbox lists, or "all": every scene, without labels where there is no
            toolbox.
        modalities: of "rgb" and "depth".
        depth_kind: "depth_bfx" (holes filled from neighbouring frames) or "depth" (as measured).
        holdout: see `rgbx.datasets.listing.holdout_indices`.
        common: `transforms` and `targets`, see `DenseDataset`.

    Raises:
        FileNotFoundError, ValueError: naming the file and what it is needed for.
        ImportError: h5py or scipy is not installed.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        modalities: Sequence[str] = ("rgb", "depth"),
        depth_kind: Literal["depth_bfx", "depth"] = "depth_bfx",
        holdout: Holdout = None,
        **common: Unpack[Common],
    ) -> None:
        if split not in ("train", "test", ALL) or depth_kind not in ("depth_bfx", "depth"):
            raise ValueError(
                "expected split 'train', 'test' or 'all' and depth_kind 'depth_bfx' or 'depth', "
                f"found {split!r} and {depth_kind!r}"
            )
        self.root, self.split = Path(root), split
        self.images = self.root / "SUNRGBD" if (self.root / "SUNRGBD").is_dir() else self.root
        self.toolbox = next((at / _TOOLBOX for at in (self.root, self.root.parent) if (at / _TOOLBOX).is_dir()), None)
        if split != ALL and self.toolbox is None:
            raise FileNotFoundError(
                f"{self.root / _TOOLBOX}: no such folder; SUNRGBDtoolbox.zip has the split and the labels of 37 "
                "classes, the scenes' own annotations have free names; split='all' reads the maps without labels"
            )
        scenes = scene_folders(self.images) if self.toolbox is None else _listed_scenes(self.toolbox, split)
        label = self.toolbox and self.toolbox / _SEGMENTATION
        self.places = {scene: place for place, scene in enumerate(scenes) if scene}
        super().__init__(
            held_out([_frame(self.images, scene, depth_kind, label) for scene in self.places], holdout),
            {"rgb": RGB, "depth": SunDepth(STANDARD_MAPS["depth"])},
            _IDS if label else None,
            modalities=modalities,
            classes=SUNRGBD_CLASSES if label else (),
            palette=SUNRGBD_PALETTE if label else (),
            **common,
        )

    def read_frame(self, frame: Frame, names: Sequence[str]) -> Sample:
        """The arrays of the named maps; the label is the toolbox's of the scene's place."""
        arrays = super().read_frame(frame, [name for name in names if name != "label"])
        if "label" in names:
            arrays["label"] = read_toolbox_label(frame.files["label"], self.places[frame.sample_id])
        return arrays


def scene_folders(images: Path) -> Iterator[str]:
    """Folders that hold image/ and depth/, relative, in their order; nothing below them is looked at."""
    seen: set[str] = set()  # links may lead round

    def visit(place: Path) -> Iterator[str]:
        real = os.path.realpath(place)
        if real in seen:
            return
        seen.add(real)
        inner = sorted(entry.name for entry in os.scandir(place) if entry.is_dir() and not is_hidden(entry.name))
        if {"image", "depth"} <= set(inner):
            yield place.relative_to(images).as_posix()
            return
        for name in inner:
            yield from visit(place / name)

    for camera in CAMERAS:
        if (images / camera).is_dir():
            yield from visit(images / camera)


def read_toolbox_label(path: Path, place: int) -> np.ndarray:
    """Train ids of one frame, uint8 [H, W], 255 = void, of SUNRGBD2Dseg.mat.

    Args:
        path: the file; it is opened anew, so that workers share no handle.
        place: of the frame in SUNRGBDMeta.mat, counted from 0.

    Raises:
        ImportError, OSError, ValueError: naming the file and the frame.
    """
    with reading_matlab(path), needed("h5py", "the toolbox of SUN RGB-D").File(path, "r") as file:
        try:
            references = file["SUNRGBD2Dseg"]["seglabel"]
            found = file[references[(place, 0) if references.shape[1] == 1 else (0, place)]]
            check_packing(found, f"{path}: frame {place + 1}")
            if found.nbytes > MOST_BYTES:
                raise ValueError(f"its {found.nbytes} bytes are more than the {MOST_BYTES} that are read")
            stored = found[()].T
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ValueError(f"{path}: no label of frame {place + 1} in SUNRGBD2Dseg.seglabel: {error}") from error
    if stored.ndim != 2 or not ((stored >= 0) & (stored <= 37) & (stored == np.floor(stored))).all():
        raise ValueError(f"{path}: frame {place + 1}: expected ids 0..37 [H, W], found {stored.dtype} {stored.shape}")
    return _IDS.lookup[stored.astype(np.uint8)]


def _listed_scenes(toolbox: Path, split: str) -> list[str]:
    """Scenes in the order of SUNRGBDMeta.mat; "" in the places of those of another split."""
    entries = np.atleast_1d(_matlab(toolbox / _META, "SUNRGBDMeta"))
    if not all(hasattr(entry, "rgbpath") for entry in entries):
        raise ValueError(f"{toolbox / _META}: SUNRGBDMeta must hold a structure with the field rgbpath per frame")
    paths = [inside(".", _relative(str(entry.rgbpath)), f"{toolbox / _META}: rgbpath") for entry in entries]
    scenes = [str(Path(path).parent.parent) for path in paths]
    if split == ALL:
        return scenes
    chosen = {_relative(str(text)) for text in np.atleast_1d(_matlab(toolbox / _SPLIT, f"all{split}"))}
    return [scene if scene in chosen else "" for scene in scenes]


def _relative(path: str) -> str:
    """A path of the authors' machine, from the folder SUNRGBD on."""
    return path.partition("SUNRGBD/")[2].strip("/").replace("//", "/")


def _matlab(path: Path, field: str) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; it is part of SUNRGBDtoolbox.zip")
    plain = {"squeeze_me": True, "struct_as_record": False, "variable_names": [field]}
    content = read_matlab(path, "the toolbox of SUN RGB-D", **plain)
    if field not in content:
        raise ValueError(f"{path}: no field {field!r}")
    return content[field]


def _frame(images: Path, scene: str, depth_kind: str, label: Path | None) -> Frame:
    """The one image in each of a scene's folders."""
    files = {}
    for name, folder in (("rgb", images / scene / "image"), ("depth", images / scene / depth_kind)):
        there = list(files_by_stem(folder, files_below(folder)).values())
        if len(there) > 1:
            raise ValueError(f"{folder}: expected one image of the scene, found {[path.name for path in there]}")
        files[name] = there[0] if there else folder / join_name(Path(scene).name)
    return Frame(scene, {**files, "label": label} if label else files)
