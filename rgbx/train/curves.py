"""Loss and validation score over the epochs of a run, from the scalars that mmengine logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

SCORES = {  # metrics that are drawn, by the last part of their key, and their titles
    "mIoU": "mIoU (%)",
    "PSNR": "PSNR (dB)",
    "angle_mean": "mean angle (°)",
    "MAE": "MAE",
}


def read_scalars(work_dir: str | Path) -> tuple[dict[int, float], dict[int, dict[str, float]]]:
    """Mean training loss and the validation metrics of `SCORES` by epoch, over a run and its resumptions.

    Where an epoch was logged twice, as after a kill in its middle, the later log counts.

    Raises:
        FileNotFoundError: no scalars below `work_dir`.
    """
    logs = sorted(Path(work_dir).glob("*/vis_data/scalars.json"))  # folders are named by their time
    if not logs:
        raise FileNotFoundError(
            f"{work_dir} holds no */vis_data/scalars.json: it is no training "
            "run's work directory, or nothing was logged yet"
        )
    losses: dict[int, float] = {}
    metrics: dict[int, dict[str, float]] = {}
    for log in logs:
        of_run: dict[int, list[float]] = {}
        for line in log.read_text().splitlines():
            entry: dict[str, Any] = json.loads(line)
            if "loss" in entry and "epoch" in entry:
                of_run.setdefault(int(entry["epoch"]), []).append(entry["loss"])
            elif "loss" not in entry and (found := {k: v for k, v in entry.items() if _last(k) in SCORES}):
                metrics[int(entry["step"])] = found
        losses.update({epoch: sum(values) / len(values) for epoch, values in of_run.items()})
    return losses, metrics


def plot_losses(work_dir: str | Path, path: str | Path) -> None:
    """Draws the training loss, and below it validation scores of each prediction, against the epoch.

    These are the mIoU in percent and, of a translation, the first of PSNR, mean angle and MAE that it has.

    Args:
        work_dir: of a training run.
        path: the PNG to write.
    """
    losses, metrics = read_scalars(work_dir)
    there = {_last(key) for entry in metrics.values() for key in entry}
    of_translation = [name for name in SCORES if name in there and name != "mIoU"][:1]
    names = [*(["mIoU"] if "mIoU" in there else []), *of_translation]
    figure = Figure(figsize=(7, 3.2 + 2.8 * len(names)), layout="constrained")
    axes = figure.subplots(1 + len(names), 1, sharex=True, squeeze=False)[:, 0]
    epochs = sorted(losses)
    axes[0].plot(epochs, [losses[epoch] for epoch in epochs], color="tab:blue")
    axes[0].set_ylabel("training loss")
    for each, name in zip(axes[1:], names, strict=True):
        _plot_score(each, name, metrics)
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for each in axes:
        each.grid(alpha=0.3)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _plot_score(axes: Axes, name: str, metrics: dict[int, dict[str, float]]) -> None:
    """One line per prediction, the ensemble's first and wide."""
    keys = {key for entry in metrics.values() for key in entry if _last(key) == name}
    for key in sorted(keys, key=lambda key: (key != name, key)):
        points = sorted(epoch for epoch in metrics if key in metrics[epoch])
        values = [metrics[epoch][key] for epoch in points]
        label = "ensemble" if key == name else key.removesuffix(f"/{name}")
        axes.plot(points, values, ".-", label=label, linewidth=2 if key == name else 1)
    axes.set_ylabel(f"validation {SCORES[name]}")
    axes.legend(frameon=False)


def _last(key: str) -> str:
    return key.rpartition("/")[2]
