import pytest
import torch

from rgbx.evaluate.loop import ProtocolTestLoop
from rgbx.models.precision import autocast_dtype


def test_the_loop_follows_the_protocol_and_keeps_time(make_runner):
    runner = make_runner()
    runner._test_loop = {"protocol": "dformer-ms", "dtype": "bfloat16"}
    loop = runner.test_loop
    assert isinstance(loop, ProtocolTestLoop)
    assert loop.predictor.protocol.name == "dformer-ms"
    assert loop.predictor.dtype == torch.bfloat16
    assert loop.metrics[0].protocol is loop.predictor.protocol
    loop.metrics[0].calibration = True
    runner.call_hook("before_run")
    metrics = loop.run()
    assert metrics["mIoU"] >= 0
    evaluation = loop.metrics[0].evaluation
    assert evaluation.absent == "zero"
    assert evaluation.total("reliability")[0].sum() == 3 * 7 * 12  # the last of 8 rows is ignored
    assert loop.speed["images_per_second"] > 0
    assert 0 < loop.speed["metric_share"] < 1


def test_names_of_dtypes():
    assert autocast_dtype(None, "cpu") is None
    assert autocast_dtype("float16", "cuda") == torch.float16
    assert autocast_dtype("auto", "cpu") in (None, torch.bfloat16)
    with pytest.raises(ValueError, match="found 'half'"):
        autocast_dtype("half", "cpu")
