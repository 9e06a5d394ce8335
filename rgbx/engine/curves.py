"""Loss and validation score over the epochs of a run, from the scalars that mmengine logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


def read_scalars(work_dir: str | Path) -> tuple[dict[int, float], dict[int, dict[str, float]]]:
    """Mean training loss and validation metrics by epoch, over a run and its resumptions.

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
            elif "mIoU" in entry:
                metrics[int(entry["step"])] = {k: v for k, v in entry.items() if "mIoU" in k}
        losses.update({epoch: sum(values) / len(values) for epoch, values in of_run.items()})
    return losses, metrics


def plot_losses(work_dir: str | Path, path: str | Path) -> None:
    """Draws the training loss, and below it the validation mIoU in percent, against the epoch.

    Args:
        work_dir: of a training run.
        path: the PNG to write.
    """
    losses, metrics = read_scalars(work_dir)
    figure = Figure(figsize=(7, 6 if metrics else 3.2), layout="constrained")
    axes = figure.subplots(2 if metrics else 1, 1, sharex=True, squeeze=False)[:, 0]
    epochs = sorted(losses)
    axes[0].plot(epochs, [losses[epoch] for epoch in epochs], color="tab:blue")
    axes[0].set_ylabel("training loss")
    if metrics:
        for key in sorted({key for entry in metrics.values() for key in entry}, key=lambda key: (key != "mIoU", key)):
            points = sorted(epoch for epoch in metrics if key in metrics[epoch])
            label = "ensemble" if key == "mIoU" else key.removesuffix("/mIoU")
            axes[1].plot(
                points,
                [metrics[epoch][key] for epoch in points],
                ".-",
                label=label,
                linewidth=2 if key == "mIoU" else 1,
            )
        axes[1].set_ylabel("validation mIoU (%)")
        axes[1].legend(frameon=False)
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for each in axes:
        each.grid(alpha=0.3)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
