from collections import Counter

import pytest

from rgbx.models import ModalityDropout


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
