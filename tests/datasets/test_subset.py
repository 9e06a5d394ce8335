import numpy as np
import pytest

from rgbx.datasets import EveryKth, SampleKey, SyntheticRooms
from rgbx.datasets.sampler import EpochSampler


class Noise:
    """Adds a number drawn from the sample's generator."""

    def __call__(self, sample, rng):
        return {**sample, "drawn": rng.random()}


def rooms(count=7):
    return SyntheticRooms(split="test", num_frames=count, size=(16, 16), modalities=("rgb",), transforms=[Noise()])


def test_samples_are_those_of_the_whole():
    whole = rooms()
    part = EveryKth(whole, 3)
    assert len(part) == 3
    for position, key in enumerate(EpochSampler(part, shuffle=False, seed=5)):
        found, expected = part[key], whole[SampleKey(3 * position, key.seed)]
        assert found["sample_id"] == expected["sample_id"] == f"test/{3 * position:06d}"
        assert found["drawn"] == expected["drawn"]
    assert part[-1]["sample_id"] == "test/000006"
    assert part.metainfo == whole.metainfo
    assert part.prediction_name("a") == "a.png"
    assert np.array_equal(part.encode_label(np.array([[3]])), [[3]])


def test_all_or_a_config():
    assert len(EveryKth(rooms(), 1)) == 7
    assert len(EveryKth({"type": SyntheticRooms, "num_frames": 6, "size": (16, 16)}, 6)) == 1


def test_mistakes():
    with pytest.raises(ValueError, match="every must be >= 1"):
        EveryKth(rooms(), 0)
    with pytest.raises(IndexError, match="out of range for 3"):
        EveryKth(rooms(), 3)[3]
