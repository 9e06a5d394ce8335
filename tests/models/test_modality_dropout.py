import random
from collections import Counter

import pytest

from rgbx.models import ModalityDropout, multimodal_segmentor
from rgbx.models.modality_dropout import build_dropout, complete_dropout


def test_frequencies():
    dropout = ModalityDropout(("rgb", "depth", "thermal"), probability=0.6)
    counts = Counter(dropout.draw() for _ in range(6000))
    assert counts[("rgb", "depth", "thermal")] / 6000 == pytest.approx(0.4, abs=0.02)
    proper = {subset: n / 6000 for subset, n in counts.items() if len(subset) < 3}
    assert len(proper) == 6
    assert all(share == pytest.approx(0.1, abs=0.02) for share in proper.values())


def test_draws_are_those_of_the_seed():
    first, second = ModalityDropout(("a", "b")), ModalityDropout(("a", "b"))
    second.draw()
    draws = []
    for dropout in (first, second):
        dropout.set_seed(7)
        draws.append([dropout.draw() for _ in range(40)])
    assert draws[0] == draws[1]
    first.set_seed(8)
    assert [first.draw() for _ in range(40)] != draws[0]


def test_probability_is_checked():
    with pytest.raises(ValueError, match=r"1\.5"):
        ModalityDropout(("a", "b"), 1.5)


def test_too_many_modalities_are_refused():
    with pytest.raises(ValueError, match="too many of 64 modalities; expected at most 16"):
        ModalityDropout([f"m{i}" for i in range(64)])
    assert len(ModalityDropout([f"m{i}" for i in range(16)]).subsets) == 2**16 - 2


THREE = ("rgb", "depth", "thermal")


def shares(dropout, count=8000):
    found = Counter(dropout.draw() for _ in range(count))
    return {subset: number / count for subset, number in found.items()}


def test_uniform_draws_every_subset_alike():
    found = shares(ModalityDropout(THREE, "uniform"))
    assert len(found) == 7 and all(share == pytest.approx(1 / 7, abs=0.015) for share in found.values())


def test_probabilities_by_modality():
    """Independent draws, without the one that leaves nothing: P(S) = ∏ p or 1 - p, over 1 - 0.5 * 0.8 * 0."""
    found = shares(ModalityDropout(THREE, {"rgb": 0.5, "depth": 0.8}))
    expected = {THREE: 0.1, ("rgb", "thermal"): 0.4, ("depth", "thermal"): 0.1, ("thermal",): 0.4}
    assert found.keys() == expected.keys()
    for subset, share in expected.items():
        assert found[subset] == pytest.approx(share, abs=0.02)
    found = shares(ModalityDropout(("a", "b"), {"a": 0.5, "b": 0.5}))
    assert all(share == pytest.approx(1 / 3, abs=0.02) for share in found.values()) and len(found) == 3


def test_a_ramp_begins_with_all_modalities_and_ends_with_the_probability():
    dropout = ModalityDropout(("rgb", "depth"), 0.8, ramp=0.5)
    for progress, share in ((0.0, 0.0), (0.125, 0.2), (0.25, 0.4), (0.5, 0.8), (1.0, 0.8)):
        dropout.progress = progress
        assert 1 - shares(dropout).get(("rgb", "depth"), 0.0) == pytest.approx(share, abs=0.02)


def test_as_before_without_a_ramp():
    """The draws of trainings that were begun before there was one."""
    plain, options = ModalityDropout(("a", "b"), 0.4), build_dropout({"probability": 0.4, "ramp": 0.0}, ("a", "b"))
    generator = random.Random(0)
    for _ in range(50):
        seen = generator.choice([("a",), ("b",)]) if generator.random() < 0.4 else ("a", "b")
        assert plain.draw() == options.draw() == seen


def test_options_of_a_model():
    model = multimodal_segmentor(
        modalities=("rgb", "depth"), num_classes=3, backbone="test_resnet", modality_dropout={"ramp": 0.5}
    )
    assert model.recipe["parameters"]["modality_dropout"] == {"probability": 0.5, "ramp": 0.5}
    model.set_progress(0.25)
    assert model.modality_dropout.progress == 0.25
    assert complete_dropout(0.5) == 0.5 and complete_dropout(None) is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"propability": 0.5}, "modality_dropout has no option 'propability'.*did you mean 'probability'"),
        ("uniform", r"modality_dropout is 'uniform'; expected None, a probability, or dict\(probability="),
        ({"probability": "even"}, "probability 'even'; expected a value in .* 'uniform', or probabilities by modality"),
        ({"probability": {"dept": 0.5}}, "probability of 'dept'; expected rgb, depth; did you mean 'depth'"),
        ({"probability": {"depth": 1.5}}, r"probability of depth 1\.5"),
        ({"probability": {"rgb": 1, "depth": 1}}, "every modality with probability 1"),
        ({"ramp": 2}, "ramp 2; expected a value in"),
    ],
)
def test_mistakes_in_options(given, told):
    with pytest.raises(ValueError, match=told):
        build_dropout(complete_dropout(given), ("rgb", "depth"))
