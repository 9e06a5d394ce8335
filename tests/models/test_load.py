"""From a checkpoint to the model that was trained.

`models_0.1.0` holds, of twenty models that version 0.1.0 built, the recipe and the names and shapes of the tensors in
its checkpoints, and every fifth pixel of what it answered to `maps` with the tensors that `filled` draws. What no
checkpoint draws (statistics, ranges, class weights, vectors of spectral norms) is kept by value.
"""

import dataclasses
import gzip
import json
import resource
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import UNET, batch, diverse, equal, run, small

import rgbx
from rgbx.maps import STANDARD_MAPS, MapSpec
from rgbx.models.checkpoint import dataset_in, to_plain
from rgbx.models.load import load

FOLDER = Path(__file__).parent / "models_0.1.0"
CASES = json.loads(gzip.decompress((FOLDER / "cases.json.gz").read_bytes()))
OUTPUTS = np.load(FOLDER / "outputs.npz")


def filled(name, shape):
    """A tensor that its name alone determines; a backbone's may stand under several names."""
    rng = np.random.RandomState(zlib.crc32(name[max(name.find("backbone."), 0) :].encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    x = rng.standard_normal(shape)
    if name.endswith("running_var"):
        return (0.5 + np.abs(x)).astype(np.float32)
    if len(shape) >= 2:
        return (x * np.prod(shape[1:]) ** -0.5).astype(np.float32)
    return np.asarray(float(name.endswith("weight")) + 0.2 * x, np.float32)


def maps(size=(34, 40)):
    rng = np.random.RandomState(0)
    return {
        "rgb": torch.as_tensor(rng.randint(0, 256, (1, 3, *size)).astype(np.uint8)),
        "depth": torch.as_tensor((9 * rng.random_sample((1, 1, *size)) - 1).astype(np.float32)),
        "edge": torch.as_tensor(rng.random_sample((1, 1, *size)).astype(np.float32)),
        "normal": torch.as_tensor((2 * rng.random_sample((1, 3, *size)) - 1).astype(np.float32)),
    }


def written(case, path):
    """The checkpoint that 0.1.0 would have written."""
    tensors = {name: torch.as_tensor(filled(name, shape)) for name, shape in case["tensors"].items()}
    own = {name: torch.tensor(value) for name, value in case["own"].items()}
    torch.save({"state_dict": {**tensors, **own}, "model": to_plain(case["model"])}, path)
    return path


@pytest.mark.parametrize("name", CASES)
def test_checkpoints_of_the_first_version_answer_as_they_did(name, tmp_path):
    model = load(written(CASES[name], tmp_path / "old.pth"))
    assert not model.training
    with torch.no_grad():
        found = model(model.data_preprocessor(maps())["inputs"])
    if not name.startswith("joint"):
        found = {"": found}
    else:
        found = {"segmentation": found.pop("labels"), "translation": found.popitem()[1]}
    answers = {f"{name}/{head}/{branch}": x for head, by_name in found.items() for branch, x in by_name.items()}
    assert set(answers) == {key for key in OUTPUTS if key.startswith(f"{name}/")}
    for key, x in answers.items():
        torch.testing.assert_close(x[..., ::5, ::5], torch.from_numpy(OUTPUTS[key]), rtol=0, atol=1e-5, msg=key)


@pytest.fixture
def saved(tmp_path):
    """Writes a model as training does, under a name."""

    def write(model, name="epoch_3.pth", /, **changes):
        state = {"state_dict": model.state_dict(), "model": to_plain(model.recipe), **changes}
        torch.save({key: value for key, value in state.items() if value is not None}, tmp_path / name)
        return tmp_path / name

    return write


@pytest.mark.parametrize("options", [{}, {"backbone": UNET}, {"fusion": "late", "norm_eval": True}], ids=str)
def test_a_loaded_model_is_the_one_that_was_trained(options, saved, tmp_path):
    model = diverse(small("three", **options)).eval()
    path = saved(model)
    state = torch.get_rng_state()
    loaded = [rgbx.load(where) for where in (path, tmp_path, str(path))]
    assert torch.equal(torch.get_rng_state(), state)  # no initial weights are drawn
    for again in loaded:
        assert not again.training and again.recipe == model.recipe
        assert equal(run(again, batch()), run(model, batch()))
        assert all(p.requires_grad and not p.is_meta for p in again.parameters())
        assert not any(buffer.is_meta for buffer in again.buffers())
    again.train()
    losses = run(again, batch(), "loss")
    sum(losses.values()).backward()
    weight = {name: x for name, x in again.state_dict().items() if name.endswith("layer2.0.conv1.weight")}
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in weight.values())


def test_models_of_training_alone_load_too(saved):
    """With an opponent, weights of classes, spectral norms; the opponent is no part of an answer."""
    opponent = {"discriminator": {"width": 4, "layers": 1, "spectral_norm": True}}
    heads = {
        "depth": dict(task="map", adversarial=opponent),
        "labels": dict(task="classes", num_classes=3, loss={"name": "cross_entropy", "class_weights": [1.0, 2.0, 3.0]}),
    }
    model = small(None, heads=heads, modalities=("rgb", "edge"), backbone=UNET).eval()
    again = load(saved(model))
    assert equal(run(again, batch()), run(model, batch()))
    assert equal(dict(again.state_dict()), dict(model.state_dict()))


def test_a_directory_gives_its_best_or_last(saved, tmp_path):
    models = [small("classes", seed=seed).eval() for seed in range(3)]
    saved(models[0], "epoch_9.pth")
    saved(models[1], "epoch_10.pth")
    assert equal(run(load(tmp_path), batch()), run(models[1], batch()))
    saved(models[2], "best_mIoU_epoch_4.pth")
    assert equal(run(load(tmp_path), batch()), run(models[2], batch()))
    with pytest.raises(FileNotFoundError, match="no such file or work directory"):
        load(tmp_path / "none")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(model=None), r"does not say which model it is of .* It was trained with .*config\.py"),
        (dict(state_dict={"x": torch.zeros(1)}), "does not fit the model that its recipe describes"),
        (dict(state_dict={}), "has no `state_dict` of tensors"),
        (dict(state_dict={"x": 3}), "has no `state_dict` of tensors"),
        (dict(model=small("both").recipe), r"heads\.normal.* absent against"),
        (dict(model=small("classes", modalities=("rgb",)).recipe), "tensors differ, such as .* against absent"),
        (dict(model={"builder": "tiny", "parameters": {}}), "names the model builder 'tiny'"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message, saved, tmp_path):
    (tmp_path / "config.py").touch()
    path = saved(small("classes"), **changes)
    with pytest.raises(ValueError, match=f"epoch_3.pth.*{message}"):
        load(path)


def test_a_recipe_that_does_not_fit_its_tensors_costs_no_memory(saved):
    """Of a network of some hundred gigabytes."""
    heads = {"labels": {"task": "classes", "num_classes": 3, "decoder": {"name": "light", "width": 65_536}}}
    recipe = {"builder": "multimodal", "parameters": {"modalities": ["rgb"], "heads": heads, "backbone": "test_resnet"}}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="does not fit"):
        load(saved(small("classes"), model=recipe))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes


FRESH = """import sys, torch, rgbx
data = torch.load(sys.argv[2])
model = rgbx.load(sys.argv[1])
found = model.predict(data)
model.predict(rgb=data["rgb"][0], depth=data["depth"][0].clamp(min=0)).strip()
torch.save(found[0]["heads"]["labels"].prediction, sys.argv[2] + ".out")
import rgbx.cli.predict
heavy = ("mmengine", "matplotlib", "albumentations", "segmentation_models_pytorch", "mmcv", "pandas")
print([name for name in heavy if name in sys.modules])
"""


def test_predicting_imports_neither_the_engine_nor_what_draws(saved, tmp_path):
    model = diverse(small("three")).eval()
    path = saved(model)
    torch.save(batch(), tmp_path / "batch")
    command = [sys.executable, "-c", FRESH, path, tmp_path / "batch"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
    expected = model.predict(batch())[0]["heads"]["labels"].prediction
    assert equal(torch.load(tmp_path / "batch.out"), expected)


def test_maps_are_what_the_checkpoint_s_dataset_says(tmp_path):
    """Thermal as a picture of bytes, unlike the standard map; depth as ever."""
    statistics = {"thermal": {"mean": [120.0] * 3, "std": [60.0] * 3}}
    model = small("classes", modalities=("thermal", "depth"), statistics=statistics)
    spec = MapSpec("thermal", 3, "uint8", "encoded", "linear")
    meta = {"maps": {"thermal": dataclasses.asdict(spec), "depth": dataclasses.asdict(STANDARD_MAPS["depth"])}}
    state = {"state_dict": model.state_dict(), "model": to_plain(model.recipe), "meta": {"dataset_meta": meta}}
    torch.save(state, tmp_path / "a.pth")
    data = {"thermal": batch()["rgb"], "depth": batch()["depth"].abs()}
    loaded = load(tmp_path / "a.pth")
    assert equal(loaded.predict(data)[0]["prediction"], model.eval().predict(data)[0]["prediction"])
    with pytest.raises(ValueError, match=r"thermal is a tensor float32 .*expected uint8; its values lie in 0..1"):
        loaded.predict({**data, "thermal": data["thermal"] / 255})
    with pytest.raises(ValueError, match=r"'Depth', .*; did you mean 'depth'"):
        loaded.predict({"thermal": data["thermal"], "Depth": data["depth"]})
    with pytest.warns(UserWarning, match="are these millimetres"):
        loaded.predict({**data, "depth": 1000 * data["depth"].clamp(1, 5)})
    holes = torch.rand(data["depth"].shape, generator=torch.Generator().manual_seed(0)) < 0.3
    found, expected = (
        loaded.predict({**data, "depth": data["depth"].masked_fill(holes, value)}) for value in (torch.nan, 0)
    )
    assert equal(found[0]["prediction"], expected[0]["prediction"])


@pytest.mark.parametrize(
    "meta", [3, {"dataset_meta": [1]}, {"dataset_meta": {"maps": {"rgb": {"name": "rgb"}, "depth": None, 3: "x"}}}]
)
def test_a_description_that_is_none_is_left_alone(meta, tmp_path):
    model = small("classes")
    state = {"state_dict": model.state_dict(), "model": to_plain(model.recipe), "meta": meta}
    torch.save(state, tmp_path / "a.pth")
    assert load(tmp_path / "a.pth").predict(batch())[0]["prediction"]["ensemble"].shape == (34, 50)


def test_what_a_checkpoint_says_of_its_dataset_is_checked():
    """Plain names, colours and options of files; anything else is as if nobody had said it."""
    stored = {"depth": {"scale": 5, "missing": [7]}}
    meta = {"classes": ["a", "b"], "palette": [[0, 1, 2], (3, 4, 255)], "stored": stored}
    found = dataset_in({"meta": {"dataset_meta": meta}})
    assert found["classes"] == ("a", "b") and found["palette"] == [[0, 1, 2], [3, 4, 255]]
    assert found["stored"] == {"depth": {"scale": 5, "missing": (7,)}}
    for palette in ([[0, 1, 2]], [[0, 1, 2], [0, 1, 256]], [[0, 1, 2], [0, 1]], [[0, 1, 2], [0, 1, 2.5]], "ab", None):
        assert "palette" not in dataset_in({"meta": {"dataset_meta": {**meta, "palette": palette}}}), palette
    for classes in ("ab", ["a", 3], [], 3):
        assert "classes" not in dataset_in({"meta": {"dataset_meta": {**meta, "classes": classes}}}), classes
    for words in ({"scale": "5"}, {"size": 3}, {"scale": float("nan")}, {"missing": [[1]]}, {3: 4}, [1], "x", None):
        assert dataset_in({"meta": {"dataset_meta": {"stored": {"depth": words}}}})["stored"] == {"depth": None}, words


def test_a_wrong_description_is_an_error_of_its_file(tmp_path):
    model = small("classes")
    maps = {"rgb": {**dataclasses.asdict(STANDARD_MAPS["rgb"]), "dtype": "int7"}}
    state = {
        "state_dict": model.state_dict(),
        "model": to_plain(model.recipe),
        "meta": {"dataset_meta": {"maps": maps}},
    }
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth.*MapSpec 'rgb': dtype must be one of .* found 'int7'"):
        load(tmp_path / "a.pth")


def test_a_stranger_s_many_modalities_end_in_an_error(tmp_path):
    model = small("classes", modality_dropout=0.5)
    recipe = to_plain(model.recipe)
    names = [f"m{i}" for i in range(64)]
    recipe["parameters"] |= {"modalities": names, "statistics": {n: {"mean": [0.0], "std": [1.0]} for n in names}}
    torch.save({"state_dict": model.state_dict(), "model": recipe}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth: the recipe has 64 modalities; expected at most 16"):
        load(tmp_path / "a.pth")
