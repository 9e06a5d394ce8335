"""What a study's results are, those of segmentation or of translation: how they are read and which scores they have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rgbx._text import nearest
from rgbx.evaluate.result_file import read_result
from rgbx.evaluate.translation_result import read_translation_result
from rgbx.evaluate.translation_scores import SCORED_UNITS, score_names
from rgbx.train import curves

SEGMENTATION_SCORES = ("mIoU", "mAcc", "fwIoU", "aAcc")
FEATURE_SCORES = {"fid": ("FID", "KID"), "lpips": ("LPIPS",)}  # by the option of the metric that they need
FRACTION = "fraction"
_FRACTIONS = (*SEGMENTATION_SCORES, "AbsRel", "delta", "within")
_HIGHER = (*SEGMENTATION_SCORES, "PSNR", "SSIM", "delta", "within")
_UNITS = {"rgb8": "of 0..255", "encoded": "of 0..255", "metre": "m", "unit_vector": "of −1..1", "relative": "of 0..1"}
_DIGITS = {"dB": 2, "°": 2, "of 0..255": 2}
_BESIDE = ("SSIM", "AbsRel", "angle_median", "within_11.25", "delta1", "MAE")  # after the headline, two that there are


@dataclass(frozen=True)
class Score:
    """A score as tables, plots and messages show it.

    Attributes:
        name: its key in result files.
        unit: such as "dB"; "fraction" of 1, or "" for a plain number.
        lower: whether lower is better.
        digits: behind the point.
    """

    name: str
    unit: str = ""
    lower: bool = False
    digits: int = 3

    def heading(self, subset: str = "") -> str:
        """Of a column: "mIoU rgb+depth" or "MAE rgb+edge, m ↓"."""
        parts = [f"{self.name} {subset}".strip(), *([] if self.unit in ("", FRACTION) else [self.unit])]
        return ", ".join(parts) + " ↓" * self.lower

    @property
    def label(self) -> str:
        """Of an axis: "mIoU" or "MAE (m, lower is better)"."""
        found = [*([] if self.unit in ("", FRACTION) else [self.unit]), *["lower is better"] * self.lower]
        return f"{self.name} ({', '.join(found)})" if found else self.name

    @property
    def sentence(self) -> str:
        """Begins a note: "mIoU of the ensemble, as a fraction" or "MAE of the ensemble, in m, lower is better"."""
        unit = {"": "", FRACTION: ", as a fraction"}.get(self.unit, f", in {self.unit}".replace("in of", "of"))
        return f"{self.name} of the ensemble{unit}" + ", lower is better (↓)" * self.lower

    def said(self, value: float | None) -> str:
        """ "mIoU 0.512", or "mIoU undefined"."""
        return f"{self.name} undefined" if value is None else f"{self.name} {value:.{self.digits}f}"


@dataclass(frozen=True)
class Kind:
    """What all results of a study are.

    Attributes:
        read: reads a result file.
        scores: those of the table; the first is compared, the others are shown of each method's headline.
        output: what a forward pass ends with.
        note: what there is to know of the parameters.
    """

    read: Callable[[Path], dict[str, Any]]
    scores: tuple[Score, ...]
    output: str
    note: str = ""

    @property
    def headline(self) -> Score:
        """The score by which methods are compared."""
        return self.scores[0]


def segmentation_kind(names: Sequence[str] = ("mIoU",)) -> Kind:
    """Results of segmentation.

    Raises:
        ValueError: a score that they do not have.
    """
    check_scores_known(names, SEGMENTATION_SCORES)
    return Kind(read_result, tuple(_describe(name, "") for name in names), "logits")


def translation_kind(
    unit: str, names: Sequence[str] | None = None, *, evaluator: Any = None, certain: bool = True
) -> Kind:
    """Results of translation to a map.

    Args:
        unit: the map's, see `MapSpec`.
        names: of the scores; None takes the one that the curves of a training show and two more.
        evaluator: the config's test_evaluator, whose options say which networks look at the images.
        certain: False where the dataset could not say the unit: then a score of any unit passes.

    Raises:
        ValueError: a score that the results will not have.
    """
    own = score_names(unit)
    known = [*own] if certain else [*own, *(name for other in SCORED_UNITS for name in score_names(other))]
    options = evaluator if isinstance(evaluator, Mapping) else dict.fromkeys(FEATURE_SCORES, True)
    known += [name for option, found in FEATURE_SCORES.items() if options.get(option) for name in found]
    check_scores_known(names or (), dict.fromkeys(known))
    chosen = tuple(_describe(name, unit) for name in names or _default_scores(own))
    return Kind(read_translation_result, chosen, "images", "Parameters: of the generator, without a discriminator.")


def _default_scores(known: Sequence[str]) -> tuple[str, ...]:
    first = next(name for name in curves.SCORES if name in known)
    return (first, *[name for name in _BESIDE if name in known and name != first][:2])


def check_scores_known(names: Iterable[str], known: Iterable[str]) -> None:
    """Raises ValueError for a name that is none of those known; the message has them."""
    known = list(known)
    for name in names:
        if name not in known:
            raise ValueError(f"scores names {name!r}{nearest(name, known)}; the results have {', '.join(known)}")


def _describe(name: str, target_unit: str) -> Score:
    unit = FRACTION if name.startswith(_FRACTIONS) else ""
    if name in ("MAE", "RMSE"):
        unit = _UNITS.get(target_unit, "")
    elif name == "PSNR" or name.startswith("angle_"):
        unit = "dB" if name == "PSNR" else "°"
    digits = {"FID": 2, "KID": 5}.get(name, _DIGITS.get(unit, 3))
    return Score(name, unit, not name.startswith(_HIGHER), digits)


SEGMENTATION = segmentation_kind()
