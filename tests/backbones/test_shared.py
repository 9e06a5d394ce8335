"""Shared backbones: shapes of every family, private norms, and equality with timm where nothing is exchanged."""

import copy

import pytest
import torch

from rgbx.backbones import SharedBackbone
from rgbx.backbones._timm import timm
from rgbx.fusion import AsymmetricFusion
from rgbx.layers import owner

MODALITIES = ("rgb", "depth")


def inputs(size=(64, 96), batch=1):
    return {"rgb": torch.randn(batch, 3, *size), "depth": torch.randn(batch, 1, *size)}


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "efficientnet_b0", "mobilenetv3_small_100", "convnext_atto"])
def test_every_family_is_shared_private_and_fused(name):
    torch.manual_seed(0)
    backbone = SharedBackbone(name, MODALITIES, fusion=AsymmetricFusion())
    batch = inputs()
    features = backbone(batch)
    assert backbone.strides == (4, 8, 16, 32)
    for feature, channels, stride in zip(features, backbone.channels, backbone.strides, strict=True):
        assert feature.shape == (2, channels, 64 // stride, 96 // stride)
    sum(f.square().mean() for f in features).backward()
    missing = [n for n, p in backbone.named_parameters() if p.grad is None]
    assert not [n for n in missing if ".norms." in n]

    for norm_name, parameter in backbone.named_parameters():
        if ".norms." in norm_name and norm_name.endswith("weight"):
            torch.nn.init.ones_(parameter)  # timm starts residual branches, and so their exchange, at zero
    backbone.eval()
    changed = {**batch, "depth": batch["depth"] + 1}
    for before, after in zip(backbone(batch), backbone(changed), strict=True):
        rgb_before, rgb_after = before[:1], after[:1]
        assert not torch.equal(rgb_before, rgb_after), "depth did not reach the RGB branch"


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_100", "convnext_atto"])
def test_unfused_branches_equal_the_plain_network(name, tmp_path):
    torch.manual_seed(1)
    plain = timm.create_model(name).eval()
    weights = tmp_path / "weights.pth"
    torch.save(plain.state_dict(), weights)
    backbone = SharedBackbone(name, MODALITIES, pretrained=str(weights)).eval()
    single = timm.create_model(name, features_only=True, pretrained=True, pretrained_cfg_overlay={"file": str(weights)})
    batch = inputs()
    with torch.no_grad():
        stacks = backbone(batch)
        for m, x in enumerate((batch["rgb"], batch["depth"].expand(-1, 3, -1, -1))):
            for stack, expected in zip(stacks, single.eval()(x)[-4:], strict=True):
                torch.testing.assert_close(stack[m : m + 1], expected, rtol=1e-4, atol=1e-4)


def test_subset_equals_a_network_that_never_knew_the_other():
    torch.manual_seed(2)
    fused = SharedBackbone("resnet18", MODALITIES, fusion=AsymmetricFusion()).eval()
    alone = SharedBackbone("resnet18", ("depth",)).eval()
    alone.load_state_dict({k: v for k, v in fused.state_dict().items() if ".norms.rgb." not in k})
    depth = {"depth": inputs()["depth"]}
    for a, b in zip(fused(depth), alone(depth), strict=True):
        torch.testing.assert_close(a, b)


def test_chosen_stages_only():
    backbone = SharedBackbone("resnet18", MODALITIES, fusion=AsymmetricFusion(stages=(4,))).eval()
    batch = inputs()
    first, *_, last = zip(backbone(batch), backbone({**batch, "depth": batch["depth"] + 1}), strict=True)
    assert torch.equal(first[0][:1], first[1][:1])
    assert not torch.equal(last[0][:1], last[1][:1])
    with pytest.raises(ValueError, match="stage 5 does not exist"):
        SharedBackbone("resnet18", MODALITIES, fusion=AsymmetricFusion(stages=(5,)))


def test_stage_placement_reaches_the_next_stage():
    backbone = SharedBackbone("resnet18", MODALITIES, fusion=AsymmetricFusion(stages=(1,), placement="stage")).eval()
    batch = inputs()
    _, second, *_ = zip(backbone(batch), backbone({**batch, "depth": batch["depth"] + 1}), strict=True)
    assert not torch.equal(second[0][:1], second[1][:1])


def test_copies_share_one_layout_of_their_own():
    backbone = SharedBackbone("convnext_atto", MODALITIES, fusion=AsymmetricFusion()).eval()
    with backbone.layout.holding(["rgb"]):
        clone = copy.deepcopy(backbone)
        assert (backbone.layout.present, clone.layout.present) == (("rgb",), MODALITIES)
    layouts = {id(module.layout) for module in clone.modules() if hasattr(module, "layout")}
    assert layouts == {id(clone.layout)} != {id(backbone.layout)}


def test_frozen_statistics():
    backbone = SharedBackbone("resnet18", MODALITIES, norm_eval=True).train()
    before = {k: v.clone() for k, v in backbone.state_dict().items() if "running" in k}
    backbone(inputs(batch=2))
    assert all(torch.equal(v, backbone.state_dict()[k]) for k, v in before.items())
    assert backbone.network.bn1.norms["rgb"].weight.requires_grad


def test_private_norms_cost_a_fraction_of_a_percent():
    one, two = (SharedBackbone("resnet50", MODALITIES[:n]) for n in (1, 2))
    sizes = [sum(p.numel() for p in b.parameters()) for b in (one, two)]
    plain = timm.create_model("resnet50")
    norms = sum(p.numel() for n, p in plain.named_parameters() if "bn" in n or "downsample.1" in n)
    assert sizes[1] - sizes[0] == norms
    assert norms == sum(p.numel() for name, p in one.named_parameters() if owner(name) is not None)


def test_unknown_network_names_close_ones():
    with pytest.raises(ValueError, match="resnet"):
        SharedBackbone("resnet19", MODALITIES)


def test_a_network_without_norms_is_refused():
    with pytest.raises(ValueError, match="has no norm to make private"):
        SharedBackbone("test_nfnet", MODALITIES, fusion=AsymmetricFusion())
