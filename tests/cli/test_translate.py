"""tools/translate.py on files and folders."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from rgbx.cli.arguments import ConfigError
from rgbx.cli.predict import map_option, parse_map
from rgbx.cli.translate import list_jobs, main
from rgbx.datasets import Taskonomy
from rgbx.maps import STANDARD_MAPS, Encoding, MapSpec, read_image
from rgbx.models import Predictor, multimodal, multimodal_translator
from rgbx.models.checkpoint import dataset_in, specs_in, to_plain
from rgbx.models.inputs import map_inputs

RNG = np.random.default_rng(0)
SIZE = (19, 26)
DEPTH = STANDARD_MAPS["depth"]


def model_of(target, modalities=("rgb", "thermal"), **ranges):
    torch.manual_seed(0)
    return multimodal_translator(
        modalities=modalities,
        target=target,
        generator=dict(name="unet", width=4, depth=3),
        discriminator=dict(width=4, layers=2),
        ranges=ranges,
    )


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)
    return path


CONFIG = """
from rgbx.models import multimodal_translator

model = dict(
    type=multimodal_translator, modalities=("rgb", "thermal"), target="depth",
    ranges=dict(thermal=dict(low=0, high=100)),
    generator=dict(name="unet", width=4, depth=3), discriminator=dict(width=4, layers=2))
"""


def save(network, path):
    torch.save({"state_dict": network.state_dict(), "model": to_plain(network.recipe)}, path)


@pytest.fixture(params=["config and weights", "checkpoint alone"])
def tool(request, tmp_path):
    """Arguments for a model of rgb + thermal to depth, and a pair of images."""
    network = model_of("depth", thermal={"low": 0, "high": 100})
    path = tmp_path / "weights.pth"
    save(network, path)
    base = [str(path), "--device", "cpu"]
    if request.param == "config and weights":
        torch.save({"state_dict": network.state_dict()}, path)  # which does not say of which model
        (tmp_path / "config.py").write_text(CONFIG)
        base = [str(tmp_path / "config.py"), *base]
    rgb = write(tmp_path / "a.png", RNG.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    thermal = write(tmp_path / "t.png", RNG.integers(28000, 33000, SIZE, dtype=np.uint16))
    return base, network.eval(), rgb, thermal


UNIT = ["--map", "thermal", "scale=100", "add=-273.15"]


def expected(network, rgb, thermal=None, branch="ensemble"):
    """Metres by the predictor, from images read with OpenCV alone."""
    batch = {"rgb": torch.from_numpy(cv2.imread(str(rgb))[..., ::-1].transpose(2, 0, 1).copy())[None]}
    if thermal is not None:
        raw = cv2.imread(str(thermal), cv2.IMREAD_UNCHANGED).astype(np.float64)
        batch["thermal"] = torch.from_numpy(raw / 100 - 273.15).float()[None, None]
    return Predictor(network)(batch)[0]["prediction"][branch][0].numpy()


@pytest.mark.parametrize("scale", [1000, 5000])
def test_a_file_in_stated_units(tool, tmp_path, scale):
    base, network, rgb, thermal = tool
    out = tmp_path / "c.png"
    inputs = ["--input", f"rgb={rgb}", f"thermal={thermal}", *UNIT]
    assert main([*base, *inputs, "--out", str(out), "--map", "depth", f"scale={scale}"]) == 0
    stored = cv2.imread(str(out), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16 and stored.shape == SIZE
    assert np.array_equal(stored, np.round(expected(network, rgb, thermal).astype(np.float64) * scale))
    with Image.open(out) as image:
        assert image.text["Description"] == f"depth: metre = value / {scale}; 0 = no measurement"


def test_what_a_file_did_not_measure_is_masked(tool, tmp_path):
    """As `thermal_valid` tells it, and whatever lies behind the mask."""
    base, network, rgb, _ = tool
    celsius = RNG.uniform(15, 40, SIZE).astype(np.float32)
    hole = RNG.random(SIZE) < 0.2
    np.save(tmp_path / "t.npy", np.where(hole, np.float32(np.nan), celsius))
    out = tmp_path / "c.png"
    inputs = ["--input", f"rgb={rgb}", f"thermal={tmp_path / 't.npy'}", "--map", "thermal", "scale=1"]
    assert main([*base, *inputs, "--out", str(out)]) == 0
    colours = torch.from_numpy(cv2.imread(str(rgb))[..., ::-1].transpose(2, 0, 1).copy())[None]
    batch = {"rgb": colours, "thermal": torch.from_numpy(celsius)[None, None]}
    batch["thermal_valid"] = torch.from_numpy(~hole)[None, None]
    values = Predictor(network)(batch)[0]["prediction"]["ensemble"][0].numpy()
    stored = cv2.imread(str(out), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(stored, np.round(1000 * values.astype(np.float64)))


def test_a_subset_and_a_branch(tool, tmp_path):
    base, network, rgb, thermal = tool
    assert main([*base, "--input", f"rgb={rgb}", "--out", str(tmp_path / "one.png")]) == 0
    both = ["--input", f"rgb={rgb}", f"thermal={thermal}", *UNIT, "--out", str(tmp_path / "two.png")]
    assert main([*base, *both, "--branch", "thermal"]) == 0
    for name, values in (
        ("one", expected(network, rgb)),
        ("two", expected(network, rgb, thermal, "thermal")),
    ):
        found = cv2.imread(str(tmp_path / f"{name}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(found, np.round(1000 * values.astype(np.float64)))


def test_an_input_that_is_not_given_is_told(tool, tmp_path, capsys):
    base, _, rgb, thermal = tool
    assert main([*base, "--input", f"rgb={rgb}", "--out", str(tmp_path / "one.png")]) == 0
    assert "The model also takes thermal, which --input does not give" in capsys.readouterr().out
    both = ["--input", f"rgb={rgb}", f"thermal={thermal}", *UNIT, "--out", str(tmp_path / "two.png")]
    assert main([*base, *both]) == 0
    assert "also takes" not in capsys.readouterr().out


def test_a_checkpoint_of_another_model_is_refused_unless_told_which_counts(tmp_path, capsys):
    """Every difference that changes an answer is named; what is of training alone, such as L1, is none."""
    (tmp_path / "config.py").write_text(CONFIG)
    rgb = write(tmp_path / "a.png", RNG.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    network = multimodal_translator(
        modalities=("rgb", "thermal"),
        target="depth",
        generator=dict(name="unet", width=4, depth=3),
        discriminator=dict(width=4, layers=2),
        fusion=dict(name="asymmetric", second_shift="reversed"),
        ranges=dict(thermal=dict(low=0, high=100), depth=dict(low=0, high=5)),
        l1=10.0,
    ).eval()
    save(network, tmp_path / "weights.pth")
    base = [str(tmp_path / "config.py"), str(tmp_path / "weights.pth"), "--device", "cpu", "--input", f"rgb={rgb}"]
    assert main([*base, "--out", str(tmp_path / "no.png")]) == 2
    error = capsys.readouterr().err
    for difference in ("fusion.second_shift: None against 'reversed'", "heads.depth.range.high: 10.0 against 5"):
        assert difference in error
    assert "l1" not in error and not (tmp_path / "no.png").exists()
    assert f"It was trained with {tmp_path / 'config.py'}" in error
    ours = model_of("depth", thermal={"low": 0, "high": 100})
    weights = {name: x for name, x in network.state_dict().items() if ".task." not in name}
    ours.load_state_dict(weights, strict=False)
    for which, model in (("checkpoint", network), ("config", ours.eval())):
        assert main([*base, "--out", str(tmp_path / f"{which}.png"), "--model-from", which]) == 0
        found = cv2.imread(str(tmp_path / f"{which}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(found, np.round(1000 * expected(model, rgb).astype(np.float64)))


def test_any_head_that_predicts_a_map(tmp_path, capsys):
    """Beside classes, and one of several; a map of a name of its own has the head's unit."""
    torch.manual_seed(0)
    heads = dict(
        labels=dict(task="classes", num_classes=3, decoder=dict(width=8)),
        normal=dict(task="map", decoder=dict(width=16)),
        dense=dict(task="map", unit="metre", target="depth_dense", decoder=dict(width=16)),
    )
    rgb = write(tmp_path / "a.png", RNG.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
    batch = {"rgb": torch.from_numpy(cv2.imread(str(rgb))[..., ::-1].transpose(2, 0, 1).copy())[None]}
    path = tmp_path / "weights.pth"
    command = [str(path), "--device", "cpu", "--input", f"rgb={rgb}", "--overwrite", "--out", str(tmp_path / "b.png")]
    for names, options, message in (
        (("labels", "normal", "dense"), [], "say which by --head; the model has labels (classes), normal (map), dense"),
        (("labels", "normal", "dense"), ["--head", "labels"], "--head labels: no head of that name predicts a map"),
        (("labels",), [], "no head predicts a map; the model has labels (classes)"),
        (("labels", "dense"), [], None),
        (("labels", "normal", "dense"), ["--head", "dense"], None),
    ):
        model = multimodal(modalities=("rgb", "depth"), heads={name: heads[name] for name in names})
        save(model, path)
        assert main([*command, *options]) == (0 if message is None else 2)
        if message is not None:
            assert message in capsys.readouterr().err
            continue
        metres = model.eval().predict(batch)[0]["heads"]["dense"].prediction["ensemble"][0].numpy()
        found = cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(found, np.round(1000 * metres.astype(np.float64)))
        with Image.open(tmp_path / "b.png") as image:
            assert image.text["Description"].startswith("depth_dense: metre = value / 1000")


def test_values_outside_the_model_s_range_are_told_with_their_file(tool, tmp_path):
    base, _, rgb, thermal = tool
    inputs = ["--input", f"rgb={rgb}", f"thermal={thermal}", "--map", "thermal", "scale=1"]
    message = r"thermal \(.*t\.png\): the median is \d+.*, where the model expects "
    with pytest.warns(UserWarning, match=message):
        assert main([*base, *inputs, "--out", str(tmp_path / "c.png")]) == 0


def test_folders_are_matched_by_stem(tool, tmp_path):
    base, network, *_ = tool
    for stem in ("x", "y"):
        write(tmp_path / "rgb" / f"{stem}.png", RNG.integers(0, 256, (*SIZE, 3), dtype=np.uint8))
        write(tmp_path / "th" / f"{stem}.png", RNG.integers(28000, 33000, SIZE, dtype=np.uint16))
    inputs = ["--input", f"rgb={tmp_path / 'rgb'}", f"thermal={tmp_path / 'th'}", *UNIT]
    assert main([*base, *inputs, "--out", str(tmp_path / "out")]) == 0
    for stem in ("x", "y"):
        values = expected(network, *(tmp_path / folder / f"{stem}.png" for folder in ("rgb", "th")))
        found = cv2.imread(str(tmp_path / "out" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(found, np.round(1000 * values.astype(np.float64)))


def test_nothing_is_overwritten_unless_told(tool, tmp_path, capsys):
    base, _, rgb, _ = tool
    out = tmp_path / "c.png"
    out.write_text("mine")
    command = [*base, "--input", f"rgb={rgb}", "--out", str(out)]
    assert main(command) == 2 and out.read_text() == "mine"
    assert "is there already" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert cv2.imread(str(out), cv2.IMREAD_UNCHANGED).shape == SIZE
    before = rgb.read_bytes()
    assert main([*base, "--input", f"rgb={rgb}", "--out", str(rgb), "--overwrite"]) == 2
    assert rgb.read_bytes() == before


def test_what_is_missing_or_wrong_is_named(tool, tmp_path, capsys):
    base, _, rgb, thermal = tool
    write(tmp_path / "rgb/lonely.png", np.zeros((*SIZE, 3), np.uint8))
    write(tmp_path / "th/other.png", np.zeros(SIZE, np.uint16))
    small = write(tmp_path / "small.png", np.zeros((8, 8), np.uint16))
    cases = {
        (f"rgb={tmp_path / 'rgb'}", f"thermal={tmp_path / 'th'}"): "lonely.png has no partner",
        (f"rgb={tmp_path / 'rgb'}", f"thermal={thermal}"): "files or folders, not both",
        (f"rgb={rgb}", f"thermal={small}"): f"rgb ({rgb}) is 19×26, thermal ({small}) is 8×8",
        (f"rgb={tmp_path / 'no.png'}",): "no such file or folder",
        (f"rgb={rgb}", f"normal={rgb}"): "this model knows",
        ("rgb",): "--input takes MAP=PATH",
    }
    for inputs, message in cases.items():
        unit = UNIT if any(text.startswith("thermal") for text in inputs) else []
        out = "o" if "no partner" in message else "o.png"
        assert main([*base, "--input", *inputs, *unit, "--out", str(tmp_path / out)]) == 2
        assert message in capsys.readouterr().err, message
    assert main([*base, "--input", f"thermal={thermal}", "--out", str(tmp_path / "o.png")]) == 2
    assert "--map thermal scale=STEPS_PER_UNIT" in capsys.readouterr().err
    rgb_alone = ["--input", f"rgb={rgb}", "--out", str(tmp_path / "o.png")]
    for words, message in (
        (["thermal", "scale=100"], "--map describes ['thermal']"),
        (["detph", "scale=100"], "; did you mean 'depth'?"),
        (["depth", "scale=x"], "found 'scale=x'"),
        (["depth", "unit=inch"], "expected one of rgb8"),
        (["depth", "add=1"], "has no add"),
        (["depth"], "--map takes a name and what its files hold"),
        (["depth", "scale=60000"], "o.png: depth holds"),  # 16 bits end at 1.1 m
    ):
        assert main([*base, *rgb_alone, "--map", *words]) == 2
        assert message in capsys.readouterr().err, message
    assert main([base[-3], *rgb_alone, "--model-from", "config"]) == 2  # of which there is none
    assert "--model-from chooses between a config's model and a checkpoint's" in capsys.readouterr().err
    folder = ["--input", f"rgb={tmp_path / 'rgb'}", "--out", str(tmp_path / "new.png")]
    assert main([*base, *folder]) == 2
    assert "the inputs are folders: give a folder" in capsys.readouterr().err
    assert main([*base, "--input", f"rgb={rgb}", "--out", str(tmp_path / "o.jpg")]) == 2
    assert "results are PNG files" in capsys.readouterr().err
    assert not (tmp_path / "o").exists() and not (tmp_path / "o.png").exists()


def test_a_file_goes_into_a_folder_that_is_there(tmp_path):
    image = write(tmp_path / "a.jpg", np.zeros((2, 2, 3), np.uint8))
    (tmp_path / "out").mkdir()
    assert list_jobs({"rgb": image}, tmp_path / "out")[0].out == tmp_path / "out" / "a.png"


def test_the_checkpoint_says_what_its_maps_mean():
    """Taskonomy's depth is relative, the standard one in metres; what the user says comes first."""
    spec = MapSpec("depth", 1, "float32", "relative", "nearest")
    known = specs_in({"meta": {"dataset_meta": {"maps": {"depth": dataclasses.asdict(spec), "other": None}}}})
    assert known == {"depth": spec} and specs_in({"meta": None}) == specs_in({}) == {}
    assert encodings(["depth"], maps=known)["depth"].spec == spec
    assert encodings(["depth"])["depth"].spec.unit == "metre"
    found = encodings(["depth"], ["depth", "unit=metre", "scale=256"], maps=known)["depth"]
    assert found.spec.unit == "metre" and found.as_dict() == {"scale": 256.0}
    shade = encodings(["shade"], ["shade", "unit=relative", "bits=8"])["shade"]
    assert (shade.spec.channels, shade.spec.dtype) == (1, "float32")
    with pytest.raises(ValueError, match="say what the files of 'shade' hold: --map shade unit=UNIT"):
        encodings(["shade"])


def encodings(names, *said, maps=None, stored=None):
    """How the command reads files, by what a checkpoint and the user say."""
    dataset = {"maps": maps or {}, "stored": stored or {}}
    found = map_inputs(names, dict(map(parse_map, said)), dataset, saying=map_option, usual=True)
    return {name: item.encoding for name, item in found.items()}


def test_a_relative_map_returns_exactly(tmp_path):
    stored = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    shade = encodings(["shade"], ["shade", "unit=relative"])["shade"]
    values = shade.read(write(tmp_path / "a.png", stored))
    assert values.max() == 1
    shade.write(tmp_path / "b.png", shade.nearest(values))
    assert np.array_equal(cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED), stored)


def test_taskonomys_files_are_read_and_written_as_training_did(layouts, tmp_path):
    """Logarithmic depth and texture over its divisor, with nothing said but the checkpoint."""
    names = ("depth", "texture", "shade", "normal", "rgb")
    dataset = Taskonomy(layouts / "taskonomy", "val", sources=names[:-1])
    said = dataset_in({"meta": {"dataset_meta": to_plain(dataset.metainfo)}})
    found = encodings(names, **{key: said[key] for key in ("maps", "stored")})
    for name in names:
        path = dataset.frames[0].files[name]
        values = found[name].read(path)
        assert np.array_equal(values, dataset[0][name]), name
        if name in ("depth", "texture"):
            written = found[name].to_write()
            written.write(tmp_path / f"{name}.png", written.nearest(values))
            stored, theirs = (cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in (tmp_path / f"{name}.png", path))
            assert np.array_equal(stored, theirs if name == "depth" else np.minimum(theirs, 11355))
    depth = found["depth"]
    depth.write(tmp_path / "beyond.png", depth.nearest(np.ones((2, 2), np.float32)))
    assert cv2.imread(str(tmp_path / "beyond.png"), cv2.IMREAD_UNCHANGED).tolist() == [[65534] * 2] * 2
    own = encodings(["depth"], ["depth", "unit=metre", "scale=512"], maps=said["maps"], stored=said["stored"])
    assert own["depth"].as_dict() == {"scale": 512.0}


def test_files_in_a_way_of_their_datasets_own_have_to_be_described():
    with pytest.raises(ValueError, match="say what yours hold, such as --map depth"):
        encodings(["depth"], stored={"depth": None})
    assert encodings(["depth"], ["depth", "scale=1000"], stored={"depth": None})["depth"] == Encoding(DEPTH, 1000)


def test_normals_are_written_as_unit_vectors(tmp_path):
    vectors = RNG.normal(size=(5, 7, 3)).astype(np.float32) * 0.2
    vectors[0, 0] = 0
    normal = encodings(["normal"])["normal"]
    normal.write(tmp_path / "n.png", normal.nearest(vectors))
    stored = read_image(tmp_path / "n.png") / 32767.5 - 1
    assert np.allclose(np.linalg.norm(stored, axis=2)[1:], 1, atol=1e-4)
    assert np.allclose(np.cross(stored[1:], vectors[1:]), 0, atol=1e-4)
    assert (read_image(tmp_path / "n.png")[0, 0] == 32768).all()


def test_depth_of_which_nobody_says_the_scale_is_assumed_aloud(tmp_path, capsys):
    save(model_of("rgb", modalities=("depth",)), tmp_path / "weights.pth")
    depth = write(tmp_path / "d.png", RNG.integers(500, 9000, SIZE, dtype=np.uint16))
    command = [str(tmp_path / "weights.pth"), "--device", "cpu", "--input", f"depth={depth}", "--overwrite"]
    told = "Nobody says how many steps of depth make a metre: 1000 are assumed; if others do, --map depth scale=STEPS"
    written = {}
    for words in ((), ("--map", "depth", "scale=1000")):
        assert main([*command, *words, "--out", str(tmp_path / "o.png")]) == 0
        assert (told in capsys.readouterr().out) == (not words)
        written[words] = (tmp_path / "o.png").read_bytes()
    assert len(set(written.values())) == 1


def test_a_result_is_no_input_of_another_frame_either(tmp_path):
    image = write(tmp_path / "rgb/a.png", np.zeros((2, 2, 3), np.uint8))
    write(tmp_path / "out/a.png", np.zeros((2, 2, 3), np.uint8))
    (image.parent / "b.png").symlink_to(tmp_path / "out/a.png")
    with pytest.raises(ConfigError, match=r"out/a\.png is an input"):
        list_jobs({"rgb": tmp_path / "rgb"}, tmp_path / "out", overwrite=True)
