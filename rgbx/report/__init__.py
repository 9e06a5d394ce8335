"""A result file as a page to read, with its tables as CSV files; predictions as a page to look through."""

from __future__ import annotations

import shutil
from pathlib import Path

from rgbx.evaluate.result import read_result
from rgbx.report.gallery import add_to_gallery, write_gallery
from rgbx.report.page import render_page
from rgbx.report.tables import write_csv_files

__all__ = ["add_to_gallery", "write_gallery", "write_report"]


def write_report(result_file: str | Path, folder: str | Path | None = None) -> Path:
    """Writes report.html, the CSV files, and copies of the result file and its pictures.

    Files of an earlier report in the same folder are replaced.

    Args:
        result_file: see `rgbx.evaluate.result`; the paths of its pictures start beside it.
        folder: made where absent; by default the folder of the result file.

    Returns:
        The path of report.html, which needs none of the other files.

    Raises:
        ValueError: the result file lacks a field, or a picture is no PNG.
        FileNotFoundError: the result file or one of its pictures is not there.
    """
    result_file = Path(result_file)
    folder = result_file.parent if folder is None else Path(folder)
    result = read_result(result_file)
    html = render_page(result, result_file.parent)
    folder.mkdir(parents=True, exist_ok=True)
    _copy(result_file, folder / "results.json")
    for head in result["heads"].values():
        for entry in head.get("pictures") or []:
            for name in entry["files"].values():
                _copy(result_file.parent / name, folder / name)
    write_csv_files(result, folder)
    page = folder / "report.html"
    page.write_text(html, encoding="utf-8")
    return page


def _copy(source: Path, target: Path) -> None:
    if target.exists() and target.samefile(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
