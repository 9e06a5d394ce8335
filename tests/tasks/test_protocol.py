import dataclasses
import json
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_models import small

from rgbx.metrics import confusion_matrix, scores
from rgbx.models import PROTOCOLS, Predictor, Protocol
from rgbx.models.multimodal import Preprocessor
from rgbx.tasks import TASKS, Classes


def test_the_published_ones_have_names_and_sources():
    assert {"rgbx", "asymfusion", "cmx-ss", "cmx-ms", "dformer-ms", "cen"} <= set(PROTOCOLS)
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert protocol.source
        assert set(protocol.tasks or ()) <= set(TASKS)
        assert json.loads(json.dumps(protocol.as_dict()))["name"] == name


def test_a_misspelt_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'cmx' is not known; expected one of rgbx, .*cmx-ss"):
        Predictor(small("classes"), "cmx")


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (dict(scales=()), "scales must be positive"),
        (dict(scales=(1.0, -1.0)), "scales must be positive"),
        (dict(multiple=0), "multiple must be >= 1"),
        (dict(window=(8, 8), resized="scores"), "belong together"),
        (dict(window=(8, 8), stride=(8, 9), resized="scores"), "leaves gaps"),
        (dict(window=(8, 8), stride=(8, 8)), "need resized='scores'"),
        (dict(logits_to_label="bicubic", resized="scores"), "bicubic"),
        (dict(resizer="opencv", multiple=32), "resizer='opencv' needs multiple=1, .* found \\(32,"),
        (dict(resizer="opencv", align_corners=True, resized="scores"), "resizer='opencv' needs .* found .*True"),
        (dict(swapped=True), "swapped needs a window"),
        (dict(swapped=True, window=(8, 9), stride=(8, 9), resized="scores"), "slide_if='both'"),
    ],
)
def test_rules_that_contradict_each_other(rules, message):
    with pytest.raises(ValueError, match=message):
        Protocol("p", "s", **rules)


class Filter:
    """A network of rgb and depth: a 3×3 filter with zeros around what it is given, so that padding and windows show."""

    modalities, training = ("rgb", "depth"), False

    def __init__(self):
        self.tasks = {"labels": Classes("labels", num_classes=4)}
        self.weight = 0.4 * torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(0))
        statistics = {"depth": dict(mean=[4.0], std=[2.0])}
        self.data_preprocessor = Preprocessor(self.modalities, self.tasks, statistics=statistics)

    def outputs(self, inputs, *, resize="bilinear", heads=None):
        x = torch.cat([inputs[name] for name in self.modalities], 1)
        return {"labels": {"ensemble": F.conv2d(x, self.weight, padding=1)}}

    def run(self, inputs, beliefs=False, names=None, coarse=(), **options):
        return SimpleNamespace(outputs=self.outputs(inputs, **options), beliefs={})

    def padded_size(self, size):
        return size

    def modules(self):
        return iter(())


def frame(height, width):
    """Colours uint8 [H, W, 3] and measured depth float32 [H, W], rough enough for every resizing to show."""
    random = np.random.default_rng(height)
    return random.integers(0, 256, (height, width, 3), np.uint8), random.uniform(1, 8, (height, width)).astype(
        "float32"
    )


def padded(image, sides):
    """Zeros around [H, W, c] up to the sides, the odd one below and at the right; with the four margins."""
    lacking = [max(side - n, 0) for side, n in zip(sides, image.shape, strict=False)]
    margins = [(n // 2, n - n // 2) for n in lacking]
    return np.pad(image, (*margins, (0, 0))), margins


def evaluator(network, rgb, depth, scales, flip, crop=(480, 640)):
    """What the CMX authors' evaluator adds up, float64 [H, W, K], in loops over scales and windows."""
    height, width = depth.shape
    total = np.zeros((height, width, 4))

    def score(colours, distances):
        x = np.dstack([(colours / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225), (distances - 4) / 2])
        x, ((top, below), (left, right)) = padded(x, crop)
        x = torch.from_numpy(x.transpose(2, 0, 1)[None].astype("float32"))
        logits = F.conv2d(x, network.weight, padding=1)
        if flip:
            logits = logits + F.conv2d(x.flip(-1), network.weight, padding=1).flip(-1)
        found = logits[0].exp().numpy().transpose(1, 2, 0)
        return found[top : found.shape[0] - below, left : found.shape[1] - right]

    for scale in scales:
        three = cv2.merge([depth, depth, depth])
        colours, three = (cv2.resize(x, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR) for x in (rgb, three))
        rows, columns = three.shape[:2]
        if columns <= crop[1] or rows <= crop[0]:
            found = score(colours, three[..., 0])
        else:
            found = np.zeros((rows, columns, 4), np.float32)
            steps = [math.ceil(side * 2 / 3) for side in crop]
            for i in range(math.ceil((rows - crop[0]) / steps[0]) + 1):
                for j in range(math.ceil((columns - crop[1]) / steps[1]) + 1):
                    right = min(j * steps[0] + crop[0], columns)
                    below = min(i * steps[1] + crop[1], rows)
                    place = slice(below - crop[1], below), slice(right - crop[0], right)
                    found[place] += score(colours[place], three[..., 0][place])
        total += cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
    return total


SIZES = [(480, 640), (425, 560), (530, 730), (320, 240), (800, 960)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize(("name", "scales", "flip"), [("cmx-ss", (1,), False), ("cmx-ms", (0.75, 1, 1.25), True)])
def test_cmx_is_the_arithmetic_of_its_authors(name, scales, flip, size):
    network, (rgb, depth) = Filter(), frame(*size)
    batch = {"rgb": torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None], "depth": torch.from_numpy(depth)[None, None]}
    label = torch.from_numpy(np.random.default_rng(1).integers(0, 5, size))
    predictor = Predictor(network, name)
    found = predictor(batch)[0]["prediction"]["ensemble"]
    expected = evaluator(network, rgb, depth, scales, flip)
    classes = torch.from_numpy(expected.argmax(2))
    ordered = np.sort(expected, 2)
    clear = torch.from_numpy(ordered[..., 3] - ordered[..., 2] > 1e-4 * ordered[..., 3])
    assert torch.equal(found[clear], classes[clear].to(torch.uint8))
    means = [scores(confusion_matrix(x.long(), label.where(label < 4, 255), 4))["mIoU"] for x in (found, classes)]
    assert f"{means[0]:.5f}" == f"{means[1]:.5f}"


def test_cmx_scores_the_lowest_rows_alone_at_the_largest_scale():
    """600×800 in windows of 640 rows and 480 columns: each begins above the image, and has its 40 lowest rows."""
    network, (rgb, depth) = Filter(), frame(480, 640)
    rules = dataclasses.replace(PROTOCOLS["cmx-ms"], scales=(1.25,))
    inputs = network.data_preprocessor(
        {"rgb": torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None], "depth": torch.from_numpy(depth)[None, None]}
    )["inputs"]
    found = Predictor(network, rules).scores(inputs, (600, 800))["labels"]["ensemble"][0]
    assert found[:, :560].abs().max() == 0 and found[:, 560:].amin() > 0
    probability = Predictor(network, rules).predict(inputs, keep_probability=True)[0]["probability"]["ensemble"]
    assert (probability[:, :440] == 1 / 4).all()
