"""Named benchmarks of failing sensors, against loops over arrays of NumPy that know the published definitions alone."""

import itertools
import math
import re
import zlib

import numpy as np
import pytest
import torch
from dataset_frames import write_deliver
from session_data import Rooms, loader, made
from small_models import LABELS, diverse, small
from torch.utils.data import DataLoader

from rgbx._choices import BENCHMARKS as NAMES
from rgbx._protocol import Protocol
from rgbx.datasets import DELIVER, EveryKth
from rgbx.datasets.families.deliver import DELIVER_CASES, DELIVER_WEATHERS
from rgbx.evaluate.benchmarks import BENCHMARKS, Black, check_benchmarks, measure_benchmarks
from rgbx.evaluate.missing import failures, over_failures
from rgbx.evaluate.result import benchmark_text, missing_text
from rgbx.evaluate.robustness import suite
from rgbx.evaluate.session import Session
from rgbx.evaluate.spoiling import Noise
from rgbx.models import Predictor
from rgbx.transforms import PackSample, collate

PAIR = ("rgb", "depth")
ANCHORS = {"MAGIC": 44.97, "StitchFusion": 41.98, "CMNeXt": 37.90}


class Weathers(Rooms):
    """Frames whose names tell how they were taken."""

    def __init__(self, frames=4):
        super().__init__(frames=frames)

    @property
    def metainfo(self):
        return {**super().metainfo, "conditions": ["fog", "night", "lidarjitter", "snow"]}

    def name_of(self, index):
        return f"{['fog', 'Night', 'fog', 'night'][index]}/a{'_lidarjitter' * (index == 2)}/{index}"

    def read(self, index):
        return {**super().read(index), "sample_id": self.name_of(index)}


@pytest.fixture(scope="module")
def stand_in():
    """A model whose classes follow from what it sees, and its session, all subsets evaluated by DELIVER's rules."""
    model = diverse(small("both", head_num_classes=10, heads={"labels": LABELS}), seed=3).eval()
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.mul_(3)
    session = Session(model, loader(Weathers()), protocol="deliver")
    for subset in (PAIR, ("rgb",), ("depth",)):
        session.evaluate(subset)
    return session


@pytest.fixture(scope="module")
def tables(stand_in):
    names = ["liao-emm", "liao-rmm", "liao-nm", "miss", "conditions"]
    return measure_benchmarks(stand_in, names, every=1)["labels"]


# --- an independent implementation, in NumPy


def normalised(sample, name):
    """A map as the network takes it, float32 [c, H, W]; black where `sample` says so."""
    if name == "rgb":
        mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
        planes = [
            (sample["rgb"][..., k].astype(np.float32) - np.float32(mean[k])) / np.float32(std[k]) for k in (0, 1, 2)
        ]
        return np.stack(planes)
    scaled = (sample["depth"] - np.float32(2.845)) / np.float32(1.418)
    return np.where(sample["depth"] > 0, scaled, np.float32(0))[None].astype(np.float32)


def generator(sample, name):
    return np.random.default_rng((zlib.crc32(sample["sample_id"].encode()), zlib.crc32(name.encode())))


def zeroed(sample, name, x):
    return np.zeros_like(x)


def holed(share):
    def spoil(sample, name, x):
        drawn, found = generator(sample, name).random(x.shape, np.float32), x.copy()
        for place in itertools.product(*map(range, x.shape)):
            if drawn[place] < share:
                found[place] = 0
        return found

    return spoil


def noisy(density, deviation):
    def spoil(sample, name, x):
        rng, found = generator(sample, name), x.flatten()
        count = math.ceil(density * x.size * 0.5)
        salt, pepper = rng.integers(0, x.size, count), rng.integers(0, x.size, count)
        for place in salt:
            found[place] = x.max()
        for place in pepper:
            found[place] = x.min()
        if name != "event":
            found = found + np.float32(deviation) * rng.standard_normal(x.size, np.float32)
        return found.reshape(x.shape)

    return spoil


def mean_iou(model, spoiled, spoil, given=PAIR, frames=range(4), black=()):
    """Over all classes, those without pixels as 0, in a loop over images, pixels and classes."""
    counts = np.zeros((10, 10), np.int64)
    for index in frames:
        sample = Weathers().read(index)
        for name in black:
            sample = {**sample, name: np.zeros_like(sample[name])}
        inputs = {name: normalised(sample, name) for name in given}
        inputs |= {name: spoil(sample, name, inputs[name]) for name in spoiled}
        with torch.no_grad():
            found = model({name: torch.from_numpy(x)[None] for name, x in inputs.items()}, mode="tensor")
        ids = found["ensemble"][0].numpy().argmax(0)
        for true, guess in zip(sample["label"].flat, ids.flat, strict=True):
            if true != 255:
                counts[true, guess] += 1
    total = 0.0
    for k in range(10):
        union = counts[k].sum() + counts[:, k].sum() - counts[k, k]
        total += counts[k, k] / union if union else 0.0
    return total / 10


def expectations(by_missing):
    """Mean, and expectations where each sensor fails with p, given that not all have."""
    found = {"mean": sum(by_missing.values()) / len(by_missing)}
    for p in (0.2, 0.1, 0.05):
        weight = {missing: math.prod(p if name in missing else 1 - p for name in PAIR) for missing in by_missing}
        total = sum(weight.values())
        found[f"expected, p = {p:g}"] = sum(weight[m] * value for m, value in by_missing.items()) / total
    return found


MISSING = ((), ("rgb",), ("depth",))


def rows(table):
    return {row["name"]: row["values"] for row in (*table["rows"], *table["summary"])}


def test_entire_missing_modality(stand_in, tables):
    """Zeros after normalisation, what is left out beside them, and both by condition."""
    found, model = rows(tables["liao-emm"]), stand_in.model
    names = dict(zip(MISSING, ("RGB + depth", "depth", "RGB"), strict=True))
    zeros = {missing: mean_iou(model, missing, zeroed) for missing in MISSING}
    left = {m: mean_iou(model, (), zeroed, [name for name in PAIR if name not in m]) for m in MISSING}
    assert len(set(zeros.values()) | set(left.values())) == 5  # without failures both are the same
    for missing, name in names.items():
        assert found[name][:2] == pytest.approx([zeros[missing], left[missing]], abs=1e-9)
    for column, values in enumerate((zeros, left)):
        for name, value in expectations(values).items():
            assert found[name][column] == pytest.approx(value, abs=1e-9)
    fog = {missing: mean_iou(model, missing, zeroed, frames=(0, 2)) for missing in MISSING}
    assert tables["liao-emm"]["columns"] == ["zeros", "omitted", "fog", "night", "lidarjitter", "snow"]
    for missing, name in names.items():
        assert found[name][2] == pytest.approx(fog[missing], abs=1e-9)
        assert found[name][3] == pytest.approx(mean_iou(model, missing, zeroed, frames=(1, 3)), abs=1e-9)
        assert found[name][4] == pytest.approx(mean_iou(model, missing, zeroed, frames=(2,)), abs=1e-9)
        assert found[name][5] is None  # there are no such frames
    assert found["mean"][2] == pytest.approx(expectations(fog)["mean"], abs=1e-9) and found["mean"][5] is None


def test_random_missing_modality(stand_in, tables):
    """Of every map that is damaged a share of the values is 0, each channel by itself."""
    found = rows(tables["liao-rmm"])
    for column, share in enumerate((0.25, 0.5, 0.75)):
        values = {m: mean_iou(stand_in.model, m, holed(share)) for m in MISSING}
        assert len(set(values.values())) == 3
        for missing, name in zip(MISSING, ("nothing", "RGB", "depth"), strict=True):
            assert found[name][column] == pytest.approx(values[missing], abs=1e-9)
        for name, value in expectations(values).items():
            assert found[name][column] == pytest.approx(value, abs=1e-9)


def test_noisy_modality(stand_in, tables):
    """Salt and pepper on all maps, then Gaussian noise."""
    found = rows(tables["liao-nm"])
    levels = {"low": (0.05, 0.1), "middle": (0.1, 0.2), "high": (0.2, 0.5)}
    values = {name: mean_iou(stand_in.model, PAIR, noisy(*level)) for name, level in levels.items()}
    assert len(set(values.values())) == 3 and list(found) == list(levels)
    for name, value in values.items():
        assert found[name][0] == pytest.approx(value, abs=1e-9)


def test_events_have_salt_and_pepper_alone():
    x = torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    found = Noise(0.2, 0.5, ("event",))({"event": x, "lidar": x}, ["a", "b"])
    for k, name in enumerate("ab"):
        expected = noisy(0.2, 0.0)({"sample_id": name}, "event", x[k].numpy())
        assert np.array_equal(found["event"][k].numpy(), expected)
        changed = found["event"][k] != x[k]
        assert 0.1 < float(changed.float().mean()) < 0.2  # some places are drawn twice, or are an extreme already
        assert set(found["event"][k][changed].tolist()) == {float(x[k].max()), float(x[k].min())}
        assert float((found["lidar"][k] != x[k]).float().mean()) > 0.99
    assert torch.equal(found["event"][:1], Noise(0.2, 0.5, ("event",))({"event": x[:1]}, ["a"])["event"])


def test_black_images(stand_in, tables):
    """A missing camera's file is black; a missing depth's has no measurement."""
    found = rows(tables["miss"])
    for missing, name in zip(MISSING, ("RGB + depth", "depth", "RGB"), strict=True):
        assert found[name][0] == pytest.approx(mean_iou(stand_in.model, (), zeroed, black=missing), abs=1e-9)
    assert found["depth"][0] != rows(tables["liao-emm"])["depth"][0]  # 0 after normalisation is no black
    sample = {"depth": np.ones((2, 2), np.float32), "depth_valid": np.ones((2, 2), np.uint8), "sample_id": "a"}
    black = Black("depth", {})(sample, None)
    assert not black["depth"].any() and not black["depth_valid"].any() and sample["depth_valid"].all()


def test_conditions_are_columns(stand_in, tables):
    found = rows(tables["conditions"])
    assert list(found) == ["RGB + depth", "RGB", "depth"]
    assert found["RGB"][1] == pytest.approx(mean_iou(stand_in.model, (), zeroed, ("rgb",), (0, 2)), abs=1e-9)
    assert found["RGB"][0] == stand_in.evaluations["rgb"]["labels"].scores("ensemble")["mIoU"]


def test_tables_tell_their_source_and_what_differs(tables):
    for name, table in tables.items():
        assert re.search(r"arXiv \d{4}\.\d{5}", table["source"]) and table["score"] == "mIoU"
        assert any("not rounded" in text for text in table["deviations"]), name
    told = "\n".join(tables["liao-rmm"]["deviations"])
    assert "measured on Weathers" in told and "the sensors are RGB + depth" in told and "inputs are of 24×32" in told
    assert "follows from the names" in told and "follows from the names" not in "".join(
        tables["liao-emm"]["deviations"]
    )
    assert not any("protocol" in text for text in tables["liao-emm"]["deviations"])  # it is that of the authors
    session = Session(made("classes"), loader(EveryKth(Weathers(), 2)))
    session.evaluate()
    told = measure_benchmarks(session, ["liao-nm"], every=2)["labels"]["liao-nm"]["deviations"]
    assert "scores are those of the protocol 'rgbx'; published: those of 'deliver'" in told
    assert "one frame in 2 was evaluated" in told


def test_in_a_terminal(tables):
    head = {"benchmarks": tables, "scores": [{"name": "mIoU", "unit": "fraction", "digits": 3, "lower": False}]}
    lines = benchmark_text(head, "liao-emm").splitlines()
    assert lines[0].split() == ["left", "zeros", "omitted", "fog", "night", "lidarjitter", "snow"]
    assert lines[2].startswith("RGB + depth") and lines[-1].startswith("- ") and lines[5].startswith("mean")
    assert any(line.startswith("Source: Liao et al.") and line.endswith("Here:") for line in lines)


def test_expectations_over_three_sensors():
    """Every subset but the empty one, weighed as it fails; a model that ignores its sensors has its own score."""
    missing = failures("abc")
    assert len(missing) == 7 and missing[0] == () and ("a", "b", "c") not in missing
    sizes = [len(names) for names in missing]
    assert [*over_failures([0.4] * 7, sizes, 3).values()] == pytest.approx([0.4] * 4, abs=1e-12)
    values = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.1]
    found = over_failures(values, sizes, 3)
    assert found["mean"] == pytest.approx(4.0 / 7, abs=1e-12)
    whole = 1 - 0.2**3
    byhand = (0.512 * 0.9 + 0.128 * (0.8 + 0.7 + 0.6) + 0.032 * (0.5 + 0.4 + 0.1)) / whole
    assert found["expected, p = 0.2"] == pytest.approx(byhand, abs=1e-12)
    assert set(over_failures([None, *values[1:]], sizes, 3).values()) == {None}


def test_of_deliver(tmp_path):
    """A column is the score of the dataset with that condition alone; what is published needs few words."""
    scenes = ("cloud/MAP_1_point1", "night/MAP_2_point12_motionblur", "night/MAP_2_point3", "sun/MAP_3_eventlowres")
    root, sensors = write_deliver(tmp_path, np.random.default_rng(0), "val", scenes), ("rgb", "hha", "event", "lidar")
    statistics = {name: {"mean": [0.0] * 3, "std": [255.0] * 3} for name in ("event", "lidar")}
    options = {"heads": {"labels": LABELS}, "modalities": sensors, "statistics": statistics}
    model = diverse(small("classes", head_num_classes=25, **options), seed=1).eval()

    maps = DELIVER(root, "val", modalities=sensors).maps

    def session(**given):
        dataset = DELIVER(root, "val", modalities=sensors, transforms=[PackSample(maps=maps)], **given)
        found = Session(model, DataLoader(dataset, batch_size=2, collate_fn=collate), protocol="deliver")
        found.evaluate()
        return found

    whole = session()
    table = measure_benchmarks(whole, ["conditions"], every=1)["labels"]["conditions"]
    ((name, values),) = ((row["name"], row["values"]) for row in table["rows"])
    assert name == "RGB + HHA + event + lidar" and table["columns"] == ["all", *DELIVER_WEATHERS, *DELIVER_CASES]
    for condition, value in zip(table["columns"][1:], values[1:], strict=True):
        if condition in ("fog", "rain", "overexposure", "underexposure", "lidarjitter"):
            assert value is None
        else:
            alone = session(conditions=[condition]).evaluations["+".join(sensors)]["labels"]
            assert value == alone.scores("ensemble")["mIoU"]
    table = measure_benchmarks(whole, ["liao-nm"], every=1)["labels"]["liao-nm"]
    assert table["deviations"][0].startswith("inputs are of")  # and not of 1024×1024; all else is as published


def test_what_was_evaluated_anyway_is_told():
    def head(*subsets):
        entry = {"name": "mIoU", "unit": "fraction", "digits": 3, "lower": False}
        values = {"rgb+depth": 0.9, "rgb": 0.5, "depth": 0.1}
        return {"scores": [entry], "subsets": {x: {"ensemble": {"mIoU": values[x]}} for x in subsets}}

    text = missing_text(head("rgb+depth", "rgb", "depth"))
    told = "mIoU over all 3 subsets, what is missing left out (EMM). Mean: 50.0; expected, p = 0.2: "
    assert text.startswith(told)
    assert f"{100 * (0.64 * 0.9 + 0.16 * 0.6) / 0.96:.1f}" in text
    assert missing_text(head("rgb+depth", "rgb")) == missing_text(head("rgb")) == ""


def test_what_cannot_be_measured_is_refused_first():
    session = Session(made("classes"), loader(Rooms()))
    with pytest.raises(ValueError, match=r"--robustness conditions: Rooms does not know under which conditions"):
        check_benchmarks(session, ["liao-nm", "conditions"])
    session.model.modalities = ("depth",)
    with pytest.raises(ValueError, match=r"--robustness miss: the model knows depth alone"):
        check_benchmarks(session, ["miss"])
    with pytest.raises(ValueError, match=r"--robustness robodepth damages rgb, the model knows depth"):
        check_benchmarks(session, ["robodepth"])
    assert {"corruptions", *BENCHMARKS} == set(NAMES)


def test_published_corruptions_of_colours(monkeypatch):
    assert len(suite("robodepth")) == 18
    monkeypatch.setattr("rgbx.evaluate.benchmarks.suite", lambda name: ["contrast", "dark"])
    session = Session(made("classes"), DataLoader(EveryKth(Rooms(), 3), collate_fn=loader(Rooms()).collate_fn))
    session.evaluate(PAIR)
    table = measure_benchmarks(session, ["robodepth"], every=3)["labels"]["robodepth"]
    assert [row["name"] for row in table["rows"]] == ["contrast", "dark"]
    assert table["columns"] == ["1", "2", "3", "4", "5"] and len({tuple(row["values"]) for row in table["rows"]}) == 2


def test_a_spoiled_batch_leaves_the_others_alone(stand_in):
    """The predictor's own inputs are not changed, and a protocol that resizes stored maps takes the damaged ones."""
    model = made("classes")
    sample = PackSample()(Weathers().read(0), np.random.default_rng(0))
    batch = {key: x[None] for key, x in sample.items() if torch.is_tensor(x) and not key.startswith("normal")} | {
        "sample_id": ["a"],
        "paths": {},
    }
    rules = Protocol("small", "", scales=(0.5, 1.0), resizer="opencv", resized="scores")
    zeros = Predictor(model, rules, spoil=lambda inputs, ids: {k: torch.zeros_like(x) for k, x in inputs.items()})
    once, clean = zeros(batch)[0], Predictor(model, rules)
    before = clean(batch)[0]["prediction"]["ensemble"]
    other = {**batch, "rgb": torch.randint(0, 256, batch["rgb"].shape, dtype=torch.uint8)}
    assert torch.equal(zeros(other)[0]["prediction"]["ensemble"], once["prediction"]["ensemble"])
    assert not torch.equal(before, once["prediction"]["ensemble"])
    assert torch.equal(clean(batch)[0]["prediction"]["ensemble"], before)
