"""Checkpoints of the authors against the answers of their own code, and against their network written out once more."""

import pathlib
import re

import numpy as np
import pytest
import torch
from authors_network import AuthorsNetwork, authors_keys

from rgbx.convert import asymfusion_model, convert_asymfusion
from rgbx.models import load, multimodal_segmentor
from rgbx.models.checkpoint import read_checkpoint
from rgbx.tasks import Target

NAMES = ("rgb", "depth", "ensemble")


def relative(found, expected):
    found, expected = (torch.as_tensor(x, dtype=torch.float64).detach() for x in (found, expected))
    return float((found - expected).abs().max() / expected.abs().max())


def decoder_logits(model, inputs):
    """Logits of the branches and the ensemble at the decoder's resolution."""
    with torch.no_grad(), model.layout.holding(inputs):
        names, stack = model.heads["labels"](model.backbone(inputs), tuple(inputs))
    return dict(zip(names, stack.chunk(len(names)), strict=True))


@pytest.fixture(scope="module")
def answers(reference):
    return dict(np.load(reference / "asymfusion_resnet50.npz"))


@pytest.fixture(scope="module")
def converted(weights, tmp_path_factory):
    """The reference network, from the authors' format through a file of rgbx to a model, and the report."""
    folder = tmp_path_factory.mktemp("converted")
    state = {f"module.{key}": x for key, x in weights.items()}
    torch.save({"segmenter": state, "epoch_start": 295, "best_val": np.float64(48.5)}, folder / "in.pth.tar")
    _, report = convert_asymfusion(folder / "in.pth.tar", folder / "out.pth")
    model, meta = load(folder / "out.pth"), read_checkpoint(folder / "out.pth")["meta"]
    for path in folder.iterdir():
        path.unlink()
    return model, report, meta


@pytest.fixture(scope="module")
def inputs(seeded):
    return {"rgb": seeded("x0", (1, 3, 64, 96)), "depth": seeded("x1", (1, 3, 64, 96))}


def test_reproduces_the_authors_logits_and_alpha(converted, inputs, answers):
    model = converted[0]
    logits = decoder_logits(model, inputs)
    for name in NAMES:
        assert relative(logits[name], answers[name]) < 1e-4
    alpha = torch.stack([model.heads["labels"].alpha[name] for name in ("rgb", "depth")]).softmax(0)
    assert relative(alpha, answers["alpha_softmax"]) < 1e-6


def test_reproduces_the_authors_loss_and_gradients(converted, inputs, answers):
    model = converted[0]
    label = torch.from_numpy(np.random.RandomState(7).randint(0, 40, (1, 64, 96)))
    losses = model(inputs, {"labels": Target(label)}, mode="loss")
    loss = sum(losses.values())
    assert relative(loss, answers["loss"]) < 1e-4
    parameters = {
        "alpha": [model.heads["labels"].alpha["rgb"], model.heads["labels"].alpha["depth"]],
        "conv1.module.weight": [model.backbone.network.conv1.weight],
        "bn1.bn_0.weight": [model.backbone.network.bn1.norms["rgb"].weight],
        "bn1.bn_1.weight": [model.backbone.network.bn1.norms["depth"].weight],
        "layer1.2.conv2.module.weight": [model.backbone.network.layer1[2].conv2.weight],
        "layer4.2.conv2.module.weight": [model.backbone.network.layer4[2].conv2.weight],
        "clf_conv.module.weight": [model.heads["labels"].decoder.classifier.weight],
    }
    assert {f"grad_norm/{name}" for name in parameters} == {key for key in answers if key.startswith("grad_norm/")}
    flat = torch.autograd.grad(loss, [p for group in parameters.values() for p in group])
    gradients = iter(flat)
    for name, group in parameters.items():
        norm = torch.stack([next(gradients).norm() for _ in group]).norm()
        assert relative(norm, answers[f"grad_norm/{name}"]) < 1e-3, name


def test_every_key_is_used_and_what_was_noted_is_kept(converted, keys):
    model, report, meta = converted
    assert set(report.used) == {f"module.{key}" for key in keys} and not report.unused and not report.absent
    targets = [key for group in report.used.values() for key in group]
    own = {key for key in model.state_dict() if not key.startswith("data_preprocessor.")}
    assert len(targets) == len(set(targets)) and set(targets) == own
    assert meta["converted"] == {"from": "asymfusion", "file": "in.pth.tar", "epoch_start": 295.0, "best_val": 48.5}
    assert "672 of 672 tensors used" in str(report) and "Unused tensors: none." in str(report)


def test_inputs_are_normalised_as_the_authors_do(converted):
    preprocessor = converted[0].data_preprocessor
    raw = torch.tensor([0, 5000, 12345])
    batch = {"rgb": torch.full((1, 3, 1, 3), 200, dtype=torch.uint8), "depth": (raw / 5000).view(1, 1, 1, 3)}
    found = preprocessor(batch)["inputs"]
    expected = (200 / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(found["rgb"][0, :, 0, 0], expected)
    torch.testing.assert_close(found["depth"].flatten(), raw / 5000)


def test_the_network_written_once_more_is_the_authors(weights, inputs, answers):
    with torch.no_grad():
        logits = AuthorsNetwork(weights)(list(inputs.values()))
    for name, found in zip(NAMES, logits, strict=True):
        assert relative(found, answers[name]) < 1e-4


def test_images_of_any_size_are_resized_but_not_padded(converted, weights):
    inputs = {name: torch.randn(1, 3, 45, 70, generator=torch.Generator().manual_seed(1)) for name in NAMES[:2]}
    with torch.no_grad():
        expected = AuthorsNetwork(weights)(list(inputs.values()))
        found = converted[0](inputs)
    for name, logits in zip(NAMES, expected, strict=True):
        resized = torch.nn.functional.interpolate(logits, (45, 70), mode="bilinear", align_corners=False)
        assert relative(found[name], resized) < 1e-4


def test_the_network_of_cen(weights, inputs):
    """A twentieth of the scales is made small, below the threshold of the released code and just above it."""
    changed, draw = dict(weights), torch.Generator().manual_seed(3)
    for key in [key for key in weights if ".bn2.bn_" in key and key.endswith(".weight")]:
        few = torch.rand(weights[key].shape, generator=draw) < 0.05
        small = torch.tensor([-0.0199, 0.0199, 0.0201])[torch.randint(0, 3, few.shape, generator=draw)]
        changed[key] = torch.where(few, small, weights[key])
    theirs = AuthorsNetwork(changed, threshold=0.02)
    with torch.no_grad():
        expected = theirs(list(inputs.values()))
    assert theirs.exchanged > 100
    model, report = asymfusion_model({"segmenter": changed}, "cen.pth", network="cen")
    assert not report.unused and model.recipe["parameters"]["fusion"]["name"] == "channel_exchange"
    found = decoder_logits(model.eval(), inputs)
    for name, logits in zip(NAMES, expected, strict=True):
        assert relative(found[name], logits) < 1e-4


@pytest.mark.parametrize("depth", [101, 152])
def test_deeper_networks_at_an_odd_size_and_two_images(depth, keys, weights):
    """Blocks beyond those of the ResNet-50 get the weights of another, rolled; names with and without module."""
    shapes, deeper = authors_keys(keys, depth), dict(weights)
    for key in shapes.keys() - keys.keys():
        stage, block, *rest = key.split(".")
        deeper[key] = weights[".".join([stage, "1", *rest])].roll(int(block))
    prefix = "module." if depth == 101 else ""
    state = {"segmenter": {prefix + key: x for key, x in deeper.items()}}
    model, report = asymfusion_model(state, "deeper.pth", modalities=("rgb", "depth"), num_classes=40)
    assert len(report.used) == len(shapes) and not report.unused
    inputs = {
        name: torch.randn(2, 3, 51, 77, generator=torch.Generator().manual_seed(i)) for i, name in enumerate(NAMES[:2])
    }
    with torch.no_grad():
        expected = AuthorsNetwork(deeper)(list(inputs.values()))
    found = decoder_logits(model.eval(), inputs)
    for name, logits in zip(NAMES, expected, strict=True):
        assert found[name].shape == (2, 40, 13, 20)
        assert relative(found[name], logits) < 1e-4


@pytest.mark.parametrize(
    ("depth", "one", "two"), [(50, "99.10", "99.16"), (101, "118.10", "118.20"), (152, "133.74", "133.89")]
)
def test_parameter_counts(depth, one, two):
    counts = []
    for modalities in (("rgb",), ("rgb", "depth")):
        with torch.device("meta"):
            model = multimodal_segmentor(
                modalities=modalities, num_classes=40, backbone=f"resnet{depth}", decoder="refinenet"
            )
        counts.append(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}")
    assert counts == [one, two]


def one_modality(keys):
    return {key: [1] if key == "alpha" else shape for key, shape in keys.items() if ".bn_1." not in key}


def test_a_network_of_one_modality_needs_its_name(make_checkpoint, narrow_keys):
    names = one_modality(narrow_keys)
    state = make_checkpoint(names=names)
    with pytest.raises(ValueError, match="1 modality; say which"):
        asymfusion_model(state, "in.pth")
    with pytest.raises(ValueError, match="1 modalities; expected 2: rgb, depth"):
        asymfusion_model(state, "in.pth", modalities=("rgb", "depth"))
    model, report = asymfusion_model(state, "in.pth", modalities=("depth",))
    assert model.modalities == ("depth",) and len(report.used) == len(names) - 1
    assert report.unused == ("module.alpha",)  # one prediction is its own ensemble
    assert list(model.backbone.network.bn1.norms) == ["depth"]


def test_modalities_in_the_order_of_the_file(make_checkpoint):
    changes = {"alpha": torch.tensor([0.1, 0.2]), "bn1.bn_1.bias": torch.arange(64.0)}
    bare = make_checkpoint(**changes)["segmenter"]  # without the outer dict
    model, _ = asymfusion_model(bare, "bare.pth", modalities=("depth", "rgb"))
    assert torch.equal(model.backbone.network.bn1.norms["rgb"].bias, torch.arange(64.0))
    assert torch.equal(
        torch.stack([model.heads["labels"].alpha["depth"], model.heads["labels"].alpha["rgb"]]), changes["alpha"]
    )


def test_what_is_unused_or_absent_is_named(make_checkpoint):
    counter = "layer1.0.bn1.bn_0.num_batches_tracked"
    extra = {"aux.module.weight": torch.zeros(3), counter: None}
    _, report = asymfusion_model(make_checkpoint(entries={"best_val": 51.25, "args": {"gpu": 1}}, **extra), "in.pth")
    assert (report.unused, report.absent) == (("module.aux.module.weight",), (counter,))
    assert (report.kept, report.dropped) == ({"best_val": 51.25}, ("args",))
    text = str(report)
    assert "671 of 672 tensors used" in text
    for name in ("module.aux.module.weight", counter, "best_val 51.25", "args"):
        assert name in text


REFUSED = [
    ({}, {"num_classes": 13}, "a network of 40 classes; expected 13"),
    ({}, {"modalities": ("rgb",)}, "a network of 2 modalities; expected 1: rgb"),
    ({}, {"modalities": ("rgb", "thermal")}, r"\['rgb', 'thermal'\]; the authors' networks take rgb, depth"),
    ({"clf_conv.module.weight": None}, {}, "is no RefineNet of AsymFusion's authors"),
    ({"layer4.3.conv1.module.weight": torch.zeros(1)}, {}, r"\(3, 4, 6, 4\) residual blocks .* \(3, 4, 6, 3\) \(Res"),
    ({"alpha": torch.zeros(3)}, {}, r"norms of 2 modalities, but its 'alpha' has shape \[3\]"),
    ({"alpha": None, "layer2.1.conv1.module.weight": None}, {}, "lacks 2 tensors: alpha, layer2.1.conv1.module.weight"),
    ({"conv1.module.weight": torch.zeros(64, 1, 7, 7)}, {}, r"conv1.module.weight is \[64, 1, 7, 7\], expected \[64,"),
]


@pytest.mark.parametrize(("changes", "options", "message"), REFUSED, ids=lambda x: x[:30] if isinstance(x, str) else "")
def test_refuses_in_a_sentence_and_writes_nothing(changes, options, message, make_checkpoint, tmp_path):
    torch.save(make_checkpoint(**changes), tmp_path / "in.pth.tar")
    with pytest.raises(ValueError, match=message) as error:
        convert_asymfusion(tmp_path / "in.pth.tar", tmp_path / "out.pth", **options)
    assert re.search(r"in\.pth\.tar|modalities", str(error.value)) and not (tmp_path / "out.pth").exists()


def test_another_projects_checkpoint_is_no_such_file(tmp_path):
    torch.save({"meta": {}, "state_dict": {"w": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth has no 'segmenter' of tensors; it holds \['meta', 'state_dict'\]"):
        convert_asymfusion(tmp_path / "other.pth", tmp_path / "out.pth")


def test_code_in_a_file_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pathlib.Path.touch, (tmp_path / "ran",))

    torch.save({"segmenter": {"module.alpha": torch.zeros(2)}, "best_val": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(ValueError, match="can run any code: pass --trust"):
        convert_asymfusion(tmp_path / "trap.pth", tmp_path / "out.pth")
    assert not (tmp_path / "ran").exists()
