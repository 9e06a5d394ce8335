import pytest

from rgbx.models.complexity import measure_complexity


def test_counts_parameters_and_operations(make_model):
    model = make_model(decoder={"width": 128})
    report = measure_complexity(model, (240, 320))
    assert report.parameters["total"] == sum(p.numel() for p in model.parameters())
    single = make_model(modalities=("rgb",), decoder={"width": 128})
    assert report.parameters["total"] - sum(p.numel() for p in single.parameters()) == report.private // 2 + 1  # alpha
    # ResNet-18 without classifier costs 3.63 GFLOP at 224×224 (1.81 G multiply-adds, He et al.)
    backbone = 2 * 3.63e9 * (240 * 320) / 224**2
    assert backbone < report.flops < 1.6 * backbone
    one = measure_complexity(single, (240, 320)).flops
    assert report.flops == pytest.approx(2 * one, rel=1e-6)
    assert model.training
