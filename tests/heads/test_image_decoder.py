import pytest
import torch

from rgbx.heads import ImageDecoder
from rgbx.layers import StackLayout, owner

NAMES = ("rgb", "depth")


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_the_decoder_reaches_full_size(stride):
    decoder = ImageDecoder((8, 16, 24), 3, StackLayout(NAMES), width=16, stride=stride)
    features = [
        torch.randn(4, c, -(-13 // 2**i), -(-10 // 2**i), requires_grad=True) for i, c in enumerate((8, 16, 24))
    ]
    decoder(features).square().sum().backward()
    assert decoder([f.detach() for f in features]).shape == (4, 3, 13 * stride, 10 * stride)
    assert all(f.grad.abs().sum() > 0 for f in features)


def test_modalities_differ_only_by_their_norms():
    decoder = ImageDecoder((8, 16), 3, StackLayout(NAMES), width=16)
    features = [torch.randn(1, 8, 6, 6).repeat(2, 1, 1, 1), torch.randn(1, 16, 3, 3).repeat(2, 1, 1, 1)]
    first, second = decoder(features)
    torch.testing.assert_close(first, second)
    affine = ImageDecoder((8, 16), 3, StackLayout(NAMES), width=16, norm="affine")  # groups have no running statistics
    assert affine.state_dict().keys() == decoder.state_dict().keys()
    private = [p for n, p in decoder.named_parameters() if owner(n) == "depth"]
    assert len(private) == 2 * 5
    private[0].data.mul_(3)
    after = decoder(features)
    torch.testing.assert_close(after[0], first)
    assert not torch.allclose(after[1], second)


def test_a_single_pixel_at_the_deepest_stage_trains():
    decoder = ImageDecoder((8, 16), 3, StackLayout(NAMES), width=16).train()
    decoder([torch.randn(2, 8, 2, 2), torch.randn(2, 16, 1, 1)]).sum().backward()


@pytest.mark.parametrize(("stride", "width"), [(3, 12), (0, 16), (8, 12)])
def test_wrong_strides_are_refused(stride, width):
    with pytest.raises(ValueError, match=f"stride is {stride}, width {width}"):
        ImageDecoder((8,), 3, StackLayout(NAMES), width=width, stride=stride)
