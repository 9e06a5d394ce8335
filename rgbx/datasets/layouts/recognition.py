"""Which known layout a folder has: by what lies in it, told with the evidence, never guessed between two."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rgbx._types import Options
from rgbx.datasets.files import FileDataset
from rgbx.datasets.folder import DECLARATION
from rgbx.datasets.layouts.evidence import SPLITS
from rgbx.datasets.layouts.proposal import propose
from rgbx.datasets.layouts.table import DECLARED, LAYOUTS, Layout
from rgbx.datasets.listing import held_out
from rgbx.datasets.sample import DenseDataset
from rgbx.datasets.shards.dataset import ShardedDataset
from rgbx.datasets.shards.manifest import read_manifest
from rgbx.datasets.shards.store import is_url

_LOG = logging.getLogger("rgbx")


@dataclass(frozen=True)
class Candidate:
    """A layout that a folder has, and why it is taken for it."""

    layout: Layout
    root: Path
    evidence: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.layout.name} ({self.layout.shape}): {'; '.join(self.evidence)}"


def recognise(path: str | Path) -> list[Candidate]:
    """All known layouts that a folder has, each with its evidence; none where it has none.

    A folder with a `dataset.toml` is what that file declares, whatever else it looks like.

    Raises:
        FileNotFoundError: no such folder.
    """
    root = Path(path).expanduser()
    if root.is_file():
        raise FileNotFoundError(f"{root} is a file; expected the folder that holds the dataset")
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    layouts = [DECLARED] if DECLARED.evidence(root) else LAYOUTS
    return [Candidate(layout, root, tuple(evidence)) for layout in layouts if (evidence := layout.evidence(root))]


def split_names(path: str | Path) -> tuple[str, ...]:
    """The splits that `build_dataset` may find in a folder or at a URL; the usual ones where its layout is not known.

    Raises:
        FileNotFoundError: no such folder.
    """
    if is_url(path):
        return tuple(read_manifest(path))
    candidates = recognise(path)
    names = candidates[0].layout.splits(candidates[0].root) if len(candidates) == 1 else ()
    return tuple(names) or SPLITS


def build_dataset(
    root: str | Path, split: str = "train", *, modalities: Sequence[str] | None = None, **options: Any
) -> DenseDataset:
    """Builds the dataset of a folder whose layout is known; logs which and why.

    Args:
        root: the folder, or the URL of shards.
        split: as the layout names its splits; for layouts of lists, the name of a list.
        modalities: what to read; None takes what the class takes by itself. For translation see `sources` and
            `targets` of the class.
        options: further arguments of the class, such as transforms; `holdout` also for classes that do not take it,
            see `rgbx.datasets.listing.holdout_indices`.

    Returns:
        The dataset; its `provenance` says which layout was taken and why.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: the folder has no known layout (what was looked for and what is there), or several.
    """
    if is_url(root):
        given = options if modalities is None else {**options, "modalities": modalities}
        return ShardedDataset(root, split, **given)
    candidates = recognise(root)
    if not candidates:
        raise ValueError(_nothing(Path(root).expanduser()))
    if len(candidates) > 1:
        listed = "\n".join(f"- {candidate}" for candidate in candidates)
        raise ValueError(f"{root} has several known layouts; name the class in place of build_dataset:\n{listed}")
    if modalities is not None:
        options["modalities"] = modalities
    dataset = _built(candidates[0], split, options)
    dataset.provenance = str(candidates[0])
    _LOG.info("%s is %s", root, dataset.provenance)
    return dataset


def _built(candidate: Candidate, split: str, options: Options) -> DenseDataset:
    """The dataset; a part held out of frames that are files is made here where the class makes none."""
    try:
        return candidate.layout.build(candidate.root, split, **options)
    except TypeError as error:
        named = [name for name in ("modalities", "holdout") if name in options and f"'{name}'" in str(error)]
        if not named:
            raise
    name = candidate.layout.name
    if named[0] == "modalities":
        raise ValueError(f"{candidate.root} is {name}, for translation: give sources= and targets=, not modalities=")
    dataset = _built(candidate, split, {key: value for key, value in options.items() if key != "holdout"})
    if not isinstance(dataset, FileDataset):
        raise ValueError(f"{candidate.root} is {name}, of which no part can be held out: render or name another split")
    dataset.frames = held_out(dataset.frames, options["holdout"])
    return dataset


def _nothing(root: Path) -> str:
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in root.iterdir())
    lines = [f"{root} has no known layout. Found: {', '.join(names[:20]) or 'nothing'}{' …' * (len(names) > 20)}"]
    folders = [path for path in sorted(root.iterdir()) if path.is_dir()]
    nested = [f"{item.root.name}/ is {item}" for path in folders[:20] for item in recognise(path)]
    if nested:
        return "\n".join([*lines, "A folder in it has one:", *(f"- {text}" for text in nested)])
    proposal = propose(root)
    if proposal.text is not None:
        files = ", ".join(f"{name} in {where}" for name, where in proposal.maps.items())
        lines.append(f"{proposal.frames} frames seem to lie there: {files}.")
        lines.append(f"`rgbx doctor {root} --write-toml` writes a {DECLARATION} for them, with the reasons.")
        return "\n".join(lines)
    lines += [f"No {DECLARATION} can be proposed: {'; '.join(proposal.notes)}."]
    return "\n".join([*lines, "Looked for:", *(f"- {layout.name}: {layout.shape}" for layout in LAYOUTS)])
