"""The perceptual loss against torchvision's own VGG with random weights."""

import pytest
import torch

from rgbx._torchvision import ensure_torchvision
from rgbx.losses import PerceptualLoss

ensure_torchvision()

from torchvision.models import vgg16, vgg19  # noqa: E402
from torchvision.transforms import Normalize  # noqa: E402

NORMALISE = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
AFTER = {  # index of the ReLU in torchvision's ``features``
    "vgg16": {"relu1_1": 1, "relu2_1": 6, "relu3_1": 11, "relu3_3": 15, "relu4_1": 18, "relu5_1": 25},
    "vgg19": {"relu1_1": 1, "relu2_1": 6, "relu3_1": 11, "relu3_3": 15, "relu4_1": 20, "relu5_1": 29},
}
HD = {"relu1_1": 1 / 32, "relu2_1": 1 / 16, "relu3_1": 1 / 8, "relu4_1": 1 / 4, "relu5_1": 1.0}


@pytest.fixture(scope="module", params=["vgg16", "vgg19"])
def network(request, tmp_path_factory):
    """(name, torchvision's features, path of a weight file); the unused classifier is left out."""
    torch.manual_seed(0)
    with torch.device("meta"):
        features = {"vgg16": vgg16, "vgg19": vgg19}[request.param](init_weights=False).features
    features = features.to_empty(device="cpu")
    for name, parameter in features.named_parameters():
        fan = parameter[0].numel() if name.endswith("weight") else 100
        parameter.data.normal_(0, (2 / fan) ** 0.5)
    path = tmp_path_factory.mktemp("weights") / "vgg.pth"
    torch.save({f"features.{key}": value for key, value in features.state_dict().items()}, path)
    return request.param, features, path


def expected_loss(name, features, layers, prediction, target):
    total, x, y = 0.0, NORMALISE((prediction + 1) / 2), NORMALISE((target + 1) / 2)
    weights = {AFTER[name][layer]: weight for layer, weight in layers.items()}
    for index in range(max(weights) + 1):
        x, y = features[index](x).clone(), features[index](y).clone()
        total = total + weights.get(index, 0.0) * (x - y).abs().mean()
    return total


@pytest.mark.parametrize("layers", [None, {"relu3_3": 2.0}])
def test_it_is_the_distance_of_torchvisions_features(network, layers):
    name, features, path = network
    prediction, target = (2 * torch.rand(2, 3, 32, 36) - 1 for _ in range(2))
    prediction.requires_grad_()
    loss = PerceptualLoss(path, layers=layers)
    value = loss(prediction, target)
    wanted = expected_loss(name, features, layers or HD, prediction, target)
    torch.testing.assert_close(value, wanted)
    (gradient,) = torch.autograd.grad(value, prediction)
    torch.testing.assert_close(gradient, torch.autograd.grad(wanted, prediction)[0], rtol=1e-3, atol=1e-8)


def test_one_channel_is_repeated_and_nothing_enters_the_checkpoint(network):
    loss = PerceptualLoss(network[2], layers={"relu2_1": 1.0})
    x, y = torch.rand(1, 1, 16, 16), torch.rand(1, 1, 16, 16)
    assert torch.equal(loss(x, y), loss(x.repeat(1, 3, 1, 1), y.repeat(1, 3, 1, 1)))
    assert loss(x, x).item() == 0
    assert not loss.state_dict() and not list(loss.parameters())
    with pytest.raises(ValueError, match=r"\[1, 2, 16, 16\]"):
        loss(torch.rand(1, 2, 16, 16), y)


def test_it_can_be_built_under_the_meta_device(network):
    with torch.device("meta"):
        loss = PerceptualLoss(network[2])
    x, y = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    assert torch.equal(loss(x, y), PerceptualLoss(network[2])(x, y))


@pytest.mark.parametrize("layers", [{"relu6_1": 1.0}, {}])
def test_unknown_layers_are_refused(network, layers):
    with pytest.raises(ValueError, match="layers hold"):
        PerceptualLoss(network[2], layers=layers)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"vgg\.pth: no such file.*downloads nothing"):
        PerceptualLoss(tmp_path / "vgg.pth")


def test_other_networks_are_refused(tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"its keys are conv1\.weight"):
        PerceptualLoss(path)
    torch.save([1], path)
    with pytest.raises(ValueError, match="holds a list"):
        PerceptualLoss(path)
    convolutions = {f"features.{place}.weight": torch.zeros(1) for place in range(30)}
    for state in ({**convolutions, 3: torch.zeros(1)}, {"features.x.weight": torch.zeros(1)}, {"features.0.weight": 3}):
        torch.save(state, path)
        with pytest.raises(ValueError, match=r"resnet\.pth (is no VGG16|holds a dict)"):
            PerceptualLoss(path)
    torch.save({"a": torch.zeros(3)}, path)
    path.write_bytes(path.read_bytes().replace(b"torch._utils", b"torch.\xff\xfftils"))
    with pytest.raises(ValueError, match=r"resnet\.pth is no weight file"):
        PerceptualLoss(path)
    path.write_text("not a file of torch")
    with pytest.raises(ValueError, match="no weight file"):
        PerceptualLoss(path)
