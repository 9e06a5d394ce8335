"""Maps: what one is, and how files hold it."""

from rgbx.maps.encoding import DEPTH, HHA, RGB, THERMAL, Encoding
from rgbx.maps.files import read_image, replace_file
from rgbx.maps.labels import LabelEncoding
from rgbx.maps.spec import IGNORE_INDEX, MASKS, METRE_STEPS, RELATIVE_DEPTH, STANDARD_MAPS, TIMES, UNITS, MapSpec

__all__ = [
    "DEPTH",
    "HHA",
    "IGNORE_INDEX",
    "MASKS",
    "METRE_STEPS",
    "RELATIVE_DEPTH",
    "RGB",
    "STANDARD_MAPS",
    "THERMAL",
    "TIMES",
    "UNITS",
    "Encoding",
    "LabelEncoding",
    "MapSpec",
    "read_image",
    "replace_file",
]
