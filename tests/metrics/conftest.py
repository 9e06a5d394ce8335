import pytest
import torch

from rgbx._torchvision import ensure_torchvision

ensure_torchvision()  # torchmetrics imports it


@pytest.fixture
def torchmetrics_in_double(monkeypatch):
    """torchmetrics turns its counts into float32 by `Tensor.float`; with this into float64."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
