"""The sample contract: what every dataset yields, checked where it is read.

A sample is one dict. At reading it holds the modalities (each described by a `MapSpec`), `label`
(uint8 [H, W], train ids 0..K-1, 255 = ignore; absent for unlabelled images), `sample_id` (str),
`paths` (dict of str, the file behind each array), and for maps whose values cannot say which pixels
were measured a mask `{map}_valid` (uint8 [H, W], 1 where a pixel counts). Where a map was damaged on
purpose, `{map}_corrupted` (uint8 [H, W]) is 1. A map may be a clip of several frames, see `rgbx.datasets.clip`: it
and its masks are [T, H, W, ...], `{map}_time` has its stamps, and `time` is that of the label. Transforms keep these
keys, see `rgbx.transforms`; they may add maps and masks. A dataset for image translation has no classes
and no label; some of its modalities are `targets`, the others are the sources to translate from. A
dataset subclasses `DenseDataset` and writes `read` and `__len__`.
"""

from __future__ import annotations

import inspect
import operator
import pkgutil
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, TypedDict, cast

import cv2
import numpy as np
from torch.utils.data import Dataset

from rgbx.datasets.clip import check_times, frame_size
from rgbx.maps import IGNORE_INDEX, MASKS, STANDARD_MAPS, TIMES, MapSpec
from rgbx.maps.files import turns_told

Sample = dict[str, Any]
Transform = Callable[[Sample, np.random.Generator], Sample]
Config = dict[str, Any]  # dict(type=Class, **arguments)
Transforms = Sequence[Transform | Config]
_NAME = re.compile(r"[\w-]+")
_TAKEN = ("label", "sample_id", "paths", "ensemble", "time")  # keys of samples and of predictions


class Borrower(Protocol):
    """A transform that takes content of another frame of the dataset.

    Attributes:
        borrows: the maps it takes; the dataset must read them.
    """

    borrows: tuple[str, ...]

    def __call__(self, sample: Sample, rng: np.random.Generator, another: Callable[[], Sample] | None = None) -> Sample:
        """As any transform.

        Args:
            sample: the frame.
            rng: of this visit.
            another: draws another frame by `rng` and reads it, as it lies on disk, untransformed; None where there is
                none.
        """


class Common(TypedDict, total=False):
    """What every dataset takes beside arguments of its own, see `DenseDataset`."""

    transforms: Transforms
    targets: Sequence[str]


class Described(Common):
    """What a base of datasets takes beside that, see `DenseDataset`."""

    modalities: Sequence[str]
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]


class SampleKey(NamedTuple):
    """Which sample, and the seed of this visit: together they fix every random draw."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    seed: int = 0


class DenseDataset(Dataset[Sample]):
    """Base of all datasets: reads, validates, then transforms with one generator per visit.

    Args:
        modalities: names in the order of the model's stack.
        classes: class names; their number is K.
        palette: one [r, g, b] (0..255) per class.
        transforms: each is called as `transform(sample, rng)`, a `Borrower` as `transform(sample, rng, another)`;
            a config may give dict(type=Class, **arguments) instead of an instance; such a transform is told the
            dataset's maps, so that only instances need `maps=` for modalities of their own. One whose attribute `needs`
            names a modality that a frame lacks is passed over for that frame, where the dataset allows such frames, or
            does what its method `without(names)` gives.
        maps: specs of modalities that are not standard, or that differ from `STANDARD_MAPS`.
        targets: those of the modalities, or of the maps that a transform adds (its `adds`), that a translation
            predicts; none for segmentation.

    Attributes:
        provenance: why `rgbx.datasets.build_dataset` took this class; "" where it was named.

    Raises:
        ValueError: a modality without a spec, classes and palette of different lengths, or targets
            that leave no source.
    """

    provenance: str = ""
    missing: str = "error"  # whether frames may lack modalities, see `FileDataset`

    def __init__(
        self,
        *,
        modalities: Sequence[str],
        classes: Sequence[str],
        palette: Sequence[Sequence[int]],
        transforms: Transforms = (),
        maps: Mapping[str, MapSpec] | None = None,
        targets: Sequence[str] = (),
    ) -> None:
        if isinstance(modalities, str) or len(set(modalities)) != len(modalities) or not modalities:
            raise ValueError(f"modalities must be a sequence of distinct names, found {modalities!r}")
        if len(classes) != len(palette):
            raise ValueError(f"{len(classes)} classes but {len(palette)} palette colours")
        check_names(modalities, "modalities")
        known = {**STANDARD_MAPS, **(maps or {})}
        missing = [name for name in modalities if name not in known]
        if missing:
            raise ValueError(
                f"modalities {missing} have no MapSpec; known: {sorted(known)}. "
                "Describe them in maps={name: MapSpec(...)}"
            )
        self.modalities = tuple(modalities)
        self.targets = tuple(targets)
        self.classes = tuple(classes)
        self.palette = [[int(value) for value in colour] for colour in palette]
        self.maps = {name: known[name] for name in self.modalities}
        self.transforms: tuple[Transform, ...] = ()
        for item in transforms:  # each is told the maps that those before it add
            built = build_from(_with_maps(item, {**self.added_maps, **self.maps})) if isinstance(item, dict) else item
            self.transforms += (built,)
            borrowed: Sequence[str] = getattr(built, "borrows", ())
            if unread := [name for name in borrowed if name not in self.maps]:
                raise ValueError(
                    f"{type(built).__name__} takes {unread} of another frame as it is read, but the dataset reads "
                    f"{list(self.modalities)}; what a transform computes cannot be borrowed: name maps that are read, "
                    "or no kind of damage that borrows"
                )
            if self.missing == "allow" and borrowed:
                raise ValueError(
                    f"{type(built).__name__} takes {list(borrowed)} of another frame, which may lack them where "
                    "missing='allow': leave out the kinds of damage that borrow, or use missing='skip'"
                )
        offered = (*self.modalities, *self.added)
        if isinstance(targets, str) or not set(targets) < set(offered):
            raise ValueError(
                f"targets must be some of the modalities {list(offered)} and leave a source, found {targets!r}"
            )

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def added(self) -> tuple[str, ...]:
        """Maps that the transforms add to the modalities, such as normals computed from depth."""
        names = (name for transform in self.transforms for name in getattr(transform, "adds", ()))
        return tuple(dict.fromkeys(name for name in names if name not in self.modalities))

    @property
    def added_maps(self) -> dict[str, MapSpec]:
        """Specs of `added`: standard, or as the transform's `added_maps` states them."""
        stated = {name: spec for item in self.transforms for name, spec in getattr(item, "added_maps", {}).items()}
        known = {**STANDARD_MAPS, **stated}
        return {name: known[name] for name in self.added if name in known}

    @property
    def sources(self) -> tuple[str, ...]:
        """The modalities, and maps that transforms add, that are not targets."""
        return tuple(name for name in (*self.modalities, *self.added) if name not in self.targets)

    @property
    def metainfo(self) -> dict[str, Any]:
        """classes, palette, ignore_index, modalities, targets and maps, for metrics and checkpoints.

        And `clips`, where samples hold any after the transforms.
        """
        stills = not self.clip_lengths or any(getattr(item, "makes_stills", False) for item in self.transforms)
        return {
            "classes": self.classes,
            "palette": self.palette,
            "ignore_index": IGNORE_INDEX,
            "modalities": self.modalities,
            "targets": self.targets,
            "maps": {**self.maps, **self.added_maps},
            **({} if stills else {"clips": self.clip_lengths}),
        }

    @property
    def clip_lengths(self) -> dict[str, int]:
        """How many frames the modalities have that are read as clips; override where there are any."""
        return {}

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__")

    def read(self, index: int) -> Sample:
        """The sample as it lies on disk: modalities, label, sample_id, paths."""
        raise NotImplementedError(f"{type(self).__name__} must define read(index)")

    def name_of(self, index: int) -> str:
        """The `sample_id` of a sample; override where it is known without reading it."""
        return str(self.read(index)["sample_id"])

    @property
    def frame_sets(self) -> np.ndarray | None:
        """Which modalities each frame has, int64 [N]: bit i says it of the i-th. None where all frames have all."""
        return None

    def maps_in(self, sample: Sample) -> dict[str, MapSpec]:
        """The maps that a sample is to hold: all, or where frames may lack some, those that it has."""
        if self.missing != "allow":
            return self.maps
        return {name: spec for name, spec in self.maps.items() if name in sample} or self.maps

    def encode_label(self, label: np.ndarray) -> np.ndarray:
        """Train ids, uint8 [H, W], as the dataset's own files store them; 255 becomes what stands for void."""
        return label

    def prediction_name(self, sample_id: str) -> str:
        """File name of a saved prediction, relative to its folder."""
        return f"{sample_id}.png"

    def __getitem__(self, key: SampleKey | int) -> Sample:
        """Reads, validates and transforms one sample.

        All randomness comes from `np.random.default_rng((seed, index))`, so a sample depends on
        its key only, never on the worker, the order or the process that made it.
        """
        index, seed = key if isinstance(key, tuple) else (operator.index(key), 0)
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} samples")
        index %= len(self)
        sample = self._checked(index)
        rng = np.random.default_rng((seed, index))
        another = partial(self._another, index, rng) if len(self) > 1 else None
        lacking = set(self.maps).difference(self.maps_in(sample))
        for given in self.transforms:
            transform: Transform | None = given
            if lacking and not lacking.isdisjoint(getattr(given, "needs", ())):
                rest: Callable[[Collection[str]], Transform | None] = getattr(given, "without", lambda _: None)
                transform = rest(lacking)
            if transform is None:
                continue
            if getattr(transform, "borrows", ()):
                sample = cast(Borrower, transform)(sample, rng, another)
            else:
                sample = transform(sample, rng)
        return sample

    def _checked(self, index: int) -> Sample:
        sample = self.read(index)
        validate_sample(sample, self.maps_in(sample), self.num_classes)
        return sample

    def _another(self, index: int, rng: np.random.Generator) -> Sample:
        """Any frame but this one, as it is read."""
        drawn = int(rng.integers(len(self) - 1))
        return self._checked(drawn + (drawn >= index))


def check_names(modalities: Iterable[str], where: str) -> None:
    """Refuses names of modalities that a sample, a prediction or a file of weights could not have as keys.

    Args:
        modalities: the names.
        where: begins the message.

    Raises:
        ValueError: naming the first that is wrong.
    """
    for name in modalities:
        if not _NAME.fullmatch(name) or name in _TAKEN or name.endswith((*MASKS, TIMES)):
            raise ValueError(
                f"{where}: expected names of letters, digits, _ and -, other than {', '.join(_TAKEN)}, NAME{TIMES}, "
                f"NAME_valid and NAME_corrupted, which mean something else, found {name!r}"
            )


def build_from(config: Config) -> Any:
    """What dict(type=Class, **arguments) describes.

    Raises:
        ValueError: no type, or one that is no class or function, nor (as in dumped configs) the full name of one.
    """
    arguments = dict(config.items())
    kind = _class_of(arguments.pop("type", None))
    if not callable(kind):
        raise ValueError(f"expected dict(type=Class, **arguments) with a class or a function, found type={kind!r}")
    return kind(**arguments)


def _class_of(kind: object) -> object:
    """The class that a full name means; anything else as it is."""
    if not isinstance(kind, str) or "." not in kind:
        return kind
    try:
        return pkgutil.resolve_name(kind)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"type={kind!r} cannot be imported: {error}") from error


def _with_maps(transform: Config, maps: Mapping[str, MapSpec]) -> dict[str, Any]:
    """The transform's dict with the dataset's maps, if it takes them and names none itself."""
    kind = _class_of(transform.get("type"))
    takes = callable(kind) and "maps" in inspect.signature(kind).parameters
    return {"maps": dict(maps), **transform} if takes else dict(transform)


def validate_sample(sample: Sample, maps: Mapping[str, MapSpec], num_classes: int) -> None:
    """Checks a sample as read: keys, dtypes, equal sizes, units and label ids.

    Args:
        sample: the dict that `DenseDataset.read` returns.
        maps: the spec of every modality the sample must hold.
        num_classes: K; label ids must be 0..K-1 or 255.

    Raises:
        ValueError: naming the file, the field, what was found and what was expected.
    """
    for key in (*maps, "sample_id", "paths"):
        if key not in sample:
            raise ValueError(f"sample {sample.get('sample_id', '?')!r} lacks {key!r}; it has {sorted(sample)}")
    size = frame_size(sample, next(iter(maps)))
    for name, spec in maps.items():
        shape = (*np.shape(sample[name])[:1], *size) if f"{name}{TIMES}" in sample else size
        _check_array(sample, name, spec.dtype, shape, spec.channels)
        _check_values(sample, spec)
        for mask in (f"{name}{ending}" for ending in MASKS if f"{name}{ending}" in sample):
            _check_array(sample, mask, "uint8", shape, 1)
    check_times(sample, {name: _where(sample, name) for name in maps})
    if "label" in sample:
        _check_array(sample, "label", "uint8", size, 1)
        _check_label(sample, num_classes)


def _where(sample: Sample, name: str) -> str:
    path = sample["paths"].get(name, "no file given")
    return f"{name} of sample {sample['sample_id']!r} ({path})"


def _check_array(sample: Sample, name: str, dtype: str, size: tuple[int, ...], channels: int) -> None:
    array = sample[name]
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{_where(sample, name)}: expected a numpy array, found {type(array).__name__}")
    if array.dtype != dtype:
        raise ValueError(f"{_where(sample, name)}: expected {dtype}, found {array.dtype}")
    expected = size if channels == 1 else (*size, channels)
    if array.ndim < 2 or array.shape != expected:
        raise ValueError(
            f"{_where(sample, name)}: expected shape {expected}, "
            f"found {array.shape}; all maps and the label must be registered and of "
            f"one size at reading{turns_told(sample['paths'])}"
        )


def _check_values(sample: Sample, spec: MapSpec) -> None:
    if spec.dtype != "float32" or sample[spec.name].size == 0:
        return
    low, high = float(sample[spec.name].min()), float(sample[spec.name].max())
    if not np.isfinite(low + high):
        raise ValueError(
            f"{_where(sample, spec.name)}: contains NaN or infinity; write 0 where there is no measurement"
        )
    if spec.unit == "metre" and low < 0:
        raise ValueError(f"{_where(sample, spec.name)}: expected metres >= 0, found {low:.4g}")


def _check_label(sample: Sample, num_classes: int) -> None:
    label = sample["label"]
    if label.size == 0 or num_classes >= IGNORE_INDEX:
        return
    wrong = cv2.inRange(label, num_classes, IGNORE_INDEX - 1)
    if not wrong.any():
        return
    ids = np.unique(label[wrong > 0]).tolist()
    listed = f"{ids[:10]}" + (f" and {len(ids) - 10} more" if len(ids) > 10 else "")
    if ids == [num_classes]:
        advice = (
            "Either the labels count void as 0 (subtract an offset of 1 and map 0 to 255), or the list of "
            f"{num_classes} classes is one short"
        )
    else:
        advice = "Map ids that are not train ids to 255, or check num_classes and the offset"
    raise ValueError(
        f"{_where(sample, 'label')}: ids {listed} are outside 0..{num_classes - 1} "
        f"(255 = ignore), on {np.count_nonzero(wrong)} pixels. {advice}"
    )
