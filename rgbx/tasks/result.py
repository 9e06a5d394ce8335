"""What a head says of one frame, in arrays and pictures; made by `Task.result`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rgbx._text import branch_title, nearest
from rgbx._types import Meta
from rgbx.maps import IGNORE_INDEX, Encoding, MapSpec
from rgbx.maps.colour import (
    class_legend,
    colour_input,
    colour_labels,
    colour_map,
    overlay_labels,
    scale_of,
    usual_limits,
)
from rgbx.maps.drawing import Bar, Panel, share_panel, sign_of, with_bar, with_legend
from rgbx.maps.files import encode_png, replace_file
from rgbx.maps.palette import default_palette

if TYPE_CHECKING:
    from rgbx.tasks.base import Task


ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class Answer:
    """What a task makes a `HeadResult` of.

    Attributes:
        head: its name.
        values: of each branch and the ensemble, as `rgbx.tasks.Prediction` has them: [H, W] or [C, H, W].
        probability: the ensemble's, float32 [K, H, W]; None where it was not kept.
        confidence: its largest over the classes, float32 [H, W], by branch; those that are asked for later are added.
        inputs: modality to [C, H, W] in its unit, and ``NAME_valid`` bool [1, H, W].
        specs: what the modalities are, where somebody says it.
        about: ``classes`` and ``palette``, ``maps`` and ``stored`` of the dataset of the training.
        again: probabilities float32 [K, H, W] of each of some branches, computed anew by one pass.
    """

    head: str
    values: Mapping[str, np.ndarray]
    probability: np.ndarray | None
    confidence: dict[str, np.ndarray]
    inputs: Mapping[str, np.ndarray]
    specs: Mapping[str, MapSpec]
    about: Meta
    again: Callable[[Iterable[str]], Iterator[np.ndarray]]


class HeadResult:
    """What one head, or one branch of it, says of a frame.

    Args:
        task: of the head.
        answer: of all its branches.
        branch: "ensemble", or a modality.

    Attributes:
        branch: whose values these are.
    """

    def __init__(self, task: Task, answer: Answer, branch: str) -> None:
        self.task, self.answer, self.branch = task, answer, branch

    @property
    def values(self) -> np.ndarray:
        """[H, W], or [H, W, C] of more than one channel."""
        found = self.answer.values[self.branch]
        planes = found if found.ndim == 2 else found.transpose(1, 2, 0)
        return planes[..., 0] if planes.shape[2:] == (1,) else planes

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.values.shape[:2]
        return height, width

    @property
    def branches(self) -> dict[str, HeadResult]:
        """What each branch answers, by its modality's name; none where they are merged to one branch."""
        return {name: type(self)(self.task, self.answer, name) for name in self.answer.values if name != ENSEMBLE}

    @property
    def title(self) -> str:
        """What stands above its picture."""
        by = "" if self.branch == ENSEMBLE else f"{branch_title(self.branch)}: "
        return f"{by}predicted {self.answer.head}"

    def legend(self) -> dict[str, Sequence[int]]:
        """Name to colour of what the picture shows; empty where colours need no names."""
        return self.task.legend([self.answer.values[self.branch]], self.answer.about)

    def picture(self, *, legend: bool = True) -> np.ndarray:
        """uint8 RGB [H, W, 3], with a legend beside or below it where colours need one."""
        drawn = self.task.draw(self.answer.values[self.branch], self.answer.about)
        names = self.legend() if legend else {}
        return with_legend(drawn, names) if names else drawn

    def panels(self) -> list[Panel]:
        """What a page or strip shows of it, without the legend."""
        return [Panel(self.title, self.picture(legend=False))]

    def background(self, name: str = "rgb") -> np.ndarray:
        """An input as a picture, uint8 RGB [H, W, 3]; the first where the frame has none of that name.

        Raises:
            ValueError: an input that the frame does not have.
        """
        inputs = self.answer.inputs
        there = [key for key in inputs if not key.endswith("_valid")]
        if name not in there and name != "rgb":
            raise ValueError(f"the frame has no input {name!r}; it has {', '.join(there)}")
        chosen = name if name in there else there[0]
        return colour_input(chosen, inputs[chosen], inputs.get(f"{chosen}_valid"), self.answer.specs.get(chosen))

    def facts(self) -> dict[str, Any]:
        """What is worth a table, in plain values."""
        return {}

    def save(self, path: str | Path) -> None:
        """Writes a picture as PNG."""
        replace_file(png_path(path), encode_png(self.picture()), many=True)

    def __repr__(self) -> str:
        height, width = self.size
        return f"<{type(self).__name__} {self.answer.head!r} of {self.branch}, {height}×{width}>"


class Areas(dict[str, float]):
    """Shares by the names of classes, which are told where another is asked for."""

    def __missing__(self, name: str) -> float:
        raise KeyError(f"no class {name!r}; the classes are {', '.join(self)}{nearest(str(name), self)}")


class ClassesResult(HeadResult):
    """One of K classes for every pixel."""

    @property
    def ids(self) -> np.ndarray:
        """Class ids, uint8 [H, W]."""
        return self.answer.values[self.branch]

    @property
    def probabilities(self) -> np.ndarray:
        """float32 [K, H, W], summing to 1 over the classes.

        Of a single frame they are kept, of one of many computed anew, by one more pass, whenever they are asked for,
        unless `predict` was told ``keep_probability=True``: 40 classes take 49 MB of a frame of 640×480 pixels. Those
        of a branch are always computed anew.
        """
        kept = self.answer.probability if self.branch == ENSEMBLE else None
        return next(self.answer.again([self.branch])) if kept is None else kept

    @property
    def confidence(self) -> np.ndarray:
        """The probability of the class that was chosen, float32 [H, W].

        The first branch that is asked for its own takes one more pass, which gives those of all, and they are kept.
        """
        kept = self.answer.confidence
        if self.branch not in kept:
            absent = [name for name in self.answer.values if name not in kept]
            kept.update(zip(absent, (each.max(axis=0) for each in self.answer.again(absent)), strict=True))
        return kept[self.branch]

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, as the checkpoint has them, or else "class 0" to "class K-1"."""
        names = tuple(self.answer.about.get("classes", ()))
        return names if len(names) == self.task.channels else tuple(f"class {k}" for k in range(self.task.channels))

    @property
    def palette(self) -> list[list[int]]:
        """Red, green and blue 0..255 of each class, as the checkpoint has them, or else `default_palette`."""
        found = self.answer.about.get("palette", ())
        return [list(c) for c in found] if len(found) == self.task.channels else default_palette(self.task.channels)

    @property
    def areas(self) -> dict[str, float]:
        """Share of the pixels of every class, by its name, in the order of the classes; they sum to 1."""
        counts = np.bincount(self.ids.ravel(), minlength=self.task.channels)
        return Areas({name: float(counts[k] / self.ids.size) for k, name in enumerate(self.classes)})

    def legend(self) -> dict[str, Sequence[int]]:
        """Name to colour of the classes that occur, in the order of the classes."""
        return class_legend([self.ids], self._about)

    def picture(self, *, legend: bool = True) -> np.ndarray:
        """The classes in the colours of the palette, uint8 RGB [H, W, 3], with their names below."""
        drawn = colour_labels(self.ids, self.palette)
        return with_legend(drawn, self.legend()) if legend else drawn

    def panels(self) -> list[Panel]:
        """The overlay on the first input, and the confidence."""
        return [Panel(self.title, self.overlay()), share_panel(f"confidence of {self.answer.head}", self.confidence)]

    def facts(self) -> dict[str, Any]:
        """Mean confidence, and id, name, colour and share of the pixels of each class that occurs."""
        present = [
            {"id": k, "name": name, "colour": list(self.palette[k]), "share": share}
            for k, (name, share) in enumerate(self.areas.items())
            if share
        ]
        return {"confidence": float(self.confidence.mean()), "classes": present}

    def overlay(self, alpha: float = 0.5, on: str = "rgb") -> np.ndarray:
        """The classes over an input, uint8 RGB [H, W, 3].

        Args:
            alpha: share of the classes' colours, 0 to 1.
            on: the input; the frame's first where it has no rgb.

        Raises:
            ValueError: another alpha, or an input that the frame does not have.
        """
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha is {alpha}; expected 0, the input alone, to 1, the classes alone")
        return overlay_labels(self.ids, self.palette, self.background(on), alpha)

    def save(self, path: str | Path) -> None:
        """Writes the class ids as a grey PNG of 8 bits.

        Raises:
            ValueError: another suffix than .png, since others lose ids.
        """
        replace_file(png_path(path), encode_png(self.ids), many=True)

    @cached_property
    def _about(self) -> Meta:
        return {"classes": self.classes, "palette": self.palette, "ignore_index": IGNORE_INDEX}


class MapResult(HeadResult):
    """A map of values in a unit: float32 [H, W], or [H, W, C] of colours and normals."""

    @property
    def spec(self) -> MapSpec:
        """What the values mean.

        Raises:
            ValueError: a map that neither the head, the checkpoint nor a standard describes.
        """
        task: Any = self.task
        found: MapSpec = task.spec(self.answer.about)
        return found

    @property
    def unit(self) -> str:
        """ "metre", "unit_vector", "rgb8", "relative" or "sensor", see `rgbx.maps.MapSpec`."""
        return self.spec.unit

    @property
    def bar(self) -> Bar | None:
        """What the colours of its picture stand for; None for colours and normals, which are shown as they are."""
        if self.spec.channels > 1:
            return None
        options = self.answer.about.get("stored", {}).get(self.spec.name) or {}
        return map_bar(self.spec, self.values, add=options.get("add"))

    def picture(self, *, legend: bool = True, limits: tuple[float, float] | None = None) -> np.ndarray:
        """uint8 RGB [H, W, 3], with a bar of its values beside it.

        Args:
            legend: whether the bar is drawn.
            limits: values of the lowest and highest colour, such as (0, 10) for all frames of a video; by default the
                2nd and 98th percentile.
        """
        bar = self.bar
        if bar is None:
            return super().picture(legend=False)
        bar = bar if limits is None else replace(bar, limits=limits)
        drawn = colour_map(self.values, None, bar.scale, bar.limits)
        return with_bar(Panel("", drawn, bar)) if legend else drawn

    def panels(self) -> list[Panel]:
        """The map, and what its colours stand for."""
        return [Panel(self.title, self.picture(legend=False), self.bar)]

    def facts(self) -> dict[str, Any]:
        """Unit, and of one channel the least, the median and the largest value."""
        if (bar := self.bar) is None:
            return {"unit": self.unit}
        least, median, largest = (float(value) for value in np.percentile(self.values, (0, 50, 100)))
        return {"unit": self.unit, "sign": bar.sign, "least": least, "median": median, "largest": largest}

    def save(self, path: str | Path, **options: Any) -> None:
        """Writes the values as the files of the training hold them: a PNG of 16 bits, of colours 8, that says its unit.

        Args:
            path: ending in .png.
            options: `scale`, `add`, `bits` or `log` of `rgbx.maps.Encoding`, in place of the checkpoint's.

        Raises:
            ValueError: values that such a file cannot hold, or a sensor's map of which nobody says the scale.
        """
        encoding = self.encoding(**options)
        encoding.write(png_path(path), encoding.nearest(self.values))

    def encoding(self, **options: Any) -> Encoding:
        """How `save` writes; raises as that."""
        spec, stored = self.spec, self.answer.about.get("stored", {})
        if options:
            return Encoding(spec, **options)
        trained = stored.get(spec.name)
        if spec.unit == "sensor" and trained is None:
            raise ValueError(
                f"{spec.name!r} is a sensor's, and nothing says how a file holds it: save(path, scale=STEPS_PER_UNIT)"
            )
        return Encoding(spec, **(trained or {})).to_write()


def map_bar(
    spec: MapSpec,
    values: np.ndarray,  # [H, W], in the map's unit
    valid: np.ndarray | None = None,  # bool [H, W]
    *,
    add: float | None = None,
) -> Bar:
    """What the colours of the picture of a map of one channel stand for.

    Args:
        spec: of the map.
        values: the map.
        valid: where it was measured.
        add: see `rgbx.maps.drawing.sign_of`.
    """
    return Bar(usual_limits(values, valid), scale_of(spec.name, spec.unit), sign_of(spec.unit, add))


def png_path(path: str | Path) -> Path:
    """The path of a PNG.

    Raises:
        ValueError: another suffix.
    """
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"{path}: results are PNG files, as others lose values; end it in .png")
    return Path(path)
