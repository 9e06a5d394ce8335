"""Hierarchical graph fusion of the modalities' codes at every location; the modalities are merged.

Source: Mai, Hu and Xing, "Modality to Modality Translation: An Adversarial Representation Learning and Graph Fusion
Network for Multimodal Fusion" (ARGF, AAAI 2020), as the released code has it; that code has no licence, written anew.
There one vector a sample is fused and classified, here the vector of every location of every stage, whose readout gives
the decoder the stage's channels. The cosine, any number of modalities but three, and subsets are ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgbx._text import one_of
from rgbx.fusion.base import FusionMethod, fusion_method
from rgbx.layers import StackLayout, split_modalities
from rgbx.layers.codes import Codes

SIMILARITIES = ("literal", "cosine")
HIDDEN, SLOPE = 64, 0.2  # of what makes a vertex of two
LEVELS, MOST_WIDTH = 3, 2**12


class Vertex(NamedTuple):
    """A vertex of the graph at every location.

    Attributes:
        value: [N, d, h, w].
        about: what its similarity to others is of, [N, d, h, w].
        strength: [N, 1, h, w].
    """

    value: Tensor
    about: Tensor
    strength: Tensor


class Fused(NamedTuple):
    """What a graph makes of codes.

    Attributes:
        vector: [U; B; T], as far as the graph has levels, [N, levels * d, h, w].
        weights: s of each modality, then ŵ of the edges of each level in order, [N, edges, h, w].
    """

    vector: Tensor
    weights: Tensor


class CodeGraph(nn.Module):
    """The graph of the codes e_i of M modalities, which knows no modality by name.

    1. s_i = σ(a·e_i); U = (1/M) Σ s_i e_i.
    2. Every pair: strength r_ij = (s_i + s_j) / (similarity(e_i, e_j) + 1/2), ŵ = softmax of r over all pairs,
       m_ij = g_1[e_i; e_j], vertex v_ij = ELU(ŵ_ij m_ij); B = Σ v_ij.
    3. Every two pairs that share a modality, and every pair with each modality outside it, in the same way with g_2,
       one softmax over all; the strength of a pair is its r before the softmax, and its similarity is that of m_ij. T
       is the sum of these vertices.

    So T joins three modalities, of M > 3 all that are three of these; what joins four or more has no equation and is
    left out. Of fewer codes than the graph was made for, the sums run over what there is: with two there is one pair
    of weight 1 and T = 0, with one B = 0 as well.

    Args:
        width: d.
        count: of the modalities, M. A graph for two has no third level and one for one only the first.
        similarity: ``"literal"``: ⟨softmax e_i, softmax e_j⟩ over the d entries, which on tanh codes of 100 entries is
            all but constant; ``"cosine"``: (1 + cos(e_i, e_j)) / 2.
        hidden: channels inside g_1 and g_2.
    """

    def __init__(self, width: int, count: int, similarity: str = "literal", hidden: int = HIDDEN) -> None:
        super().__init__()
        self.similarity, self.levels = similarity, min(count, LEVELS)
        self.attention = nn.Conv2d(width, 1, 1)
        self.mix = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * width, hidden, 1), nn.LeakyReLU(SLOPE), nn.Conv2d(hidden, width, 1), nn.Tanh())
            for _ in range(self.levels - 1)
        )

    def forward(
        self,
        codes: Sequence[Tensor],  # [N, d, h, w] each
    ) -> Fused:
        """Fuses the codes of the modalities present, in declared order."""
        singles = [Vertex(code, self._about(code), self.attention(code).sigmoid()) for code in codes]
        sums = [torch.stack([v.strength * v.value for v in singles]).mean(0)]
        weights = [vertex.strength for vertex in singles]
        pairs = dict(enumerate(itertools.combinations(range(len(codes)), 2)))
        vertices: list[Vertex] = []
        for level in range(1, self.levels):
            if level == 1:
                edges = [(singles[i], singles[j]) for i, j in pairs.values()]
            else:
                edges = _second_level(singles, dict(zip(pairs.values(), vertices, strict=True)))
            if edges:
                vertices, shares = self._joined(edges, self.mix[level - 1])
                sums.append(torch.stack([vertex.value for vertex in vertices]).sum(0))
                weights.append(shares)
            else:
                vertices = []
                sums.append(torch.zeros_like(sums[0]))
        return Fused(torch.cat(sums, 1), torch.cat(weights, 1))

    def _joined(self, edges: Sequence[tuple[Vertex, Vertex]], mix: nn.Module) -> tuple[list[Vertex], Tensor]:
        """The vertex of each edge, and the edges' weights [N, edges, h, w]."""
        strengths = [(a.strength + b.strength) / (self._similarity(a, b) + 0.5) for a, b in edges]
        shares = torch.cat(strengths, 1).softmax(1)
        mixed = mix(torch.cat([torch.cat([a.value, b.value], 1) for a, b in edges]))
        parts = mixed.split([mixed.shape[0] // len(edges)] * len(edges))  # unlike chunks, these let N be dynamic
        values = [F.elu(share * part) for share, part in zip(shares.split(1, 1), parts, strict=True)]
        found = zip(values, parts, strengths, strict=True)
        return [Vertex(value, self._about(part), strength) for value, part, strength in found], shares

    def _about(
        self,
        x: Tensor,  # [N, d, h, w]
    ) -> Tensor:
        return F.normalize(x, dim=1) if self.similarity == "cosine" else x.softmax(1)

    def _similarity(self, a: Vertex, b: Vertex) -> Tensor:
        product = (a.about * b.about).sum(1, keepdim=True)
        return (1 + product) / 2 if self.similarity == "cosine" else product


def _second_level(singles: Sequence[Vertex], pairs: dict[tuple[int, int], Vertex]) -> list[tuple[Vertex, Vertex]]:
    """Of all modalities i < j < k the edges between pairs, then those of a pair and the third; of two, none.

    Their order is that of the authors for three.
    """
    triples = list(itertools.combinations(range(len(singles)), 3))
    edges = []
    for i, j, k in triples:
        ij, ik, jk = pairs[i, j], pairs[i, k], pairs[j, k]
        edges += [(ij, jk), (ij, ik), (jk, ik)]
    for i, j, k in triples:
        edges += [(pairs[i, j], singles[k]), (pairs[i, k], singles[j]), (pairs[j, k], singles[i])]
    return edges


def graph_readout(width: int, hidden: int, channels: int) -> nn.Sequential:
    """[U; B; T] of `width` channels to an output: norm, two layers with tanh, and one without."""
    return nn.Sequential(
        nn.BatchNorm2d(width),
        nn.Conv2d(width, hidden, 1),
        nn.Tanh(),
        nn.Conv2d(hidden, hidden, 1),
        nn.Tanh(),
        nn.Conv2d(hidden, channels, 1),
    )


class GraphMerge(nn.Module):
    """Codes, graph and readout at each chosen stage; at the others the mean of the modalities."""

    def __init__(
        self, channels: Sequence[int], stages: Sequence[int], layout: StackLayout, width: int, similarity: str
    ) -> None:
        super().__init__()
        self.layout, count = layout, len(layout.modalities)
        self.codes = nn.ModuleDict({f"{i}": Codes(channels[i - 1], layout, width, decoding=False) for i in stages})
        self.graphs = nn.ModuleDict({f"{i}": CodeGraph(width, count, similarity) for i in stages})
        whole = min(count, LEVELS) * width
        self.readouts = nn.ModuleDict({f"{i}": graph_readout(whole, whole, channels[i - 1]) for i in stages})

    def forward(
        self,
        features: Sequence[Tensor],  # [M*N, C_i, h_i, w_i]
    ) -> list[Tensor]:
        """Stage stacks [M*N, C_i, h_i, w_i] to maps [N, C_i, h_i, w_i]."""
        return [self._merged(f"{number}", x) for number, x in enumerate(features, 1)]

    def _merged(
        self,
        stage: str,
        x: Tensor,  # [M*N, C, h, w]
    ) -> Tensor:
        if stage not in self.codes:
            return torch.stack(list(split_modalities(x, self.layout).values())).mean(0)
        codes = self.codes[stage]
        assert isinstance(codes, Codes)
        assert codes.encode is not None
        found = codes.encode(x)
        fused = self.graphs[stage](
            list(split_modalities(found if codes.joint else found.detach(), self.layout).values())
        )
        merged: Tensor = self.readouts[stage](fused.vector)
        return merged


@fusion_method("graph")
@dataclass(frozen=True, kw_only=True)
class GraphFusion(FusionMethod):
    """Hierarchical graph fusion of codes: what the modalities, pairs and triples of them say, as one prediction.

    An encoder of each modality leads to codes in one space, `CodeGraph` fuses these, and a readout gives the decoder
    its channels. Beneath, the modalities exchange nothing. The objective `modality_translation` works on these codes.

    With two modalities there is no graph: one pair has the weight 1 whatever its strength, and no second level. What
    is left is [U; B], and `similarity`, which would change nothing, is refused. Any subset may be present.

    Attributes:
        width: d of the codes.
        similarity: of three modalities and more, ``"literal"`` or ``"cosine"``, see `CodeGraph`; None for literal.
    """

    width: int = 64
    similarity: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.width) is not int or not 1 <= self.width <= MOST_WIDTH:
            raise ValueError(f"fusion field width is {self.width!r}; expected 1 to {MOST_WIDTH}")
        if self.similarity not in (None, *SIMILARITIES):
            known = one_of(SIMILARITIES, self.similarity)
            raise ValueError(f"fusion field similarity is {self.similarity!r}; expected None or one of {known}")

    def merge_features(self, channels: Sequence[int], layout: StackLayout) -> nn.Module | None:
        """Merges all stages; those that are not chosen by their mean."""
        if self.similarity is not None and len(layout.modalities) < LEVELS:
            raise ValueError(
                f"fusion field similarity is {self.similarity!r}, but with {list(layout.modalities)} there is no "
                "graph: one pair has the weight 1 whatever it is; leave similarity out, or have three modalities"
            )
        stages = self.chosen(len(channels), "backbone")
        return GraphMerge(channels, stages, layout, self.width, self.similarity or SIMILARITIES[0])
