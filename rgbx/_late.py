"""Files that are imported when something of them is needed, so that what does without them starts sooner."""

from __future__ import annotations

import gc
import importlib
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any


def imported(module: str) -> ModuleType:
    """A module, for whose import nothing is searched for garbage, nor what is there by then ever after.

    Modules stay until the process ends. Importing torch, timm and what stands on them makes half a million objects,
    which the collector would go through several times while they come. Where other threads run, what they made
    meanwhile may be garbage one day, and all is looked at later.
    """
    if module in sys.modules or not gc.isenabled():
        return importlib.import_module(module)
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        if threading.active_count() == 1:
            gc.freeze()
        gc.enable()


def late(module: str, name: str) -> Any:
    """What a module calls by a name; the module is imported now, if nothing did before."""
    return getattr(importlib.import_module(module), name)


def late_names(package: str, files: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """The `__getattr__` of a package whose files are imported when one of their names is asked for.

    Args:
        package: its name.
        files: by file of the package, the names that the package has from it.
    """
    homes = {name: f"{package}.{file}" for file, names in files.items() for name in names}

    def find(name: str) -> object:
        if name in files:
            return importlib.import_module(f"{package}.{name}")
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = late(homes[name], name)
        setattr(sys.modules[package], name, value)  # found without asking from now on
        return value

    return find
