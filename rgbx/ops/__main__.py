"""``python -m rgbx.ops``: which implementation of the exchange runs, for which devices, and why no other."""

from __future__ import annotations

import torch

from rgbx.ops._extension import KERNELS, MODE, Kernel


def describe(device: str, kernel: Kernel) -> str:
    """One line on the kernels of a kind of device."""
    if kernel.loaded:
        return f"{device:5} compiled kernel, {kernel.detail} ({kernel.path})"
    return f"{device:5} plain torch; no compiled kernel: {kernel.detail} ({kernel.path})"


def main() -> None:
    print(f"RGBX_OPS={MODE}, torch {torch.__version__}, CUDA {torch.version.cuda or 'none'}")
    for device, kernel in KERNELS.items():
        print(describe(device, kernel))
    for index in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(index)
        print(f"GPU {index}: {torch.cuda.get_device_name(index)}, compute capability {major}.{minor}")


if __name__ == "__main__":
    main()
