"""The table of scores: one entry per score, read by the terminal, reports, curves, checkpoints and studies."""

from __future__ import annotations

from dataclasses import dataclass

FRACTION = "fraction"


@dataclass(frozen=True)
class Score:
    """A score as tables, plots and messages show it.

    Attributes:
        name: its key in result files.
        unit: such as "dB"; "fraction" of 1, which people read in percent; "" for a plain number.
        digits: behind the point, of the value as result files hold it.
        lower: whether lower is better.
    """

    name: str
    unit: str = ""
    digits: int = 3
    lower: bool = False

    @property
    def percent(self) -> bool:
        """Whether people read it in percent."""
        return self.unit == FRACTION

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
