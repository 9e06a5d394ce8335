import pytest
import torch

from rgbx.metrics.histogram import add_by_id, add_in_copies


@pytest.mark.parametrize("pixels", [0, 1, 63, 64, 1000])
@pytest.mark.parametrize("num_ids", [1, 16, 2**15, 2**20])  # 64, 64, 31 and no copies
def test_copies_equal_one_table(pixels, num_ids):
    generator = torch.Generator().manual_seed(pixels)
    ids = torch.randint(0, num_ids, (pixels,), generator=generator)
    weights = torch.randint(0, 100, (pixels,), generator=generator) / 8  # sums are exact in any order
    expected = [0] * min(num_ids, 2**15)
    sums = [0.0] * len(expected)
    for k, w in zip(ids.tolist(), weights.tolist(), strict=True):
        if k < len(expected):
            expected[k] += 1
            sums[k] += w
    for add in (add_by_id, add_in_copies):
        counts, total = add(ids, num_ids), add(ids, num_ids, weights.double())
        assert (counts.dtype, counts.shape) == (torch.int64, (num_ids,))
        assert (total.dtype, total.shape) == (torch.float64, (num_ids,))
        assert counts[: len(expected)].tolist() == expected
        assert total[: len(expected)].tolist() == sums
        assert counts.sum() == pixels
