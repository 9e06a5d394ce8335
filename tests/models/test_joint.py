import pytest
import torch

from rgbx.models import Predictor, TranslationPredictor, build_model, multimodal_joint, multimodal_translator
from rgbx.models.joint import JointModel

torch.set_num_threads(1)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return multimodal_joint(
        modalities=("rgb", "depth"), num_classes=4, target="normal", decoder=dict(width=8), translation_width=8, l1=3.0
    )


def batch(size=(32, 64)):
    g = torch.Generator().manual_seed(1)
    return {
        "rgb": torch.randint(0, 256, (2, 3, *size), generator=g, dtype=torch.uint8),
        "depth": torch.rand(2, 1, *size, generator=g) * 9 - 1,  # with holes
        "normal": torch.nn.functional.normalize(torch.randn(2, 3, *size, generator=g), dim=1),
        "label": torch.randint(0, 4, (2, *size), generator=g),
        "sample_id": ["a", "b"],
    }


def test_a_step_trains_backbone_and_both_heads(model):
    data = model.data_preprocessor(batch(), training=True)
    losses = model(**data, mode="loss")
    names = ("rgb", "depth", "ensemble")
    assert set(losses) == {f"loss_{n}" for n in names} | {f"loss_translation_l1_{n}" for n in names}
    sum(losses.values()).backward()
    untrained = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert untrained == []
    moved = {name.split(".")[0] for name, p in model.named_parameters() if p.grad.abs().sum() > 0}
    assert moved == {"backbone", "segmentor", "translator"}


def test_losses_are_those_of_the_heads_alone(model):
    model.eval()  # the same statistics in every pass
    data = model.data_preprocessor(batch())
    joint = model(**data, mode="loss")
    first = model.segmentor(data["inputs"], data["label"], mode="loss")
    second = model.translator(data["inputs"], data["target"], data["valid"], mode="loss")
    for name, loss in first.items():
        torch.testing.assert_close(joint[name], loss)
    for name, loss in second.items():
        torch.testing.assert_close(joint[name.replace("loss_", "loss_translation_")], loss)


def test_each_head_predicts_alone(model):
    model.eval()
    data = batch((40, 50))
    together = model.val_step(data)
    classes = Predictor(model.segmentor)(data)
    images = TranslationPredictor(model.translator)(data)
    for sample, segmented, translated in zip(together, classes, images, strict=True):
        assert sample["sample_id"] == segmented["sample_id"] == translated["sample_id"]
        for name in ("rgb", "depth", "ensemble"):
            assert torch.equal(sample["segmentation"]["prediction"][name], segmented["prediction"][name])
            assert torch.equal(sample["prediction"][name], translated["prediction"][name])
    model.use_modalities(["depth"])
    assert list(Predictor(model.segmentor)(data)[0]["prediction"]) == ["depth", "ensemble"]
    assert list(TranslationPredictor(model.translator)(data)[0]["prediction"]) == ["depth", "ensemble"]


def test_the_backbone_runs_once_and_is_one(model):
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    data = model.data_preprocessor(batch((40, 50)))
    model(**data, mode="loss")
    assert len(calls) == 1
    predicted = model.eval()(**data, mode="predict")
    assert len(calls) == 2
    logits = model(data["inputs"])["segmentation"]["ensemble"]  # padded as the losses saw it
    for sample, expected in zip(predicted, logits.argmax(1), strict=True):
        assert torch.equal(sample["segmentation"]["prediction"]["ensemble"], expected.to(torch.uint8))
    assert torch.equal(model.segmentor(data["inputs"])["ensemble"], logits)
    assert model.translator.generator.backbone is model.segmentor.backbone is model.backbone
    names = [name for name, _ in model.named_parameters()]
    assert len(names) == len({id(p) for p in model.parameters()})
    assert any(name.startswith("backbone.") for name in names)  # what an optimizer knows as the encoder


def test_it_is_rebuilt_from_its_recipe(model):
    again = build_model(model.recipe)
    again.load_state_dict(model.state_dict())
    data = model.data_preprocessor(batch())["inputs"]
    first, second = (m.eval()(data)["segmentation"]["ensemble"] for m in (model, again))
    assert torch.equal(first, second)


def test_what_does_not_belong_together_is_refused(model):
    other = multimodal_translator(
        modalities=("rgb", "depth"), target="normal", generator=dict(name="backbone", width=8), discriminator=None
    )
    with pytest.raises(ValueError, match="must stand on the segmentor's backbone"):
        JointModel(model.segmentor, other)
    with pytest.raises(ValueError, match="needs it beside the label"):
        data = {k: v for k, v in batch().items() if k != "normal"}
        model(**model.data_preprocessor(data), mode="loss")


def test_mirrored_normals_turn_their_x_and_holes_stay(model):
    normal = torch.rand(1, 3, 2, 3) - 0.5
    normal[..., 0, 0] = -1
    found = model.segmentor.data_preprocessor.mirror({"normal": normal})["normal"]
    assert (found[0, :, 0, 2] == -1).all()
    expected = normal.flip(-1) * torch.tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1)
    assert torch.equal(found[:, :, 1], expected[:, :, 1])
