"""Exclusive and agnostic codes of the modalities: what each alone says, and what all say alike.

Source: Yang et al., "Learning Modality-Exclusive and Modality-Agnostic Representations for Multimodal Asynchronous
Streams" (MEA, 2024): codes, the Hilbert-Schmidt independence criterion between them, the double discriminator and the
decoupled graph fusion. No code was released; written from the equations. Ours: the discriminator that only weighs is
trained, see `DoubleDiscriminator`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgbx.layers.reversal import reverse_gradient


class PooledEncoder(nn.Module):
    """W2 GELU(W1 x): a pooled vector to a code."""

    def __init__(self, width: int, code: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, code), nn.Linear(code, code)

    def forward(
        self,
        x: Tensor,  # [N, d]
    ) -> Tensor:
        """[N, d] to [N, code]."""
        return self.second(F.gelu(self.first(x)))


class ExclusiveAgnostic(NamedTuple):
    """Codes of the modalities present, {name: [N, code]} of each kind."""

    exclusive: dict[str, Tensor]
    agnostic: dict[str, Tensor]


class PooledEncoders(nn.Module):
    """An encoder per modality for its exclusive code, and one for the agnostic codes of all.

    Args:
        names: of the modalities.
        width: of the pooled vectors.
        code: width of the codes.
    """

    def __init__(self, names: Sequence[str], width: int, code: int) -> None:
        super().__init__()
        self.copies = nn.ModuleDict({name: PooledEncoder(width, code) for name in names})
        self.agnostic = PooledEncoder(width, code)

    def forward(
        self,
        own: Mapping[str, Tensor],  # [N, d] each
        joint: Mapping[str, Tensor],  # [N, d] each
    ) -> ExclusiveAgnostic:
        """The codes of the modalities present.

        Args:
            own: pooled vectors for the exclusive codes.
            joint: pooled vectors for the agnostic codes.
        """
        return ExclusiveAgnostic(
            {name: self.copies[name](x) for name, x in own.items()},
            {name: self.agnostic(x) for name, x in joint.items()},
        )


def hsic(
    a: Tensor,  # [N, c]
    b: Tensor,  # [N, e]
) -> Tensor:
    """The Hilbert-Schmidt independence criterion with linear kernels, a scalar: 0 where the codes do not covary.

    tr(U K_a U K_b) / (N − 1)² with K the inner products of samples and U = I − 1/N, which is the squared norm of the
    covariance of both, ‖(U a)ᵀ U b‖² / (N − 1)². Of one sample it is 0.
    """
    a, b = (x - x.mean(0) for x in (a, b))
    return (a.T @ b).square().sum() / max(len(a) - 1, 1) ** 2


class DoubleDiscriminator(nn.Module):
    """One classifier of modalities that agnostic codes are to mislead and exclusive codes to help.

    On agnostic codes its gradient turns round where it reaches them, and each sample counts by ω = 1 − D(h)[m], D being
    a second classifier, so that those count least that are told best. Reversal by one loss stands for the adversarial
    game. On exclusive codes it is an ordinary classifier, without ω.

    ω is constant in the gradient, so that D, by the equations alone, would never be trained. Here D learns by a
    cross-entropy of its own on codes without gradient (`importance_loss`), as in Zhang et al., "Importance Weighted
    Adversarial Nets for Partial Domain Adaptation" (CVPR 2018), from which ω comes, and as there ω is scaled to a fixed
    mean (here 1 − 1/M, what it is where D knows nothing): unscaled, a D that tells all codes ends the game.

    Args:
        names: of all M modalities.
        code: width of the codes.
    """

    def __init__(self, names: Sequence[str], code: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.importance = nn.Linear(code, len(self.names), bias=False)
        self.modality = nn.Linear(code, len(self.names))

    def weights(
        self,
        agnostic: Mapping[str, Tensor],  # [N, code] each
    ) -> dict[str, Tensor]:
        """ω of each sample, {name: [N]}, without a gradient: the share of the other modalities in D."""
        others = 1 - torch.eye(len(self.names), device=self.importance.weight.device)
        return {
            name: (self.importance(h).softmax(-1).detach() * others[self.names.index(name)].to(h.dtype)).sum(-1)
            for name, h in agnostic.items()
        }

    def losses(
        self,
        exclusive: Mapping[str, Tensor],  # [N, code] each
        agnostic: Mapping[str, Tensor],  # [N, code] each
    ) -> Tensor:
        """The sum of the three losses below, that of agnostic codes with scaled weights; a scalar."""
        own = self.exclusive_loss(exclusive) + self.importance_loss(agnostic)
        return own + self.agnostic_loss(agnostic, scaled=True)

    def agnostic_loss(
        self,
        agnostic: Mapping[str, Tensor],  # [N, code] each
        *,
        scaled: bool = False,
    ) -> Tensor:
        """−(1/N) Σ_m Σ_n ω log p(m | h), a scalar, whose gradient reaches the codes turned round.

        Args:
            agnostic: codes of the modalities present.
            scaled: scales ω to a mean of 1 − 1/M over all samples.
        """
        weights = self.weights(agnostic)
        if scaled:
            mean = torch.stack(list(weights.values())).mean().clamp(min=1e-30)
            weights = {name: (1 - 1 / len(self.names)) * w / mean for name, w in weights.items()}
        told = {name: self._told(name, reverse_gradient(h)) for name, h in agnostic.items()}
        return torch.stack([-(weights[name] * x).mean() for name, x in told.items()]).sum()

    def exclusive_loss(
        self,
        exclusive: Mapping[str, Tensor],  # [N, code] each
    ) -> Tensor:
        """−(1/N) Σ_m Σ_n log p(m | h), a scalar."""
        return torch.stack([-self._told(name, h).mean() for name, h in exclusive.items()]).sum()

    def importance_loss(
        self,
        agnostic: Mapping[str, Tensor],  # [N, code] each
    ) -> Tensor:
        """The cross-entropy of D, a scalar, which trains nothing else."""
        told = {
            name: self.importance(h.detach()).log_softmax(-1)[:, self.names.index(name)] for name, h in agnostic.items()
        }
        return torch.stack([-x.mean() for x in told.values()]).sum()

    def _told(
        self,
        name: str,
        h: Tensor,  # [N, code]
    ) -> Tensor:
        """log p(m | h), [N]."""
        return self.modality(h).log_softmax(-1)[:, self.names.index(name)]


class DecoupledGraph(nn.Module):
    """Fuses the codes of one kind: modalities are the nodes of a graph.

    w_j = W h_j; δ_ij = score [w_i; w_j]; ξ_i = softmax over the neighbours j of GELU(δ_ij); the fused code is
    Σ_i σ(Σ_j ξ_ij w_j).

    Args:
        code: width of the codes.
        own_neighbour: whether a node is its own neighbour, which the paper leaves open. A node alone always is.
    """

    def __init__(self, code: int, *, own_neighbour: bool = True) -> None:
        super().__init__()
        self.own_neighbour = own_neighbour
        self.project, self.score = nn.Linear(code, code, bias=False), nn.Linear(2 * code, 1)

    def forward(
        self,
        codes: Sequence[Tensor],  # M times [N, code]
    ) -> Tensor:
        """The fused code, [N, code]."""
        nodes = self.project(torch.stack(list(codes), 1))  # [N, M, code]
        return (self.attention(nodes).to(nodes.dtype) @ nodes).sigmoid().sum(1)

    def attention(
        self,
        nodes: Tensor,  # [N, M, code], projected
    ) -> Tensor:
        """ξ [N, M, M], of node i (first) its attention to j."""
        count = nodes.shape[1]
        pairs = [nodes[:, :, None].expand(-1, -1, count, -1), nodes[:, None].expand(-1, count, -1, -1)]
        strength = F.gelu(self.score(torch.cat(pairs, -1)))[..., 0]
        if not self.own_neighbour and count > 1:
            own = torch.eye(count, dtype=torch.bool, device=nodes.device)
            strength = strength.masked_fill(own, -torch.inf)
        return strength.softmax(-1)
