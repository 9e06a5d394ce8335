"""From a batch in its own units to a network's inputs, and to the targets of heads."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch

from rgbx.maps import MapSpec
from rgbx.models import Preprocessor
from rgbx.tasks import Classes, Map
from rgbx.transforms import HorizontalFlip, PackSample

TASKS = {"depth": Map("depth"), "edge": Map("edge"), "labels": Classes("labels", num_classes=3)}


def made(modalities, heads=(), kind="statistics", **options):
    return Preprocessor(modalities, {name: TASKS[name] for name in heads}, kind, **options)


def batch():
    return {
        "rgb": torch.full((2, 3, 4, 5), 51, dtype=torch.uint8),
        "edge": torch.ones(2, 1, 4, 5),
        "depth": torch.tensor([0.0, 5.0]).view(2, 1, 1, 1).expand(2, 1, 4, 5),
        "label": torch.zeros(2, 4, 5, dtype=torch.long),
        "sample_id": ["a", "b"],
    }


def test_statistics_are_in_the_modality_s_own_unit():
    preprocessor = made(("rgb", "depth"), statistics={"depth": {"mean": [2.0], "std": [0.5]}})
    out = preprocessor(
        {
            "rgb": torch.tensor([182, 173, 161], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 1, 2),
            "depth": torch.tensor([[[[3.0, 0.0]]]]),
            "depth_valid": torch.tensor([[[[True, False]]]]),
            "sample_id": ["a"],
        }
    )
    expected = torch.tensor([(182 - 123.675) / 58.395, (173 - 116.28) / 57.12, (161 - 103.53) / 57.375])
    torch.testing.assert_close(out["inputs"]["rgb"], expected.view(1, 3, 1, 1).expand(1, 3, 1, 2))
    assert out["inputs"]["depth"].flatten().tolist() == [2.0, 0.0]
    assert out["targets"] == {} and out["sample_id"] == ["a"]


@pytest.mark.parametrize(
    ("options", "values", "expected"),
    [
        ({"max": [80.0]}, [2.845, 0.0, 2.845 + 1.418], [0.0, 0.0, 1.0]),  # measured where it is positive
        ({"mean": [0.0], "std": [1.0], "max": [80.0]}, [3.0, 1e5, torch.nan], [3.0, 80.0, 0.0]),
    ],
)
def test_depth_without_a_mask_and_beyond_the_maximum(options, values, expected):
    found = made(("depth",), statistics={"depth": options})({"depth": torch.tensor([[[values]]])})["inputs"]["depth"]
    torch.testing.assert_close(found.flatten(), torch.tensor(expected))


def test_ranges_mark_holes():
    data = made(("rgb", "edge", "depth"), kind="range")(batch())["inputs"]
    assert torch.allclose(data["rgb"], torch.tensor(-0.6))
    assert torch.equal(data["edge"], torch.ones(2, 1, 4, 5))
    assert torch.equal(data["depth"][:, 0, 0, 0], torch.tensor([-1.0, 0.0]))
    masked = {**batch(), "depth_valid": torch.zeros(2, 1, 4, 5, dtype=torch.bool)}
    assert (made(("depth",), kind="range")(masked)["inputs"]["depth"] == -1).all()


@pytest.mark.parametrize("kind", ["statistics", "range"])
def test_targets_are_as_their_tasks_read_them(kind):
    data = made(("rgb",), TASKS, kind)(batch())
    depth, edge, labels = (data["targets"][name] for name in TASKS)
    assert torch.equal(depth.truth, batch()["depth"]) and depth.valid[:, 0, 0, 0].tolist() == [False, True]
    assert edge.valid.all() and labels.valid is None and torch.equal(labels.truth, batch()["label"])
    masked = {**batch(), "depth_valid": torch.ones(2, 1, 4, 5, dtype=torch.bool)}
    assert made(("rgb",), TASKS, kind)(masked)["targets"]["depth"].valid.all()
    found = made(("rgb", "depth"), TASKS, kind)({"rgb": batch()["rgb"]})
    assert found["targets"] == {} and list(found["inputs"]) == ["rgb"] and found["sample_id"] is None


def test_values_travel_in_the_state_dict():
    state = made(("depth",), statistics={"depth": {"mean": [2.0], "std": [0.5]}}).state_dict()
    assert state["inputs.depth.mean"].item() == 2.0
    other = made(("depth",), kind="range")
    other.load_state_dict(made(("depth",), kind="range", ranges={"depth": {"high": 80}}).state_dict())
    assert other({"depth": torch.full((1, 1, 1, 1), 40.0)})["inputs"]["depth"].item() == 0


def test_shown_values_end_where_the_range_does():
    image = np.array([[[5.0, 70.0]]], np.float32)
    assert made(("depth",), kind="range").clipped("depth", image).tolist() == [[[5.0, 10.0]]]
    assert made(("depth",)).clipped("depth", image) is image


def test_what_is_missing_or_unknown_is_refused():
    for modalities, kind, options, message in (
        (("lidar",), "statistics", {}, "no normalization statistics for modality 'lidar'"),
        (("lidar",), "range", {}, "no range for map 'lidar'"),
        (("rgb",), "statistics", {"statistics": {"rgb": {"median": [1.0]}}}, r"unknown entries \['median'\]"),
        (("rgb",), "statistics", {"statistics": {"depth": {}}}, r"given for \['depth'\]"),
        (("rgb",), "minmax", {}, "normalization is 'minmax'"),
    ):
        with pytest.raises(ValueError, match=message):
            made(modalities, kind=kind, **options)
    with pytest.raises(ValueError, match=r"the batch has \['label'\]; expected at least one of \['rgb', 'edge'\]"):
        made(("rgb", "edge"), kind="range")({"label": torch.zeros(1)})


NORMAL = {"statistics": {"normal": {"mean": (0.1, 0.2, -0.5), "std": (0.5, 0.4, 0.3)}}}

WIDE = {"ranges": {"normal": {"low": -2, "high": 1}}}


@pytest.mark.parametrize(("kind", "options"), [("statistics", NORMAL), ("range", {}), ("range", WIDE)])
def test_a_mirror_turns_normals(kind, options):
    """Mirroring what the network sees is the same as mirroring the scene, as the transform does, holes included."""
    rng = np.random.default_rng(0)
    normal = rng.uniform(-1, 1, (5, 6, 3)).astype(np.float32)
    normal[0, :3] = 0
    sample = {"rgb": rng.integers(0, 256, (5, 6, 3), dtype=np.uint8), "normal": normal, "sample_id": "a", "paths": {}}
    model = made(("rgb", "normal"), kind=kind, **options)

    def seen(sample):
        packed = PackSample()(sample, rng)
        data = {name: packed[name][None] for name in ("rgb", "normal")}
        return model({**data, "normal_valid": data["normal"].any(1, keepdim=True)})["inputs"]

    mirrored, expected = model.mirror(seen(sample)), seen(HorizontalFlip(1.0)(sample, rng))
    for name in ("rgb", "normal"):
        torch.testing.assert_close(mirrored[name], expected[name])
    assert not torch.allclose(mirrored["normal"], seen(sample)["normal"].flip(-1))


def frames(count=1, size=(6, 8)):
    """A batch that a model of rgb and depth takes, near the middle of its statistics."""
    g = torch.Generator().manual_seed(0)
    return {
        "rgb": torch.randint(0, 256, (count, 3, *size), generator=g, dtype=torch.uint8),
        "depth": 1 + 3 * torch.rand(count, 1, *size, generator=g),
    }


def changed(**maps):
    return {**frames(), **maps}


RGB, DEPTH = frames()["rgb"], frames()["depth"]
LAYOUTS = {
    "no batch axis": (changed(rgb=RGB[0], depth=DEPTH[0]), r"rgb is a tensor uint8 \[3, 6, 8\].*: x\[None\]"),
    "NHWC": (changed(rgb=RGB.permute(0, 2, 3, 1)), r"\[1, 6, 8, 3\].*: x\.permute\(0, 3, 1, 2\)"),
    "HWC": (changed(rgb=RGB[0].permute(1, 2, 0)), r"\[6, 8, 3\].*: x\.permute\(2, 0, 1\)\[None\]"),
    "RGBA": (changed(rgb=torch.cat([RGB, RGB[:, :1]], 1)), r"\[1, 4, 6, 8\].*: x\[:, :3\]"),
    "HWC with alpha": (changed(rgb=torch.zeros(6, 8, 4).byte()), r": x\.permute\(2, 0, 1\)\[None\]\[:, :3\]"),
    "grey": (changed(rgb=RGB[:, :1]), r"\[N, 3, H, W\] of uint8: x\.expand\(-1, 3, -1, -1\)"),
    "depth of three channels": (changed(depth=DEPTH.expand(-1, 3, -1, -1)), r"depth is .*expected .*\[N, 1, H, W\]"),
    "depth [N, H, W]": (changed(depth=frames(5)["depth"][:, 0]), r"depth is .*\[5, 6, 8\].*: x\[:, None\]"),
    "depth [H, W]": (changed(depth=DEPTH[0, 0]), r"\[6, 8\].*: x\[None, None\]"),
    "numpy": (changed(rgb=RGB[0].permute(1, 2, 0).numpy()), r"numpy array uint8 \[6, 8, 3\].*from_numpy\(x\)\.permute"),
    "sparse": (changed(depth=DEPTH.to_sparse()), "depth is a sparse tensor"),
    "a list": (changed(rgb=[RGB[0]]), "rgb is list; expected a tensor"),
    "no pixels": (changed(depth=DEPTH[..., :0]), "at least one pixel"),
    "no samples": ({"rgb": RGB[:0], "depth": DEPTH[:0]}, "at least one sample"),
    "one row apart": (changed(depth=DEPTH[..., 1:, :]), r"depth is \[1, 1, 5, 8\], but rgb is \[1, 3, 6, 8\]"),
    "one column apart": (changed(depth=DEPTH[..., 1:]), r"depth is \[1, 1, 6, 7\], but rgb is \[1, 3, 6, 8\]"),
    "more samples": (changed(depth=frames(2)["depth"]), "depth is .*as many samples"),
}
DTYPES = {
    "RGB divided by 255": (
        changed(rgb=RGB / 255),
        r"rgb is a tensor float32 .* expected uint8; .* lie in 0\.\.0\.99\d*: .*255",
    ),
    "RGB normalised": (changed(rgb=(RGB - 120.0) / 58), r"its values lie in -2\.\d+\.\..*normalised already"),
    "RGB as floats": (changed(rgb=RGB.float()), r"x\.round\(\)\.to\(torch\.uint8\)"),
    "RGB of 16 bits": (changed(rgb=RGB.to(torch.uint16)), "rgb is a tensor uint16"),
    "RGB of 64 bits": (changed(rgb=RGB.long() * 257), "scale it to 0..255 first"),
    "depth as uint16": (
        changed(depth=(DEPTH * 1000).to(torch.uint16)),
        r"depth is a tensor uint16 .*x\.float\(\) / 1000",
    ),
    "depth as int64": (changed(depth=DEPTH.long()), "depth is a tensor int64 .*expected float32"),
    "depth as bool": (changed(depth=DEPTH > 2), "depth is a tensor bool"),
    "complex depth": (changed(depth=DEPTH + 0j), "depth is a tensor complex64"),
}
MASKS = {
    "[N, H, W]": (changed(depth_valid=torch.ones(1, 6, 8).bool()), r"depth_valid is .*: depth_valid\[:, None\]"),
    "of floats": (changed(depth_valid=torch.ones(1, 1, 6, 8)), "depth_valid is a tensor float32"),
    "of another size": (changed(depth_valid=torch.ones(1, 1, 6, 7).bool()), r"expected a tensor bool \[1, 1, 6, 8\]"),
    "numpy": (changed(rgb_valid=np.ones((1, 1, 6, 8), bool)), "rgb_valid is a numpy array bool"),
    "of damage, [N, H, W]": (changed(rgb_corrupted=torch.ones(1, 6, 8).bool()), r": rgb_corrupted\[:, None\]"),
    "of damage, floats": (changed(depth_corrupted=DEPTH), "depth_corrupted is a tensor float32 .*True = damaged"),
}
NAMES = {
    "capital": ({"rgb": RGB, "Depth": DEPTH}, "the batch holds 'Depth', .*; did you mean 'depth'"),
    "all capitals": ({"RGB": RGB, "depth": DEPTH}, "the batch holds 'RGB', .*; did you mean 'rgb'"),
    "misspelt": ({"rgb": RGB, "dpeth": DEPTH}, "'dpeth', .*; did you mean 'depth'"),
    "unknown": (changed(lidar=DEPTH), "the batch holds 'lidar', .*; it takes rgb, depth"),
    "of damage": (changed(depth_corupted=DEPTH > 0), "'depth_corupted', .*; did you mean 'depth_corrupted'"),
    "a mask": (changed(depth_mask=DEPTH > 0), "'depth_mask', .*; did you mean 'depth_valid'"),
    "an array": (changed(image=np.zeros((6, 8, 3))), "the batch holds 'image', a numpy array"),
    "no dict": (RGB, r"the batch is a Tensor; expected a dict of maps, \['rgb', 'depth'\]"),
    "nothing": ({"Rgb": RGB[0, 0, 0, 0]}, "the batch h.*Rgb"),
    "one sample's id": (changed(sample_id="a"), r"sample_id is 'a'; expected a list of 1"),
    "too many ids": (changed(sample_id=["a", "b"]), "expected a list of 1"),
}
REFUSED = {f"{kind}: {name}": case for kind, cases in (("layout", LAYOUTS), ("dtype", DTYPES), ("mask", MASKS),
           ("name", NAMES)) for name, case in cases.items()}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("kind", ["statistics", "range"])
def test_a_batch_that_means_something_else_is_refused_by_name(case, kind):
    data, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        made(("rgb", "depth"), kind=kind)(data)


@pytest.mark.parametrize(
    ("heads", "more", "message"),
    [
        (("labels",), {"label": torch.zeros(1, 1, 6, 8).long()}, r"label is int64 \[1, 1, 6, 8\].*: label\[:, 0\]"),
        (("labels",), {"label": torch.zeros(1, 6, 8)}, "label is float32 .*expected class ids"),
        (("labels",), {"label": torch.zeros(2, 6, 8).long()}, "label is a tensor int64 .*the 1 samples that rgb has"),
        (("labels",), {"label": np.zeros((1, 6, 8), np.uint8)}, "label is a numpy array uint8"),
        (("edge",), {"edge": torch.zeros(1, 6, 8)}, r"edge is a tensor float32 \[1, 6, 8\]; .*\[N, 1, H, W\]"),
        (("depth",), {"depth": torch.zeros(1, 1, 6, 8).long()}, "depth is a tensor int64 .*expected float32"),
        (("depth",), {"depth": DEPTH, "depth_valid": torch.ones(1, 6, 8).bool()}, "depth_valid is a tensor bool"),
        (("depth",), {"depth": DEPTH, "depth_corrupted": DEPTH > 2}, "depth is what a head is to predict: its truth"),
    ],
)
def test_targets_are_checked_too(heads, more, message):
    with pytest.raises(ValueError, match=message):
        made(("rgb",), heads)({"rgb": RGB, **more})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8])
def test_damage_is_handed_on_in_training_alone(dtype):
    model, struck = (
        made(("rgb", "depth", "thermal"), ("labels",), statistics={"thermal": {"mean": [20.0], "std": [5.0]}}),
        DEPTH > 2,
    )
    data = changed(depth_corrupted=struck.to(dtype), hha_corrupted=struck, paths={"hha": ["0.png"]})
    plain, found = model(changed(), training=True), model(data, training=True)
    assert set(plain) == {"inputs", "targets", "sample_id"} == set(model(data))
    assert set(found) == {*plain, "corrupted"} and list(found["corrupted"]) == ["depth"]
    assert found["corrupted"]["depth"].dtype == torch.bool and torch.equal(found["corrupted"]["depth"], struck)
    for name, x in plain["inputs"].items():  # what is damaged is an input like any other
        assert torch.equal(x, found["inputs"][name])
    assert "corrupted" not in model(changed(hha_corrupted=struck, paths={"hha": ["0.png"]}), training=True)


def test_messages_name_the_first_file():
    paths = {"rgb": ["a/0.png", "a/1.png"], "depth": ["d/0.png", "d/1.png"]}
    with pytest.raises(ValueError, match=r"depth \(d/0\.png\) is \[2, 1, 5, 8\], but rgb \(a/0\.png\) is"):
        made(("rgb", "depth"))({**frames(2), "depth": frames(2, (5, 8))["depth"], "paths": paths})
    with pytest.warns(UserWarning, match=r"depth \(d/0\.png\): the median"):
        made(("rgb", "depth"))({**frames(2), "depth": 1000 * frames(2)["depth"], "paths": paths})


@pytest.mark.filterwarnings("error")
def test_what_a_dataset_puts_into_a_batch_passes():
    """Maps that its files or its description name, masks of bytes, and numbers or small matrices beside the maps."""
    model = made(("rgb", "depth"), ("labels",))
    more = {
        "label": torch.zeros(1, 6, 8).long(),
        "depth_valid": 255 * torch.ones(1, 1, 6, 8).byte(),
        "lidar": DEPTH,
        "lidar_valid": DEPTH > 0,
        "thermal": DEPTH,
        "paths": {"rgb": ["0.png"], "lidar": ["0.bin"], "thermal": ["0.png"]},
        "sample_id": ["0"],
        "camera": torch.eye(3)[None],
        "index": torch.tensor([3]),
        "weather": ["fog"],
    }
    assert set(model(changed(**more))["inputs"]) == {"rgb", "depth"}
    model.describe({"event": MapSpec.of_unit("event", "encoded")})
    model(changed(event=RGB))
    with pytest.warns(UserWarning, match="holds 'thermal', which this model does not take; it takes .*'rgb', 'depth'"):
        model(changed(thermal=DEPTH))


def test_a_map_is_what_its_dataset_says():
    model = made(("rgb", "thermal"), statistics={"thermal": {"mean": [127.0], "std": [50.0]}})
    heat = torch.full((1, 1, 6, 8), 100, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"thermal is a tensor uint8 .*expected float32"):
        model({"rgb": RGB, "thermal": heat})
    model.describe({"thermal": MapSpec("thermal", 1, "uint8", "encoded", "linear")})
    model({"rgb": RGB, "thermal": heat})
    with pytest.raises(ValueError, match=r"thermal is a tensor float32 .*expected uint8"):
        model({"rgb": RGB, "thermal": heat / 255})
    model.describe({"thermal": MapSpec("thermal", 3, "uint8", "encoded", "linear")})
    model({"rgb": RGB, "thermal": RGB})


def test_statistics_count_against_the_standard():
    model = made(("rgb", "thermal"), statistics={"rgb": {"mean": [0.5] * 3, "std": [0.25] * 3},
                                                 "thermal": {"mean": [20.0] * 3, "std": [5.0] * 3}})  # fmt: skip
    model({"rgb": RGB / 255, "thermal": torch.full((1, 3, 6, 8), 20.0)})
    with pytest.raises(ValueError, match=r"thermal .*expected a tensor \[N, 3, H, W\]"):
        model({"rgb": RGB / 255, "thermal": torch.full((1, 1, 6, 8), 20.0)})
    model.describe({"thermal": MapSpec.of_unit("thermal", "sensor")})
    with pytest.raises(ValueError, match="the statistics of thermal have 3 values; its maps have 1 channel"):
        model({"thermal": torch.full((1, 1, 6, 8), 20.0)})


OUTSIDE = [
    (
        "statistics",
        {"depth": 1000 * DEPTH},
        r"the median is 2\d\d\d, .* expects 2\.8\d ± 1\.42 m: are these millimetres",
    ),
    ("range", {"depth": 1000 * DEPTH}, r"the median is 2\d\d\d, .* expects 0 to 10 m: are these millimetres"),
    ("statistics", {"depth": 100 * DEPTH}, "are these centimetres"),
    ("statistics", {"depth": 5000 * DEPTH}, "are these steps of 1/5000 m"),
    ("statistics", {"depth": DEPTH / 1000}, "were metres divided by 1000"),
    ("statistics", {"depth": (DEPTH - 1) / 3}, r"depth: the median is 0\.\d+, .*: is it scaled to 0\.\.1"),
    ("statistics", {"depth": 30 + DEPTH}, r"the median is 32\.\d+, where the model expects 2\.8\d ± 1\.42 m$"),
    ("statistics", {"depth": -DEPTH}, r"depth: -\d\.\d+ is below 0, on 100% of the pixels: .* not measured"),
    ("range", {"depth": DEPTH * torch.tensor([1.0, -1.0]).repeat(4)}, "is below 0, on 50% of the pixels"),
    ("statistics", {"thermal": torch.full((1, 1, 6, 8), 293.0)}, "thermal: the median is 293, .* expects 20 ± 5$"),
    ("statistics", {"rgb": RGB // 255 + RGB % 2}, "rgb: nothing is above 1, of 255"),
    (
        "range",
        {"normal": torch.full((1, 3, 6, 8), 200.0)},
        "normal: the median is 200, where the model expects -1 to 1$",
    ),
]


@pytest.mark.parametrize(("kind", "maps", "message"), OUTSIDE)
def test_values_that_the_model_was_not_made_for_are_told_once(kind, maps, message):
    options = {"statistics": {"thermal": {"mean": [20.0], "std": [5.0]}}} if "thermal" in maps else {}
    model = made(tuple({"rgb": 0, **maps}), kind=kind, **options)
    with pytest.warns(UserWarning, match=message) as told:
        model({"rgb": RGB, **maps})
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model({"rgb": RGB, **maps})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["statistics", "range"])
def test_values_that_may_be_right_are_not(kind):
    """A dark image, holes however large, a few far pixels, and a map without any measurement."""
    some = torch.where(torch.rand(1, 1, 6, 8, generator=torch.Generator().manual_seed(0)) < 0.2, DEPTH, 0)
    for depth in (DEPTH, some, torch.where(some > 0, 65.535, DEPTH), torch.zeros_like(DEPTH), DEPTH * torch.nan):
        made(("rgb", "depth"), kind=kind)({"rgb": torch.zeros_like(RGB), "depth": depth})


def test_expectations_follow_a_state_that_is_loaded():
    model = made(("depth",), kind="range")
    model.load_state_dict(made(("depth",), kind="range", ranges={"depth": {"high": 80}}).state_dict())
    again = copy.deepcopy(pickle.loads(pickle.dumps(model)))
    for each in (model, again):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            each({"depth": 20 * DEPTH.clamp(max=3)})
        with pytest.warns(UserWarning, match="expects 0 to 80 m"):
            each({"depth": 1000 * DEPTH})


@pytest.mark.parametrize("kind", ["statistics", "range"])
@pytest.mark.parametrize("spoilt", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["depth", "thermal", "normal", "edge"])
@pytest.mark.parametrize("mask", ["none", "all", "right"])
def test_what_is_not_finite_is_not_measured(kind, spoilt, name, mask):
    """In inputs and targets, mask or not: what a mask of all other pixels gives for any finite value there."""
    heads = {name: Map(name, unit={"normal": "unit_vector", "depth": "metre"}.get(name, "relative"),
                       range={"low": 0, "high": 1} if name == "thermal" else None)}  # fmt: skip
    options = {"statistics": {n: {"mean": [0.5], "std": [0.5]} for n in ("thermal", "edge") if n == name}}
    options = (
        {"ranges": {"thermal": {"low": 0, "high": 1}} if name == "thermal" else {}} if kind == "range" else options
    )
    model = Preprocessor((name,), heads, kind, **options)
    x = 0.1 + 0.8 * torch.rand(2, 3 if name == "normal" else 1, 6, 8, generator=torch.Generator().manual_seed(0))
    hole = torch.zeros(2, 1, 6, 8, dtype=torch.bool)
    hole[0, 0, 1:3, 2:5] = hole[1, 0, 5, 7] = True
    last = torch.arange(len(x[0])).view(-1, 1, 1) == len(x[0]) - 1  # one channel of a vector is enough
    given = {"none": {}, "all": {f"{name}_valid": torch.ones_like(hole)}, "right": {f"{name}_valid": ~hole}}[mask]
    found = model({name: x.masked_fill(hole & last, spoilt), **given})
    expected = model({name: x, f"{name}_valid": ~hole})
    assert torch.equal(found["inputs"][name], expected["inputs"][name]) and found["inputs"][name].isfinite().all()
    assert torch.equal(found["targets"][name].valid, ~hole)


def test_a_training_step_reads_no_value_from_its_device():
    """Which would wait for a GPU; of tensors on the device "meta" no value can be read at all."""
    with torch.device("meta"):
        model = Preprocessor(("rgb", "depth", "normal"), {n: copy.deepcopy(task) for n, task in TASKS.items()})
    data = {**frames(2), "normal": torch.rand(2, 3, 6, 8), "edge": torch.rand(2, 1, 6, 8)}
    data |= {"label": torch.zeros(2, 6, 8).long(), "depth_valid": torch.ones(2, 1, 6, 8).bool()}
    data = {name: x.to("meta") for name, x in data.items()}
    found = model(data, training=True)
    assert set(found["inputs"]) == {"rgb", "depth", "normal"} and set(found["targets"]) == set(TASKS)
    with pytest.raises((NotImplementedError, RuntimeError)):
        model(data)
