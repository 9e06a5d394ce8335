"""A file answers as `Predictor` does, whatever runs it, for any size, batch and holes."""

import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
import torch
from small_models import DENSE, LABELS, UNET, batch, diverse, small

from rgbx.export.onnx import KEY
from rgbx.export.parity import Parity, feed, synthetic
from rgbx.export.program import Deployed, answer_of, described, trace
from rgbx.models.predict import Predictor
from rgbx.tasks import ENSEMBLE

SIZES = [(34, 50), (64, 96), (9, 11), (97, 33)]  # no multiples of the stride, and multiples


def given(size, count=2):
    data = batch(size, count)
    maps = {name: data[name].clone() for name in ("rgb", "depth")}
    maps["depth"][:, :, :5, :5] = torch.nan
    maps["depth"][:, :, 5:9, :5] = torch.inf
    return maps


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-4)


@pytest.fixture(scope="module")
def openvino_run(exported):
    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # its own choice is bfloat16, where a processor has that
    compiled = openvino.Core().compile_model(exported.files["onnx"], "CPU", exact)
    names = list(exported.about["outputs"])

    def run(maps):
        found = compiled(maps)
        return {name: found[i] for i, name in enumerate(names)}

    return run


@pytest.fixture(params=["onnx", "torch", "openvino"])
def run(request, exported):
    return request.getfixturevalue("openvino_run") if request.param == "openvino" else exported.runs[request.param]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_it_answers_as_the_predictor(run, exported, size):
    maps = given(size, count=1 if size == (64, 96) else 3)
    found = run({name: x.numpy() for name, x in maps.items()})
    for i, one in enumerate(Predictor(exported.model)(maps, keep_probability=True)):
        heads = one["heads"]
        for branch, ending in ((ENSEMBLE, ""), ("rgb", "_rgb"), ("depth", "_depth")):
            ids = heads["labels"].prediction[branch].numpy()
            assert (found[f"labels{ending}"][i] == ids).mean() >= 0.999
            close(found[f"dense{ending}"][i], heads["dense"].prediction[branch])
        close(found["labels_confidence"][i], heads["labels"].confidence[ENSEMBLE])
        close(found["labels_scores"][i], heads["labels"].probability[ENSEMBLE])
    for name, about in exported.about["outputs"].items():
        axes = {"batch": len(maps["rgb"]), "height": size[0], "width": size[1]}
        assert found[name].shape == tuple(axes.get(axis, axis) for axis in about["shape"])
        assert found[name].dtype == about["dtype"]


def test_the_file_is_of_standard_operators_and_says_what_it_is(exported):
    model = onnx.load(exported.files["onnx"])
    assert {(each.domain, each.version) for each in model.opset_import} == {("", 20)}
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert json.loads({each.key: each.value for each in model.metadata_props}[KEY]) == exported.about
    for values, part in ((model.graph.input, "inputs"), (model.graph.output, "outputs")):
        assert [value.name for value in values] == list(exported.about[part])
        for value in values:
            dims = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
            assert dims == exported.about[part][value.name]["shape"]


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_a_file_tells_nothing_of_the_machine_that_wrote_it(exported, kind):
    content = exported.files[kind].read_bytes()  # neither kind is compressed
    assert b"conv" in content.lower() and str(Path(__file__).parents[2]).encode() not in content
    assert b"site-packages" not in content


def test_weights_stand_once_for_all_modalities(exported):
    shared = sum(p.numel() for p in exported.model.parameters())
    held = sum(np.prod(x.dims) for x in onnx.load(exported.files["onnx"]).graph.initializer)
    assert 0.9 * shared < held < 1.2 * shared


def test_the_torch_file_holds_the_same_words(exported):
    with zipfile.ZipFile(exported.files["torch"]) as file:
        (name,) = [name for name in file.namelist() if "rgbx.json" in name]
        assert json.loads(file.read(name)) == exported.about


def test_the_words_of_a_file(exported):
    about = exported.about
    assert about["format"] == "rgbx-export/1" and about["modalities"] == ["rgb", "depth"]
    assert about["inputs"]["rgb"] == {
        "dtype": "uint8", "shape": ["batch", 3, "height", "width"], "unit": "rgb8", "stored": None
    }  # fmt: skip
    depth = about["inputs"]["depth"]
    assert (depth["dtype"], depth["unit"], depth["stored"]["scale"]) == ("float32", "metre", 1000.0)
    assert about["outputs"]["labels"]["classes"] == list("abcde")
    assert about["outputs"]["dense"]["unit"] == "metre"
    assert about["outputs"]["dense_rgb"]["branch"] == "rgb"


def test_parity_holds_and_tells_what_differs(exported):
    def compared(run):
        parity = Parity(exported.model, exported.about)
        for each in synthetic(exported.model, exported.about):
            parity.see(each, run)
        return parity

    good = compared(exported.runs["onnx"])
    assert good.failures() == [] and good.frames == 10 and good.equal_classes > 0.9999
    assert set(good.as_dict("x")["tolerance"]) == {"equal_classes", "confidence", "range"}

    def wrong(maps):
        found = exported.runs["onnx"](maps)
        found["labels"] = found["labels"].copy()
        found["labels"][:, 0] = (found["labels"][:, 0] + 1) % 5  # one row of each frame
        found["dense"] = found["dense"] + 0.5  # metres, of a range of 10
        return found

    bad = compared(wrong)
    rows = sum(x["rgb"].shape[0] * x["rgb"].shape[3] for x in synthetic(exported.model, exported.about))
    assert bad.pixels - bad.equal == pytest.approx(rows, abs=2)
    assert bad.largest["range"] == pytest.approx(0.05, rel=1e-3)
    assert [text.split()[0] for text in sorted(bad.failures())] == ["classes", "range"]
    nothing = compared(lambda maps: {k: x * np.nan if x.dtype == np.float32 else x for k, x in wrong(maps).items()})
    assert nothing.largest["range"] == np.inf


def test_what_a_mask_says_is_not_measured_is_fed_as_nan():
    model = small("classes", modalities=("rgb", "thermal"))
    about = described(Deployed(model.eval(), ("thermal",)), {})
    assert about["inputs"]["thermal"]["not_measured"] == "NaN or infinite"
    valid = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    valid[..., 0, 0] = False
    fed = feed({"thermal": torch.full((1, 1, 2, 2), 20.0), "thermal_valid": valid}, about)
    assert np.isnan(fed["thermal"]).sum() == 1 and np.isnan(fed["thermal"][0, 0, 0, 0])


def test_a_head_that_is_called_as_a_map_has_another_name():
    model = small(heads={"labels": LABELS, "depth": DENSE}).eval()
    about = described(Deployed(model, ("rgb",), branches=True), {})  # also where that map is not given
    names = ("labels", "labels_confidence", "labels_rgb", "predicted_depth", "predicted_depth_rgb")
    assert {name for name in about["outputs"] if name != "labels_rgb_confidence"} == set(names)
    assert answer_of("depth", about) == "predicted_depth" and answer_of("labels", about) == "labels"
    answer = {name: x for name, x in about["outputs"]["predicted_depth"].items() if name in ("head", "unit")}
    assert answer == {"head": "depth", "unit": "metre"}


def test_what_is_not_exported_is_refused():
    clips = small("classes", fusion="mea", modalities=("rgb", "depth")).eval()
    clips.describe({"clips": {"depth": 5}})
    with pytest.raises(ValueError, match="trained on clips of 5 frames; export takes one frame of each map"):
        Deployed(clips, ("rgb",))
    heads = {name: dict(task="classes", num_classes=2) for name in ("a", "a_confidence")}
    with pytest.raises(ValueError, match="two arrays would be called 'a_confidence'"):
        Deployed(small(heads=heads).eval(), ("rgb",))
    with pytest.raises(ValueError, match="this model knows rgb, depth"):
        Deployed(diverse(small()).eval(), ("rgb", "dept"))


def test_a_program_of_one_size_is_for_any_batch_of_it():
    torch.manual_seed(0)
    model = diverse(small(heads={"labels": LABELS}, backbone={**UNET, "depth": 2}, modalities=("rgb",))).eval()
    with pytest.raises(ValueError, match="size is 2x640; this model takes sides of at least"):
        Deployed(model, ("rgb",), size=(2, 640))
    deployed = Deployed(model, ("rgb",), size=(40, 64)).eval()
    about, program = described(deployed, {"file": "a.pth", "sha256": "0"}), trace(deployed).module()
    assert about["size"] == {"multiple": 1, "smallest": deployed.smallest, "height": 40, "width": 64}
    assert about["inputs"]["rgb"]["shape"] == ["batch", 3, 40, 64] and about["outputs"]["labels"]["shape"][1:] == [
        40,
        64,
    ]
    assert deployed.outputs["labels"]["shape"][1:] == ["height", "width"]
    parity = Parity(model, about)
    for each in synthetic(model, about):
        assert each["rgb"].shape[2:] == (40, 64)
        with torch.no_grad():
            found = dict(zip(about["outputs"], (x.numpy() for x in program(each["rgb"])), strict=True))
        parity.see(each, lambda _, answer=found: answer)
    assert not parity.failures() and parity.frames == 3
    with pytest.raises((RuntimeError, AssertionError)):
        program(batch((64, 64))["rgb"])


def test_a_map_is_compared_whatever_its_name():
    model = diverse(small(heads={"far_confidence": DENSE}, backbone=UNET)).eval()
    about = described(Deployed(model, ("rgb", "depth")), {"file": "a.pth", "sha256": "0"})
    parity = Parity(model, about)
    shape = about["outputs"]["far_confidence"]["shape"]
    parity.see(
        given((34, 50)),
        lambda maps: {"far_confidence": np.full((2, shape[1], *maps["rgb"].shape[2:]), 1e6, np.float32)},
    )
    assert parity.failures()
