"""The encoder of codes: every location as one vector alone, shared or equal at the start, statistics of its own."""

import pytest
import torch
from small_models import diverse

from rgbx.heads import build_decoder
from rgbx.heads.code_encoder import stages_joined
from rgbx.layers import StackLayout, owner

NAMES, CHANNELS = ("rgb", "depth", "thermal"), (4, 6, 8)


def built(shared=True, stages=None):
    torch.manual_seed(0)
    layout = StackLayout(NAMES)
    return layout, build_decoder(
        {"name": "codes", "hidden": 7, "shared": shared, "stages": stages}, CHANNELS, 5, layout, strides=(4, 8, 16)
    )


def features(count=2, modalities=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    sizes = ((8, 12), (4, 6), (2, 3))
    return [torch.randn(modalities * count, c, *s, generator=g) for c, s in zip(CHANNELS, sizes, strict=True)]


@pytest.mark.parametrize("stages", [None, (2, 3), (3, 1)])
@pytest.mark.parametrize("shared", [True, "initial"])
def test_every_location_is_one_vector_of_its_modality(shared, stages):
    layout, encoder = built(shared, stages)
    diverse(encoder.train())
    with layout.holding(NAMES):
        encoder(features(seed=1))  # statistics that differ
        encoder.eval()
        found = encoder(features())
    joined = stages_joined(features(), stages or (3,))
    assert found.shape == (6, 5, *joined.shape[-2:])
    for n, name in enumerate(name for name in NAMES for _ in range(2)):
        for y in range(joined.shape[2]):
            for x in range(joined.shape[3]):
                expected = encoder.encoder(joined[n, :, y, x][None], name)[0]
                torch.testing.assert_close(found[n, :, y, x], expected)


def test_a_subset_has_the_codes_that_it_has_among_all():
    layout, encoder = built()
    encoder.eval()
    with layout.holding(NAMES):
        whole = encoder(features())
    with layout.holding(["depth"]):
        alone = encoder([x[2:4] for x in features()])
    torch.testing.assert_close(alone, whole[2:4])


def test_what_is_shared():
    layout, shared = built()
    assert sum(owner(name) is None for name in dict(shared.named_parameters())) == 4  # linear, scale and bias
    _, initial = built("initial")
    upper = dict(initial.encoder.uppers.named_parameters())
    first = {name.removeprefix("rgb."): x for name, x in upper.items() if name.startswith("rgb.")}
    assert first and all(torch.equal(upper[f"depth.{name}"], x) for name, x in first.items())
    with layout.holding(NAMES):
        shared.train()(features())
    norms = shared.encoder.shared.norm.norms
    assert not torch.equal(norms["rgb"].running_mean, norms["depth"].running_mean)


@pytest.mark.parametrize(
    ("options", "found"),
    [({"shared": False}, "shared is False; expected True, or 'initial'"), ({"stages": (4,)}, "stage 4 does not exist")],
)
def test_errors_name_what_was_found(options, found):
    with pytest.raises(ValueError, match=found):
        built(**options)
