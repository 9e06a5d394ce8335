import pytest
import torch
from mmengine.hooks import Hook

from rgbx.train.checkpoint_hook import CheckpointHook


class Scores(Hook):
    """Gives each validation a chosen mIoU."""

    priority = "HIGHEST"

    def __init__(self, scores):
        self.scores = scores

    def after_val_epoch(self, runner, metrics=None):
        metrics["mIoU"] = self.scores[runner.epoch - 1]


def files(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_keeps_the_newest_and_the_best(make_runner, tmp_path):
    hook = dict(checkpoint=dict(type=CheckpointHook, max_keep_ckpts=2, save_best="mIoU"))
    runner = make_runner(epochs=4, custom_hooks=[Scores([10.0, 30.0, float("nan"), 20.0])])
    runner.hooks[:] = [h for h in runner.hooks if not isinstance(h, CheckpointHook)]
    runner.register_hook(hook["checkpoint"])
    runner.train()
    found = [name for name in files(tmp_path / "run") if name.endswith(".pth")]
    assert found == ["best_mIoU_epoch_2.pth", "epoch_3.pth", "epoch_4.pth"]
    state = torch.load(tmp_path / "run/epoch_4.pth", weights_only=True)
    assert state["message_hub"]["runtime_info"]["best_score"] == 30.0
    best = torch.load(tmp_path / "run/best_mIoU_epoch_2.pth", weights_only=True)
    assert "optimizer" not in best
    assert best["meta"]["epoch"] == 2


def test_what_a_checkpoint_says(make_runner, tmp_path):
    make_runner(epochs=2, randomness=dict(seed=7)).train()
    state = torch.load(tmp_path / "run/epoch_2.pth", weights_only=True)
    assert state["model"] == {
        "builder": "tiny_segmentor",
        "parameters": {
            "modalities": ("rgb", "depth"),
            "num_classes": 3,
            "width": 4,
            "dropout": 0.3,
            "norm": "batch",
        },
    }
    assert state["meta"]["seed"] == 7
    assert (state["meta"]["epoch"], state["meta"]["iter"]) == (2, 6)
    assert state["meta"]["dataset_meta"]["classes"] == ("left", "right", "far")
    assert state["meta"]["dataset_meta"]["maps"]["depth"]["unit"] == "metre"


def test_unknown_metric_is_named(make_runner):
    runner = make_runner(epochs=2)
    hook = next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
    hook.save_best = "mIou"
    with pytest.raises(ValueError, match=r"save_best='mIou' is not among the metrics.*'mIoU'"):
        runner.train()


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="interval must be >= 1"):
        CheckpointHook(interval=0)
