"""The U-Net against the same network written out modality by modality, and against published sizes."""

from itertools import pairwise

import pytest
import torch
from plain_networks import unet
from torch import nn

from rgbx.fusion import AsymmetricFusion
from rgbx.generators import UNetGenerator
from rgbx.layers import StackLayout, owner

NAMES = ("rgb", "depth", "thermal")


def small(modalities=2, *, depth=4, out_channels=2, width=5, dropout=0.0, **options):
    layout = StackLayout(NAMES[:modalities])
    return UNetGenerator(layout, out_channels, width=width, depth=depth, dropout=dropout, **options)


def count(module, *, private=None):
    parameters = [(owner(name), p.numel()) for name, p in module.named_parameters()]
    return sum(size for whose, size in parameters if private is None or (whose is not None) is private)


def test_published_size():
    with torch.device("meta"):
        generators = {m: UNetGenerator(StackLayout(NAMES[:m]), 3) for m in (1, 2, 3)}
    sizes = {m: count(generator) for m, generator in generators.items()}
    assert round(sizes[2] / 1e6, 2) == 54.43
    assert sizes[2] - sizes[1] == sizes[3] - sizes[2] == 9857 - 1  # the ensemble's α is the model's
    down, up = (3, 64, 128, 256, 512, 512, 512, 512, 512), (512, 512, 512, 512, 256, 128, 64, 3)
    convolutions = sum(16 * a * b + b for a, b in pairwise(down))
    convolutions += sum(16 * a * b + b for a, b in zip((512, *(2 * c for c in up)), up, strict=False))
    assert count(generators[2], private=False) == convolutions
    assert not list(generators[2].buffers())


@pytest.mark.parametrize("modalities", [1, 2, 3])
@pytest.mark.parametrize("training", [True, False])
def test_without_fusion_it_is_one_unet_per_modality(modalities, training, maps, diverse):
    generator = diverse(small(modalities)).train(training)
    inputs = maps(NAMES[:modalities], (16, 32))
    torch.testing.assert_close(generator(inputs)[0], unet(generator, inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize(("stages", "blocks"), [(None, (2, 3, 4)), ((1,), (2,)), ((1, 3), (2, 4))])
def test_fusion_follows_its_equation_and_the_skips_read_it(modalities, stages, blocks, maps, diverse):
    generator = diverse(small(modalities, depth=5, fusion=AsymmetricFusion(stages=stages)))
    inputs = maps(NAMES[:modalities], (32, 32), batch=1)
    expected = unet(generator, inputs, fused=blocks)
    torch.testing.assert_close(generator(inputs)[0], expected, rtol=1e-4, atol=1e-5)
    assert (expected - unet(generator, inputs)).abs().max() > 1e-3


@pytest.mark.parametrize("present", [("rgb", "thermal"), ("depth",), ("thermal", "rgb", "depth")])
def test_those_present_form_the_ring(present, maps, diverse):
    generator = diverse(small(3, fusion=AsymmetricFusion()))
    inputs = maps(present, (16, 16))
    ordered = {name: inputs[name] for name in NAMES if name in inputs}
    torch.testing.assert_close(generator(inputs)[0], unet(generator, ordered, fused=(2, 3)), rtol=1e-4, atol=1e-5)


def test_one_channel_maps_are_repeated(maps, diverse):
    generator = diverse(small())
    inputs = maps(NAMES[:2], (16, 16), depth=1)
    repeated = {**inputs, "depth": inputs["depth"].repeat(1, 3, 1, 1)}
    assert torch.equal(generator(inputs)[0], generator(repeated)[0])


def test_the_first_three_decoder_blocks_drop_values():
    generator = small(depth=6, dropout=0.5)
    found = [[m.p for m in block if isinstance(m, nn.Dropout)] for block in generator.decoder]
    assert found == [[0.5], [0.5], [0.5], [], [], []]
    assert not [m for m in generator.encoder.modules() if isinstance(m, nn.Dropout)]


def test_evaluation_repeats_itself_and_training_does_not(maps):
    generator, inputs = small(dropout=0.5), maps(NAMES[:2], (16, 16))
    assert not torch.equal(generator(inputs)[0], generator(inputs)[0])
    generator.eval()
    assert torch.equal(generator(inputs)[0], generator(inputs)[0])


def test_the_statistics_are_each_images_own(maps, diverse):
    generator = diverse(small(fusion=AsymmetricFusion()))
    inputs = maps(NAMES[:2], (16, 16))
    alone = generator({name: x[1:] for name, x in inputs.items()})[0]
    torch.testing.assert_close(generator(inputs)[0][1::2], alone, rtol=1e-4, atol=1e-5)


def test_every_parameter_learns_from_one_image_of_three_modalities(maps):
    generator = small(3, depth=4, fusion=AsymmetricFusion())
    generator(maps(NAMES, (16, 16), batch=1))[0].square().sum().backward()
    assert all(p.grad is not None for p in generator.parameters())
    silent = [name for name, p in generator.named_parameters() if not p.grad.any()]
    assert all(name.endswith("conv.bias") for name in silent)  # a norm takes away what the bias before it adds


def test_merged_modalities_give_one_image(merging, maps, diverse):
    generator = diverse(small(fusion=merging))
    inputs = maps(NAMES[:2], (16, 16))
    assert generator.single_branch
    assert generator(inputs)[0].shape == (2, 2, 16, 16)
    assert {owner(n) for n, _ in generator.decoder.named_parameters()} == {None}
    alike = dict.fromkeys(inputs, inputs["rgb"])
    plain = small(1).requires_grad_(False)
    for name, parameter in plain.named_parameters():
        source = generator.get_parameter(name.replace("norm.norms.rgb", "norm") if name.startswith("dec") else name)
        parameter.copy_(source)
    for block in generator.encoder[1:-1]:
        block.norm.norms["depth"].load_state_dict(block.norm.norms["rgb"].state_dict())
    torch.testing.assert_close(generator(alike)[0], plain({"rgb": inputs["rgb"]})[0], rtol=1e-4, atol=1e-5)


def test_joined_inputs_give_one_image_and_absent_ones_are_zero(joined, maps):
    generator = small(fusion=joined)
    inputs = maps(NAMES[:2], (16, 16), depth=1)
    assert generator.single_branch
    assert generator.encoder[0].conv.in_channels == 6
    assert generator(inputs)[0].shape == (2, 2, 16, 16)
    absent = {"rgb": inputs["rgb"], "depth": torch.zeros_like(inputs["depth"])}
    assert torch.equal(generator({"rgb": inputs["rgb"]})[0], generator(absent)[0])


def test_autocast(maps, diverse):
    generator, inputs = small(depth=4, width=8, fusion=AsymmetricFusion()), maps(NAMES[:2], (16, 16))
    expected = generator(inputs)[0]
    with torch.autocast("cpu", torch.bfloat16):
        (out,) = generator(inputs)
    assert (out.float().tanh() - expected.tanh()).abs().max() < 0.05
    out.sum().backward()


def test_compiles_as_one_graph(maps):
    generator = small(depth=3, fusion=AsymmetricFusion()).eval()
    compiled = torch.compile(generator, fullgraph=True, backend="eager")
    for names, size in ((NAMES[:2], (8, 8)), (NAMES[1:2], (16, 24))):
        inputs = maps(names, size)
        torch.testing.assert_close(compiled(inputs), generator(inputs))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 1}, "depth is 1"),
        ({"fusion": AsymmetricFusion(stages=(3,))}, "stage 3 does not exist; this generator has stages 1 to 2"),
        ({"norm": "affine"}, "InstanceNorm2d"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


@pytest.mark.parametrize("inputs", [{}, {"lidar": torch.zeros(1, 3, 16, 16)}])
def test_unknown_modalities_are_refused(inputs):
    with pytest.raises(ValueError, match="this model knows"):
        small()(inputs)
