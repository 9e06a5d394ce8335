"""Low-rank updates for each modality, against networks whose weights hold them; what is frozen and what learns."""

import copy

import pytest
import torch
from small_models import batch, diverse, run, small

from rgbx.backbones import SharedBackbone
from rgbx.backbones._timm import timm
from rgbx.backbones.network import Anatomy, Stage, layers_of_images
from rgbx.fusion import build_fusion
from rgbx.layers import Adapters, owner
from rgbx.layers.adapters import can_be_adapted
from rgbx.models.load import model_of

NAMES = ("rgb", "depth", "thermal")


def given(size, names=NAMES):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(2, 3, *size, generator=generator) for name in names}


def adapted(name, seed=0):
    """A backbone whose updates are not zero."""
    torch.manual_seed(seed)
    backbone = SharedBackbone(name, NAMES, adapters=Adapters(rank=2, scale=0.5)).eval()
    with torch.no_grad():
        for path, parameter in backbone.named_parameters():
            if ".update." in path:
                parameter.normal_(std=0.3)
    return backbone


@pytest.mark.parametrize(
    ("name", "layers", "options", "size"),
    [
        ("test_vit", 4 * 6, {"dynamic_img_size": True}, (64, 96)),  # qkv, proj, fc1 and fc2 of each block
        ("test_convnext", None, {}, (64, 96)),
        ("test_coatnet", None, {}, (160, 160)),  # 1x1 convolutions with strides beside linear layers
    ],
)
@torch.no_grad()
def test_an_update_is_what_a_weight_would_hold(name, layers, options, size):
    backbone = adapted(name)
    state = backbone.network.state_dict()
    places = sorted({key.partition(".update.")[0] for key in state if ".update." in key})
    assert places and (layers is None or len(places) == layers)
    inputs = given(size)
    with backbone.layout.holding(NAMES, size=size):
        stack = backbone.network(torch.cat(list(inputs.values())))
    more = {"out_indices": backbone.network.out_indices} if hasattr(backbone.network, "out_indices") else {}
    for m, modality in enumerate(NAMES):
        merged = {
            k.replace(f".norms.{modality}.", "."): x.clone()
            for k, x in state.items()
            if owner(k) in (None, modality) and ".update." not in k
        }
        for place in places:
            down, up = (state[f"{place}.update.copies.{modality}.{i}.weight"] for i in (0, 1))
            weight = merged[f"{place}.weight"]
            weight += 0.5 * (up.flatten(1) @ down.flatten(1)).view_as(weight)
        plain = timm.create_model(name, features_only=True, **options, **more).eval()
        plain.load_state_dict(merged)
        for x, y in zip(stack, plain(inputs[modality]), strict=True):
            torch.testing.assert_close(x[2 * m : 2 * m + 2], y, rtol=1e-3, atol=1e-5 * float(y.abs().max()))


def test_layers_that_read_tables_of_positions_have_none():
    """An MLP makes the bias of windows of coordinates, which are no images, also where their number looks like it."""

    class Biased(torch.nn.Module):
        pretrained_cfg = None

        def __init__(self):
            super().__init__()
            self.table = torch.nn.Linear(2, 3)
            self.mix = torch.nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.mix(x) + self.table(x.new_zeros(6, 2)).mean(0)[:, None, None]

    anatomy = Anatomy((Stage(0, 3, 4, "", None, None),), 4, 4, None, False)
    assert layers_of_images(Biased(), anatomy, can_be_adapted) == ["mix"]


def test_updates_start_as_nothing_and_belong_to_their_modality():
    torch.manual_seed(0)
    plain = SharedBackbone("test_convnext", NAMES).eval()
    backbone = SharedBackbone("test_convnext", NAMES, adapters=Adapters()).eval()
    backbone.load_state_dict({**backbone.state_dict(), **plain.state_dict()})
    inputs = given((32, 64))
    for x, y in zip(backbone(inputs), plain(inputs), strict=True):
        torch.testing.assert_close(x, y)
    assert {owner(name) for name, _ in backbone.named_parameters() if ".update." in name} == set(NAMES)
    clone = copy.deepcopy(backbone)
    sum(x.square().mean() for x in clone({"depth": inputs["depth"]})).backward()
    learnt = {owner(n) for n, p in clone.named_parameters() if p.grad is not None and ".update." in n}
    assert learnt == {"depth"}


@pytest.mark.parametrize("freeze", ["shared", "all"])
def test_what_is_frozen_stays_and_the_rest_learns(freeze):
    model = diverse(
        small("classes", backbone="test_convnext", freeze=freeze, adapters=2, stems={"depth": "sum"})
    ).train()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.5)
    for _ in range(2):  # the first step moves what is zero, by which the second moves the rest
        optimizer.zero_grad()
        sum(run(model, batch(), "loss").values()).backward()
        optimizer.step()
    changed = {name for name, x in model.state_dict().items() if not torch.equal(x, before[name])}
    network = {name for name in before if name.startswith("backbone.network.")}
    updates = {name for name in network if ".update." in name}
    own = {name for name in network - updates if owner(name) is not None}
    assert updates and own and updates <= changed and not (network - updates - own) & changed
    assert any(name.startswith("heads.") for name in changed)
    assert bool(own & changed) == (freeze == "shared")
    again = model_of({"model": model.recipe, "state_dict": model.state_dict()}, "some.pth")
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {name for name, p in again.named_parameters() if not p.requires_grad} != set()


def test_statistics_are_frozen_with_all():
    for freeze in ("shared", "all"):
        backbone = SharedBackbone("test_resnet", NAMES, freeze=freeze).train()
        before = {key: x.clone() for key, x in backbone.state_dict().items() if "running" in key}
        backbone(given((32, 32)))
        same = all(torch.equal(x, backbone.state_dict()[key]) for key, x in before.items())
        assert same == (freeze == "all")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adapters": 0}, "adapters field rank is 0; expected 1 to 1024"),
        ({"adapters": {"width": 4}}, "width"),
        ({"adapters": "some"}, "adapters is 'some'; expected None, a rank, or a dict of fields"),
        ({"adapters": 4, "weights": "separate"}, "adapters belong to shared encoders"),
        ({"adapters": 4, "fusion": "early"}, "adapters belong to shared encoders"),
        ({"freeze": "norms"}, "freeze is 'norms'; expected None, 'shared' or 'all'"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small("classes", **options)


@pytest.mark.parametrize("options", [{"norm": "shared"}, {"fusion": build_fusion("early")}])
def test_nothing_left_to_learn_is_refused(options):
    with pytest.raises(ValueError, match="freeze='shared' leaves what is private to a modality to learn"):
        SharedBackbone("test_resnet", NAMES, freeze="shared", **options)


def test_layers_without_an_adapter_are_told(caplog):
    """This network reads the weights of its queries, keys and values itself."""
    SharedBackbone("vit_tiny_patch16_dinov3_qkvb", NAMES, adapters=Adapters(rank=1))
    assert "12 layers of vit_tiny_patch16_dinov3_qkvb get no adapter" in caplog.text
    assert "attn.qkv" in caplog.text
