"""Predicts on files, folders, lists, videos or a dataset, and writes what the heads of a model say."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from rgbx._text import nearest, one_of
from rgbx._types import Meta, Options
from rgbx.cli.arguments import input_kind, predicted_paths
from rgbx.cli.errors import ConfigError, command
from rgbx.cli.outputs import (
    CLASSES_ONLY,
    STRIP,
    Outputs,
    Process,
    Progress,
    begin,
    check_resumed,
    write_areas,
    write_page,
    write_video,
)
from rgbx.cli.sources import USUAL_GAP, Source, has_timestamps, open_dataset, open_paths
from rgbx.cli.tars import Unit, units_of, write_index, write_tar
from rgbx.maps import UNITS, Encoding
from rgbx.maps.files import encode_png, file_hash, replace_file
from rgbx.models import MultimodalModel, Predictor, load
from rgbx.models.folder import find_checkpoint
from rgbx.models.inputs import WORDS, Frame, MapInput, map_inputs
from rgbx.models.precision import autocast_dtype
from rgbx.models.result import Result, ahead, predict_frames
from rgbx.profile.measure import find_device
from rgbx.tasks import ENSEMBLE, Classes, Map, Task

_COLOURS = ("rgb8", "encoded")
_USUAL = ("ids", "overlay")
THREADS = 2  # that read files, and as many that write them, while the model computes


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


@command("predict")
def main(arguments: argparse.Namespace) -> int:
    """Loads, lists, predicts frame after frame; exit code 0, 2 for a user's error, 130 for Ctrl-C."""
    process, out = Process.of_environment(arguments.shard), Path(arguments.out)
    checkpoint = find_checkpoint(arguments.checkpoint)
    said = parse_maps(arguments.map, timed=True)
    delays = {name: words.pop("delay") for name, words in said.items() if "delay" in words}
    said = {name: words for name, words in said.items() if words}
    single = out.suffix.lower() == ".png"
    if not single:
        asked = what_is_asked(arguments, file_hash(checkpoint))
        check_resumed(out, asked, resume=arguments.resume or bool(process.shards))
    model = load(checkpoint, device=_device(arguments.device, process), trust=arguments.trust)
    source = list_frames(arguments, model, delays)
    names = [name for name in source.maps if not name.endswith("_valid")]
    check_branch(arguments.branch, model, names)
    predictor = Predictor(
        model,
        arguments.protocol,
        dtype=autocast_dtype(arguments.dtype, next(model.parameters()).device.type),
        modalities=names,
        heads=arguments.heads,
        names=[arguments.branch or ENSEMBLE],
    )
    kinds = saved_kinds(arguments.save, predictor.tasks, single=single)
    reading, encodings = describe_maps(model, names, predictor.tasks, said, source.inputs, written="ids" in kinds)
    spans = _spans(predictor.tasks) if source.rate else {}
    masks = masked_maps(model, names) if arguments.masks else ()
    further = {"masks": masks, "gallery": arguments.gallery, "spans": spans, "tar": arguments.tar is not None}
    outputs = Outputs(out, predictor.tasks, kinds, encodings, **further)
    own = single and the_one(outputs)
    if not single and process.leads:
        outputs.check_inputs(chain([checkpoint], (predicted_paths(arguments.inputs) or {}).values(), source.files()))
    _tell(model, names, source, process)

    def results(positions: Sequence[int]) -> Iterator[Result]:
        frames = source.read(positions)
        options = {"branch": arguments.branch, "batch_size": arguments.batch_size}
        return answers(predictor, reading, frames, model.trained_on, keep_confidence=outputs.show_confidence, **options)

    if own:
        _write_one(outputs, own, *results([0]))
        if arguments.save is None and kinds == ["overlay"]:
            print("It is to look at; --save ids writes the class ids.")
        return 0
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    units = units_of(source, arguments.tar) if outputs.tar else []
    sizes = [len(unit.frames) for unit in units]
    begin(outputs, asked, process, source.ids, overwrite=arguments.overwrite, tars=sizes)
    progress = Progress(out, process)
    try:
        if outputs.tar:
            _write_tars(outputs, units, results, progress, process)
        else:
            _write_all(outputs, source, results, progress, process)
    except (KeyboardInterrupt, Exception):
        if progress.path.stat().st_size:
            again = "the same command" if process.shards else "the same command with --resume"
            print(f"What is done stays in {out}: {again} goes on.", file=sys.stderr)
        elif process.size == 1 and next(progress.notes(), None) is None:
            progress.withdraw(made)
        raise
    return 0


def _write_one(outputs: Outputs, own: str, result: Result) -> None:
    """Writes one picture of one frame to the file that `outputs.folder` is then; see `the_one`."""
    (kind,), whole = outputs.kinds, own == STRIP
    replace_file(outputs.folder, encode_png(result.strip()) if whole else outputs.content(result[own], own, kind))
    print(f"{kind}{'' if whole else f' of {own}'} written: {outputs.folder}")


def _write_all(
    outputs: Outputs,
    source: Source,
    results: Callable[[Sequence[int]], Iterator[Result]],
    progress: Progress,
    process: Process,
) -> None:
    """Writes this process's share of the frames that are not done and, where it is the last, what is of all."""
    positions, kept = _left_to_do(source.ids, progress, process)
    start = time.perf_counter()

    def write(result: Result) -> None:
        progress.add(outputs.write(result))

    written = ahead(write, results(positions), THREADS)
    for _ in tqdm(written, total=len(positions), desc="predict", unit="frame", disable=None):
        pass
    seconds = time.perf_counter() - start
    there = f", {kept} were there" if kept else ""
    speed = f", {len(positions) / seconds:.3g} frames/s" if positions else ""
    told = f"{frames_told(len(positions))}{speed}{there}" if positions or not kept else _all_there(kept)
    print(f"{_whose(process)}{told}: {outputs.folder}")
    if not progress.complete(source.ids):
        return  # another process is not at its end
    if "areas" in outputs.kinds:
        print(f"The share of each class is in {write_areas(progress, source.ids)}")
    if outputs.gallery:
        print(f"The page is {write_page(outputs.folder, source.ids)}")
    if source.rate is not None:
        for film in outputs.films:
            print(f"The video is {write_video(outputs.folder, film, source.ids, source.rate)}")


def _write_tars(
    outputs: Outputs,
    units: Sequence[Unit],
    results: Callable[[Sequence[int]], Iterator[Result]],
    progress: Progress,
    process: Process,
) -> None:
    """Writes this process's share of the tars that are not done and, where it is the last, the manifest."""
    names = [unit.name for unit in units]
    positions, kept = _left_to_do(names, progress, process)
    for i in tqdm(positions, desc="predict", unit="tar", disable=None):
        progress.add(write_tar(outputs, units[i], results(units[i].frames), THREADS))
    frames, there = sum(len(units[i].frames) for i in positions), f", {kept} were there" if kept else ""
    print(f"{_whose(process)}{frames_told(frames)} in {len(positions)} tar files{there}: {outputs.folder}")
    if progress.complete(names):
        print(
            f"To check them: cd {outputs.folder} && sha256sum --quiet -c {write_index(outputs, progress, units).name}"
        )


def _left_to_do(names: Sequence[str], progress: Progress, process: Process) -> tuple[list[int], int]:
    """The positions of what is this process's and not done, and how much of its share is."""
    done, own = progress.done(own=True), range(process.rank, len(names), process.size)
    positions = [i for i in own if names[i] not in done]
    return positions, len(own) - len(positions)


def _whose(process: Process) -> str:
    return f"{process.title}: " if process.title else ""


def _all_there(count: int) -> str:
    return f"all {count} frames were there already" if count > 1 else "the frame was there already"


def frames_told(count: int) -> str:
    """ "1 frame", "2 frames"."""
    return f"{count} frame{'s' if count != 1 else ''}"


def answers(
    predictor: Predictor,
    reading: Mapping[str, MapInput],
    frames: Iterator[Frame],
    about: Meta,
    *,
    branch: str | None = None,
    batch_size: int = 1,
    keep_confidence: bool = True,
) -> Iterator[Result]:
    """The results of frames, of the ensemble or of the branch of one modality; see `predict_frames`.

    Raises:
        ValueError: no such branch, or what a frame cannot be.
    """
    kept = {"keep_probability": False, "keep_confidence": keep_confidence}
    found = predict_frames(predictor, reading, frames, about=about, batch_size=batch_size, readers=THREADS, **kept)
    return found if branch in (None, ENSEMBLE) else (result.of_branch(str(branch)) for result in found)


def list_frames(
    arguments: argparse.Namespace, model: MultimodalModel, delays: Mapping[str, float] | None = None
) -> Source:
    """What is predicted on, of the maps that the model has.

    Args:
        arguments: of `rgbx predict`.
        model: it knows the delays and the `max_gap` of its training.
        delays: others than those, seconds by map.

    Raises:
        ConfigError: a map that the model does not have, or one that is not given; delays of what has no timestamps.
        FileNotFoundError, ValueError: see `rgbx.cli.sources`.
    """
    paths, wanted = predicted_paths(arguments.inputs), arguments.modalities
    for name in [*(paths or ()), *(wanted or ())]:
        if name.removesuffix("_valid") not in model.modalities:
            raise ConfigError(
                f"{name!r} is no map of this model; this model knows {', '.join(model.modalities)}"
                f"{nearest(name, model.modalities)}"
            )
    _check_delays(delays or {}, paths)
    if paths is None:
        return open_dataset(Path(arguments.inputs[0]), wanted=wanted or model.modalities, split=arguments.split)
    if absent := [name for name in wanted or () if name not in paths]:
        raise ConfigError(f"--modalities {absent[0]}: it is not given; {', '.join(paths)} is")
    asked = {name: path for name, path in paths.items() if wanted is None or name.removesuffix("_valid") in wanted}
    if alone := [name for name in asked if name.endswith("_valid") and name.removesuffix("_valid") not in asked]:
        raise ConfigError(f"{alone[0]} is given without {alone[0].removesuffix('_valid')}")
    known = map_inputs(model.modalities, {}, model.trained_on)
    colours = {name for name, item in known.items() if item.spec is not None and item.spec.unit in _COLOURS}
    times = model.trained_on.get("times", {})
    return open_paths(
        asked,
        colours=colours,
        max_gap=arguments.max_gap,
        usual_gap=times.get("max_gap", USUAL_GAP),
        delays={**times.get("delays", {}), **(delays or {})},
    )


def _check_delays(delays: Mapping[str, float], paths: Mapping[str, Path] | None) -> None:
    for name in delays:
        if paths is None:
            raise ConfigError(f"--map {name} delay= is of lists with timestamps; a dataset says its own (delays)")
        if name not in paths:
            raise ConfigError(f"--map {name} delay=: {name} is not given; {', '.join(paths)} is")
        if input_kind(paths[name]) != "list" or not has_timestamps(paths[name]):
            raise ConfigError(f"--map {name} delay= is of lists with timestamps, found {paths[name]}")


def describe_maps(
    model: MultimodalModel,
    names: Sequence[str],
    tasks: Mapping[str, Task],
    said: Mapping[str, Options],
    own: Mapping[str, MapInput] | None = None,
    *,
    written: bool = True,
    usual: bool = False,
) -> tuple[dict[str, MapInput], dict[str, Encoding]]:
    """How the maps that are read, and those that heads predict, lie in files.

    Args:
        model: it is told what the maps mean.
        names: of the maps that are read.
        tasks: of the heads, by name.
        said: by map what the user says of its files, see `parse_map`.
        own: how the maps of a dataset are read.
        written: whether the values of heads that predict maps are written.
        usual: whether depth of which nobody says it counts as millimetres, which is printed.

    Returns:
        By map how it is read, and by head how it is written.

    Raises:
        ConfigError: something is said of a map that is not used, or of one that a dataset describes.
        ValueError: see `rgbx.models.inputs.map_inputs`.
    """
    heads = {name: task for name, task in tasks.items() if isinstance(task, Map)}
    targets = [task.target for task in heads.values()]
    if unused := sorted(set(said) - {*(() if own else names), *targets}):
        if not set(unused) <= set(names):
            known, wrong = [*names, *targets], next(name for name in unused if name not in names)
            raise ConfigError(f"--map describes {unused}, but the maps are {known}{nearest(wrong, known)}")
        raise ConfigError(f"--map describes {unused}, of which the dataset says what its files hold")
    about = {"maps": dict(model.trained_on.get("maps", {})), "stored": dict(model.trained_on.get("stored", {}))}
    reading = dict(own or map_inputs(names, said, about, saying=map_option, usual=usual))
    if usual:
        _tell_assumed(reading, map_inputs(names, said, about, saying=map_option))
    specs = {name: item.spec if own else item.encoding.spec for name, item in reading.items()}
    model.data_preprocessor.describe({name: spec for name, spec in specs.items() if spec is not None})
    return reading, {name: _encoding(task, said, about) for name, task in heads.items()} if written else {}


def _tell_assumed(reading: Mapping[str, MapInput], strict: Mapping[str, MapInput]) -> None:
    """Says of which maps a scale is assumed: those that could not be read if nothing were."""
    for name, item in reading.items():
        if item.known is not None and strict[name].known is None:
            print(
                f"Nobody says how many steps of {name} make a metre: {item.known.steps:g} are assumed; if others do, "
                f"{map_option(name, 'scale=STEPS')}"
            )


def _encoding(task: Map, said: Mapping[str, Options], about: Meta) -> Encoding:
    """How the values of a head are written."""
    known, stored = dict(about["maps"]), dict(about["stored"])
    with suppress(ValueError):  # a map that the user has to describe
        known[task.target] = task.spec({"maps": known})
    if stored.get(task.target) is None:
        stored.pop(task.target, None)  # a PNG of the unit's defaults can be written anyway
    dataset = {"maps": known, "stored": stored}
    return map_inputs([task.target], said, dataset, saying=map_option, usual=True)[task.target].encoding.to_write()


def saved_kinds(asked: Sequence[str] | None, tasks: Mapping[str, Task], *, single: bool = False) -> list[str]:
    """What is written: what was asked for, or the usual that these heads have.

    Args:
        asked: some of `rgbx._choices.SAVED`.
        tasks: of the heads, by name.
        single: whether one file is written: then the usual is the overlay of classes, or the values of a map.

    Raises:
        ConfigError: a kind that none of the heads has.
    """
    has_classes = any(isinstance(task, Classes) for task in tasks.values())
    if asked is None and single:
        return ["overlay" if all(isinstance(task, Classes) for task in tasks.values()) else "ids"]
    if asked is None:
        return [kind for kind in _USUAL if has_classes or kind not in CLASSES_ONLY]
    if not has_classes and (absent := [kind for kind in asked if kind in CLASSES_ONLY]):
        heads = ", ".join(f"{name} ({task.kind})" for name, task in tasks.items())
        raise ConfigError(f"--save {absent[0]} is of classes, which no head predicts; the heads are {heads}")
    return list(dict.fromkeys(asked))


def the_one(outputs: Outputs) -> str:
    """The head of which one picture is written, or `STRIP` where it is of all.

    Raises:
        ConfigError: several heads have such a picture.
    """
    if outputs.kinds == [STRIP]:
        return STRIP
    heads = [name for name in outputs.tasks if outputs.kinds_of(name)]
    if len(heads) > 1:
        raise ConfigError(f"--out {outputs.folder} takes one picture; say by --heads of which of {', '.join(heads)}")
    return heads[0]


def check_branch(branch: str | None, model: MultimodalModel, names: Sequence[str]) -> None:
    """Refuses a branch that no answer will have.

    Raises:
        ConfigError: naming those that there are.
    """
    there = (ENSEMBLE, *(() if model.backbone.single_branch else names))
    if branch is not None and branch not in there:
        raise ConfigError(f"--branch {branch}: there is {', '.join(there)}{nearest(branch, there)}")


def masked_maps(model: MultimodalModel, names: Sequence[str]) -> tuple[str, ...]:
    """The maps of which the model says where they are to be believed.

    Raises:
        ConfigError: none.
    """
    if model.backbone.purification is None:
        raise ConfigError("--masks is of a model with gates, which this one was trained without: model.purification")
    return tuple(names)


def what_is_asked(arguments: argparse.Namespace, checkpoint: str) -> dict[str, Any]:
    """All that changes an answer, in plain values: options by their names, and the SHA-256 of the checkpoint."""
    names = ("inputs", "save", "gallery", "heads", "modalities", "branch", "map", "split", "protocol", "dtype")
    found = {name: getattr(arguments, name) for name in names}
    found |= {"masks": arguments.masks or None, "max_gap": arguments.max_gap}
    found |= {"shards": arguments.shard[1]} if arguments.shard else {}
    return {"checkpoint": checkpoint, **found, **({} if arguments.tar is None else {"tar": arguments.tar})}


def _device(asked: str, process: Process) -> torch.device:
    """A GPU for each process where nothing else is said and there are any."""
    if asked == "auto" and process.size > 1 and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return find_device(asked)


def _spans(tasks: Mapping[str, Task]) -> dict[str, tuple[float, float]]:
    """The ranges of the maps that heads predict, for colours that are the same in all frames."""
    ends = {name: task.range.bounds.tolist() for name, task in tasks.items() if isinstance(task, Map)}
    return {name: (low, high) for name, (low, high) in ends.items()}


def _tell(model: MultimodalModel, names: Collection[str], source: Source, process: Process) -> None:
    if not process.leads:
        return
    if source.told:
        print(source.told)
    if absent := [name for name in model.modalities if name not in names]:
        way = "hallucinating what they would show" if model.hallucinated(names) else "predicting without"
        print(f"The model also takes {', '.join(absent)}, not given here: {way}.")


def map_option(name: str, option: str) -> str:
    """ "thermal" and "scale=100" as the command line has it."""
    return f"--map {name} {option}"


def parse_maps(given: Sequence[Sequence[str]], *, timed: bool = False) -> dict[str, dict[str, Any]]:
    """What is said of each map, also where several --map speak of one.

    Args:
        given: the words of each --map.
        timed: see `parse_map`.

    Raises:
        ConfigError: see `parse_map`.
    """
    words: dict[str, list[str]] = {}
    for name, *texts in given:
        words.setdefault(name, []).extend(texts)
    return dict(parse_map([name, *texts], timed=timed) for name, texts in words.items())


def parse_map(words: Sequence[str], *, timed: bool = False) -> tuple[str, dict[str, Any]]:
    """["thermal", "scale=100", "add=-273.15"] as ("thermal", {"scale": 100.0, "add": -273.15}).

    Args:
        words: the map's name, and what is said of it.
        timed: whether `delay` may be said, of a map's list of timestamps, beside what its files hold.

    Raises:
        ConfigError: another form.
    """
    (name, *texts), keys = words, {**WORDS, **({"delay": _finite} if timed else {})}
    found: dict[str, list[Any]] = {}
    for text in texts:
        key, _, value = text.partition("=")
        try:
            found.setdefault(key, []).append(keys[key](value))
        except (KeyError, ValueError):
            raise ConfigError(
                f"--map takes a name and {', '.join(f'{word}=' for word in keys)}, such as: thermal scale=100; found "
                f"{text!r}{'' if key in keys else nearest(key, keys)}"
            ) from None
    if twice := [key for key, values in found.items() if len(values) > 1 and key != "missing"]:
        raise ConfigError(f"--map {name} says {twice[0]} twice; which is it?")
    options = {key: values[0] if len(values) == 1 else tuple(values) for key, values in found.items()}
    if options.get("unit", "metre") not in UNITS:
        raise ConfigError(f"--map {name} unit={options['unit']}: expected one of {one_of(UNITS, options['unit'])}")
    if "=" in name or not options:
        raise ConfigError(f"--map takes a name and what its files hold, such as: depth scale=5000; found {words}")
    return name, options
