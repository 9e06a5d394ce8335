"""torch's compiler comes when something is compiled, not when a library that could be compiled is imported.

Its import takes longer than that of all of timm. timm only marks a function that is not to be compiled, and
torchvision asks a question when it pools a region of interest; both can be done without it.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

import torch

COMPILER = "torch._dynamo"
_ASKED = f"{COMPILER}.utils"


@contextmanager
def compiler_later() -> Iterator[None]:
    """A context in which what is imported may name the compiler, which stays away as far as that goes.

    Two modules stand for it: they mark functions as torch itself does inside, which brings the compiler at the first
    call of such a function, and they fetch the compiler at once where anything else of it is asked for.
    """
    if COMPILER in sys.modules or threading.active_count() > 1:  # another thread may import the compiler meanwhile
        yield
        return
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    for name in (COMPILER, _ASKED):
        sys.modules[name] = _Stand(name)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _remove_stands()


class _Stand(ModuleType):
    """Stands for a module of the compiler."""

    __path__: list[str] = []  # noqa: RUF012 - as modules have it

    @staticmethod
    def disable(
        function: Callable[..., object] | None = None, recursive: bool = True, *, reason: str | None = None
    ) -> Callable[..., object]:
        """As `torch.compiler.disable`."""
        marked: Callable[..., object] = torch._disable_dynamo(function, recursive)
        return marked

    @staticmethod
    def is_compile_supported(device: str) -> bool:
        """Asks the compiler's own, at the time of the call."""
        return bool(importlib.import_module(_ASKED).is_compile_supported(device))

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        _remove_stands()
        return getattr(importlib.import_module(self.__name__), name)


class _Finder:
    """Finds what else of the compiler is imported, after the compiler itself."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(f"{COMPILER}.") or not _remove_stands():
            return None
        importlib.import_module(COMPILER)
        return ModuleSpec(name, self) if name in sys.modules else find_spec(name)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module as the compiler's own import left it."""
        return sys.modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do."""


def _remove_stands() -> bool:
    """Makes room for the compiler; whether there was anything else."""
    stands = [name for name in (COMPILER, _ASKED) if isinstance(sys.modules.get(name), _Stand)]
    for name in stands:
        del sys.modules[name]
    return bool(stands)
