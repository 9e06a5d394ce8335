"""Taskonomy views for image translation (Zamir et al., CVPR 2018), scaled as CEN and AsymFusion do."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rgbx.datasets.files import FileDataset, Frame, Reader
from rgbx.datasets.grey import read_log, read_relative
from rgbx.datasets.listing import list_lines
from rgbx.datasets.map_encoding import write_map
from rgbx.datasets.reading import read_rgb
from rgbx.datasets.sample import MapSpec, Transform
from rgbx.datasets.vectors import read_unit_vectors

TASKONOMY_DOMAINS = {  # the papers' names of the maps, and the dataset's of their folders
    "rgb": "rgb",
    "normal": "normal",
    "shade": "reshading",
    "depth": "depth_zbuffer",
    "texture": "edge_texture",
    "edge": "edge_occlusion",
}
_DEPTH_LOG_SCALE, _TEXTURE_SCALE, _EDGE_SCALE = 11.1, 11355.0, 11584.0
_LINE = "paths with {domain}, such as {domain}/point_0_view_3_domain_{domain}.png"
_MAPS = {
    name: MapSpec(name, 1, "float32", "relative", interpolation)
    for name, interpolation in (("shade", "linear"), ("depth", "nearest"), ("texture", "linear"), ("edge", "linear"))
} | {"normal": MapSpec("normal", 3, "float32", "unit_vector", "linear")}


class Taskonomy(FileDataset):
    """Views as `{domain}/point_{p}_view_{v}_domain_{domain}.png`, without labels.

    rgb is uint8. Float32 in 0..1 are depth, log(1 + raw) / 11.1 and 0 where there is none (raw 65535), texture,
    raw / 11355, and edge, raw / 11584, both clipped, since raw edges do exceed these, and shade, raw / 255.
    Normals are vectors, raw / 127.5 - 1 (x right, y down, z forward, facing the camera), and 0 where there is none
    (raw 128, 128, 128). So a mirrored view has its normals turned, which the code of CEN forgets.

    Args:
        root: the folder that holds one folder per domain.
        split: such as "train", "val" or "test"; names the list `{split}_domain.txt`.
        sources: names of `TASKONOMY_DOMAINS` to translate from, in the order of the model's stack.
        targets: names to translate to.
        list_file: another list, relative to root or absolute. Its lines are paths with `{domain}` for the domain.
        transforms: see `DenseDataset`.

    Raises:
        FileNotFoundError, ValueError: naming the list and the line, or unknown maps.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        sources: Sequence[str] = ("shade", "texture"),
        targets: Sequence[str] = ("rgb",),
        list_file: str | Path | None = None,
        transforms: Sequence[Transform | dict[str, Any]] = (),
    ) -> None:
        self.root, self.split = Path(root), split
        self.list_file = self.root / (f"{split}_domain.txt" if list_file is None else list_file)
        readers: dict[str, Reader] = {
            "rgb": read_rgb,
            "normal": partial(read_unit_vectors, normalise=False),
            "shade": read_relative,
            "depth": partial(read_log, log=_DEPTH_LOG_SCALE),
            "texture": partial(read_relative, full=_TEXTURE_SCALE),
            "edge": partial(read_relative, full=_EDGE_SCALE),
        }
        super().__init__(
            [_frame(self.root, line.strip(), origin) for line, origin in list_lines(self.list_file, _LINE)],
            readers,
            modalities=(*sources, *targets),
            classes=(),
            palette=(),
            transforms=transforms,
            maps=_MAPS,
            targets=targets,
        )


def read_log_depth(path: str | Path) -> np.ndarray:
    """Taskonomy depth as float32 [H, W] in 0..1, see `rgbx.datasets.grey.read_log`."""
    return read_log(path, log=_DEPTH_LOG_SCALE)


def write_log_depth(path: str | Path, depth: np.ndarray) -> None:
    """Writes what `read_log_depth` reads: raw = exp(11.1 depth) - 1 in 16 bits, and 65535 where depth is 0.

    Args:
        path: with the suffix .png.
        depth: [H, W] in 0..1.

    Raises:
        ValueError: values beyond log(65535) / 11.1, or a shape that is no image.
    """
    write_map(path, depth, _MAPS["depth"], log=_DEPTH_LOG_SCALE)


def _frame(root: Path, line: str, origin: str) -> Frame:
    if "{domain}" not in line:
        raise ValueError(f"{origin}: expected {_LINE}, found {line!r}")
    files = {name: root / line.replace("{domain}", domain) for name, domain in TASKONOMY_DOMAINS.items()}
    return Frame(Path(line).stem.removesuffix("_domain_{domain}"), files, origin)
