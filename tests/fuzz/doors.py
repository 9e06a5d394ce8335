"""The doors by which files and text of others come in, and small valid files for each."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import cv2
import h5py
import numpy as np
import scipy.io
import torch
from fuzz.mutations import (
    changed_bytes,
    changed_file,
    changed_text,
    changed_value,
    json_of,
    toml_of,
    zip_of,
    zip_parts,
)
from made_result import make_map_result, make_result
from made_tiff import tiff
from PIL import Image
from safetensors.torch import save as safetensors_of
from small_models import small

import rgbx
from rgbx._runs import find_last
from rgbx.backbones import read_state_dict
from rgbx.cli.config import load_config, read_values
from rgbx.cli.options import apply_options, parse_options
from rgbx.cli.outputs import PROGRESS, Outputs, Process, Progress, begin, check_resumed
from rgbx.datasets import (
    CachedFrames,
    Cityscapes,
    FolderDataset,
    MFNet,
    NYUDv2CMX,
    NYUDv2Folders,
    NYUDv2Lists,
    NYUDv2Mat,
    SyntheticRooms,
)
from rgbx.datasets.class_weights import count_labels, inverse_frequency, kept_counts
from rgbx.datasets.declaration import read_declaration
from rgbx.datasets.layouts import build_dataset, propose, recognise, split_names
from rgbx.datasets.prepare import CHECKSUMS, RECORD
from rgbx.datasets.prepare.notes import Note, finish, read_notes
from rgbx.datasets.rooms.rendering import RENDERER_VERSION
from rgbx.doctor.diagnosis import diagnose
from rgbx.evaluate.comparison import compare_results, comparison_text
from rgbx.evaluate.result import headline, read_result
from rgbx.losses.perceptual import PerceptualLoss
from rgbx.maps import STANDARD_MAPS, Encoding, LabelEncoding, MapSpec
from rgbx.maps.files import exif_turn, read_colours, read_grey, read_ids, read_image, read_rgb, read_stored_ids
from rgbx.models.checkpoint import model_weights, read_checkpoint, to_plain
from rgbx.models.folder import write_folder
from rgbx.report import write_gallery, write_report
from rgbx.serve.app import Limits, build_app
from rgbx.study.costs import read_costs
from rgbx.study.declaration import declare_study
from rgbx.study.runs import Run, read_note
from rgbx.study.shown import Shown
from rgbx.tasks.feature_networks import read_weights
from rgbx.train.curves import read_scalars


class Door(NamedTuple):
    """A way in.

    Attributes:
        inputs: how many are tried in a usual run.
        seeds: name of a file, relative to the folder, and what is right in it.
        change: of that, how (see `fuzz.mutations.changes`) and in which way (0..9): the bytes to write.
        enter: functions that read the file, given the folder and the file.
        prepare: writes what else there is in the folder.
        named: what the message of a refusal has one of, beside the file's name and the folder.
    """

    inputs: int
    seeds: Callable[[], dict[str, Any]]
    change: Callable[[Any, Any, int], bytes]
    enter: tuple[Callable[[Path, Path], object], ...]
    prepare: Callable[[Path], None] = lambda folder: None
    named: tuple[str, ...] = ()


# --- maps and labels ---------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
GREY8 = RNG.integers(0, 5, (6, 7), dtype=np.uint8)
GREY16 = RNG.integers(400, 9000, (6, 7)).astype(np.uint16)
COLOUR = RNG.integers(0, 256, (6, 7, 3), dtype=np.uint8)
FLOATS = RNG.uniform(0.5, 9, (6, 7)).astype(np.float32)


def pillow(array, kind, mode=None, **options):
    file = io.BytesIO()
    image = Image.fromarray(array)
    image = image if mode is None else image.convert(mode)
    image.save(file, kind, **options)
    return file.getvalue()


def opencv(array, suffix, *options):
    return cv2.imencode(suffix, array, options)[1].tobytes()


def npy(array, version=None):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()


def npz(pack=np.savez, **arrays):
    file = io.BytesIO()
    pack(file, **arrays)
    return file.getvalue()


def named(suffix, *contents):
    return {f"input_{index}{suffix}": content for index, content in enumerate(contents)}


def exif(turn):
    found = Image.Exif()
    found[0x0112] = turn
    return found


def png_seeds():
    palette = Image.fromarray(GREY8, "P")
    palette.putpalette(COLOUR.reshape(-1).tolist())
    indexed = io.BytesIO()
    palette.save(indexed, "PNG", transparency=1)
    few = io.BytesIO()
    palette.save(few, "PNG", bits=4)
    return named(
        ".png",
        opencv(GREY8, ".png"),
        opencv(GREY16, ".png"),
        opencv(COLOUR, ".png"),
        opencv(np.dstack([COLOUR, GREY8]), ".png"),
        opencv(GREY16[..., None].repeat(3, 2), ".png"),
        indexed.getvalue(),
        few.getvalue(),
        pillow(GREY8 > 2, "PNG"),
        pillow(COLOUR, "PNG", exif=exif(6)),
        pillow(GREY8, "PNG", save_all=True, append_images=[Image.fromarray(GREY8.T.copy().T)]),
    )


def jpeg_seeds():
    return named(
        ".jpg",
        pillow(COLOUR, "JPEG"),
        pillow(GREY8, "JPEG"),
        pillow(COLOUR, "JPEG", progressive=True),
        pillow(COLOUR, "JPEG", "CMYK"),
        pillow(COLOUR, "JPEG", exif=exif(8), comment=b"text"),
    )


def tiff_seeds():
    kinds = [dict(compression=kind) for kind in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")]
    contents = [tiff(array, order=order) for array in (GREY8, GREY16, FLOATS, COLOUR) for order in "<>"]
    contents += [tiff(GREY16.astype(kind)) for kind in (np.int16, np.int32, np.uint32, np.float64)]
    contents += [pillow(COLOUR, "TIFF", **kind) for kind in kinds]
    contents += [pillow(GREY8, "TIFF", "P"), pillow(GREY8 > 2, "TIFF", compression="group4")]
    contents += [pillow(COLOUR, "TIFF", exif=exif(3)), tiff(GREY8, GREY8), tiff(GREY16, more={274: 6})]
    return named(".tif", *contents, opencv(FLOATS, ".tiff"))


def bmp_seeds():
    pictures = pillow(COLOUR, "BMP"), pillow(GREY8, "BMP"), pillow(GREY8 > 2, "BMP"), opencv(COLOUR, ".bmp")
    return named(".bmp", *pictures, pillow(np.dstack([COLOUR, GREY8]), "BMP"))


def webp_seeds():
    pictures = pillow(COLOUR, "WEBP"), pillow(COLOUR, "WEBP", lossless=True), pillow(COLOUR, "WEBP", exif=exif(6))
    return named(".webp", *pictures, pillow(np.dstack([COLOUR, GREY8]), "WEBP", lossless=True))


def pnm_seeds():
    texts = b"P2\n# a comment\n2 2\n255\n0 1 2 3\n", b"P1\n2 2\n0 1 1 0\n", b"P3 1 1 255 1 2 3\n"
    pam = b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nTUPLTYPE GRAYSCALE\nENDHDR\nab"
    binary = [
        opencv(array, suffix)
        for array, suffix in ((GREY8, ".pgm"), (GREY16, ".pgm"), (COLOUR, ".ppm"), (FLOATS, ".pfm"))
    ]
    return named(".pgm", *binary, *texts, pam)


def npy_seeds():
    arrays = [GREY8, GREY16, FLOATS, COLOUR, FLOATS.astype(np.float64), GREY8.astype(np.int64) - 1, GREY8 > 2]
    arrays += [GREY16.astype(">u2"), np.asfortranarray(FLOATS), FLOATS[..., None], FLOATS.astype(np.float16)]
    return named(".npy", *map(npy, arrays), npy(GREY8, (2, 0)), npy(GREY8, (3, 0)))


def npz_seeds():
    packed = np.savez_compressed
    return named(".npz", npz(a=GREY8), npz(a=GREY16, b=FLOATS), npz(packed, a=FLOATS), npz(packed, a=COLOUR, d=GREY8))


def exr_seeds():
    attributes = (
        b"channels\0chlist\0\x13\0\0\0Y\0\x02\0\0\0\0\0\0\0\1\0\0\0\1\0\0\0\0compression\0compression\0\1\0\0\0\0"
    )
    window = b"dataWindow\0box2i\0\x10\0\0\0" + bytes(8) + b"\3\0\0\0\2\0\0\0"
    rest = window.replace(b"data", b"display") + b"lineOrder\0lineOrder\0\1\0\0\0\0"
    return named(".exr", b"v/1\x01\2\0\0\0" + attributes + window + rest + b"\0" + bytes(200))


def _of_path(function):
    return lambda folder, file: function(file)


def _each_map():
    depth, thermal = STANDARD_MAPS["depth"], STANDARD_MAPS["thermal"]
    relative = MapSpec.of_unit("edge", "relative")
    encodings = [Encoding(spec) for spec in STANDARD_MAPS.values()]
    encodings += [
        Encoding(depth, scale=1),
        Encoding(depth, scale=256, half_step=0.5, missing=(-1, 65535)),
        Encoding(depth, key="b"),
    ]
    encodings += [
        Encoding(depth, bits=16),
        Encoding(thermal, scale=100, add=-273.15, missing=(0,)),
        Encoding(depth, holes=False, half_step=0.5),
    ]
    encodings += [Encoding(relative), Encoding(relative, scale=7.5, missing=(0,)), Encoding(relative, log=11.1)]
    encodings += [Encoding(MapSpec.of_unit("normal", "unit_vector"), normalise=True), Encoding(depth, key="d")]
    return [encoding.read_masked for encoding in encodings]


def _each_label():
    colours = tuple(map(tuple, COLOUR.reshape(-1, 3).tolist()[:5]))
    labels = (
        LabelEncoding(),
        LabelEncoding(1, (0,)),
        LabelEncoding(values=(0, 255)),
        LabelEncoding(void=(-1, 65535)),
        LabelEncoding(colours=colours),
    )
    labels += (
        LabelEncoding(colours=colours[:3], void=colours[3:]),
        LabelEncoding(table=tuple(range(200))),
        LabelEncoding(key="a"),
    )
    return [encoding.read for encoding in labels]


READERS = (
    read_image,
    read_rgb,
    read_grey,
    read_ids,
    read_stored_ids,
    read_colours,
    exif_turn,
    partial(read_colours, transparent=True),
)
ARRAYS = tuple(map(_of_path, (*READERS, *_each_map(), *_each_label())))


def of_maps(inputs, seeds):
    return Door(inputs, seeds, lambda content, done, way: changed_file(content, done, way < 6), ARRAYS)


# --- folders of frames -------------------------------------------------------------------------------------------


def write_frames(folder, names, **kinds):
    for kind, array in kinds.items():
        place, suffix = kind.rsplit("__", 1)
        for name in names:
            path = folder / place.replace("__", "/") / f"{name}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(opencv(array, f".{suffix}"))


NAMES = [f"{index:04d}" for index in range(4)]
STAMPS = [f"130503145{index}.{index}00000" for index in range(4)]
DECLARED: dict[str, Any] = {
    "classes": {"names": ["a", "b", "c", "d", "e"], "palette": [[index, 0, 9] for index in range(5)]},
    "label": {"folder": "label", "suffix": ".png", "void": [255]},
    "modalities": {
        "rgb": {"folder": "rgb", "unit": "rgb8"},
        "depth": {"folder": "depth", "unit": "metre", "scale": 1000, "missing": [65535]},
        "thermal": {"folder": "depth", "unit": "sensor", "scale": 100.0, "add": -273.15},
        "edge": {"folder": "depth", "suffix": "*", "unit": "relative", "scale": 65535, "interpolation": "linear"},
    },
    "splits": {"train": "train.txt", "val": ["0001", "0002"]},
}
STREAMED = {
    "modalities": {
        "rgb": {"folder": "rgb", "suffix": "*", "unit": "rgb8"},
        "depth": {"folder": "depth", "suffix": "*", "unit": "metre", "scale": 5000},
    },
    "splits": {"train": {"rgb": "rgb.txt", "depth": "depth.txt", "max_gap": 0.02}},
}


def write_lists(folder):
    lists, cmx, stems, mfnet, streams, declared = (
        folder / name for name in ("lists", "cmx", "stems", "mfnet", "streams", "declared")
    )
    for place in (lists, stems, declared):
        write_frames(place, NAMES, rgb__png=COLOUR, depth__png=GREY8 if place is stems else GREY16, label__png=GREY8)
    write_frames(cmx, NAMES, RGB__png=COLOUR, Depth__png=GREY8, Label__png=GREY8)
    write_frames(mfnet, NAMES, images__png=np.dstack([COLOUR, GREY8]), labels__png=GREY8)
    write_frames(streams, STAMPS, rgb__png=COLOUR, depth__png=GREY16)
    (declared / "dataset.toml").write_bytes(toml_of(DECLARED))
    (streams / "dataset.toml").write_bytes(toml_of(STREAMED))
    for name, text in list_seeds().items():
        (folder / name).write_text(text)


def list_seeds():
    stems = "\n".join(NAMES)
    columns = "\n".join(f"rgb/{name}.png\tlabel/{name}.png\tdepth/{name}.png" for name in NAMES)
    paths = "\n".join(f"RGB/{name}.png Label/{name}.png" for name in NAMES)
    found = {"lists/train.txt": columns, "cmx/train.txt": paths, "stems/train.txt": stems, "mfnet/train.txt": stems}
    for kind in ("rgb", "depth"):
        found[f"streams/{kind}.txt"] = "\n".join(
            ["# timestamp filename", *(f"{stamp} {kind}/{stamp}.png" for stamp in STAMPS)]
        )
    return {**found, "declared/train.txt": stems}


def read_first(dataset):
    dataset[0]
    dataset[len(dataset) - 1]


CLASSES = {
    "lists": NYUDv2Lists,
    "cmx": NYUDv2CMX,
    "stems": NYUDv2Folders,
    "mfnet": MFNet,
    "streams": FolderDataset,
    "declared": FolderDataset,
}


def enter_class(folder, file):
    kind = CLASSES[file.parent.name]
    read_first(kind(file.parent) if kind is NYUDv2Lists else kind(file.parent, "train"))


def enter_recognised(folder, file):
    split_names(file.parent)
    read_first(build_dataset(file.parent, "train"))


def enter_declared(folder, file):
    declaration = read_declaration(file)
    for split in declaration.splits:
        read_first(FolderDataset(file.parent, split))


def changed_toml(content, done, way):
    if way < 2:
        return changed_text(toml_of(content).decode(), done)
    found = toml_of(changed_value(content, done))
    return changed_bytes(found, done[:1]) if way == 9 else found


def unknown_seeds():
    files = (
        [f"rgb/rgb_{n}.png" for n in NAMES]
        + [f"depth/depth_{n}.png" for n in NAMES]
        + [f"masks/{n}.png" for n in NAMES]
    )
    more = [f"Depth/{n}.npy" for n in NAMES] + [f"RGB/{n}.png" for n in NAMES] + [f"Label/{n}.png" for n in NAMES]
    pairs = [f"{split}/{kind}/{n}.png" for split in ("train", "test") for kind in ("vi", "ir") for n in NAMES[:2]]
    stamped = [f"{kind}/{stamp}.png" for kind in ("rgb", "depth") for stamp in STAMPS] + ["associations.txt", "rgb.txt"]
    return {str(index): "\n".join(names) for index, names in enumerate((files, more, pairs, stamped, files + more))}


CONTENTS = (
    opencv(COLOUR, ".png"),
    opencv(GREY16, ".png"),
    opencv(GREY8, ".png"),
    npy(FLOATS),
    npz(a=FLOATS),
    b"text\n",
    b"",
)


def enter_unknown(folder, file):
    """A folder with the files that the lines of the input name, of all kinds of content."""
    root = folder / "unknown"
    if root.exists():
        for path in sorted(root.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    root.mkdir(exist_ok=True)
    lines = file.read_bytes().decode(errors="replace").replace("\0", "").split("\n")
    for line in dict.fromkeys(lines[:40]):
        parts = [part[:60] for part in line.split("/") if part not in ("", ".", "..")]
        if not parts:
            continue
        path = root.joinpath(*parts[:5])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            kinds = [
                0 if "rgb" in line.lower() else 1 if "depth" in line.lower() else 2,
                sum(line.encode()) % len(CONTENTS),
            ]
            kind = 3 if line.endswith(".npy") else kinds[sum(line.encode()) % 61 == 0]
            path.write_bytes(file.read_bytes() if line.endswith(".txt") else CONTENTS[kind])
        except OSError:  # a name that is too long, or of a folder
            continue
    recognise(root)
    proposal = propose(root)
    if proposal.text is not None:
        (root / "dataset.toml").write_text(proposal.text, encoding="utf-8")
        read_first(FolderDataset(root, "train"))
    else:
        read_first(build_dataset(root, "train"))


def doctor_seeds():
    return {f"declared/{kind}/0001.png": None for kind in ("rgb", "depth", "label")}


def enter_doctor(folder, file):
    """The doctor never stops, nor does one of its checks; a file that it finds damaged is refused by name."""
    root = folder / "declared"
    found = diagnose({"train": lambda: FolderDataset(root, "train", modalities=("rgb", "depth"))}, samples=0)
    texts = [f"{finding.message} {finding.frames}" for finding in found.findings if finding.severity != "info"]
    assert not any("report this as a fault of the doctor" in finding.fix for finding in found.findings), texts
    if any(finding.severity == "error" for finding in found.findings):
        raise ValueError("; ".join(texts))


# --- text and JSON -----------------------------------------------------------------------------------------------


def changed_json(content, done, way):
    if way < 2:
        return changed_text(json_of(content).decode(), done)
    found = json_of(changed_value(content, done))
    return changed_bytes(found, done[:1]) if way == 9 else found


def write_cityscapes(folder):
    root = folder / "cityscapes"
    for package, suffix, array in (
        ("leftImg8bit", "leftImg8bit", COLOUR),
        ("gtFine", "gtFine_labelIds", GREY8),
        ("disparity", "disparity", GREY16),
    ):
        write_frames(
            root,
            [f"aachen_000000_00000{index}_{suffix}" for index in range(2)],
            **{f"{package}__train__aachen__png": array},
        )
    for index in range(2):
        path = root / CAMERA.replace("000000_000000", f"000000_00000{index}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(json_of(camera_seeds()[f"cityscapes/{CAMERA}"]))


CAMERA = "camera/train/aachen/aachen_000000_000000_camera.json"


def camera_seeds():
    intrinsic = {"fx": 2262.5, "fy": 2265.3, "u0": 1096.9, "v0": 513.1}
    return {f"cityscapes/{CAMERA}": {"extrinsic": {"baseline": 0.209, "pitch": 0.03}, "intrinsic": intrinsic}}


def write_rooms(folder):
    (folder / "rooms").mkdir()
    dataset = SyntheticRooms(num_frames=2, seed=3, size=(24, 32), root=folder / "rooms", split="train")
    read_first(dataset)


def rooms_seeds():
    return {
        "rooms/manifest.json": {
            "renderer": RENDERER_VERSION,
            "seed": 3,
            "size": [24, 32],
            "paints": "random",
            "splits": {"train": 2},
        }
    }


def enter_rooms(folder, file):
    read_first(SyntheticRooms(num_frames=2, seed=3, size=(24, 32), root=file.parent, split="train"))


def result_seeds():
    here = Path(__file__).parents[1] / "evaluate" / "results_0.1.0"
    old = {path.name: json.loads(path.read_text()) for path in here.glob("*.json")}
    return {"classes.json": make_result(images=2), "map.json": make_map_result(images=2), **old}


def enter_result(folder, file):
    for head in read_result(file)["heads"].values():
        headline(head)


def enter_report(folder, file):
    write_report(file, folder / "report")


def enter_comparison(folder, file):
    """With a good one; whether two files can be compared is another question than whether one can be read."""
    found = read_result(file)
    kind = next(iter(found["heads"].values()))["task"]
    good = make_result(images=2) if kind == "classes" else make_map_result(images=2)
    try:
        comparison_text(compare_results(good, found, draws=20))
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from error


def note_seeds():
    note = {"format": "rgbx-study-run/1", "method": "a", "seed": 1, "sha256": "ab", "seconds": 3.5, "failure": None}
    cost = {"size": [24, 32], "parameters": 100, "flops": 1000, "milliseconds": [1.5, 2.5]}
    costs = {
        "format": "rgbx-study-costs/1",
        "machine": "two cores",
        "key": {"subsets": {"a": "rgb"}},
        "methods": {"a": cost},
    }
    return {"run.json": {**note, "commits": ["0a"], "config": {"train_cfg.max_epochs": "4"}}, "costs.json": costs}


def enter_notes(folder, file):
    """A run's note is refused, costs that cannot be read are measured anew."""
    if file.name == "run.json":
        note = read_note(Run("a", 1, folder, {}, {}, "ab", ("rgb",), Shown("labels", ("mIoU",))))
        float(note.get("seconds", 0)), " ".join(note.get("commits", ()))
    elif (costs := read_costs(file)) is not None:
        costs.has({"subsets": {"a": "rgb"}}, latency=True)
        [cost.ratio(cost) for cost in costs.methods.values() if all(cost.milliseconds)]


def changed_lines(content, done, way):
    """An object a line, of which values and then characters are changed."""
    found = changed_value(content, done)
    lines = "\n".join(json_of(entry).decode() for entry in (found if isinstance(found, list) else [found]))
    return changed_text(lines, done[:1] if way < 3 else [])


def changed_prepared(content, done, way):
    return changed_text(content, done) if isinstance(content, str) else changed_notes(content, done, way)


def changed_notes(content, done, way):
    return (changed_lines if isinstance(content, list) else changed_json)(content, done, way)


def prepared_seeds():
    note = {"sha256": "ab" * 32, "made_of": "source", "saturated": 3}
    record = {"format": "rgbx-prepared/1", "origin": "letters of sources", "options": {"size": [2, 3]}}
    return {
        RECORD: {**record, "saturated": {"a/1.png": 3}, "made_of": {"a/1.png": "source"}},
        ".preparing/journal": [{"origin": "letters of sources"}, {"name": "a/1.png", **note}],
        CHECKSUMS: f"{'ab' * 32}  a/1.png\n{'cd' * 32}  b/1.png\n",
    }


def write_prepared(folder):
    (folder / "a").mkdir()
    (folder / "a/1.png").write_bytes(b"1")
    (folder / ".preparing").mkdir()
    write_values(prepared_seeds, folder)


def write_values(seeds, folder):
    for name, content in seeds().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        text = "\n".join(map(json.dumps, content)) if isinstance(content, list) else json.dumps(content)
        (folder / name).write_text(content if isinstance(content, str) else text)


def enter_prepared(folder, file):
    """What earlier runs noted is used as a later run does, which ends with a record of its own."""
    try:
        notes = read_notes(folder)
        assert all(isinstance(note, Note) for note in notes.files.values())
        sum(note.saturated for note in notes.files.values())
        finish(folder, notes, {})
        assert read_notes(folder).origin == notes.origin
    finally:
        write_values(prepared_seeds, folder)


def write_counted(folder):
    write_frames(folder / "counted", NAMES, rgb__png=COLOUR, depth__png=GREY8, label__png=GREY8)
    (folder / "counted" / "train.txt").write_text("\n".join(NAMES))
    count_labels(counted(folder), cache=folder / "class_counts.json")


def counted(folder):
    return NYUDv2Folders(folder / "counted", "train")


def changed_counts(content, done, way):
    return changed_json(json.loads(content), done, way)


def enter_counts(folder, file):
    """Counts that cannot be used are made anew."""
    dataset = counted(folder)
    if (kept := kept_counts(dataset, file)) is None:
        raise ValueError(f"{file.name} is not used")
    assert len(inverse_frequency(kept)) == dataset.num_classes


def predicted_seeds():
    bar = {"limits": [0.5, 9.0], "scale": "linear", "sign": "m"}
    panels = [
        {"title": "RGB", "file": "pictures/a/0_rgb.jpg", "bar": None},
        {"title": "depth", "file": "pictures/a/1.jpg", "bar": bar},
    ]
    wall = {"id": 0, "name": "wall", "colour": [10, 20, 30], "share": 1.0}
    heads = {
        "labels": {"classes": [wall], "confidence": 0.9},
        "dense": {"least": 0.5, "median": 1.0, "largest": 2.0, "sign": "m"},
    }
    record = {"sample_id": "a", "size": [24, 32], "paths": {"rgb": "/data/a.jpg"}, "panels": panels, "shown": 0}
    frame = {**record, "heads": heads, "files": {"labels": "labels/a.png"}}
    done = {"id": "a", "files": ["labels/a.png"], "areas": {"labels": {"wall": 1.0}}}
    asked = {"save": ["ids", "areas"], "gallery": True}
    return {
        "out/predictions.jsonl": [frame, {**frame, "sample_id": "b"}],
        f"out/{PROGRESS}/0.jsonl": [done, {**done, "id": "b"}],
        "out/predict.json": {"format": "rgbx-predictions/1", "run": "", "processes": 1, "asked": asked},
    }


def enter_gallery(folder, file):
    write_gallery(folder / "out")


def enter_progress(folder, file):
    """A run goes on with what an earlier one has noted, or clears it away."""
    out, alone = folder / "out", Process(0, 1, "run")
    try:
        check_resumed(out, predicted_seeds()["out/predict.json"]["asked"], resume=True)
        assert all(isinstance(name, str) for name in Progress(out, alone).done())
        begin(Outputs(out, {}, (), {}), {}, alone, [], overwrite=True)
    finally:
        write_values(predicted_seeds, folder)


# --- requests ----------------------------------------------------------------------------------------------------


@cache
def served():
    return build_app(small("classes").eval(), "small.pth", limits=Limits(most_bytes=1 << 16, most_pixels=1 << 12))


def request_seeds():
    """The path and the type of a request, each a line, and its body."""
    rgb, depth = opencv(np.zeros((32, 32, 3), np.uint8), ".png"), opencv(np.full((32, 32), 900, np.uint16), ".png")
    parts = [('name="rgb"; filename="a.png"', rgb), ('name="depth"; filename="b.png"', depth)]
    parts += [('name="depth_scale"', b"1000"), ('name="depth_missing"', b"0,65535"), ('name="answer"', b"ids inputs")]
    body = b"".join(
        b"--x\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (told.encode(), value) for told, value in parts
    )
    coded = {name: base64.b64encode(data).decode() for name, data in (("rgb", rgb), ("depth", depth))}
    return {
        "form": b"/predict\nmultipart/form-data; boundary=x; charset=utf-8\n" + body + b"--x--\r\n",
        "json": {
            **coded,
            "depth_scale": 1000,
            "depth_missing": [0],
            "answer": ["ids"],
            "branches": True,
        },
        "path": b"/samples/0.png\n\n",
    }


def changed_request(content, done, way):
    if isinstance(content, dict):
        return b"/predict\napplication/json\n" + changed_json(content, done, way)
    if way < 5:
        return changed_text(content.decode("latin-1"), done)
    return changed_bytes(content, done)


def enter_request(folder, file):
    """Speaks ASGI, as a server does, so that nothing of a client stands before it."""
    path, kind, body = [*file.read_bytes().split(b"\n", 2), b"", b""][:3]
    text = path.decode("latin-1")
    answer: list[Any] = []
    scope = {
        "type": "http",
        "method": "POST" if text.startswith("/predict") else "GET",
        "path": text,
        "raw_path": path,
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", kind), (b"content-length", b"%d" % len(body))],
    }
    received = [
        {"type": "http.request", "body": body[:50], "more_body": True},
        {"type": "http.request", "body": body[50:]},
    ]

    async def receive():
        return received.pop(0) if received else {"type": "http.disconnect"}

    async def send(message):
        answer.append(message)

    anyio.run(served(), scope, receive, send)
    status, said = answer[0]["status"], b"".join(message.get("body", b"") for message in answer[1:])
    assert status < 500, said
    if status >= 400:
        raise ValueError(f"{file.name}: {json.loads(said)['error']}")


def log_seeds():
    entries = [
        {"loss": 0.5, "epoch": 1, "iter": 1},
        {"loss": 0.4, "epoch": 2},
        {"mIoU": 0.3, "step": 1},
        {"mIoU": 0.4, "step": 2},
    ]
    return {"run/20260101_000000/vis_data/scalars.json": entries}


def option_seeds():
    texts = "train_cfg.max_epochs=8", "model.decoder=dict(name='light', width=16)", "custom_hooks={'x': [1, (2, 3)]}"
    texts += (
        "optim_wrapper.optimizer.lr=1e-3",
        "custom_hooks.0.type=X",
        "dataset.root=/data/rooms",
        "custom_hooks=[a,b,(3,d)]",
        "work_dir='a' if 1",
    )
    return {f"option_{index}": text for index, text in enumerate(texts)}


def enter_options(folder, file):
    found = parse_options([file.read_bytes().decode(errors="surrogateescape")])
    apply_options(rooms_config(), found)


@cache
def _rooms_config():
    return load_config(Path(__file__).parents[2] / "configs" / "rooms" / "asymfusion_r18_rooms_160x120.py")


def rooms_config():
    return _rooms_config().copy()


CONFIG = """
from mmengine.config import read_base
from rgbx.models import multimodal
with read_base():
    from .base import *
_names = ["rgb", "depth"]
model = dict(type=multimodal, modalities=_names, heads=dict(labels=dict(task="classes", num_classes=5)))
ema = dict(momentum=[0.1, 0.2][0])
work_dir = "work"
"""
STUDY = """
config = "base.py"
methods = {"early": {"model.fusion": "early"}, "late": {"model.fusion": "late"}}
seeds = [1, 2, 3]
budget = {"train_cfg.max_epochs": 4}
modalities = ["rgb+depth", "rgb"]
scores = ("mIoU",)
baseline = "early"
method_seeds = dict(early=[1])
"""


def write_base(folder):
    (folder / "base.py").write_text("randomness = dict(seed=1)\nauto_scale_lr = dict(base_batch_size=4)\n")


def enter_study(folder, file):
    declare_study(read_values(file), file)


# --- weights -----------------------------------------------------------------------------------------------------

ODD_WEIGHTS = (
    None,
    -1,
    2**70,
    float("nan"),
    "",
    "x" * 5000,
    [],
    {},
    {1: 2},
    {(1, 2): 3},
    "\0",
    b"bytes",
    1j,
    torch.ones(3),
)
ODD_WEIGHTS += (
    torch.ones(3).half(),
    torch.ones(3, dtype=torch.int64),
    torch.zeros(1).expand(500),
    torch.zeros(2, 2).to_sparse(),
)
ODD_WEIGHTS += (
    torch.zeros(2, device="meta"),
    torch.full((2,), torch.nan),
    torch.zeros(2, dtype=torch.complex64),
    torch.zeros(0),
)


def saved(value, **options):
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


@cache
def _trained():
    model = small("classes")
    return {"meta": {"epoch": 1}, "state_dict": dict(model.state_dict()), "model": to_plain(model.recipe)}


@cache
def checkpoint_seeds():
    few = {
        "meta": {"epoch": 1, "dataset_meta": {"maps": {}, "classes": ["a"]}},
        "state_dict": {"a.weight": torch.ones(3, 2), "a.bias": torch.ones(2)},
    }
    places = 0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28  # of the convolutions of VGG16
    vgg = {f"features.{place}.{kind}": torch.ones(2) for place in places for kind in ("weight", "bias")}
    return {
        "epoch_1.pth": few,
        "old.pth": {"state_dict": few["state_dict"]},
        "tensors.pth": few["state_dict"],
        "vgg16.pth": vgg,
    }


@cache
def model_seeds():
    return {"best_epoch_1.pth": _trained()}


def write_model(folder):
    write_folder(folder / "hub", _trained()["state_dict"], _trained()["model"], {"epoch": 1, "names": ("a",)}, {})


@cache
def described_seeds():
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        return {"hub/config.json": json.loads(Path(folder, "hub/config.json").read_text())}


def enter_model(folder, file):
    rgbx.load(file.parent)


def changed_checkpoint(content, done, way):
    if way < 5:
        return saved(changed_value(content, done, ODD_WEIGHTS))
    data = saved(content, _use_new_zipfile_serialization=way != 5)
    if way < 8:
        return changed_bytes(data, done)
    parts = zip_parts(data)
    pickled = next(index for index, (name, _) in enumerate(parts) if name.endswith(b"data.pkl"))
    parts[pickled] = parts[pickled][0], changed_bytes(parts[pickled][1], done)
    if done[0][1] % 8 == 0:
        return zip_of(parts, zipfile.ZIP_DEFLATED)
    archive = zip_of(parts)
    return archive if way == 8 else signed(archive)


def signed(archive):
    """An archive with the digest of its bytes as its comment, as checkpoints have it: readers go on to the pickle."""
    digest = b"sha256:" + hashlib.sha256(archive[:-2]).hexdigest().encode()
    return archive[:-2] + len(digest).to_bytes(2, "little") + digest


def changed_model(content, done, way):
    """The recipe is changed in half of the inputs, as it decides what is built."""
    if way < 5:
        return saved({**content, "model": changed_value(content["model"], done)})
    return changed_checkpoint(content, done, way - 5)


def safetensors_seeds():
    return {
        "weights.safetensors": safetensors_of({"a.weight": torch.ones(3, 2), "b": torch.ones(2, dtype=torch.float16)})
    }


def enter_checkpoint(folder, file):
    model_weights(read_checkpoint(file), file)


def enter_feature_weights(folder, file):
    read_weights(file, "FID", "take another")


def enter_perceptual(folder, file):
    PerceptualLoss(file)


def enter_last(folder, file):
    find_last(folder)


# --- MATLAB files and kept frames ----------------------------------------------------------------------------------


def saved_mat(**fields):
    file = io.BytesIO()
    scipy.io.savemat(file, fields, do_compression=len(fields) > 1)
    return file.getvalue()


def hdf5(**fields):
    file = io.BytesIO()
    with h5py.File(file, "w") as handle:
        for name, array in fields.items():
            handle.create_dataset(name, data=array, chunks=(1, *array.shape[1:]), compression="gzip")
    return file.getvalue()


@cache
def mat_seeds():
    columns = {"trainNdxs": np.array([[1], [2]], np.uint16), "testNdxs": np.array([[3]], np.uint16)}
    frames = dict(
        images=np.zeros((3, 3, 7, 6), np.uint8),
        depths=np.ones((3, 7, 6), np.float32),
        labels=np.ones((3, 7, 6), np.uint16),
    )
    return {
        "nyu/splits.mat": saved_mat(**columns),
        "nyu/classMapping40.mat": saved_mat(mapClass=np.arange(894)[None] % 40 + 1),
        "nyu/nyu_depth_v2_labeled.mat": hdf5(**frames),
    }


def write_seeds(seeds):
    def prepare(folder):
        for name, content in seeds().items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    return prepare


def enter_nyu(folder, file):
    read_first(NYUDv2Mat(file.parent))


def write_cached(folder):
    write_frames(folder / "kept", NAMES[:2], rgb__png=COLOUR, depth__png=GREY8, label__png=GREY8)
    (folder / "kept" / "train.txt").write_text("\n".join(NAMES[:2]))
    read_first(kept(folder))
    (block,) = (folder / "cache").glob("*/0000000.frame")
    (folder / "frame").write_bytes(block.read_bytes())


def kept(folder):
    return CachedFrames(NYUDv2Folders(folder / "kept", "train"), folder=folder / "cache")


def enter_frame(folder, file):
    """The bytes of the input are those of a kept frame, changed."""
    (block,) = (folder / "cache").glob("*/0000000.frame")
    block.write_bytes(file.read_bytes())
    read_first(kept(folder))


def raw(content, done, way):
    return changed_file(content, done, way < 6)


def text(content, done, way):
    return changed_text(content, done)


DOORS = {
    "PNG": of_maps(3000, png_seeds),
    "JPEG": of_maps(1200, jpeg_seeds),
    "TIFF": of_maps(3000, tiff_seeds),
    "BMP": of_maps(700, bmp_seeds),
    "WebP": of_maps(800, webp_seeds),
    "PNM": of_maps(600, pnm_seeds),
    "npy": of_maps(1500, npy_seeds),
    "npz": of_maps(1000, npz_seeds),
    "OpenEXR": of_maps(300, exr_seeds),
    "declaration": Door(
        1500,
        lambda: {"declared/dataset.toml": DECLARED, "streams/dataset.toml": STREAMED},
        changed_toml,
        (enter_declared,),
        write_lists,
    ),
    "lists": Door(1200, list_seeds, text, (enter_class, enter_recognised), write_lists),
    "unknown folder": Door(150, unknown_seeds, text, (enter_unknown,)),
    "doctor": Door(250, doctor_seeds, raw, (enter_doctor,), write_lists, ("0001",)),
    "camera": Door(
        300,
        camera_seeds,
        changed_json,
        (lambda folder, file: read_first(Cityscapes(folder / "cityscapes", "train", modalities=("rgb", "depth"))),),
        write_cityscapes,
    ),
    "rooms": Door(200, rooms_seeds, changed_json, (enter_rooms, enter_recognised), write_rooms),
    "result": Door(1000, result_seeds, changed_json, (enter_result, enter_report, enter_comparison)),
    "notes of runs": Door(400, note_seeds, changed_json, (enter_notes,)),
    "notes of preparations": Door(150, prepared_seeds, changed_prepared, (enter_prepared,), write_prepared),
    "counts of classes": Door(150, lambda: {"class_counts.json": None}, changed_counts, (enter_counts,), write_counted),
    "predictions": Door(
        400, predicted_seeds, changed_notes, (enter_gallery, enter_progress), partial(write_values, predicted_seeds)
    ),
    "requests": Door(250, request_seeds, changed_request, (enter_request,)),
    "training log": Door(200, log_seeds, changed_lines, (lambda folder, file: read_scalars(folder / "run"),)),
    "checkpoint": Door(
        800,
        checkpoint_seeds,
        changed_checkpoint,
        (enter_checkpoint, _of_path(read_state_dict), enter_feature_weights, enter_perceptual),
    ),
    "model": Door(100, model_seeds, changed_model, (_of_path(rgbx.load),)),
    "model folder": Door(40, described_seeds, changed_json, (enter_model,), write_model),
    "safetensors": Door(
        400, safetensors_seeds, lambda content, done, way: changed_bytes(content, done), (_of_path(read_state_dict),)
    ),
    "cfg-options": Door(1000, option_seeds, text, (enter_options,), named=("--cfg-options",)),
    "config": Door(
        200,
        lambda: {"config.py": CONFIG},
        text,
        (lambda folder, file: load_config(file), lambda folder, file: read_values(file)),
        write_base,
    ),
    "study": Door(150, lambda: {"study.py": STUDY}, text, (enter_study,), write_base),
    "mat": Door(
        400, mat_seeds, lambda content, done, way: changed_bytes(content, done), (enter_nyu,), write_seeds(mat_seeds)
    ),
    "kept frame": Door(
        300,
        lambda: {"frame": None},
        lambda content, done, way: changed_bytes(content, done),
        (enter_frame,),
        write_cached,
    ),
}
