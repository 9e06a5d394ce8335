"""Scores under damage, against samples that are corrupted and predicted by hand."""

import math

import numpy as np
import pytest
import torch
from tiny import Halves
from torch.utils.data import DataLoader

from rgbx.datasets import EveryKth, MapSpec
from rgbx.evaluate.robustness import Damage, damaged_dataset, damages, loader_like, summarise
from rgbx.evaluate.session import TestSession
from rgbx.metrics import confusion_matrix, scores
from rgbx.transforms import CORRUPTIONS, Corrupt, PackSample


def brightest(sample, rng):
    """A map that a transform computes from another one."""
    return {**sample, "edge": sample["rgb"].max(-1).astype(np.float32)}


def corrupted_by_hand(index, damage, transforms=(), seed=0):
    sample = Halves().read(index)
    rng = np.random.default_rng((seed, index))
    for transform in (Corrupt(damage.corruption, damage.severity, key=damage.modality), *transforms, PackSample()):
        sample = transform(sample, rng)
    return sample


def test_every_corruption_that_suits():
    found = damages(("rgb", "depth"))
    assert len(found) == len(set(found)) == 5 * (5 + 3 + 2 * 2)
    assert {damage.severity for damage in found} == {1, 2, 3, 4, 5}
    names = {"rgb": set(), "depth": set()}
    for damage in found:
        names[damage.modality].add(damage.corruption)
    assert names["depth"] == {"depth_holes", "depth_noise", "depth_steps", "shift", "missing"}
    assert all(name.startswith("rgb_") or name in ("shift", "missing") for name in names["rgb"])
    assert {damage.corruption for damage in damages(("hha",))} == {"shift", "missing"}


@pytest.mark.parametrize(
    "damage", [Damage("depth", "depth_holes", 4), Damage("rgb", "rgb_noise", 2), Damage("rgb", "missing", 1)]
)
def test_a_damaged_sample(damage):
    whole = Halves(transforms=[PackSample()])
    for dataset, index in ((whole, 4), (EveryKth(whole, 2), 2)):
        found, expected = damaged_dataset(dataset, damage)[index], corrupted_by_hand(4, damage)
        assert found.keys() == expected.keys()
        for name in ("rgb", "depth", "depth_valid", "label"):
            assert torch.equal(found[name], expected[name])
        assert not torch.equal(found[damage.modality], dataset[index][damage.modality])  # the original is untouched
    assert len(whole.transforms) == 1


def test_what_transforms_compute_suffers_too():
    damage = Damage("rgb", "rgb_darkness", 5)
    found = damaged_dataset(Halves(transforms=[brightest, PackSample()]), damage)[0]
    expected = corrupted_by_hand(0, damage, [brightest])
    assert torch.equal(found["edge"], expected["edge"])


def test_a_computed_map_is_damaged_before_packing():
    dataset = Halves(transforms=[brightest, PackSample()])
    found = damaged_dataset(dataset, Damage("edge", "missing", 1))[0]
    assert not found["edge"].any() and dataset[0]["edge"].any()
    assert torch.equal(found["rgb"], dataset[0]["rgb"])


def test_maps_of_the_datasets_own():
    class Scaled(Halves):
        def __init__(self):
            super().__init__(transforms=[PackSample()])
            self.maps["depth"] = MapSpec("depth", 1, "float32", "metre", "nearest", fill=7.0)

    assert damaged_dataset(Scaled(), Damage("depth", "missing", 3))[0]["depth"].unique().tolist() == [7.0]


def test_other_datasets_are_refused():
    with pytest.raises(ValueError, match="found list"):
        damaged_dataset([1, 2], Damage("rgb", "missing", 1))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_like_another(workers):
    options = {"batch_size": 2, "num_workers": workers, "persistent_workers": workers > 0}
    first = DataLoader(range(5), **options)
    assert [batch.tolist() for batch in loader_like(first, range(10, 15))] == [[10, 11], [12, 13], [14]]


@pytest.fixture
def session(make_runner):
    """With a network whose classes depend on what it sees; fresh from its builder, one wins everywhere."""
    found = TestSession(make_runner())
    network = found.runner.network
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in (network.backbone.conv.weight, network.head.classifier.weight):
            parameter.normal_(generator=generator)
        network.head.classifier.bias.zero_()
    return found


def test_scores_equal_a_loop(session, monkeypatch):
    session.metric.boundary = session.metric.table = True
    session.evaluate([("rgb", "depth"), ("rgb",)])
    passes = []
    measure = session.loop.measure
    monkeypatch.setattr(session.loop, "measure", lambda loader: passes.append(1) or measure(loader))
    kept = {name: evaluation.scores("ensemble")["mIoU"] for name, evaluation in session.evaluations.items()}
    found = session.measure_robustness(every=1)
    assert kept == {name: evaluation.scores("ensemble")["mIoU"] for name, evaluation in session.evaluations.items()}
    assert session.metric.boundary and session.metric.table

    clean = expected_score(session, None)
    assert found["clean"]["mIoU"] == clean == kept["rgb+depth"]
    assert [entry["severity"] for entry in found["corruptions"]] == [1, 2, 3, 4, 5] * 12
    constant = sum(len(set(corruption.strengths)) == 1 for corruption in CORRUPTIONS.values())
    assert len(passes) == 60 - 4 * 2 * constant  # a missing map is missing at any severity
    for entry in found["corruptions"][::3]:
        damage = Damage(entry["modality"], entry["corruption"], entry["severity"])
        assert entry["mIoU"] == expected_score(session, damage), damage
        assert entry["relative_drop"] == pytest.approx(1 - entry["mIoU"] / clean, abs=1e-12)
    assert len({entry["mIoU"] for entry in found["corruptions"]}) > 5


def expected_score(session, damage):
    """By a loop over samples that are corrupted, predicted and counted one by one."""
    network = session.runner.network
    network.use_modalities(None)
    counts = torch.zeros(3, 3, dtype=torch.int64)
    for index, seed in session.loop.dataloader.sampler:
        sample = Halves(transforms=[PackSample()])[index]
        if damage is not None:
            sample = corrupted_by_hand(index, damage, seed=seed)
        batch = {name: sample[name][None] for name in ("rgb", "depth")}
        with torch.no_grad():
            logits = network(network.data_preprocessor(batch)["inputs"])["ensemble"]
        counts += confusion_matrix(logits.argmax(1)[0], sample["label"], 3)
    return scores(counts)["mIoU"]


def test_damage_is_of_the_first_subset(session):
    session.evaluate([("depth",), ("rgb", "depth")])
    found = session.measure_robustness(every=1)
    assert {entry["modality"] for entry in found["corruptions"]} == {"depth"}
    assert found["clean"]["mIoU"] == session.evaluations["depth"].scores("ensemble")["mIoU"]
    missing = next(entry for entry in found["corruptions"] if entry["corruption"] == "missing")
    assert missing["mIoU"] != found["clean"]["mIoU"]


def test_summary():
    measured = {Damage("rgb", "shift", 1): 0.3, Damage("rgb", "shift", 2): 0.1}
    found = summarise(measured, 0.4, every=8)
    assert found["every"] == 8 and found["clean"] == {"mIoU": 0.4}
    assert found["mean_corruption_mIoU"] == pytest.approx(0.2)
    assert found["corruptions"][1] == {
        "modality": "rgb",
        "corruption": "shift",
        "severity": 2,
        "mIoU": 0.1,
        "relative_drop": pytest.approx(0.75),
    }
    assert math.isnan(summarise(measured, 0.0, every=1)["corruptions"][0]["relative_drop"])
