import pytest
import torch
from mmengine.hooks import Hook
from test_adversarial import settings

from rgbx.evaluate.metric import Metrics
from rgbx.train.checkpoint_hook import CheckpointHook
from rgbx.train.runner import Runner


class Scores(Hook):
    """Gives each validation a chosen score."""

    priority = "HIGHEST"

    def __init__(self, scores, name="mIoU"):
        self.scores, self.name = scores, name

    def after_val_epoch(self, runner, metrics=None):
        assert self.name in metrics
        metrics[self.name] = self.scores[runner.epoch - 1]


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
    assert "selected" not in state["meta"] and best["meta"]["selected"]["by"] == "mIoU"
    assert len(set(best["meta"]["selected"]["frames"])) == len(runner.val_dataloader.dataset)


@pytest.mark.parametrize(
    ("target", "metric", "best"), [("depth", "MAE", 2), ("rgb", "PSNR", 1)], ids=["less is better", "more is better"]
)
def test_the_first_score_of_the_task_names_the_best(tmp_path, target, metric, best):
    """And says its direction; pictures of every second validation."""
    config = settings(tmp_path, model=dict(target=target, discriminator=None), custom_hooks=[])
    config["train_dataloader"]["dataset"]["modalities"] = ("normal", "edge", target)
    config |= dict(
        val_dataloader={**config["train_dataloader"], "sampler": dict(type="DefaultSampler", shuffle=False)},
        val_cfg=dict(pictures=2, pictures_interval=2),
        val_evaluator=dict(type=Metrics, table=False),
        default_hooks=dict(checkpoint=dict(type=CheckpointHook)),
        custom_hooks=[Scores([3.0, 1.0, 2.0], metric)],
    )
    Runner.from_cfg(config).train()
    assert [name for name in files(tmp_path) if name.startswith("best")] == [f"best_{metric}_epoch_{best}.pth"]
    assert files(tmp_path / "pictures") == ["epoch_2.png"]


def test_a_best_of_another_metric_is_no_rival(make_runner, tmp_path):
    """A run that is resumed with another one begins anew, and leaves the other's file alone."""
    make_runner(epochs=2, custom_hooks=[Scores([90.0, 80.0])]).train()
    hooks = dict(checkpoint=dict(type=CheckpointHook, save_best="rgb/mIoU"))
    make_runner(
        epochs=4, resume=True, default_hooks=hooks, custom_hooks=[Scores([0, 0, 20.0, 10.0], "rgb/mIoU")]
    ).train()
    found = [name for name in files(tmp_path / "run") if name.startswith("best")]
    assert found == ["best_mIoU_epoch_1.pth", "best_rgb_mIoU_epoch_3.pth"]


def test_what_a_checkpoint_says(make_runner, tmp_path):
    make_runner(epochs=2, randomness=dict(seed=7)).train()
    state = torch.load(tmp_path / "run/epoch_2.pth", weights_only=True)
    assert state["model"] is None  # the stand-in was made by no builder of rgbx
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


@pytest.mark.parametrize("name", ["mIou", "rgb/mIuO", "PSNR"])
def test_a_metric_that_no_validation_gives_is_refused_before_the_first_step(make_runner, name):
    hooks = dict(checkpoint=dict(type=CheckpointHook, save_best=name))
    with pytest.raises(ValueError, match=rf"save_best='{name}' is no score of the model's heads.*; they have .*mIoU"):
        make_runner(default_hooks=hooks).prepare_training()
    for known in ("auto", "mIoU", "rgb/aAcc", "boundary_f", None):
        make_runner(default_hooks=dict(checkpoint=dict(type=CheckpointHook, save_best=known))).prepare_training()
