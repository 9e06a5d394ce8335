import copy

import pytest
import torch
from small_models import small
from tiny import tiny_segmentor
from torch import nn

from rgbx.models.precision import computes_in_bfloat16
from rgbx.train.optim import AutocastOptimWrapper, EncoderDecoderConstructor


def build(model, paramwise=None, optimizer=None, **wrapper):
    optimizer = optimizer or dict(type="SGD", lr=0.1, weight_decay=0.5)
    return EncoderDecoderConstructor(dict(optimizer=optimizer, **wrapper), paramwise)(model)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return tiny_segmentor(modalities=("rgb", "depth"), num_classes=3)


def test_groups(model):
    wrapper = build(model, dict(encoder_lr_mult=0.5, decoder_lr=0.3))
    names = {id(p): name for name, p in model.named_parameters()}
    found = {
        group["name"]: (sorted(names[id(p)] for p in group["params"]), group["lr"], group["weight_decay"])
        for group in wrapper.optimizer.param_groups
    }
    norms = [f"backbone.norm.norms.{m}.{p}" for m in ("depth", "rgb") for p in ("bias", "weight")]
    assert found == {
        "encoder": (["backbone.conv.weight"], 0.05, 0.5),
        "encoder_no_decay": (["backbone.conv.bias", *norms], 0.05, 0.0),
        "decoder": (["heads.labels.decoder.classifier.weight"], 0.3, 0.5),
        "decoder_no_decay": (
            ["heads.labels.alpha.depth", "heads.labels.alpha.rgb", "heads.labels.decoder.classifier.bias"],
            0.3,
            0.0,
        ),
    }


def test_gates_are_no_part_of_the_encoder():
    """Pretrained weights have none, so that they learn at the rate of what is new."""
    gated = small("classes", purification="cross")
    groups = build(gated, dict(encoder_lr_mult=0.1)).optimizer.param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, parameter in gated.named_parameters():
        encoder = name.startswith("backbone.network.")
        assert encoder or not name.startswith("backbone.") or "purification" in name
        assert rates[id(parameter)] == pytest.approx(0.01 if encoder else 0.1), name


def test_frozen_parameters_are_left_out(model):
    model.backbone.requires_grad_(False)
    names = [group["name"] for group in build(model).optimizer.param_groups]
    assert names == ["decoder", "decoder_no_decay"]
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        build(model)


@pytest.mark.parametrize(
    ("paramwise", "message"),
    [
        (dict(encoder_lr=1.0, encoder_lr_mult=1.0), "not both"),
        (dict(backbone_lr=1.0), r"unknown options \['backbone_lr'\]"),
    ],
)
def test_contradictions(model, paramwise, message):
    with pytest.raises(ValueError, match=message):
        build(model, paramwise)


@pytest.mark.parametrize("length", [4, 5, 7])
def test_accumulation_equals_averaged_windows(length):
    """Two epochs of `length` batches in windows of 3 equal steps on the windows' mean losses."""
    torch.manual_seed(0)
    accumulated = nn.Linear(3, 1)
    reference = copy.deepcopy(accumulated)
    batches = torch.randn(length, 2, 3)
    wrapper = AutocastOptimWrapper(torch.optim.SGD(accumulated.parameters(), 0.1), accumulative_counts=3)
    wrapper.set_epoch_length(length)
    wrapper.initialize_count_status(accumulated, 0, 2 * length)
    plain = torch.optim.SGD(reference.parameters(), 0.1)
    for _ in range(2):
        for batch in batches:
            wrapper.update_params(accumulated(batch).square().mean())
        for window in batches.split(3):
            plain.zero_grad()
            torch.stack([reference(batch).square().mean() for batch in window]).mean().backward()
            plain.step()
    torch.testing.assert_close(accumulated.weight, reference.weight)
    assert accumulated.weight.grad is None  # nothing is pending at the end of an epoch


def test_gradients_are_synchronised_once_per_window():
    wrapper = AutocastOptimWrapper(torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.1), accumulative_counts=2)
    wrapper.set_epoch_length(3)
    synchronised = []
    for count in range(6):
        wrapper._inner_count = count
        synchronised.append(wrapper.should_sync())
    assert synchronised == [False, True, True] * 2


def test_bfloat16_on_the_cpu():
    linear = nn.Linear(4, 4)
    wrapper = AutocastOptimWrapper(torch.optim.SGD(linear.parameters(), 0.1), dtype="bfloat16")
    with wrapper.optim_context(linear):
        assert linear(torch.ones(1, 4)).dtype == torch.bfloat16
    plain = AutocastOptimWrapper(torch.optim.SGD(linear.parameters(), 0.1))
    with plain.optim_context(linear):
        assert linear(torch.ones(1, 4)).dtype == torch.float32


def test_a_factor_of_0_freezes(model):
    groups = build(model, dict(encoder_lr_mult=0)).optimizer.param_groups
    assert {group["name"]: group["lr"] for group in groups} == {
        "encoder": 0.0,
        "encoder_no_decay": 0.0,
        "decoder": 0.1,
        "decoder_no_decay": 0.1,
    }


def test_auto_without_torchs_private_function(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert not computes_in_bfloat16("cpu")


def test_auto_follows_the_processor(monkeypatch):
    linear = nn.Linear(4, 4)
    for has, used in [(True, True), (False, True), (True, False)]:  # the last where ONEDNN_MAX_CPU_ISA=AVX2
        expected = torch.bfloat16 if has and used else torch.float32
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda used=used: used)
        wrapper = AutocastOptimWrapper(torch.optim.SGD(linear.parameters(), 0.1), dtype="auto")
        with wrapper.optim_context(linear):
            assert linear(torch.ones(1, 4)).dtype == expected


def test_float16_on_the_cpu_is_refused():
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.1)
    with pytest.raises(ValueError, match=r"needs a CUDA device.*bfloat16"):
        AutocastOptimWrapper(optimizer, dtype="float16")
    with pytest.raises(ValueError, match="found 'half'"):
        AutocastOptimWrapper(optimizer, dtype="half")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="float16 needs a GPU")
def test_loss_scale_is_saved():
    linear = nn.Linear(4, 4).cuda()

    def make():
        optimizer = torch.optim.SGD(linear.parameters(), 0.1)
        return AutocastOptimWrapper(optimizer, dtype="float16", loss_scale=8.0)

    wrapper = make()
    wrapper.update_params(torch.full((), float("inf"), device="cuda") * linear.weight.sum())
    other = make()
    other.load_state_dict(wrapper.state_dict())
    assert other.scaler.get_scale() == wrapper.scaler.get_scale() == 4.0
