"""What a model says of a frame: a result of every head."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
from torch import Tensor

from rgbx._text import mask_title, modality_title, nearest
from rgbx._types import Batch, Meta
from rgbx.maps.colour import colour_input, colour_map
from rgbx.maps.drawing import Panel, draw_strip, holes_legend, share_panel
from rgbx.models.inputs import Frame, MapInput, Packed, read_frame
from rgbx.models.predict import Predictor
from rgbx.tasks import ENSEMBLE, Prediction, Task
from rgbx.tasks.result import Answer, HeadResult, map_bar

Item = TypeVar("Item")
Made = TypeVar("Made")


class Result(Mapping[str, HeadResult]):
    """What a model says of one frame, by the name of each head.

    It holds the frame's maps too, for pictures: keep no more results than fit into memory.

    Args:
        sample_id: of the frame.
        paths: the file behind each map; "" where it was no file.
        inputs: modality to [C, H, W] in its unit, and ``NAME_valid`` bool [1, H, W], as the model saw them.
        heads: by name.
        read: how each map was read.
        masks: modality to float32 [H, W], how far it is to be believed, 0 to 1; below 1/2 the network masks it. Of
            networks with gates (`purification`); for others there are none.
        hallucinated: names of modalities that were not given and whose branches the network filled in (`hallucinate`).
    """

    def __init__(
        self,
        sample_id: str,
        paths: Mapping[str, str],
        inputs: Mapping[str, np.ndarray],  # [C, H, W] each
        heads: Mapping[str, HeadResult],
        read: Mapping[str, MapInput],
        masks: Mapping[str, np.ndarray] | None = None,  # float32 [H, W] each
        hallucinated: Sequence[str] = (),
    ) -> None:
        self.sample_id, self.paths, self.inputs, self._heads = sample_id, dict(paths), inputs, dict(heads)
        self.read, self.masks, self.hallucinated = dict(read), dict(masks or {}), tuple(hallucinated)

    def __getitem__(self, name: str) -> HeadResult:
        try:
            return self._heads[name]
        except KeyError:
            raise KeyError(f"no head {name!r}; the model has {', '.join(self._heads)}") from None

    def __getattr__(self, name: str) -> NoReturn:
        """What else is asked for; the name of a head is told as it is written."""
        heads = self.__dict__.get("_heads", {})
        way = f": {name!r} is a head, result[{name!r}]" if name in heads else nearest(name, dir(self))
        raise AttributeError(f"a result has no attribute {name!r}{way}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._heads)

    def __len__(self) -> int:
        return len(self._heads)

    def __repr__(self) -> str:
        own = f", {' and '.join(self.hallucinated)} hallucinated" if self.hallucinated else ""
        return f"<Result {self.sample_id!r}: {', '.join(map(repr, self._heads.values()))}{own}>"

    def of_branch(self, name: str) -> Result:
        """The branch of one modality in place of the ensemble, of every head.

        Raises:
            ValueError: a head without such a branch; models that merge their modalities have none.
        """
        for head, found in self.items():
            if name not in found.branches:
                known = ", ".join((ENSEMBLE, *found.branches))
                raise ValueError(
                    f"there is no branch {name!r} of {head}; it has {known}{nearest(name, found.branches)}"
                )
        heads = {head: found.branches[name] for head, found in self.items()}
        return Result(self.sample_id, self.paths, self.inputs, heads, self.read, self.masks, self.hallucinated)

    @property
    def input_titles(self) -> list[str]:
        """What stands above the pictures of the inputs, which come first of the `panels`."""
        return [modality_title(name) for name in self.paths]

    def panels(self) -> list[Panel]:
        """Pictures of the inputs, every head and the masks, with their titles and what their colours stand for."""
        heads = (panel for head in self.values() for panel in head.panels())
        masks = (share_panel(mask_title(name), mask) for name, mask in self.masks.items())
        return [*map(self.input_panel, self.paths), *heads, *masks]

    def strip(self, *, height: int | None = None) -> np.ndarray:
        """Inputs and answers side by side, with titles, bars of values and a legend, uint8 RGB [h, w, 3].

        Args:
            height: of the pictures, in pixels; None for that of the frame.
        """
        return draw_strip(self.panels(), self.legend(), height=height)

    def legend(self) -> dict[str, Sequence[int]]:
        """Name to colour of the classes that occur, and of what the inputs did not measure."""
        names = {name: colour for head in self.values() for name, colour in head.legend().items()}
        masks = [mask for key, mask in self.inputs.items() if key.endswith("_valid")]
        return {**names, **holes_legend(masks)}

    def input_panel(self, name: str) -> Panel:
        """An input as a picture, and what its colours stand for."""
        image, valid = self.inputs[name], self.inputs.get(f"{name}_valid")
        spec, known = self.read[name].spec, self.read[name].known
        if spec is None or spec.channels > 1:
            return Panel(modality_title(name), colour_input(name, image, valid, spec))
        mask = None if valid is None else valid[0]
        bar = map_bar(spec, image[0], mask, add=known.add if known else None)
        drawn = colour_map(image[0], mask, bar.scale, bar.limits)
        return Panel(modality_title(name), drawn, bar)

    def place(self, folder: str | Path, suffix: str = "") -> Path:
        """Where something of the frame is kept in a folder: under its name, which may hold folders.

        Raises:
            ValueError: a name that leads out of the folder.
        """
        name = Path(f"{self.sample_id}{suffix}")
        if name.is_absolute() or ".." in name.parts or not name.parts:
            raise ValueError(f"sample {self.sample_id!r} cannot be saved: its name leads out of {folder}")
        return Path(folder) / name

    def save(self, folder: str | Path) -> dict[str, Path]:
        """Writes every head as ``FOLDER/HEAD/SAMPLE_ID.png``: class ids of 8 bits, maps of 16, see the heads' `save`.

        Returns:
            The file of each head.

        Raises:
            ValueError: a sample's name that leads out of the folder, or what the heads refuse.
        """
        files = {name: self.place(Path(folder, name), ".png") for name in self}
        for name, file in files.items():
            self[name].save(file)
        return files


def predict_frames(
    predictor: Predictor,
    inputs: Mapping[str, MapInput],
    frames: Iterator[Frame],
    *,
    about: Meta,
    batch_size: int,
    keep_probability: bool,
    keep_confidence: bool = True,
    readers: int = 0,
) -> Iterator[Result]:
    """Results of frames in their order, read when they are asked for, or by threads ahead of it.

    Neighbours of one size that have the same maps are computed together, `batch_size` at most.

    Args:
        predictor: of the model.
        inputs: how the maps are read.
        frames: in order.
        about: see `rgbx.tasks.result.Answer`.
        batch_size: at most.
        keep_probability: whether results hold probabilities, [K, H, W] each.
        keep_confidence: whether they hold their confidence, [H, W]; or else it takes a pass more where it is asked for.
        readers: how many threads read ahead.
    """
    group: list[Packed] = []
    read = partial(read_frame, inputs=inputs)
    samples = ahead(read, frames, readers) if readers else map(read, frames)

    def answered() -> Iterator[Result]:
        kept = {"keep_probability": keep_probability, "keep_confidence": keep_confidence}
        found = predictor(as_batch(group), **kept) if group else []
        for sample, output in zip(group, found, strict=True):
            masks = {name: _array(x) for name, x in output.get("masks", {}).items()}
            yield _result(sample, output["heads"], predictor, about, keep_probability, inputs, masks)

    while True:
        try:
            sample = next(samples, None)
        except Exception:  # also of a caller's iterator
            yield from answered()
            raise
        if sample is None:
            break
        if group and not _alike(group[0], sample):
            yield from answered()
            group = []
        group.append(sample)
        if len(group) == batch_size:
            yield from answered()
            group = []
    yield from answered()


def ahead(function: Callable[[Item], Made], items: Iterable[Item], threads: int) -> Iterator[Made]:
    """What a function makes of each item, in their order, by threads that begin before it is asked for.

    At most four items a thread are taken ahead, so that neither items nor answers pile up.
    """
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 4 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def as_batch(samples: list[Packed]) -> Batch:
    """A collated batch of packed samples that are alike."""
    maps = [key for key, value in samples[0].items() if isinstance(value, Tensor)]
    paths = {name: [sample["paths"][name] for sample in samples] for name in samples[0]["paths"]}
    stacked: dict[str, Any] = {key: torch.stack([sample[key] for sample in samples]) for key in maps}
    names = [sample["sample_id"] for sample in samples]
    return {**stacked, "sample_id": names, "paths": paths, "divided": samples[0]["divided"]}


def _alike(a: Packed, b: Packed) -> bool:
    """Whether samples may stand in one batch."""
    first, second = (
        {key: (x.shape, x.dtype) for key, x in sample.items() if isinstance(x, Tensor)} for sample in (a, b)
    )
    return first == second


def _result(
    sample: Packed,
    heads: Mapping[str, Prediction],
    predictor: Predictor,
    about: Meta,
    keep_probability: bool,
    read: Mapping[str, MapInput],
    masks: Mapping[str, np.ndarray],  # float32 [H, W] each
) -> Result:
    inputs = {key: x.numpy() for key, x in sample.items() if isinstance(x, Tensor)}
    specs = {name: item.spec for name, item in read.items() if item.spec is not None}
    found = {}
    for name, item in heads.items():
        task, kept = predictor.tasks[name], item.probability or {}
        answer = Answer(
            name,
            {branch: _array(x) for branch, x in item.prediction.items()},
            _array(kept[ENSEMBLE]) if keep_probability and ENSEMBLE in kept else None,
            {branch: _array(x) for branch, x in (item.confidence or {}).items()},
            inputs,
            specs,
            about,
            _again(predictor, sample, name, task),
        )
        joint = task.result(answer)
        found[name] = joint if ENSEMBLE in answer.values else next(iter(joint.branches.values()))
    seen = [name for name in predictor.modalities if name in inputs]
    own = predictor.model.hallucinated(seen)
    return Result(sample["sample_id"], sample["paths"], inputs, found, read, masks, own)


def _again(
    predictor: Predictor, sample: Packed, head: str, task: Task
) -> Callable[[Iterable[str]], Iterator[np.ndarray]]:
    """Computes the probabilities of branches, [K, H, W] each, by one more pass for all of them."""

    def probabilities(branches: Iterable[str]) -> Iterator[np.ndarray]:
        score: Any = task
        totals = predictor.totals(as_batch([sample]))[head]
        for branch in branches:
            yield _array(score.probability(totals[branch], predictor.protocol)[0])

    return probabilities


def _array(
    x: Tensor,  # [...]
) -> np.ndarray:
    """A copy on the CPU, so that the rest of its batch can go."""
    found: np.ndarray = x.detach().cpu().clone().numpy()
    return found
