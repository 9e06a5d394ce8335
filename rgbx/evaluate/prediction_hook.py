"""Saves predictions as label images in the dataset's own ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
from mmengine.hooks import Hook
from mmengine.runner import Runner

from rgbx.models.predictor import ENSEMBLE


class PredictionHook(Hook):
    """Writes the ensemble of every tested sample as a PNG of the dataset's own ids.

    Args:
        folder: where the files go, under the names that the dataset gives them.
        dataset: its `encode_label` and `prediction_name` say how.
        overwrite: whether files that are there may be replaced.

    Raises:
        FileExistsError: the folder holds PNGs already, without `overwrite`.
    """

    def __init__(self, folder: str | Path, dataset: Any, *, overwrite: bool = False) -> None:
        self.folder, self.dataset, self.overwrite = Path(folder), dataset, overwrite
        self.active, self.count = True, 0
        found = next(self.folder.rglob("*.png"), None) if self.folder.is_dir() else None
        if found is not None and not overwrite:
            raise FileExistsError(f"{found} is there already: choose an empty folder, or pass --overwrite")

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[dict[str, Any]] | None = None
    ) -> None:
        for sample in outputs or () if self.active else ():
            ids = self.dataset.encode_label(sample["prediction"][ENSEMBLE].cpu().numpy())
            self._write(self._path(sample["sample_id"]), cv2.imencode(".png", ids)[1].tobytes())

    def _path(self, sample_id: str) -> Path:
        name = Path(self.dataset.prediction_name(sample_id))
        if name.is_absolute() or ".." in name.parts:
            raise ValueError(f"sample {sample_id!r} cannot be saved: {name} leads out of {self.folder}")
        return self.folder / name

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("wb" if self.overwrite else "xb") as file:
                file.write(content)
        except FileExistsError:
            if path.read_bytes() != content:  # a sample that two processes share is the same
                raise FileExistsError(f"{path} is there already: two samples share this name") from None
        else:
            self.count += 1
