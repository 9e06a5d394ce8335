import pytest
import torch

from rgbx.models.windows import slide, swapped_spans, tent, window_starts


@pytest.mark.parametrize(
    ("length", "window", "stride", "expected"),
    [(10, 10, 4, [0]), (7, 10, 4, [0]), (11, 10, 4, [0, 1]), (18, 10, 4, [0, 4, 8]), (19, 10, 4, [0, 4, 8, 9])],
)
def test_starts(length, window, stride, expected):
    assert window_starts(length, window, stride) == expected


def test_tent():
    assert torch.equal(tent(1, 4), torch.tensor([[0.5, 1.0, 1.0, 0.5]]))
    assert torch.equal(tent(3, 3), torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4)


def squared(part):
    return {"a": {"rgb": part["rgb"] ** 2}, "b": {"x": part["rgb"], "ensemble": part["rgb"] + 1}}


@pytest.mark.parametrize("size", [(3, 5), (9, 14), (10, 10)])
def test_pixelwise_scores_do_not_notice_windows(size):
    image = torch.rand(2, 3, *size)
    found = slide({"rgb": image}, squared, window=(4, 5), stride=(3, 2))
    assert {head: list(by_name) for head, by_name in found.items()} == {"a": ["rgb"], "b": ["x", "ensemble"]}
    torch.testing.assert_close(found["a"]["rgb"], image**2)
    torch.testing.assert_close(found["b"]["ensemble"], image + 1)


def test_a_sum_counts_overlaps():
    ones = {"rgb": torch.ones(1, 1, 1, 7)}
    found = slide(ones, lambda part: {"a": {"rgb": part["rgb"]}}, window=(1, 5), stride=(1, 2), weight="sum")
    assert found["a"]["rgb"].flatten().tolist() == [1, 1, 2, 2, 2, 1, 1]


def test_swapped_spans_by_hand():
    """600×800 in windows (480, 640), steps (320, 427): two each way, of 640 rows from -40 on, and of 480 columns."""
    rows, columns = swapped_spans((600, 800), (480, 640), (320, 427))
    assert rows == [slice(-40, 600), slice(-40, 600)] and list(range(600)[rows[0]]) == list(range(560, 600))
    assert columns == [slice(0, 480), slice(320, 800)]
    assert swapped_spans((800, 960), (480, 640), (320, 427)) == (
        [slice(0, 640), slice(160, 800)],
        [slice(0, 480), slice(320, 800)],
    )


def test_swapped_windows_add_up_where_they_lie():
    ones = {"rgb": torch.ones(1, 1, 5, 5)}
    options = dict(window=(3, 4), stride=(2, 3), weight="sum", swapped=True)
    found = slide(ones, lambda part: {"a": {"rgb": part["rgb"]}}, **options)["a"]["rgb"][0, 0]
    expected = torch.zeros(5, 5)
    for row in (0, 1):
        for column in (0, 2):
            expected[row : row + 4, column : column + 3] += 1
    assert torch.equal(found, expected)


def test_a_sum_has_no_weights(monkeypatch):
    monkeypatch.setattr("rgbx.models.windows.tent", None)
    slide({"rgb": torch.ones(1, 1, 4, 7)}, squared, window=(4, 5), stride=(1, 2), weight="sum")
