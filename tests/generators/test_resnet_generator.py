"""The residual generator against the same network written out modality by modality."""

import pytest
import torch
from plain_networks import resnet
from small_models import batch, run
from small_models import small as small_model

from rgbx.fusion import AsymmetricFusion
from rgbx.generators import ResNetGenerator
from rgbx.layers import StackLayout, owner

NAMES = ("rgb", "depth", "thermal")


def small(modalities=2, *, width=5, blocks=3, **options):
    return ResNetGenerator(StackLayout(NAMES[:modalities]), 2, width=width, blocks=blocks, **options)


def test_size():
    with torch.device("meta"):
        generators = [ResNetGenerator(StackLayout(NAMES[:m]), 3) for m in (1, 2)]
    sizes = [sum(p.numel() for p in generator.parameters()) for generator in generators]
    kernels = 49 * 3 * 64 + 9 * 64 * 128 + 9 * 128 * 256  # stem and down
    kernels += 18 * 9 * 256**2 + 9 * 256 * 128 + 9 * 128 * 64 + 49 * 64 * 3 + 3  # blocks, up and last
    norms = 2 * (64 + 128 + 256 + 18 * 256 + 128 + 64)
    assert sizes == [kernels + norms, kernels + 2 * norms]


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_without_fusion_it_is_one_network_per_modality(modalities, maps, diverse):
    generator, inputs = diverse(small(modalities)), maps(NAMES[:modalities], (8, 12))
    torch.testing.assert_close(generator(inputs)[0], resnet(generator, inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("stages", [None, (1,), (3, 4)])
def test_fusion_follows_its_equation(modalities, stages, maps, diverse):
    generator = diverse(small(modalities, fusion=AsymmetricFusion(stages=stages))).double()
    inputs = {name: x.double() for name, x in maps(NAMES[:modalities], (8, 12), batch=1).items()}
    expected = resnet(generator, inputs, fused=stages or (1, 2, 3, 4))
    torch.testing.assert_close(generator(inputs)[0], expected, rtol=1e-9, atol=1e-12)
    assert (expected - resnet(generator, inputs)).abs().max() > 1e-3


def test_subset_of_the_modalities(maps, diverse):
    generator = diverse(small(3, fusion=AsymmetricFusion()))
    inputs = maps(("rgb", "thermal"), (8, 8))
    torch.testing.assert_close(
        generator(inputs)[0], resnet(generator, inputs, fused=(1, 2, 3, 4)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (33, 30)])
def test_any_size_in_a_model(size):
    model = small_model("map", backbone={"name": "resnet", "width": 4, "blocks": 2})
    out = run(model, batch(size, count=1))["normal"]
    assert all(x.shape == (1, 3, *size) and x.isfinite().all() for x in out.values())
    out["rgb"].sum().backward()


def test_merging_and_joining_leave_one_branch(merging, joined, maps):
    for fusion in (merging, joined):
        generator = small(fusion=fusion)
        assert generator.single_branch
        assert generator(maps(NAMES[:2], (8, 8)))[0].shape == (2, 2, 8, 8)
        assert {owner(n) for n, _ in generator.up.named_parameters()} == {None}
    assert not small(fusion=AsymmetricFusion()).single_branch


def test_autocast_and_compilation(maps):
    generator, inputs = small(width=8, blocks=2, fusion=AsymmetricFusion()).eval(), maps(NAMES[:2], (8, 8))
    expected = generator(inputs)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert (generator(inputs)[0] - expected).abs().max() < 0.1
    compiled = torch.compile(generator, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(inputs)[0], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"blocks": 1}, "blocks is 1"), ({"fusion": AsymmetricFusion(stages=(5,))}, "stages 1 to 4")],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)
