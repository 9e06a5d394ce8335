"""Features must truly cross: the label is the XOR of something seen only in RGB and something seen only in depth."""

import numpy as np
import pytest
import torch

from rgbx.metrics import confusion_matrix, scores
from rgbx.models import multimodal_segmentor

SIZE, CELL = 64, 16


def xor_batch(rng, count=8):
    """Cells are red or green in RGB, near or far in depth; a pixel is foreground where exactly one of the two holds."""
    cells = rng.integers(0, 2, (2, count, SIZE // CELL, SIZE // CELL))
    colour, height = cells.repeat(CELL, 2).repeat(CELL, 3)
    rgb = np.stack([255 * colour, 255 * (1 - colour), np.full_like(colour, 128)], 1)
    rgb = np.clip(rgb + rng.normal(0, 20, rgb.shape), 0, 255).astype(np.uint8)
    depth = (2 + 2 * height + rng.normal(0, 0.1, height.shape)).astype(np.float32)[:, None]
    return {
        "rgb": torch.from_numpy(rgb),
        "depth": torch.from_numpy(depth),
        "label": torch.from_numpy(colour ^ height),
    }


def train_and_score(fusion):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = multimodal_segmentor(
        modalities=("rgb", "depth"),
        num_classes=2,
        fusion=fusion,
        backbone="test_resnet",
        decoder={"width": 32, "dropout": 0.0},
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    steps = 100
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=steps)
    for _ in range(steps):
        loss = sum(model(**model.data_preprocessor(xor_batch(rng)), mode="loss").values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
    confusion = torch.zeros(2, 2, dtype=torch.int64)
    with torch.no_grad():
        for _ in range(4):
            for sample in model(**model.data_preprocessor(xor_batch(rng)), mode="predict"):
                confusion += confusion_matrix(sample["prediction"]["ensemble"], sample["target"], 2)
    return scores(confusion)["mIoU"]


@pytest.mark.parametrize("fusion", ["asymmetric", None], ids=["fused", "unfused"])
def test_xor_needs_fusion(fusion):
    score = train_and_score(fusion)
    assert score > 0.95 if fusion else score < 0.65, score
