"""What became of pretrained weights, for the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

SHOWN = 4


@dataclass(frozen=True)
class WeightSummary:
    """What became of a weight file. Names are those of the network, but for `unused`, which are the file's.

    Attributes:
        source: file or model name.
        loaded: parameters and buffers of the network that were filled.
        missing: those that the file does not hold, left at their initial values.
        unused: entries of the file without a place in the network.
        mismatched: name, shape in the file, shape in the network; left at their initial values too.
        prefix: what was removed from the file's names.
        style: whose names were turned into timm's, see `rgbx.backbones.weight_styles`.
        identity: residual blocks without weights in the file, which start as the identity.
        exchanging: those of them in which a fusion adds what it exchanges.
        random: residual blocks without weights in the file whose form allows no such start.
        partial: residual blocks with a part of their weights, a mixture that hardly computes anything useful.
        refitted: what became of a first layer that was trained on RGB of another normalisation.
    """

    source: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()
    prefix: str = ""
    style: str = ""
    identity: tuple[str, ...] = ()
    exchanging: tuple[str, ...] = ()
    random: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    refitted: str = ""

    @property
    def left(self) -> tuple[str, ...]:
        """Everything that keeps its initial values."""
        return (*self.missing, *(name for name, _, _ in self.mismatched))

    def inside(self, prefix: str) -> WeightSummary:
        """The same of a network that has the one that was filled under a name."""
        loaded, missing = ([f"{prefix}{name}" for name in names] for names in (self.loaded, self.missing))
        wrong = [(f"{prefix}{name}", theirs, own) for name, theirs, own in self.mismatched]
        return replace(self, loaded=tuple(loaded), missing=tuple(missing), mismatched=tuple(wrong))

    @property
    def suspicious(self) -> bool:
        """Whether the file and the network disagree in a way that a user should look at."""
        return bool(self.partial or self.mismatched)

    def __str__(self) -> str:
        return "\n  ".join([self.headline(), *self._details()])

    def headline(self) -> str:
        """The first line: the source, and how much of the network was filled."""
        prefix = f" (prefix {self.prefix!r} removed)" if self.prefix else ""
        style = f" (names of {self.style})" if self.style else ""
        total = len(self.loaded) + len(self.left)
        return f"pretrained weights {self.source}{prefix}{style}: {len(self.loaded)} of {total} tensors loaded"

    def _details(self) -> Iterable[str]:
        if self.left:
            yield f"loaded per part: {self._parts()}"
        if self.refitted:
            yield self.refitted
        plain = [block for block in self.identity if block not in self.exchanging]
        for blocks, outcome in (
            (plain, "it starts as the identity: the last scale of its branch is 0"),
            (self.exchanging, "its branch starts at 0, and the fusion inside it adds what it exchanges to the input"),
            (self.random, "it starts at random values, as its form allows no identity"),
            (self.partial, "WARNING: only a part of it has weights, the rest is random"),
        ):
            for block in blocks:
                count = sum(name.startswith(f"{block}.") for name in self.left)
                yield f"{block}: {count} tensors not loaded; {outcome}"
        blocks = (*self.identity, *self.random)
        others = [name for name in self.missing if not any(name.startswith(f"{block}.") for block in blocks)]
        yield from _listed("not in the file, left at their initial values", others)
        shapes = [f"{name}: {list(theirs)} in the file, {list(own)} here" for name, theirs, own in self.mismatched]
        yield from _listed("of another shape, left at their initial values", shapes)
        yield from _listed("unused", self.unused)

    def _parts(self) -> str:
        """Tensors loaded of how many, per stage; what comes before and after the stages goes by its own name."""
        loaded, left = (Counter(map(_part, names)) for names in (self.loaded, self.left))
        return ", ".join(f"{part} {loaded[part]}/{loaded[part] + left[part]}" for part in {**loaded, **left})


def _part(name: str) -> str:
    """``layer1``, ``stages_0``, ``s1``, or ``blocks.0`` where the stages are numbered inside one list."""
    first, _, rest = name.partition(".")
    second = rest.partition(".")[0]
    return f"{first}.{second}" if first in ("blocks", "stages", "layers") and second.isdecimal() else first


def _listed(label: str, names: Sequence[str]) -> Iterable[str]:
    if names:
        more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        yield f"{label}: {', '.join(names[:SHOWN])}{more}"
