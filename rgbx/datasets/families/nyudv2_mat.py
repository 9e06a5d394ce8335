"""NYU Depth V2 as published: frames read directly from nyu_depth_v2_labeled.mat (Silberman et al., ECCV 2012).

The file is HDF5 (MATLAB v7.3), column-major, so its arrays come transposed: images uint8 [1449, 3, 640, 480], depths
and rawDepths float32 [1449, 640, 480] in metres, labels uint16 [1449, 640, 480] of 894 classes with 0 = void. Two small
files go with it: classMapping40.mat (894 classes to 40, Gupta et al., CVPR 2013) and splits.mat (795 train and 654 test
frames). Needs the extra `mat`: pip install 'rgbx[mat]'.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np

from rgbx._files import read_file
from rgbx.datasets.families.nyudv2 import NYUDV2_CLASSES, NYUDV2_PALETTE
from rgbx.datasets.listing import Holdout, held_out
from rgbx.datasets.sample import Common, DenseDataset, Sample
from rgbx.maps import IGNORE_INDEX
from rgbx.maps.arrays import DECODER_ERRORS

_FILE = "the published NYU Depth V2 file"
SPLITS = {"train": "trainNdxs", "test": "testNdxs"}
_RANKS = {"images": 4, "depths": 3, "rawDepths": 3, "labels": 3}


class NYUDv2Mat(DenseDataset):
    """Frames of the published file, one at a time: the file (2.8 GB) is never loaded as a whole.

    Each process opens the file for itself at its first read.

    Args:
        root: the .mat file, or the folder that holds nyu_depth_v2_labeled.mat.
        split: "train" or "test".
        modalities: of "rgb" and "depth".
        depth_kind: "depths" (filled) or "rawDepths" (as measured, 0 = no measurement).
        mapping: classMapping40.mat; by default beside the .mat file.
        splits: splits.mat; by default beside the .mat file.
        common: `transforms` and `targets`, see `DenseDataset`.
        holdout: see `rgbx.datasets.listing.holdout_indices`; "exclude" for training, "only" for choosing a model.

    Raises:
        ImportError: h5py or scipy is not installed.
        FileNotFoundError, ValueError: naming the file and the field.
    """

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "test"] = "train",
        *,
        modalities: Sequence[str] = ("rgb", "depth"),
        depth_kind: Literal["depths", "rawDepths"] = "depths",
        mapping: str | Path | None = None,
        splits: str | Path | None = None,
        holdout: Holdout = None,
        **common: Unpack[Common],
    ) -> None:
        unknown = [name for name in modalities if name not in ("rgb", "depth")]
        if unknown:
            raise ValueError(f"NYUDv2Mat has the modalities 'rgb' and 'depth', found {unknown}")
        if split not in SPLITS or depth_kind not in ("depths", "rawDepths"):
            raise ValueError(
                "expected split 'train' or 'test' and depth_kind 'depths' or 'rawDepths', "
                f"found {split!r} and {depth_kind!r}"
            )
        super().__init__(modalities=modalities, classes=NYUDV2_CLASSES, palette=NYUDV2_PALETTE, **common)
        self.path = Path(root) / "nyu_depth_v2_labeled.mat" if Path(root).is_dir() else Path(root)
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no such file")
        self.fields = {"rgb": "images", "depth": depth_kind, "label": "labels"}
        self._lookup = read_class_mapping(mapping or self.path.parent / "classMapping40.mat")
        split_file = splits or self.path.parent / "splits.mat"
        numbers = read_split(split_file, split)
        twice = sorted({number for number in numbers if numbers.count(number) > 1})
        if twice:
            raise ValueError(f"{split_file}: {SPLITS[split]} has {len(twice)} frames twice, such as {twice[:3]}")
        self.numbers = held_out(numbers, holdout)
        self._file: Any = None
        self._process: int | None = None
        self._check()

    def __len__(self) -> int:
        return len(self.numbers)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_process": None}

    def read(self, index: int) -> Sample:
        """rgb uint8 [H, W, 3], depth float32 [H, W] in metres, label uint8 [H, W]; the id is the frame's number."""
        number = self.numbers[index]
        names = [*self.modalities, "label"]
        try:
            arrays = {name: self._opened()[self.fields[name]][number - 1].T for name in names}
        except DECODER_ERRORS as error:
            raise ValueError(f"{self.path}: frame {number} cannot be read ({error})") from error
        ids = arrays["label"]
        low, high = ids.min(initial=0), ids.max(initial=0)
        if ids.dtype.kind not in "iu" or low < 0 or high >= len(self._lookup):
            raise ValueError(
                f"{self.path}: labels of frame {number} hold {high if low >= 0 else low}, expected "
                f"0..{len(self._lookup) - 1} as whole numbers, found {ids.dtype}"
            )
        arrays["label"] = self._lookup[ids]
        return {
            "sample_id": f"{number:06d}",
            "paths": dict.fromkeys(names, str(self.path)),
            **{name: np.ascontiguousarray(array) for name, array in arrays.items()},
        }

    def _opened(self) -> Any:
        """This process's handle: one that crossed a fork shares its position in the file with the parent's."""
        if self._process != os.getpid():
            self._file, self._process = _open(self.path), os.getpid()
        return self._file

    def _check(self) -> None:
        """Looks at the fields' shapes only, and leaves no handle open for a worker to inherit."""
        with _open(self.path) as file:
            for field in (self.fields[name] for name in (*self.modalities, "label")):
                if field not in file:
                    raise ValueError(f"{self.path}: no field {field!r}; it has {sorted(file)}")
                shape = file[field].shape
                if len(shape) != _RANKS[field] or shape[0] < max(self.numbers):
                    raise ValueError(
                        f"{self.path}: field {field!r} has the shape {shape}, expected {_RANKS[field]} axes "
                        f"and at least {max(self.numbers)} frames"
                    )


def read_class_mapping(path: str | Path) -> np.ndarray:
    """classMapping40.mat as a table: uint8 [895], published label id to train id 0..39, void to 255.

    Raises:
        ImportError, FileNotFoundError, ValueError: naming the file and the field.
    """
    forty = _read_field(Path(path), "mapClass")
    if forty.min() < 1 or forty.max() > len(NYUDV2_CLASSES):
        raise ValueError(f"{path}: mapClass must hold 1..{len(NYUDV2_CLASSES)}, found {forty.min()}..{forty.max()}")
    return np.concatenate([[IGNORE_INDEX], forty - 1]).astype(np.uint8)


def read_split(path: str | Path, split: str) -> list[int]:
    """Frame numbers, counted from 1, of "train" or "test" in splits.mat.

    Raises:
        ImportError, FileNotFoundError, ValueError: naming the file and the field.
    """
    return [int(number) for number in _read_field(Path(path), SPLITS[split])]


def _read_field(path: Path, field: str) -> np.ndarray:
    """One row of integers from a MATLAB 5 file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; it goes with nyu_depth_v2_labeled.mat")
    loadmat = needed("scipy.io", _FILE).loadmat
    try:
        content = loadmat(io.BytesIO(read_file(path)))
    except Exception as error:  # of a type of scipy's own too
        raise ValueError(f"{path}: damaged, or no MATLAB 5 file ({error})") from error
    if field not in content:
        raise ValueError(f"{path}: no field {field!r}; it has {sorted(key for key in content if key[0] != '_')}")
    found = np.asarray(content[field]).ravel()
    if found.dtype.kind not in "iuf" or not found.size or not (found == np.rint(found)).all():
        raise ValueError(f"{path}: field {field!r} must hold whole numbers, found {found.dtype} {found[:5].tolist()}")
    return found.astype(int)


def _open(path: Path) -> Any:
    h5py = needed("h5py", _FILE)
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path}: not a MATLAB v7.3 (HDF5) file")
    return h5py.File(path, "r")


def needed(module: str, what: str) -> Any:
    """A module that only MATLAB files need.

    Raises:
        ImportError: it is not installed; the message says what needs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{what} needs {module}: pip install 'rgbx[mat]'") from error
