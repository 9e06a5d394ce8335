"""The tables of a report as CSV files: full precision, fractions of 1, empty where nothing was measured."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from rgbx.evaluate.result_reading import Result
from rgbx.report import tables

TABLES = {
    "headline.csv": tables.headline_table,
    "classes.csv": tables.class_table,
    "subsets.csv": tables.subset_table,
    "robustness.csv": tables.robustness_table,
    "reliability.csv": tables.reliability_table,
    "confusion.csv": tables.confusion_table,
    "images.csv": tables.image_table,
}


def write_csv_files(result: Result, folder: str | Path) -> list[Path]:
    """Writes each table that the result has and returns the files; the columns are the keys of the tables."""
    written = []
    for name, build in TABLES.items():
        table = build(result)
        if table is None:
            continue
        path = Path(folder, name)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(table.columns), extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows([{key: _cell(value) for key, value in row.items()} for row in table.rows])
        written.append(path)
    return written


def _cell(value: Any) -> Any:
    return repr(value) if isinstance(value, float) else value
