"""A run that is interrupted and resumed equals the uninterrupted one, bit for bit."""

import random
import shutil

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook

from rgbx.models import multimodal_segmentor


def assert_equal(first, second, path=""):
    if isinstance(first, dict):
        assert list(first) == list(second), path
        for key in first:
            assert_equal(first[key], second[key], f"{path}/{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), path
        for i, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_equal(a, b, f"{path}/{i}")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), path
    else:
        assert first == second, path


def training_state(path):
    state = torch.load(path, weights_only=True)
    keys = ("state_dict", "optimizer", "param_schedulers", "ema_state_dict")
    return {key: state[key] for key in keys if key in state}


CASES = {
    "plain": {},
    "ema": dict(ema=dict(momentum=0.1)),
    "accumulation with a remainder": dict(accumulate=2),
    "one-cycle": dict(schedule="onecycle"),
    "asymfusion": dict(ema=True, model=dict(type=multimodal_segmentor, modality_dropout=0.5)),
    "everything": dict(workers=2, ema=dict(momentum=0.1), accumulate=2, dtype="bfloat16"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_resumed_equals_uninterrupted(make_runner, tmp_path, case):
    train(make_runner("straight", **case))
    stop = Interruption(epoch=2)
    with pytest.raises(KeyboardInterrupt):
        train(make_runner("stopped", custom_hooks=[stop], **case))
    random.seed(99), np.random.seed(99), torch.manual_seed(99)  # another process, another state
    train(make_runner("stopped", resume=True, **case))
    straight, resumed = (training_state(tmp_path / name / "epoch_3.pth") for name in ("straight", "stopped"))
    assert ("ema_state_dict" in straight) == ("ema" in case)
    assert_equal(straight, resumed)


def train(runner):
    """Trains, then stops the workers, which would otherwise wait for the garbage collector."""
    try:
        runner.train()
    finally:
        iterator = runner.train_dataloader._iterator
        if iterator is not None:
            iterator._shutdown_workers()


class Interruption(Hook):
    """Ctrl-C in the middle of an epoch, counted from 0."""

    def __init__(self, epoch):
        self.epoch = epoch

    def after_train_iter(self, runner, batch_idx, **kwargs):
        if runner.epoch == self.epoch and batch_idx == 1:
            raise KeyboardInterrupt


class ChosenScores(Hook):
    """Gives each validation a chosen mIoU; Ctrl-C in the middle of that of one epoch, counted from 1."""

    priority = "HIGHEST"

    def __init__(self, scores, interrupted=None):
        self.scores, self.interrupted, self.validated = scores, interrupted, []

    def after_val_iter(self, runner, **kwargs):
        if runner.epoch == self.interrupted:
            raise KeyboardInterrupt

    def after_val_epoch(self, runner, metrics=None):
        self.validated.append(runner.epoch)
        metrics["mIoU"] = self.scores[runner.epoch - 1]


def validated(runner):
    return next(hook for hook in runner.hooks if isinstance(hook, ChosenScores)).validated


@pytest.mark.parametrize(("scores", "epoch"), [([10.0, 30.0, 20.0], 2), ([10.0, 20.0, 30.0], 3)])
def test_an_interrupted_validation_is_made_up_for(make_runner, tmp_path, scores, epoch):
    make_runner("straight", ema=True, custom_hooks=[ChosenScores(scores)]).train()
    with pytest.raises(KeyboardInterrupt):
        make_runner("stopped", ema=True, custom_hooks=[ChosenScores(scores, interrupted=epoch)]).train()
    resumed = make_runner("stopped", ema=True, custom_hooks=[ChosenScores(scores)], resume=True)
    resumed.train()
    assert validated(resumed) == list(range(epoch, 4))
    bests = [sorted(path.name for path in (tmp_path / name).glob("best_*")) for name in ("straight", "stopped")]
    assert bests[0] == bests[1] == [f"best_mIoU_epoch_{epoch}.pth"]
    for name in ("epoch_3.pth", bests[0][0]):
        first, second = (torch.load(tmp_path / run / name, weights_only=True) for run in ("straight", "stopped"))
        assert_equal(*({k: v for k, v in x.items() if k in ("state_dict", "optimizer")} for x in (first, second)))
        found, expected = (x["message_hub"]["runtime_info"] for x in (second, first))
        assert (found["best_score"], found["best_ckpt"]) == (expected["best_score"], expected["best_ckpt"])
        assert found["best_score"] == 30.0


def test_a_finished_validation_is_not_repeated(make_runner, tmp_path):
    make_runner(epochs=2, custom_hooks=[ChosenScores([20.0, 10.0])]).train()
    resumed = make_runner(epochs=3, custom_hooks=[ChosenScores([20.0, 10.0, 5.0])], resume=True)
    resumed.train()
    assert validated(resumed) == [3]


def test_a_validation_that_is_not_due_is_not_made_up_for(make_runner):
    def make(epoch, **values):
        hooks = [ChosenScores([10.0] * 4), Interruption(epoch)]
        runner = make_runner(epochs=4, custom_hooks=hooks, **values)
        runner._train_loop["val_interval"] = 2
        return runner

    with pytest.raises(KeyboardInterrupt):
        make(epoch=1).train()
    resumed = make(epoch=None, resume=True)
    resumed.train()
    assert validated(resumed) == [2, 4]


def test_the_comparison_can_fail(make_runner, tmp_path):
    make_runner("a", epochs=2).train()
    make_runner("b", epochs=2, randomness=dict(seed=1)).train()
    with pytest.raises(AssertionError):
        assert_equal(*(training_state(tmp_path / n / "epoch_2.pth") for n in "ab"))


def test_ema_differs_from_the_weights_it_averages(make_runner, tmp_path):
    make_runner(epochs=2, ema=dict(momentum=0.1)).train()
    state = torch.load(tmp_path / "run/epoch_2.pth", weights_only=True)
    name = "heads.labels.decoder.classifier.weight"
    assert not torch.equal(state["state_dict"][name], state["ema_state_dict"][f"module.{name}"])


def test_seed_of_the_first_start_is_kept(make_runner, tmp_path):
    make_runner("straight", epochs=2, randomness=dict(seed=5)).train()
    shutil.copytree(tmp_path / "straight", tmp_path / "other")
    (tmp_path / "other/last_checkpoint").write_text("epoch_1.pth")
    make_runner("other", epochs=2, resume=True, randomness=dict(seed=0)).train()
    assert_equal(*(training_state(tmp_path / n / "epoch_2.pth") for n in ("straight", "other")))


def test_a_copied_directory_leaves_its_original_alone(make_runner, tmp_path):
    make_runner("original", epochs=2).train()
    original = tmp_path / "original"
    before = {path.name: path.stat().st_mtime_ns for path in original.glob("*.pth")}
    assert any(name.startswith("best_") for name in before)
    shutil.copytree(original, tmp_path / "copy")
    runner = make_runner("copy", epochs=4, resume=True)
    runner.message_hub.update_info("best_score", -1.0)
    state = torch.load(tmp_path / "copy/epoch_2.pth", weights_only=True)
    state["message_hub"]["runtime_info"]["best_score"] = -1.0  # so that a new best is certain
    torch.save(state, tmp_path / "copy/epoch_2.pth")
    runner.train()
    assert {path.name: path.stat().st_mtime_ns for path in original.glob("*.pth")} == before
    assert len(list((tmp_path / "copy").glob("best_*.pth"))) == 1
    assert (tmp_path / "copy/epoch_4.pth").is_file()


def test_no_path_of_this_machine_in_a_checkpoint(make_runner, tmp_path):
    make_runner(epochs=2).train()
    state = torch.load(tmp_path / "run/epoch_2.pth", weights_only=True)
    del state["meta"]["cfg"], state["message_hub"]["runtime_info"]["cfg"]  # may name the work dir
    assert str(tmp_path) not in str(state)
    assert state["message_hub"]["runtime_info"]["best_ckpt"].startswith("best_mIoU_epoch_")
    assert (tmp_path / "run/last_checkpoint").read_text() == "epoch_2.pth"


def test_resuming_weights_only_is_refused(make_runner, tmp_path):
    make_runner(epochs=2).train()
    best = next((tmp_path / "run").glob("best_*.pth"))
    with pytest.raises(ValueError, match=r"cannot be resumed.*--load-from"):
        make_runner("next", epochs=2, resume=True, load_from=str(best)).train()


def rewrite(path, change):
    """Changes a checkpoint in its place."""
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


def forget(state):
    """What a checkpoint of another program, or an early one, does not say."""
    del state["meta"]["config"], state["meta"]["cfg"], state["model"]


def test_resuming_another_model_is_refused(make_runner, tmp_path):
    make_runner(epochs=2).train()
    with pytest.raises(ValueError, match=r"model\.width is absent → 8 since the run began.*keeps its model"):
        make_runner("run", epochs=2, resume=True, model=dict(width=8)).train()
    rewrite(tmp_path / "run/epoch_2.pth", forget)
    with pytest.raises(ValueError, match=r"does not fit.*backbone\.conv.*modalities\? It was trained with .*\.py$"):
        make_runner("run", epochs=2, resume=True, model=dict(width=8)).train()


def place(*keys):
    """Puts a value into a state at some keys."""

    def change(state, value):
        *parents, last = keys
        for key in parents:
            state = state[key]
        state[last] = value

    return change


MOMENT = place("optimizer", "state", 0, "exp_avg")
RATE = place("optimizer", "param_groups", 0, "lr")


@pytest.mark.parametrize(
    ("change", "value", "message"),
    [
        (place("meta"), [1], "has no 'meta' and cannot be resumed"),
        (place("meta", "epoch"), "2", r"its meta\.epoch is '2'; expected a whole number from 0 on"),
        (place("meta", "iter"), -3, r"its meta\.iter is -3; expected a whole number"),
        (place("meta", "seed"), 0.5, r"its meta\.seed is 0\.5; expected a whole number"),
        (place("meta", "config"), 7, "it cannot be resumed: TypeError|it cannot be resumed: AttributeError"),
        (place("optimizer"), {}, "it cannot be resumed"),
        (RATE, "fast", r"its optimizer has lr='fast'; expected such as 0\.\d+"),
        (MOMENT, torch.zeros(7), r"its optimizer's exp_avg of a tensor \[[\d, ]+\] is \[7\]"),
        (MOMENT, 3, "its optimizer's exp_avg of a tensor .* is 3"),
        (place("param_schedulers", 0, "step"), 3, "its LinearLR has step=3"),
        (place("param_schedulers", 1, "last_step"), "x", "its PolyLR has last_step='x'; expected such as"),
        (place("message_hub", "runtime_info", "best_score"), "high", "best_score is 'high'; expected"),
        (place("message_hub", "log_scalars"), {"train/loss": [3]}, "it cannot be resumed"),
        (place("state_dict"), {"x": torch.zeros(2)}, "does not fit the config's model"),
    ],
)
def test_damaged_training_state_is_refused_by_its_field(make_runner, tmp_path, change, value, message):
    make_runner(epochs=2, length=2).train()
    rewrite(tmp_path / "run/epoch_2.pth", lambda state: change(state, value))
    with pytest.raises(ValueError, match=rf"epoch_2\.pth.*{message}"):
        make_runner(epochs=2, length=2, resume=True).train()
