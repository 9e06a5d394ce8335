import pytest
import torch

from rgbx.models import multimodal_segmentor


@pytest.fixture
def make_model():
    """A small segmentor with 5 classes; keyword arguments go to its builder."""

    def make(**options):
        torch.manual_seed(0)
        defaults = {"modalities": ("rgb", "depth"), "num_classes": 5, "decoder": {"width": 16, "dropout": 0.0}}
        return multimodal_segmentor(**{**defaults, **options})

    return make


@pytest.fixture
def batch():
    """A collated batch of two samples whose sides the stride does not divide."""
    generator = torch.Generator().manual_seed(0)
    size = (50, 70)
    return {
        "rgb": torch.randint(0, 256, (2, 3, *size), generator=generator).to(torch.uint8),
        "depth": 4 * torch.rand(2, 1, *size, generator=generator),
        "depth_valid": torch.rand(2, 1, *size, generator=generator) > 0.1,
        "label": torch.randint(0, 5, (2, *size), generator=generator),
        "sample_id": ["a", "b"],
    }
