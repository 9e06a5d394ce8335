"""From a batch in its own units to a network's inputs, and to the targets of heads."""

import numpy as np
import pytest
import torch

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
