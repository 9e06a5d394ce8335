import pytest
import torch

from rgbx.backbones import SharedBackbone
from rgbx.backbones._timm import timm


def test_partial_imagenet_weights_leave_the_missing_block_as_identity(shared_dir):
    path = str(shared_dir / "data" / "resnet18_imagenet_partial.pth")
    backbone = SharedBackbone("resnet18", ("rgb", "depth"), pretrained=path)
    summary = backbone.pretrained_summary
    assert summary.missing and all(key.startswith("layer4.1.") for key in summary.missing)
    assert set(summary.unused) == {"fc.weight", "fc.bias"}
    stored = torch.load(path, weights_only=True)
    for name in ("rgb", "depth"):
        assert torch.equal(backbone.network.layer3[0].bn1.norms[name].weight, stored["layer3.0.bn1.weight"])
    x = torch.rand(2, 512, 3, 3)
    assert torch.equal(backbone.network.layer4[1].eval()(x), x)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}}])
def test_wrapped_and_prefixed_state_dicts(wrap, tmp_path):
    state = timm.create_model("resnet18").state_dict()
    torch.save(wrap(state), tmp_path / "w.pth")
    backbone = SharedBackbone("resnet18", ("rgb",), pretrained=str(tmp_path / "w.pth"))
    assert torch.equal(backbone.network.conv1.weight, state["conv1.weight"])


def test_files_that_are_no_weights_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        SharedBackbone("resnet18", ("rgb",), pretrained=str(tmp_path / "absent.pth"))
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(ValueError, match=r"text\.pth is no file of plain tensors"):
        SharedBackbone("resnet18", ("rgb",), pretrained=str(tmp_path / "text.pth"))
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not look like weights of resnet18"):
        SharedBackbone("resnet18", ("rgb",), pretrained=str(tmp_path / "other.pth"))
