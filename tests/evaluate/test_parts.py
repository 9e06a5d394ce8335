"""What jobs hand on in files, of every task, against the session that counts all images itself."""

import hashlib
import json
import math
import re

import numpy as np
import pytest
import torch
from session_data import Rooms, made
from small_models import small
from torch.utils.data import DataLoader, default_collate

from rgbx.datasets import EpochSampler, EveryKth
from rgbx.evaluate.metric import Metrics
from rgbx.evaluate.parts import Parts, from_data, to_data
from rgbx.evaluate.result import build_result, plain
from rgbx.evaluate.session import Session
from rgbx.maps import MapSpec
from rgbx.models import multimodal_embedder
from rgbx.tasks.classes import ClassCounter


def loader(dataset):
    sampler = EpochSampler(dataset, shuffle=False)
    return DataLoader(dataset, batch_size=2, sampler=sampler, collate_fn=default_collate)


def result(session, file):
    kinds = {name: task.kind for name, task in session.tasks.items()}
    options = dict(protocol=session.protocol, config={"file": ""}, checkpoint=file, dataset=session.whole_dataset)
    return plain(build_result(session.evaluations, kinds, **options)["heads"])


@pytest.mark.parametrize("kind", ["both", "frames"])
def test_scores_are_those_of_one_process(kind, tmp_path, monkeypatch):
    """Of classes with all that can be counted, of maps, and of codes, which are searched in all images; 7 of 3 jobs."""
    monkeypatch.setattr("rgbx.evaluate.parts.PART", 2)
    model = made("both")
    if kind == "frames":
        model = multimodal_embedder(modalities=("rgb", "depth"), backbone="test_resnet", dim=6, by="frame").eval()
    metrics = Metrics(table=False, **({"boundary": True, "calibration": True} if kind == "both" else {}))
    (tmp_path / "model.pth").touch()
    data = EveryKth(Rooms(frames=13), 2)
    whole = Session(model, loader(data), metrics=metrics)
    subsets = [("rgb", "depth"), ("depth",)]
    for subset in subsets:
        whole.evaluate(subset)
    for number in (2, 3, 1):
        session = Session(model, loader(data), metrics=metrics)
        parts = Parts(tmp_path / "parts", (number, 3), len(data), session.counters, {"kind": kind})
        session.count_share(parts, subsets)
        assert parts.missing(2) == {2: [1, 3], 3: [1], 1: []}[number]
    session.merge(parts, subsets)
    assert result(session, tmp_path / "model.pth") == result(whole, tmp_path / "model.pth")
    assert session.frames() == whole.frames()


def test_values_come_back_to_the_bit():
    values = {
        "a": [0.1, -0.0, math.inf, -math.inf, 2**60, True, None, "x\u2028"],
        "b": (np.float64(1 / 3), np.int64(7)),
        "c": {"spec": MapSpec("depth", 1, "float32", "metre", "linear")},
        "d": torch.tensor([[0.1, math.nan]], dtype=torch.float64),
        "e": np.array([[1, 2**32 - 1]], np.uint32),
        "f": torch.zeros(0, 3, dtype=torch.int64),
    }
    found = from_data(json.loads(json.dumps(to_data(values), allow_nan=False)), {"MapSpec": MapSpec})
    assert found["a"] == values["a"] and math.copysign(1, found["a"][1]) == -1
    assert (found["b"], found["c"]) == ((1 / 3, 7), values["c"])
    for key in "def":
        assert type(found[key]) is type(values[key]) and found[key].dtype == values[key].dtype
        assert found[key].shape == values[key].shape
        assert found[key].__array__().tobytes() == values[key].__array__().tobytes()
    assert math.isnan(from_data(to_data(math.nan), {}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"system": {"x": 1}}, "'system' is none of MapSpec"),
        ({"array": ["object", [1], ""]}, "an array of 'object'"),
        ({"array": ["float64", [10**9], ""]}, "cannot reshape"),
        ({"a": 1, "b": 2}, "expected an object of one field"),
    ],
)
def test_strangers_values_are_refused(data, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        from_data(data, {"MapSpec": MapSpec})
    with pytest.raises(ValueError, match="a set"):
        to_data({"x": {1}})


def test_counters_that_do_not_say_what_they_keep_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(ClassCounter, "records", ())
    counters = Session(small("classes", head_num_classes=10), loader(Rooms())).counters
    with pytest.raises(ValueError, match=r"ClassCounter of head 'labels' does not say .*Counter\.records"):
        Parts(tmp_path / "parts", (1, 2), 3, counters, {})
    assert not (tmp_path / "parts").exists()


def first_part(tmp_path, monkeypatch, kind="both"):
    """The parts of one job that has counted two images, and its only file."""
    monkeypatch.setattr("rgbx.evaluate.parts.PART", 2)
    model = made("both")
    if kind == "frames":
        model = multimodal_embedder(modalities=("rgb", "depth"), backbone="test_resnet", dim=6, by="frame").eval()
    session = Session(model, loader(Rooms(frames=2)))
    parts = Parts(tmp_path / "parts", (1, 1), 2, session.counters, {})
    session.count_share(parts, [("rgb", "depth")])
    (file,) = (tmp_path / "parts" / "shard_1").iterdir()
    return parts, file


def array(kind, shape, values):
    return to_data(np.array(values, kind).reshape(shape))


CELLS = "cells of ensemble"
BIG = array("uint32", (1, 2), [100, 5])


@pytest.mark.parametrize(
    ("head", "path", "value", "message"),
    [
        ("labels", "classes", 11, "classes is 11; expected 10"),
        (
            "labels",
            "cells.dict.ensemble",
            array("int64", (1, 2), [1, 2]),
            f"{CELLS}: found int64 [1, 2]; expected uint32",
        ),
        (
            "labels",
            "cells.dict.ensemble",
            array("uint32", (1, 3), [1, 2, 3]),
            "uint32 [1, 3]; expected uint32 [any, 2]",
        ),
        ("labels", "cells.dict.ensemble", BIG, f"{CELLS} hold the cell 100; expected less than 100"),
        ("labels", "cells.dict.ensemble", 3, f"{CELLS}: found a int; expected uint32 [any, 2]"),
        ("labels", "cells", {"dict": {}}, "found {}; expected predictions by name"),
        (
            "labels",
            "boundary",
            array("int64", (9, 4), [0] * 36),
            "boundary: found int64 [9, 4]; expected int64 [10, 4]",
        ),
        ("labels", "sample_id", None, "sample_id is None; expected text"),
        ("labels", "file_sizes", {"dict": {"rgb": "x"}}, "file_sizes is {'rgb': 'x'}; expected whole numbers by name"),
        ("normal", "target.MapSpec.channels", 1, "target is MapSpec(name='normal', channels=1"),
        ("normal", "means", {"dict": {}}, "means are of []; expected ['depth', 'ensemble', 'rgb'], as sums are"),
        ("codes", "classes", array("int64", (1, 1), [0]), "classes: found int64 [1, 1]; expected int64 [any]"),
        ("codes", "codes.dict.rgb", array("float32", (2, 6), [0] * 12), "float32 [2, 6]; expected float32 [1, any]"),
    ],
)
def test_contents_that_were_not_counted_are_refused(head, path, value, message, tmp_path, monkeypatch):
    """Of a whole file of the right digest, whose contents the counter cannot have given; the file is named."""
    parts, file = first_part(tmp_path, monkeypatch, "frames" if head == "codes" else "both")
    assert parts.done(0) == 2
    told = json.loads(file.read_bytes().split(b"\n")[1])
    records = next(iter(told["records"].values())) if head == "codes" else told["records"][head]
    (place,) = records[1].values()
    *steps, last = path.split(".")
    for step in steps:
        place = place[step]
    assert last in place
    place[last] = value
    content = json.dumps(told).encode()
    digest = json.dumps({"sha256": hashlib.sha256(content).hexdigest()}).encode()
    file.write_bytes(digest + b"\n" + content + b"\n")
    with pytest.raises(ValueError, match=rf"^{re.escape(str(file))}: .*{re.escape(message)}"):
        parts.done(0)
