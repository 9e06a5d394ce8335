import pytest

from rgbx.models import multimodal, multimodal_segmentor


@pytest.fixture
def make_model():
    """Small segmentors of five classes; options replace the defaults."""

    def make(**options):
        given = {"modalities": ("rgb", "depth"), "num_classes": 5, "decoder": {"width": 16}}
        return multimodal_segmentor(**{**given, **options})

    return make


@pytest.fixture
def make_three_heads():
    """Classes, normals and depth on one backbone, of some modalities."""

    def make(*modalities):
        heads = dict(
            labels=dict(task="classes", num_classes=5, decoder=dict(width=8)),
            normal=dict(task="map", decoder=dict(width=8)),
            dense=dict(task="map", unit="metre", target="depth_dense", range=dict(low=0.0, high=10.0)),
        )
        return multimodal(modalities=modalities, heads=heads)

    return make
