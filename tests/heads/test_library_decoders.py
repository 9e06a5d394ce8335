"""Decoders of segmentation-models-pytorch: for each modality what the library's own module computes."""

import pytest
import torch
from small_models import diverse
from torch import nn

from rgbx._torchvision import ensure_torchvision
from rgbx.heads import build_decoder
from rgbx.heads.library_decoders import AverageOfParts
from rgbx.layers import StackLayout

ensure_torchvision()
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder  # noqa: E402
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder  # noqa: E402
from segmentation_models_pytorch.decoders.segformer.decoder import SegformerDecoder  # noqa: E402
from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder  # noqa: E402

NAMES, CHANNELS, WIDTH, COUNT = ("rgb", "depth", "thermal"), (4, 6, 8, 10), 32, 2
LIBRARY = {
    "segformer": lambda: SegformerDecoder([3, 0, *CHANNELS], segmentation_channels=WIDTH),
    "upernet": lambda: UPerNetDecoder([3, 5, *CHANNELS], decoder_channels=WIDTH),
    "deeplabv3plus": lambda: DeepLabV3PlusDecoder(  # enlarges by four
        [3, 5, *CHANNELS], 5, WIDTH, (6, 12, 18), 16, aspp_separable=True, aspp_dropout=0.5
    ),
    "fpn": lambda: FPNDecoder([3, 5, *CHANNELS], pyramid_channels=2 * WIDTH, segmentation_channels=WIDTH),
}


def features(count, sizes, **options):
    g = torch.Generator().manual_seed(1)
    return [torch.randn(count, c, *size, generator=g, **options) for c, size in zip(CHANNELS, sizes, strict=True)]


def halved(height, width, count=4):
    return [(-(-height // 2**i), -(-width // 2**i)) for i in range(count)]


def built(name, norm="private"):
    torch.manual_seed(0)
    layout = StackLayout(NAMES)
    decoder = diverse(build_decoder({"name": name, "width": WIDTH}, CHANNELS, 5, layout, norm=norm))
    return layout, decoder


def with_statistics(decoder):
    """Running statistics that differ from each other and from those of a new network."""
    g = torch.Generator().manual_seed(3)
    for key, x in decoder.named_buffers():
        if key.endswith(("mean", "var")):
            x.copy_(torch.rand(x.shape, generator=g) + 0.5)


@pytest.mark.parametrize("norm", ["private", "shared"])
@pytest.mark.parametrize("name", LIBRARY)
@torch.no_grad()
def test_a_modality_gets_what_the_library_s_module_gives(name, norm):
    layout, decoder = built(name, norm)
    with_statistics(decoder.eval())
    sizes = halved(16, 24)
    if name == "deeplabv3plus":
        sizes[-1] = (4, 6)
    stack = features(len(NAMES) * COUNT, sizes)
    found = decoder(stack).split(COUNT)
    for i, modality in enumerate(NAMES):
        own = {key.replace(f".norms.{modality}.", "."): x for key, x in decoder.decoder.state_dict().items()}
        alone = LIBRARY[name]().eval()
        alone.load_state_dict({key: x for key, x in own.items() if ".norms." not in key})
        part = [x[COUNT * i : COUNT * (i + 1)] for x in stack]
        before = torch.zeros(COUNT, 0 if name == "segformer" else 5, 32, 48)
        expected = decoder.classifier(alone([torch.zeros(COUNT, 3, 64, 96), before, *part]))
        torch.testing.assert_close(found[i], expected, rtol=1e-4, atol=1e-4)
        with layout.holding([modality]):
            torch.testing.assert_close(decoder(part), found[i])
    assert norm == "shared" or not torch.allclose(found[0], found[1])


@pytest.mark.parametrize("name", LIBRARY)
def test_sizes_that_are_no_halves_and_every_stage(name):
    """As features of images that are not padded are."""
    _, decoder = built(name, "affine")
    stages = features(3, halved(13, 21), requires_grad=True)
    found = decoder.eval()(stages)
    assert found.shape == (3, 5, 13, 21)
    found.square().sum().backward()
    read = stages if name != "deeplabv3plus" else (stages[0], stages[-1])
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in read)


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
@pytest.mark.parametrize("size", [(1, 2), (6, 5), (7, 13), (20, 15)])
def test_averages_of_parts(parts, size):
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(AverageOfParts(parts)(x), nn.AdaptiveAvgPool2d(parts)(x))


@pytest.mark.parametrize(
    ("options", "channels", "said"),
    [
        ({"name": "fpn"}, (4, 6, 8), "reads 4 stages, and this backbone has 3: take 'light'"),
        ({"name": "fpn", "width": 48}, CHANNELS, "width is 48; expected a multiple of 32"),
        ({"name": "deeplabv3plus", "dilations": (6, 12)}, CHANNELS, r"dilations are \(6, 12\); expected three"),
        ({"name": "upernet", "dilations": 3}, CHANNELS, "decoder 'upernet' has no option 'dilations'"),
    ],
)
def test_what_cannot_be_built(options, channels, said):
    with pytest.raises(ValueError, match=said):
        build_decoder(options, channels, 5, StackLayout(("rgb",)))
