"""Which files go together in a translation, and where each result goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rgbx.cli.errors import ConfigError
from rgbx.datasets.listing import image_files


class Job(NamedTuple):
    """The files of one translation by the name of their map, and the PNG to write."""

    files: dict[str, Path]
    out: Path


def parse_inputs(texts: Sequence[str]) -> dict[str, Path]:
    """["rgb=a.png", ...] as {"rgb": Path("a.png"), ...}.

    Raises:
        ConfigError: another form, or a map named twice.
    """
    inputs: dict[str, Path] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not name or not equals or not path:
            raise ConfigError(f"--input takes MAP=PATH, such as rgb=a.png, found {text!r}")
        if name in inputs:
            raise ConfigError(f"--input names {name!r} twice")
        inputs[name] = Path(path)
    return inputs


def list_jobs(inputs: Mapping[str, Path], out: Path, *, overwrite: bool = False) -> list[Job]:
    """What to translate: one job for files, one per stem for folders.

    Args:
        inputs: files, or folders whose images are matched by their stems.
        out: the PNG to write, or the folder of them.
        overwrite: whether results may replace files that are there; inputs are never replaced.

    Raises:
        FileNotFoundError: no such input, or an image without its partner, which is named.
        FileExistsError: a result is there already.
        ConfigError: files beside folders, or a result that is no PNG.
    """
    for name, path in inputs.items():
        if not path.exists():
            raise FileNotFoundError(f"--input {name}={path}: no such file or folder")
    folders = [path.is_dir() for path in inputs.values()]
    if any(folders) and not all(folders):
        raise ConfigError("--input takes files or folders, not both at once")
    jobs = _folder_jobs(inputs, out) if all(folders) else [_file_job(inputs, out)]
    for job in jobs:
        if job.out.resolve() in {path.resolve() for path in job.files.values()}:
            raise ConfigError(f"{job.out} is an input; write the result elsewhere")
        if job.out.exists() and not overwrite:
            raise FileExistsError(f"{job.out} is there already: choose another --out, or pass --overwrite")
    return jobs


def _file_job(inputs: Mapping[str, Path], out: Path) -> Job:
    out = out / f"{next(iter(inputs.values())).stem}.png" if out.is_dir() else out
    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out {out}: results are PNG files, as others lose values; end it in .png")
    return Job(dict(inputs), out)


def _folder_jobs(inputs: Mapping[str, Path], out: Path) -> list[Job]:
    if out.suffix.lower() == ".png" or (out.exists() and not out.is_dir()):
        raise ConfigError(f"--out {out} is a file, and the inputs are folders: give a folder")
    found = {name: image_files(folder) for name, folder in inputs.items()}
    stems = sorted(set().union(*found.values()))
    for stem in stems:
        absent = [name for name, files in found.items() if stem not in files]
        if absent:
            there = next(files[stem] for files in found.values() if stem in files)
            raise FileNotFoundError(f"{there} has no partner: {inputs[absent[0]]} holds no image {stem!r}")
    return [Job({name: files[stem] for name, files in found.items()}, out / f"{stem}.png") for stem in stems]
