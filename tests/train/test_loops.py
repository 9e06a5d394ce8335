"""Steps of training that change nothing, of which the cost is measured."""

import plain_objective  # noqa: F401
import pytest
import torch
from small_models import batch, small

from rgbx.train.loops import still_step
from rgbx.train.optim import EncoderDecoderConstructor

OPTIMIZER = {"type": torch.optim.AdamW, "lr": 0.1, "weight_decay": 0.1}


@pytest.mark.parametrize("objectives", [[], ["judged"]], ids=["plain", "with an opponent"])
def test_a_still_step_changes_no_weight(objectives):
    """It sees all modalities, trains the opponents as well, and is the same every time."""
    model = small("classes", objectives=objectives, modality_dropout=1.0).eval()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    step = still_step(model, batch((32, 48)), {"constructor": EncoderDecoderConstructor, "optimizer": OPTIMIZER})
    first, second = step(), step()
    assert model.training and {"loss_rgb", "loss_depth"} <= set(first)
    assert ("discriminator" in first) == bool(objectives)
    for name, value in second.items():
        torch.testing.assert_close(value, first[name], msg=name)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]), name
