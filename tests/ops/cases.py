"""The cases that every implementation of an operation runs through, and how their inputs are made."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from rgbx.ops import reference

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
LAYOUTS = ("nchw", "nhwc", "sliced", "permuted")
SHAPES = (  # N, C, H, W: odd and even, vectors that fit, that straddle groups, and that do not fit
    (2, 40, 8, 16),
    (1, 64, 6, 4),
    (1, 13, 5, 7),
    (3, 10, 4, 1),
    (2, 5, 1, 9),
    (1, 3, 6, 5),
    (1, 28, 3, 10),
    (1, 16, 1, 1),
    (0, 10, 4, 4),
    (2, 10, 0, 4),
)
OPERATORS = {"channel_shuffle": 1, "pixel_shift": 1, "shift_add_shuffle": 2, "shift_add_shuffle_adjoint": 1}


@dataclass(frozen=True)
class Case:
    """What an operator is called with: its inputs have shape [M*N, C, H, W]."""

    shape: tuple[int, int, int, int]
    num_modalities: int
    dtype: torch.dtype
    layout: str
    direction: int

    def __str__(self) -> str:
        sizes = "x".join(map(str, self.shape))
        return f"{sizes}-M{self.num_modalities}-{str(self.dtype)[6:]}-{self.layout}-{self.direction:+d}"

    @property
    def ring(self) -> tuple[int, int, int]:
        """num_modalities, group, direction."""
        return self.num_modalities, self.shape[1] // 5, self.direction

    def tensor(self, seed: int) -> Tensor:
        """Normal numbers, a tenth of them -0.0, in the case's dtype and memory layout."""
        n, c, h, w = self.shape
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(self.num_modalities * n, c, h, w, generator=generator, dtype=torch.float64).to(self.dtype)
        values[values > 1.28] = -0.0
        if self.layout == "nhwc":
            return values.contiguous(memory_format=torch.channels_last)
        if self.layout == "sliced":  # every second row and column of something larger, at an odd address
            wide = torch.full((values.shape[0], c + 1, 2 * h + 1, 2 * w + 1), 7.0, dtype=self.dtype)
            wide[:, 1:, 1::2, 1::2] = values
            return wide[:, 1:, 1::2, 1::2]
        if self.layout == "permuted":  # dense, but in neither memory format
            return values.permute(3, 1, 2, 0).contiguous().permute(3, 1, 2, 0)
        return values

    def inputs(self, operator: str) -> list[Tensor]:
        return [self.tensor(seed) for seed in range(OPERATORS[operator])]


CASES = [Case(*values) for values in itertools.product(SHAPES, (1, 2, 3, 4), DTYPES, LAYOUTS, (1, -1))]


def expected(operator: str, case: Case, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """What plain torch answers."""
    answer = getattr(reference, operator)(*inputs, *case.ring)
    return answer if isinstance(answer, tuple) else (answer,)


BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes per element


def same_bits(x: Tensor, y: Tensor) -> bool:
    """Equality that tells -0.0 from 0.0."""
    x, y = x.cpu().contiguous(), y.cpu().contiguous()
    return x.dtype == y.dtype and torch.equal(x.view(BITS[x.itemsize]), y.view(BITS[y.itemsize]))


RESIZED = {  # shape, size, crop: exact and broken factors, padding, one class and pixel, fewer pixels than before
    "times 4": ((2, 9, 6, 5), (24, 20), (24, 20)),
    "padded": ((1, 40, 7, 9), (32, 40), (30, 37)),
    "smaller": ((2, 6, 30, 40), (13, 17), (13, 17)),
    "one pixel": ((1, 1, 1, 1), (5, 3), (5, 3)),
    "its own size": ((3, 3, 8, 8), (8, 8), (8, 7)),
    "many classes": ((1, 255, 3, 4), (9, 33), (9, 33)),
}


def scores(shape: tuple[int, int, int, int], layout: str = "nchw") -> Tensor:
    """Normal numbers float32 [B, K, h, w]; "strided" has a gap after each."""
    x = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if layout == "nhwc":
        return x.contiguous(memory_format=torch.channels_last)
    return torch.stack([x, x], -1).movedim(-1, 0)[1] if layout == "strided" else x
