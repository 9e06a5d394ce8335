"""Pictures with words: legends of classes, bars of values in their unit, and pictures side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rgbx.maps.colour import HOLE, colour_map

PAPER, INK, FRAME = (255, 255, 255), (32, 32, 32), (140, 140, 140)
CELSIUS = -273.15  # what is added to kelvins
TEXT, TITLE, GAP = 11, 13, 8  # pixels
BAR = 14  # pixels wide
STOPS = 9  # of a bar's gradient
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Bar:
    """What the colours of a picture stand for.

    Attributes:
        limits: the values of the lowest and the highest colour.
        scale: see `rgbx.maps.colour.colour_map`.
        sign: of the unit, see `sign_of`; "" for a bare number.
    """

    limits: tuple[float, float]
    scale: str
    sign: str = ""

    def stops(self) -> list[str]:
        """Colours of equal steps from the lowest value to the highest, such as "#fde725", for a gradient."""
        colours = colour_map(np.linspace(0, 1, STOPS)[None], None, self.scale, (0.0, 1.0))[0]
        return [f"#{bytes(colour).hex()}" for colour in colours.tolist()]


@dataclass(frozen=True)
class Panel:
    """One picture of several: its title, uint8 RGB [H, W, 3], and what its colours stand for."""

    title: str
    picture: np.ndarray
    bar: Bar | None = None


def share_panel(
    title: str,
    values: np.ndarray,  # [H, W], 0..1
) -> Panel:
    """Of values of which 1 is the most there can be, such as probabilities."""
    bar = Bar((0.0, 1.0), "viridis")
    return Panel(title, colour_map(values, None, bar.scale, bar.limits), bar)


def sign_of(unit: str, add: float | None = None) -> str:
    """The sign of a unit, if it has one: "m", and "°C" of a sensor whose files hold kelvins, as what is added says.

    Args:
        unit: see `rgbx.maps.MapSpec`.
        add: see `rgbx.maps.Encoding`.
    """
    return {"metre": "m", "sensor": "°C" if add == CELSIUS else ""}.get(unit, "")


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two values, 1, 2 or 5 times a power of ten apart, at most so many."""
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (power, 2 * power, 5 * power, 10 * power):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    return [round(k * step, 12) for k in range(first, last + 1)]


def draw_bar(bar: Bar, height: int) -> np.ndarray:
    """A bar of the colours with numbers and unit beside it, the largest on top, uint8 RGB [height, w, 3].

    Args:
        bar: what the colours stand for.
        height: in pixels.
    """
    low, high = bar.limits
    span = high - low if high > low else 1.0
    numbers = [value for value in ticks(low, high, max(2, min(6, height // (2 * TEXT)))) if low <= value <= high]
    words = [f"{value:g}" for value in numbers]
    if words:
        words[-1] = f"{words[-1]} {bar.sign}".strip()
    width = GAP + BAR + 6 + max((_width(word, TEXT) for word in words), default=0) + 2
    image = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(image)
    top, bottom = TEXT // 2, height - 1 - TEXT // 2
    values = np.linspace(high, low, bottom - top + 1)[:, None].repeat(BAR, axis=1)
    image.paste(Image.fromarray(colour_map(values, None, bar.scale, (low, low + span))), (GAP, top))
    pen.rectangle((GAP, top, GAP + BAR - 1, bottom), outline=FRAME)
    for value, word in zip(numbers, words, strict=True):
        y = bottom - (value - low) / span * (bottom - top)
        pen.line((GAP + BAR, y, GAP + BAR + 3, y), fill=INK)
        pen.text((GAP + BAR + 6, y), word, fill=INK, font=_font(TEXT), anchor="lm")
    return np.asarray(image)


def draw_legend(entries: Mapping[str, Sequence[int]], width: int) -> np.ndarray:
    """Names beside squares of their colours, in rows of at most `width` pixels, uint8 RGB [h, width, 3].

    Args:
        entries: name to [r, g, b], in order.
        width: in pixels; a name that is longer is cut.
    """
    names = {name: _cut(name, width - TEXT - 6) for name in entries}
    column = min(width, max((_width(name, TEXT) for name in names.values()), default=0) + TEXT + 6 + 2 * GAP)
    across = max(1, (width + 2 * GAP) // max(column, 1))
    line = TEXT + 7
    rows = -(-len(entries) // across)
    image = Image.new("RGB", (width, max(1, rows * line)), PAPER)
    pen = ImageDraw.Draw(image)
    for place, (name, colour) in enumerate(entries.items()):
        x, y = place % across * column, place // across * line + 3
        pen.rectangle((x, y, x + TEXT - 1, y + TEXT - 1), fill=tuple(colour), outline=FRAME)
        pen.text((x + TEXT + 6, y + TEXT / 2), names[name], fill=INK, font=_font(TEXT), anchor="lm")
    return np.asarray(image)


def draw_strip(
    panels: Sequence[Panel], legend: Mapping[str, Sequence[int]] | None = None, *, height: int | None = None
) -> np.ndarray:
    """Pictures side by side, with their titles above, their bars beside them and a legend below, uint8 RGB [h, w, 3].

    Args:
        panels: from left to right.
        legend: name to [r, g, b].
        height: of the pictures, in pixels; None leaves each as it is.

    Raises:
        ValueError: a height below 1.
    """
    if height is not None and height < 1:
        raise ValueError(f"the height of a strip is {height}; expected at least 1 pixel")
    columns = [_column(panel, height) for panel in panels]
    tallest = max(len(column) for column in columns)
    parts = [_filled(column, tallest) for column in columns]
    space = np.full((tallest, GAP, 3), PAPER, np.uint8)
    row = np.concatenate([part for column in parts for part in (space, column)][1:], axis=1)
    below = [np.full((GAP, row.shape[1], 3), PAPER, np.uint8), draw_legend(legend, row.shape[1])] if legend else []
    return np.pad(np.concatenate([row, *below]), ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=PAPER[0])


def with_bar(panel: Panel) -> np.ndarray:
    """A picture and its bar, uint8 RGB [H, w, 3]."""
    if panel.bar is None:
        return panel.picture
    bar = draw_bar(panel.bar, max(len(panel.picture), 4 * TEXT))
    return np.concatenate([_filled(panel.picture, len(bar)), bar], axis=1)


def with_legend(
    picture: np.ndarray,  # uint8 RGB [H, W, 3]
    legend: Mapping[str, Sequence[int]],
) -> np.ndarray:
    """A picture and a legend below it, uint8 RGB [h, W, 3]."""
    space = np.full((GAP, picture.shape[1], 3), PAPER, np.uint8)
    return np.concatenate([picture, space, draw_legend(legend, picture.shape[1])])


def holes_legend(
    masks: Sequence[np.ndarray],  # bool [...], true where measured
) -> dict[str, Sequence[int]]:
    """The entry of a legend for what was not measured, where there is any."""
    return {NOT_MEASURED: HOLE} if any(not mask.all() for mask in masks) else {}


def _column(panel: Panel, height: int | None) -> np.ndarray:
    """A panel below its title, uint8 RGB [h, w, 3]."""
    picture = panel.picture
    if height is not None and len(picture) != height:
        width = max(1, round(picture.shape[1] * height / len(picture)))
        how = cv2.INTER_AREA if height < len(picture) else cv2.INTER_NEAREST
        picture = cv2.resize(picture, (width, height), interpolation=how)
    shown = with_bar(Panel(panel.title, picture, panel.bar))
    head = Image.new("RGB", (shown.shape[1], TITLE + 6), PAPER)
    pen = ImageDraw.Draw(head)
    pen.text((0, TITLE / 2 + 1), _cut(panel.title, shown.shape[1], TITLE), fill=INK, font=_font(TITLE), anchor="lm")
    return np.concatenate([np.asarray(head), shown])


def _filled(
    picture: np.ndarray,  # uint8 RGB [h, w, 3]
    height: int,
) -> np.ndarray:
    """A picture with paper below it, uint8 RGB [height, w, 3]."""
    return np.pad(picture, ((0, height - len(picture)), (0, 0), (0, 0)), constant_values=PAPER[0])


def _cut(text: str, width: int, size: int = TEXT) -> str:
    """A text that fits into so many pixels, cut behind "…" if need be."""
    if _width(text, size) <= width:
        return text
    return next((f"{text[:end]}…" for end in range(len(text), 0, -1) if _width(f"{text[:end]}…", size) <= width), "")


def _width(text: str, size: int) -> int:
    return math.ceil(_font(size).getlength(text))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans where matplotlib, which has it, is installed; else Pillow's own, of fewer letters."""
    library = find_spec("matplotlib")
    file = (
        Path(library.origin).with_name("mpl-data") / "fonts/ttf/DejaVuSans.ttf" if library and library.origin else None
    )
    if file is not None and file.is_file():
        return ImageFont.truetype(str(file), size)
    found = ImageFont.load_default(size)
    if not isinstance(found, ImageFont.FreeTypeFont):
        raise ImportError("Pillow here has no FreeType, which draws text: install a wheel of pillow >= 10.1 from PyPI")
    return found
