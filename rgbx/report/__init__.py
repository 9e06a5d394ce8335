"""A result file as a page to read, with its tables as CSV files; predictions as a page to look through."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from rgbx.report.gallery import add_to_gallery, write_gallery

if TYPE_CHECKING:
    from rgbx.report.page import write_report

__all__ = ["add_to_gallery", "write_gallery", "write_report"]


def __getattr__(name: str) -> object:
    """`write_report` brings matplotlib only when it is asked for: a page of predictions does without."""
    if name == "write_report":
        return importlib.import_module("rgbx.report.page").write_report
    raise AttributeError(f"module 'rgbx.report' has no attribute {name!r}")
