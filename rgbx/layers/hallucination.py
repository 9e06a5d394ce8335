"""Hallucination: features of a modality that is absent, made of those present, so that fusion and ensemble run whole.

Ours, of the encoders and decoders of modality translation (see `codes`): where one modality can be told from the code
of another, that code can stand for the one that is missing. The absent modality enters the network as zeros; its
features are replaced at the input of the first stage and at the output of every stage, before a fusion method acts
there, by what the decoders make of the mean code of the modalities present.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgbx._text import check_options
from rgbx._types import Options
from rgbx.layers.codes import Codes
from rgbx.layers.private import untracked
from rgbx.layers.stack import StackLayout, Trace, split_modalities

MOST_WIDTH = 2**12
FIRST_INPUT = 0  # the number of the point before the first stage; others have their stage's


@dataclass(frozen=True, kw_only=True)
class Hallucinate:
    """How branches of absent modalities are filled in.

    Attributes:
        width: d of the codes.
        weight: of the loss by which features are to be those of the modality itself, ``loss_hallucination``.
        heads: of the heads' losses on what they answer with branches filled in; 0 leaves them out.

    Raises:
        ValueError: a value of another kind.
    """

    width: int = 64
    weight: float = 1.0
    heads: float = 1.0

    def __post_init__(self) -> None:
        if type(self.width) is not int or not 1 <= self.width <= MOST_WIDTH:
            raise ValueError(f"hallucinate field width is {self.width!r}; expected 1 to {MOST_WIDTH}")
        for name in ("weight", "heads"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 0 <= value <= sys.float_info.max:
                raise ValueError(f"hallucinate field {name} is {value!r}; expected a number of at least 0")
            object.__setattr__(self, name, float(value))


def build_hallucinate(given: bool | Options | Hallucinate | None) -> Hallucinate | None:
    """Reads hallucination from plain values: True, a dict of the fields of `Hallucinate`, or False or None for none.

    Raises:
        ValueError: something else, or an unknown field.
    """
    if given is None or given is False or isinstance(given, Hallucinate):
        return given or None
    if given is True:
        return Hallucinate()
    if not isinstance(given, Mapping):
        raise ValueError(f"hallucinate is {given!r}; expected True, False, or a dict of fields")
    check_options(given, list(Hallucinate.__dataclass_fields__), "hallucinate")
    return Hallucinate(**given)


class Hallucination(nn.Module):
    """Fills in the branches of absent modalities at the points of a network.

    Args:
        channels: C at each point by its number, see `FIRST_INPUT`.
        layout: the modalities in the stack; the `trace` of a call says which of them are absent.
        options: see `Hallucinate`.
    """

    def __init__(self, channels: Mapping[int, int], layout: StackLayout, options: Hallucinate) -> None:
        super().__init__()
        self.layout, self.options = layout, options
        self.points = nn.ModuleDict({f"{i}": Codes(c, layout, options.width) for i, c in channels.items()})

    @property
    def codes(self) -> dict[int, Codes]:
        """The codes of each stage's output, by its number."""
        return {int(i): codes for i, codes in self.points.items() if int(i) != FIRST_INPUT}  # type: ignore[misc]

    def zeros(
        self,
        inputs: Mapping[str, Tensor],  # [N, c, H, W] each
        absent: Sequence[str],
    ) -> dict[str, Tensor]:
        """The inputs and zeros [N, 1, H, W] for the absent modalities, in declared order."""
        like = next(iter(inputs.values()))[:, :1]
        names = self.layout.order([*inputs, *absent])
        return {name: inputs[name] if name in inputs else torch.zeros_like(like) for name in names}

    def forward(
        self,
        x: Tensor,  # [M*N, C, h, w]
        point: int,
    ) -> Tensor:
        """The stack with the branches of absent modalities filled in; as it is where none is absent.

        Where the codes are not `joint`, what goes on is decoded from codes without gradient, which `loss` still has.
        """
        trace = self.layout.trace
        if trace is None:
            return x
        parts = split_modalities(x, self.layout)
        if not trace.absent:
            trace.points.append(parts)
            return x
        codes = self.points[f"{point}"]
        assert isinstance(codes, Codes)
        found = codes.codes_of({name: part for name, part in parts.items() if name not in trace.absent})
        mean = torch.stack(list(found.values())).mean(0)
        decoded = {name: codes.decoded(mean, name) for name in trace.absent}
        trace.points.append(decoded)
        read = decoded if codes.joint or not mean.requires_grad else self._of_detached(codes, mean, trace.absent)
        filled = {name: codes.restored(part, name).to(x.dtype) for name, part in read.items()}
        return torch.cat([filled.get(name, part) for name, part in parts.items()])

    def _of_detached(
        self,
        codes: Codes,
        mean: Tensor,  # [N, d, h, w]
        absent: Sequence[str],
    ) -> dict[str, Tensor]:
        """What the code is decoded to, [N, C, h, w] each, so that who reads it trains decoders, and no encoder."""
        with untracked(codes.modules()):  # norms have seen this batch
            return {name: codes.decoded(mean.detach(), name) for name in absent}

    def loss(self, whole: Trace, filled: Trace) -> Tensor:
        """How far branches that were filled in are from those that they stand for, a scalar, weighted.

        The mean absolute difference of standardised features, over points and absent modalities.

        Args:
            whole: of a call in which none was absent; its features get no gradient.
            filled: of a call on the same images.
        """
        terms = []
        for codes, truth, found in zip(self.points.values(), whole.points, filled.points, strict=True):
            assert isinstance(codes, Codes)
            terms += [F.l1_loss(x.float(), codes.wanted(truth[name], name).float()) for name, x in found.items()]
        return self.options.weight * torch.stack(terms).mean()
