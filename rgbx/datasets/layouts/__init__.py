"""Which known layout a folder has."""

from rgbx.datasets.layouts.recognition import build_dataset, recognise, split_names
from rgbx.datasets.layouts.table import LAYOUTS, Layout

__all__ = ["LAYOUTS", "Layout", "build_dataset", "recognise", "split_names"]
