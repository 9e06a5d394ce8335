"""What a folder and a machine are: read, never guessed, before anything is planned."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rgbx._types import Options
from rgbx.datasets import DenseDataset, FolderDataset, build_dataset, propose, recognise, split_names
from rgbx.datasets.cache import free_memory
from rgbx.datasets.declaration import Declaration, read_declaration
from rgbx.datasets.folder import DECLARATION
from rgbx.datasets.layouts.pairing import WORDS
from rgbx.datasets.layouts.proposal import HELD_OUT
from rgbx.datasets.own import Measured, measure
from rgbx.doctor import Diagnosis, Finding, diagnose
from rgbx.doctor.inspection import Split
from rgbx.maps import MapSpec
from rgbx.models.precision import computes_in_bfloat16
from rgbx.profile.measure import describe_machine

ERROR = 0.02 / 3  # of the statistics, as a standard error: 2 % is three of them
PATIENCE = 20.0  # seconds of reading frames for them
DIAGNOSED = 32  # frames of each split that the doctor reads
_ROLES = {"train": ("train", "training", "all"), "val": ("val", "valid", "validation", "dev"), "test": ("test",)}


class DataError(ValueError):
    """A folder that no training can be planned for: what the doctor, or a reader, says of it."""


class Part(NamedTuple):
    """The frames that a loader reads.

    Attributes:
        options: beside type and root, such as `{"split": "train", "holdout": "exclude"}`.
        frames: how many there are.
        reason: why these.
    """

    options: dict[str, Any]
    frames: int
    reason: str


@dataclass(frozen=True)
class Data:
    """What a folder holds.

    Attributes:
        root: the folder.
        layout: what it was recognised as, or that it was proposed.
        type: what builds its datasets in a config.
        modalities: those that a model takes, in the order of its stack.
        target: the map to translate to; "" for segmentation.
        maps: specs of all maps.
        classes: names; none for a translation.
        train, val, test: the frames of each loader; `test` may be `val`.
        measured: what a sample of the training frames says.
        options: that all datasets share, beside type and root.
        declaration: the text to write as the folder's `dataset.toml`; "" where none is needed.
        warnings: what the doctor warns of, and the notes of a proposal.
        recorded: whether maps have times of their own, so that files of one frame have different names.
    """

    root: Path
    layout: str
    type: Callable[..., DenseDataset]
    modalities: tuple[str, ...]
    target: str
    maps: Mapping[str, MapSpec]
    classes: tuple[str, ...]
    train: Part
    val: Part
    test: Part
    measured: Measured
    options: Options = field(default_factory=dict)
    declaration: str = ""
    warnings: tuple[str, ...] = ()
    recorded: bool = False

    def dataset(self, part: Part, transforms: Sequence[Options] = ()) -> DenseDataset:
        """The frames of a part."""
        return _open(self.root, self.type, {**self.options, **part.options}, self.declaration, transforms)


def _open(
    root: Path,
    kind: Callable[..., DenseDataset],
    options: Options,
    declaration: str,
    transforms: Sequence[Options] = (),
) -> DenseDataset:
    """A dataset; a proposal is read without its file."""
    declared = {"declaration": _declared(root, declaration)} if declaration else {}
    return kind(root, **options, **declared, transforms=transforms)


@dataclass(frozen=True)
class Machine:
    """What trains.

    Attributes:
        device: "cpu" or "cuda".
        name: in words.
        cores: that the process may use.
        threads: that a network's operations take on a CPU.
        memory: bytes that are free, on the device.
        bfloat16: whether the device computes in it.
    """

    device: str
    name: str
    cores: int
    threads: int
    memory: int
    bfloat16: bool


def this_machine(device: torch.device) -> Machine:
    """The machine that runs this, with a device of it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    name = describe_machine(device)
    return Machine(device.type, name, cores, torch.get_num_threads(), memory, computes_in_bfloat16(device.type))


def read_folder(
    root: str | Path, splits: Mapping[str, str] | None = None, modalities: Sequence[str] | None = None
) -> Data:
    """Recognises a folder, or proposes how it may be declared; examines and measures it.

    Args:
        root: the folder; nothing is written.
        splits: the name of the folder's split for "train", "val" or "test", where it is not its usual one.
        modalities: those to take; None takes all.

    Raises:
        FileNotFoundError: no such folder.
        DataError: nothing that can be trained on, or errors that the doctor finds.
    """
    root = Path(root).expanduser().resolve()
    layout, text, notes = _layout(root)
    asked: dict[str, Any] = {} if modalities is None else {"modalities": tuple(modalities)}
    builders = _builders(root, text, asked)
    diagnosis = diagnose(builders, samples=DIAGNOSED, optional=True)
    _refuse_errors(root, diagnosis)
    found = {split.name: split for split in diagnosis.splits}
    train = _pick("train", found, splits) or _only(root, found)
    dataset = found[train].dataset
    options, target = _translation(root, dataset) if not dataset.num_classes else ({}, "")
    unasked = bool(target) and not dataset.targets
    options = {**asked, **options}
    kind: Callable[..., DenseDataset] = FolderDataset if text or (root / DECLARATION).is_file() else build_dataset
    parts, told = _parts(root, train, found, splits or {}, options, builders)
    reading = _open(root, kind, {**options, **parts[0].options}, text)
    try:
        measured = measure(reading, error=ERROR, seconds=PATIENCE)
    except ValueError as error:
        raise DataError(f"{root}: {error}") from error
    return Data(
        root,
        layout,
        kind,
        tuple(reading.sources),
        target,
        {**reading.maps, **reading.added_maps},
        tuple(dataset.classes),
        *parts,
        measured,
        options=options,
        declaration=_with_void(text, diagnosis),
        warnings=(
            *([_no_labels(reading, target, declared=not text)] if unasked else ()),
            *(note.replace(HELD_OUT, f"{parts[1].frames} of them are held out for validation") for note in notes),
            *told,
            *(_told(finding, root / DECLARATION, kind) for finding in _found(diagnosis, "warning")),
        ),
        recorded=isinstance(reading, FolderDataset) and bool(reading.stamps),
    )


def _no_labels(dataset: DenseDataset, target: str, *, declared: bool) -> str:
    """Why a translation is planned that nobody asked for."""
    looked = "a [label] in its declaration" if declared else f"names with {', '.join(sorted(WORDS['label'])[:6])} or so"
    return (
        f"no labels were found (looked for {looked}); planned: a translation from {' and '.join(dataset.sources)} to "
        f"{target}"
    )


def _told(finding: Finding, file: Path, kind: Callable[..., DenseDataset]) -> str:
    """A warning of the doctor in a line; of void, with the place to mend it."""
    fix = finding.fix
    if finding.check == "label-void" and kind is FolderDataset:
        fix = (
            f"If 0 means void, write void = [0] under [label] of {file}, and offset = 1 if ids start at 1, for which "
            "the first class is taken out; then `rgbx init FOLDER --overwrite`, which keeps that file."
        )
    return f"{finding.split}: {finding.message} -> {fix}"


def _with_void(text: str, diagnosis: Diagnosis) -> str:
    """A proposal whose 0 looks like void, with what declares it so in comments under its [label]."""
    reason = next((found.message for found in diagnosis.findings if found.check == "label-void"), "")
    lines = f"[label]\n# {reason}.\n# If it is void, uncomment these two and take the first name out of [classes]:\n"
    return text.replace("[label]\n", f"{lines}# offset = 1\n# void = [0]\n", 1) if reason else text


def _layout(root: Path) -> tuple[str, str, tuple[str, ...]]:
    """What a folder is, the declaration that it lacks, and the notes on that.

    Raises:
        DataError: several layouts, or none and nothing to propose.
    """
    known = recognise(root)
    if len(known) == 1:
        return str(known[0]), "", ()
    if len(known) > 1:
        listed = "; ".join(map(str, known))
        raise DataError(
            f"{root} has several known layouts, so write a {DECLARATION} that says how it is meant: {listed}"
        )
    nested = any(recognise(path) for path in root.iterdir() if path.is_dir())
    proposal = None if nested else propose(root)
    if proposal is None or proposal.text is None:
        try:
            build_dataset(root)
        except ValueError as error:
            raise DataError(str(error)) from error
        raise DataError(f"{root} has no known layout")
    maps = ", ".join(f"{name} in {where}" for name, where in proposal.maps.items())
    return f"no known layout; proposed: {maps}", proposal.text, proposal.notes


def _declared(root: Path, text: str) -> Declaration:
    """What the text declares, for messages as the file of the folder that it will be."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, DECLARATION)
        file.write_text(text, encoding="utf-8")
        return replace(read_declaration(file), name=str(root / DECLARATION))


def _builders(root: Path, text: str, asked: Options) -> dict[str, Callable[..., DenseDataset]]:
    if not text:
        return {name: partial(build_dataset, root, name, **asked) for name in split_names(root)}
    declaration = _declared(root, text)
    kept = {"declaration": declaration, **asked}
    return {name: partial(FolderDataset, root, name, **kept) for name in declaration.splits}


def _found(diagnosis: Diagnosis, severity: str) -> list[Finding]:
    return [finding for finding in diagnosis.findings if finding.severity == severity]


def _refuse_errors(root: Path, diagnosis: Diagnosis) -> None:
    errors = _found(diagnosis, "error")
    unopened = [f"{error.split} {error.message}" for error in errors if error.check == "open"]
    if unopened:
        raise DataError(f"{root}: {'; '.join(unopened)}")
    told = [f"{error.split}: {error.message} -> {error.fix}" for error in errors]
    if told:
        raise DataError(f"{root}: the doctor finds {len(told)} error{'s' * (len(told) > 1)}: {' '.join(told)}")
    if not diagnosis.splits:
        raise DataError(f"{root}: no split can be opened: {'; '.join(f.message for f in diagnosis.findings)}")


def _pick(role: str, found: Mapping[str, Split], splits: Mapping[str, str] | None) -> str:
    """The split of a role: as named, or by its usual names; "" for none.

    Raises:
        DataError: the named one is not there.
    """
    named = (splits or {}).get(role)
    if named and named not in found:
        raise DataError(f"--split {role}={named}: there is no such split, only {', '.join(found)}")
    return named or next((name for name in _ROLES[role] if name in found), "")


def _only(root: Path, found: Mapping[str, Split]) -> str:
    if len(found) == 1:
        return next(iter(found))
    raise DataError(
        f"{root} has the splits {', '.join(found)}, none of them train: name the one to train on by --split train=NAME"
    )


def _translation(root: Path, dataset: DenseDataset) -> tuple[dict[str, Any], str]:
    """The options of a dataset without labels that make it a translation, and its target.

    Raises:
        DataError: it has one map.
    """
    names = [*dataset.sources, *dataset.targets]
    if len(names) < 2:
        raise DataError(
            f"{root} has no labels and only {', '.join(names)}: looked for labels, to train a segmentation, or for a "
            "second map, to train a translation; see docs/datasets.md"
        )
    if dataset.targets:
        return {}, dataset.targets[0]
    target = next((name for name in names if name != "rgb"), names[-1])
    return {"targets": (target,)}, target


def _parts(
    root: Path,
    train: str,
    found: Mapping[str, Split],
    splits: Mapping[str, str],
    options: Options,
    builders: Mapping[str, Callable[..., DenseDataset]],
) -> tuple[tuple[Part, Part, Part], list[str]]:
    """The frames of the three loaders, and which splits are not used as they have no labels.

    Raises:
        DataError: nothing to train or to choose a checkpoint on.
    """
    _refuse_unlabelled(root, "train", found[train])
    chosen_on, test = (_usable(root, role, train, found, splits) for role in ("val", "test"))
    usual = {role: _pick(role, found, splits) for role in ("val", "test")}
    told = [
        f"{name}: {_unlabelled(found[name])} -> it is not used; label it, or name another by --split {role}=NAME"
        for role, name in usual.items()
        if name not in ("", train, chosen_on, test)
    ]
    scored = Part({"split": test}, len(found[test]), f"the split {test!r}") if test else None
    if chosen_on:
        learnt = Part({"split": train}, len(found[train]), f"the split {train!r}")
        chosen = Part({"split": chosen_on}, len(found[chosen_on]), f"the split {chosen_on!r} chooses the checkpoint")
    else:
        there = usual["val"] not in ("", train)
        why = f"there is no {'labelled ' * there}validation split"
        learnt, chosen = _held_out(root, train, builders[train], options, scored, why)
    last = "there is no labelled test split: what chose the checkpoint is scored"
    return (learnt, chosen, scored or chosen._replace(reason=last)), told


def _usable(root: Path, role: str, train: str, found: Mapping[str, Split], splits: Mapping[str, str]) -> str:
    """The split of a role that is not the one trained on and has labels; "" for none.

    Raises:
        DataError: the one that is asked for has none.
    """
    name = _pick(role, found, splits)
    if name in ("", train):
        return ""
    if splits.get(role):
        _refuse_unlabelled(root, role, found[name])
    return name if _labelled(found[name]) else ""


def _refuse_unlabelled(root: Path, role: str, split: Split) -> None:
    if not _labelled(split):
        raise DataError(f"{root}: {split.name}: {_unlabelled(split)}; name one that has labels by --split {role}=NAME")


def _held_out(
    root: Path, train: str, build: Callable[..., DenseDataset], options: Options, scored: Part | None, why: str
) -> tuple[Part, Part]:
    """What is trained on and what chooses the checkpoint, where there is no split for that."""
    try:
        out, held = (len(build(holdout=holdout, **options)) for holdout in ("exclude", "only"))
    except ValueError as error:
        if scored is None:
            raise DataError(f"{root}: {why}, and {error}") from error
        whole = Part({"split": train}, len(build(**options)), f"the split {train!r}")
        return whole, scored._replace(reason=f"{why}, and none can be held out: the checkpoint is chosen on it")
    return (
        Part({"split": train, "holdout": "exclude"}, out, f"{why}: blocks of frames are held out"),
        Part({"split": train, "holdout": "only"}, held, f"{why}: the checkpoint is chosen on held-out blocks"),
    )


def _labelled(split: Split) -> bool:
    """Whether a frame of a sample over all of a split has a labelled pixel; true where there are no classes."""
    dataset = split.dataset
    if not dataset.num_classes:
        return True
    labels = (dataset.read(index).get("label") for index in _sample(split))
    return any(label is not None and (label != 255).any() for label in labels)


def _sample(split: Split) -> list[int]:
    """Frames that are spread over all of a split."""
    looked = min(DIAGNOSED, len(split))
    return [index * len(split) // looked for index in range(looked)]


def _unlabelled(split: Split) -> str:
    return f"no labelled pixel in {len(_sample(split))} of its {len(split)} frames"
