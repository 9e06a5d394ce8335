import pytest
import torch

from rgbx.heads import ChannelSlice, ImageDecoder, LightDecoder, RefineNetDecoder, build_decoder
from rgbx.layers import StackLayout

LAYOUT = StackLayout(("rgb", "depth"))


@pytest.mark.parametrize(
    ("decoder", "kind"),
    [
        (None, LightDecoder),
        ({"width": 8}, LightDecoder),
        ("light", LightDecoder),
        ({"name": "light", "width": 8}, LightDecoder),
        ("refinenet", RefineNetDecoder),
        ({"name": "refinenet", "width": 8, "dropout": 0.25}, RefineNetDecoder),
        ({"name": "image", "width": 8}, ImageDecoder),
    ],
)
def test_by_name(decoder, kind):
    before = dict(decoder) if isinstance(decoder, dict) else decoder
    built = build_decoder(decoder, (4, 6), 5, LAYOUT)
    assert type(built) is kind and decoder == before
    if isinstance(decoder, dict) and "dropout" in decoder:
        assert built.dropout.p == 0.25 and built.classifier.in_channels == 8


def test_norm_reaches_the_decoder():
    private = build_decoder("light", (4, 6), 5, LAYOUT)
    shared = build_decoder("light", (4, 6), 5, LAYOUT, norm="shared")
    assert any(".norms." in name for name in private.state_dict())
    assert not any(".norms." in name for name in shared.state_dict())


def test_unknown_names_and_options_are_refused():
    with pytest.raises(ValueError, match="decoder is 'deeplab'; expected one of light, refinenet"):
        build_decoder("deeplab", (4, 6), 5, LAYOUT)
    with pytest.raises(ValueError, match=r"decoder 'refinenet' has no option 'widht'; it has .*; did you mean 'width'"):
        build_decoder({"name": "refinenet", "widht": 3}, (4, 6), 5, LAYOUT)
    with pytest.raises(ValueError, match="decoder 'image' has no option 'stride'"):
        build_decoder({"name": "image", "stride": 3}, (4, 6), 5, LAYOUT)


def test_a_head_has_its_own_channels_of_a_generator():
    images = torch.arange(24.0).view(2, 3, 2, 2)
    assert torch.equal(ChannelSlice(1, 3)([images]), images[:, 1:])
