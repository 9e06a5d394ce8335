"""Scores under damage, against samples that are corrupted and predicted by hand."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from session_data import Rooms, loader, made
from small_models import run
from tiny import Halves
from torch.utils.data import DataLoader

from rgbx.datasets import EveryKth, MapSpec
from rgbx.evaluate.robustness import Damage, damaged_dataset, damages, loader_like, measure_robustness, summarise
from rgbx.evaluate.session import Session
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
    relative = {"depth": MapSpec("depth", 1, "float32", "relative", "linear")}
    assert {damage.corruption for damage in damages(("depth",), relative)} == {"depth_holes", "shift", "missing"}
    with pytest.raises(ValueError, match="corruption 'depth_steps' needs metres, but the map 'depth' is relative"):
        Corrupt("depth_steps", 1, maps=relative)


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


@pytest.mark.parametrize("kind", ["classes", "both"])
def test_scores_equal_a_loop(kind, monkeypatch):
    model = made(kind)
    session = Session(model, loader(Rooms()))
    session.evaluate(("rgb", "depth"))
    session.evaluate(("rgb",))
    passes, count = [], session.count
    monkeypatch.setattr(session, "count", lambda *given, **options: passes.append(1) or count(*given, **options))
    kept = {names: headlines(found) for names, found in session.evaluations.items()}
    found = measure_robustness(session, every=1)
    assert kept == {names: headlines(found) for names, found in session.evaluations.items()}
    clean = expected_scores(model, None)
    assert {head: part["clean"] for head, part in found.items()} == pytest.approx(clean)
    assert {head: part["score"] for head, part in found.items()} == {h: KEYS[h] for h in model.heads}
    constant = sum(len(set(corruption.strengths)) == 1 for corruption in CORRUPTIONS.values())
    assert len(passes) == 60 - 4 * 2 * constant  # a missing map is missing at any severity
    for part in found.values():
        assert [entry["severity"] for entry in part["corruptions"]] == [1, 2, 3, 4, 5] * 12
        assert len({entry["value"] for entry in part["corruptions"]}) > 5
    for position in range(0, 60, 7):
        entries = {head: part["corruptions"][position] for head, part in found.items()}
        damage = Damage(*(entries["labels"][key] for key in Damage._fields))
        expected = expected_scores(model, damage)
        for head, entry in entries.items():
            assert entry["value"] == pytest.approx(expected[head]), damage
            assert entry["relative_change"] == pytest.approx(expected[head] / clean[head] - 1, abs=1e-6)


KEYS = {"labels": "mIoU", "normal": "angle_mean"}


def headlines(evaluations):
    return {head: evaluation.scores("ensemble")[KEYS[head]] for head, evaluation in evaluations.items()}


def expected_scores(model, damage):
    """By a loop over samples that are corrupted, predicted and counted one by one."""
    counts, cosines, dataset = torch.zeros(10, 10, dtype=torch.int64), [], Rooms()
    for index in range(len(dataset)):
        sample = dataset.read(index)
        rng = np.random.default_rng((0, index))
        if damage is not None:
            sample = Corrupt(damage.corruption, damage.severity, key=damage.modality)(sample, rng)
        sample = PackSample()(sample, rng)
        with torch.no_grad():
            found = run(model, {name: sample[name][None] for name in ("rgb", "depth")})
        counts += confusion_matrix(found["labels"]["ensemble"].argmax(1)[0], sample["label"], 10)
        if "normal" in found:
            measured = sample["normal"].square().sum(0) > 0.25
            pair = [x.double()[:, measured] for x in (found["normal"]["ensemble"][0], sample["normal"])]
            cosines.append(F.cosine_similarity(*pair, dim=0))
    angles = torch.cat(cosines).clamp(-1, 1).acos().rad2deg() if cosines else torch.ones(1)
    expected = {"labels": scores(counts)["mIoU"], "normal": float(angles.mean())}
    return {head: expected[head] for head in model.heads}


def test_damage_is_of_the_first_subset():
    session = Session(made("classes"), loader(Rooms()))
    for subset in (("depth",), ("rgb", "depth")):
        session.evaluate(subset)
    found = measure_robustness(session, every=1)["labels"]
    assert {entry["modality"] for entry in found["corruptions"]} == {"depth"}
    assert found["clean"] == session.evaluations["depth"]["labels"].scores("ensemble")["mIoU"]
    missing = next(entry for entry in found["corruptions"] if entry["corruption"] == "missing")
    assert missing["value"] != found["clean"]


def test_summary():
    measured = {Damage("rgb", "shift", 1): 0.3, Damage("rgb", "shift", 2): 0.1}
    found = summarise(measured, 0.4, score="mIoU", every=8)
    assert (found["every"], found["clean"], found["score"]) == (8, 0.4, "mIoU")
    assert found["mean"] == pytest.approx(0.2)
    assert found["corruptions"][1] == {
        "modality": "rgb",
        "corruption": "shift",
        "severity": 2,
        "value": 0.1,
        "relative_change": pytest.approx(-0.75),
    }
    assert math.isnan(summarise(measured, 0.0, score="MAE", every=1)["corruptions"][0]["relative_change"])
