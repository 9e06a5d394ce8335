"""Tables of classes by the names that configs and checkpoints use, which files of one's own can extend."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rgbx._text import nearest

Base = TypeVar("Base")
Entry = TypeVar("Entry", bound=type)


class Registry(dict[str, type[Base]]):
    """Classes of one kind by name.

    Args:
        kind: what the classes are, for messages: "task", "fusion method".
        label: the attribute by which a class that is entered knows its name; "" for none.
    """

    def __init__(self, kind: str, label: str = "") -> None:
        super().__init__()
        self.kind, self.label = kind, label

    def enter(self, name: str) -> Callable[[Entry], Entry]:
        """Class decorator: enters a class under a name; another class of the same file replaces it.

        Raises:
            ValueError: a class of another file has the name.
        """

        def entered(entry: Entry) -> Entry:
            known = self.setdefault(name, entry)
            if known.__module__ != entry.__module__:
                raise ValueError(f"{self.kind} {name!r} is defined in {known.__module__} and in {entry.__module__}")
            self[name] = entry
            if self.label:
                setattr(entry, self.label, name)
            return entry

        return entered

    def find(self, name: object, found: str, alternatives: str = "") -> type[Base]:
        """The class of a name.

        Args:
            name: as a config or checkpoint has it.
            found: what stands there, for the message: "task is 'panoptic'".
            alternatives: what else may stand there than a name, for the message.

        Raises:
            ValueError: no class has the name; the message lists the names.
        """
        if isinstance(name, str) and name in self:
            return self[name]
        expected = f"{', '.join(sorted(self))}{alternatives}{nearest(str(name), self) or '.'}"
        own = f"{'An' if self.kind[0] in 'aeiou' else 'A'} {self.kind} of your own"
        raise ValueError(
            f"{found}; expected one of {expected} {own} is known once its file is imported: "
            "custom_imports in a config does that"
        )
