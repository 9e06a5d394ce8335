import plain_objective  # noqa: F401
import pytest
import torch

from rgbx.models import multimodal, multimodal_translator
from rgbx.profile.measure import measure_complexity


def test_counts_parameters_and_operations(make_model):
    model = make_model(decoder={"width": 128})
    report = measure_complexity(model, (240, 320))
    assert report.total == report.used_at_test == sum(p.numel() for p in model.parameters())
    assert report.backbone == sum(p.numel() for p in model.backbone.parameters())
    single = make_model(modalities=("rgb",), decoder={"width": 128})
    assert report.total - sum(p.numel() for p in single.parameters()) == report.private // 2 + 2  # α
    # ResNet-18 costs 1.814 G multiply-adds at 224×224 (timm's published table) with its classifier of 512 × 1000. The
    # decoder: 1×1 laterals and 3×3 convolutions on grids of stride 4 to 32, image context, 1×1 classifier.
    grids = {stride: (256 // stride) * (320 // stride) for stride in (4, 8, 16, 32)}  # 240 is padded to 256
    backbone = (1.814e9 - 512 * 1000) * (256 * 320) / 224**2
    laterals = sum(grids[s] * c * 128 for s, c in zip(grids, (64, 128, 256, 512), strict=True))
    smooth = sum(grids[s] * 9 * 128 * 128 for s in (4, 8, 16))
    expected = 2 * 2 * (backbone + laterals + smooth + 512 * 128 + grids[4] * 128 * 5)
    assert report.flops == pytest.approx(expected, rel=0.01)
    one = measure_complexity(single, (240, 320)).flops
    assert report.flops == pytest.approx(2 * one, rel=1e-6)
    assert model.training


@pytest.mark.parametrize("subset", [("rgb",), ("depth", "rgb")])
def test_a_subset_counts_as_a_model_of_its_own(make_model, subset):
    model = make_model(modalities=("rgb", "depth", "thermal"), statistics={"thermal": {"mean": [0.0], "std": [1.0]}})
    found = measure_complexity(model, (64, 96), modalities=subset)
    alone = measure_complexity(make_model(modalities=subset), (64, 96))
    assert found == alone
    with pytest.raises(ValueError, match="normal"):
        measure_complexity(model, (64, 96), modalities=("rgb", "normal"))


def test_operations_of_a_convolution_by_hand(make_model):
    """A head of one 3×3 convolution more costs 2 · 9 · C_in · C_out operations per point of its grid and modality."""
    model = make_model()
    before = measure_complexity(model, (64, 96))
    decoder = model.heads["labels"].decoder
    decoder.classifier = torch.nn.Sequential(torch.nn.Conv2d(16, 16, 3, padding=1), decoder.classifier)
    after = measure_complexity(model, (64, 96))
    assert after.flops - before.flops == 2 * (2 * 9 * 16 * 16) * (64 // 4) * (96 // 4)
    assert after.heads["labels"] - before.heads["labels"] == after.total - before.total == 9 * 16 * 16 + 16


def test_a_stem_of_its_own_counts_with_its_modality(make_model):
    own, plain = make_model(stems={"depth": "sum"}), make_model()
    both, rgb = (measure_complexity(own, (64, 96), modalities=names) for names in (("rgb", "depth"), ("rgb",)))
    before = measure_complexity(plain, (64, 96), modalities=("rgb", "depth"))
    assert both.private - before.private == both.total - before.total == 64 * 49
    assert rgb == measure_complexity(plain, (64, 96), modalities=("rgb",))
    assert before.flops - both.flops == 2 * 2 * 64 * 49 * 32 * 48  # two of depth's three input channels


def test_parts_of_several_heads(make_three_heads):
    model, alone = make_three_heads("rgb", "depth"), make_three_heads("depth")
    found = measure_complexity(model, (64, 96))
    assert found.heads == {name: sum(p.numel() for p in head.parameters()) for name, head in model.heads.items()}
    assert (found.total, found.opponents) == (sum(p.numel() for p in model.parameters()), 0)
    assert all(f"{name} {count / 1e6:.2f}" in str(found) for name, count in found.heads.items())
    assert measure_complexity(model, (64, 96), modalities=["depth"]) == measure_complexity(alone, (64, 96))


def test_a_discriminator_is_apart():
    options = dict(modalities=("rgb", "normal"), target="depth", generator=dict(name="unet", width=4, depth=3))
    judged, plain = (multimodal_translator(**options, discriminator=kind) for kind in (dict(width=4, layers=2), None))
    with_it, without = (measure_complexity(model, (24, 32)) for model in (judged, plain))
    assert with_it.used_at_test == without.total == sum(p.numel() for p in plain.parameters())
    assert with_it.opponents == sum(p.numel() for p in judged.heads["depth"].opponent.parameters()) > 0
    assert (with_it.flops, without.opponents) == (without.flops, 0)
    assert "opponents" in str(with_it)
    assert "opponents" not in str(without)


def test_objectives_are_apart(make_model):
    """Their weights and their opponents' are of training alone; a head may be called as a part is."""
    judged, plain = make_model(objectives=["judged"]), make_model()
    own = judged.objectives["judged"]
    found, before = (measure_complexity(model, (64, 96)) for model in (judged, plain))
    assert found.objectives == sum(p.numel() for p in own.own.parameters()) == 512 * 3 + 3
    assert found.opponents == sum(p.numel() for p in own.opponent.parameters()) == 3 + 1
    assert found.of_training == found.objectives + found.opponents and before.of_training == 0
    assert (found.used_at_test, found.heads, found.flops) == (before.total, before.heads, before.flops)
    assert found.total == sum(p.numel() for p in judged.parameters())
    assert "objectives 0.00, opponents 0.00" in str(found) and "objectives" not in str(before)


def test_a_head_may_have_the_name_of_a_part():
    heads = {"opponents": dict(task="classes", num_classes=5), "backbone": dict(task="map", unit="metre")}
    model = multimodal(modalities=("rgb",), heads=heads)
    found = measure_complexity(model, (64, 96))
    assert found.heads == {name: sum(p.numel() for p in model.heads[name].parameters()) for name in heads}
    assert (found.opponents, found.total) == (0, sum(p.numel() for p in model.parameters()))
