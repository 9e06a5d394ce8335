"""The generator on a segmentation backbone: one backbone, two heads."""

import pytest
import torch

from rgbx.backbones import SharedBackbone
from rgbx.fusion import AsymmetricFusion
from rgbx.heads import BackboneGenerator, ImageDecoder, LightDecoder
from rgbx.layers import StackLayout, owner

NAMES = ("rgb", "depth")


@pytest.fixture(scope="module")
def backbone():
    torch.manual_seed(0)
    return SharedBackbone("resnet18", NAMES, fusion=AsymmetricFusion())


def test_any_size_and_subset(backbone, maps):
    generator = BackboneGenerator(backbone, 3, width=16)
    for names in (NAMES, ("depth",)):
        out = generator(maps(names, (50, 70), depth=1))
        assert out.shape == (2 * len(names), 3, 50, 70)
        assert out.abs().max() < 1
    assert generator.layout is backbone.layout
    with pytest.raises(ValueError, match="this model knows"):
        generator({})


def test_other_sizes_are_mirrored_and_cropped(backbone, maps):
    generator = BackboneGenerator(backbone, 3, width=16).eval()
    inputs = maps(NAMES, (50, 70), batch=1)
    rows, columns = [*range(50), *range(48, 34, -1)], [*range(70), *range(68, 42, -1)]
    padded = {name: x[:, :, rows][..., columns] for name, x in inputs.items()}
    torch.testing.assert_close(generator(inputs), generator(padded)[..., :50, :70])


def test_one_backbone_serves_two_heads(backbone, maps):
    generator = BackboneGenerator(backbone, 3, width=16).eval()
    segmentation = LightDecoder(backbone.channels, 5, backbone.layout, width=16).eval()
    inputs = maps(NAMES, (64, 32))
    features = generator.backbone(inputs)
    assert segmentation(features).shape == (4, 5, 16, 8)
    assert torch.equal(generator.decode(features, (64, 32)), generator(inputs))
    generator.decode(features, (64, 32)).sum().backward()
    assert backbone.network.conv1.weight.grad.abs().sum() > 0


def test_a_merging_backbone_gives_one_image(joined, merging, maps):
    for fusion in (joined, merging):
        generator = BackboneGenerator(SharedBackbone("resnet18", NAMES, fusion=fusion), 2, width=16).eval()
        assert generator.single_branch
        assert {owner(n) for n, _ in generator.decoder.named_parameters()} == {None}
        assert generator(maps(NAMES, (32, 32))).shape == (2, 2, 32, 32)


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
