import pytest

from rgbx.models import multimodal


@pytest.fixture(scope="module")
def three_heads():
    """Classes, normals and depth on one backbone."""
    return multimodal(
        modalities=("rgb", "depth"),
        heads=dict(
            labels=dict(task="classes", num_classes=5, decoder=dict(width=8)),
            normal=dict(task="map", decoder=dict(width=8)),
            dense=dict(task="map", unit="metre", target="depth_dense", decoder=dict(width=8)),
        ),
    )
