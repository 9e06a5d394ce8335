"""Gates on the stages of any family: which maps they act on, and that a call is what it is without, in every use."""

import copy
import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from rgbx.backbones import SharedBackbone
from rgbx.fusion import build_fusion
from rgbx.layers import Purification, owner
from rgbx.layers.hard_concrete import OPENS_AT

NAMES = ("rgb", "depth", "thermal")
SUBSETS = [names for count in (1, 2, 3) for names in itertools.combinations(NAMES, count)]
FUSIONS = [None, "asymmetric", "addition", "squeeze_excite", "rectification", "token_exchange", "channel_exchange"]
FUSIONS += ["late", "early"]
CHANNELS = {  # of the stages' inputs, as the papers' tables have them
    "resnet10t": (64, 64, 128, 256),
    "resnet50": (64, 256, 512, 1024),
    "convnext_atto": (40, 40, 80, 160),
    "swin_tiny_patch4_window7_224": (96, 96, 192, 384),
    "pvt_v2_b0": (32, 32, 64, 160),
    "efficientnet_b0": (16, 24, 80, 192),
    "mobilenetv3_small_050": (16, 8, 24, 48),
    "dla34": (32, 64, 128, 256),
    "test_vit": (64, 64, 64, 64),
}


def maps(names, size=(64, 64), batch=2):
    generator = torch.Generator().manual_seed(0)
    drawn = {name: torch.randn(batch, 1 + 2 * (name == "rgb"), *size, generator=generator) for name in NAMES}
    return {name: drawn[name] for name in names}


def made(name="test_resnet", fusion="asymmetric", *, active=True, names=NAMES, **options):
    """A backbone whose gates, if active, close about half of the locations."""
    torch.manual_seed(0)
    options = {"purification": Purification(hidden=4), "norm_eval": True, **options}
    backbone = SharedBackbone(name, names, fusion=build_fusion(fusion), **options)
    with torch.no_grad():
        for path, parameter in backbone.named_parameters():
            if not path.startswith("purification."):
                parameter.add_(0.05 * torch.randn_like(parameter))
            elif active:
                parameter.normal_(std=0.4)
                if path.endswith("3.bias"):
                    parameter.fill_(OPENS_AT)
    return backbone


def without(backbone, name="test_resnet", fusion="asymmetric", **options):
    torch.manual_seed(0)
    plain = SharedBackbone(name, backbone.layout.modalities, fusion=build_fusion(fusion), norm_eval=True, **options)
    plain.load_state_dict({k: v for k, v in backbone.state_dict().items() if not k.startswith("purification.")})
    return plain.eval()


def call(backbone, names, **options):
    inputs = maps(names, **options)
    with backbone.layout.holding(names):
        return backbone(inputs), backbone.layout.gates


def same(found, expected):
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", CHANNELS)
def test_every_family_has_gates_on_its_stages_inputs_that_start_open(name):
    size = (224, 224) if name.startswith("swin") else (64, 96)
    backbone = made(name, active=False, names=("rgb", "depth")).eval()
    with torch.no_grad():
        features, gates = call(backbone, ("rgb", "depth"), size=size, batch=1)
        assert same(features, without(backbone, name)(maps(("rgb", "depth"), size, 1)))
    sources = [gate.source for gate in backbone.purification.of_stages()]
    assert tuple(source.channels for source in sources) == CHANNELS[name]
    for source, gate in zip(sources, gates, strict=True):
        assert gate.logits.shape == (2, 1, size[0] // source.stride, size[1] // source.stride)
    assert [gate.stage for gate in gates] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["resnet10t", "swin_tiny_patch4_window7_224", "pvt_v2_b0", "efficientnet_b0"])
def test_a_stage_reads_the_masked_map(name):
    """Whatever layout the network keeps it in: closed gates on all of it leave nothing that depends on the image."""
    backbone = made(name, None, active=False, names=("rgb", "depth"), purification=Purification(stages=(1,))).eval()
    (gate,) = backbone.purification.of_stages()
    torch.nn.init.constant_(gate.decide.copies["depth"][3].bias, -9.0)
    size = (224, 224) if name.startswith("swin") else (64, 96)
    inputs = maps(("rgb", "depth"), size, 1)
    with torch.no_grad():
        before = backbone(inputs)
        after = backbone({name: x + 1 for name, x in inputs.items()})
    first = len(before) - 3 if name == "efficientnet_b0" else 0
    for a, b in zip(before[first:], after[first:], strict=True):
        assert torch.equal(a[1:], b[1:]) and not torch.equal(a[:1], b[:1])


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_and_subset(fusion):
    known = NAMES[:2] if fusion == "rectification" else NAMES
    backbone = made(fusion=fusion, names=known).eval()
    fresh = made(fusion=fusion, active=False, names=known).eval()
    for names in (names for names in SUBSETS if set(names) <= set(known)):
        with torch.no_grad():
            features, gates = call(backbone, names)
            started = call(fresh, names)[0]
            with fresh.layout.holding(names, purified=False):
                assert same(started, fresh(maps(names)))
            with backbone.layout.holding(names, purified=False):
                unmasked = backbone(maps(names))
                assert backbone.layout.gates == []
        assert [gate.names for gate in gates] == [names] * (1 if fusion == "early" else 4)
        assert not same(features, unmasked)
        assert same(unmasked, without(backbone, fusion=fusion)(maps(names)))


@pytest.mark.parametrize(
    "options", [{"weights": "separate"}, {"norm": "affine"}, {"norm": "shared"}, {"stems": {"depth": "sum"}}]
)
def test_every_form_of_encoder(options):
    backbone = made(fusion="addition", **options).eval()
    plain = without(backbone, fusion="addition", **options)
    with torch.no_grad():
        features, gates = call(backbone, NAMES)
        with backbone.layout.holding(NAMES, purified=False):
            assert same(backbone(maps(NAMES)), plain(maps(NAMES)))
        assert len(gates) == 4 and not same(features, plain(maps(NAMES)))


def test_every_parameter_of_a_gate_is_of_one_modality_and_learns():
    backbone = made().train()
    with backbone.layout.holding(NAMES):
        features = backbone(maps(NAMES))
        damage = {"depth": torch.ones(2, 1, 64, 64)}
        loss = backbone.purification.losses(backbone.layout.gates, damage)["loss_purification"]
    (loss + sum(f.square().mean() for f in features)).backward()
    for name, parameter in backbone.purification.named_parameters():
        assert owner(name) in NAMES
        assert parameter.grad is not None and parameter.grad.any()


def test_chosen_stages_only():
    backbone = made(purification=Purification(stages=(2, 4)))
    assert [gate.stage for gate in call(backbone, NAMES)[1]] == [2, 4]
    with pytest.raises(ValueError, match="purification stage 5 does not exist; this backbone has stages 1 to 4"):
        made(purification=Purification(stages=(5,)))
    with pytest.raises(ValueError, match=r"purification field stages is \[1\], but this fusion method joins"):
        made(fusion="early", purification=Purification(stages=(1,)))


def test_what_is_no_map_is_refused():
    with pytest.raises(ValueError, match="HighResolutionNetFeatures has no module 'stage1' that holds the map"):
        SharedBackbone("hrnet_w18_small", NAMES, purification=Purification())
    with pytest.raises(ValueError, match="reads images of 160x160 alone"):
        SharedBackbone("test_vit_relpos", NAMES, purification=Purification())


def test_probing_the_network_leaves_it_as_it_is():
    torch.manual_seed(0)
    plain = SharedBackbone("test_resnet", NAMES)
    torch.manual_seed(0)
    backbone = SharedBackbone("test_resnet", NAMES, purification=Purification())
    expected = plain.state_dict()
    found = {k: v for k, v in backbone.state_dict().items() if not k.startswith("purification.")}
    assert found.keys() == expected.keys() and same(found.values(), expected.values())
    assert all(module.training for module in backbone.modules())
    with torch.device("meta"):
        laid_out = SharedBackbone("test_resnet", NAMES, purification=Purification())
    assert laid_out.state_dict().keys() == backbone.state_dict().keys()


def test_threads_with_different_subsets_do_not_meet():
    backbone = made().eval()

    @torch.no_grad()
    def answer(names):
        features, gates = call(backbone, names)
        return [*features, *(gate.logits for gate in gates)]

    expected = {names: answer(names) for names in SUBSETS}
    calls = [SUBSETS[i % len(SUBSETS)] for i in range(70)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(answer, calls))
    assert not [names for names, found in zip(calls, answers, strict=True) if not same(found, expected[names])]


def gradients(backbone, run):
    """Of two subsets before one backward pass, with the noise of training."""
    torch.manual_seed(0)
    backbone.zero_grad()
    losses = []
    for names in (("rgb", "depth"), ("depth", "thermal")):
        with backbone.layout.holding(names):
            losses += [f.square().mean() for f in run(maps(names))]
            assert len(backbone.layout.gates) == 4
            damage = {"depth": torch.ones(2, 1, 64, 64)}
            losses += backbone.purification.losses(backbone.layout.gates, damage).values()
    torch.stack(losses).sum().backward()
    return [p.grad for p in backbone.parameters()]


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("how", ["whole", "blocks"])
def test_checkpointing(name, how):
    backbone = made(name, purification=Purification(hidden=4, noise="training")).train()
    again = copy.deepcopy(backbone)
    expected = gradients(backbone, backbone)
    if how == "blocks":
        again.set_grad_checkpointing()
    found = gradients(again, again if how == "blocks" else lambda x: checkpoint(again, x, use_reentrant=False))
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(("fusion", "backend"), [("asymmetric", "aot_eager"), ("early", "eager")])
def test_compiled_for_subsets_in_turn(fusion, backend):
    torch._dynamo.reset()
    backbone = made(fusion=fusion).eval()
    compiled = torch.compile(backbone, backend=backend, fullgraph=True)
    for names in [("depth",), ("rgb", "depth"), ("rgb", "thermal"), ("rgb", "depth")]:
        for purified in (True, False):
            with torch.no_grad(), backbone.layout.holding(names, purified=purified):
                features = compiled(maps(names))
                gates = list(backbone.layout.gates)
            with torch.no_grad(), backbone.layout.holding(names, purified=purified):
                for found, expected in zip(features, backbone(maps(names)), strict=True):
                    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
                for found, expected in zip(gates, backbone.layout.gates, strict=True):
                    assert (found.stage, found.names) == (expected.stage, expected.names)
                    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-4)


def test_exported_with_a_dynamic_batch():
    backbone, names = made(active=False).eval(), ("rgb", "thermal")
    samples = torch.export.Dim("samples", min=1, max=8)
    exported = torch.export.export(
        backbone, (maps(names),), dynamic_shapes=({name: {0: samples} for name in names},)
    ).module()
    for found, expected in zip(exported(maps(names, batch=5)), backbone(maps(names, batch=5)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_half_precision_and_channels_last():
    backbone = made().eval()
    with torch.no_grad():
        expected, logits = call(backbone, NAMES)
        backbone.to(memory_format=torch.channels_last)
        for found, other in zip(call(backbone, NAMES)[0], expected, strict=True):
            torch.testing.assert_close(found, other, rtol=1e-4, atol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            features, gates = call(backbone, NAMES)
    assert all(f.isfinite().all() for f in features)
    torch.testing.assert_close(gates[0].logits.float(), logits[0].logits, rtol=0.1, atol=0.1)


def test_copies_and_pickles_have_their_own_gates():
    backbone = made().eval()
    clone = pickle.loads(pickle.dumps(copy.deepcopy(backbone)))
    with torch.no_grad():
        expected = call(backbone, NAMES)[0]
        assert same(call(clone, NAMES)[0], expected)
        for parameter in backbone.purification.parameters():
            parameter.zero_()
        assert same(call(clone, NAMES)[0], expected)
