"""Networks behind FID, KID and LPIPS: only from files that are there, and equal to the libraries that define them."""

from __future__ import annotations

import sys

import pytest
import torch

from rgbx._torchvision import ensure_torchvision
from rgbx.tasks.feature_networks import LPIPS, inception_features, read_weights

ensure_torchvision()


@pytest.fixture(scope="module")
def lpips_files(tmp_path_factory):
    """Random weights of AlexNet and of the linear layers, as the two projects lay them out."""
    from torchvision.models import alexnet

    folder = tmp_path_factory.mktemp("lpips")
    torch.manual_seed(0)
    network = alexnet(weights=None)
    torch.save(network.state_dict(), folder / "alexnet.pth")
    channels = (64, 192, 384, 256, 256)
    state = {f"lin{k}.model.1.weight": torch.rand(1, c, 1, 1) for k, c in enumerate(channels)}
    torch.save(state, folder / "alex.pth")
    return folder / "alexnet.pth", folder / "alex.pth"


def test_lpips_equals_torchmetrics(lpips_files):
    from torchmetrics.functional.image.lpips import _LPIPS

    backbone, linear = lpips_files
    other = _LPIPS(pretrained=False, net="alex", pnet_rand=True, use_dropout=True)
    features = torch.load(backbone, weights_only=True)
    slices = {f"net.slice{k + 1}": indices for k, indices in enumerate(((0,), (3,), (6,), (8,), (10,)))}
    renamed = {
        f"{name}.{index}.{kind}": features[f"features.{index}.{kind}"]
        for name, indices in slices.items()
        for index in indices
        for kind in ("weight", "bias")
    }
    missing = other.load_state_dict({**renamed, **torch.load(linear, weights_only=True)}, strict=False)
    assert not missing.unexpected_keys
    assert all(key.startswith(("scaling", "lins.")) for key in missing.missing_keys)
    for index, layer in enumerate(other.lins):  # the same modules as lin0 ..., or copies of their own
        layer.load_state_dict({"model.1.weight": torch.load(linear, weights_only=True)[f"lin{index}.model.1.weight"]})
    a, b = torch.rand(2, 2, 3, 70, 64) * 2 - 1
    with torch.no_grad():
        found, expected = LPIPS(backbone, linear)(a, b), other.eval()(a, b).flatten()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
    assert found.min() > 0
    assert LPIPS(backbone, linear)(a, a).tolist() == [0, 0]


def test_lpips_refuses_other_files(lpips_files, tmp_path):
    backbone, linear = lpips_files
    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such file; expected torchvision's alexnet.*Nothing is"):
        LPIPS(tmp_path / "none.pth", linear)
    with pytest.raises(ValueError, match="expected torchvision's alexnet weights, but its keys"):
        LPIPS(linear, linear)
    with pytest.raises(ValueError, match=r"expected the keys \['lin0\.model"):
        LPIPS(backbone, backbone)
    with pytest.raises(ValueError, match=r"networks \['alex', 'vgg'\], found 'squeeze'"):
        LPIPS(backbone, linear, "squeeze")


def test_inception_only_from_its_file(tmp_path, monkeypatch):
    """No library, no file, a file of other things: each is said, and nothing is fetched."""
    library = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    monkeypatch.setattr(library, "load_state_dict_from_url", lambda *a, **k: pytest.fail("a download"))
    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such file; expected the Inception-v3 of TensorFlow"):
        inception_features(tmp_path / "none.pth")
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth: expected the Inception-v3 .* but its keys or shapes differ"):
        inception_features(tmp_path / "other.pth")
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(ImportError, match=r"pip install 'rgbx\[metrics\]', or leave fid=None"):
        inception_features(tmp_path / "other.pth")


def test_inception_features(tmp_path, monkeypatch):
    """With random weights in the library's own layout: features of each image alone, of the network in that file."""
    library = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    torch.manual_seed(0)
    with monkeypatch.context() as patch:
        patch.setattr(library.FeatureExtractorInceptionV3, "load_state_dict", lambda *a, **k: None)
        patch.setattr(library, "load_state_dict_from_url", lambda *a, **k: None)
        random = library.FeatureExtractorInceptionV3("random", ["2048"]).eval()
    torch.save(random.state_dict(), tmp_path / "inception.pth")
    network = inception_features(tmp_path / "inception.pth")
    images = torch.randint(0, 256, (2, 3, 40, 50), dtype=torch.uint8)
    (features,) = network(images)
    assert features.shape == (2, 2048) and features.dtype == torch.float32
    torch.testing.assert_close(features, random(images)[0])
    torch.testing.assert_close(features[1:], network(images[1:])[0], rtol=1e-4, atol=1e-5)


def test_weights_are_plain_tensors(tmp_path):
    torch.save({"a": 3}, tmp_path / "number.pth")
    with pytest.raises(ValueError, match=r"number\.pth holds a dict, not a dict of tensors; a hint"):
        read_weights(tmp_path / "number.pth", "weights", "a hint")
    (tmp_path / "text.pth").write_text("no")
    with pytest.raises(ValueError, match=r"text\.pth is damaged or no weights: it begins with .*; a hint"):
        read_weights(tmp_path / "text.pth", "weights", "a hint")
