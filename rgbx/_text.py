"""Words for people: titles of predictions, the name that a misspelt one is closest to, percentages, tables, CSV.

Wherever scores or pictures are shown, three things are told apart. "RGB branch": what a model predicts from RGB while
it is given all its modalities. "RGB alone": what it predicts when RGB is all that it is given. "both", of more than two
"all": what it predicts from all of them.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

LONGEST_NAME = 100  # that is compared with others
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # beginnings of what a spreadsheet would run
_TITLES = {"rgb": "RGB", "hha": "HHA"}
# C0 but for tab, line feed and the return of progress bars, DEL, C1, halves of characters, and what turns the direction
# of writing; of escape sequences colours pass, which say nothing but colours
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]|\x1b(?!\\[[0-9;]*m)"
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def visible(text: str) -> str:
    r"""Text in which control characters stand as Python writes them, "\x1b"."""
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


def modality_title(name: str) -> str:
    """A modality as people read it: "rgb" as "RGB"."""
    return _TITLES.get(name, name.replace("_", " "))


def branch_title(name: str) -> str:
    """What a model that is given all its modalities predicts from one of them: "RGB branch"."""
    return f"{modality_title(name)} branch"


def mask_title(name: str) -> str:
    """Where a network believes a modality: "mask of RGB"."""
    return f"mask of {modality_title(name)}"


def subset_title(modalities: Sequence[str], known: Collection[str]) -> str:
    """What a model is given: "RGB alone", "both", "all", or of more than two "RGB + thermal".

    Args:
        modalities: that are present.
        known: all that there are.
    """
    if len(modalities) == 1:
        return f"{modality_title(modalities[0])} alone"
    if len(modalities) == len(known):
        return "both" if len(known) == 2 else "all"
    return " + ".join(map(modality_title, modalities))


def subset_titles(subsets: Iterable[str]) -> dict[str, str]:
    """The title of each subset as result files name it, such as "rgb+depth".

    Together they hold all modalities; a single one is not called "both" or "all", but by its modalities.
    """
    parts = {subset: subset.split("+") for subset in subsets}
    known = {name for names in parts.values() for name in names} if len(parts) > 1 else ()
    return {subset: subset_title(names, known) for subset, names in parts.items()}


def nearest(name: str, known: Iterable[str]) -> str:
    """ "; did you mean ...?", or nothing where no known name is close, upper and lower case aside."""
    names = {text.lower(): text for text in known}
    match = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6) if len(name) <= LONGEST_NAME else []
    return f"; did you mean {names[match[0]]!r}?" if match else ""


def one_of(known: Iterable[object], found: object) -> str:
    """ "a, b, c; did you mean 'b'?": the names that may stand where something else was found."""
    names = list(map(str, known))
    return f"{', '.join(names)}{nearest(str(found), names)}"


def nearest_file(path: Path) -> str:
    """The same of a file that is not there, among those of its folder with its suffix.

    Where its folder is not there either, among the files of its name in that folder's neighbours.
    """
    if not path.parent.exists():
        found = (folder / path.name for folder in path.parent.parent.glob("*"))
        return nearest(str(path), (str(file) for file in found if file.exists()))
    return nearest(path.name, (item.name for item in path.parent.glob(f"*{path.suffix}")))


def check_options(given: Iterable[object], known: Collection[str], what: str) -> None:
    """Refuses options that nothing would read.

    Raises:
        ValueError: "WHAT has no option NAME", with the nearest one and all that there are.
    """
    for name in given:
        if name not in known:
            raise ValueError(f"{what} has no option {name!r}; it has {list(known)}{nearest(str(name), known)}")


def percent(fraction: float) -> str:
    """A fraction in percent with one decimal, a dash for NaN."""
    return "-" if math.isnan(fraction) else f"{100 * fraction:.1f}"


def csv_text(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A CSV file: numbers in full precision, nothing for None, and an apostrophe before texts that spreadsheets run."""
    return "".join(f"{','.join(map(_csv_cell, row))}\n" for row in (header, *rows))


def _csv_cell(value: object) -> str:
    text = "" if value is None else str(value)
    if isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER.fullmatch(value):
        text = f"'{text}"
    quoted = text.replace('"', '""')
    return f'"{quoted}"' if any(sign in text for sign in ',"\r\n') else text  # csv.writer leaves a lone \r unquoted


def markdown_rows(rows: Iterable[Sequence[str]]) -> str:
    """Lines of a Markdown table, heading and rule among them; a bar in a cell would end it."""
    return "\n".join(f"| {' | '.join(cell.replace('|', '¦') for cell in row)} |" for row in rows)


def text_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, rule_before_last: bool = False, texts: int = 1
) -> str:
    """Aligned columns for a terminal: the first `texts` of them to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    rule = "  ".join("-" * width for width in widths)

    def line(cells: Sequence[str]) -> str:
        columns = enumerate(zip(cells, widths, strict=True))
        return "  ".join(cell.ljust(width) if i < texts else cell.rjust(width) for i, (cell, width) in columns)

    lines = [line(header), rule, *(line(row) for row in rows)]
    if rule_before_last:
        lines.insert(-1, rule)
    return "\n".join(lines)
