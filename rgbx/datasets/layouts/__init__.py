"""Which known layout a folder has, or how it may be declared."""

from rgbx.datasets.layouts.proposal import Proposal, propose
from rgbx.datasets.layouts.recognition import build_dataset, recognise, split_names
from rgbx.datasets.layouts.table import LAYOUTS, Layout

__all__ = ["LAYOUTS", "Layout", "Proposal", "build_dataset", "propose", "recognise", "split_names"]
