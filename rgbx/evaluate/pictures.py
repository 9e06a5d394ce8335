"""Pictures of inputs, truth and predictions side by side, of every task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed
from torch import Tensor

from rgbx._late import late
from rgbx._text import branch_title, mask_title, modality_title, subset_title
from rgbx._types import Batch, Meta
from rgbx.datasets.timestamps import nearest_of
from rgbx.evaluate.session import Outputs, Subset
from rgbx.layers import CLIP
from rgbx.maps import TIMES
from rgbx.maps.colour import colour_input
from rgbx.maps.drawing import share_panel
from rgbx.models.multimodal import MultimodalModel
from rgbx.tasks import ENSEMBLE, Prediction, Task

Panel = tuple[str, np.ndarray]  # title and uint8 RGB [H, W, 3]
GRID = "rgbx.evaluate.grid"  # it brings matplotlib


class PictureObserver:
    """Keeps evenly spaced samples of each run; `draw` writes one picture per sample, and a grid of all.

    Of several processes, the first keeps samples of its own share.

    Args:
        model: whose tasks draw.
        meta: the dataset's `metainfo`.
        count: number of samples.
        by_subset: whether each run shows its ensemble under the name of its subset, instead of all branches.
    """

    def __init__(self, model: MultimodalModel, meta: Meta, *, count: int = 4, by_subset: bool = False) -> None:
        if count < 1:
            raise ValueError(f"the number of pictures must be >= 1, found {count}")
        self.model, self.meta, self.count, self.by_subset = model, meta, count, by_subset
        self.panels: dict[str, dict[str, np.ndarray]] = {}  # sample to title to picture
        self.legends: dict[str, dict[str, Sequence[int]]] = {}
        self._title: str | None = None
        self._seen = 0
        self._wanted: set[int] = set()

    def start(self, size: int, modalities: Subset) -> None:
        """Chooses the samples."""
        self._title = subset_title(modalities, self.model.modalities) if self.by_subset else None
        own = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
        self._wanted = set(np.linspace(0, size - 1, min(self.count, size)).round().astype(int).tolist() if own else ())
        self._seen = 0

    def see(self, batch: Batch, outputs: Outputs) -> None:
        """Draws those of a batch that were chosen."""
        for position, output in enumerate(outputs):
            if self._seen in self._wanted:
                kept = self.panels.setdefault(output["sample_id"], {})
                kept |= {title: picture for title, picture in self._inputs(batch, position) if title not in kept}
                for name, mask in output.get("masks", {}).items():
                    kept.setdefault(mask_title(name), share_panel("", as_array(mask)).picture)
                for head, found in output["heads"].items():
                    self._keep(kept, output["sample_id"], head, found)
            self._seen += 1

    def _inputs(self, batch: Batch, position: int) -> Iterable[Panel]:
        for name in self.model.modalities:
            if name in batch:
                keys = (name, f"{name}_valid", f"{name}{TIMES}", "time")
                image, valid = frame_at_label(name, {key: batch[key][position] for key in keys if key in batch})
                shown = self.model.data_preprocessor.clipped(name, image)
                spec = self.meta.get("maps", {}).get(name)
                yield modality_title(name), colour_input(name, shown, valid, spec)

    def _keep(self, kept: dict[str, np.ndarray], sample_id: str, head: str, found: Prediction) -> None:
        """Adds truth, branches and ensemble of a sample to `kept`, uint8 RGB [H, W, 3] by title."""
        task, maps = self.model.tasks[head], dict(found.prediction)
        if self._title is not None:
            maps = {self._title: maps[ENSEMBLE]}
        elif len(maps) == 2:
            del maps[ENSEMBLE]  # of a single branch
        of = f"{head}: " if len(self.model.heads) > 1 else ""
        for name, picture in drawn(task, found._replace(prediction=maps), self.meta).items():
            title = branch_title(name) if name in self.model.modalities else name
            kept[f"{of}{title}"] = picture
        there = [as_array(x) for x in (*maps.values(), found.target) if x is not None]
        self.legends[sample_id] = {**self.legends.get(sample_id, {}), **task.legend(there, self.meta)}

    def draw(self, folder: str | Path) -> list[Path]:
        """Writes one PNG per kept sample, and ``grid.png`` of all; returns the paths of the former."""
        paths = []
        for sample_id, panels in self.panels.items():
            path = Path(folder) / f"{sample_id.replace('/', '_')}.png"
            late(GRID, "draw_rows")([list(panels.items())], path, legend=self.legends[sample_id], inches=3.0)
            paths.append(path)
        if len(self.panels) > 1:
            self.draw_grid(Path(folder, "grid.png"))
        return paths

    def draw_grid(self, path: Path) -> None:
        """Writes all kept samples as one PNG, a row each."""
        found = {name: colour for legend in self.legends.values() for name, colour in legend.items()}
        legend = {name: found[name] for name in (*self.meta.get("classes", ()), *found) if name in found}
        late(GRID, "draw_rows")([list(panels.items()) for panels in self.panels.values()], path, legend=legend)


def drawn(task: Task, found: Prediction, about: Meta) -> dict[str, np.ndarray]:
    """The truth, where there is one, and every prediction of a sample by its name, uint8 RGB [H, W, 3]."""
    truth, valid = (None if x is None else as_array(x) for x in (found.target, found.valid))
    pictures = {} if truth is None else {"truth": task.draw(truth, about, truth=truth, valid=valid, masked=True)}
    for name, values in found.prediction.items():
        pictures[name] = task.draw(as_array(values), about, truth=truth, valid=valid)
    return pictures


class PredictionWriter:
    """Writes the ensemble of every sample of the first run as the dataset stores its targets.

    Args:
        model: whose tasks write.
        folder: where the files go, under the names that the dataset gives them; of several heads, a folder for each.
        dataset: its `prediction_name`, and what tasks ask of it, say how.
        overwrite: whether files that are there may be replaced.

    Raises:
        FileExistsError: the folder holds PNGs already, without `overwrite`.
    """

    def __init__(self, model: MultimodalModel, folder: str | Path, dataset: Any, *, overwrite: bool = False) -> None:
        self.model, self.folder, self.dataset, self.overwrite = model, Path(folder), dataset, overwrite
        self.count, self._runs = 0, 0
        self._written: set[Path] = set()
        found = next(self.folder.rglob("*.png"), None) if self.folder.is_dir() else None
        if found is not None and not overwrite:
            raise FileExistsError(f"{found} is there already: choose an empty folder, or pass --overwrite")

    def start(self, size: int, modalities: Subset) -> None:
        """Only the first run is written."""
        self._runs += 1

    def see(self, batch: Batch, outputs: Outputs) -> None:
        """Writes a batch.

        Raises:
            FileExistsError: two samples share a name.
            ValueError: a name that leads out of the folder.
        """
        for output in outputs if self._runs == 1 else ():
            for head, found in output["heads"].items():
                path = self._path(output["sample_id"], head)
                if path in self._written:
                    raise FileExistsError(f"{path} is there already: two samples share this name")
                path.parent.mkdir(parents=True, exist_ok=True)
                self.model.tasks[head].write(path, as_array(found.prediction[ENSEMBLE]), self.dataset)
                self._written.add(path)
                self.count += 1

    def _path(self, sample_id: str, head: str) -> Path:
        name = Path(self.dataset.prediction_name(sample_id))
        if name.is_absolute() or ".." in name.parts:
            raise ValueError(f"sample {sample_id!r} cannot be saved: {name} leads out of {self.folder}")
        return self.folder / head / name if len(self.model.heads) > 1 else self.folder / name


def frame_at_label(name: str, sample: Batch) -> tuple[np.ndarray, np.ndarray | None]:
    """A modality of a packed sample [c, H, W] and, where it has a mask, that [1, H, W]; of a clip the frame nearest to
    the label.
    """
    image = as_array(sample[name])
    valid = as_array(sample[f"{name}_valid"]) if f"{name}_valid" in sample else None
    if image.ndim != CLIP - 1:
        return image, valid
    nearest = nearest_of(as_array(sample[f"{name}{TIMES}"]), float(sample["time"]))
    return image[nearest], None if valid is None else valid[nearest]


def as_array(values: Tensor | np.ndarray) -> np.ndarray:
    """On the CPU, [...] as it is."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
