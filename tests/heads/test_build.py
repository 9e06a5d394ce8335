import pytest

from rgbx.heads import LightDecoder, RefineNetDecoder, build_decoder
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
    with pytest.raises(TypeError, match="depth"):
        build_decoder({"name": "refinenet", "depth": 3}, (4, 6), 5, LAYOUT)
