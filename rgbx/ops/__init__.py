"""Channel shuffle and pixel shift, the parameter-free exchange between modalities, and resized scores."""

from rgbx.ops.functional import (
    DEFAULT_FRACTION,
    MOST_CLASSES,
    channel_group,
    channel_shuffle,
    pixel_shift,
    resized_argmax,
    resized_cross_entropy,
    resized_is_compiled,
    shift_add_shuffle,
)

__all__ = [
    "DEFAULT_FRACTION",
    "MOST_CLASSES",
    "channel_group",
    "channel_shuffle",
    "pixel_shift",
    "resized_argmax",
    "resized_cross_entropy",
    "resized_is_compiled",
    "shift_add_shuffle",
]
