"""Loads the compiled kernels where they are built and fit, and knows why not otherwise.

RGBX_OPS chooses: "auto" takes a kernel where there is one, "reference" takes plain torch everywhere, "kernel" refuses
to run without one.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from rgbx.ops import operators  # noqa: F401  # kernels register for a schema, which must exist before they load
from rgbx.ops.build import DEVICES, FOLDER, library_name, source_digest

MODES = ("auto", "reference", "kernel")


@dataclass(frozen=True)
class Kernel:
    """The compiled library for one kind of device.

    Attributes:
        path: where it lies, or would lie.
        loaded: whether its kernels are registered.
        detail: what it was built for; or, in one sentence, why it is not loaded.
    """

    path: Path
    loaded: bool
    detail: str


def read_mode() -> str:
    """The value of RGBX_OPS.

    Raises:
        ValueError: if it is none of `MODES`.
    """
    mode = os.environ.get("RGBX_OPS", "auto")
    if mode not in MODES:
        raise ValueError(f"RGBX_OPS is {mode!r}; expected one of {', '.join(MODES)}")
    return mode


def load(device: str, mode: str, folder: Path = FOLDER) -> Kernel:
    """Registers the kernels of one kind of device, if that is possible and wanted; `folder` holds the library."""
    path = folder / library_name(device)
    if mode == "reference":
        return Kernel(path, False, "RGBX_OPS=reference asks for plain torch")
    if device == "cuda" and torch.version.cuda is None:
        return Kernel(path, False, f"torch {torch.__version__} is a build without CUDA")
    if not path.is_file():
        return Kernel(path, False, "it is not built: run `make build-ops`, or `python -m rgbx.ops build`")
    stamp = re.search(rb"rgbx-build ([0-9a-f]{16}) ([^\0]*)\0", path.read_bytes())
    if stamp is None or stamp[1].decode() != source_digest():
        return Kernel(path, False, "it was built from other sources: build it again")
    try:
        torch.ops.load_library(path)
    except OSError as error:
        return Kernel(path, False, f"it does not load: {error.__cause__ or error}")
    return Kernel(path, True, f"built for {stamp[2].decode()}")


MODE = read_mode()
KERNELS = {device: load(device, MODE) for device in DEVICES}


@functools.cache
def may_use_kernel(device: torch.device) -> bool:
    """Whether the operators run on tensors of this device: with a kernel that fits it, or with plain torch.

    False only for a GPU that the loaded library cannot run on, of which a warning tells.

    Raises:
        RuntimeError: with RGBX_OPS=kernel, saying why there is no kernel for the device.
    """
    kernel = KERNELS.get(device.type)
    misfit = None
    if kernel is not None and kernel.loaded and device.type == "cuda":
        misfit = gpu_misfit(torch.cuda.current_device() if device.index is None else device.index)
    if MODE == "kernel" and (misfit or not (kernel and kernel.loaded)):
        reason = f"{kernel.path.name}: {misfit or kernel.detail}" if kernel else f"there are kernels for {DEVICES}"
        raise RuntimeError(f"RGBX_OPS=kernel, but tensors on {device.type!r} have no compiled kernel ({reason})")
    if misfit:
        warnings.warn(f"plain torch serves on {device}, as the kernels' library is {misfit}", stacklevel=2)
    return misfit is None


@functools.cache
def gpu_misfit(index: int) -> str | None:
    """Why the CUDA library cannot run on a GPU, in words; None if it can."""
    capability = torch.cuda.get_device_capability(index)
    built_for = KERNELS["cuda"].detail
    if not runs_on(capability, built_for.removeprefix("built for ").split()):
        return f"{built_for}, which has no code for compute capability {'.'.join(map(str, capability))}"
    said = _said_by_cuda(KERNELS["cuda"].path, index)
    return None if said is None else f"{built_for}, and does not start there: {said} (build it again there)"


def _said_by_cuda(library: Path, index: int) -> str | None:
    """Why no kernel of the library starts on a GPU, such as a driver that is too old; None if they do."""
    ask = ctypes.CDLL(str(library)).rgbx_misfit
    ask.argtypes, ask.restype = [ctypes.c_int], ctypes.c_char_p
    said = ask(index)
    return None if said is None else said.decode()


def runs_on(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Whether code for these architectures ("8.0", "12.0+PTX") runs on a GPU: of the same generation, or as PTX."""
    for name in architectures:
        major, minor = map(int, name.removesuffix("+PTX").split("."))
        if (major == capability[0] and minor <= capability[1]) or ("+PTX" in name and (major, minor) <= capability):
            return True
    return False
