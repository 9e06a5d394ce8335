"""Retrieval scores against naive loops, sklearn where it is there, all rankings, and reference answers."""

import itertools
import math

import pytest
import torch

from rgbx.metrics import (
    average_precision,
    chance_precision,
    pair_auc,
    rank,
    recall_at,
    reciprocal_rank,
    retrieval,
    retrieval_scores,
    search_scores,
)


def drawn(seed=0, queries=7, items=23, levels=0):
    g = torch.Generator().manual_seed(seed)
    similarity = torch.randn(queries, items, generator=g)
    if levels:
        similarity = torch.randint(0, levels, (queries, items), generator=g).float()
    relevant = torch.rand(queries, items, generator=g) < 0.25
    relevant[0] = False
    return similarity, relevant


def naive(similarity, relevant):
    """AP, reciprocal rank and place of the first hit of one query, by counting."""
    items = sorted(zip(similarity, relevant, strict=True), key=lambda item: (-item[0], item[1]))
    hits, precisions, first = 0, [], None
    for place, (_, right) in enumerate(items, 1):
        if right:
            hits += 1
            precisions.append(hits / place)
            first = first or place
    return (sum(precisions) / hits, 1 / first, first) if hits else (math.nan, math.nan, None)


@pytest.mark.parametrize("levels", [0, 3])
def test_naive_loop(levels):
    similarity, relevant = drawn(levels=levels)
    found = retrieval_scores(similarity, relevant)
    for i, (row, right) in enumerate(zip(similarity.tolist(), relevant.tolist(), strict=True)):
        precision, reciprocal, first = naive(row, right)
        assert found["mAP"][i].item() == pytest.approx(precision, nan_ok=True)
        assert found["MRR"][i].item() == pytest.approx(reciprocal, nan_ok=True)
        for k in (1, 5, 10):
            expected = math.nan if first is None else float(first <= k)
            assert found[f"recall@{k}"][i].item() == pytest.approx(expected, nan_ok=True)


def test_as_sklearn():
    metrics = pytest.importorskip("sklearn.metrics", reason="no scikit-learn to compare with")
    similarity, relevant = drawn(1)
    found = average_precision(rank(similarity, relevant))
    for i in range(1, len(found)):
        expected = metrics.average_precision_score(relevant[i].numpy(), similarity[i].numpy())
        assert found[i].item() == pytest.approx(expected)
    expected = metrics.roc_auc_score(relevant[1:].numpy().ravel(), similarity[1:].numpy().ravel())
    assert pair_auc(similarity[1:].flatten(), relevant[1:].flatten()).item() == pytest.approx(expected)


def test_ties_do_not_help_and_order_does_not_matter():
    relevant = torch.tensor([[True, False, False, True]])
    ranked = rank(torch.zeros(1, 4), relevant)
    assert ranked.tolist() == [[False, False, True, True]]
    similarity, relevant = drawn(2, levels=2)
    order = torch.randperm(relevant.shape[1], generator=torch.Generator().manual_seed(0))
    moved = retrieval_scores(similarity[:, order], relevant[:, order])
    for name, values in retrieval_scores(similarity, relevant).items():
        torch.testing.assert_close(moved[name], values, equal_nan=True, msg=name)


@pytest.mark.parametrize(("items", "count"), [(1, 1), (5, 1), (5, 2), (6, 5), (6, 6)])
def test_chance_is_the_mean_of_all_rankings(items, count):
    places = list(itertools.combinations(range(items), count))
    rankings = torch.zeros(len(places), items, dtype=torch.bool)
    for row, chosen in enumerate(places):
        rankings[row, list(chosen)] = True
    expected = average_precision(rankings).mean()
    torch.testing.assert_close(chance_precision(torch.tensor([count]), items)[0], expected)
    assert chance_precision(torch.tensor([0]), items).isnan().all()


def test_auc_counts_pairs():
    g = torch.Generator().manual_seed(3)
    scores, positive = torch.randint(0, 6, (40,), generator=g).float(), torch.rand(40, generator=g) < 0.3
    won = [
        (a > b) + (a == b) / 2
        for a, right in zip(scores.tolist(), positive.tolist(), strict=True)
        if right
        for b, other in zip(scores.tolist(), positive.tolist(), strict=True)
        if not other
    ]
    assert pair_auc(scores, positive).item() == pytest.approx(sum(won) / len(won))
    assert pair_auc(scores, torch.ones(40, dtype=torch.bool)).isnan()


def test_reference_answers(companion):
    answers = companion("cmgans").answers
    label = torch.from_numpy(answers["input/labels"])
    same = label[:, None] == label
    for mode in ("train", "eval"):
        cosine = torch.from_numpy(answers[f"{mode}/cosine"])
        for key, x, relevant in (("image_to_text", cosine, same), ("text_to_image", cosine.T, same.T)):
            found = average_precision(rank(x, relevant)).nanmean()
            assert found.item() == pytest.approx(answers[f"{mode}/map_{key}"].item(), abs=1e-6)


def test_errors_name_what_was_found():
    with pytest.raises(ValueError, match=r"similarity is \[2, 3\], relevant \[2, 2\]"):
        rank(torch.zeros(2, 3), torch.zeros(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="NaN or infinite"):
        rank(torch.full((1, 2), torch.nan), torch.ones(1, 2, dtype=torch.bool))
    empty = torch.zeros(2, 0, dtype=torch.bool)
    assert recall_at(empty, 1).isnan().all() and reciprocal_rank(empty).isnan().all()


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("block", [1, 40, 2**22])
def test_scores_of_a_search_in_blocks(alone, block, monkeypatch):
    monkeypatch.setattr(retrieval, "BLOCK", block)
    g = torch.Generator().manual_seed(4)
    items, labels = torch.randn(23, 5, generator=g), torch.randint(0, 4, (23,), generator=g)
    queries, asked = (items, labels) if alone else (torch.randn(7, 5, generator=g), torch.arange(7))
    found = search_scores(queries, items, asked, labels, alone=alone)
    for i, query in enumerate(queries):
        kept = [j for j in range(23) if not (alone and j == i)]
        cosine = [float(query @ items[j]) for j in kept]
        precision, reciprocal, _ = naive(cosine, [bool(labels[j] == asked[i]) for j in kept])
        assert found["mAP"][i].item() == pytest.approx(precision, nan_ok=True)
        assert found["MRR"][i].item() == pytest.approx(reciprocal, nan_ok=True)
