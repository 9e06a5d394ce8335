"""Collects predictions of a few samples while testing, and draws them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from rgbx.evaluate.pictures import class_legend, draw_panels, modality_title, sample_panels
from rgbx.evaluate.segmentation_metric import ENSEMBLE


def subset_title(modalities: Sequence[str], known: Sequence[str]) -> str:
    """A subset above its prediction: "RGB alone", "both", "rgb + thermal"."""
    if len(modalities) == 1:
        return f"{modality_title(modalities[0])} alone"
    if len(modalities) == len(known):
        return "both" if len(known) == 2 else "all"
    return " + ".join(modality_title(name) for name in modalities)


class PictureHook(Hook):
    """Keeps evenly spaced samples of each test run; `draw` writes one picture per sample.

    Of several processes, the first keeps samples of its own share.

    Args:
        count: number of samples.
    """

    def __init__(self, count: int = 4) -> None:
        if count < 1:
            raise ValueError(f"the number of pictures must be >= 1, found {count}")
        self.count = count
        self.title: str | None = None  # of the modality subset under test; None shows the branches
        self.samples: dict[str, dict[str, Any]] = {}
        self.predictions: dict[str, dict[str, np.ndarray]] = {}
        self._seen = 0
        self._wanted: set[int] = set()

    def before_test_epoch(self, runner: Runner) -> None:
        size = len(runner.test_dataloader.sampler)  # of several processes, this one's share
        self._wanted = set(np.linspace(0, size - 1, min(self.count, size)).round().astype(int))
        self._seen = 0

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[dict[str, Any]] | None = None
    ) -> None:
        if not is_main_process():
            return
        for position, output in enumerate(outputs or ()):
            if self._seen in self._wanted:
                self._keep(data_batch, position, output)
            self._seen += 1

    def _keep(self, batch: dict[str, Any], position: int, output: dict[str, Any]) -> None:
        name = output["sample_id"]
        self.samples[name] = {
            key: value[position].cpu().numpy() for key, value in batch.items() if isinstance(value, torch.Tensor)
        }
        kept = self.predictions.setdefault(name, {})
        for branch, ids in output["prediction"].items():
            if self.title is not None and branch == ENSEMBLE:
                kept[self.title] = ids.cpu().numpy()
            elif self.title is None:
                kept[branch] = ids.cpu().numpy()

    def draw(self, folder: str | Path, metainfo: dict[str, Any]) -> list[Path]:
        """Writes one PNG per kept sample and returns their paths."""
        paths = []
        for name, sample in self.samples.items():
            predictions = self.predictions[name]
            labels = [sample["label"]] if "label" in sample else []
            path = Path(folder) / f"{name.replace('/', '_')}.png"
            draw_panels(
                sample_panels(sample, predictions, metainfo),
                path,
                legend=class_legend([*labels, *predictions.values()], metainfo),
            )
            paths.append(path)
        return paths
