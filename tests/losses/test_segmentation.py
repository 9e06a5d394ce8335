"""Losses against their published definitions, written as loops over pixels and classes."""

import math
import subprocess
import sys

import pytest
import torch

from rgbx.losses import build_loss

K = 4


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, K, 5, 6, generator=generator, dtype=torch.float64)
    label = torch.randint(0, K, (2, 5, 6), generator=generator)
    label[0, :2] = 255
    return logits, label


def labelled(logits, label):
    """Pairs of (probabilities, class) of the labelled pixels, as Python numbers."""
    n, _, height, width = logits.shape
    for i in range(n):
        for h in range(height):
            for w in range(width):
                if label[i, h, w] != 255:
                    values = [math.exp(v) for v in logits[i, :, h, w].tolist()]
                    yield [v / sum(values) for v in values], int(label[i, h, w])


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0, 3.0]])
def test_cross_entropy(batch, weights):
    pixels = list(labelled(*batch))
    w = weights or [1.0] * K
    expected = sum(-w[c] * math.log(p[c]) for p, c in pixels) / sum(w[c] for _, c in pixels)
    loss = build_loss({"name": "cross_entropy", "class_weights": weights}).double()
    assert loss(*batch).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("threshold", "min_kept"), [(0.3, 0.1), (0.01, 0.5)])
def test_ohem_keeps_hard_pixels_but_at_least_a_share(batch, threshold, min_kept):
    losses = sorted((-math.log(p[c]) for p, c in labelled(*batch)), reverse=True)
    hard = [v for v in losses if v >= -math.log(threshold)]
    share = losses[: round(min_kept * len(losses))]
    kept = max(hard, share, key=len)
    loss = build_loss({"name": "ohem", "threshold": threshold, "min_kept": min_kept})
    assert loss(*batch).item() == pytest.approx(sum(kept) / len(kept), rel=1e-5)


def test_dice(batch):
    pixels = list(labelled(*batch))
    scores = []
    for k in range(K):
        overlap = sum(p[k] for p, c in pixels if c == k)
        total = sum(p[k] for p, _ in pixels) + sum(c == k for _, c in pixels)
        scores.append(1 - 2 * overlap / total)
    assert build_loss("dice")(*batch).item() == pytest.approx(sum(scores) / K, rel=1e-5)


def test_lovasz_is_the_jaccard_loss_on_hard_predictions():
    """On one-hot probabilities the Lovász extension equals 1 - IoU, mean over the classes present."""
    truth = torch.tensor([[[0, 0, 1, 1, 2, 255]]])
    prediction = torch.tensor([[[0, 1, 1, 1, 0, 2]]])
    logits = torch.nn.functional.one_hot(prediction, K).permute(0, 3, 1, 2).double() * 200
    expected = ((1 - 1 / 3) + (1 - 2 / 3) + (1 - 0)) / 3
    assert build_loss("lovasz")(logits, truth).item() == pytest.approx(expected, rel=1e-6)


def test_weighted_sum(batch):
    total = build_loss({"cross_entropy": 1.0, "dice": 0.5})(*batch)
    expected = build_loss("cross_entropy")(*batch) + 0.5 * build_loss("dice")(*batch)
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("name", ["cross_entropy", "ohem", "dice", "lovasz"])
def test_no_labelled_pixel_gives_zero_loss_and_gradient(name):
    logits = torch.randn(1, K, 3, 3, requires_grad=True)
    loss = build_loss(name)(logits, torch.full((1, 3, 3), 255))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))
    if name in ("ohem", "dice", "lovasz"):  # which leave the logits alone there
        assert build_loss(name)(torch.full((1, K, 3, 3), torch.inf), torch.full((1, 3, 3), 255)) == 0


@pytest.mark.parametrize("name", ["cross_entropy", "ohem", "dice", "lovasz", {"dice": 0.5, "ohem": 1.0}])
def test_it_can_be_built_under_the_meta_device(batch, name):
    with torch.device("meta"):
        loss = build_loss(name)
    assert torch.equal(loss(*batch), build_loss(name)(*batch))


def test_importing_losses_imports_only_torch():
    heavy = "timm torchvision segmentation_models_pytorch mmengine matplotlib albumentations cv2"
    code = f"import sys, rgbx.losses; sys.exit(str([n for n in '{heavy}'.split() if n in sys.modules] or ''))"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert done.stderr.strip() == ""


def test_errors():
    for name in ("focal", 3):
        with pytest.raises(ValueError, match=f"{name!r}; expected one of"):
            build_loss({"name": name})
    with pytest.raises(ValueError, match="3 class weights given; the logits have 4"):
        build_loss({"name": "cross_entropy", "class_weights": [1, 1, 1]})(
            torch.zeros(1, K, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long)
        )
