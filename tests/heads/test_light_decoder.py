import pytest
import torch

from rgbx.heads import LightDecoder
from rgbx.layers import StackLayout


@pytest.mark.parametrize("channels", [(8, 16, 24, 32), (24, 40, 112), (6, 7)])
def test_takes_any_channel_numbers_and_odd_sizes(channels):
    layout = StackLayout(("rgb", "depth"))
    decoder = LightDecoder(channels, 5, layout, width=12)
    features = [torch.randn(4, c, -(-37 // 2**i), -(-50 // 2**i)) for i, c in enumerate(channels)]
    assert decoder(features).shape == (4, 5, 37, 50)


def test_weights_are_shared_and_norms_private():
    decoder = LightDecoder((8, 16), 5, StackLayout(("rgb", "depth")), width=12)
    private = {n for n, _ in decoder.named_parameters() if ".norms." in n}
    assert {n.replace(".rgb.", ".X.") for n in private if ".rgb." in n} == {
        n.replace(".depth.", ".X.") for n in private if ".depth." in n
    }
    assert all(".norm.norms." in n for n in private)
    assert not [n for n, _ in decoder.named_parameters() if n not in private and ("rgb" in n or "depth" in n)]


def test_every_level_reaches_the_logits():
    decoder = LightDecoder((4, 4, 4), 3, StackLayout(("rgb",)), width=8).eval()
    features = [torch.randn(1, 4, 16 // 2**i, 16 // 2**i, requires_grad=True) for i in range(3)]
    decoder(features).square().sum().backward()
    assert all(f.grad is not None and f.grad.abs().sum() > 0 for f in features)
