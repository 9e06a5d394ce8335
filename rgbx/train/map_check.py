"""Whether a dataset gives the maps that a model takes, with values that its ranges cover, by its first sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from rgbx._text import nearest

MOST_OUTSIDE = 0.1  # share of a map's values; hot spots of a thermal image may lie beyond its range on purpose


def check_maps(model: Any, dataset: Any) -> list[str]:
    """Compares a dataset that is trained on with a model.

    Args:
        model: with `modalities`; of a translation also `target` and a preprocessor with `ranges`.
        dataset: gives packed samples.

    Returns:
        Warnings: maps of which more than a tenth of the first sample lies outside the range that the model gives them.

    Raises:
        ValueError: the samples lack a map of the model.
    """
    sample = dataset[0]
    wanted = [*model.modalities, *([model.target] if getattr(model, "target", None) else [])]
    given = getattr(dataset, "metainfo", {}).get("maps", sample)
    for name in wanted:
        if name not in sample:
            there = [other for other in given if other in sample]
            raise ValueError(
                f"the model takes {name!r}, but {type(dataset).__name__} gives {', '.join(there)}{nearest(name, there)}"
            )
    ranges = getattr(getattr(model, "data_preprocessor", None), "ranges", {})
    return list(_outside({name: ranges[name] for name in wanted if name in ranges}, sample))


def _outside(ranges: Mapping[str, Any], sample: Mapping[str, Any]) -> Iterator[str]:
    for name, span in ranges.items():
        values: Tensor = sample[name]
        valid = sample.get(f"{name}_valid")
        values = values if valid is None else values[valid.expand_as(values)]
        low, high = span.bounds.tolist()
        share = float(((values < low) | (values > high)).double().mean()) if values.numel() else 0.0
        if share > MOST_OUTSIDE:
            yield (
                f"{100 * share:.0f} % of {name} in the first sample lies outside {low:g}..{high:g}, from "
                f"{float(values.min()):g} to {float(values.max()):g}, and counts as the nearer end; `ranges` of the "
                "model says otherwise"
            )
