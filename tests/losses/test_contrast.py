"""InfoNCE against loops over rows."""

import math

import pytest
import torch

from rgbx.losses import contrastive_loss


def cosine(a, b):
    dot, lengths = sum(x * y for x, y in zip(a, b, strict=True)), [math.hypot(*a), math.hypot(*b)]
    return dot / (lengths[0] * lengths[1])


def one_way(a, b, positive, t):
    rows = []
    for i, x in enumerate(a):
        scores = [math.exp(cosine(x, y) / t) for y in b]
        own = [math.log(scores[j] / sum(scores)) for j in range(len(b)) if positive[i][j]]
        if own:
            rows.append(-sum(own) / len(own))
    return sum(rows) / len(rows) if rows else 0.0


@pytest.mark.parametrize("several", [False, True])
def test_naive_loop(several):
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(5, 4, generator=g), torch.randn(5, 4, generator=g)
    positive = torch.eye(5, dtype=torch.bool)
    if several:
        positive = torch.tensor([0, 1, 0, 2, 2])[:, None] == torch.tensor([0, 0, 0, 2, 2])
    found = contrastive_loss(a, b, 0.5, positive if several else None)
    rows, columns = positive.tolist(), positive.T.tolist()
    expected = (one_way(a.tolist(), b.tolist(), rows, 0.5) + one_way(b.tolist(), a.tolist(), columns, 0.5)) / 2
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_lengths_do_not_matter_and_nothing_gives_zero():
    g = torch.Generator().manual_seed(1)
    a, b = torch.randn(4, 3, generator=g), torch.randn(4, 3, generator=g)
    torch.testing.assert_close(contrastive_loss(a, b), contrastive_loss(3 * a, 0.1 * b))
    assert contrastive_loss(a[:0], b[:0]).item() == 0
    assert contrastive_loss(a, a, 0.01).item() < 0.1 < contrastive_loss(a, a.flip(0), 0.01).item()
