"""Grids of translations: a row per sample with its inputs, every branch, the ensemble and the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from rgbx.evaluate.pictures import COLOURS, colour_input, colour_map, modality_title
from rgbx.models.predictor import ENSEMBLE

Panel = tuple[str, np.ndarray]  # title and uint8 [H, W, 3]


class GridHook(Hook):
    """Draws evenly spaced samples of a validation or test run into one picture.

    While training, `pictures/epoch_N.png` in the work directory after every validation whose epoch `interval`
    divides; while testing, `grid.png` in the given folder. Of several processes, the first draws its own share.

    Args:
        count: samples, one per row.
        interval: epochs between pictures.
        folder: of the picture of a test run.
    """

    def __init__(self, count: int = 4, interval: int = 1, folder: str | Path | None = None) -> None:
        if count < 1 or interval < 1:
            raise ValueError(f"count and interval must be >= 1, found {count} and {interval}")
        self.count, self.interval, self.folder = count, interval, folder
        self.active, self.drawn = True, 0
        self._rows: list[list[Panel]] = []
        self._wanted: set[int] = set()
        self._seen = 0

    def before_val_epoch(self, runner: Runner) -> None:
        due = runner.epoch % self.interval == 0 or runner.epoch == runner.max_epochs
        self._start(runner.val_dataloader if due else None)

    def before_test_epoch(self, runner: Runner) -> None:
        self._start(runner.test_dataloader if self.active and self.folder is not None else None)

    def _start(self, dataloader: Any) -> None:
        size = 0 if dataloader is None or not is_main_process() else len(dataloader.sampler)
        self._rows, self._seen = [], 0
        self._wanted = set(np.linspace(0, size - 1, min(self.count, size)).round().astype(int).tolist())

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Sequence[Mapping[str, Any]] | None = None,
        mode: str = "train",
    ) -> None:
        if mode == "train":
            return
        for position, output in enumerate(outputs or ()):
            if self._seen in self._wanted:
                ranges = runner.network.data_preprocessor.ranges
                names = runner.network.layout.modalities
                names = [name for name in names if name in output["prediction"]] or names
                bounds = {name: ranges[name].bounds.tolist() for name in names}
                self._rows.append(translation_panels(data_batch, position, output, bounds))
            self._seen += 1

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._draw(Path(runner.work_dir, "pictures", f"epoch_{runner.epoch}.png"))

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if self.active and self.folder is not None:
            self._draw(Path(self.folder, "grid.png"))

    def _draw(self, path: Path) -> None:
        if self._rows:
            draw_grid(self._rows, path)
            self.drawn = len(self._rows)


def translation_panels(
    batch: Mapping[str, Any], position: int, output: Mapping[str, Any], bounds: Mapping[str, Sequence[float]]
) -> list[Panel]:
    """One row: the inputs of a sample in a collated batch, its branches, the ensemble, the truth.

    Maps with one channel are coloured between the limits of the truth, so that they can be compared.

    Args:
        batch: collated, in units.
        position: of the sample in it.
        output: the sample of `TranslationPredictor`.
        bounds: the modalities that were translated from, each with the values between which the network tells
            differences, in its unit.
    """
    panels: list[Panel] = []
    for name, (low, high) in bounds.items():
        valid = batch.get(f"{name}_valid")
        mask = None if valid is None else _array(valid[position])
        image = _array(batch[name][position])
        panels.append((modality_title(name), colour_input(name, image.clip(low, high).astype(image.dtype), mask)))
    (target, truth), *_ = output.get("target", {"": None}).items()
    real = None if truth is None else _array(truth)
    mask = _array(output["valid"][target]) if "valid" in output else None
    for branch, image in output["prediction"].items():
        if branch == ENSEMBLE and len(output["prediction"]) == 2:
            continue  # of a single branch
        title = "ensemble" if branch == ENSEMBLE else f"from {modality_title(branch)}"
        panels.append((title, _colour(target, _array(image), real, mask)))
    if real is not None:
        panels.append(("truth", _colour(target, real, real, mask, hide=True)))
    return panels


def _colour(
    name: str, image: np.ndarray, truth: np.ndarray | None, valid: np.ndarray | None, *, hide: bool = False
) -> np.ndarray:
    """A map [C, H, W] as uint8 RGB; of one channel, its limits are those of the truth."""
    if image.shape[0] == 1:
        measured = image if truth is None else truth if valid is None else truth[valid]
        limits = np.percentile(measured, (2, 98)) if measured.size else (0.0, 1.0)
        return colour_map(
            image[0], valid[0] if hide and valid is not None else None, COLOURS.get(name, "viridis"), limits
        )
    if name != "normal":
        image = image.round().clip(0, 255).astype(np.uint8)
    return colour_input(name, image)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def draw_grid(rows: Sequence[Sequence[Panel]], path: Path, *, inches: float = 2.0) -> None:
    """Writes rows of titled pictures as one PNG; titles stand above the first row."""
    columns = max(len(row) for row in rows)
    height, width = rows[0][0][1].shape[:2]
    size = (inches * columns, inches * height / width * len(rows) + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for number, (row, line) in enumerate(zip(rows, grid, strict=True)):
        for axes in line:
            axes.set_axis_off()
        for axes, (title, picture) in zip(line, row, strict=False):
            axes.imshow(picture, interpolation="nearest")
            if number == 0:
                axes.set_title(title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
