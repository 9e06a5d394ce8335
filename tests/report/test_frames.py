import math

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import Halves

from rgbx.evaluate.pictures import IGNORED
from rgbx.report.frames import Frame, choose_frames, draw_error, draw_frame, write_frame, write_frames
from rgbx.transforms import PackSample


def images(*values):
    return [{"sample_id": f"s{i}", "mIoU": value} for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.3, 0.9, None, 0.1, 0.5, 0.4), [("best", "s1"), ("median", "s5"), ("worst", "s3")]),
        ((0.3, 0.9, math.nan, 0.1), [("best", "s1"), ("median", "s0"), ("worst", "s3")]),
        ((0.3, 0.9), [("best", "s1"), ("worst", "s0")]),
        ((0.3,), [("best", "s0")]),
        ((None,), []),
        ((0.5, 0.5, 0.5), [("best", "s0"), ("median", "s1"), ("worst", "s2")]),
    ],
)
def test_choice(values, expected):
    assert [(frame.kind, frame.sample_id) for frame in choose_frames(images(*values))] == expected


def test_error_map():
    label, prediction = np.array([[0, 1, 255]]), np.array([[0, 0, 0]])
    right, wrong, ignored = draw_error(label, prediction, np.full((1, 3, 3), 100, np.uint8), ignore_index=255)[0]
    assert right.min() > 190
    assert wrong[0] > 2 * wrong[1:].max()
    assert tuple(ignored) == IGNORED


def test_pictures_come_in_order():
    meta = {"modalities": ("rgb", "depth"), "palette": [[255, 0, 0], [0, 255, 0]], "ignore_index": 255}
    sample = {"rgb": np.zeros((3, 2, 2), np.uint8), "label": np.array([[0, 1], [1, 255]])}
    predictions = {"ensemble": np.ones((2, 2), int), "rgb": np.zeros((2, 2), int)}
    drawn = draw_frame(sample, predictions, meta)  # depth is not there
    assert list(drawn) == ["rgb", "label", "prediction/rgb", "prediction/ensemble", "error"]
    assert (drawn["prediction/ensemble"] == [0, 255, 0]).all()
    assert drawn["error"][0, 0, 0] > 2 * drawn["error"][0, 0, 1]


def test_large_pictures_are_thinned(tmp_path):
    picture = np.zeros((1030, 2050, 3), np.uint8)
    picture[::3, ::3] = 200
    entry = write_frame(Frame("city/a 1", "best", 0.5), {"prediction/rgb": picture}, tmp_path)
    assert entry["files"] == {"prediction/rgb": "pictures/best_city_a_1_prediction_rgb.png"}
    found = np.asarray(Image.open(tmp_path / entry["files"]["prediction/rgb"]))
    assert found.shape == (344, 684, 3)
    assert (found == 200).all()  # every third pixel as it was, nothing mixed
    assert {key: entry[key] for key in ("sample_id", "kind", "mIoU")} == {
        "sample_id": "city/a 1",
        "kind": "best",
        "mIoU": 0.5,
    }


def evaluated(scores):
    return [{"sample_id": f"half/{i}", "mIoU": score} for i, score in scores.items()]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])  # also where the order is not the dataset's
def test_frames_are_predicted_again(tmp_path, order):
    scores = {0: 0.2, 1: 0.9, 2: 0.6, 3: 0.1}
    dataset = Halves(length=4, transforms=[PackSample()])
    seen = []

    def predict(batch):
        seen.extend(batch["sample_id"])
        label = batch["label"][0].clone()
        label[label == 255] = 0
        return [{"prediction": {"ensemble": label, "rgb": torch.zeros_like(label), "depth": label}}]

    entries = write_frames(evaluated({i: scores[i] for i in order}), dataset, predict, tmp_path)
    assert [entry["kind"] for entry in entries] == ["best", "median", "worst"]
    assert seen == [entry["sample_id"] for entry in entries] == ["half/1", "half/2", "half/3"]
    first = entries[0]["files"]
    assert list(first) == [
        "rgb",
        "depth",
        "label",
        "prediction/rgb",
        "prediction/depth",
        "prediction/ensemble",
        "error",
    ]
    truth, ensemble = [np.asarray(Image.open(tmp_path / first[name])) for name in ("label", "prediction/ensemble")]
    assert (truth[:-1] == ensemble[:-1]).all()
    assert (np.asarray(Image.open(tmp_path / first["rgb"])) == dataset[1]["rgb"].numpy().transpose(1, 2, 0)).all()


def test_a_frame_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="'half/9' of the result is not in the dataset"):
        write_frames(evaluated({9: 0.5}), Halves(length=4), lambda batch: [], tmp_path)
