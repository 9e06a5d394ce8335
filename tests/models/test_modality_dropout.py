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


def test_draws_agree_between_processes_and_go_on_after_resuming():
    first, second = ModalityDropout(("a", "b")), ModalityDropout(("a", "b"))
    straight = [first.draw() for _ in range(40)]
    begun = [second.draw() for _ in range(15)]
    resumed = ModalityDropout(("a", "b"))
    resumed.load_state_dict(second.state_dict())
    assert begun + [resumed.draw() for _ in range(25)] == straight


def test_probability_is_checked():
    with pytest.raises(ValueError, match=r"1\.5"):
        ModalityDropout(("a", "b"), 1.5)
