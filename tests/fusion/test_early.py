"""Early fusion against a timm network with 3M input channels, given the modalities as one image."""

import pytest
import torch
from small_models import labelled

from rgbx.backbones import SharedBackbone
from rgbx.backbones._timm import timm
from rgbx.fusion import build_fusion
from rgbx.models import multimodal_segmentor

MODALITIES = ("rgb", "depth", "thermal")


def maps(batch=2, size=(64, 96)):
    generator = torch.Generator().manual_seed(0)
    channels = {"rgb": 3, "depth": 1, "thermal": 1}
    return {name: torch.randn(batch, c, *size, generator=generator) for name, c in channels.items()}


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("present", [MODALITIES, ("rgb", "thermal"), ("depth",)], ids="+".join)
def test_equals_a_network_with_more_input_channels(name, present):
    torch.manual_seed(0)
    backbone = SharedBackbone(name, MODALITIES, fusion=build_fusion("early")).eval()
    plain = timm.create_model(name, features_only=True, in_chans=9).eval()
    assert plain.load_state_dict(backbone.network.state_dict())
    inputs = maps()
    shown = {n: x.repeat(1, 3 // x.shape[1], 1, 1) * (n in present) for n, x in inputs.items()}
    image = torch.cat([shown["rgb"], shown["depth"], shown["thermal"]], 1)
    with torch.no_grad():
        features = backbone({n: inputs[n] for n in reversed(present)})
        for found, expected in zip(features, plain(image)[-4:], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_pretrained_weights_give_the_same_function_of_equal_inputs(name, tmp_path):
    torch.manual_seed(1)
    torch.save(timm.create_model(name).state_dict(), tmp_path / "weights.pth")
    file = str(tmp_path / "weights.pth")
    early = SharedBackbone(name, MODALITIES, fusion=build_fusion("early"), pretrained=file).eval()
    single = SharedBackbone(name, ("rgb",), pretrained=file).eval()
    x = maps()["rgb"]
    with torch.no_grad():
        for found, expected in zip(early(dict.fromkeys(MODALITIES, x)), single({"rgb": x}), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_first_convolution_without_pretrained_weights_is_drawn_for_its_channels():
    torch.manual_seed(0)
    found = SharedBackbone("resnet18", MODALITIES, fusion=build_fusion("early")).network.conv1.weight
    assert found.shape == (64, 9, 7, 7)
    assert found.std().item() == pytest.approx((2 / (64 * 7 * 7)) ** 0.5, rel=0.02)  # as timm draws a ResNet's
    assert not torch.equal(found[:, :3], found[:, 3:6])


def test_an_absent_modality_counts_as_its_mean():
    torch.manual_seed(0)
    options = dict(num_classes=5, backbone="test_resnet", fusion="early", decoder={"width": 16})
    model = multimodal_segmentor(modalities=("rgb", "depth"), **options).eval()
    batch = {"rgb": torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)}
    mean = model.data_preprocessor.inputs["depth"].mean.item()
    with torch.no_grad():
        absent = model(**model.data_preprocessor(batch))
        filled = model(**model.data_preprocessor({**batch, "depth": torch.full((2, 1, 64, 64), mean)}))
        other = model(**model.data_preprocessor({**batch, "depth": torch.full((2, 1, 64, 64), mean + 1)}))
    assert list(absent) == ["ensemble"]
    torch.testing.assert_close(absent["ensemble"], filled["ensemble"])
    assert not torch.allclose(absent["ensemble"], other["ensemble"], atol=1e-3)


def test_one_prediction_is_trained_by_one_loss():
    torch.manual_seed(0)
    options = dict(num_classes=5, backbone="test_resnet", fusion="early", decoder={"width": 16}, modality_dropout=0.5)
    model = multimodal_segmentor(modalities=("rgb", "depth"), **options)
    label = torch.randint(0, 5, (2, 64, 64))
    for _ in range(4):  # of both modalities, and of either alone
        losses = model({n: maps(size=(64, 64))[n] for n in ("rgb", "depth")}, labelled(label), mode="loss")
        assert list(losses) == ["loss_ensemble"]
        losses["loss_ensemble"].backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]
    assert not model.heads["labels"].alpha


def test_what_early_fusion_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"stages=\(1,\)"):
        build_fusion({"name": "early", "stages": [1]})
    with pytest.raises(ValueError, match="one encoder for all"):
        SharedBackbone("test_resnet", MODALITIES, fusion=build_fusion("early"), weights="separate")
