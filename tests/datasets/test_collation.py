"""Samples that do not go into one batch are named by their ids, sizes and types; all others are left alone."""

import pickle

import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate

from rgbx.datasets.collation import Collation, difference


def sample(number, size=(4, 6), channels=3, dtype=torch.uint8, **more):
    maps = {"rgb": torch.zeros(channels, *size, dtype=dtype), "label": torch.zeros(size, dtype=torch.int64)}
    return {**maps, "sample_id": f"frame/{number}", "paths": {"rgb": f"{number}.png"}, **more}


def test_equal_samples_are_collated_as_ever():
    samples = [sample(0), sample(1)]
    found, expected = Collation(default_collate)(samples), default_collate(samples)
    assert torch.equal(found.pop("rgb"), expected.pop("rgb")) and torch.equal(found.pop("label"), expected.pop("label"))
    assert found == expected
    assert pickle.loads(pickle.dumps(Collation(default_collate)))(samples)["sample_id"] == ["frame/0", "frame/1"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            sample(2, size=(4, 8)),
            r"rgb of 'frame/0' and 'frame/2' is 4×6 and 4×8: .*batch_size=1, or a Resize or RandomC",
        ),
        (sample(2, dtype=torch.float32), r"rgb of 'frame/0' and 'frame/2' is of torch\.uint8 and torch\.float32"),
        (
            sample(2, channels=1),
            r"rgb of 'frame/0' and 'frame/2' is \[3, 4, 6\] and \[1, 4, 6\]; expected one number of",
        ),
        (
            {**sample(2), "label": torch.zeros(4, 7, dtype=torch.int64)},
            "label of 'frame/0' and 'frame/2' is 4×6 and 4×7",
        ),
    ],
)
def test_what_differs_is_named_with_both_ids(other, message):
    with pytest.raises(ValueError, match=f"samples of a batch differ: {message}"):
        Collation(default_collate)([sample(0), sample(1), other])


def test_lists_of_samples_may_be_of_any_size():
    samples = [sample(0), sample(1, size=(9, 9))]
    assert [x.shape[-1] for x in Collation(pseudo_collate)(samples)["rgb"]] == [6, 9]
    with pytest.raises(ValueError, match="expected one type for all samples"):
        Collation(pseudo_collate)([sample(0), sample(1, dtype=torch.float32)])


def test_other_errors_are_their_own():
    def broken(samples):
        raise KeyError("other")

    with pytest.raises(KeyError, match="other"):
        Collation(broken)([sample(0), sample(1)])
    assert difference([]) == difference([sample(0)]) == difference(["a", "b"]) == ""
