"""Steps of training that change nothing, of which the cost is measured; what of an epoch is waiting."""

import plain_objective  # noqa: F401
import pytest
import torch
from small_models import batch, small

from rgbx.train import loops
from rgbx.train.loops import Waited, still_step
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


@pytest.mark.parametrize(("reading", "training"), [(9, 1), (1, 9)])
def test_waiting_is_what_the_loader_takes(reading, training, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(loops.time, "perf_counter", lambda: clock[0])

    def loader():
        for number in range(5):
            clock[0] += reading
            yield number

    batches = Waited(loader())
    assert str(batches) == "0.0 s, 0.0% of it waiting for data"
    for _ in batches:
        clock[0] += training
    hint = "; more num_workers, or frames that are kept, would make it shorter" if reading > training else ""
    assert str(batches) == f"50.0 s, {reading / 10:.1%} of it waiting for data{hint}"
