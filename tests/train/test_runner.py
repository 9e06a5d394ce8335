import pytest
import torch
from mmengine.visualization import LocalVisBackend, TensorboardVisBackend, Visualizer
from runner_of_tiny import loader
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rgbx.datasets import CachedFrames, SyntheticRooms
from rgbx.train.curves import read_scalars
from rgbx.train.seeding import derive_seed, seed_everything
from rgbx.transforms import PackSample


def test_seeds_are_a_pure_function():
    numbers = [(seed, epoch, rank) for seed in range(4) for epoch in range(4) for rank in range(4)]
    seeds = [derive_seed(*each) for each in numbers]
    assert seeds == [derive_seed(*each) for each in numbers]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    seed_everything(seeds[5])
    first = torch.rand(1)
    seed_everything(seeds[5])
    assert torch.equal(first, torch.rand(1))


def test_seed_is_0_unless_given(make_runner):
    assert make_runner().seed == 0


def test_other_seeds_per_process_are_refused(make_runner):
    with pytest.raises(ValueError, match="diff_rank_seed=True is not supported: all processes must draw the same"):
        make_runner(randomness=dict(diff_rank_seed=True))


def test_two_runs_in_one_second_share_nothing(make_runner):
    first, second = make_runner(), make_runner()
    assert first.timestamp != second.timestamp
    assert first.message_hub is not second.message_hub
    assert first.log_dir != second.log_dir


def test_scalars_reach_tensorboard_and_the_curves(make_runner, tmp_path):
    backends = [dict(type=LocalVisBackend), dict(type=TensorboardVisBackend)]
    make_runner(epochs=2, visualizer=dict(type=Visualizer, vis_backends=backends)).train()
    events = list((tmp_path / "run").glob("*/vis_data/events.*"))
    assert len(events) == 1
    log = EventAccumulator(str(events[0].parent))
    log.Reload()
    assert {"loss", "mIoU", "rgb/mIoU"} <= set(log.Tags()["scalars"])
    losses, metrics = read_scalars(tmp_path / "run")
    assert list(losses) == list(metrics) == [1, 2]


@pytest.mark.parametrize(
    ("switch", "expected"), [(True, {}), (False, None), (None, None), (dict(mode="default"), {"mode": "default"})]
)
def test_compile_switch(make_runner, switch, expected):
    runner = make_runner(epochs=2, compile=switch)
    runner.train()
    assert runner.network.compiled == expected


@pytest.mark.parametrize(("cache", "epochs"), [("auto", 2), (None, 2), ("none", 2), ("auto", 1)])
def test_frames_are_kept_where_they_are_read_again(make_runner, cache, epochs):
    rooms = dict(type=SyntheticRooms, num_frames=4, size=(32, 48), transforms=[PackSample()])
    runner = make_runner(epochs=epochs, cache=cache, loaders={"train_dataloader": dict(loader(True, 0), dataset=rooms)})
    kept = cache != "none" and epochs > 1
    assert isinstance(runner.train_dataloader.dataset, CachedFrames) == kept
    assert runner.train_dataloader.sampler.dataset is runner.train_dataloader.dataset


def test_epochs_without_a_batch_are_refused(make_runner):
    runner = make_runner(length=1)
    runner._train_dataloader["drop_last"] = True
    with pytest.raises(ValueError, match="1 training samples do not fill one batch of 2"):
        runner.prepare_training()


def test_iteration_loops_are_refused(make_runner):
    runner = make_runner()
    runner._train_loop = dict(by_epoch=False, max_iters=3)
    with pytest.raises(ValueError, match="by_epoch=True"):
        runner.prepare_training()


def test_class_counts_must_agree(make_runner):
    with pytest.raises(ValueError, match=r"num_classes=4 .*, but Halves has 3 classes"):
        make_runner(model=dict(num_classes=4)).prepare_training()


def test_training_learns(make_runner, tmp_path):
    runner = make_runner(epochs=12, schedule="onecycle", length=12)
    runner.param_schedulers[0]["total_steps"] = 12
    runner.param_schedulers[0]["eta_max"] = 0.1
    runner.train()
    assert runner.message_hub.get_info("best_score") > 80
