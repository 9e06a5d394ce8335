"""Mixed precision by name."""

from __future__ import annotations

import platform
import warnings

import torch

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def computes_in_bfloat16(device: str) -> bool:
    """Whether a device type ("cpu" or "cuda") has instructions for bfloat16 rather than emulating it."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu" or not getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)():
        return False
    used = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)  # not under ONEDNN_MAX_CPU_ISA=AVX2
    return used is None or bool(used())


def autocast_dtype(name: str | None, device: str) -> torch.dtype | None:
    """The dtype of autocast by its name.

    Args:
        name: None, "bfloat16", "float16", or "auto": bfloat16 where the device computes in it.
        device: "cpu" or "cuda".

    Raises:
        ValueError: another name.

    Warns:
        UserWarning: see `warn_of_emulation`.
    """
    if name is None or (name == "auto" and not computes_in_bfloat16(device)):
        return None
    if name != "auto" and name not in DTYPES:
        raise ValueError(f"dtype must be None, 'auto', 'bfloat16' or 'float16', found {name!r}")
    if name != "auto":
        warn_of_emulation(name, device)
    return DTYPES["bfloat16" if name == "auto" else name]


def warn_of_emulation(name: str | None, device: str) -> None:
    """Says where a precision that somebody chose makes a processor slower, as it does not compute in it.

    Args:
        name: of the precision; others than "bfloat16" are passed over.
        device: "cpu" or "cuda"; nothing is said of processors other than x86, of which torch does not tell.

    Warns:
        UserWarning: the processor has no instructions for bfloat16, or is kept from using them.
    """
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    if name == "bfloat16" and device == "cpu" and x86 and not computes_in_bfloat16("cpu"):
        found = torch.backends.cpu.get_cpu_capability()
        warnings.warn(
            f"bfloat16 on this CPU ({found}, neither AVX512-BF16 nor AMX in use) is emulated, and many times slower "
            'than float32: "auto" takes bfloat16 only where the device computes in it',
            stacklevel=3,
        )
