from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from rgbx.evaluate.picture_hook import PictureHook, subset_title

from rgbx.evaluate.pictures import (
    HOLE,
    IGNORED,
    class_legend,
    colour_input,
    colour_labels,
    colour_map,
    sample_panels,
)

META = {
    "classes": ("a", "b", "c"),
    "palette": [[255, 0, 0], [0, 255, 0], [0, 0, 255]],
    "ignore_index": 255,
    "modalities": ("rgb", "depth"),
}


def test_labels_take_the_palette():
    picture = colour_labels(np.array([[0, 2, 255]]), META["palette"])
    assert picture.tolist() == [[[255, 0, 0], [0, 0, 255], list(IGNORED)]]


def test_holes_are_dark_and_the_rest_is_not():
    depth = np.array([[[0.0, 1.0, 2.0, 3.0]]], np.float32)
    picture = colour_input("depth", depth)
    assert tuple(picture[0, 0]) == HOLE
    assert picture[0, 1:].max(-1).min() > 80
    brightness = picture[0, 1:].astype(int).sum(-1)
    assert len(set(brightness.tolist())) == 3
    assert (colour_map(np.zeros((2, 2)), np.zeros((2, 2), bool)) == HOLE).all()


def test_other_inputs():
    rgb = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    assert np.array_equal(colour_input("rgb", rgb), rgb.transpose(1, 2, 0))
    normal = np.array([0.0, -1.0, 1.0]).reshape(3, 1, 1)
    assert colour_input("normal", normal).tolist() == [[[127, 0, 255]]]


def test_panels_are_in_order():
    sample = {"rgb": np.zeros((3, 2, 2), np.uint8), "depth": np.ones((1, 2, 2)), "label": np.zeros((2, 2), int)}
    panels = sample_panels(sample, {"RGB alone": np.ones((2, 2)), "both": np.ones((2, 2))}, META)
    assert [title for title, _ in panels] == ["RGB", "depth", "truth", "RGB alone", "both"]
    assert (panels[3][1] == META["palette"][1]).all()


def test_legend_names_what_occurs():
    legend = class_legend([np.array([0, 255]), np.array([2])], META)
    assert legend == {"a": [255, 0, 0], "c": [0, 0, 255], "not labelled": IGNORED}


@pytest.mark.parametrize(
    ("subset", "known", "title"),
    [
        (("rgb",), ("rgb", "depth"), "RGB alone"),
        (("rgb", "depth"), ("rgb", "depth"), "both"),
        (("rgb", "depth"), ("rgb", "depth", "thermal"), "RGB + depth"),
        (("rgb", "depth", "thermal"), ("rgb", "depth", "thermal"), "all"),
    ],
)
def test_titles(subset, known, title):
    assert subset_title(subset, known) == title


def test_hook_keeps_evenly_spaced_samples(make_runner, tmp_path):
    runner = make_runner()
    runner.test_dataloader.dataset.length = 5
    hook = PictureHook(3)
    runner.register_hook(hook)
    runner.call_hook("before_run")
    runner.test_loop.run()
    assert list(hook.samples) == ["half/0", "half/2", "half/4"]
    assert list(hook.predictions["half/0"]) == ["rgb", "depth", "ensemble"]
    paths = hook.draw(tmp_path / "pictures", runner.test_dataloader.dataset.metainfo)
    pictures = [cv2.imread(str(path)) for path in paths]
    assert [path.name for path in paths] == ["half_0.png", "half_2.png", "half_4.png"]
    assert all(picture.shape[1] > 5 * picture.shape[0] / 2 for picture in pictures)


def test_samples_are_spread_over_this_processs_share():
    hook = PictureHook(3)
    loader = SimpleNamespace(dataset=range(10), sampler=range(5))
    hook.before_test_epoch(SimpleNamespace(test_dataloader=loader))
    assert hook._wanted == {0, 2, 4}
