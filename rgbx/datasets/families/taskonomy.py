"""Taskonomy views for image translation (Zamir et al., CVPR 2018), scaled as CEN and AsymFusion do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from rgbx._files import inside
from rgbx.datasets.files import FileDataset
from rgbx.datasets.frames import Frame
from rgbx.datasets.listing import Holdout, distinct_ids, held_out, lines_beside, list_lines
from rgbx.datasets.sample import Transforms
from rgbx.maps import RELATIVE_DEPTH, RGB, Encoding, MapSpec

TASKONOMY_DOMAINS = {  # the papers' names of the maps, and the dataset's of their folders
    "rgb": "rgb",
    "normal": "normal",
    "shade": "reshading",
    "depth": "depth_zbuffer",
    "texture": "edge_texture",
    "edge": "edge_occlusion",
}
_LINE = "paths with {domain}, such as {domain}/point_0_view_3_domain_{domain}.png"
LOG_DEPTH = Encoding(RELATIVE_DEPTH, log=11.1)
_ENCODINGS = {
    "rgb": RGB,
    "normal": Encoding(MapSpec.of_unit("normal", "unit_vector", "linear")),
    "shade": Encoding(MapSpec.of_unit("shade", "relative")),
    "depth": LOG_DEPTH,
    "texture": Encoding(MapSpec.of_unit("texture", "relative"), scale=11355.0, clips=True),
    "edge": Encoding(MapSpec.of_unit("edge", "relative"), scale=11584.0, clips=True),
}


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
        holdout: see `rgbx.datasets.listing.holdout_indices`; "exclude" for training, "only" for choosing a model.
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
        holdout: Holdout = None,
        transforms: Transforms = (),
    ) -> None:
        self.root, self.split = Path(root), split
        named = inside(root, f"{split}_domain.txt", "split")
        self.list_file = self.root / (named if list_file is None else list_file)
        super().__init__(
            held_out(_frames(self.root, self.list_file), holdout),
            _ENCODINGS,
            named={_id(line) for line in lines_beside(self.list_file)},
            modalities=(*sources, *targets),
            classes=(),
            palette=(),
            transforms=transforms,
            targets=targets,
        )


def _frames(root: Path, list_file: Path) -> list[Frame]:
    """One frame per line; buildings number their points alike, so where views repeat their folders are in the ids."""
    lines = [(inside(root, line, origin), origin) for line, origin in list_lines(list_file, _LINE)]
    frames = []
    for own, (line, origin) in zip(distinct_ids([line for line, _ in lines]), lines, strict=True):
        if "{domain}" not in line:
            raise ValueError(f"{origin}: expected {_LINE}, found {line!r}")
        files = {name: root / line.replace("{domain}", domain) for name, domain in TASKONOMY_DOMAINS.items()}
        frames.append(Frame(own.removesuffix("_domain_{domain}").removeprefix("{domain}/"), files, origin))
    return frames


def _id(line: str) -> str:
    return PurePosixPath(line).stem.removesuffix("_domain_{domain}")
