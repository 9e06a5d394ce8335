"""Whether a file of `torch.save` may be unpickled: its pickles are followed with stand-ins that make and copy nothing.

torch's reader of untrusted files runs no code of theirs, but it calls what a pickle asks for as often as it asks: some
hundred bytes become gigabytes (``bytearray(2**31)``, an encoding applied to its own result, one list copied ten
thousand times). Here the same pickle is followed first; what no `torch.save` writes is refused, and so is a file whose
calls copy more than it holds.
"""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, ClassVar

import torch

MOST_PICKLED, MOST_MADE = 2**24, 10**6  # bytes of a pickle, the tensors lie outside; and containers in it
_ZIP, _END, _END_64 = b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06"
_MAKE = {
    code[0]
    for code in (pickle.EMPTY_DICT, pickle.EMPTY_LIST, pickle.EMPTY_SET, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2)
} | {pickle.TUPLE3[0]}
_PICKLES = 5  # with which a file of torch before 1.6 begins
_CALLED = {
    "collections": ("OrderedDict", "Counter"),
    "builtins": ("set", "complex"),
    "_codecs": ("encode",),
    "torch._tensor": ("_rebuild_from_type_v2",),
    "torch.nn.parameter": ("Parameter",),
    "torch.serialization": ("_get_layout",),
    "torch._utils": (
        "_rebuild_tensor",
        "_rebuild_tensor_v2",
        "_rebuild_tensor_v3",
        "_rebuild_parameter",
        "_rebuild_parameter_with_state",
        "_rebuild_sparse_tensor",
        "_rebuild_qtensor",
        "_rebuild_meta_tensor_no_storage",
    ),
}


def rehearse(path: Path) -> None:
    """Follows the pickles of a file that torch is about to read without trusting it.

    Args:
        path: a file of `torch.save`.

    Raises:
        pickle.UnpicklingError: it names what is no part of weights, or is damaged.
        ValueError: it is packed, or would take much more memory than the file.
    """
    try:
        with path.open("rb") as file:
            _rehearse_file(file, path.stat().st_size)
    except (ValueError, pickle.UnpicklingError, OSError):
        raise
    except Exception as error:  # what Python makes of damaged bytes, such as a KeyError of their number
        raise pickle.UnpicklingError("no pickle") from error


def _rehearse_file(file: BinaryIO, size: int) -> None:
    if file.read(4) == _ZIP:
        _rehearse_archive(file)
        return
    file.seek(0)
    with suppress(tarfile.TarError), tarfile.open(fileobj=file, mode="r:"):
        raise ValueError("it is an archive of torch 0.1; expected a file of torch.save")
    file.seek(0)
    followed = _Rehearsal(_within(file), size)
    for _ in range(_PICKLES):
        followed.load()


def _rehearse_archive(file: BinaryIO) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("its parts are packed, which torch.save never does; unpack it and save it anew")
        if len({entry.filename.lower() for entry in entries}) < len(entries) or not _one_directory(file, archive):
            raise ValueError("it lists its parts twice")
        size = file.seek(0, io.SEEK_END)
        for entry in entries:
            if entry.filename.lower().endswith("data.pkl"):
                del entry.CRC  # whether it is right, `rgbx._digest.fault_of` tells
                with archive.open(entry) as part:
                    _Rehearsal(_within(part), size).load()


def _within(file: IO[bytes]) -> io.BytesIO:
    """The beginning of a file, which its pickles must not leave."""
    return io.BytesIO(file.read(MOST_PICKLED))


def _one_directory(file: BinaryIO, archive: zipfile.ZipFile) -> bool:
    """Whether an archive's list of parts ends where its end says: readers of other code look elsewhere for another.

    Source: APPNOTE.TXT of PKWARE, 4.3.14 to 4.3.16.
    """
    end = file.seek(0, io.SEEK_END) - 22 - len(archive.comment)
    file.seek(max(end - 76, 0))
    tail = file.read(min(end, 76) + 22)
    sign, *_, length, start, _ = struct.unpack("<4s4H2IH", tail[-22:])
    if sign != _END:
        return False
    if tail[:4] == _END_64:  # of 56 bytes, and 20 that tell where it is
        length, start = struct.unpack_from("<2Q", tail, 40)
        (told,) = struct.unpack_from("<Q", tail, 64)
        end -= 76
        if told != end:
            return False
    return bool(start + length == end)


def _counted(make: Callable[[pickle.Unpickler], None]) -> Callable[[pickle.Unpickler], None]:
    """What a pickle's code for a new container does, and one less that may be made."""

    def counted(rehearsal: pickle.Unpickler) -> None:
        assert isinstance(rehearsal, _Rehearsal)
        rehearsal.made += 1
        if rehearsal.made > MOST_MADE:
            raise ValueError(f"it makes more than {MOST_MADE} containers")
        make(rehearsal)

    return counted


class _Rehearsal(pickle._Unpickler):  # that in C takes memory for a number in its memo
    """Follows a pickle; `size` is that of its file, beyond which its calls copy nothing."""

    dispatch: ClassVar = {
        code: _counted(make) if code in _MAKE else make for code, make in pickle._Unpickler.dispatch.items()
    }

    def __init__(self, file: io.BytesIO, size: int) -> None:
        super().__init__(file)
        self.made = 0
        self._left = self._values = size
        self._storages: dict[str, str] = {}

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in for what may be named; raises UnpicklingError for all else."""
        module = "builtins" if module == "__builtin__" else module  # in Python 2, whose names torch.save writes
        known = name in _CALLED.get(module, ()) or _is_of_torch(module, name) or f"{module}.{name}" in _safe_names()
        if not known:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        rehearsal = self

        class Found(_StandIn):
            def __new__(cls, *given: Any, **_: object) -> Any:
                if name == "encode" and given[1:] != ("latin1",):
                    raise ValueError("it asks for an encoding that no bytes are saved in")
                if name == "Tensor":
                    raise ValueError("it makes a tensor of a size alone")
                if name == "_rebuild_from_type_v2":  # which makes a call of its own
                    made_by, _type, arguments, _state = given
                    made_by(*arguments)
                rehearsal.count(given)
                return super().__new__(cls)

            def __setstate__(self, state: object) -> None:
                rehearsal.count(state if isinstance(state, tuple) else (state,))

        return Found

    def persistent_load(self, pid: tuple[str, object, str, str, int]) -> Any:
        """A stand-in for a storage, by ("storage", kind, key, place, number of values)."""
        key, values = str(pid[2]), int(pid[4])
        if key.lower() not in self._storages:  # as often as it is named, it is read once
            self._storages[key.lower()] = key
            self._values -= max(values, 0)
        if self._storages[key.lower()] != key:
            raise ValueError("it calls one storage by two names")
        if self._values < 0:
            raise ValueError("it names more values than it has bytes")
        return _StandIn()

    def count(self, given: tuple[object, ...]) -> None:
        """Takes what a call copies from what is left."""
        self._left -= sum(len(each) for each in given if isinstance(each, (Mapping, list, tuple, set, str, bytes)))
        if self._left < 0:
            raise ValueError("its values are copied again and again")


class _StandIn(dict[Any, Any]):
    """What takes the place of an object: it can be called, filled and be a key, and does nothing."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __new__(cls, *given: object, **_: object) -> Any:
        return super().__new__(cls)

    def __init__(self, *given: object, **_: object) -> None:
        super().__init__()

    def __call__(self, *given: object) -> Any:
        return _StandIn()


def _is_of_torch(module: str, name: str) -> bool:
    """Whether a name is a type of storages, a type of numbers or the like, which make nothing when called.

    `torch.Tensor` stands where a tensor has attributes of its own.
    """
    if module == "torch.storage" or (module == "torch" and name.endswith("Storage")):
        return name.endswith("Storage")
    if module != "torch":
        return False
    return name in ("Size", "Tensor", "device") or isinstance(getattr(torch, name, None), (torch.dtype, torch.qscheme))


def _safe_names() -> set[str]:
    """What the caller lets torch's reader make beside, see `torch.serialization.safe_globals`."""
    given = torch.serialization.get_safe_globals()
    return {each[1] if isinstance(each, tuple) else f"{each.__module__}.{each.__qualname__}" for each in given}
