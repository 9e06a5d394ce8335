"""Names for the values that configs, batches and checkpoints bring: what they hold is checked where it is used."""

from collections.abc import Mapping
from typing import Any

Options = Mapping[str, Any]  # keyword arguments, as configs and recipes write them
Meta = Mapping[str, Any]  # a dataset's `metainfo`, or what a result says of a target
Batch = Mapping[str, Any]  # collated samples in their own units: maps [N, ...], `sample_id`, `paths`
Scores = Mapping[str, Any]  # of one prediction by their names, and what a task keeps beside
State = Mapping[str, Any]  # what a checkpoint's file holds


class InputWarning(UserWarning):
    """A map holds what a model was not made for; it points at the code that gave it."""
