"""What is there to be used at once: the samples are sound, and their checkpoint is as good as is said."""

from pathlib import Path

import numpy as np
import pytest
import torch

import rgbx
from rgbx.cli.doctor import main as doctor
from rgbx.datasets import SyntheticRooms, build_dataset
from rgbx.datasets.rooms import render
from rgbx.transforms import PackSample, collate

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "data" / "samples"
CHECKPOINT = SAMPLES / "rooms.pth"
UNSEEN, FRAMES = 12, 12  # a world of rooms that neither the training nor the samples show
LEAST = {("rgb", "depth"): 0.90, ("rgb",): 0.45, ("depth",): 0.45}


@pytest.fixture(scope="module")
def model():
    return rgbx.load(CHECKPOINT)


def mean_iou(predictions, truths):
    """Mean over the ten classes of intersection over union, by its definition."""
    p, t = np.stack(predictions), np.stack(truths)
    return np.mean([((p == k) & (t == k)).sum() / ((p == k) | (t == k)).sum() for k in range(10)])


def predict(model, maps):
    return model.predict(maps)[0]["prediction"]["ensemble"].numpy()


@pytest.mark.parametrize("subset", LEAST, ids="+".join)
def test_the_checkpoint_is_good_on_rooms_that_it_never_saw(model, subset):
    frames = SyntheticRooms(split="test", num_frames=FRAMES, seed=UNSEEN, transforms=[PackSample()])
    batches = [collate([frame]) for frame in frames]
    found = [predict(model, {k: batch[k] for k in (*subset, "depth_valid") if k in batch}) for batch in batches]
    assert mean_iou(found, [batch["label"][0].numpy() for batch in batches]) >= LEAST[subset]


@pytest.mark.parametrize(("size", "least"), [((240, 320), 0.7), ((480, 640), 0.5)])
def test_it_takes_other_sizes(model, size, least):
    """Most pixels are still right, fewer the farther the size is from that of the training."""
    frame = render(UNSEEN, 1, size)
    maps = {
        "rgb": torch.from_numpy(frame["rgb"]).permute(2, 0, 1)[None],
        "depth": torch.from_numpy(frame["depth"])[None, None],
    }
    found = predict(model, maps)
    assert found.shape == size and (found == np.minimum(frame["label"], 9)).mean() > least


def test_files_are_small_and_weights_whole(model):
    assert CHECKPOINT.stat().st_size <= 5_000_000
    assert sum(file.stat().st_size for file in SAMPLES.rglob("*") if file.is_file() and file != CHECKPOINT) < 1_000_000
    assert {x.dtype for x in model.parameters()} == {torch.float32}


def test_the_doctor_finds_nothing_wrong(capsys):
    assert doctor([str(SAMPLES)]) == 0
    assert "no errors, no warnings" in capsys.readouterr().out


def test_samples_are_rendered_rooms():
    """Of seed 1, whose rooms training does not show."""
    rooms = SyntheticRooms(split="test", num_frames=8, seed=1)
    samples = build_dataset(SAMPLES, "test")
    assert len(samples) == 8 and samples.classes == rooms.classes
    for name in ("rgb", "depth", "label"):
        np.testing.assert_array_equal(samples[5][name], rooms[5][name])
