"""Loss and validation score over the epochs of a run, from the scalars that mmengine logs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rgbx._text import branch_title
from rgbx._whole import writing
from rgbx.tasks import Score


def read_scalars(work_dir: str | Path) -> tuple[dict[int, float], dict[int, dict[str, float]]]:
    """Mean training loss and the metrics of validations by epoch, over a run and its resumptions.

    Where steps of an epoch were logged twice, as after a kill in its middle, the later log counts.

    Raises:
        FileNotFoundError: no scalars below `work_dir`.
        ValueError: a line of them is damaged.
    """
    logs = sorted(Path(work_dir).glob("*/vis_data/scalars.json"))  # folders are named by their time
    if not logs:
        raise FileNotFoundError(
            f"{work_dir} holds no */vis_data/scalars.json: it is no training "
            "run's work directory, or nothing was logged yet"
        )
    losses: dict[int, dict[int, float]] = {}  # by epoch and step
    metrics: dict[int, dict[str, float]] = {}
    for log in logs:
        begun: set[int] = set()
        for entry in _entries(log):
            if "loss" in entry and "epoch" in entry:
                epoch, step = int(entry["epoch"]), int(entry.get("step", 0))
                if epoch not in begun:
                    before = losses.get(epoch, {})
                    losses[epoch] = {earlier: loss for earlier, loss in before.items() if earlier < step}
                    begun.add(epoch)
                losses[epoch][step] = entry["loss"]
            elif "loss" not in entry and "step" in entry:
                metrics[int(entry.pop("step"))] = entry
    return {epoch: sum(values.values()) / len(values) for epoch, values in losses.items()}, metrics


def _entries(log: Path) -> Iterator[dict[str, Any]]:
    """The lines of a log; the last one may be torn, as a kill leaves it."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                return
            raise ValueError(f"{log}, line {number}: not valid JSON ({error})") from error
        whole = (type(entry.get(key, 0)) is int for key in ("epoch", "step")) if isinstance(entry, dict) else (False,)
        if not all(whole) or type(entry.get("loss", 0)) not in (int, float):
            raise ValueError(
                f"{log}, line {number}: expected an object with numbers for loss, epoch and step, found {line[:60]}"
            )
        yield entry


def plot_losses(work_dir: str | Path, path: str | Path, scores: Mapping[str, Score]) -> None:
    """Draws the training loss, and below it validation scores of each prediction, against the epoch.

    Args:
        work_dir: of a training run.
        path: the PNG to write.
        scores: those drawn, by the ensemble's metric, such as "mIoU" or, of several heads, "depth/MAE".
    """
    losses, metrics = read_scalars(work_dir)
    drawn = {key: score for key, score in scores.items() if any(key in entry for entry in metrics.values())}
    figure = Figure(figsize=(7, 3.2 + 2.8 * len(drawn)), layout="constrained")
    axes = figure.subplots(1 + len(drawn), 1, sharex=True, squeeze=False)[:, 0]
    epochs = sorted(losses)
    axes[0].plot(epochs, [losses[epoch] for epoch in epochs], color="tab:blue")
    axes[0].set_ylabel("training loss")
    for each, (key, score) in zip(axes[1:], drawn.items(), strict=True):
        _plot_score(each, key, score, metrics)
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for each in axes:
        each.grid(alpha=0.3)
    with writing(Path(path), suffix=Path(path).suffix or ".png") as file:
        figure.savefig(file.name, dpi=120)


def _plot_score(axes: Axes, key: str, score: Score, metrics: Mapping[int, Mapping[str, float]]) -> None:
    """One line per prediction, the ensemble's first and wide; branches are named between head and score."""
    head = key.removesuffix(score.name)
    there = {name for entry in metrics.values() for name in entry}
    own = {name for name in there if name.startswith(head) and name.endswith(f"/{score.name}")} | {key}
    for name in sorted(own, key=lambda name: (name != key, name)):
        points = sorted(epoch for epoch in metrics if name in metrics[epoch])
        values = [metrics[epoch][name] for epoch in points]
        label = "ensemble" if name == key else branch_title(name[len(head) :].removesuffix(f"/{score.name}"))
        axes.plot(points, values, ".-", label=label, linewidth=2 if name == key else 1)
    axes.set_ylabel(f"validation {head}{f'{score.name} (%)' if score.percent else score.label}")
    axes.legend(frameon=False)
