"""What users predict on, as the samples that models are trained on: files, arrays, tensors and images, one or many.

A file is read as the files of the training were, unless the caller says otherwise; an array holds a map in its unit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rgbx._files import File, FileInMemory
from rgbx._text import check_options, nearest, one_of
from rgbx._types import Meta, Options
from rgbx.maps import METRE_STEPS, STANDARD_MAPS, UNITS, Encoding, MapSpec
from rgbx.maps.encoding import StoredError
from rgbx.maps.files import read_grey, turns_told
from rgbx.maps.folders import image_files
from rgbx.maps.spec import BANDS

Packed = dict[str, Any]  # a sample: NAME [C, H, W], NAME_valid bool [1, H, W], sample_id, paths
Saying = Callable[[str, str], str]  # a map and "scale=1000" to how the caller writes that
OPTIONS = ("unit", *(item.name for item in fields(Encoding) if item.name != "spec"))
BESIDE_VALUES = ("missing", "key")  # options that leave open what a stored number stands for
_COLOURS = ("rgb8", "encoded")
_ONE = (np.ndarray, Tensor, Image.Image, FileInMemory)
_KINDS: dict[str, Callable[[str], Any]] = {  # by the type of an option, how a word becomes its value
    "float": float,
    "float | None": float,
    "tuple[float, ...]": float,
    "int | None": int,
    "bool": lambda text: {"true": True, "false": False}[text],
    "str": str,
}
WORDS: dict[str, Callable[[str], Any]] = {  # what makes the value of an option, or one of several, of a word
    "unit": str,
    **{item.name: _KINDS[str(item.type)] for item in fields(Encoding) if item.name in OPTIONS},
}


class MapError(ValueError):
    """A map that cannot be read as it is given.

    Attributes:
        name: of the map.
    """

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        super().__init__(text)


def keyword(name: str, option: str) -> str:
    """ "depth" and "scale=1000" as the arguments of `predict` have it, "depth_scale=1000"."""
    return f"{name}_{option}"


@dataclass(frozen=True)
class MapInput:
    """How what is given for one map is read.

    Attributes:
        name: of the map.
        spec: what its values mean; None where nobody says it, and then arrays pass as they are.
        known: how its files, and arrays of whole numbers, hold it; None where nobody says it.
        hint: what to say where `known` is None.
        stated: whether the caller said what a stored number stands for; then arrays of floats hold such numbers too.
        missing: stored numbers that stand for "not measured", of the caller.
        said: options that the caller has given.
        saying: how the caller writes an option; None where a dataset says how its files are read.
    """

    name: str
    spec: MapSpec | None
    known: Encoding | None
    hint: str = ""
    stated: bool = False
    missing: tuple[float, ...] = ()
    said: Collection[str] = ()
    saying: Saying | None = None

    @property
    def encoding(self) -> Encoding:
        """How files hold the map.

        Raises:
            ValueError: nobody says it; the message tells how to.
        """
        if self.known is None:
            raise ValueError(self.hint)
        return self.known

    @property
    def divided(self) -> str:
        """What the caller said that stored values are divided by, as he writes it; "" where he said nothing."""
        scale = self.known.scale if self.known and self.stated else None
        return self.saying(self.name, f"scale={scale:g}") if self.saying and scale not in (None, 1) else ""

    def read(self, value: object, valid: object = None, where: str = "in memory") -> dict[str, Tensor]:
        """``NAME`` [C, H, W] in its unit and, where it needs one, ``NAME_valid`` bool [1, H, W].

        Args:
            value: a file, array, tensor or image.
            valid: where it was measured, beside what its values say; of the same kinds.
            where: the file or sample, for messages.

        Raises:
            FileNotFoundError: no such file.
            MapError: what the map cannot be; the message names file or sample.
        """
        try:
            return self._read(value, valid, where)
        except StoredError as error:
            if self.saying is None:
                raise
            absent = [option for option in error.options if option.partition("=")[0] not in self.said]
            told = error.told([self.saying(self.name, option) for option in absent])
            raise MapError(self.name, told) from None
        except ValueError as error:
            raise MapError(self.name, str(error)) from error

    def _read(self, value: object, valid: object, where: str) -> dict[str, Tensor]:
        if (file := _file_of(value)) is not None:
            array, mask = self.encoding.read_masked(file)
        else:
            array, mask = self._take(as_pixels(value, f"{self.name} ({where})", self.spec), where)
        found = {self.name: torch.from_numpy(_planes(array))}
        measured: np.ndarray | None = None if mask is None else np.greater(mask, 0)
        if mask is None and self.spec is not None and self.spec.zero_is_hole:
            measured = array > 0
        elif mask is None and self.spec is not None and self.spec.unit == "unit_vector":
            measured = np.asarray(array.any(axis=2))
        if valid is not None:
            own = _mask_of(valid, f"{self.name}_valid ({where})", array.shape[:2])
            measured = own if measured is None else np.logical_and(measured, own)
        if measured is not None:
            found[f"{self.name}_valid"] = torch.from_numpy(np.ascontiguousarray(measured[None]))
        return found

    def _take(
        self,
        raw: np.ndarray,  # [H, W] or [H, W, C]
        where: str,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The map of an array and its mask uint8 [H, W]: floats in its unit, or stored numbers."""
        named = f"{self.name} ({where})"
        if raw.dtype.kind not in "iuf":
            raise ValueError(f"{named} is an array of {raw.dtype}; expected numbers")
        if self.spec is None:
            return raw, None
        if self.spec.unit in _COLOURS:
            if raw.dtype != np.uint8:
                raise ValueError(f"{named} is an array {raw.dtype} {list(raw.shape)}; expected uint8{_to_bytes(raw)}")
            return Encoding(self.spec).take(raw, where)
        if raw.dtype.kind == "f" and not self.stated:
            one = 1.0 if self.spec.unit != "unit_vector" else None
            return Encoding(self.spec, scale=one, missing=self.missing).take(raw, where)
        if self.known is None:
            raise ValueError(f"{named} is an array of whole numbers, {raw.dtype}: {self.hint}{_guess(raw, self.spec)}")
        return self.known.take(raw, where)


def map_inputs(
    names: Iterable[str],
    given: Mapping[str, Options],
    dataset: Meta,
    *,
    saying: Saying = keyword,
    usual: bool = False,
) -> dict[str, MapInput]:
    """How the maps of a model are read.

    Args:
        names: of the maps.
        given: by name what the caller says, options of `Encoding` and ``unit``; they replace what the checkpoint says.
        dataset: ``maps`` and ``stored`` of the dataset of the training, see `rgbx.models.checkpoint.dataset_in`.
        saying: how the caller writes an option, for messages.
        usual: whether depth of which nobody says it counts as millimetres.

    Raises:
        MapError: options that there are not, or that the unit does not have.
    """
    known = {**STANDARD_MAPS, **dataset.get("maps", {})}
    stored = dataset.get("stored", {})

    def told(name: str) -> MapInput:
        try:
            return _map_input(name, given.get(name, {}), known.get(name), stored, saying, usual)
        except ValueError as error:
            raise MapError(name, str(error)) from error

    return {name: told(name) for name in names}


def _map_input(
    name: str,
    given: Options,
    spec: MapSpec | None,
    stored: Mapping[str, Options | None],
    saying: Saying,
    usual: bool,
) -> MapInput:
    check_options(given, OPTIONS, f"{name}")
    words = dict(given)
    unit = words.pop("unit", None)
    if unit is not None and unit not in UNITS:
        raise ValueError(f"{saying(name, f'unit={unit}')}: expected one of {one_of(UNITS, unit)}")
    if unit is not None and (spec is None or spec.unit != unit):
        channels = spec.channels if spec is not None and spec.has_bands and unit in BANDS else None
        spec, stored = MapSpec.of_unit(name, unit, channels=channels), {}
    if spec is None:
        hint = f"say what the files of {name!r} hold: {saying(name, 'unit=UNIT')}, one of {', '.join(UNITS)}"
        return MapInput(name, None, None, hint)
    stated = any(word not in BESIDE_VALUES for word in given)
    trained = None if stated else stored.get(name)
    missing = words.get("missing", ())
    words["missing"] = tuple(np.atleast_1d(np.asarray(missing)).tolist())
    said = {key: value.item() if isinstance(value, np.generic) else value for key, value in words.items()}
    own = Encoding.of_dict(spec, {**(trained or {}), **(said if words["missing"] else _without(said, "missing"))})
    hint = ""
    if spec.unit == "sensor" and own.scale is None and (stated or name not in stored):
        hint = f"say what the stored values of {name!r} mean: {saying(name, 'scale=STEPS_PER_UNIT')}"
    elif not stated and name in stored and trained is None:
        hint = (
            f"the files of {name!r} that this model was trained on are stored in a way of their dataset's own: say "
            f"what yours hold, such as {saying(name, 'scale=1000')}"
        )
    elif spec.unit == "metre" and own.scale is None and not usual and (stated or name not in stored):
        hint = f"say how many steps of {name!r} make a metre: {saying(name, 'scale=1000')} where it is in millimetres"
    floats_too = stated and own.scale is not None
    return MapInput(name, spec, None if hint else own, hint, floats_too, words["missing"], tuple(given), saying)


class Frame(NamedTuple):
    """What is given for one frame: ``NAME`` and ``NAME_valid``, each a file, array, tensor or image."""

    sample_id: str
    values: Mapping[str, object]


class Given(NamedTuple):
    """What a caller predicts on.

    Attributes:
        kind: "one" frame, a "list", "folders", or a "stream" whose end nobody knows.
        frames: in order; read once.
    """

    kind: str
    frames: Iterator[Frame]


def split_arguments(
    arguments: Mapping[str, object], modalities: Sequence[str]
) -> tuple[dict[str, object], dict[str, dict[str, Any]]]:
    """Maps and their masks, and the options of each map, of what `predict` was given by name; None is not given.

    Raises:
        ValueError: a name that is none of these, with the nearest that is; or options and masks without their map.
    """
    maps: dict[str, object] = {}
    options: dict[str, dict[str, Any]] = {}
    for key, value in arguments.items():
        name = next(
            (name for name in sorted(modalities, key=len, reverse=True) if f"{key}_".startswith(f"{name}_")), ""
        )
        option = key[len(name) + 1 :]
        if key == name or (name and option == "valid"):
            maps |= {} if value is None else {key: value}
        elif name and option in OPTIONS:
            options.setdefault(name, {})[option] = value
        else:
            known = [*modalities, *(f"{name}_{option}" for name in modalities for option in ("valid", *OPTIONS))]
            raise ValueError(
                f"predict was given {key!r}, which this model does not know; its maps are {', '.join(modalities)}, "
                f"each with NAME_valid and {', '.join(f'NAME_{word}' for word in OPTIONS)}{nearest(key.lower(), known)}"
            )
    present = [name for name in modalities if name in maps]
    if not present:
        raise ValueError(f"predict was given no map; expected at least one of {', '.join(modalities)}")
    for name in [*options, *(key.removesuffix("_valid") for key in maps if key not in modalities)]:
        if name not in maps:
            raise ValueError(f"predict was told of {name!r}, but not given it: pass {name}=...")
    return {key: maps[key] for name in present for key in (name, f"{name}_valid") if key in maps}, options


def frames_of(maps: Mapping[str, object], sample_id: object = None) -> Given:
    """The frames of what was given.

    Args:
        maps: ``NAME`` and ``NAME_valid``, all of one kind.
        sample_id: of the frame, or of each; by default the stems of files, and numbers.

    Raises:
        FileNotFoundError: no such file or folder, one without images, or an image without its partner, which is named.
        ValueError: different kinds, or lists of different lengths.
    """
    kinds = {key: _kind(key, value) for key, value in maps.items()}
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{key} is {_SHOWN[kind]}" for key, kind in kinds.items())
        raise ValueError(f"{told}: give all maps in one form, each {', or each '.join(_SHOWN.values())}")
    kind = next(iter(kinds.values()))
    if kind == "one":
        if isinstance(sample_id, Iterable) and not isinstance(sample_id, str):
            raise ValueError(f"sample_id is {sample_id!r}; expected a name, as one frame is given")
        own = _stem(next(iter(maps.values()))) if sample_id is None else str(sample_id)
        return Given(kind, iter([Frame(own or _number(0), maps)]))
    if kind == "folders" and sample_id is not None:
        raise ValueError("sample_id names arrays and lists; the frames of folders have the stems of their files")
    if kind == "folders":
        files = paired({key: Path(str(value)) for key, value in maps.items()})
        return Given(kind, iter([Frame(stem, found) for stem, found in files.items()]))
    if kind == "list":
        columns = {key: list(value) for key, value in maps.items() if isinstance(value, (list, tuple))}
        lengths = {key: len(column) for key, column in columns.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{length} of {key}" for key, length in lengths.items())
            raise ValueError(
                f"lists of different lengths: {told}; expected one entry for each frame, None where absent"
            )
        return Given(kind, _streamed(columns, sample_id))
    return Given(kind, _streamed(maps, sample_id))


_SHOWN = {
    "one": "one file, array, tensor or image",
    "list": "a list",
    "folders": "a folder",
    "stream": "an iterator",
}


def _kind(key: str, value: object) -> str:
    if isinstance(value, (str, os.PathLike)):
        if not os.fspath(value) or not Path(value).exists():
            raise FileNotFoundError(f"{key} {os.fspath(value)!r}: no such file or folder")
        return "folders" if Path(value).is_dir() else "one"
    if isinstance(value, _ONE):
        return "one"
    if isinstance(value, (list, tuple)):
        return "list"
    if isinstance(value, Iterable) and not isinstance(value, (Mapping, bytes)):
        return "stream"
    raise ValueError(
        f"{key} is of type {type(value).__name__}; expected a file or folder, an array [H, W] or [H, W, C], a tensor "
        "[C, H, W], a PIL image, or a list or iterator of these"
    )


_TIME = re.compile(r"\d+\.\d+|\d{10,19}")
_TIMED = (
    "the names look like times of recording: what is nearest in time becomes a frame where `rgbx predict` is given "
    "lists of TIME PATH (rgb=rgb.txt), or the folder of their dataset.toml"
)


def paired(folders: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """The images of folders by their stems, sorted, and by the name of each folder.

    Raises:
        FileNotFoundError: no such folder, none of its files an image, or an image without its partner, which is named.
    """
    found = {name: image_files(folder) for name, folder in folders.items()}
    for stem in (stems := sorted(set().union(*found.values()))):
        absent = [name for name, files in found.items() if stem not in files]
        if absent:
            there = next(files[stem] for files in found.values() if stem in files)
            timed = all(_TIME.fullmatch(PurePath(stem).name) for stem in stems)
            hint = f"; {_TIMED}" if timed else ""
            raise FileNotFoundError(f"{there} has no partner: {folders[absent[0]]} holds no image {stem!r}{hint}")
    return {stem: {name: files[stem] for name, files in found.items()} for stem in stems}


def _streamed(maps: Mapping[str, object], sample_id: object) -> Iterator[Frame]:
    """Frames of parallel lists or iterators, one after the other."""
    columns = {key: iter(value) for key, value in maps.items() if isinstance(value, Iterable)}
    if sample_id is not None and (isinstance(sample_id, str) or not isinstance(sample_id, Iterable)):
        raise ValueError(f"sample_id is {sample_id!r}; expected a list or iterator, a name for each frame")
    names = None if sample_id is None else iter(sample_id)
    ended, taken, index = object(), set[str](), 0
    while True:
        row = {key: next(column, ended) for key, column in columns.items()}
        over = [key for key, value in row.items() if value is ended]
        if len(over) == len(row):
            if names is not None and next(names, ended) is not ended:
                raise ValueError(
                    f"sample_id goes on after {index} frames, where the maps end; expected as many of each"
                )
            return
        if over:
            raise ValueError(f"{over[0]} ends after {index} frames, where other maps go on; expected as many of each")
        values = {key: value for key, value in row.items() if value is not None}
        own = _stem(next(iter(values.values()), None)) or _number(index)
        while own in taken:
            own = f"{own}_{_number(index)}"
        if names is not None:
            name = next(names, None)
            own = "" if name is None else str(name)
            if not own or own in taken:
                raise ValueError(f"sample_id of frame {index} is {own!r}; expected a name for each, no two alike")
        taken.add(own)
        yield Frame(own, values)
        index += 1


def _number(index: int) -> str:
    return f"{index:06d}"


def _stem(value: object) -> str:
    path = getattr(value, "filename", value) if isinstance(value, Image.Image) else value
    if isinstance(path, FileInMemory):
        path = path.name
    return Path(path).stem if isinstance(path, (str, os.PathLike)) else ""


def read_frame(frame: Frame, inputs: Mapping[str, MapInput]) -> Packed:
    """A packed sample, as `rgbx.transforms.PackSample` makes one of what a dataset reads.

    Raises:
        FileNotFoundError, ValueError: no map, one that cannot be read, or maps of different sizes, which are named.
    """
    sample: Packed = {"sample_id": frame.sample_id, "paths": {}, "divided": {}}
    read: dict[str, File] = {}
    for name in (name for name in inputs if name in frame.values):
        value = frame.values[name]
        path = getattr(value, "filename", "") if isinstance(value, Image.Image) else value
        shown = str(_file_of(path) or "")
        sample["paths"][name] = shown
        sample["divided"][name] = inputs[name].divided
        where = shown or f"sample {frame.sample_id!r}"
        sample |= inputs[name].read(value, frame.values.get(f"{name}_valid"), where)
        read[name] = path if isinstance(path, FileInMemory) else shown
    names = list(sample["paths"])
    if not names:
        raise ValueError(f"frame {frame.sample_id!r} has no map; expected at least one of {', '.join(inputs)}")
    sizes = {name: "×".join(map(str, sample[name].shape[-2:])) for name in names}
    if len(set(sizes.values())) > 1:
        files = {name: f" ({sample['paths'][name]})" if sample["paths"][name] else "" for name in names}
        told = ", ".join(f"{name}{files[name]} is {size}" for name, size in sizes.items())
        raise ValueError(
            f"sample {frame.sample_id!r}: {told} (height × width); maps of a frame must be registered, pixel by pixel: "
            f"resize or crop them to one size first{turns_told(read)}"
        )
    return sample


def as_pixels(value: object, where: str, spec: MapSpec | None) -> np.ndarray:
    """[H, W] or [H, W, C] of an array of that form, a tensor [H, W] or [C, H, W], or an image.

    Raises:
        ValueError: another type or layout, with the way out.
    """
    channels = None if spec is None else (3, 4, 1) if spec.unit in _COLOURS else (spec.channels,)
    if isinstance(value, Image.Image):
        colours = spec is not None and spec.unit in _COLOURS
        if not colours and value.mode == "P":
            raise ValueError(f"{where} is an image of a palette; expected numbers: convert it first")
        if colours and value.mode.partition(";")[0] in ("I", "F"):
            raise ValueError(
                f"{where} is an image of mode {value.mode!r}, whose numbers may be beyond 255; expected colours of 8 "
                "bits: scale them to 0..255 as uint8 first"
            )
        return _native(np.asarray(value if not colours or value.mode in ("RGB", "RGBA", "L") else value.convert("RGB")))
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{where} is a masked array; pass its data, and where it was measured as NAME_valid=~x.mask")
    if not isinstance(value, (np.ndarray, Tensor)):
        raise ValueError(
            f"{where} is of type {type(value).__name__}; expected a file, an array [H, W] or [H, W, C], a tensor "
            "[C, H, W] or a PIL image"
        )
    shape, tensor = tuple(value.shape), isinstance(value, Tensor)
    kind = "tensor" if tensor else "array"
    found = f"{where} is a{'n' * (not tensor)} {kind} {list(shape)}"
    axis, other = (0, -1) if tensor else (-1, 0)
    form = "[C, H, W]" if tensor else "[H, W, C]"
    if len(shape) not in (2, 3) or 0 in shape:
        many = f": for several frames pass a list of {kind}s, such as list(x)" if len(shape) == 4 else ""
        raise ValueError(f"{found}; expected [H, W] or {form}{many}")
    if channels is not None and len(shape) == 3 and shape[axis] not in channels:
        turn = "x.permute(2, 0, 1)" if tensor else "x.transpose(1, 2, 0)"
        hint = f"; are the channels on its {'last' if tensor else 'first'} axis? {turn}" * (shape[other] in channels)
        raise ValueError(f"{found}; expected {form} with {channels[0]} channel{'s' if channels[0] > 1 else ''}{hint}")
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_meta or value.is_quantized:
            state = "meta" if value.is_meta else "quantized" if value.is_quantized else value.layout
            raise ValueError(f"{found} that is {state}; expected a dense one with values")
        x = value.detach().cpu()
        x = x.float() if x.is_floating_point() and x.dtype not in (torch.float16, torch.float64) else x
        value = x.numpy() if x.ndim == 2 else x.permute(1, 2, 0).numpy()
    return _native(value[..., 0] if value.ndim == 3 and value.shape[2] == 1 else value)


def _native(array: np.ndarray) -> np.ndarray:
    """[...] in the machine's byte order."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _mask_of(value: object, where: str, size: tuple[int, ...]) -> np.ndarray:
    """bool [H, W]: true where what is given is not 0."""
    file = _file_of(value)
    mask = as_pixels(value, where, None) if file is None else read_grey(file)
    if mask.shape != size or mask.dtype.kind not in "biu":
        raise ValueError(
            f"{where} is {mask.dtype} {list(mask.shape)}; expected truth values or whole numbers {list(size)}, not 0 "
            "where the map was measured"
        )
    return mask != 0


def _file_of(value: object) -> File | None:
    """What is given as a file; None for arrays, tensors and images."""
    if isinstance(value, FileInMemory):
        return value
    return Path(value) if isinstance(value, (str, os.PathLike)) and os.fspath(value) else None


def _planes(array: np.ndarray) -> np.ndarray:
    """A copy [C, H, W] of [H, W] or [H, W, C]."""
    return np.array(array[None] if array.ndim == 2 else array.transpose(2, 0, 1), order="C")


def _to_bytes(raw: np.ndarray) -> str:
    """How colours [H, W, 3] of another type become uint8, for messages."""
    finite = raw[np.isfinite(raw)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    said = f"; its values lie in {low:.4g}..{high:.4g}"
    if low < 0:
        return f"{said}: are they normalised already? The model does that itself"
    if high <= 1 and raw.dtype.kind == "f":
        return f"{said}: were they divided by 255? (255 * x).round() as uint8"
    return f"{said}: x.round() as uint8" if high <= 255 else f"{said}: scale them to 0..255 first"


def _guess(raw: np.ndarray, spec: MapSpec) -> str:
    """The likeliest steps of whole numbers [H, W] of depth: those with which the median is 0.5 to 20 m."""
    values = raw[raw > 0]
    if spec.unit != "metre" or not values.size:
        return ""
    median = float(np.median(values))
    likely = [(steps, name) for steps, name in METRE_STEPS.items() if 0.5 <= median / steps <= 20]
    if not likely:
        return f"; their median is {median:g}"
    return f"; their median is {median:g}, so likely {likely[0][1]}, {median / likely[0][0]:.3g} m"


def _without(words: Options, name: str) -> dict[str, Any]:
    return {key: value for key, value in words.items() if key != name}
