"""Channel shuffle and pixel shift, the two parameter-free exchange operations between modalities, and class ids."""

from rgbx.ops.functional import (
    DEFAULT_FRACTION,
    MOST_CLASSES,
    channel_group,
    channel_shuffle,
    pixel_shift,
    resized_argmax,
    shift_add_shuffle,
)

__all__ = [
    "DEFAULT_FRACTION",
    "MOST_CLASSES",
    "channel_group",
    "channel_shuffle",
    "pixel_shift",
    "resized_argmax",
    "shift_add_shuffle",
]
