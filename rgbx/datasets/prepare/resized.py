"""Any dataset at another size, as plain files of stated units and a `dataset.toml`, so that much can be tried on it.

Colours are averaged over the area of a pixel, and what must not be mixed, such as
depth and labels, is taken from the nearest one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from rgbx.datasets.fingerprint import dataset_fingerprint
from rgbx.datasets.folder import DECLARATION
from rgbx.datasets.prepare.output import Content, Job, NotMadeError, Preparation, Summary, write_preparation
from rgbx.datasets.sample import DenseDataset, Transform
from rgbx.maps import Encoding, MapSpec
from rgbx.maps.files import encode_png, replace_file
from rgbx.maps.spec import BANDS

_PNG_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Resizing:
    """What is made of every frame.

    Attributes:
        size: height and width.
        transform: resizes a sample, such as `rgbx.transforms.Resize`; it must draw nothing.
        depth_scale: stored steps per metre.
    """

    size: tuple[int, int]
    transform: Transform
    depth_scale: float = 1000.0


def write_resized(
    folder: str | Path,
    datasets: Mapping[str, DenseDataset],
    source: str | Path,
    resizing: Resizing,
    *,
    workers: int = 0,
) -> Summary:
    """Writes FOLDER/SPLIT/{MAP,label}/ID.png of every frame, and the declaration when all are there.

    Args:
        folder: made if it is not there; frames of earlier runs are kept if they are unchanged and of the same files.
        datasets: by the names of their splits; of one that has several ("val, test") the first names its folder. All
            have the same maps and classes.
        source: the folder or config that they are of, for messages.
        resizing: see `Resizing`.
        workers: further processes that resize.

    Returns:
        What was written, and what could not be, in which case nothing is declared: maps with pixels that were not
        measured in a unit whose files have no value for that, and values that the files do not hold.

    Raises:
        FileExistsError: see `write_preparation`; also a `dataset.toml` in FOLDER that says something else.
        ValueError: maps that no PNG holds, frames that differ in what they have, or several frames of one name.
    """
    folder = Path(folder)
    first = next(iter(datasets.values()))
    encodings = {name: _encoding(spec, resizing) for name, spec in first.maps.items()}
    for names, dataset in datasets.items():
        if dataset.frame_sets is not None:
            raise ValueError(f"{source}, {names}: frames differ in what they have; leave out modalities that some lack")
    text = _declaration(first, encodings, datasets, resizing, source)
    file = folder / DECLARATION
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise FileExistsError(f"{file} is in the way: it declares something else; use another output folder")
    parts = [_jobs(names.split(", ")[0], dataset, encodings, resizing) for names, dataset in datasets.items()]
    jobs = [job for part in parts for job in part]
    options = {"size": list(resizing.size), "depth_scale": resizing.depth_scale}
    done = write_preparation(folder, Preparation("resized", Path(source), jobs, options), workers=workers)
    if not done.failed:
        replace_file(file, text.encode())
    return done


def _encoding(spec: MapSpec, resizing: Resizing) -> Encoding:
    if spec.channels not in _PNG_CHANNELS:
        raise ValueError(f"{spec.name} has {spec.channels} channels, which no PNG holds; name other modalities")
    return Encoding(spec, scale=resizing.depth_scale) if spec.unit == "metre" else Encoding(spec)


def _declaration(
    dataset: DenseDataset,
    encodings: Mapping[str, Encoding],
    splits: Iterable[str],
    resizing: Resizing,
    source: str | Path,
) -> str:
    """A `dataset.toml` of the frames."""
    height, width = resizing.size
    lines = [
        f"# {Path(source).name} at {width}x{height}: colours averaged over the area of a pixel, what must not be mixed",
        "# (depth, labels) taken from the nearest one.",
    ]
    if dataset.classes:
        names = [f"    {json.dumps(name, ensure_ascii=False)}," for name in dataset.classes]
        colours = [f"    {list(colour)}," for colour in dataset.palette]
        lines += ["[classes]", "names = [", *names, "]", "palette = [", *colours, "]"]
        lines += ["", "[label]  # 255: none of them", 'folder = "{split}/label"', 'suffix = ".png"']
    for name, encoding in encodings.items():
        lines += ["", f"[modalities.{name}]", f'folder = "{{split}}/{name}"', 'suffix = ".png"']
        lines += [f'unit = "{encoding.unit}"', f'interpolation = "{encoding.spec.interpolation}"']
        lines += [f"scale = {encoding.scale!r}"] if encoding.scale is not None else []
        lines += [f"channels = {encoding.spec.channels}"] if encoding.unit in BANDS else []
    lines += ["", "[splits]"]
    for each in (text.split(", ") for text in splits):
        lines += [f"{json.dumps(name)} = {json.dumps(each[0])}" for name in each]
    return "\n".join(lines) + "\n"


def _jobs(split: str, dataset: DenseDataset, encodings: Mapping[str, Encoding], resizing: Resizing) -> Iterator[Job]:
    """One of every frame."""
    kinds = [*encodings, *(("label",) if dataset.classes else ())]
    whole = dataset_fingerprint(dataset)
    seen: dict[str, int] = {}
    for index in range(len(dataset)):
        sample_id = dataset.name_of(index)
        place = PurePosixPath(sample_id).as_posix()
        if (other := seen.setdefault(place.lower(), index)) != index:
            raise ValueError(f"{split}: frames {dataset.name_of(other)!r} and {sample_id!r} would be one file")
        names = {kind: f"{split}/{kind}/{place}.png" for kind in kinds}
        made = partial(_contents, dataset, index, names, encodings, resizing)
        yield Job(tuple(names.values()), made, _Files(dataset, index), {"dataset": whole, "id": sample_id})


@dataclass(frozen=True)
class _Files:
    """The files of a frame, found when they are asked for."""

    dataset: DenseDataset
    index: int

    def __iter__(self) -> Iterator[Path]:
        paths = self.dataset.read(self.index)["paths"].values()
        return (path for path in map(Path, filter(None, paths)) if path.is_file())


def _contents(
    dataset: DenseDataset,
    index: int,
    names: Mapping[str, str],
    encodings: Mapping[str, Encoding],
    resizing: Resizing,
) -> Mapping[str, Content]:
    """The files of a frame, by their names.

    Raises:
        NotMadeError: what the files cannot hold.
    """
    sample = resizing.transform(dataset.read(index), np.random.default_rng(0))
    found = {}
    for kind, name in names.items():
        if kind == "label":
            found[name] = Content(encode_png(sample["label"]))
            continue
        encoding, valid = encodings[kind], sample.get(f"{kind}_valid")
        where = f"{sample['sample_id']}: {kind}"
        if encoding.unit != "metre" and valid is not None and not valid.all():
            raise NotMadeError(
                f"{where} has pixels that were not measured, for which files of unit {encoding.unit!r} have no value"
            )
        try:
            found[name] = Content(encode_png(encoding.encode(sample[kind], where=where)))
        except ValueError as error:
            hint = "; --depth-scale says how many steps a metre has" if encoding.unit == "metre" else ""
            raise NotMadeError(f"{error}{hint}") from error
    return found
