"""NYU Depth V2 as published: frames read directly from nyu_depth_v2_labeled.mat (Silberman et al., ECCV 2012).

The file is HDF5 (MATLAB v7.3), column-major, so its arrays come transposed: images uint8 [1449, 3, 640, 480], depths
and rawDepths float32 [1449, 640, 480] in metres, labels uint16 [1449, 640, 480] of 894 classes with 0 = void. Two small
files go with it: classMapping40.mat (894 classes to 40, Gupta et al., CVPR 2013) and splits.mat (795 train and 654 test
frames). Needs the extra `mat`: pip install 'rgbx[mat]'.
"""

from __future__ import annotations

import io
import math
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np

from rgbx._files import MOST_BYTES, read_file
from rgbx._text import nearest
from rgbx.datasets.families.nyudv2 import NYUDV2_CLASSES, NYUDV2_PALETTE
from rgbx.datasets.listing import Holdout, held_out
from rgbx.datasets.sample import Common, DenseDataset, Sample
from rgbx.maps import IGNORE_INDEX

_FILE = "the published NYU Depth V2 file"
SPLITS = {"train": "trainNdxs", "test": "testNdxs"}
_COMPRESSED, _STEP, _MOST_UNPACKED = 15, 2**20, 2**26  # of MATLAB 5: a type of data, and bytes
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
            near = nearest(unknown[0], ("rgb", "depth"))
            raise ValueError(f"NYUDv2Mat has the modalities 'rgb' and 'depth', found {unknown}{near}")
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
        self.mapping = Path(mapping or self.path.parent / "classMapping40.mat")
        self.splits = Path(splits or self.path.parent / "splits.mat")
        self._lookup = read_class_mapping(self.mapping)
        numbers = read_split(self.splits, split)
        twice = sorted({number for number in numbers if numbers.count(number) > 1})
        if twice:
            raise ValueError(f"{self.splits}: {SPLITS[split]} has {len(twice)} frames twice, such as {twice[:3]}")
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
        with reading_matlab(self.path):
            arrays = {name: self._opened()[self.fields[name]][number - 1].T for name in names}
        ids = arrays["label"]
        low, high = ids.min(initial=0), ids.max(initial=0)
        if ids.dtype.kind not in "iu" or low < 0 or high >= len(self._lookup):
            raise ValueError(
                f"{self.path}: labels of frame {number} hold {high if low >= 0 else low}, expected "
                f"0..{len(self._lookup) - 1} as whole numbers, found {ids.dtype}"
            )
        arrays["label"] = self._lookup[ids]
        return {
            "sample_id": self.name_of(index),
            "paths": dict.fromkeys(names, str(self.path)),
            **{name: np.ascontiguousarray(array) for name, array in arrays.items()},
        }

    def name_of(self, index: int) -> str:
        """See `DenseDataset.name_of`."""
        return f"{self.numbers[index]:06d}"

    def _opened(self) -> Any:
        """This process's handle: one that crossed a fork shares its position in the file with the parent's."""
        if self._process != os.getpid():
            self._file, self._process = _open(self.path), os.getpid()
        return self._file

    def _check(self) -> None:
        """Looks at the fields' shapes only, and leaves no handle open for a worker to inherit."""
        with reading_matlab(self.path), _open(self.path) as file:
            for field in (self.fields[name] for name in (*self.modalities, "label")):
                if field not in file:
                    raise ValueError(f"{self.path}: no field {field!r}; it has {sorted(file)}")
                shape = file[field].shape
                if len(shape) != _RANKS[field] or shape[0] < max(self.numbers):
                    raise ValueError(
                        f"{self.path}: field {field!r} has the shape {shape}, expected {_RANKS[field]} axes "
                        f"and at least {max(self.numbers)} frames"
                    )
                kind, values = file[field].dtype, math.prod(shape[1:])
                if kind.kind not in "iuf" or values * kind.itemsize > MOST_BYTES:
                    raise ValueError(
                        f"{self.path}: field {field!r} has {values} values of {kind} per frame, expected real numbers "
                        f"and at most {MOST_BYTES} bytes"
                    )
                check_packing(file[field], f"{self.path}: field {field!r}")


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
    numbers = [int(number) for number in _read_field(Path(path), SPLITS[split])]
    if min(numbers) < 1:
        raise ValueError(f"{path}: {SPLITS[split]} must hold numbers from 1 on, found {min(numbers)}")
    return numbers


def _read_field(path: Path, field: str) -> np.ndarray:
    """One row of integers from a MATLAB 5 file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; it goes with nyu_depth_v2_labeled.mat")
    content = read_matlab(path, _FILE)
    if field not in content:
        raise ValueError(f"{path}: no field {field!r}; it has {sorted(key for key in content if key[:1] != '_')}")
    values = content[field]
    right = values.dtype.kind in "iuf" and 0 < values.size <= 2**16 and np.isin(values, np.arange(2**16)).all()
    if not right:
        raise ValueError(
            f"{path}: field {field!r} must hold whole numbers 0..65535, found {values.dtype} {values.shape}"
        )
    return values.ravel().astype(int)


def _open(path: Path) -> Any:
    h5py = needed("h5py", _FILE)
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path}: not a MATLAB v7.3 (HDF5) file")
    return h5py.File(path, "r")


def check_packing(data: Any, where: str) -> None:
    """Refuses a dataset of an HDF5 file that unpacks to more than its shape says, or that other files hold.

    Args:
        data: of h5py.
        where: begins the messages.

    Raises:
        ValueError: it is in parts of more than `MOST_BYTES`, packed twice, or not in this file.
    """
    made = data.id.get_create_plist()
    packed = [made.get_filter(number)[0] for number in range(made.get_nfilters())]
    if data.chunks is not None and math.prod(data.chunks) * data.dtype.itemsize > MOST_BYTES:
        raise ValueError(f"{where} is in parts {data.chunks} of {data.dtype}; expected at most {MOST_BYTES} bytes each")
    if len(set(packed)) < len(packed):
        raise ValueError(f"{where} is packed twice in the same way; save it anew")
    if data.is_virtual or made.get_external_count():
        raise ValueError(f"{where} is not in this file, but in others; copy it as a whole")


def read_matlab(path: Path, what: str, **options: Any) -> dict[str, Any]:
    """What `scipy.io.loadmat` makes of a MATLAB 5 file, if it does not unpack to far too much.

    Args:
        path: of the file.
        what: needs the file, see `needed`.
        options: of `loadmat`.

    Raises:
        ImportError, OSError, ValueError: naming the file.
    """
    load = needed("scipy.io", what).loadmat
    data = read_file(path)
    with reading_matlab(path):
        _check_unpacked(data)
        found: dict[str, Any] = load(io.BytesIO(data), **options)
    return found


def _check_unpacked(data: bytes) -> None:
    """Unpacks each variable of a MATLAB 5 file in small steps, to refuse one without end (MAT-File Format, 1-8)."""
    order = ">" if data[126:128] == b"MI" else "<"
    position, unpacked = 128, 0
    while position + 8 <= len(data):
        kind, length = struct.unpack_from(f"{order}II", data, position)
        position += 8 + length
        if kind != _COMPRESSED:
            continue
        steps, left = zlib.decompressobj(), data[position - length : position]
        while left and not steps.eof:
            unpacked += len(steps.decompress(left, _STEP))
            left = steps.unconsumed_tail
            if unpacked > _MOST_UNPACKED:
                raise ValueError(f"it unpacks to more than {_MOST_UNPACKED} bytes")


@contextmanager
def reading_matlab(path: Path) -> Iterator[None]:
    """What the libraries of MATLAB files raise for damaged ones in this block is a ValueError that names the file."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:  # of any kind, from a wrong checksum to a type that NumPy has not
        if isinstance(error, (ValueError, OSError)) and str(path) in str(error):
            raise
        raise ValueError(f"{path}: the file is damaged ({type(error).__name__}: {error})") from error


def needed(module: str, what: str) -> Any:
    """A module that only MATLAB files need.

    Raises:
        ImportError: it is not installed; the message says what needs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"{what} needs {module}: pip install 'rgbx[mat]'") from error
