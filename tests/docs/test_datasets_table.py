"""Each row of "What you have, what to write" in docs/datasets.md reads files written by hand as what they were."""

from __future__ import annotations

import json
import re
import struct
import tomllib
from functools import reduce
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_tiff import tiff
from PIL import Image

from rgbx.datasets import build_dataset, split_names

PAGE = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text()
SECTION = re.search(r"^## What you have, what to write$(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)[1]
GREY = np.array([[0, 1, 40, 255]], np.uint8)
WIDE = np.array([[0, 1, 1000, 65535]], np.uint16)
IDS = np.array([[0, 1, 2, 255]], np.uint8)
PICTURE = np.array([[[0, 128, 255], [7, 8, 9], [200, 3, 90], [1, 0, 0]]], np.uint8)
HELD = np.array([[0.25, 1.5, 3.0, 70.0]], np.float32)


def rows(head):
    """First and second cells of the table with such a head."""
    body = re.search(rf"^\| {head} \| what to write \|\n\|---\|---\|\n((?:\|.*\n)+)", SECTION, re.MULTILINE)[1]
    return dict(tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in body.splitlines())


def written(cell, own=""):
    """The tables of a cell's lines; `own` is the table of lines that stand in none, such as "label"."""
    spans = re.findall(r"`([^`]*)`", re.sub(r"no `[^`]*`", "", cell))
    lines = [span for span in spans if span[0] == "[" or ("=" in span and "holdout" not in span)]
    return tomllib.loads("\n".join([f"[{own}]"] * bool(own) + lines))


def declare(root, *tables):
    """A dataset.toml of tables, the later ones over the earlier."""

    def joined(one, other):
        if not isinstance(other, dict):
            return other
        return {**one, **{key: joined(one.get(key, {}), value) for key, value in other.items()}}

    def lines(name, table):
        plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
        yield from [f"[{name}]"] * bool(name) + [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
        for key, value in table.items():
            if key not in plain:
                yield from lines(f"{name}.{key}".removeprefix("."), value)

    (root / "dataset.toml").write_text("\n".join(lines("", reduce(joined, tables))) + "\n")


def save(path, array, more=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.lower()
    if kind == ".npy":
        np.save(path, array)
    elif kind == ".npz":
        np.savez(path, other=np.zeros((9, 9)), **{more: array})
    elif kind in (".tif", ".tiff"):
        path.write_bytes(tiff(array))
    elif kind == ".exr":
        path.write_bytes(openexr(array))
    else:
        image = Image.fromarray(array)
        if more:
            image = Image.fromarray(array, "P")
            image.putpalette(more)
        image.save(path)


def openexr(array):
    """Uncompressed 32-bit floats [H, W] of one channel (OpenEXR 2.0, scan lines)."""
    height, width = array.shape
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    channels = b"Y\0" + struct.pack("<iB3xii", 2, 0, 1, 1) + b"\0"
    fields = (
        (b"channels", b"chlist", channels),
        (b"compression", b"compression", b"\0"),
        (b"dataWindow", b"box2i", window),
        (b"displayWindow", b"box2i", window),
        (b"lineOrder", b"lineOrder", b"\0"),
        (b"pixelAspectRatio", b"float", struct.pack("<f", 1)),
        (b"screenWindowCenter", b"v2f", struct.pack("<2f", 0, 0)),
        (b"screenWindowWidth", b"float", struct.pack("<f", 1)),
    )
    head = b"\x76\x2f\x31\x01" + struct.pack("<I", 2)
    head += b"".join(b"%s\0%s\0%s%s" % (n, k, struct.pack("<i", len(v)), v) for n, k, v in fields) + b"\0"
    block = 8 + 4 * width
    offsets = [len(head) + 8 * height + block * y for y in range(height)]
    lines = [struct.pack("<2i", y, 4 * width) + array[y].astype("<f4").tobytes() for y in range(height)]
    return head + struct.pack(f"<{height}Q", *offsets) + b"".join(lines)


# what you have: name of the map, suffix, what files hold, what it means, where it was measured, the array of an .npz
NAN = np.array([[0.25, np.nan, 3.0, np.inf]], np.float32)
SIGNED = np.array([[-1, 0, 250, 4000]], np.int16)
VECTORS = np.array([[[0, 0, 1], [0.6, 0, 0.8], [0, -0.6, 0.8], [1, 0, 0]]], np.float32)
MAPS = {
    "colours, PNG and JPEG in one folder": ("rgb", ".png", PICTURE, PICTURE, None, None),
    "depth, 16 bits, millimetres": ("depth", ".png", WIDE, [[0, 0.001, 1, 65.535]], None, None),
    "depth, 16 bits, 5000 per metre (TUM)": ("depth", ".png", WIDE, [[0, 0.0002, 0.2, 13.107]], None, None),
    "depth, 16 bits, 256 per metre (KITTI)": ("depth", ".png", WIDE, [[0, 1 / 256, 3.90625, 255.99609]], None, None),
    "depth, signed 16 bits, millimetres, -1 where there is none": (
        "depth", ".tiff", SIGNED, [[0, 0, 0.25, 4]], None, None,
    ),
    "depth, 16 bits, millimetres, 65535 where there is none": ("depth", ".png", WIDE, [[0, 0.001, 1, 0]], None, None),
    "depth, floats in metres, TIFF": ("depth", ".tiff", HELD, HELD, None, None),
    "depth, floats in metres, `.npy`, NaN or infinity where there is none": (
        "depth", ".npy", NAN, [[0.25, 0, 3, 0]], None, None,
    ),
    "depth, floats in metres, the array `depth` of an `.npz`": ("depth", ".npz", HELD, HELD, None, "depth"),
    "depth, floats in metres, OpenEXR": ("depth", ".exr", HELD, HELD, None, None),
    "depth, 8 bits, steps of 4 cm in all files": ("depth", ".png", GREY, [[0, 0.04, 1.6, 10.2]], None, None),
    "depth, 8 bits, each file stretched by itself": (
        "depth", ".png", GREY, [[0, 1 / 255, 40 / 255, 1]], None, None,
    ),
    "disparity, 16 bits, 256 per pixel, 0 where there is none": (
        "disparity", ".png", WIDE, [[0, 1 / 256, 3.90625, 255.99609]], [[0, 1, 1, 1]], None,
    ),
    "thermal, 16 bits, hundredths of a kelvin": (
        "thermal", ".png", WIDE, [[-273.15, -273.14, -263.15, 382.2]], None, None,
    ),
    "thermal, 8 bits, or raw counts": ("thermal", ".png", GREY, [[0, 1, 40, 255]], None, None),
    "HHA, or any other picture of three channels": ("hha", ".png", PICTURE, PICTURE, None, None),
    "normals as colours": (
        "normal", ".png", np.array([[[128, 128, 255], [255, 128, 128], [128, 128, 128], [128, 0, 128]]], np.uint8),
        [[[0.00392, 0.00392, 1], [1, 0.00392, 0.00392], [0, 0, 0], [0.00392, -1, 0.00392]]], None, None,
    ),
    "normals as floats, `.npy`": ("normal", ".npy", VECTORS, VECTORS, None, None),
    "a confidence or an edge strength, 0..255": ("edge", ".png", GREY, [[0, 1 / 255, 40 / 255, 1]], None, None),
}  # fmt: skip


@pytest.mark.parametrize(("have", "cell"), rows("maps").items())
def test_maps(tmp_path, have, cell):
    name, suffix, held, means, valid, more = MAPS[have]
    other = "depth" if name == "rgb" else "rgb"
    save(tmp_path / "own" / f"a{suffix}", held, more)
    if name == "rgb":
        save(tmp_path / "own" / "b.jpg", PICTURE)
    for stem in ("a", "b"):
        save(tmp_path / "other" / f"{stem}.png", np.zeros(held.shape[:2], np.uint16) if other == "depth" else PICTURE)
    kinds = {"rgb": {"unit": "rgb8"}, "depth": {"unit": "metre", "scale": 1}}
    modalities = {other: {"folder": "other", **kinds[other]}, name: {"folder": "own"}}
    stems = ["a", "b"] if name == "rgb" else ["a"]
    declare(tmp_path, {"modalities": modalities, "splits": {"train": stems}}, written(cell, f"modalities.{name}"))
    dataset = build_dataset(tmp_path, "train")
    if suffix == ".exr" and re.search(r"OpenEXR:\s+NO", cv2.getBuildInformation()):
        with pytest.raises(ValueError, match=r"a\.exr: OpenCV .* convert it to \.npy"):
            dataset[0]
        return
    sample = dataset[0]
    np.testing.assert_allclose(sample[name], means, rtol=1e-4, atol=2e-5)
    assert (f"{name}_valid" in sample) == (valid is not None)
    if valid is not None:
        np.testing.assert_array_equal(sample[f"{name}_valid"], valid)
    assert len(dataset) == len(stems) and dataset[-1]["rgb"].shape[2] == 3


RED, GREEN, BLUE, BLACK = [255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]
DARK = np.array([[[128, 0, 0], [0, 128, 0], [0, 0, 128], BLACK]], np.uint8)
LABELS = {
    "class ids from 0, 255 for void": (".png", IDS, [[0, 1, 2, 255]], None),
    "class ids from 1, 0 for void": (".png", np.array([[0, 1, 3, 255]], np.uint8), [[255, 0, 2, 255]], None),
    "class ids, -100 and -2 for void, TIFF": (".tif", np.array([[-100, 0, -2, 2]], np.int16), [[255, 0, 255, 2]], None),
    "class ids in 16 bits, 65535 for void": (".png", np.array([[65535, 0, 1, 2]], np.uint16), [[255, 0, 1, 2]], None),
    "masks of 0 and 255, two classes": (".png", np.array([[0, 255, 255, 0]], np.uint8), [[0, 1, 1, 0]], None),
    "ids with gaps, three classes, 0 for void": (".png", np.array([[0, 26, 7, 11]], np.uint8), [[255, 2, 0, 1]], None),
    "ids as indices of a palette": (".png", IDS, [[0, 1, 2, 255]], [9, 9, 9, *BLUE, *RED] + [0] * 759),
    "a colour per class, black for void": (".png", DARK, [[0, 1, 2, 255]], None),
    "a colour per class, those of the palette": (
        ".png", np.array([[BLUE, RED, GREEN, RED]], np.uint8), [[2, 0, 1, 0]], None,
    ),
    "class ids, `.npy`": (".npy", IDS.astype(np.int64), [[0, 1, 2, 255]], None),
    "class ids, the array `mask` of an `.npz`": (".npz", IDS.astype(np.int32), [[0, 1, 2, 255]], "mask"),
    "none: pairs for translation": (".png", IDS, None, None),
}  # fmt: skip


@pytest.mark.parametrize(("have", "cell"), rows("labels").items())
def test_labels(tmp_path, have, cell):
    suffix, held, means, more = LABELS[have]
    save(tmp_path / "own" / f"a{suffix}", held, more)
    save(tmp_path / "rgb" / "a.png", PICTURE)
    save(tmp_path / "depth" / "a.png", WIDE)
    own = written(cell, "label")
    count = len(own["label"].get("values", "abc"))
    tables = [BASE, {"splits": {"train": ["a"]}}]
    if means is not None:
        tables += [{"classes": {"names": list("abc")[:count]}, "label": {"folder": "own"}}, own]
    declare(tmp_path, *tables)
    sample = build_dataset(tmp_path, "train", **({} if means is not None else {"targets": ("depth",)}))[0]
    assert ("label" in sample) == (means is not None)
    if means is not None:
        np.testing.assert_array_equal(sample["label"], means)


BASE = {
    "modalities": {
        "rgb": {"folder": "rgb", "unit": "rgb8"},
        "depth": {"folder": "depth", "unit": "metre", "scale": 1000},
    }
}
TRUTH = {"classes": {"names": ["a", "b", "c"]}, "label": {"folder": "label"}}
TUM = ("1.000000", "1.030000", "1.060000"), ("1.010000", "1.100000", "1.055000")
# what you have: the files of a frame, %s for its name; names of the frames by split; lists
PLACES = {
    "`rgb_0001.jpg`, `depth_0001.png`, `mask_0001.png` in one folder": (
        ("rgb_%s.jpg", "depth_%s.png", "mask_%s.png"), {"train": ["0001", "0002"]}, {},
    ),
    "`0001_rgb.png`, `0001_depth.png`, `0001_seg.png` in one folder": (
        ("%s_rgb.png", "%s_depth.png", "%s_seg.png"), {"train": ["0001", "0002"]}, {},
    ),
    "`rgb/0001.JPG`, `depth/0001.PNG`": (
        ("rgb/%s.JPG", "depth/%s.PNG", "label/%s.png"), {"train": ["0001", "0002"]}, {},
    ),
    "folders within the folders: `rgb/day/0001.png`": (
        ("rgb/%s.png", "depth/%s.png", "label/%s.png"), {"train": ["day/0001", "night/0001"]}, {},
    ),
    "linked folders": (("rgb/%s.png", "depth/%s.png", "label/%s.png"), {"train": ["0001", "0002"]}, {}),
    "RGB, depth and labels in the folders `My photos`, `Tiefe`, `Masken`": (
        ("My photos/%s.png", "Tiefe/%s.png", "Masken/%s.png"), {"train": ["0001", "0002"]}, {},
    ),
    "`train/rgb/`, `valid/rgb/`, …": (
        ("train/rgb/%s.png", "train/depth/%s.png", "train/label/%s.png"), {"train": ["1", "2"], "val": ["3"]}, {},
    ),
    "`rgb/train/`, `rgb/val/`, …": (
        ("rgb/train/%s.png", "depth/train/%s.png", "label/train/%s.png"), {"train": ["1", "2"], "val": ["3"]}, {},
    ),
    "`train.txt` and `val.txt` with a stem per line": (
        ("rgb/%s.png", "depth/%s.png", "label/%s.png"), {"train": ["x1", "x2"], "val": ["x3"]},
        {"train.txt": "x1\nx2\n", "val.txt": "x3\n"},
    ),
    "`lists/train.txt` with lines such as `rgb/0001.png`": (
        ("rgb/%s.png", "depth/%s.png", "label/%s.png"), {"train": ["x2", "x1"]},
        {"lists/train.txt": "rgb/x2.png\nrgb/x1.png\n"},
    ),
    "no lists, one folder per map": (
        ("rgb/%s.png", "depth/%s.png", "label/%s.png"), {"train": ["0001", "0002", "0003"]}, {},
    ),
    "a training split alone": (
        ("rgb/%s.png", "depth/%s.png", "label/%s.png"), {"train": [f"x{n}" for n in range(10, 30)]},
        {"train.txt": "".join(f"x{n}\n" for n in range(10, 30))},
    ),
    "`rgb.txt` and `depth.txt` with lines `timestamp path` (TUM)": (
        ("rgb/%s.png", "depth/%s.png", None), {"train": [TUM[0][0], TUM[0][2]]},
        {name + ".txt": "# timestamp filename\n" + "".join(f"{t} {name}/{t}.png\n" for t in sorted(times))
         for name, times in zip(("rgb", "depth"), TUM, strict=True)},
    ),
    "`associations.txt` with lines `timestamp rgb/… timestamp depth/…`": (
        ("rgb/%s.png", "depth/%s.png", None), {"train": [TUM[0][0], TUM[0][2]]},
        {"associations.txt": "".join(
            f"{TUM[0][i]} rgb/{TUM[0][i]}.png {TUM[1][i]} depth/{TUM[1][i]}.png\n" for i in (0, 2)
        )},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("have", "cell"), [*rows("names").items(), *rows("splits").items()])
def test_names_and_splits(tmp_path, have, cell):
    files, frames, lists = PLACES[have]
    root = tmp_path / "mine"
    times = dict(zip(*TUM, strict=True)) if files[2] is None else {}
    truth = {}
    for split, names in frames.items():
        folder = re.search(rf'`{split} = "(\w+)"`', cell)
        for name in names:
            truth[split, name] = len(truth) + 1
            means = np.full((3, 4, 3), 10 * truth[split, name], np.uint8)
            deep = np.full((3, 4), 1000 * truth[split, name], np.uint16)
            for form, array in zip(
                files, (means, deep, np.full((3, 4), truth[split, name] % 3, np.uint8)), strict=True
            ):
                if form:
                    path = form.replace("train", folder[1]) if folder else form
                    save(root / (path % (times.get(name, name) if form is files[1] else name)), array)
    for name, text in lists.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    if "linked" in have:
        for name in ("rgb", "depth"):
            (root / name).rename(tmp_path / name)
            (root / name).symlink_to(tmp_path / name)
    given = {"splits": {"train": ["0001", "0002"]}} if "train" not in cell else {}
    declare(root, BASE, TRUTH if files[2] else {}, given, written(cell))
    if not files[2]:
        assert "no `[classes]` and no `[label]`" in cell
    for split, names in frames.items():
        dataset = build_dataset(root, split, **({} if files[2] else {"targets": ("depth",)}))
        assert len(dataset) == len(names)
        for name, sample in zip(names, dataset, strict=True):
            assert name in sample["sample_id"]
            np.testing.assert_allclose(sample["rgb"], 10 * truth[split, name], atol=2)
            np.testing.assert_allclose(sample["depth"], truth[split, name], rtol=1e-6)
            if files[2]:
                assert (sample["label"] == truth[split, name] % 3).all()
    parts = [build_dataset(root, "train", holdout=kind) for kind in re.findall(r'`holdout="(\w+)"`', cell)]
    assert not parts or sorted(frame.sample_id for part in parts for frame in part.frames) == frames["train"]
    assert ("alone" in have) == bool(parts)


def _scenes(root):
    place = root / "SUNRGBD/kv1/NYUdata/NYU0001"
    save(place / "image/NYU0001.jpg", PICTURE)
    for kind in ("depth", "depth_bfx"):
        save(place / kind / "NYU0001.png", WIDE)
    (place / "annotation2Dfinal").mkdir()
    return {"depth": [[0, 8.192, 0.125, 65.535]]}


def _mfnet(root):
    packed = np.concatenate([PICTURE, GREY[..., None]], axis=2)
    save(root / "images/00001D.png", packed)
    save(root / "labels/00001D.png", IDS)
    return {"rgb": PICTURE, "thermal": GREY, "label": IDS}


def _pairs(root):
    save(root / "train/vi/00001D.png", PICTURE)
    save(root / "train/ir/00001D.png", GREY)
    return {"rgb": PICTURE, "thermal": GREY}


def _joined(root):
    halves = PICTURE.repeat(4, 0), 255 - PICTURE.repeat(4, 0)
    save(root / "train/1.png", np.concatenate(halves, axis=1))
    return dict(zip("ab", halves, strict=True))


DOWNLOADED = {"SUN RGB-D": _scenes, "MFNet": _mfnet, "MSRS": _pairs, "pairs in one image": _joined}


@pytest.mark.parametrize(("have", "cell"), rows("as downloaded").items())
def test_as_downloaded(tmp_path, have, cell):
    truth = DOWNLOADED[have.partition(",")[0]](tmp_path)
    options = {"targets": ("rgb",)} if "VisibleInfrared" in cell else {}
    dataset = build_dataset(tmp_path, split_names(tmp_path)[0], **options)
    assert cell == f"nothing: `{type(dataset).__name__}`"
    for name, means in truth.items():
        np.testing.assert_allclose(dataset[0][name], means, rtol=1e-6)


def test_every_row_has_a_maker():
    assert list(rows("maps")) == list(MAPS)
    assert list(rows("labels")) == list(LABELS)
    assert [*rows("names"), *rows("splits")] == list(PLACES)
    assert [have.partition(",")[0] for have in rows("as downloaded")] == list(DOWNLOADED)
