"""Tables of a TOML file whose mistakes are told with file, key, found and expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Table:
    """One table of a TOML file: gives its values by type and complains with file, key, found and expected."""

    def __init__(self, file: Path, name: str, values: Any) -> None:
        self.file, self.name = file, name
        if not isinstance(values, dict):
            raise ValueError(f"{file}: [{name}] must be a table, found {values!r}")
        self.values: dict[str, Any] = values

    def only(self, known: Iterable[str]) -> None:
        """Refuses keys that nothing would read."""
        known = list(known)
        for key in self.values:
            if key not in known:
                match = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
                hint = f"did you mean {match[0]!r}?" if match else f"expected {', '.join(known)}"
                raise ValueError(f"{self._place(key)}: no such key; {hint}")

    def get(self, key: str, kind: type | tuple[type, ...], expected: str, default: Any = None) -> Any:
        """The value of a key, of the given type; without a default the key must be there."""
        if key not in self.values:
            if default is None:
                raise ValueError(f"{self._place(key)} is missing; expected {expected}")
            return default
        value = self.values[key]
        if not isinstance(value, kind) or isinstance(value, bool) or value in ("", [], {}):
            raise self.wrong(key, expected)
        return value

    def choice(self, key: str, choices: Iterable[Any], default: Any = None) -> Any:
        """The value of a key, one of the choices."""
        choices = list(choices)
        value = self.get(key, object, f"one of {choices}", default)
        if value not in choices:
            match = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1, cutoff=0.6)
            raise self.wrong(key, f"one of {choices}" + (f"; did you mean {match[0]!r}?" if match else ""))
        return value

    def wrong(self, key: str, expected: str) -> ValueError:
        """The error for a value that cannot be used."""
        return ValueError(f"{self._place(key)}: expected {expected}, found {self.values.get(key)!r}")

    def _place(self, key: str) -> str:
        return f"{self.file}: [{self.name}] {key}" if self.name else f"{self.file}: {key}"
