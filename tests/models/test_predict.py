"""`model.predict` on files, arrays, tensors, images, lists, folders and iterators, against samples of the dataset."""

from __future__ import annotations

import copy
import itertools
import pickle
import re
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_overloads, get_type_hints

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from small_models import LABELS, NORMAL, batch, small

import rgbx
from rgbx.datasets import FolderDataset
from rgbx.maps import STANDARD_MAPS, Encoding, MapSpec
from rgbx.maps.colour import colour_input
from rgbx.maps.drawing import GAP, draw_bar
from rgbx.models import MultimodalModel, Predictor
from rgbx.models.checkpoint import to_plain
from rgbx.models.result import Result, ahead
from rgbx.transforms import PackSample, collate

SIZE = (19, 26)
DECLARED = """
classes.names = ["floor", "wall", "box", "ball", "lamp"]
classes.palette = [[1, 2, 3], [200, 0, 0], [0, 200, 0], [0, 0, 200], [90, 90, 0]]
label.folder = "label"
modalities.rgb = {folder = "rgb", unit = "rgb8"}
modalities.depth = {folder = "depth", unit = "metre", scale = 5000, missing = [65535]}
modalities.thermal = {folder = "thermal", unit = "sensor", scale = 100, add = -273.15, missing = [0]}
modalities.hha = {folder = "hha", unit = "encoded"}
modalities.normal = {folder = "normal", unit = "unit_vector"}
splits.test = ["a", "b", "c"]
"""
NAMES = ("rgb", "depth", "thermal", "hha", "normal")
HEADS = {"labels": LABELS, "normal": NORMAL, "depth": dict(NORMAL, unit="metre")}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A declared folder of three frames, every map with holes of its own."""
    folder, rng = tmp_path_factory.mktemp("frames"), np.random.default_rng(0)
    ranges = {
        **dict.fromkeys(("rgb", "hha"), (0, 256, np.uint8, 3)),
        "normal": (0, 65536, np.uint16, 3),
        "depth": (5000, 30000, np.uint16, 1),
        "thermal": (29000, 30000, np.uint16, 1),
        "label": (0, 5, np.uint8, 1),
    }
    holes = {"depth": (0, 65535), "thermal": (0,), "normal": (32768,)}
    for (name, (low, high, dtype, channels)), stem in itertools.product(ranges.items(), "abc"):
        image = rng.integers(low, high, (*SIZE, channels)).astype(dtype)
        for value in holes.get(name, ()):
            image[rng.random(SIZE) < 0.2] = value
        path = folder / name / f"{stem}.png"
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), image[..., ::-1] if channels == 3 else image[..., 0])
    (folder / "dataset.toml").write_text(DECLARED)
    return folder


@pytest.fixture(scope="module")
def dataset(root):
    found = FolderDataset(root, "test", modalities=NAMES)
    found.transforms = (PackSample(maps=found.maps),)
    return found


@pytest.fixture(scope="module")
def checkpoint(dataset, tmp_path_factory):
    model = small(
        None,
        heads=HEADS,
        modalities=NAMES,
        statistics={
            "thermal": {"mean": [20.0], "std": [5.0]},
            "depth": {"mean": [3.0], "std": [2.0]},
        },
    )
    state = {"state_dict": model.state_dict(), "model": to_plain(model.recipe)}
    path = tmp_path_factory.mktemp("model") / "best.pth"
    torch.save({**state, "meta": {"dataset_meta": to_plain(dataset.metainfo)}}, path)
    return path


@pytest.fixture(scope="module")
def model(checkpoint):
    return rgbx.load(checkpoint)


def files(root, stem, names=NAMES):
    return {name: root / name / f"{stem}.png" for name in names}


def expected(model, *samples, names=NAMES):
    """What the predictor gives for samples of the dataset, with only some of their maps."""
    dropped = set(NAMES) - set(names)
    kept = [{k: v for k, v in sample.items() if k.removesuffix("_valid") not in dropped} for sample in samples]
    inputs = collate([{k: v for k, v in sample.items() if k != "label"} for sample in kept])
    return [found["heads"] for found in Predictor(model)(inputs, keep_probability=True)]


def check(result, heads):
    """A result is, to the last bit, what the predictor gives."""
    assert list(result) == list(heads)
    for name, found in heads.items():
        head = result[name]
        assert list(head.branches) == [branch for branch in found.prediction if branch != "ensemble"]
        for branch, values in found.prediction.items():
            own = head if branch == "ensemble" else head.branches[branch]
            want = values.numpy() if values.ndim == 2 else values.permute(1, 2, 0).numpy()
            assert np.array_equal(own.values, want[..., 0] if want.shape[2:] == (1,) else want), (name, branch)
        if found.probability is not None:
            assert np.array_equal(head.probabilities, found.probability["ensemble"].numpy())
            assert np.array_equal(head.confidence, found.confidence["ensemble"].numpy())


@pytest.mark.parametrize("names", [NAMES, ("depth",), ("thermal", "rgb"), ("normal", "hha")], ids="+".join)
def test_files_are_read_as_those_of_the_training(model, root, dataset, names):
    """Scales, missing values, masks and normals of unit length: the checkpoint knows them."""
    result = model.predict(**files(root, "b", names))
    check(result, expected(model, dataset[1], names=names)[0])
    assert result.sample_id == "b" and result.paths == {n: str(root / n / "b.png") for n in NAMES if n in names}
    for name in names:
        assert np.array_equal(result.inputs[name], dataset[1][name].numpy())
        if f"{name}_valid" in dataset[1]:
            assert np.array_equal(result.inputs[f"{name}_valid"], dataset[1][f"{name}_valid"].numpy())


def arrays(root, stem, kind):
    """The maps of a frame in their units, read with OpenCV alone, as arrays, tensors or images."""
    raw = {name: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for name, path in files(root, stem).items()}
    rgb, hha = (np.ascontiguousarray(raw[name][..., ::-1]) for name in ("rgb", "hha"))
    depth = np.where(np.isin(raw["depth"], (0, 65535)), np.nan, raw["depth"] / np.float32(5000)).astype(np.float32)
    thermal = np.where(raw["thermal"] == 0, np.nan, raw["thermal"] / np.float32(100) - np.float32(273.15))
    if kind == "images":
        return {"rgb": Image.fromarray(rgb), "depth": Image.fromarray(raw["depth"]), "hha": Image.fromarray(hha)}
    found = {"rgb": rgb, "depth": depth, "thermal": thermal.astype(np.float32), "hha": hha}
    if kind == "stored numbers":
        return {**found, "depth": raw["depth"], "thermal": raw["thermal"]}
    if kind == "tensors":
        return {name: torch.from_numpy(x if x.ndim == 2 else x.transpose(2, 0, 1).copy()) for name, x in found.items()}
    return found


@pytest.mark.parametrize("kind", ["arrays", "tensors", "stored numbers", "images"])
def test_what_lies_in_memory(model, root, dataset, kind):
    given = arrays(root, "a", kind)
    names = [name for name in NAMES if name in given]
    result = model.predict(**given, sample_id="mine")
    check(result, expected(model, dataset[0], names=names)[0])
    assert result.sample_id == "mine" and result.paths == dict.fromkeys(names, "")


def test_many_frames(model, root, dataset):
    """A list gives a list; folders and iterators give an iterator, in order, whatever the batches."""
    want = expected(model, *(dataset[i] for i in range(3)), names=("rgb", "depth"))
    given = {name: [root / name / f"{stem}.png" for stem in "abc"] for name in ("rgb", "depth")}
    listed = model.predict(**given, batch_size=3)
    assert isinstance(listed, list) and [result.sample_id for result in listed] == ["a", "b", "c"]
    for result, heads in zip(listed, want, strict=True):
        check_close(result, heads)
    for batch_size in (1, 2):
        streams = {name: (path for path in paths) for name, paths in given.items()}
        found = model.predict(**streams, batch_size=batch_size)
        assert iter(found) is found
        for result, heads in zip(found, want, strict=True):
            check_close(result, heads)
    folders = model.predict(rgb=root / "rgb", depth=str(root / "depth"), batch_size=2)
    assert [result.sample_id for result in folders] == ["a", "b", "c"]
    assert [r.sample_id for r in model.predict(rgb=[root / "rgb/a.png"] * 2, sample_id=["x", "y"])] == ["x", "y"]


def check_close(result, heads):
    """Batches of other sizes may round otherwise."""
    for name, found in heads.items():
        values = result[name].answer.values["ensemble"]
        np.testing.assert_allclose(values, found.prediction["ensemble"].numpy(), atol=1e-4)
        if found.probability is not None:
            probability = found.probability["ensemble"].numpy()
            np.testing.assert_allclose(result[name].probabilities, probability, atol=1e-5)
            np.testing.assert_allclose(result[name].confidence, probability.max(0), atol=1e-5)


def test_a_stream_is_read_as_it_is_asked(model, root):
    """No frame beyond those of a batch is taken, as of a camera, and a bad one holds back none before it."""
    taken = []

    def camera():
        for stem in "abcx":
            taken.append(stem)
            yield root / "rgb" / f"{stem}.png"

    found = model.predict(rgb=camera(), batch_size=2)
    assert taken == []
    next(found), next(found)
    assert taken == ["a", "b"]
    assert next(found).sample_id == "c"
    with pytest.raises(FileNotFoundError, match=r"x\.png: no such file"):
        next(found)


def test_sizes_and_maps_may_differ_from_frame_to_frame(model, root):
    """Only neighbours that are alike share a batch; each is what it is alone."""
    rng = np.random.default_rng(1)
    sizes = [(20, 24), (20, 24), (17, 40), (20, 24), (20, 24)]
    rgb = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    depth = [rng.uniform(1, 5, size).astype(np.float32) for size in sizes[:3]] + [None, None]
    rgb[1] = None
    for k, result in enumerate(model.predict(rgb=rgb, depth=depth, batch_size=8)):
        alone = model.predict(rgb=rgb[k], depth=depth[k])
        assert result["labels"].ids.shape == sizes[k] and list(result.paths) == list(alone.paths)
        np.testing.assert_allclose(result["labels"].probabilities, alone["labels"].probabilities, atol=1e-5)


def test_probabilities_are_kept_or_computed_again(model, root):
    paths = files(root, "a", ("rgb", "depth"))
    (one,) = model.predict(**{name: [path] for name, path in paths.items()})
    (kept,) = model.predict(**{name: [path] for name, path in paths.items()}, keep_probability=True)
    assert one["labels"].answer.probability is None and kept["labels"].answer.probability is not None
    assert np.array_equal(one["labels"].probabilities, kept["labels"].probabilities)
    for name, branch in kept["labels"].branches.items():
        assert branch.probabilities.shape == (5, *SIZE)
        np.testing.assert_allclose(branch.probabilities.sum(0), 1, atol=1e-5)
        assert np.array_equal(branch.probabilities.argmax(0), branch.ids), name
        assert np.array_equal(branch.confidence, branch.probabilities.max(0))


def test_a_mask_says_what_was_not_measured(model, root, dataset):
    hidden = np.zeros(SIZE, bool)
    hidden[3:9, 4:20] = True
    metres = np.nan_to_num(arrays(root, "a", "arrays")["depth"])
    want = model.predict(depth=np.where(hidden, np.nan, metres).astype(np.float32))
    for mask in (~hidden, torch.from_numpy(~hidden)[None], np.where(hidden, 0, 255).astype(np.uint8)):
        assert np.array_equal(model.predict(depth=metres, depth_valid=mask)["depth"].values, want["depth"].values)
    assert not np.array_equal(model.predict(depth=metres)["depth"].values, want["depth"].values)


def test_what_the_caller_says_comes_first(model, root, dataset):
    raw = cv2.imread(str(root / "depth/a.png"), cv2.IMREAD_UNCHANGED)
    for given in (raw, root / "depth/a.png", raw.astype(np.float64)):
        found = model.predict(depth=given, depth_scale=10000, depth_missing=65535).inputs["depth"][0]
        np.testing.assert_allclose(found, np.where(raw == 65535, 0, raw / 10000), rtol=1e-6)
    kept = model.predict(depth=root / "depth/a.png", depth_missing=[0, 65535, 7]).inputs["depth"]
    assert np.array_equal(kept, dataset[0]["depth"].numpy())  # the scale is still the checkpoint's


def test_threads_share_a_model(model, root):
    """Mixed subsets at once are what they are one after the other."""
    subsets = [("rgb",), ("depth", "rgb"), ("thermal",), NAMES] * 6
    jobs = [files(root, "abc"[k % 3], names) for k, names in enumerate(subsets)]
    serial = [model.predict(**job) for job in jobs]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda job: model.predict(**job), jobs))
    for one, other in zip(serial, together, strict=True):
        for name in one:
            assert np.array_equal(one[name].values, other[name].values)


REFUSED = {
    "a misspelt map": (dict(rgb="rgb/a.png", dept="depth/a.png"), r"'dept'.*did you mean 'depth'"),
    "a map with a line behind": (dict(rgb="rgb/a.png", depth_="depth/a.png"), "'depth_'.*did you mean 'depth'"),
    "a misspelt option": (dict(depth="depth/a.png", depth_scal=3), "'depth_scal'.*did you mean 'depth_scale'"),
    "no map": (dict(rgb=None), "no map; expected at least one of rgb, depth"),
    "an option without its map": (dict(rgb="rgb/a.png", depth_scale=3), "told of 'depth', but not given it"),
    "no such file": (dict(rgb="rgb/x.png"), r"rgb .*x\.png.*no such file or folder"),
    "a file beside a folder": (dict(rgb="rgb/a.png", depth="depth/"), "rgb is one file.*depth is a folder"),
    "lists of two lengths": (dict(rgb=["a", "b"], depth=["a"]), "2 of rgb, 1 of depth"),
    "nothing that is a map": (dict(rgb=3), "rgb is of type int; expected a file or folder"),
    "fractions as colours": (
        dict(rgb=np.full((4, 5, 3), 0.5)), r"float64 \[4, 5, 3\]; expected uint8.*divided by 255\? \(255 \* x\)"
    ),
    "an array, channels first": (
        dict(rgb=np.zeros((3, 8, 9), np.uint8)), r"array \[3, 8, 9\]; expected \[H, W, C\].*x\.transpose\("
    ),
    "a tensor, channels last": (
        dict(rgb=torch.zeros(8, 9, 3, dtype=torch.uint8)), r"expected \[C, H, W\].*x\.permute\(2, 0, 1\)"
    ),
    "a batch": (dict(rgb=np.zeros((2, 8, 9, 3), np.uint8)), "for several frames pass a list of arrays"),
    "two sizes": (
        dict(rgb=np.zeros((8, 9, 3), np.uint8), depth=np.ones((4, 5), np.float32)), "rgb is 8×9, depth is 4×5"
    ),
    "two sizes of files": (
        dict(rgb="rgb/a.png", depth="small.png"), r"rgb \(.*a\.png\) is 19×26, depth \(.*small\.png\) is 4×5"
    ),
    "depth of 8 bits": (dict(depth="rgb8.png"), "expected one channel of 16 bits, found 1 channel of 8 bits"),
    "an array of 8 bits": (
        dict(depth=np.ones((4, 5), np.uint8)), "expected one channel of 16 bits, found 1 channel of 8 bits"
    ),
    "depth below 0": (dict(depth=np.full((4, 5), -1.0)), "depth.*holds -1 on 20 pixels"),
    "truth values": (dict(depth=np.ones((4, 5), bool)), "array of bool; expected numbers"),
    "a mask of another size": (
        dict(depth=np.ones((4, 5)), depth_valid=np.ones((5, 4), bool)), r"depth_valid.*bool \[5, 4\]; .*\[4, 5\]"
    ),
    "a mask without its map": (dict(rgb="rgb/a.png", depth_valid="rgb8.png"), "not given it: pass depth="),
    "a scale of colours": (dict(rgb="rgb/a.png", rgb_scale=2), "unit 'rgb8' takes none"),
    "no unit": (dict(depth="depth/a.png", depth_unit="inch"), "depth_unit=inch: expected one of rgb8"),
    "a scale that is no number": (dict(depth="depth/a.png", depth_scale="x"), "depth: scale='x' says nothing"),
    "missing that is no number": (dict(depth="depth/a.png", depth_missing="x"), "depth: missing=.* says nothing"),
    "a masked array": (dict(depth=np.ma.masked_array(np.ones((4, 5)), True)), "NAME_valid=~x.mask"),
    "too few names": (dict(rgb=["rgb/a.png"] * 2, sample_id=["x"]), "sample_id of frame 1 is ''"),
    "a name twice": (dict(rgb=["rgb/a.png"] * 2, sample_id=["x", "x"]), "sample_id of frame 1 is 'x'; .* no two alike"),
    "names for one frame": (dict(rgb="rgb/a.png", sample_id=["x"]), r"sample_id is \['x'\]; expected a name, as"),
    "half a batch": (dict(rgb="rgb/a.png", batch_size=1.5), "expected a whole number"),
    "no batch": (dict(rgb="rgb/a.png", batch_size=0), "batch_size is 0"),
    "names of a folder": (dict(rgb="rgb/", sample_id=["x"]), "the frames of folders have the stems"),
    "a sparse tensor": (dict(depth=torch.ones(4, 5).to_sparse()), "that is torch.sparse_coo; expected a dense one"),
    "a tensor without values": (dict(depth=torch.ones(4, 5, device="meta")), "that is meta; expected a dense one"),
    "a type by its name": (dict(rgb="rgb/a.png", dtype="bfloat16"), "dtype is 'bfloat16'; expected torch.bfloat16"),
    "a type that autocast has not": (dict(rgb="rgb/a.png", dtype=torch.float64), "dtype is torch.float64; expected"),
    "no head": (dict(rgb="rgb/a.png", heads=[]), r"heads is \[\]; expected a list"),
    "a modality that is no list": (dict(rgb="rgb/a.png", modalities="rgb"), "modalities is 'rgb'; expected a list"),
    "a head that is no list": (dict(rgb="rgb/a.png", heads="labels"), "heads is 'labels'; expected a list"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_told(model, root, case):
    cv2.imwrite(str(root / "small.png"), np.full((4, 5), 6000, np.uint16))
    cv2.imwrite(str(root / "rgb8.png"), np.full(SIZE, 60, np.uint8))
    given, message = REFUSED[case]

    def placed(value):
        if isinstance(value, list):
            return [placed(item) for item in value]
        return root / value if isinstance(value, str) and ("/" in value or ".png" in value) else value

    with pytest.raises((ValueError, FileNotFoundError), match=message):
        model.predict(**{key: placed(value) for key, value in given.items()})


@pytest.mark.parametrize(
    ("map_", "given", "options", "message"),
    [
        ("depth", np.ones((4, 5), np.uint8), {}, "if it is, state depth_scale=STEPS_PER_METRE and depth_bits=8"),
        ("depth", np.ones((4, 5), np.uint8), {"scale": 25}, "if it is, state depth_bits=8"),
        ("depth", np.full((4, 5), -2, np.int16), {}, "if they stand for no measurement, state depth_missing=VALUE"),
        ("thermal", np.ones((4, 5), np.int16), {"unit": "relative"}, "counts as 1, state thermal_scale=VALUE"),
    ],
)
def test_what_is_missing_is_told_as_the_caller_writes_it(model, tmp_path, map_, given, options, message):
    """Of arrays and files alike, and no map is named twice."""
    np.save(tmp_path / "map.npy", given)
    for value in (given, tmp_path / "map.npy"):
        with pytest.raises(ValueError, match=message) as caught:
            model.predict(**{map_: value}, **{f"{map_}_{key}": said for key, said in options.items()})
        assert f"{map_} {map_}" not in str(caught.value) and str(caught.value).endswith(message)
        assert ("map.npy" if value is not given else "sample '000000'") in str(caught.value)


def test_an_image_without_its_partner_is_named(model, root, tmp_path):
    for name, stems in (("rgb", "ab"), ("depth", "ac")):
        (tmp_path / name).mkdir()
        for stem in stems:
            (tmp_path / name / f"{stem}.png").write_bytes((root / name / f"{stem}.png").read_bytes())
    with pytest.raises(FileNotFoundError, match=r"b\.png has no partner: .*depth holds no image 'b'"):
        model.predict(rgb=tmp_path / "rgb", depth=tmp_path / "depth")
    for name, time in (("rgb", "1700000000.1"), ("depth", "1700000000.112")):
        (tmp_path / "timed" / name).mkdir(parents=True)
        (tmp_path / "timed" / name / f"{time}.png").write_bytes((root / name / "a.png").read_bytes())
    with pytest.raises(FileNotFoundError, match=r"no partner: .* look like times .*\(rgb=rgb\.txt\), or the folder of"):
        model.predict(rgb=tmp_path / "timed/rgb", depth=tmp_path / "timed/depth")
    short = model.predict(rgb=iter([root / "rgb/a.png"] * 2), depth=iter([root / "depth/a.png"]))
    next(short)
    with pytest.raises(ValueError, match="depth ends after 1 frames"):
        next(short)


def test_a_checkpoint_that_says_nothing(root):
    """Whole numbers of depth and thermal need a scale, and the likeliest is named; classes get names and colours."""
    silent = small(None, heads={"labels": LABELS}, modalities=("rgb", "depth", "thermal")).eval()
    metres = np.full((20, 24), 2.5, np.float32)
    numbers = (metres * 1000).astype(np.uint16)
    with pytest.raises(
        ValueError, match=r"whole numbers, uint16.*depth_scale=1000.*median is 2500.*millimetres, 2\.5 m"
    ):
        silent.predict(depth=numbers)
    with pytest.raises(ValueError, match=r"how many steps of 'depth' make a metre"):
        silent.predict(depth=root / "depth/a.png")
    with pytest.raises(ValueError, match="thermal_scale=STEPS_PER_UNIT"):
        silent.predict(thermal=root / "thermal/a.png")
    found = silent.predict(depth=numbers, depth_scale=1000)["labels"]
    assert np.array_equal(found.ids, silent.predict(depth=metres)["labels"].ids)
    assert found.classes == ("class 0", "class 1", "class 2", "class 3", "class 4")
    assert found.palette[0] == [0, 114, 178] and len(found.palette) == 5
    assert sum(found.areas.values()) == pytest.approx(1)


def test_depth_in_other_units_is_warned_of(checkpoint):
    with pytest.warns(UserWarning, match=r"depth: the median is 2500, .*are these millimetres\?"):
        rgbx.load(checkpoint).predict(depth=np.full((20, 24), 2500.0, np.float32))


def test_names_that_a_result_does_not_have(checkpoint):
    result = rgbx.load(checkpoint).predict(depth=np.full((20, 24), 2.5, np.float32))
    cases = {
        "labels": "no attribute 'labels': 'labels' is a head, result['labels']",
        "imputs": "no attribute 'imputs'; did you mean 'inputs'",
    }
    for name, message in cases.items():
        with pytest.raises(AttributeError, match=re.escape(message)):
            getattr(result, name)
    assert not hasattr(result, "colours") and copy.copy(result).sample_id == result.sample_id
    assert pickle.loads(pickle.dumps(result["labels"].areas)) == result["labels"].areas
    names = list(result["labels"].areas)
    with pytest.raises(KeyError, match=f"no class 'sofa'; the classes are {', '.join(names)}"):
        result["labels"].areas["sofa"]
    with pytest.raises(KeyError, match=f"no class '{names[0]}x'; .*; did you mean '{names[0]}'"):
        result["labels"].areas[f"{names[0]}x"]


def test_each_kind_of_mistake_is_warned_of_once_where_it_was_made(checkpoint):
    """Metres of which the caller says that they are millimetres, then others; the warning shows the caller's file."""
    model, metres = rgbx.load(checkpoint), np.full((20, 24), 2.5, np.float32)
    cases = {
        r"depth: the median is 0\.0025, .*: depth_scale=1000 divided its values: is that how": (metres, 1000),
        r"depth: the median is 2500, .*are these millimetres\?": (1000 * metres, None),
        r"depth: the median is 0\.25, .*: is it scaled to 0\.\.1\?": (metres / 10, None),
    }
    for message, (depth, scale) in cases.items():
        options = {"depth_scale": scale} if scale else {}
        with pytest.warns(UserWarning, match=message) as told:
            model.predict(depth=depth, **options)
        assert [warning.filename for warning in told] == [__file__]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.predict(depth=depth, **options)


def test_a_batch_is_predicted_as_ever():
    model, data = small("classes").eval(), batch()
    found = model.predict(data, keep_probability=True)
    assert torch.equal(found[0]["prediction"]["ensemble"], Predictor(model)(data)[0]["prediction"]["ensemble"])
    assert found[1]["probability"]["ensemble"].shape == (5, 34, 50)
    with pytest.raises(ValueError, match="a batch or maps by name, not both"):
        model.predict(data, rgb="a.png")
    with pytest.raises(ValueError, match=r"by their names, such as predict\(rgb=\.\.\.\).*found str"):
        model.predict("a.png")


def test_what_predict_gives_has_types():
    """For editors and type checkers: a batch gives dicts, maps by name give results."""
    batched, named = (get_type_hints(form)["return"] for form in get_overloads(MultimodalModel.predict))
    assert batched == list[dict[str, Any]]
    assert named == Result | list[Result] | Iterator[Result]
    assert get_type_hints(MultimodalModel.predict)["return"] == batched | named


def test_results_are_written_and_read_back(model, root, tmp_path):
    result = model.predict(**files(root, "a"))
    written = result.save(tmp_path)
    assert written == {name: tmp_path / name / "a.png" for name in HEADS}
    assert np.array_equal(cv2.imread(str(written["labels"]), cv2.IMREAD_UNCHANGED), result["labels"].ids)
    stored = cv2.imread(str(written["depth"]), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16  # in the steps of the training's files
    assert np.array_equal(stored, np.round(result["depth"].values.astype(np.float64) * 5000))
    with Image.open(written["depth"]) as image:
        assert image.text["Description"] == "depth: metre = value / 5000; 0 = no measurement"
    result["depth"].save(tmp_path / "mm.png", scale=1000)
    back = Encoding(STANDARD_MAPS["depth"]).read(tmp_path / "mm.png")
    np.testing.assert_allclose(back, result["depth"].values, atol=0.0006)
    assert result["depth"].unit == "metre" and result["normal"].unit == "unit_vector"
    with pytest.raises(ValueError, match=re.escape("c.jpg: results are PNG files")):
        result["labels"].save(tmp_path / "c.jpg")
    for name in ("../a", "/a"):
        with pytest.raises(ValueError, match="leads out of"):
            model.predict(rgb=root / "rgb/a.png", sample_id=name).save(tmp_path)


def test_classes_as_pictures(model, root):
    bars = {panel.title: panel.bar and panel.bar.sign for panel in model.predict(**files(root, "a")).panels()}
    assert bars == {
        "RGB": None,
        "depth": "m",
        "thermal": "°C",
        "HHA": None,
        "normal": None,
        "predicted labels": None,
        "confidence of labels": "",
        "predicted normal": None,
        "predicted depth": "m",
    }
    result = model.predict(**files(root, "a", ("rgb", "depth")))
    head, rgb = result["labels"], cv2.imread(str(root / "rgb/a.png"))[..., ::-1].astype(float)
    assert head.classes == ("floor", "wall", "box", "ball", "lamp") and head.palette[1] == [200, 0, 0]
    colours = np.array(head.palette)[head.ids]
    assert np.array_equal(head.picture(legend=False), colours)
    for alpha in (0, 0.5, 0.25, 1):
        naive = (1 - alpha) * rgb + alpha * colours
        assert np.abs(head.overlay(alpha).astype(float) - naive).max() <= 0.5001
    assert np.array_equal(head.overlay(0, on="depth"), head.background("depth"))
    with pytest.raises(ValueError, match="no input 'thermal'; it has rgb, depth"):
        head.overlay(on="thermal")
    with pytest.raises(ValueError, match="alpha is 2"):
        head.overlay(2)
    assert head.areas == {name: float((head.ids == k).mean()) for k, name in enumerate(head.classes)}
    assert list(head.legend()) == [name for name, share in head.areas.items() if share]
    assert head.picture().shape[0] > SIZE[0] and head.picture().shape[1:] == (SIZE[1], 3)
    assert repr(head) == "<ClassesResult 'labels' of ensemble, 19×26>"
    with pytest.raises(KeyError, match="no head 'label'; the model has labels, normal, depth"):
        result["label"]


def test_metres_of_any_name_are_drawn_as_their_bar_says():
    """Near is bright, in the bar, in the picture of the input, and where it lies below an overlay."""
    about = {"mean": [4.0], "std": [2.0]}
    silent = small(None, heads={"labels": LABELS}, modalities=("rgb", "range"), statistics={"range": about}).eval()
    ramp = np.linspace(1, 9, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)
    ramp[5, 5] = 0
    result = silent.predict(rgb=np.zeros((*SIZE, 3), np.uint8), range=ramp, range_unit="metre")
    panel = next(panel for panel in result.panels() if panel.title == "range")
    assert panel.bar.sign == "m" and (panel.picture[5, 5] == 0).all()
    low, high = panel.bar.limits
    column = draw_bar(panel.bar, 240)[6:-6, GAP + 3].astype(int)  # the largest value on top
    for y, x in ((1, 0), (4, 7), (9, 13), (14, 3), (18, 1)):
        place = round((high - ramp[y, x]) / (high - low) * (len(column) - 1))
        assert np.abs(column[place] - panel.picture[y, x]).max() < 12
    metres = colour_input("x", ramp[None], spec=MapSpec.of_unit("x", "metre"))
    for picture in (panel.picture, result["labels"].background("range"), metres):
        assert picture[1, 0].sum() > picture[9, 0].sum() + 100 > picture[18, 0].sum() + 150


def test_the_confidence_of_branches_takes_one_more_pass(model, root):
    """However often it is shown, and of whichever branch."""
    result = next(model.predict(**{name: iter([path]) for name, path in files(root, "a", ("rgb", "depth")).items()}))
    passes = []
    handle = model.backbone.register_forward_hook(lambda *_: passes.append(1))
    try:
        alone = result.of_branch("depth")
        alone.strip(), alone["labels"].facts(), result["labels"].facts()
        found = {name: branch.confidence for name, branch in result["labels"].branches.items()}
    finally:
        handle.remove()
    assert passes == [1] and list(found) == ["rgb", "depth"]
    for name, branch in result["labels"].branches.items():
        assert np.array_equal(branch.probabilities.max(0), found[name])


def test_threads_keep_the_order_and_take_few_items_ahead():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    def square(number):
        if number == 90:
            raise ValueError("90")
        return number**2

    found = ahead(square, items(), 2)
    assert next(found) == 0 and len(taken) == 9
    assert list(itertools.islice(found, 89)) == [number**2 for number in range(1, 90)]
    with pytest.raises(ValueError, match="90"):
        next(found)


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_images_beyond_8_bits_are_no_colours(model, mode):
    """Pillow would cut their numbers off at 255."""
    image = Image.fromarray(np.full(SIZE, 1000, {"I": np.int32, "F": np.float32, "I;16": np.uint16}[mode]))
    assert image.mode == mode
    with pytest.raises(ValueError, match=f"of mode '{mode}'.*expected colours of 8 bits"):
        model.predict(rgb=image)


def test_names_of_frames_are_of_one_frame_each(model, root, tmp_path):
    for name in ("a_000002", "a", "other/a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(root / "rgb/a.png", tmp_path / f"{name}.png")
    paths = [tmp_path / f"{name}.png" for name in ("a_000002", "a", "other/a")]
    found = [result.sample_id for result in model.predict(rgb=paths)]
    assert found[:2] == ["a_000002", "a"] and len(set(found)) == 3
    for names, message in (
        (["x", "y", "z", "w"], "goes on after 3 frames"),
        ("xyz", "expected a list or iterator"),
        (["x", None, "y"], "sample_id of frame 1 is ''"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(rgb=paths, sample_id=names)


def test_frames_before_a_failure_are_answered(model, root):
    def camera():
        yield from [root / "rgb/a.png", root / "rgb/b.png"]
        raise RuntimeError("unplugged")

    found = model.predict(rgb=camera(), batch_size=8)
    assert [next(found).sample_id, next(found).sample_id] == ["a", "b"]
    with pytest.raises(RuntimeError, match="unplugged"):
        next(found)
