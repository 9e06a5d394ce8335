"""Token exchange against loops over locations, with made and with computed scores."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rgbx.backbones._timm import timm
from rgbx.fusion import build_fusion
from rgbx.fusion.token_exchange import TokenExchange, TokenExchangeOutput
from rgbx.layers import StackLayout, owner, replace_norms

resnet = timm.models.resnet
NAMES = ("rgb", "depth", "ir")


class MadeScore(nn.Module):
    """Gives the scores it is told to."""

    def __init__(self, score):
        super().__init__()
        self.score = score

    def forward(self, x):
        return self.score


def exchange_loop(branch, score, threshold):
    """The rule, location by location; [M, N, C, H, W] and [M, N, 1, H, W]."""
    out = torch.empty_like(branch)
    modalities, batch, _, height, width = branch.shape
    for m in range(modalities):
        for n in range(batch):
            for i in range(height):
                for j in range(width):
                    scored = [score[k, n, 0, i, j] * branch[k, n, :, i, j] for k in range(modalities)]
                    others = [v for k, v in enumerate(scored) if k != m]
                    low = score[m, n, 0, i, j] < threshold
                    out[m, n, :, i, j] = sum(others) / len(others) if low else scored[m]
    return out


def score_of(module, name, x):
    """Layer norm over channels, 1×1, GELU, 1×1, sigmoid."""
    norm, first, _, last, _ = module.score
    y = F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], norm.copies[name].weight, norm.copies[name].bias)
    y = y @ first.copies[name].weight[:, :, 0, 0].T + first.copies[name].bias
    y = F.gelu(y) @ last.copies[name].weight[:, :, 0, 0].T + last.copies[name].bias
    return torch.sigmoid(y).permute(0, 3, 1, 2)


def spread(module):
    """Random parameters, so that modalities differ and scores lie on both sides of a threshold."""
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


@pytest.mark.parametrize("modalities", [2, 3])
def test_made_scores(modalities):
    exchange = TokenExchange(4, StackLayout(NAMES[:modalities]), 0.5, 1.0)
    score = torch.rand(modalities, 2, 1, 3, 5)
    score[0, 0, 0, 0, :2] = torch.tensor([0.5, 0.4999])  # at the threshold a location is kept
    exchange.score = MadeScore(score.flatten(0, 1))
    branch = torch.randn(modalities, 2, 4, 3, 5)
    out = exchange(branch.flatten(0, 1), branch.flatten(0, 1)).unflatten(0, (modalities, 2))
    torch.testing.assert_close(out, exchange_loop(branch, score, 0.5))
    assert torch.equal(out[0, 0, :, 0, 0], 0.5 * branch[0, 0, :, 0, 0])


def test_scores_are_private_networks_of_one_pixel():
    torch.manual_seed(0)
    layout = StackLayout(NAMES[:2])
    exchange = spread(TokenExchange(8, layout, 0.5, 1.0))
    x, branch = torch.randn(2, 2, 2, 8, 3, 4)
    score = torch.stack([score_of(exchange, name, part) for name, part in zip(NAMES, x, strict=False)])
    assert 0 < (score < 0.5).float().mean() < 1
    out = exchange(branch.flatten(0, 1), x.flatten(0, 1)).unflatten(0, (2, 2))
    torch.testing.assert_close(out, exchange_loop(branch, score, 0.5))
    assert {owner(name) for name, _ in exchange.named_parameters()} == set(NAMES[:2])


@pytest.mark.parametrize("kind", ["bottleneck", "basic"])
def test_block_exchanges_its_branch_before_the_shortcut(kind):
    torch.manual_seed(0)
    layout = StackLayout(NAMES[:2])
    block = resnet.Bottleneck(32, 8) if kind == "bottleneck" else resnet.BasicBlock(32, 32)
    stage = nn.Sequential(nn.Identity(), block)
    replace_norms(stage, layout)
    names = set(stage.state_dict())
    fusion = build_fusion({"name": "token_exchange", "threshold": 0.5})
    assert fusion.fuse_stage(stage, 32, layout) is None
    assert {name for name in stage.state_dict() if "exchange" not in name} == names
    fused = spread(stage[1]).eval()
    x = torch.randn(4, 32, 4, 5)
    branch = fused.act1(fused.bn1(fused.conv1(x)))
    branch = fused.bn2(fused.conv2(branch))
    branch = fused.bn3(fused.conv3(fused.act2(branch))) if kind == "bottleneck" else branch
    score = torch.stack([score_of(fused.exchange, n, v) for n, v in zip(NAMES, x.chunk(2), strict=False)])
    expected = exchange_loop(branch.unflatten(0, (2, 2)), score, 0.5).flatten(0, 1)
    torch.testing.assert_close(fused(x), F.relu(expected + x), rtol=1e-4, atol=1e-4)


def test_other_stages_are_fused_on_their_output():
    layout = StackLayout(NAMES[:2])
    strided = nn.Sequential(resnet.BasicBlock(8, 8, stride=2, downsample=nn.Conv2d(8, 8, 1, 2)))
    for stage in (nn.Identity(), strided):
        module = build_fusion("token_exchange").fuse_stage(stage, 8, layout)
        assert isinstance(module, TokenExchangeOutput)
    score = torch.rand(2, 1, 3, 3)
    module.exchange.score = MadeScore(score)
    module.exchange.threshold = 0.5
    x = torch.randn(2, 8, 3, 3)
    expected = x + exchange_loop(x[:, None], score[:, None], 0.5)[:, 0]
    torch.testing.assert_close(module(x), expected)


def test_penalty_of_a_call_is_the_mean_score_summed_over_modalities():
    layout = StackLayout(NAMES[:2])
    exchange = TokenExchange(8, layout, 0.02, 0.25)
    x = torch.randn(6, 8, 3, 4)
    by_hand = 0.25 * sum(score_of(exchange, n, v).mean().item() for n, v in zip(NAMES, x.chunk(2), strict=False))
    exchange(x, x)  # of a call that nobody asks for
    with layout.holding(layout.modalities):
        exchange(x, x)
        (penalty,) = layout.penalties
        exchange.eval()(x, x)
        assert len(layout.penalties) == 1
    assert penalty.item() == pytest.approx(by_hand, rel=1e-5)
    with layout.holding(layout.modalities):
        assert not layout.penalties
    penalty.backward()
    assert all(p.grad.abs().sum() > 0 for name, p in exchange.named_parameters() if not name.startswith("score.0"))


@pytest.mark.parametrize("name", NAMES)
def test_one_alone_passes_without_a_score(name):
    layout = StackLayout(NAMES)
    exchange = TokenExchange(8, layout, 9.0, 1.0)
    with layout.holding([name]):
        x = torch.randn(2, 8, 3, 3)
        assert exchange(x, x) is x and TokenExchangeOutput(exchange)(x) is x
        assert layout.penalties == [0, 0]


def test_gradients_follow_what_was_taken():
    exchange = TokenExchange(4, StackLayout(NAMES[:2]), 0.5, 1.0)
    score = torch.tensor([0.9, 0.1]).view(2, 1, 1, 1).requires_grad_()
    exchange.score = MadeScore(score)
    branch = torch.randn(2, 4, 1, 1, requires_grad=True)
    exchange(branch, branch).sum().backward()  # both go on with the first's
    torch.testing.assert_close(branch.grad[0], torch.full((4, 1, 1), 1.8))
    assert torch.equal(branch.grad[1], torch.zeros(4, 1, 1))
    assert score.grad[0] != 0 and score.grad[1] == 0


def test_nothing_is_exchanged_at_first():
    torch.manual_seed(0)
    exchange = TokenExchange(64, StackLayout(NAMES[:2]), 0.02, 1.0)
    x = torch.randn(4, 64, 8, 8)
    torch.testing.assert_close(exchange(x, x) / x, torch.full_like(x, 0.5), rtol=0.5, atol=0)
