"""A map estimated from colours: what lies there, what is declared, and that nothing takes it for metres."""

from __future__ import annotations

import re
import shutil
import sys

import cv2
import numpy as np
import pytest
from small_models import small

from rgbx.cli.prepare import main
from rgbx.datasets import FolderDataset
from rgbx.datasets.prepare import Estimate, write_estimate
from rgbx.datasets.prepare.estimate import load_estimator, stretched
from rgbx.tasks import Map
from rgbx.train.data_check import check_maps
from rgbx.transforms import ComputeHHA, ComputeNormals, PackSample, RandomScaleCrop

TOML = """# mine
[classes]
names = ["wall", "box"]
[label]
folder = "label"
[modalities.rgb]
folder = "{split}/rgb"  # photos
suffix = "_rgb.jpg"
unit = "rgb8"
[splits]
train = "train"
val = "val"
"""
CODE = """
import numpy as np
CALLS = []
def depth(image):
    CALLS.append(image.shape)
    return image.astype(np.float32).mean(axis=2) * 7 - 100
def holed(image):
    found = depth(image)
    found[0] = np.nan
    return found
def sometimes(image):
    if image[0, 0, 0] > 127:
        raise RuntimeError("out of paper")
    return depth(image)
def wrong(image):
    return image
"""
CAMERA = dict(fx=40, fy=40, cx=8, cy=6)


@pytest.fixture
def root(tmp_path):
    """Three frames of training, the second bright in its corner, and two of validation."""
    folder, rng = tmp_path / "data", np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        for k in range(count):
            image = cv2.resize(rng.integers(0, 255, (3, 4, 3), dtype=np.uint8), (16, 12))
            image[0, 0] = 250 if (split, k) == ("train", 1) else 10
            image[:4, :4] = image[0, 0]
            for place, array in ((f"{split}/rgb/{k}_rgb.jpg", image), (f"label/{k}.png", np.zeros((12, 16), np.uint8))):
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(folder / place), array)
    (folder / "dataset.toml").write_text(TOML)
    (tmp_path / "mine.py").write_text(CODE)
    return folder


def mine(root, function):
    return f"{root.parent / 'mine.py'}:{function}"


def expected(image):
    """By the words of the page: 16 bits from 1 to 65535, from the least to the largest value of the frame."""
    values = image.astype(np.float32).mean(axis=2) * 7 - 100
    return 1 + (values - values.min()) / (values.max() - values.min()) * 65534


@pytest.mark.parametrize("kind", ["png", "npy"])
def test_what_is_written_and_declared(root, kind):
    found = write_estimate(root, Estimate("depth", mine(root, "depth"), file_format=kind))
    assert (found.written, found.kept, found.failed) == (5, 0, ())
    text = (root / "dataset.toml").read_text()
    assert text.startswith(TOML.rstrip()) and text.count("[modalities.depth]") == 1
    for split, count in (("train", 3), ("val", 2)):
        dataset = FolderDataset(root, split)
        assert (
            dataset.modalities == ("rgb", "depth")
            and dataset.maps["depth"].unit == "relative"
            and len(dataset) == count
        )
        for index in range(count):
            sample = dataset[index]
            assert sample["paths"]["depth"] == str(root / f"depth/{split}/rgb/{index}_rgb.{kind}")
            np.testing.assert_allclose(sample["depth"] * 65535, expected(sample["rgb"]), atol=0.51)
            assert sample["depth"].min() > 0 and sample["depth"].max() == 1  # all of it was measured
    again = write_estimate(root, Estimate("depth", mine(root, "depth"), file_format=kind))
    assert (again.written, again.kept) == (0, 5) and (root / "dataset.toml").read_text() == text


def test_an_interrupted_run_goes_on(root, monkeypatch):
    estimator, made_of = load_estimator(mine(root, "depth"))
    left = iter(range(2))

    def stopped(image):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return estimator(image)

    monkeypatch.setattr("rgbx.datasets.prepare.estimate.load_estimator", lambda *_: (stopped, made_of))
    with pytest.raises(KeyboardInterrupt):
        write_estimate(root, Estimate("depth", mine(root, "depth")))
    assert (root / "dataset.toml").read_text() == TOML and len(list((root / "depth").rglob("*.png"))) == 2
    monkeypatch.undo()
    found = write_estimate(root, Estimate("depth", mine(root, "depth")))
    assert (found.written, found.kept) == (3, 2) and len(FolderDataset(root, "train")) == 3


def test_frames_that_fail_are_counted_and_tried_again(root, capsys):
    assert main(["estimate", str(root), "--estimate", f"depth={mine(root, 'sometimes')}"]) == 1
    said = capsys.readouterr()
    assert "4 files written, 0 were there already" in said.out and "declares" not in said.out
    assert "1 frames failed, so that depth is not declared" in said.err
    assert f"{root}/train/rgb/1_rgb.jpg: RuntimeError: out of paper" in said.err
    assert (root / "dataset.toml").read_text() == TOML
    (root.parent / "mine.py").write_text(CODE.replace("> 127", "> 300"))
    assert main(["estimate", str(root), "--estimate", f"depth={mine(root, 'sometimes')}"]) == 2  # another estimator now
    assert "use another output folder" in capsys.readouterr().err
    shutil.rmtree(root / "depth")
    assert main(["estimate", str(root), "--estimate", f"depth={mine(root, 'sometimes')}"]) == 0
    assert "declares depth, relative: it has no metres" in capsys.readouterr().out


def test_what_was_not_estimated_is_no_measurement(root):
    write_estimate(root, Estimate("near", mine(root, "holed"), limits=(-100, 1685)))
    sample = FolderDataset(root, "val")[0]
    assert not sample["near_valid"][0].any() and sample["near_valid"][1:].all()
    values = sample["rgb"].astype(np.float64).mean(axis=2)[1:] / 255
    np.testing.assert_allclose(sample["near"][1:], values, atol=1e-4)


@pytest.mark.parametrize(
    ("estimate", "words", "message"),
    [
        ("depth", [], r"--estimate is 'depth'; expected NAME=ESTIMATOR"),
        ("depth=nothing", [], "the estimator is 'nothing'; expected MODULE:FUNCTION, FILE.py:FUNCTION or FILE.onnx"),
        ("depth=MINE:deep", [], "has no function 'deep'"),
        ("depth=MINE:depth", ["--size", "8x8"], "size is of ONNX files"),
        ("depth=MINE:depth", ["--from", "thermal"], r"maps of unit 'rgb8' are \['rgb'\], found 'thermal'"),
        (
            "depth=MINE:depth",
            ["--range", "3", "2"],
            r"the range is \(3.0, 2.0\); expected two numbers, the lower first",
        ),
        ("rgb=MINE:depth", [], "declares 'rgb' already, as another map than what is estimated: choose another name"),
        ("label=MINE:depth", [], "expected names of letters"),
        ("depth=nowhere.onnx", [], "nowhere.onnx: no such file"),
        ("depth=no_such_module:depth", [], "No module named 'no_such_module'"),
    ],
)
def test_refusals(root, capsys, estimate, words, message):
    estimate = estimate.replace("MINE", str(root.parent / "mine.py"))
    assert main(["estimate", str(root), "--estimate", estimate, *words]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert (root / "dataset.toml").read_text() == TOML and not (root / "depth").exists()


def test_a_function_that_gives_no_map(root, capsys):
    assert main(["estimate", str(root), "--estimate", f"depth={mine(root, 'wrong')}"]) == 1
    assert "the estimator gave uint8 (12, 16, 3); expected numbers (12, 16)" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no finite number"):
        stretched(np.full((2, 3), np.nan), (2, 3))
    np.testing.assert_allclose(stretched(np.ones((2, 3)), (2, 3)), 0.5, atol=1e-4)


def onnx_file(path, inputs, axes, *, element=None):
    """The mean over the colours of an image, by ONNX's own operators."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    element = element or onnx.TensorProto.FLOAT
    nodes = [
        onnx.helper.make_node("Cast", ["image"], ["floats"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("ReduceMean", ["floats", "axes"], ["depth"], keepdims=1),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "mean",
        [onnx.helper.make_tensor_value_info("image", element, inputs)],
        [onnx.helper.make_tensor_value_info("depth", onnx.TensorProto.FLOAT, None)],
        [onnx.helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [axes])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


def test_an_onnx_file(root, tmp_path):
    onnx = pytest.importorskip("onnx")
    image = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    normalised = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    bytes_ = onnx.TensorProto.UINT8
    for shape, axis, options, truth in (
        (["n", 3, "h", "w"], 1, {}, normalised.mean(axis=2)),
        ([1, "h", "w", 3], 3, {}, normalised.mean(axis=2)),
        ([1, 3, "h", "w"], 1, {"element": bytes_}, image.mean(axis=2)),
    ):
        estimator, _ = load_estimator(str(onnx_file(tmp_path / "a.onnx", shape, axis, **options)))
        np.testing.assert_allclose(estimator(image), truth, rtol=1e-4, atol=1e-4)
    fixed, _ = load_estimator(str(onnx_file(tmp_path / "b.onnx", [1, 3, 6, 8], 1, element=bytes_)))
    small = cv2.resize(image, (8, 6), interpolation=cv2.INTER_AREA).mean(axis=2).astype(np.float32)
    np.testing.assert_allclose(fixed(image), cv2.resize(small, (16, 12)), rtol=1e-5)
    open_, _ = load_estimator(str(onnx_file(tmp_path / "a.onnx", [1, 3, "h", "w"], 1, element=bytes_)), (6, 8))
    np.testing.assert_allclose(open_(image), fixed(image))
    with pytest.raises(ValueError, match=r"b\.onnx reads images of 6x8, found the size \(5, 5\)"):
        load_estimator(str(tmp_path / "b.onnx"), (5, 5))
    with pytest.raises(ValueError, match=r"c\.onnx: expected one input \[1, 3, H, W\]"):
        load_estimator(str(onnx_file(tmp_path / "c.onnx", [1, 4, 6, 8], 1)))
    (tmp_path / "d.onnx").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"d\.onnx: onnxruntime cannot read it"):
        load_estimator(str(tmp_path / "d.onnx"))
    assert write_estimate(root, Estimate("depth", str(tmp_path / "b.onnx"))).written == 5


def test_onnxruntime_is_asked_for(tmp_path, monkeypatch):
    (tmp_path / "d.onnx").write_bytes(b"nothing")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r'd\.onnx needs onnxruntime: pip install "rgbx\[export\]"'):
        load_estimator(str(tmp_path / "d.onnx"))


def test_nothing_takes_it_for_metres(root):
    write_estimate(root, Estimate("depth", mine(root, "depth")))
    told = "needs metres, but the map 'depth' is relative: it has no metres"
    for kind in (ComputeHHA, ComputeNormals):
        with pytest.raises(ValueError, match=f"{kind.__name__} {told}"):
            FolderDataset(root, "train", transforms=[dict(type=kind, **CAMERA)])
    transforms = [dict(type=RandomScaleCrop, size=(12, 16), scales=[2.0], scale_depth=True), dict(type=PackSample)]
    dataset = FolderDataset(root, "train", transforms=transforms)
    assert dataset[0]["depth"].max() > 0.6  # no metres that were divided by 2
    with pytest.raises(ValueError, match=f"a head of unit 'metre' {told}"):
        Map("depth", unit="metre").table(dataset.metainfo)
    assert "RMSE" in {score.name for score in Map("depth").table(dataset.metainfo)}
    model = small("classes", modalities=("rgb", "depth"))
    ranged = small("classes", modalities=("rgb", "depth"), normalization="range")
    for of_metres, words in ((model, "2.85 ± 1.42"), (ranged, "0 to 10")):
        with pytest.raises(ValueError, match=f"is relative, 0 to 1, and the model normalises {words}, as of"):
            check_maps(of_metres, dataset)
        with pytest.raises(ValueError, match="it has no metres"):  # at test, too
            of_metres.data_preprocessor.describe(dataset.metainfo["maps"])
    own = small("classes", modalities=("rgb", "depth"), statistics={"depth": {"mean": (0.5,), "std": (0.2,)}})
    assert check_maps(own, dataset) == []
