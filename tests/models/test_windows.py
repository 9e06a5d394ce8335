import pytest
import torch

from rgbx.models.windows import slide, tent, window_starts


@pytest.mark.parametrize(
    ("length", "window", "stride", "expected"),
    [(10, 10, 4, [0]), (7, 10, 4, [0]), (11, 10, 4, [0, 1]), (18, 10, 4, [0, 4, 8]), (19, 10, 4, [0, 4, 8, 9])],
)
def test_starts(length, window, stride, expected):
    assert window_starts(length, window, stride) == expected


def test_tent():
    assert torch.equal(tent(1, 4), torch.tensor([[0.5, 1.0, 1.0, 0.5]]))
    assert torch.equal(tent(3, 3), torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4)


@pytest.mark.parametrize("size", [(3, 5), (9, 14), (10, 10)])
def test_pixelwise_scores_do_not_notice_windows(size):
    image = torch.rand(2, 3, *size)
    names, found = slide({"rgb": image}, lambda part: (["rgb"], part["rgb"] ** 2), window=(4, 5), stride=(3, 2))
    assert names == ["rgb"]
    torch.testing.assert_close(found, image**2)


def test_a_sum_counts_overlaps():
    ones = {"rgb": torch.ones(1, 1, 1, 7)}
    _, found = slide(ones, lambda part: (["rgb"], part["rgb"]), window=(1, 5), stride=(1, 2), weight="sum")
    assert found.flatten().tolist() == [1, 1, 2, 2, 2, 1, 1]
