"""Renders synthetic rooms to disk and draws contact sheets."""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from tqdm import tqdm

from rgbx.cli.errors import command
from rgbx.datasets.rooms import CLASSES, PALETTE, SyntheticRooms, render
from rgbx.datasets.rooms.dataset import SPLITS
from rgbx.maps.files import encode_png, replace_file

_SHEET_ROWS = 8
_DECLARATION = """# Rendered rooms of rgbx, by `rgbx render-rooms FOLDER --declare`.
[classes]
names = [
{names}]
palette = [
{colours}]

[label]
folder = "label"

[modalities.rgb]
folder = "rgb"
unit = "rgb8"

[modalities.depth]
folder = "depth"
unit = "metre"
scale = 1000  # millimetres

[splits]
{splits}"""


@command("render-rooms")
def main(options: argparse.Namespace) -> int:
    """Renders what is missing and draws the sheet; exit code 0, 2 for a user's error, 130 for Ctrl-C."""
    for split, count in (("train", options.train), ("val", options.val), ("test", options.test)):
        if not count:
            continue
        rooms = SyntheticRooms(
            split=split,
            num_frames=count,
            size=options.size,
            seed=options.seed,
            paints=options.paints,
            root=None if options.declare else options.out,
        )
        if options.declare:
            write_declared(rooms, options.out)
            print(f"{split}: {count} frames, listed in {split}.txt")
            continue
        written = render_split(rooms, workers=options.workers)
        print(f"{split}: {written} frames rendered, {count - written} were there already")
    if options.contact_sheet is not None:
        scenes = [2 * row for row in range(min(_SHEET_ROWS, options.train or _SHEET_ROWS))]
        frames = [render(options.seed, scene, options.size, options.paints) for scene in scenes]
        contact_sheet(frames).savefig(options.contact_sheet, dpi=100)
        print(f"contact sheet of {len(frames)} frames: {options.contact_sheet}")
    return 0


def render_split(rooms: SyntheticRooms, *, workers: int = 1) -> int:
    """Writes the frames of a dataset with a root that are not there yet.

    Args:
        rooms: what to render.
        workers: processes; 1 renders in this one.

    Returns:
        The number of frames written now.
    """
    bar = partial(tqdm, total=len(rooms), desc=rooms.split, unit="frame", disable=None)
    if workers <= 1:
        return sum(bar(map(rooms.write, range(len(rooms)))))
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return sum(bar(pool.imap_unordered(rooms.write, range(len(rooms)), chunksize=8)))


def write_declared(rooms: SyntheticRooms, folder: Path) -> None:
    """Writes the frames of a dataset as `{map}/{split}_000.png` and a list of them, and a `dataset.toml` that says so.

    Args:
        rooms: of rgb and depth, rendered on the fly.
        folder: what is there is replaced.
    """
    stems = [f"{rooms.split}_{index:03d}" for index in range(len(rooms))]
    for index, stem in enumerate(stems):
        frame = rooms.read(index)
        files = {
            "rgb": frame["rgb"],
            "depth": np.rint(1000 * frame["depth"]).astype(np.uint16),
            "label": frame["label"],
        }
        for name, values in files.items():
            path = folder / name / f"{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, encode_png(values), many=True)
    replace_file(folder / f"{rooms.split}.txt", "".join(f"{stem}\n" for stem in stems).encode())
    there = "".join(f'{split} = "{split}.txt"\n' for split in SPLITS if (folder / f"{split}.txt").is_file())
    names = "".join(f'    "{name}",\n' for name in rooms.classes)
    colours = "".join(f"    {list(colour)},\n" for colour in rooms.palette)
    text = _DECLARATION.format(names=names, colours=colours, splits=there)
    replace_file(folder / "dataset.toml", text.encode())


def contact_sheet(
    frames: Sequence[dict[str, np.ndarray]],  # [H, W] or [H, W, C] each
) -> Figure:
    """A grid with one frame per row and one map per column, and a legend of the classes."""
    columns = _panels()
    height, width = frames[0]["label"].shape
    inches = 2.4
    row_inches = inches * height / width
    figure = Figure(figsize=(inches * len(columns), row_inches * len(frames) + 1.1), layout="constrained")
    grid = figure.subplots(len(frames), len(columns), squeeze=False)
    for axes, frame in zip(grid, frames, strict=True):
        for cell, (name, colour) in zip(axes, columns.items(), strict=True):
            cell.imshow(colour(frame[name]), interpolation="auto")
            cell.set_axis_off()
    for cell, title in zip(grid[0], columns, strict=True):
        cell.set_title(title, fontsize=13)
    patches = [
        Patch(facecolor="#{:02x}{:02x}{:02x}".format(*colour), edgecolor="0.4", label=name)
        for name, colour in zip(CLASSES, PALETTE, strict=True)
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(CLASSES), frameon=False, fontsize=10)
    return figure


def _panels() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """How each map becomes an RGB picture, in the order of the columns."""
    palette = np.array(PALETTE, np.uint8)
    return {
        "rgb": lambda rgb: rgb,
        "depth": lambda metres: np.where(metres[..., None] > 0, colormaps["viridis_r"](metres / 7)[..., :3], 0),
        "thermal": lambda celsius: colormaps["inferno"](np.sqrt(np.clip((celsius - 14) / 56, 0, 1)))[..., :3],
        "normal": lambda unit: 0.5 + 0.5 * unit * np.array([1, -1, -1]),
        "edge": lambda edge: np.repeat(1 - edge[..., None], 3, axis=2),
        "label": lambda label: palette[label],
    }
