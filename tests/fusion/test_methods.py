"""What every fusion method owes, whatever it does: one tester over the whole table, on two networks."""

import copy
import functools

import pytest
import torch
from small_models import decoder_logits, labelled
from torch import nn

from rgbx.fusion import FUSION_METHODS
from rgbx.models import multimodal, multimodal_segmentor

METHODS = sorted(FUSION_METHODS)
MODALITIES = ("rgb", "depth")
RESNETS_ONLY = {"channel_exchange"}
TWO_ONLY = {"rectification"}
NEED_PRIVATE_NORMS = {"channel_exchange"}
EXCHANGES_BELOW = {"channel_exchange": 0.5, "token_exchange": 0.5}  # a threshold that much falls under at first
WITHOUT_STAGES = {"early", "late"}
NO_EXCHANGE = {"late"}  # branches meet in the ensemble alone


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


def make(method, backbone="test_resnet", modalities=MODALITIES, **options):
    torch.manual_seed(0)
    return multimodal_segmentor(
        modalities=modalities,
        num_classes=5,
        backbone=backbone,
        fusion=method,
        decoder={"width": 16, "dropout": 0.0},
        statistics={"ir": {"mean": (0.0,), "std": (1.0,)}},
        **options,
    )


def images(modalities=MODALITIES, size=(64, 64), batch=2):
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(batch, 3, *size, generator=generator) for name in modalities}


def names_of(model, present):
    return ["ensemble"] if model.backbone.single_branch else [*present, "ensemble"]


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext"])
def test_shapes_gradients_and_a_training_step(method, backbone):
    if backbone == "test_convnext" and method in RESNETS_ONLY:
        with pytest.raises(ValueError, match="found ConvNeXtStage"):
            make(method, backbone)
        return
    model = make(method, backbone)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    label = torch.randint(0, 5, (2, 64, 64), generator=torch.Generator().manual_seed(2))
    history = []
    for step in range(3):
        losses = model(images(), labelled(label), mode="loss")
        assert {f"loss_{name}" for name in names_of(model, MODALITIES)} == set(losses) - {"loss_fusion"}
        sum(losses.values()).backward()
        if step == 0:
            assert [name for name, p in model.named_parameters() if p.grad is None] == []
        assert all(p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        optimizer.zero_grad()
        history.append(losses["loss_ensemble"].item())
    assert history[-1] < history[0]
    copy.deepcopy(model)  # as for a moving average: nothing is left of a graph


@functools.cache
def unfused_keys(backbone):
    return make(None, backbone).backbone.network.state_dict().keys()


@pytest.mark.parametrize("backbone", ["regnetx_002", "tresnet_m"])
def test_blocks_that_only_bear_a_resnets_name_are_left_whole(method, backbone):
    if method in RESNETS_ONLY:
        with pytest.raises(
            ValueError, match=r"inside the blocks of timm's ResNets, .*; found \w+\((Bottleneck|BasicBlock)\)"
        ):
            make(method, backbone)
        return
    model = make(method, backbone).eval()
    joined = method == "early"  # its first convolution is wider
    assert joined or unfused_keys(backbone) <= model.backbone.network.state_dict().keys()
    with torch.no_grad():
        assert model(images())["ensemble"].isfinite().all()


@pytest.mark.parametrize("backbone", ["test_resnet", "test_convnext"])
def test_any_subset_at_any_size_repeats_itself(method, backbone):
    if backbone == "test_convnext" and method in RESNETS_ONLY:
        pytest.skip("refused, see above")
    model = make(method, backbone).eval()
    x = images(size=(50, 70))
    with torch.no_grad():
        for present in (["rgb"], ["depth"], ["rgb", "depth"]):
            given = {name: x[name] for name in present}
            logits = model(given)
            assert {name: tuple(v.shape) for name, v in logits.items()} == dict.fromkeys(
                names_of(model, present), (2, 5, 50, 70)
            )
            again = model(given)
            alone = model({name: v[1:] for name, v in given.items()})
            for name, value in logits.items():
                assert value.isfinite().all() and torch.equal(value, again[name])
                torch.testing.assert_close(value[1:], alone[name], rtol=1e-3, atol=1e-4)  # samples do not mix


def test_one_modality_trains_alone(method):
    model = make(method)
    losses = model({"depth": images()["depth"]}, labelled(torch.zeros(2, 64, 64, dtype=torch.long)), mode="loss")
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_three_modalities(method):
    names = ("rgb", "depth", "ir")
    if method in TWO_ONLY:
        with pytest.raises(ValueError, match="two modalities"):
            make(method, modalities=names)
        return
    model = make(method, modalities=names).eval()
    x = images(names)
    with torch.no_grad():
        for present in (names, ("depth", "ir"), ("ir",)):
            logits = model({name: x[name] for name in present})
            assert list(logits) == names_of(model, present)
            assert all(v.isfinite().all() for v in logits.values())


def test_predictions_depend_on_both_modalities(method):
    threshold = {"threshold": EXCHANGES_BELOW[method]} if method in EXCHANGES_BELOW else {}
    model = make(
        {"name": method, **threshold}, detach_ensemble=False
    ).train()  # by batch statistics, as untrained features vary little
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight)  # opens branches that start at zero
    x = {name: v.requires_grad_() for name, v in images().items()}
    logits = decoder_logits(model, x)
    for name in ["ensemble"] if method in NO_EXCHANGE else logits:
        gradients = torch.autograd.grad(logits[name].square().sum(), tuple(x.values()), retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in gradients), name


def test_rebuilt_from_its_recipe(method):
    model = make(method).eval()
    rebuilt = multimodal(**model.recipe["parameters"]).eval()
    rebuilt.load_state_dict(model.state_dict())
    with torch.no_grad():
        for (name, a), b in zip(model(images()).items(), rebuilt(images()).values(), strict=True):
            assert torch.equal(a, b), name


def test_one_stage_suffices(method):
    if method in WITHOUT_STAGES:
        with pytest.raises(ValueError, match="stages"):
            make({"name": method, "stages": [4]})
        return
    model = make({"name": method, "stages": [4]}).eval()
    assert model(images())["ensemble"].isfinite().all()
    with pytest.raises(ValueError, match="stage 5 does not exist"):
        make({"name": method, "stages": [5]})


@pytest.mark.parametrize("stages", [(4, 4), (), 3, ("4",)], ids=str)
def test_stages_are_checked(method, stages):
    with pytest.raises(ValueError, match="stages"):
        make({"name": method, "stages": stages})


def test_separate_encoders_have_private_norms():
    with pytest.raises(ValueError, match="norm is 'affine'"):
        make("asymmetric", weights="separate", norm="affine")


@pytest.mark.parametrize("options", [{"norm": "affine"}, {"norm": "shared"}, {"weights": "separate"}], ids=str)
def test_norms_and_weights(method, options):
    if options == {"norm": "shared"} and method in NEED_PRIVATE_NORMS:
        with pytest.raises(ValueError, match="norm='private'"):
            make(method, **options)
        return
    if options == {"weights": "separate"} and method == "early":
        with pytest.raises(ValueError, match="one encoder for all"):
            make(method, **options)
        return
    losses = make(method, **options)(images(), labelled(torch.zeros(2, 64, 64, dtype=torch.long)), mode="loss")
    sum(losses.values()).backward()


def test_bfloat16(method):
    model = make(method).eval()
    with torch.no_grad():
        expected = model(images())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model(images())
    for name, value in expected.items():
        torch.testing.assert_close(found[name].float(), value, rtol=0.1, atol=0.05)


def test_features_stay_channels_last(method):
    backbone = make(method).eval().backbone
    x = {name: v.contiguous(memory_format=torch.channels_last) for name, v in images().items()}
    with torch.no_grad():
        for feature in backbone(x)[:3]:  # at 2×2 pixels both layouts may hold
            assert feature.is_contiguous(memory_format=torch.channels_last)


def test_compiles_to_one_graph(method):
    model = make(method).train()
    state = copy.deepcopy(model.state_dict())
    expected = model.backbone(images())
    model.load_state_dict(state)
    torch._dynamo.reset()
    model.backbone.network.compile(backend="eager", fullgraph=True)
    for a, b in zip(model.backbone(images()), expected, strict=True):
        torch.testing.assert_close(a, b)


def test_exports_with_a_dynamic_batch(method):
    """The backbone with exchange at two depths; decoders do not depend on it, and are exported in tests/models."""
    backbone = make(method if method in WITHOUT_STAGES else {"name": method, "stages": [2, 4]}).eval().backbone

    class Features(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = backbone

        def forward(self, rgb, depth):
            return self.backbone({"rgb": rgb, "depth": depth})

    batch = torch.export.Dim("batch", min=2, max=8)
    with torch.no_grad():
        program = torch.export.export(Features(), tuple(images().values()), dynamic_shapes=({0: batch}, {0: batch}))
        more = images(batch=3)
        torch.testing.assert_close(program.module()(*more.values()), backbone(more))
