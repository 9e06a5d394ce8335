import math

import numpy as np
import pytest
import torch
from made_result import score
from PIL import Image
from tiny import Halves

from rgbx.maps.colour import colour_map
from rgbx.report.frames import choose_frames, draw_frame, write_frames
from rgbx.tasks import Prediction, Score
from rgbx.transforms import PackSample

ABOUT = {"classes": ["a", "b"], "palette": [[255, 0, 0], [0, 255, 0]], "ignore_index": 255}


class Drawing:
    """A task that draws values as grey, truth with holes in black, and errors as the difference."""

    def __init__(self, target):
        self.target = target

    def draw(self, values, about, *, truth=None, valid=None, masked=False):
        grey = np.repeat(values.reshape(*values.shape[-2:], 1), 3, 2).astype(np.uint8)
        return np.where(valid[0, ..., None], grey, 0).astype(np.uint8) if masked and valid is not None else grey

    def legend(self, maps, about):
        return {str(value): [value, 0, 0] for value in sorted({int(x) for values in maps for x in np.unique(values)})}

    def error(self, values, truth, background, about, valid=None):
        return None if self.target == "plain" else np.where((values != truth)[..., None], 255, background)


def images(*values):
    return [{"sample_id": f"s{i}", "mIoU": value} for i, value in enumerate(values)]


def test_a_score_of_whole_sets_chooses_no_frame():
    assert choose_frames(images(0.1, 0.2), Score("FID", lower=True)) == []


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
    assert [(frame.kind, frame.sample_id) for frame in choose_frames(images(*values), Score("mIoU"))] == expected
    turned = images(*[None if value is None else -value for value in values])
    assert [(frame.kind, frame.sample_id) for frame in choose_frames(turned, Score("mIoU", lower=True))] == expected


def test_pictures_come_in_order():
    found = Prediction(
        {"ensemble": torch.ones(2, 2), "rgb": torch.zeros(2, 2), "depth": torch.full((2, 2), 3)},
        torch.tensor([[0, 1], [1, 7]]),
        torch.tensor([[[True, True], [True, False]]]),
    )
    head = {"about": ABOUT, "subsets": {"rgb+depth": {}, "rgb": {}}}
    alone = {"rgb": Prediction({"ensemble": torch.full((2, 2), 5), "rgb": torch.full((2, 2), 6)})}
    inputs = {"input/rgb": np.full((2, 2, 3), 9, np.uint8)}
    drawn = draw_frame(found, Drawing("label"), head, inputs, alone)
    titles = ["truth", "ensemble", "errors of the ensemble", "RGB branch", "depth branch", "RGB alone"]
    assert list(drawn) == titles
    assert [int(drawn[title].max()) for title in titles[3:]] == [0, 3, 5]  # a branch is not the modality alone
    assert drawn["truth"][..., 0].tolist() == [[0, 1], [1, 0]]
    assert drawn["errors of the ensemble"][..., 0].tolist() == [[255, 9], [9, 255]]
    other = draw_frame(found, Drawing("label"), head, {"input/rgb": np.zeros((4, 4, 3), np.uint8)})
    assert other["errors of the ensemble"][0, 1, 0] == 128  # a background of another size
    single = found._replace(prediction={key: found.prediction[key] for key in ("ensemble", "rgb")})
    assert list(draw_frame(single, Drawing("plain"), head, {})) == ["truth", "ensemble"]  # its branch is the same
    unknown = draw_frame(Prediction(found.prediction), Drawing("label"), head, {})
    assert list(unknown) == ["ensemble", "RGB branch", "depth branch"]


def evaluated(scores):
    head = {"task": "classes", "about": ABOUT, "scores": [score("mIoU")], "subsets": {"rgb+depth": {}}}
    return {**head, "images": [{"sample_id": f"half/{i}", "mIoU": value} for i, value in scores.items()]}


def predictor(seen):
    """What predicts given both, noting the samples."""

    def predict(batch):
        seen.extend(batch["sample_id"])
        label = batch["label"][0].clone()
        label[label == 255] = 0
        found = {"ensemble": label, "rgb": torch.zeros_like(label), "depth": label}
        return [{"heads": dict.fromkeys(("labels", "other"), Prediction(found, batch["label"][0]))}]

    return {"rgb+depth": predict}


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])  # also where the order is not the dataset's
def test_frames_are_predicted_again(tmp_path, order):
    scores = {0: 0.2, 1: 0.9, 2: 0.6, 3: 0.1}
    dataset = Halves(length=4, transforms=[PackSample()])
    seen = []
    result = {"heads": {"labels": evaluated({i: scores[i] for i in order})}}
    write_frames(result, dataset, predictor(seen), {"labels": Drawing("label")}, tmp_path)
    entries = result["heads"]["labels"]["pictures"]
    assert [(entry["kind"], entry["value"]) for entry in entries] == [("best", 0.9), ("median", 0.6), ("worst", 0.1)]
    assert seen == [entry["sample_id"] for entry in entries] == ["half/1", "half/2", "half/3"]
    first = entries[0]["files"]
    assert first["input/rgb"] == "pictures/best_half_1_rgb.png"
    titles = ["input/rgb", "input/depth", "truth", "ensemble", "errors of the ensemble", "RGB branch", "depth branch"]
    assert list(first) == titles
    there = sorted({0, *np.unique(dataset[1]["label"]).tolist()})  # of truth and all predictions, in one order
    assert entries[0]["legend"] == {str(value): [value, 0, 0] for value in there}
    truth, ensemble = [np.asarray(Image.open(tmp_path / first[name])) for name in ("truth", "ensemble")]
    assert (truth[:-1] == ensemble[:-1]).all()
    rgb = np.asarray(Image.open(tmp_path / first["input/rgb"]))
    assert (rgb == dataset[1]["rgb"].numpy().transpose(1, 2, 0)).all()


def test_masks_come_after_the_inputs(tmp_path):
    """Of a network with gates, in the colours of shares."""
    dataset, mask = Halves(length=1, transforms=[PackSample()]), torch.linspace(0, 1, 64).view(8, 8)

    def predict(batch):
        (found,) = predictor([])["rgb+depth"](batch)
        return [{**found, "masks": {"depth": mask}}]

    result = {"heads": {"labels": evaluated({0: 0.5})}}
    write_frames(result, dataset, {"rgb+depth": predict}, {"labels": Drawing("label")}, tmp_path)
    files = result["heads"]["labels"]["pictures"][0]["files"]
    assert list(files)[:4] == ["input/rgb", "input/depth", "mask/depth", "truth"]
    drawn = np.asarray(Image.open(tmp_path / files["mask/depth"]))
    assert (drawn == colour_map(mask.numpy(), limits=(0, 1))).all()


def test_heads_have_folders_and_targets_are_no_inputs(tmp_path):
    result = {"heads": {name: evaluated({0: 0.2, 1: 0.9}) for name in ("labels", "other")}}
    dataset = Halves(length=2, transforms=[PackSample()])
    write_frames(result, dataset, predictor([]), {"labels": Drawing("label"), "other": Drawing("depth")}, tmp_path)
    for name, head in result["heads"].items():
        assert [entry["kind"] for entry in head["pictures"]] == ["best", "worst"]
        assert head["pictures"][0]["files"]["truth"] == f"pictures/{name}/best_half_1_truth.png"
        assert "input/depth" not in head["pictures"][0]["files"]


def test_large_pictures_are_thinned(tmp_path):
    class Large(Halves):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            rgb = torch.zeros(3, 1030, 2050, dtype=torch.uint8)
            rgb[:, ::3, ::3] = 200
            return {**sample, "rgb": rgb}

    result = {"heads": {"labels": evaluated({0: 0.5})}}
    write_frames(
        result, Large(length=1, transforms=[PackSample()]), predictor([]), {"labels": Drawing("label")}, tmp_path
    )
    found = np.asarray(Image.open(tmp_path / result["heads"]["labels"]["pictures"][0]["files"]["input/rgb"]))
    assert found.shape == (344, 684, 3)
    assert (found == 200).all()  # every third pixel as it was, nothing mixed


def test_a_frame_that_is_not_there(tmp_path):
    result = {"heads": {"labels": evaluated({9: 0.5})}}
    with pytest.raises(ValueError, match="'half/9' of the result is not in the dataset"):
        write_frames(result, Halves(length=4), {"rgb+depth": lambda batch: []}, {"labels": Drawing("label")}, tmp_path)
