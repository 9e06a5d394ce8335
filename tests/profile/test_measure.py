import time

import numpy as np
import pytest
import torch

from rgbx.models import multimodal_segmentor
from rgbx.profile.measure import LiveTensors, Profile, find_device, peak_bytes, profile_model, time_passes

CPU = torch.device("cpu")
MIB = 2**20


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return multimodal_segmentor(modalities=("rgb", "depth"), num_classes=5, decoder={"width": 16})


def test_peak_of_a_chain_by_hand():
    """x, then x+1 and x+2 alive at once, then only their sum: three of a MiB besides x, never four."""
    x = torch.zeros(MIB // 4)

    def call():
        a = x + 1
        b = x + 2
        c = a.view(2, -1) + b.view(2, -1)  # views own nothing
        del a, b
        return c * 2

    assert peak_bytes(call, CPU, [x, x[1:]]) == 4 * MIB


def test_in_place_and_freed_memory_is_not_counted():
    with LiveTensors() as live:
        a = torch.zeros(MIB)
        a.add_(1).relu_()
        assert live.live == live.peak == 4 * MIB
        for _ in range(5):
            a = a[: MIB // 2].clone()  # the old one dies after the new one is made
            a = torch.cat([a, a])
        del a
        assert live.live == 0
    assert live.peak == 6 * MIB


def test_peak_of_a_model(model):
    """At least weights and inputs; each sample of a batch adds the same."""
    held = sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()])
    peaks = [
        profile_model(model, size=(64, 96), modalities=("rgb", "depth"), batch=batch, repeats=1).peak_bytes
        for batch in (1, 2, 3)
    ]
    assert peaks[0] > held + 4 * (3 + 1) * 64 * 96
    assert peaks[2] - peaks[1] == pytest.approx(peaks[1] - peaks[0], rel=0.01)
    assert torch.is_grad_enabled()


def test_subsets_and_precision(model):
    both, rgb = (
        profile_model(model, size=(64, 96), modalities=names, repeats=2) for names in (("depth", "rgb"), ("rgb",))
    )
    assert (both.modalities, both.batch, both.dtype) == (("rgb", "depth"), 1, "float32")
    assert len(both.seconds) == 2
    assert both.parameters == sum(p.numel() for p in model.parameters())
    single = multimodal_segmentor(modalities=("rgb",), num_classes=5, decoder={"width": 16})
    assert rgb.parameters == sum(p.numel() for p in single.parameters())
    assert both.flops == 2 * rgb.flops  # the exchange and the ensemble only move and add
    half = profile_model(model, size=(64, 96), modalities=("rgb",), dtype=torch.bfloat16, repeats=1)
    assert (half.dtype, half.flops) == ("bfloat16", rgb.flops)
    with pytest.raises(ValueError, match="thermal"):
        profile_model(model, size=(64, 96), modalities=("thermal",))
    with pytest.raises(ValueError, match="at least 1, found 0 and 30"):
        profile_model(model, size=(64, 96), modalities=("rgb",), batch=0)


def test_times_whole_calls():
    calls = []

    def call():
        calls.append(1)
        time.sleep(0.002)

    taken = time_passes(call, CPU, 4)
    assert (len(taken), len(calls)) == (4, 7)
    assert min(taken) >= 0.002


def test_median_and_percentile():
    seconds = tuple(np.random.default_rng(0).random(30).tolist())
    row = Profile(("rgb",), 4, "float32", 1, 2, 3, seconds)
    assert row.median == pytest.approx(np.median(seconds), abs=1e-12)
    assert row.p95 == pytest.approx(np.percentile(seconds, 95), abs=1e-12)
    plain = row.as_dict()
    assert plain["images_per_second"] == pytest.approx(4 / np.median(seconds))
    assert (plain["repeats"], plain["peak_bytes"]) == (30, 3)


def test_out_of_memory_leaves_a_gap(model, monkeypatch):
    def run_out(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("rgbx.profile.measure.time_passes", run_out)
    row = profile_model(model, size=(64, 96), modalities=("rgb",))
    assert (row.peak_bytes, row.seconds) == (None, ())
    assert row.as_dict()["median_ms"] is None
    assert np.isnan([row.median, row.p95]).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_is_refused_where_there_is_none():
    assert find_device("auto") == CPU
    with pytest.raises(ValueError, match="sees no CUDA device"):
        find_device("cuda:0")
    with pytest.raises(ValueError, match="device is 'foo'; expected auto, cpu, cuda or cuda:N"):
        find_device("foo")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_peak_on_cuda_is_that_of_the_allocator():
    device = torch.device("cuda")
    x = torch.zeros(MIB, device=device)
    before = torch.cuda.memory_allocated(device)
    assert peak_bytes(lambda: (x + 1) + 2, device, [x]) == before + 8 * MIB
