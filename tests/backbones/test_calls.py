"""What a call of a backbone says about its modalities holds for that call: in threads, compiled, checkpointed."""

import copy
import itertools
import pickle
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from rgbx.backbones import SharedBackbone
from rgbx.fusion import build_fusion, fusion_penalty
from rgbx.generators import UNetGenerator
from rgbx.layers import StackLayout

NAMES = ("rgb", "depth", "thermal")
SUBSETS = [names for count in (1, 2, 3) for names in itertools.combinations(NAMES, count)]


def maps(names, batch=2):
    generator = torch.Generator().manual_seed(0)
    drawn = {name: torch.randn(batch, 3, 32, 32, generator=generator) for name in NAMES}
    return {name: drawn[name] for name in names}


def made(name="test_resnet", fusion="asymmetric", **options):
    torch.manual_seed(0)
    backbone = SharedBackbone(name, NAMES, fusion=build_fusion(fusion), norm_eval=True, **options).train()
    for parameter in backbone.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))  # modalities differ, no branch starts at zero
    return backbone


def answer(backbone, names):
    """Features, and the gradients of the parameters."""
    features = backbone(maps(names))
    loss = sum(f.square().mean() for f in features)
    found = torch.autograd.grad(loss, list(backbone.parameters()), allow_unused=True)
    return [*(f.detach() for f in features), *found]


def same(found, expected):
    return all(a is b is None or torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("fusion", ["asymmetric", "token_exchange"])
def test_threads_with_different_subsets_do_not_meet(fusion):
    backbone = made(fusion=fusion)
    expected = {names: answer(backbone, names) for names in SUBSETS}
    calls = [SUBSETS[i % len(SUBSETS)] for i in range(120)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda names: answer(backbone, names), calls))
    wrong = [names for names, found in zip(calls, answers, strict=True) if not same(found, expected[names])]
    assert not wrong


def test_threads_share_a_generator():
    torch.manual_seed(0)
    generator = UNetGenerator(StackLayout(NAMES), 3, width=4, depth=5, fusion=build_fusion("asymmetric")).eval()
    with torch.no_grad(), ThreadPoolExecutor(8) as pool:
        expected = {names: generator(maps(names))[0] for names in SUBSETS}

        @torch.no_grad()
        def translate(names):
            return torch.equal(generator(maps(names))[0], expected[names])

        assert all(pool.map(translate, SUBSETS * 17))


def loss_of_two(backbone, run):
    """Of two subsets, with what the fusion adds to the loss."""
    losses = []
    for names in (("rgb", "depth"), ("depth", "thermal")):
        with backbone.layout.holding(names):
            losses += [f.square().mean() for f in run(maps(names))]
            losses.append(fusion_penalty(backbone, backbone.layout) or torch.zeros(()))
    return torch.stack(losses).sum()


def gradients(backbone, run):
    backbone.zero_grad()
    loss_of_two(backbone, run).backward()
    return [loss_of_two(backbone, run).detach(), *(p.grad for p in backbone.parameters())]


def whole(backbone):
    return lambda inputs: checkpoint(backbone, inputs, use_reentrant=False)


def by_its_own_switch(backbone):
    backbone.set_grad_checkpointing()
    return backbone


def by_timms_switch(backbone):
    backbone.network.set_grad_checkpointing(True)
    return backbone


def of_a_copy(backbone):
    backbone.set_grad_checkpointing()
    clone = pickle.loads(pickle.dumps(copy.deepcopy(backbone)))
    clone.network.set_grad_checkpointing(False)
    assert not [m for m in clone.modules() if "forward" in vars(m)] and [
        m for m in backbone.modules() if "forward" in vars(m)
    ]
    clone.network.set_grad_checkpointing(True)
    return clone


CASES = [
    ("test_resnet", "asymmetric", whole),
    ("test_resnet", "asymmetric", by_its_own_switch),
    ("test_resnet", "token_exchange", whole),
    ("test_resnet", "token_exchange", by_timms_switch),
    ("test_resnet", "channel_exchange", of_a_copy),
    ("test_resnet", "addition", by_timms_switch),
    ("test_efficientnet", "asymmetric", by_timms_switch),
    ("test_convnext", "asymmetric", by_timms_switch),
    ("mobilenetv3_small_050", "asymmetric", by_timms_switch),
]


@pytest.mark.parametrize(("name", "fusion", "how"), CASES)
def test_checkpointing_of_two_subsets_before_one_backward_pass(name, fusion, how):
    backbone = made(name, fusion)
    expected = gradients(backbone, backbone)
    again = copy.deepcopy(backbone)
    run = how(again)
    assert same(gradients(run if isinstance(run, SharedBackbone) else again, run), expected)


def test_checkpointing_keeps_fewer_activations():
    def kept(backbone):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
            backbone(maps(NAMES))
        return sum(sizes)

    backbone = made("resnet18")
    before = kept(backbone)
    backbone.set_grad_checkpointing()
    assert kept(backbone) < 0.7 * before
    backbone.set_grad_checkpointing(False)
    assert kept(backbone) == before


def test_parts_that_timm_checkpoints_unasked_refuse():
    backbone = made("test_convnext")
    backbone.network.grad_checkpointing = True
    features = backbone(maps(("rgb",)))
    with pytest.raises(RuntimeError, match=r"SharedBackbone\.set_grad_checkpointing"):
        features[-1].sum().backward()


@pytest.mark.parametrize(
    ("fusion", "how", "backend"),
    [
        ("asymmetric", lambda b: b, "eager"),
        ("asymmetric", by_its_own_switch, "aot_eager"),
        ("token_exchange", lambda b: b, "aot_eager"),
    ],
)
def test_compiled_for_subsets_in_turn_and_interleaved(fusion, how, backend):
    """Token exchange inside a block, as its penalty is asked for."""
    torch._dynamo.reset()
    backbone = how(made(fusion=fusion))
    compiled = torch.compile(backbone, backend=backend, fullgraph=True)
    for names in [("depth",), ("rgb", "depth"), ("depth",), ("rgb", "thermal"), ("rgb", "depth")]:
        penalised = fusion == "token_exchange"
        with backbone.layout.holding(names) if penalised else nullcontext():
            for found, expected in zip(compiled(maps(names)), backbone(maps(names)), strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
            if penalised:
                torch.testing.assert_close(*torch.stack(backbone.layout.penalties).chunk(2))


@pytest.mark.parametrize("names", [("depth",), ("rgb", "thermal")])
def test_exported_with_a_dynamic_batch(names):
    backbone = made().eval()
    samples = torch.export.Dim("samples", min=1, max=8)
    shapes = ({name: {0: samples} for name in names},)
    exported = torch.export.export(backbone, (maps(names),), dynamic_shapes=shapes).module()
    larger = maps(names, batch=5)
    for found, expected in zip(exported(larger), backbone(larger), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
