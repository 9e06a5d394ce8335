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

    @property
    def beside(self) -> str:
        """The unit beside a value as result files have it: none of fractions and plain numbers."""
        return "" if self.percent else self.unit

    @property
    def sign(self) -> str:
        """The unit beside a value as people read it: fractions in percent."""
        return "%" if self.percent else self.unit

    def heading(self, title: str = "") -> str:
        """Of a column: "mIoU RGB alone" or "MAE both, m ↓"."""
        return ", ".join(filter(None, [f"{self.name} {title}".strip(), self.beside])) + " ↓" * self.lower

    @property
    def label(self) -> str:
        """Of an axis: "mIoU" or "MAE (m, lower is better)"."""
        found = [*filter(None, [self.beside]), *["lower is better"] * self.lower]
        return f"{self.name} ({', '.join(found)})" if found else self.name

    @property
    def sentence(self) -> str:
        """Begins a note: "mIoU of the ensemble, as a fraction" or "MAE of the ensemble, in m, lower is better"."""
        unit = f", in {self.beside}".replace("in of", "of") if self.beside else ", as a fraction" * self.percent
        return f"{self.name} of the ensemble{unit}" + ", lower is better (↓)" * self.lower

    def said(self, value: float | None) -> str:
        """ "mIoU 0.512", or "mIoU undefined"."""
        return f"{self.name} undefined" if value is None else f"{self.name} {value:.{self.digits}f}"
