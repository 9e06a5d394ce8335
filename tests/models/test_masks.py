"""Masks of networks with gates: where a modality is not believed, in losses, results, predictions and pictures."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from small_models import LABELS, batch, small

from rgbx.cli.predict import main
from rgbx.evaluate.pictures import PictureObserver
from rgbx.maps.colour import colour_map
from rgbx.models import PROTOCOLS, Predictor, Protocol
from rgbx.models.checkpoint import to_plain

OPENS_AT = np.log(2) / 3 - 3  # β ln 2 of a = logit + 3


def gated(seed=0, **options):
    """A model whose gates close somewhere."""
    model = small("classes", seed=seed, purification={"hidden": 4}, **options).eval()
    generator = torch.Generator().manual_seed(seed)
    for gate in model.backbone.purification.of_stages():
        for parameter in gate.parameters():
            parameter.data += 0.4 * torch.randn(parameter.shape, generator=generator)
    return model


def logits_of(model, inputs):
    """The logits of each stage, [2N, 1, h, w], by hooks on the gates' last layers."""
    logits, hooks = [], []
    for gate in model.backbone.purification.of_stages():
        hooks.append(gate.decide.register_forward_hook(lambda _m, _i, out: logits.append(out)))
    with torch.no_grad():
        model.outputs(inputs)
    for hook in hooks:
        hook.remove()
    return logits


def test_masks_are_the_gates_of_the_call():
    """Images of 64×64 need no padding; where every stage's logits are alike, the mask is their sigmoid."""
    model = gated()
    for gate in model.backbone.purification.of_stages():
        for layers in gate.decide.copies.values():
            layers[-1].weight.data.zero_()
            layers[-1].bias.data.fill_(-4.0)
        gate.decide.copies["rgb"][-1].bias.data.fill_(1.0)
    (found, _) = Predictor(model)(batch((64, 64)))
    assert list(found["masks"]) == ["rgb", "depth"]
    for name, logit in (("rgb", 1.0), ("depth", -4.0)):
        expected = 1 / (1 + np.exp(OPENS_AT - logit))
        assert found["masks"][name].shape == (64, 64)
        np.testing.assert_allclose(found["masks"][name], expected, atol=1e-6)
    (alone, _) = Predictor(model, modalities=["depth"])(batch((64, 64)))
    assert list(alone["masks"]) == ["depth"]
    assert "masks" not in Predictor(small("classes").eval())(batch())[0]


def test_a_mask_below_a_half_is_closed_in_some_stage():
    model = gated()
    data = batch((64, 64))
    inputs = model.data_preprocessor(data)["inputs"]
    logits = logits_of(model, inputs)
    assert len(logits) == 4
    margins = torch.stack([F.interpolate(x - OPENS_AT, (64, 64), mode="bilinear") for x in logits])  # [4, 2N, 1, ...]
    found = Predictor(model)(data)
    masks = torch.stack([sample["masks"][name] for name in ("rgb", "depth") for sample in found])
    assert 0 < (masks < 0.5).float().mean() < 1
    torch.testing.assert_close(masks, margins.amin(0)[:, 0].sigmoid(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "rules",
    [
        Protocol("flip", "ours", flip=True),
        Protocol("scales", "ours", scales=(0.75, 1.0)),
        Protocol("windows", "ours", resized="scores", window=(32, 40), stride=(16, 16), window_weight="sum"),
        PROTOCOLS["cmx-ms"],
    ],
    ids=lambda rules: rules.name,
)
def test_masks_are_means_over_the_views(rules):
    """Of gates that say one thing of each modality everywhere, the mean is that, however views overlap or turn."""
    model = gated()
    for gate in model.backbone.purification.of_stages():
        for name, layers in gate.decide.copies.items():
            layers[-1].weight.data.zero_()
            layers[-1].bias.data.fill_({"rgb": -2.0, "depth": -3.5}[name])
    for sample in Predictor(model, rules)(batch((50, 64))):
        for name, logit in (("rgb", -2.0), ("depth", -3.5)):
            assert sample["masks"][name].shape == (50, 64)
            np.testing.assert_allclose(sample["masks"][name], 1 / (1 + np.exp(OPENS_AT - logit)), atol=1e-4)


def test_mirrored_views_are_turned_back():
    model, data = gated(), batch((64, 64))
    turned = {key: x.flip(-1) if isinstance(x, torch.Tensor) else x for key, x in data.items()}
    straight, mirrored = (Predictor(model)(each)[0]["masks"]["depth"] for each in (data, turned))
    both = Predictor(model, Protocol("flip", "ours", flip=True))(data)[0]["masks"]["depth"]
    torch.testing.assert_close(both, (straight + mirrored.flip(-1)) / 2, atol=1e-5, rtol=0)
    assert not torch.allclose(straight, mirrored.flip(-1), atol=1e-3)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with a checkpoint and a frame; its model and batch."""
    model, rng = gated(heads={"labels": LABELS}), np.random.default_rng(0)
    maps = {"rgb": {"name": "rgb", "channels": 3, "dtype": "uint8", "unit": "rgb8", "interpolation": "linear"}}
    meta = {"dataset_meta": {"maps": maps, "stored": {"depth": {"scale": 1000.0}}}}
    torch.save({"state_dict": model.state_dict(), "model": to_plain(model.recipe), "meta": meta}, tmp_path / "m.pth")
    colours, depth = rng.integers(0, 256, (34, 50, 3), np.uint8), rng.integers(0, 9000, (34, 50)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), colours[..., ::-1])
    cv2.imwrite(str(tmp_path / "d.png"), depth)
    monkeypatch.chdir(tmp_path)
    data = {
        "rgb": torch.from_numpy(colours.transpose(2, 0, 1).copy())[None],
        "depth": torch.from_numpy(depth.astype(np.float32) / np.float32(1000))[None, None],
    }
    return model, data


def test_results_hold_masks(files):
    model, data = files
    expected = Predictor(model)(data)[0]["masks"]
    result = model.predict(rgb="a.png", depth="d.png", depth_scale=1000)
    assert list(result.masks) == ["rgb", "depth"]
    for name, mask in result.masks.items():
        assert mask.dtype == np.float32 and np.array_equal(mask, expected[name].numpy())
    assert np.array_equal(result.of_branch("depth").masks["rgb"], result.masks["rgb"])
    panels = {panel.title: panel for panel in result.panels()}
    assert {"mask of RGB", "mask of depth"} <= set(panels)
    assert np.array_equal(panels["mask of depth"].picture, colour_map(result.masks["depth"], limits=(0, 1)))
    assert panels["mask of depth"].bar.limits == (0.0, 1.0)
    assert small("classes").eval().predict(rgb="a.png").masks == {}


def test_masks_as_files(files, capsys):
    model, data = files
    words = ["m.pth", "rgb=a.png", "depth=d.png", "--device", "cpu"]
    assert main([*words, "--masks", "--out", "out"]) == 0
    for name, mask in Predictor(model)(data)[0]["masks"].items():
        with Image.open(f"out/masks_{name}/a.png") as image:
            assert "below 1/2 masked" in image.text["Description"] and "value / 65535" in image.text["Description"]
        stored = cv2.imread(f"out/masks_{name}/a.png", cv2.IMREAD_UNCHANGED)
        assert stored.dtype == np.uint16 and np.abs(stored / 65535 - mask.numpy()).max() < 1e-4
    assert main([*words, "--masks", "--out", "out", "--resume"]) == 0
    assert main([*words, "--out", "plain"]) == 0
    capsys.readouterr()
    assert main([*words, "--out", "out", "--resume"]) == 2
    assert "masks was True" in capsys.readouterr().err
    model = small("classes")
    torch.save({"state_dict": model.state_dict(), "model": to_plain(model.recipe)}, "open.pth")
    assert main(["open.pth", "rgb=a.png", "--masks", "--out", "open", "--device", "cpu"]) == 2
    assert "--masks is of a model with gates" in capsys.readouterr().err


def test_pictures_of_an_evaluation_show_masks():
    model, data = gated(), batch((64, 64))
    meta = {"classes": list("abcde"), "palette": [[k, k, k] for k in range(5)], "maps": {}}
    observer = PictureObserver(model, meta, count=1)
    observer.start(2, ("rgb", "depth"))
    outputs = Predictor(model)(data)
    observer.see(data, outputs)
    kept = observer.panels["s0"]
    assert np.array_equal(kept["mask of depth"], colour_map(outputs[0]["masks"]["depth"].numpy(), limits=(0, 1)))
