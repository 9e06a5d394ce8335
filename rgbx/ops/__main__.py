"""``python -m rgbx.ops [build]``: says which implementation of the exchange runs where and why, or compiles it."""

from __future__ import annotations

import sys

import torch

from rgbx.ops._extension import KERNELS, MODE, Kernel
from rgbx.ops.build import build_all


def describe(device: str, kernel: Kernel) -> str:
    """One line on the kernels of a kind of device."""
    if kernel.loaded:
        return f"{device:5} compiled kernel, {kernel.detail} ({kernel.path})"
    return f"{device:5} plain torch; no compiled kernel: {kernel.detail} ({kernel.path})"


def report() -> None:
    """Prints what is loaded, and the GPUs that are there."""
    print(f"RGBX_OPS={MODE}, torch {torch.__version__}, CUDA {torch.version.cuda or 'none'}")
    for device, kernel in KERNELS.items():
        print(describe(device, kernel))
    for index in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(index)
        print(f"GPU {index}: {torch.cuda.get_device_name(index)}, compute capability {major}.{minor}")


if __name__ == "__main__":
    if sys.argv[1:] == ["build"]:
        print("\n".join(build_all()))
    elif not sys.argv[1:]:
        report()
    else:
        raise SystemExit(f"usage: python -m rgbx.ops [build]; found {' '.join(sys.argv[1:])}")
