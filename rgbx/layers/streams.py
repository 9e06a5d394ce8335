"""Attention within and across token sequences of several modalities, whose lengths and instants differ.

Source: Yang et al., "Learning Modality-Exclusive and Modality-Agnostic Representations for Multimodal Asynchronous
Streams" (MEA, 2024): predictive self-attention, hierarchical cross-modal attention, weighted attention. No code was
released; written from the equations. As there, logits are scaled by √d of all heads together, and the residual is the
normalised input. Ours differ: attention of the predictive chain is a mixture of two distributions by default, and
the weights of weighted attention come from pooled tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from rgbx._text import one_of

FORMS = ("renormalised", "literal")
MU = 0.25


class FeedForward(nn.Module):
    """W2 GELU(W1 x), twice as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(
        self,
        x: Tensor,  # [..., d]
    ) -> Tensor:
        """[..., d] to the same."""
        return self.second(nn.functional.gelu(self.first(x)))


class PredictiveAttention(nn.Module):
    """One layer of predictive self-attention.

    With u = LN(z) and A = q kᵀ / √d, attention is softmax A in the first layer. A layer that `follows` another one
    predicts its attention from the logits of that one, P = GELU(conv3×3), with heads as channels, and attends by
    μ softmax P + (1 − μ) softmax A (``"renormalised"``), or by softmax(μ P + (1 − μ) softmax A) (``"literal"``), which
    is nearly uniform, as all that it exponentiates lies within about 0 and 1. Then r = u + attention · v and the output
    is r + FFN(LN r).

    Args:
        width: d.
        heads: that share d.
        follows: whether there is a layer before.
        form: see above.
        mu: μ, how much of the attention is predicted.

    Raises:
        ValueError: heads that do not divide the width, another form, or a μ outside 0..1.
    """

    def __init__(
        self, width: int, heads: int, *, follows: bool = True, form: str = "renormalised", mu: float = MU
    ) -> None:
        super().__init__()
        check_heads(width, heads)
        if form not in FORMS:
            raise ValueError(f"attention is {form!r}; expected one of {one_of(FORMS, form)}")
        if not 0 <= mu <= 1:
            raise ValueError(f"mu is {mu}; expected 0 to 1")
        self.heads, self.form, self.mu = heads, form, mu
        self.norm, self.norm_out = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.predict = nn.Conv2d(heads, heads, 3, padding=1) if follows else None
        self.feed_forward = FeedForward(width)

    def forward(
        self,
        z: Tensor,  # [B, T, d]
        previous: Tensor | None = None,  # [B, heads, T, T]
    ) -> tuple[Tensor, Tensor]:
        """Tokens [B, T, d] and the logits A [B, heads, T, T], for the next layer, given those of the layer before."""
        u = self.norm(z)
        logits = _logits(self.query(u), self.key(u), self.heads)
        r = u + _attend(self.attention(logits, previous), self.value(u))
        return r + self.feed_forward(self.norm_out(r)), logits

    def attention(
        self,
        logits: Tensor,  # [B, heads, T, T]
        previous: Tensor | None = None,  # [B, heads, T, T]
    ) -> Tensor:
        """Who attends whom, [B, heads, T, T]; rows sum to 1."""
        own = logits.softmax(-1)
        if self.predict is None or previous is None:
            return own
        predicted = nn.functional.gelu(self.predict(previous))
        if self.form == "literal":
            return (self.mu * predicted + (1 - self.mu) * own).softmax(-1)
        return self.mu * predicted.softmax(-1) + (1 - self.mu) * own


class PredictiveChain(nn.Module):
    """Layers of `PredictiveAttention`, each of which predicts from the one before; all arguments are theirs."""

    def __init__(self, width: int, heads: int, layers: int, form: str = "renormalised", mu: float = MU) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            PredictiveAttention(width, heads, follows=i > 0, form=form, mu=mu) for i in range(layers)
        )

    def forward(
        self,
        z: Tensor,  # [B, T, d]
    ) -> Tensor:
        """[B, T, d] to the same."""
        logits = None
        for layer in self.layers:
            z, logits = layer(z, logits)
        return z


class CrossAttention(nn.Module):
    """MRU: a target's tokens take in what they attend in a source, whatever the number of its tokens.

    r = LN(target) + softmax(q kᵀ / √d) v with q of LN(target), k and v of LN(source), and the output r + FFN(LN r).

    Args:
        width: d.
        heads: that share d; the paper's equations have one.
    """

    def __init__(self, width: int, heads: int = 1) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.norm_source, self.norm_target, self.norm_out = (nn.LayerNorm(width) for _ in range(3))
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.feed_forward = FeedForward(width)

    def forward(
        self,
        source: Tensor,  # [B, S, d]
        target: Tensor,  # [B, T, d]
    ) -> Tensor:
        """The target's tokens, [B, T, d]."""
        r = self.norm_target(target) + _attend(self.attention(source, target), self.value(self.norm_source(source)))
        return r + self.feed_forward(self.norm_out(r))

    def attention(
        self,
        source: Tensor,  # [B, S, d]
        target: Tensor,  # [B, T, d]
    ) -> Tensor:
        """Which of the source's tokens each of the target's attends, [B, heads, T, S]; rows sum to 1."""
        query, key = self.query(self.norm_target(target)), self.key(self.norm_source(source))
        return _logits(query, key, self.heads).softmax(-1)


class Hierarchy(nn.Module):
    """Hierarchical cross-modal attention towards one modality, by three kinds of `CrossAttention` (MRU).

    mixed = MRU([all], target); coarse = MRU([others], mixed); fine = Σ_others MRU_k(k, coarse). Given one other
    modality alone, coarse and fine read the same source. Without others the target's tokens pass as they are.

    Args:
        others: names of the modalities that the target may receive from.
        width: d.
        heads: of each attention.
    """

    def __init__(self, others: Sequence[str], width: int, heads: int = 1) -> None:
        super().__init__()
        self.mixed, self.coarse = CrossAttention(width, heads), CrossAttention(width, heads)
        self.fine = nn.ModuleDict({name: CrossAttention(width, heads) for name in others})

    def forward(
        self,
        sources: Mapping[str, Tensor],  # [B, S_m, d] each
        name: str,
        target: Tensor,  # [B, T, d]
    ) -> Tensor:
        """The target's tokens, [B, T, d].

        Args:
            sources: of all modalities present, the target's own among them, in declared order.
            name: of the target.
            target: its tokens.
        """
        others = {key: tokens for key, tokens in sources.items() if key != name}
        if not others:
            return target
        mixed = self.mixed(torch.cat(list(sources.values()), 1), target)
        coarse = self.coarse(torch.cat(list(others.values()), 1), mixed)
        return torch.stack([self.fine[key](tokens, coarse) for key, tokens in others.items()]).sum(0)


class ModalityWeights(nn.Module):
    """Weighted attention over modalities: z_m becomes M α_m ⊙ z_m, α [M, d] being a softmax over those present.

    The logits of α_m are W_m of the mean of z_m over its tokens, d² weights each. The paper has a weight for every
    element of all tokens, (T d)² weights each, and no factor M. At first all weights are 1.

    Args:
        names: of the modalities.
        width: d.
    """

    def __init__(self, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.copies = nn.ModuleDict({name: nn.Linear(width, width) for name in names})
        for layer in self.copies.values():
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self,
        tokens: Mapping[str, Tensor],  # [B, T_m, d] each
    ) -> dict[str, Tensor]:
        """The tokens of the modalities present, weighted, of the shapes given."""
        logits = torch.stack([self.copies[name](z.mean(1)) for name, z in tokens.items()])  # [M, B, d]
        weights = len(tokens) * logits.softmax(0)
        return {name: w[:, None] * z for w, (name, z) in zip(weights, tokens.items(), strict=True)}


def check_heads(width: int, heads: int) -> None:
    """Refuses heads that do not share a width.

    Raises:
        ValueError: naming both.
    """
    if heads < 1 or width < 1 or width % heads:
        raise ValueError(f"{heads} heads cannot share a width of {width}; expected heads that divide it")


def _logits(
    query: Tensor,  # [B, T, d]
    key: Tensor,  # [B, S, d]
    heads: int,
) -> Tensor:
    """q kᵀ / √d of each head, [B, heads, T, S]; d is the width of all heads together, as in the paper."""
    q, k = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key))
    return q * query.shape[-1] ** -0.5 @ k.transpose(-1, -2)


def _attend(
    attention: Tensor,  # [B, heads, T, S]
    value: Tensor,  # [B, S, d]
) -> Tensor:
    """The heads' means of the values, joined, [B, T, d]."""
    values = value.unflatten(-1, (attention.shape[1], -1)).transpose(1, 2)  # [B, heads, S, d / heads]
    return (attention.to(values.dtype) @ values).transpose(1, 2).flatten(2)
