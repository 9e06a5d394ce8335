"""Retrieval: how far up a ranking the items stand that a query asks for.

Of equally similar items those that are not relevant come first, so that codes which collapse to one gain nothing, and
the order of the items never matters. Queries that nothing is relevant for have no score: theirs are NaN.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

BLOCK = 2**22  # pairs of a query and an item that are ranked together, some 50 bytes each


def rank(
    similarity: Tensor,  # [Q, G]
    relevant: Tensor,  # bool [Q, G]
) -> Tensor:
    """Whether the item at each place of a query's ranking is relevant, bool [Q, G], the most similar one first.

    Raises:
        ValueError: shapes that differ, or a similarity that is not finite.
    """
    if similarity.shape != relevant.shape or similarity.ndim != 2:
        raise ValueError(
            f"similarity is {list(similarity.shape)}, relevant {list(relevant.shape)}; expected [Q, G] of both"
        )
    if not similarity.isfinite().all():
        raise ValueError("similarities are NaN or infinite; nothing can be ranked by them")
    order = relevant.to(torch.uint8).argsort(dim=1, stable=True)
    order = order.gather(1, similarity.gather(1, order).argsort(dim=1, descending=True, stable=True))
    return relevant.bool().gather(1, order)


def average_precision(
    ranked: Tensor,  # bool [Q, G], see `rank`
) -> Tensor:
    """Mean over a query's relevant items of the share of relevant ones down to their place, float64 [Q]."""
    hits = ranked.double()
    places = torch.arange(1, ranked.shape[1] + 1, device=ranked.device)
    return (hits.cumsum(1) / places * hits).sum(1) / _or_nan(hits.sum(1))


def recall_at(
    ranked: Tensor,  # bool [Q, G], see `rank`
    k: int,
) -> Tensor:
    """1 where a relevant item is among the first k, else 0, float64 [Q]."""
    return ranked[:, :k].any(1).double().where(ranked.any(1), torch.nan)


def reciprocal_rank(
    ranked: Tensor,  # bool [Q, G], see `rank`
) -> Tensor:
    """One divided by the place, from 1 on, of the first relevant item, float64 [Q]."""
    first = ranked.to(torch.uint8).argmax(1) if ranked.shape[1] else ranked.new_zeros(len(ranked))
    return (1 / (first.double() + 1)).where(ranked.any(1), torch.nan)


def chance_precision(
    relevant: Tensor,  # [Q], how many items are relevant
    items: int,
) -> Tensor:
    """`average_precision` that rankings drawn at random have in the mean, float64 [Q].

    With R of G items relevant it is (H + (R - 1) / (G - 1) · (G - H)) / G, where H is the Gth harmonic number.
    """
    count = relevant.double()
    harmonic = (1 / torch.arange(1, items + 1, dtype=torch.float64, device=relevant.device)).sum()
    others = (count - 1) / max(items - 1, 1)
    return ((harmonic + others * (items - harmonic)) / max(items, 1)).where(count > 0, torch.nan)


def pair_auc(
    scores: Tensor,  # [n]
    positive: Tensor,  # bool [n]
) -> Tensor:
    """The chance that a pair that belongs together scores above one that does not, ties half, float64 []; or NaN."""
    own, foreign = scores[positive.bool()].double(), scores[~positive.bool()].double().sort().values
    if not len(own) or not len(foreign):
        return torch.tensor(torch.nan, dtype=torch.float64)
    below, upto = (torch.searchsorted(foreign, own, right=right).double() for right in (False, True))
    return ((below + upto) / 2).mean().cpu() / len(foreign)


def retrieval_scores(
    similarity: Tensor,  # [Q, G]
    relevant: Tensor,  # bool [Q, G]
    ks: tuple[int, ...] = (1, 5, 10),
) -> Mapping[str, Tensor]:
    """``mAP``, ``recall@k``, ``MRR`` and the ``chance`` of mAP of each query, float64 [Q]; see the functions above.

    The scores of a set of queries are the means of those that are not NaN.
    """
    ranked = rank(similarity, relevant)
    return {
        "mAP": average_precision(ranked),
        **{f"recall@{k}": recall_at(ranked, k) for k in ks},
        "MRR": reciprocal_rank(ranked),
        "chance": chance_precision(ranked.sum(1), ranked.shape[1]),
    }


def search_scores(
    queries: Tensor,  # [Q, D]
    items: Tensor,  # [G, D]
    asked: Tensor,  # int64 [Q]
    labels: Tensor,  # int64 [G]
    *,
    alone: bool = False,
) -> Mapping[str, Tensor]:
    """`retrieval_scores` of codes by their inner products; relevant to a query are the items of its label.

    As many queries are ranked together as `BLOCK` pairs allow, so that memory does not grow with their number.

    Args:
        queries: codes.
        items: codes of the same length.
        asked: a label of each query.
        labels: of each item.
        alone: whether the items are the queries, of which none is searched for itself.
    """
    blocks = []
    for rows in torch.arange(len(queries)).split(max(1, BLOCK // max(len(items), 1))):
        similarity, relevant = queries[rows] @ items.T, asked[rows][:, None] == labels
        if alone:
            keep = torch.arange(len(items)) != rows[:, None]
            similarity, relevant = (x[keep].view(len(rows), -1) for x in (similarity, relevant))
        blocks.append(retrieval_scores(similarity, relevant))
    return {key: torch.cat([block[key] for block in blocks]) for key in blocks[0]}


def _or_nan(
    count: Tensor,  # [Q]
) -> Tensor:
    return count.where(count > 0, torch.nan)
