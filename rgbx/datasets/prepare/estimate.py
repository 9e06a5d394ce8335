"""A map that is estimated from the colours of a dataset's frames, beside them, and declared as what it is: relative.

An estimator is any function of one image, or an ONNX file. What it gives has no unit, so that nothing that needs metres
takes it.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rgbx._files import read_text
from rgbx._text import nearest
from rgbx.datasets.declaration import Declaration, DeclaredMap, read_declaration
from rgbx.datasets.declared_frames import DeclaredFrames
from rgbx.datasets.folder import DECLARATION
from rgbx.datasets.prepare.notes import identity
from rgbx.datasets.prepare.output import Content, Job, NotMadeError, Preparation, Summary, write_preparation
from rgbx.datasets.sample import check_names
from rgbx.maps import Encoding, MapSpec
from rgbx.maps.files import encode_png, read_rgb, replace_file
from rgbx.maps.folders import ANY

Estimator = Callable[[np.ndarray], Any]  # uint8 [H, W, 3] to numbers [H, W]
FORMATS = ("png", "npy")
_FORMS = "MODULE:FUNCTION, FILE.py:FUNCTION or FILE.onnx"
_LARGEST = 65535
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, of colours in 0..1


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What is asked for.

    Attributes:
        name: of the map.
        estimator: where it lies, see `load_estimator`.
        source: the map of colours that it reads; "" for the first of the declaration.
        file_format: "png" of 16 bits, or "npy" of 32-bit floats.
        limits: the values that become 0 and 1, beyond which they count as these; None takes each frame's own.
        size: height and width of what an ONNX file reads, where it leaves them open; None for the image's own.
    """

    name: str
    estimator: str
    source: str = ""
    file_format: str = "png"
    limits: tuple[float, float] | None = None
    size: tuple[int, int] | None = None


def write_estimate(root: str | Path, asked: Estimate) -> Summary:
    """Writes ROOT/NAME/... for every frame of every split, and then says in the `dataset.toml` what it is.

    What an interrupted run has written is kept. Frames that the estimator fails on are left out and counted; then
    nothing is declared, as frames would lack the map.

    Args:
        root: a folder with a `dataset.toml`.
        asked: what to estimate, and how.

    Raises:
        FileNotFoundError: no declaration, or no estimator.
        ValueError: a declaration without colours, or with another map of that name; see also `load_estimator`.
        FileExistsError: see `write_preparation`.
    """
    root = Path(root)
    file = root / DECLARATION
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: no such file; it says where the images are: `rgbx doctor {root} --write-toml` proposes one"
        )
    declared = read_declaration(file)
    source = _source(declared, asked)
    added = _added_map(asked, declared.modalities[source])
    known = declared.modalities.get(asked.name)
    if asked.name in declared.maps and known != added:
        raise ValueError(
            f"{file} declares {asked.name!r} already, as another map than what is estimated: choose another name, "
            f"--estimate NAME={asked.estimator}"
        )
    estimator, made_of = load_estimator(asked.estimator, asked.size)
    whole = dataclasses.replace(declared, modalities={**declared.modalities, asked.name: added})
    jobs = [_job(root, path, asked, source, added, estimator) for path in _images(root, whole, source)]
    options = {"estimator": made_of, "limits": asked.limits, "format": asked.file_format, "from": source}
    found = write_preparation(root / asked.name, Preparation("estimate", root, jobs, options))
    if known is None and not found.failed:
        _declare(file, asked, added, source)
    return found


def load_estimator(place: str, size: tuple[int, int] | None = None) -> tuple[Estimator, str]:
    """An estimator, and what tells it from another.

    Args:
        place: "MODULE:FUNCTION", "FILE.py:FUNCTION" (code, which runs) or "FILE.onnx" (which runs none of its own).
        size: see `Estimate`.

    Raises:
        FileNotFoundError: no such file.
        ImportError: no such module, or onnxruntime is not installed.
        ValueError: none of these, or no function; an ONNX file of other inputs than one image.
    """
    if place.endswith(".onnx"):
        if not Path(place).is_file():
            raise FileNotFoundError(f"{place}: no such file")
        return onnx_estimator(Path(place), size), identity(place)
    if size is not None:
        raise ValueError(f"size is of ONNX files; {place} gets images as they are")
    module_name, _, function = place.rpartition(":")
    if not module_name or not function.isidentifier():
        raise ValueError(f"the estimator is {place!r}; expected {_FORMS}")
    if module_name.endswith(".py"):
        module, made_of = _module_of(Path(module_name)), f"{identity(module_name)}:{function}"
    else:
        module, made_of = import_module(module_name), place
    found = getattr(module, function, None)
    if not callable(found):
        hint = nearest(function, [name for name in vars(module) if not name.startswith("_")])
        raise ValueError(f"{module_name} has no function {function!r}{hint}")
    estimator: Estimator = found
    return estimator, made_of


def onnx_estimator(file: Path, size: tuple[int, int] | None = None) -> Estimator:
    """An ONNX file of one image, [1, 3, H, W] or [1, H, W, 3], to one map, on the CPU.

    Bytes get the image as it is; floats get its colours in 0..1, less ImageNet's mean, over its standard deviation. An
    image of another size than the file says, or than `size`, is resized to it, and the answer back.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: other inputs, or a damaged file.
    """
    try:
        onnxruntime = import_module("onnxruntime")
    except ImportError as error:
        raise ImportError(f'{file} needs onnxruntime: pip install "rgbx[export]"') from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of onnxruntime's own kinds
        raise ValueError(f"{file}: onnxruntime cannot read it: {' '.join(str(error).split())[:200]}") from error
    given = session.get_inputs()
    shape, kind = (list(given[0].shape), given[0].type) if len(given) == 1 else ([], "")
    first = shape[1:2] == [3]
    kinds = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32, "tensor(float16)": np.float16}
    if len(shape) != 4 or kind not in kinds or (not first and shape[3] != 3):
        found = ", ".join(f"{each.name} {each.type} {each.shape}" for each in given)
        raise ValueError(f"{file}: expected one input [1, 3, H, W] or [1, H, W, 3] of bytes or floats, found {found}")
    sides = [side if isinstance(side, int) else None for side in (shape[2:] if first else shape[1:3])]
    fixed = (int(sides[0]), int(sides[1])) if sides[0] and sides[1] else None
    if fixed and size not in (None, fixed):
        raise ValueError(f"{file} reads images of {fixed[0]}x{fixed[1]}, found the size {size}")

    def estimate(
        image: np.ndarray,  # uint8 [H, W, 3]
    ) -> np.ndarray:
        own = image.shape[:2]
        x: np.ndarray = _resized(image, fixed or size or own)
        if kind != "tensor(uint8)":
            x = ((x / 255 - _MEAN) / _STD).astype(kinds[kind])
        x = np.ascontiguousarray(x.transpose(2, 0, 1) if first else x)[None]
        (answer, *_) = session.run(None, {given[0].name: x})
        return _resized(np.squeeze(np.asarray(answer, np.float32)), own)

    return estimate


def _resized(
    image: np.ndarray,  # [H, W, ...]
    size: tuple[int, ...],
) -> np.ndarray:
    if image.ndim < 2 or image.shape[:2] == size:
        return image
    smaller = size[0] < image.shape[0]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def _module_of(file: Path) -> Any:
    """The module that a file holds, under a name of its own."""
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file")
    spec = importlib.util.spec_from_file_location(f"estimator_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _source(declared: Declaration, asked: Estimate) -> str:
    """The map of colours that is read."""
    check_names([asked.name], "--estimate")
    colours = [name for name, item in declared.modalities.items() if item.encoding.unit == "rgb8"]
    if asked.name == "label" or asked.file_format not in FORMATS:
        raise ValueError(
            f"found the name {asked.name!r} and the format {asked.file_format!r}; expected one of {FORMATS}"
        )
    if asked.limits is not None and not -math.inf < asked.limits[0] < asked.limits[1] < math.inf:
        raise ValueError(f"the range is {asked.limits}; expected two numbers, the lower first")
    if not colours or (asked.source and asked.source not in colours):
        raise ValueError(f"{declared.name}: maps of unit 'rgb8' are {colours}, found {asked.source or 'none'!r}")
    return asked.source or colours[0]


def _added_map(asked: Estimate, source: DeclaredMap) -> DeclaredMap:
    """Where the map lies: as the images do, in a folder of its own."""
    folder = asked.name if source.folder == "." else f"{asked.name}/{source.folder}"
    ending = f".{asked.file_format}"
    suffix = ending if source.suffix == ANY else f"{source.suffix.rpartition('.')[0]}{ending}"
    spec = MapSpec.of_unit(asked.name, "relative")
    scale = 1.0 if asked.file_format == "npy" else None
    return DeclaredMap(folder, Encoding(spec, scale=scale, missing=(0,)), suffix, source.prefix)


def _images(root: Path, declared: Declaration, source: str) -> Sequence[Path]:
    """The images of all splits, each once."""
    found: dict[Path, None] = {}
    assert not isinstance(declared.splits, str)
    for split in declared.splits:
        frames = DeclaredFrames(root, declared, split, [source], {}).frames
        found |= dict.fromkeys(Path(frame.files[source]) for frame in frames)
    return list(found)


def _job(root: Path, path: Path, asked: Estimate, source: str, added: DeclaredMap, estimator: Estimator) -> Job:
    inner = path.relative_to(root)
    length = len(added.suffix) - len(f".{asked.file_format}")  # of what follows the stem before the ending
    stem = inner.name[: len(inner.name) - len(inner.suffix)]
    name = inner.with_name(f"{stem[: len(stem) - length]}{added.suffix}").as_posix()
    return Job((name,), partial(_content, name, path, source, asked, estimator), (path,))


def _content(name: str, path: Path, source: str, asked: Estimate, estimator: Estimator) -> Mapping[str, Content]:
    """The file of a frame.

    Raises:
        NotMadeError: the image cannot be read, or the estimator fails, or gives no map.
    """
    try:
        image = read_rgb(path, name=source)
        share = stretched(estimator(image), image.shape[:2], asked.limits)
    except Exception as error:  # whatever the code of others raises
        text = " ".join(str(error).split())
        raise NotMadeError(f"{path}: {text if str(path) in text else f'{type(error).__name__}: {text}'}") from error
    if asked.file_format == "png":
        return {name: Content(encode_png(np.rint(share * _LARGEST).astype(np.uint16), f"{asked.name}: relative"))}
    file = io.BytesIO()
    np.save(file, share.astype(np.float32))
    return {name: Content(file.getvalue())}


def stretched(
    values: object,  # numbers [H, W]
    size: tuple[int, ...],
    limits: tuple[float, float] | None = None,
) -> np.ndarray:
    """float64 [H, W]: the lower limit becomes 1/65535, the upper 1, and what is not finite 0, no measurement.

    Args:
        values: of an estimator; any array, or a tensor on the CPU.
        size: that they must have.
        limits: None takes the least and the largest value; where they are equal, all becomes 1/2.

    Raises:
        ValueError: another size, no numbers, or none that is finite.
    """
    array = np.asarray(detach() if callable(detach := getattr(values, "detach", None)) else values)
    if array.shape != size or array.dtype.kind not in "iuf":
        raise ValueError(f"the estimator gave {array.dtype} {array.shape}; expected numbers {tuple(size)}")
    array = array.astype(np.float64)
    finite = np.isfinite(array)
    if not finite.any():
        raise ValueError("the estimator gave no finite number")
    low, high = limits or (float(array[finite].min()), float(array[finite].max()))
    share = (np.where(finite, array, low) - low) / (high - low) if high > low else np.full(size, 0.5)
    return np.where(finite, (1 + np.clip(share, 0, 1) * (_LARGEST - 1)) / _LARGEST, 0)


def _declare(file: Path, asked: Estimate, added: DeclaredMap, source: str) -> None:
    """Adds the map to a `dataset.toml`, whose text is otherwise as it was.

    Raises:
        ValueError: a table cannot be added, as the modalities are written on one line; it says what to write.
    """
    words = {"folder": added.folder, "suffix": added.suffix, **({"prefix": added.prefix} if added.prefix else {})}
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in words.items()]
    lines += ['unit = "relative"  # no metres', "missing = [0]", *(["scale = 1"] if asked.file_format == "npy" else [])]
    span = (
        "from its least to its largest value"
        if asked.limits is None
        else f"from {asked.limits[0]:g} to {asked.limits[1]:g}"
    )
    head = f"# estimated from {source} by {json.dumps(asked.estimator)}, each frame {span}"
    table = "\n".join([head, f"[modalities.{asked.name}]", *lines, ""])
    text = f"{read_text(file).rstrip()}\n\n{table}"
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{file}: a table cannot be added ({error}); all maps are there, write:\n{table}") from error
    replace_file(file, text.encode())
