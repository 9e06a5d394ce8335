"""Searches the frames, or regions, of one sensor for what another sensor shows, by the codes of a checkpoint."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import cv2
import numpy as np
import torch
from tqdm import tqdm

from rgbx._files import refuse_unwritable
from rgbx._text import nearest, text_table
from rgbx._types import Options
from rgbx.cli.arguments import mask_folders, named_paths, searched
from rgbx.cli.errors import ConfigError, command
from rgbx.cli.predict import describe_maps, parse_maps
from rgbx.cli.sources import Source, open_dataset, open_paths
from rgbx.maps import IGNORE_INDEX
from rgbx.maps.colour import colour_input
from rgbx.maps.drawing import PAPER, Panel, draw_strip
from rgbx.maps.files import encode_png, file_hash, read_grey, replace_file
from rgbx.maps.folders import MAP_SUFFIXES, image_files
from rgbx.metrics import search_scores
from rgbx.models import MultimodalModel, Predictor, load
from rgbx.models.folder import find_checkpoint
from rgbx.models.inputs import MapInput, map_inputs, read_frame
from rgbx.models.result import predict_frames
from rgbx.models.search import LIBRARY, MANY, PAYS_TO_BUILD, WHOLE, CodeIndex, graph_of, installed
from rgbx.profile.measure import find_device
from rgbx.tasks import Embedding
from rgbx.tasks.embedding import EmbeddingResult

INDEX = "index.npz"
MOST_PAIRS = 10**9  # of queries and items that are ranked for the scores
SHOWN = 5  # queries whose answers are printed
TALL, WIDE = 120, 240  # pixels of a picture, at most
DRAWN, DRAWN_QUERIES = 10, 10  # answers to a query in the picture, at most; queries, where nothing else is said
RIGHT, WRONG = (0, 140, 60), (200, 60, 40)
DIM = 0.35  # of what is not the region


@dataclass(frozen=True)
class Sensor:
    """The frames of one map, and how they become codes.

    Attributes:
        name: of the map.
        source: its frames.
        reading: how it is read.
        predictor: of the model, for this map alone.
        head: the one that embeds.
        masks: by stem the file of a frame's regions; None where whole frames have codes.
        batch_size: frames computed together.
    """

    name: str
    source: Source
    reading: Mapping[str, MapInput]
    predictor: Predictor
    head: str
    masks: Mapping[str, Path] | None
    batch_size: int

    def encode(self, about: Options, what: str) -> CodeIndex:
        """The codes of all frames, or of their regions.

        Raises:
            FileNotFoundError, ValueError: see `mask_of`, or masks without any region.
        """
        count = len(self.source.ids)
        frames = self.source.read(range(count))
        found = predict_frames(
            self.predictor,
            self.reading,
            frames,
            about={},
            batch_size=self.batch_size,
            keep_probability=False,
            readers=2,
        )
        codes, names, regions = [], [], []
        for result in tqdm(found, total=count, desc=what, unit="frame", disable=None):
            answer = result[self.head]
            if not isinstance(answer, EmbeddingResult):
                raise TypeError(f"head {self.head!r} gives {type(answer).__name__}, no codes")
            mask = self.mask_of(result.sample_id, answer.size)
            own = [WHOLE] if mask is None else [int(k) for k in np.unique(mask) if k >= 0]
            codes.append(answer.code[None] if mask is None else answer.codes_of(mask))
            names += [result.sample_id] * len(own)
            regions += own
        if not regions:
            raise ValueError(f"no frame of {self.name} has a region: all masks are {IGNORE_INDEX} alone")
        return CodeIndex(np.concatenate(codes).astype(np.float32), names, np.array(regions, np.int64), about)

    def mask_of(self, sample_id: str, size: tuple[int, int]) -> np.ndarray | None:
        """The regions of a frame, int64 [H, W], -1 where there is none; None of a whole frame.

        Raises:
            FileNotFoundError: no mask of that name.
            ValueError: one of another size.
        """
        if self.masks is None:
            return None
        stem = sample_id if sample_id in self.masks else PurePosixPath(sample_id).name
        if stem not in self.masks:
            raise FileNotFoundError(f"--masks of {self.name} hold no image {stem!r}, which it has a frame of")
        mask = read_grey(self.masks[stem]).astype(np.int64)
        if mask.shape != size:
            raise ValueError(f"{self.masks[stem]} is {list(mask.shape)}, the frame {list(size)}; expected one size")
        return np.where(mask == IGNORE_INDEX, -1, mask)

    def picture(self, place: int, region: int) -> np.ndarray:
        """A frame, with all but the region dimmed, uint8 RGB [H, W, 3]."""
        (frame,) = self.source.read([place])
        sample = read_frame(frame, self.reading)
        image, valid = sample[self.name].numpy(), sample.get(f"{self.name}_valid")
        spec = self.reading[self.name].spec
        drawn = colour_input(self.name, image, None if valid is None else valid.numpy(), spec)
        mask = None if region == WHOLE else self.mask_of(frame.sample_id, drawn.shape[:2])
        return drawn if mask is None else np.where((mask == region)[..., None], drawn, drawn * DIM).astype(np.uint8)


class Right(NamedTuple):
    """What is asked for: items of the query's label, which is the id of a region or stands for a frame's stem.

    Attributes:
        asked: int64 [q].
        items: int64 [n].
    """

    asked: np.ndarray
    items: np.ndarray


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        places: int64 [q, k], of items in the index, the most similar one first.
        scores: float32 [q, k], their cosines.
        right: what each query asks for, see `Right`; None where nobody knows.
    """

    places: np.ndarray
    scores: np.ndarray
    right: Right | None

    def of(self, query: int) -> Iterator[tuple[int, float, bool | None]]:
        """Place, cosine, and whether it is right, of what was found for a query."""
        for place, score in zip(self.places[query].tolist(), self.scores[query].tolist(), strict=True):
            yield place, score, None if self.right is None else bool(self.right.asked[query] == self.right.items[place])


@command("retrieve")
def main(arguments: argparse.Namespace) -> int:
    """Loads, indexes or reads the index, searches, tells and draws; exit code 0, 2 for a user's error."""
    checkpoint, maps = find_checkpoint(arguments.checkpoint), searched(arguments)
    refuse_unused(arguments, maps)
    model = load(checkpoint, device=find_device(arguments.device), trust=arguments.trust)
    head = find_head(model, arguments.head)
    masks = {name: image_files(folder) for name, folder in mask_folders(arguments.masks, maps).items()}
    items, queries = (
        open_sensor(model, head, text, option, masks, arguments)
        for text, option in ((arguments.index, "--index"), (arguments.query, "--query"))
    )
    task = model.tasks[head]
    if isinstance(task, Embedding) and (task.by == "frame") != (not masks):
        trained, asked_for = ("frames", "regions") if masks else ("regions", "whole frames")
        print(f"This head was trained on codes of {trained}: of {asked_for} it may not tell much.")
    about: dict[str, object] = {"checkpoint": file_hash(checkpoint), "head": head, "map": items.name}
    about |= {"options": arguments.map, "by": "region" if masks else "frame", "files": stamps_of(items)}
    file = file_of(arguments)
    index = index_of(items, about, file)
    asked = queries.encode({}, "query")
    graph = graph_of(index, len(asked), file)
    if graph is not None:
        print(f"The search is approximate, by {LIBRARY}: of {len(asked):,} queries, an exact one takes longer")
    elif len(index) >= MANY and len(asked) >= PAYS_TO_BUILD and not installed():
        print(f"{LIBRARY} searches so much faster, approximately: pip install 'rgbx[retrieval]'")
    found = Found(*(graph or index).search(asked.codes, arguments.top), relevance(asked, index))
    tell(asked, index, found)
    if arguments.out:
        write(Path(arguments.out), (asked, queries), (index, items), found, arguments.draw_count or DRAWN_QUERIES)
    return 0


def refuse_unused(arguments: argparse.Namespace, maps: Sequence[str]) -> None:
    """Refuses what is said of maps that are not searched, and a split of none.

    Raises:
        ConfigError: naming it.
    """
    if unused := sorted(set(parse_maps(arguments.map)) - set(maps)):
        raise ConfigError(f"--map describes {unused}, but the maps are {list(maps)}{nearest(unused[0], maps)}")
    places = [path for text in (arguments.index, arguments.query) for path in named_paths([text]).values()]
    if arguments.split is not None and not any(map(is_dataset, places)):
        raise ConfigError(f"--split is of a dataset's folder; found files of maps in {' and '.join(map(str, places))}")


def is_dataset(path: Path) -> bool:
    """Whether a path is the folder of a dataset, and no file, list, or folder of the files of one map."""
    return path.is_dir() and not any(file.suffix.lower() in MAP_SUFFIXES for file in path.iterdir())


def find_head(model: MultimodalModel, asked: str | None) -> str:
    """The head that embeds.

    Raises:
        ConfigError: no such head, none, or several.
    """
    heads = [name for name, task in model.tasks.items() if isinstance(task, Embedding)]
    known = ", ".join(f"{name} ({task.kind})" for name, task in model.tasks.items())
    if not heads:
        raise ConfigError(
            f"this model has no head that embeds; its heads are {known}. Train one such as "
            "configs/rooms/embed_small_rooms_160x120.py (docs/retrieval.md)"
        )
    if (asked is not None and asked not in heads) or (asked is None and len(heads) > 1):
        raise ConfigError(f"--head {asked or 'is needed'}: those that embed are {', '.join(heads)}; all are {known}")
    return asked or heads[0]


def open_sensor(
    model: MultimodalModel,
    head: str,
    text: str,
    option: str,
    masks: Mapping[str, Mapping[str, Path]],
    arguments: argparse.Namespace,
) -> Sensor:
    """The frames that an option names.

    Raises:
        ConfigError: a map that the model does not have.
        FileNotFoundError, ValueError: see `rgbx.cli.sources`.
    """
    ((name, path),) = named_paths([text], option).items()
    if name not in model.modalities:
        known = ", ".join(model.modalities)
        raise ConfigError(f"{option}: {name!r} is no map of this model; it knows {known}{nearest(name, known)}")
    colours = {
        key
        for key, item in map_inputs(model.modalities, {}, model.trained_on).items()
        if item.spec is not None and item.spec.unit in ("rgb8", "encoded")
    }
    source = (
        open_dataset(path, wanted=[name], split=arguments.split)
        if is_dataset(path)
        else open_paths({name: path}, colours=colours)
    )
    said = {key: value for key, value in parse_maps(arguments.map).items() if key == name}
    reading, _ = describe_maps(model, [name], {head: model.tasks[head]}, said, source.inputs, written=False)
    predictor = Predictor(model, modalities=[name], heads=[head])
    return Sensor(name, source, reading, predictor, head, masks.get(name), arguments.batch_size)


def file_of(arguments: argparse.Namespace) -> Path | None:
    """Where the index is kept; None where it is not."""
    if arguments.index_file:
        return Path(arguments.index_file)
    return Path(arguments.out, INDEX) if arguments.out else None


def stamps_of(sensor: Sensor) -> dict[str, list[int]]:
    """Size and time of every file that the codes depend on, by its name."""
    files = [*sensor.source.files(), *(sensor.masks or {}).values()]
    return {str(file): [(status := file.stat()).st_size, status.st_mtime_ns] for file in files}


def index_of(sensor: Sensor, about: Options, file: Path | None) -> CodeIndex:
    """The index that is kept, where it is of this checkpoint and these files; or a new one, which is kept then."""
    if file is not None and file.is_file():
        kept = CodeIndex.read(file)
        stale = differences(kept.about, about)
        if not stale:
            print(f"{file}: {told(kept)} of {sensor.name}, made before")
            return kept
        print(f"{file} is made anew: {stale}")
    if file is not None:
        refuse_unwritable(file, "keep the index elsewhere by --index-file")
    start = time.perf_counter()
    index = sensor.encode(about, "index")
    where = ""
    if file is not None:
        index.save(file)
        where = f": {file}"
    print(f"{told(index)} of {sensor.name} indexed in {time.perf_counter() - start:.1f} s{where}")
    return index


def differences(kept: Options, asked: Options) -> str:
    """Why an index is stale, in words; "" where it is not."""
    words = {
        "checkpoint": "it is of another checkpoint",
        "head": "it is of another head",
        "map": "it is of another map",
    }
    words |= {"options": "--map says something else", "by": "it is of another kind of item (--masks)"}
    for key, text in words.items():
        if kept.get(key) != asked[key]:
            return text
    old, new = kept.get("files", {}), asked["files"]
    changed = sum(1 for name in new if name in old and old[name] != new[name])
    counts = {"new": len(set(new) - set(old)), "changed": changed, "gone": len(set(old) - set(new))}
    found = [f"{count} file{'s' * (count != 1)} {word}" for word, count in counts.items() if count]
    return ", ".join(found)


def told(index: CodeIndex) -> str:
    """ "12 frames", or "108 regions of 12 frames"."""
    frames = len(set(index.frames))
    text = f"{frames:,} frame{'s' * (frames != 1)}"
    return text if (index.regions == WHOLE).all() else f"{len(index):,} regions of {text}"


def relevance(asked: CodeIndex, index: CodeIndex) -> Right | None:
    """Which items a query asks for: of regions those of its id, of frames that of its stem.

    None where no query has any, so that names do not tell.
    """
    if (index.regions != WHOLE).any():
        found = Right(asked.regions, index.regions)
    else:
        stems = [PurePosixPath(name).name for each in (asked, index) for name in each.frames]
        numbers = np.unique(stems, return_inverse=True)[1].astype(np.int64)
        found = Right(numbers[: len(asked)], numbers[len(asked) :])
    return found if np.isin(found.asked, found.items).any() else None


def title_of(index: CodeIndex, place: int) -> str:
    """An item's name: of a frame, and the id of its region."""
    region = int(index.regions[place])
    return index.frames[place] + ("" if region == WHOLE else f" [{region}]")


def tell(asked: CodeIndex, index: CodeIndex, found: Found) -> None:
    """Prints the answers to the first queries and, where names tell the truth, the scores of all."""
    for query in range(min(SHOWN, len(asked))):
        rows = [
            [str(rank), title_of(index, place), f"{score:.3f}", "right" if right else ""]
            for rank, (place, score, right) in enumerate(found.of(query), 1)
        ]
        print(f"\n{title_of(asked, query)}\n{text_table(['rank', 'found', 'cosine', ''], rows, texts=2)}")
    if len(asked) > SHOWN:
        print(f"\n... and {len(asked) - SHOWN} more queries")
    if found.right is None:
        print("\nNo query has a name of the index, so that what is right is not told.")
        return
    if len(asked) * len(index) > MOST_PAIRS:
        print(f"\nScores are not told of more than {MOST_PAIRS:,} pairs of a query and an item.")
        return
    codes, labels = ([torch.from_numpy(x) for x in pair] for pair in ((asked.codes, index.codes), found.right))
    scores = {key: float(x.nanmean()) for key, x in search_scores(*codes, *labels).items()}
    what = "regions of the same id" if (index.regions != WHOLE).any() else "the frame of the same name"
    count = int(np.isin(found.right.asked, found.right.items).sum())
    print(f"\nRight is {what}; of {count} queries, in percent:")
    print(text_table(list(scores), [[f"{100 * value:.1f}" for value in scores.values()]], texts=0))


def write(
    out: Path,
    asked: tuple[CodeIndex, Sensor],
    items: tuple[CodeIndex, Sensor],
    found: Found,
    count: int,
) -> None:
    """Writes ``retrieved.json``, all ranks and scores, and ``retrieved.png``, the first queries and their answers."""
    rows = []
    for query in range(len(asked[0])):
        answers = [
            {
                "found": title_of(items[0], place),
                "cosine": round(score, 6),
                **({} if right is None else {"right": right}),
            }
            for place, score, right in found.of(query)
        ]
        rows.append({"query": title_of(asked[0], query), "answers": answers})
    replace_file(out / "retrieved.json", (json.dumps(rows, indent=1) + "\n").encode())
    strips = [strip(query, asked, items, found) for query in range(min(count, len(rows)))]
    widest = max(each.shape[1] for each in strips)
    grid = [np.pad(x, ((0, 0), (0, widest - x.shape[1]), (0, 0)), constant_values=PAPER[0]) for x in strips]
    replace_file(out / "retrieved.png", encode_png(np.concatenate(grid)))
    drawn = f"those to the first {len(strips)}" if len(strips) < len(rows) else "all"
    if found.places.shape[1] > DRAWN:
        drawn = f"the first {DRAWN} of {drawn}"
    print(f"Answers: {out / 'retrieved.json'}; {drawn} drawn: {out / 'retrieved.png'}")


def strip(query: int, asked: tuple[CodeIndex, Sensor], items: tuple[CodeIndex, Sensor], found: Found) -> np.ndarray:
    """A query beside what was found, in rank order, uint8 RGB [h, w, 3]."""
    panels = [Panel(f"query {title_of(asked[0], query)}", _small(picture_of(*asked, query)))]
    for rank, (place, score, right) in enumerate(islice(found.of(query), DRAWN), 1):
        picture = _small(picture_of(*items, place))
        if right is not None:
            picture = _framed(picture, RIGHT if right else WRONG)
        panels.append(Panel(f"{rank}: {score:.2f} {title_of(items[0], place)}", picture))
    return draw_strip(panels)


def picture_of(index: CodeIndex, sensor: Sensor, place: int) -> np.ndarray:
    """An item of an index, uint8 RGB [H, W, 3]."""
    return sensor.picture(sensor.source.ids.index(index.frames[place]), int(index.regions[place]))


def _small(
    picture: np.ndarray,  # uint8 RGB [H, W, 3]
) -> np.ndarray:
    """The picture in at most `TALL` by `WIDE` pixels, and paper to the right of a narrow one, for its title."""
    height, width = picture.shape[:2]
    scale = min(TALL / height, WIDE / width)
    found = cv2.resize(
        picture, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    return np.pad(found, ((0, 0), (0, max(0, TALL - found.shape[1])), (0, 0)), constant_values=PAPER[0])


def _framed(
    picture: np.ndarray,  # uint8 RGB [H, W, 3]
    colour: Sequence[int],
    width: int = 4,
) -> np.ndarray:
    """The picture with a border of a colour drawn over it, [H, W, 3]."""
    found = picture.copy()
    for edge in (np.s_[:width], np.s_[-width:], np.s_[:, :width], np.s_[:, -width:]):
        found[edge] = colour
    return found
