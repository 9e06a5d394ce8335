"""The predictor against naive computations in numpy and OpenCV, on a network that only filters its input.

A 3×3 filter with zeros around what it is given tells padding, windows and mirror images apart.
"""

import dataclasses
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_models import UNET, batch, equal, small

from rgbx.metrics import confusion_matrix, scores
from rgbx.models import PROTOCOLS, Predictor, Protocol
from rgbx.models.multimodal import Preprocessor
from rgbx.tasks import Classes, Map, Target

CLASSES = 4


class Mirror:
    """Turns a batch's maps back to front; normals of a scene would turn their x too."""

    @staticmethod
    def mirror(inputs):
        return {name: x.flip(-1) for name, x in inputs.items()}


class Filter:
    """Two modalities, `classes` outputs each, computed at 1/stride of the size; the ensemble is their mean."""

    modalities, data_preprocessor = ("rgb", "depth"), Mirror()

    def __init__(self, stride=1, channels=(3, 1), classes=CLASSES, gain=1.0, tasks=None):
        generator = torch.Generator().manual_seed(0)
        self.stride, self.training, self.modes = stride, False, []
        self.tasks = tasks or {"labels": Classes("labels", num_classes=classes)}
        self.weight = {
            name: gain * torch.randn(classes, c, 3, 3, generator=generator)
            for name, c in zip(self.modalities, channels, strict=True)
        }

    def outputs(self, inputs, *, resize="bilinear", heads=None):
        self.modes.append((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
        found = {}
        for name, x in inputs.items():
            height, width = x.shape[-2:]
            x = F.pad(x, (0, -width % self.stride, 0, -height % self.stride))
            coarse = F.avg_pool2d(F.conv2d(x, self.weight[name], padding=1), self.stride)
            fine = coarse if self.stride == 1 else F.interpolate(coarse, size=x.shape[-2:], mode=resize)
            found[name] = fine[..., :height, :width]
        found["ensemble"] = sum(found.values()) / len(found)
        return {
            head: {name: (x[:, : task.channels].tanh() if task.kind == "map" else x) for name, x in found.items()}
            for head, task in self.tasks.items()
            if heads is None or head in heads
        }

    def run(self, inputs, beliefs=False, names=None, coarse=(), **options):
        return SimpleNamespace(outputs=self.outputs(inputs, **options), beliefs={})

    def padded_size(self, size):
        return size

    def modules(self):
        return iter(())


def images(height, width, count=1):
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(count, c, height, width, generator=generator) for name, c in (("rgb", 3), ("depth", 1))}


def filtered(image, weight):
    """Logits [K, H, W] of one image [c, H, W], by a loop over the filter's taps."""
    c, height, width = image.shape
    padded = np.zeros((c, height + 2, width + 2))
    padded[:, 1:-1, 1:-1] = image
    taps = weight.double().numpy()
    return sum(
        np.einsum("kc,chw->khw", taps[:, :, i, j], padded[:, i : i + height, j : j + width])
        for i in range(3)
        for j in range(3)
    )


def resized(maps, size, interpolation):
    """OpenCV's resizing of [c, H, W]."""
    planes = [cv2.resize(np.ascontiguousarray(plane), size[::-1], interpolation=interpolation) for plane in maps]
    return np.stack(planes)


def resized_with_corners(maps, size):
    """Bilinear with aligned corners of [c, H, W], one axis after the other."""

    def along(array, axis, n):
        positions = np.linspace(0, array.shape[axis] - 1, n)
        return np.apply_along_axis(lambda v: np.interp(positions, np.arange(len(v)), v), axis, array)

    return along(along(maps.astype(float), 1, size[0]), 2, size[1])


def naive_cmx(image, weight, scales, crop, flip):
    """engine/evaluator.py of the CMX authors without its slips, for one modality."""
    height, width = image.shape[1:]
    total = 0
    for scale in scales:
        size = (round(height * scale), round(width * scale))
        x = resized(image, size, cv2.INTER_NEAREST if len(image) == 1 else cv2.INTER_LINEAR)

        def score(part):
            rows, columns = max(crop[0] - part.shape[1], 0), max(crop[1] - part.shape[2], 0)
            top, left = rows // 2, columns // 2
            padded = np.pad(part, ((0, 0), (top, rows - top), (left, columns - left)))
            logits = filtered(padded, weight)
            if flip:
                logits = logits + filtered(padded[..., ::-1], weight)[..., ::-1]
            return np.exp(logits)[:, top : top + part.shape[1], left : left + part.shape[2]]

        if size[0] <= crop[0] or size[1] <= crop[1]:
            scores = score(x)
        else:
            scores = np.zeros((CLASSES, *size))
            steps = [math.ceil(side * 2 / 3) for side in crop]
            counts = [math.ceil((n - c) / s) + 1 for n, c, s in zip(size, crop, steps, strict=True)]
            for i in range(counts[0]):
                for j in range(counts[1]):
                    y, z = min(i * steps[0], size[0] - crop[0]), min(j * steps[1], size[1] - crop[1])
                    scores[:, y : y + crop[0], z : z + crop[1]] += score(x[:, y : y + crop[0], z : z + crop[1]])
        total = total + resized(scores, (height, width), cv2.INTER_LINEAR)
    return total


def naive_dformer(image, weight, scales):
    """evaluate_msf of the DFormer authors, for one modality."""
    height, width = image.shape[1:]
    total = 0
    for scale in scales:
        size = tuple(math.ceil(int(scale * side) / 32) * 32 for side in (height, width))
        x = resized_with_corners(image, size)
        for logits in (filtered(x, weight), filtered(x[..., ::-1], weight)[..., ::-1]):
            logits = resized_with_corners(logits, (height, width))
            exponents = np.exp(logits - logits.max(0))
            total = total + exponents / exponents.sum(0)
    return total


def check(protocol, naive, size, **options):
    network, inputs = Filter(**options), images(*size)
    found = Predictor(network, protocol).scores(inputs, size)["labels"]
    for name in ("rgb", "depth"):
        expected = naive(inputs[name][0].numpy(), network.weight[name])
        np.testing.assert_allclose(found[name][0].numpy(), expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())
    return {name: x.argmax(1) for name, x in found.items()}


SMALL = dict(pad_to=(16, 22), window=(16, 22), stride=(11, 15))


def test_cmx_ms_fixed():
    """At the three scales of a 16×24 image: padded on both axes, on none, and four windows."""
    rules = dataclasses.replace(PROTOCOLS["cmx-ms-fixed"], **SMALL)
    check(rules, lambda x, w: naive_cmx(x, w, (0.75, 1, 1.25), (16, 22), True), (16, 24), gain=0.3)


@pytest.mark.parametrize("size", [(10, 12), (16, 30), (33, 50)])
def test_cmx_ss_fixed(size):
    rules = dataclasses.replace(PROTOCOLS["cmx-ss-fixed"], **SMALL)
    check(rules, lambda x, w: naive_cmx(x, w, (1,), (16, 22), False), size, gain=0.3)


def test_cmx_windows_are_those_of_the_authors():
    rules = PROTOCOLS["cmx-ms"]
    assert (rules.window, rules.pad_to) == ((480, 640), (480, 640))
    assert rules.stride == (math.ceil(480 * 2 / 3), math.ceil(640 * 2 / 3))


def test_masks_of_8_bit_maps_are_resized_with_them():
    """Holes stay holes where an image is resized before it is normalised."""
    network = Filter(channels=(3, 3))
    network.data_preprocessor = Preprocessor(("rgb",), network.tasks)
    image = torch.randint(0, 256, (1, 3, 8, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    batch = {"rgb": image, "rgb_valid": torch.arange(12).view(1, 1, 1, 12).expand(1, 1, 8, 12) < 6}
    seen = []
    network.outputs = lambda inputs, **options: seen.append(inputs["rgb"]) or Filter.outputs(network, inputs)
    rules = Protocol("p", "s", scales=(0.5,), resizer="opencv", resized="scores")
    Predictor(network, rules, modalities=["rgb"])(batch)
    small = cv2.resize(image[0].permute(1, 2, 0).numpy(), None, fx=0.5, fy=0.5)
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    np.testing.assert_allclose(seen[0][0, :, :, :3], ((small - mean) / std).transpose(2, 0, 1)[..., :3], atol=1e-5)
    assert (seen[0][..., 3:] == 0).all()


def test_dformer_ms():
    check("dformer-ms", lambda x, w: naive_dformer(x, w, (0.5, 0.75, 1, 1.25, 1.5)), (40, 70), gain=0.3)


@pytest.mark.parametrize("name", ["rgbx", "asymfusion"])
def test_from_the_decoder_to_the_label(name):
    interpolation = {"rgbx": cv2.INTER_LINEAR, "asymfusion": cv2.INTER_CUBIC}[name]

    def naive(image, weight):
        fine = filtered(image, weight)
        coarse = fine.reshape(CLASSES, 4, 4, 6, 4).mean((2, 4))
        return resized(coarse, (16, 24), interpolation)

    check(name, naive, (16, 24), stride=4)


FLIPPED = Protocol("p", "s", flip=True)
SCORED = Protocol("p", "s", resized="scores", sum_of="softmax", pad_to=(40, 40))

SUMMED = dataclasses.replace(SCORED, pad_to=None, window=(20, 24), stride=(8, 12), slide_if="both", window_weight="sum")


@pytest.mark.parametrize(
    ("rules", "change"),
    [
        (FLIPPED, dict(flip=False)),
        (FLIPPED, dict(sum_of="softmax")),
        (FLIPPED, dict(sum_of="exp")),
        (dataclasses.replace(FLIPPED, sum_of="softmax"), dict(sum_of="exp")),
        (dataclasses.replace(FLIPPED, sum_of="exp"), dict(flip_sum="logits")),
        (FLIPPED, dict(scales=(1.0, 1.25))),
        (FLIPPED, dict(multiple=32)),
        (Protocol("p", "s", scales=(0.55,)), dict(size_rounding="floor")),
        (Protocol("p", "s", scales=(0.7,)), dict(one_channel_resize="bilinear")),
        (Protocol("p", "s", scales=(0.7,)), dict(align_corners=True)),
        (FLIPPED, dict(logits_to_label="bicubic")),
        (SCORED, dict(pad_to=None)),
        (dataclasses.replace(SCORED, scales=(0.7,)), dict(resized="logits")),
        (SCORED, dict(pad_to=None, window=(20, 20), stride=(8, 8))),
        (dataclasses.replace(SCORED, pad_to=None, window=(20, 20), stride=(8, 8)), dict(window_weight="sum")),
        (dataclasses.replace(SCORED, pad_to=None, window=(20, 99), stride=(8, 8)), dict(slide_if="both")),
        (Protocol("p", "s", scales=(0.7,), resized="scores"), dict(resizer="opencv")),
        (SUMMED, dict(swapped=True)),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_every_rule_changes_the_number(rules, change):
    inputs, size, network = images(29, 37, count=2), (29, 37), Filter(stride=4, gain=3.0)
    label = torch.randint(0, CLASSES, (2, *size), generator=torch.Generator().manual_seed(2))

    def mean_iou(protocol):
        samples = Predictor(network, protocol).predict(inputs, {"labels": Target(label)})
        predicted = torch.stack([sample["prediction"]["ensemble"] for sample in samples])
        return scores(confusion_matrix(predicted, label, CLASSES))["mIoU"]

    assert mean_iou(rules) != mean_iou(dataclasses.replace(rules, **change))


def test_predictions_are_the_argmax_at_the_label_s_size():
    inputs, network = images(13, 18, count=2), Filter(stride=4)
    label = torch.zeros(2, 26, 30, dtype=torch.long)
    predictor = Predictor(network, "dformer-ms")
    scores = predictor.scores(inputs, (26, 30))["labels"]
    samples = predictor.predict(inputs, {"labels": Target(label)}, ["a", "b"], keep_probability=True)
    assert [s["sample_id"] for s in samples] == ["a", "b"]
    assert list(samples[0]["prediction"]) == ["rgb", "depth", "ensemble"]
    for i, sample in enumerate(samples):
        for name, ids in sample["prediction"].items():
            assert torch.equal(ids, scores[name][i].argmax(0).to(torch.uint8))
        probability = sample["probability"]["ensemble"]
        assert torch.equal(probability.argmax(0).to(torch.uint8), sample["prediction"]["ensemble"])
        assert torch.equal(sample["confidence"]["ensemble"], probability.amax(0))
        assert sample["heads"]["labels"].target is sample["target"] and sample["valid"] is None
    assert predictor.predict(inputs)[0]["prediction"]["rgb"].shape == (13, 18)


OF_CLASSES = [name for name, rules in PROTOCOLS.items() if rules.tasks is None or "classes" in rules.tasks]


def probabilities(protocol, inputs, size, **options):
    network = Filter(**options)
    predictor = Predictor(network, protocol)
    samples = predictor.predict(inputs, {"labels": Target(torch.zeros(1, *size))}, keep_probability=True)
    return samples[0]["probability"]["ensemble"]


@pytest.mark.parametrize(("name", "gain"), [*((name, 20.0) for name in OF_CLASSES), ("cmx-ms", 1e4)])
def test_probabilities_are_finite_and_sum_to_one(name, gain):
    rules = PROTOCOLS[name]
    rules = dataclasses.replace(rules, **SMALL) if rules.pad_to else rules
    found = probabilities(rules, images(9, 12), (9, 12), gain=gain)
    assert found.dtype == torch.float32 and (found >= 0).all()
    torch.testing.assert_close(found.sum(0), torch.ones(9, 12))


def test_probabilities_of_whole_images_are_the_softmax():
    inputs = images(9, 12)
    expected = Filter().outputs(inputs)["labels"]["ensemble"].softmax(1)[0]
    torch.testing.assert_close(probabilities("rgbx", inputs, (9, 12)), expected)


def test_sliding_over_one_window_is_the_whole_image():
    inputs, network = images(1024, 1024), Filter(stride=32, gain=3.0)
    for name, x in Predictor(network, "rgbx-sliding").scores(inputs, (1024, 1024))["labels"].items():
        whole = Predictor(network).scores(inputs, (1024, 1024))["labels"][name]
        assert torch.equal(x, whole.softmax(1))


def test_sliding_over_a_wide_image():
    """Windows of 8×8 on 8×16 against a loop over pixels that averages with the weights as they are stated."""
    rules = dataclasses.replace(PROTOCOLS["rgbx-sliding"], window=(8, 8), stride=(4, 4))
    inputs, network = images(8, 16), Filter(gain=2.0)
    found = Predictor(network, rules).scores({"rgb": inputs["rgb"]}, (8, 16))["labels"]["rgb"][0]
    weight = [min(i + 1, 8 - i) for i in range(8)]
    expected, seen = np.zeros((CLASSES, 8, 16)), np.zeros((8, 16))
    for start in (0, 4, 8):
        part = inputs["rgb"][0, :, :, start : start + 8].numpy()
        exponents = np.exp(filtered(part, network.weight["rgb"]))
        for y in range(8):
            for x in range(8):
                w = weight[y] * weight[x]
                expected[:, y, start + x] += w * exponents[:, y, x] / exponents[:, y, x].sum()
                seen[y, start + x] += w
    np.testing.assert_allclose(found.numpy(), expected / seen, rtol=1e-5, atol=1e-6)


def test_autocast_covers_the_network():
    network = Filter()
    scores = Predictor(network, "cmx-ss", dtype=torch.bfloat16).scores(images(6, 8), (6, 8))
    assert network.modes == [(True, torch.bfloat16)]
    assert scores["labels"]["ensemble"].dtype == torch.float32
    Predictor(network).scores(images(6, 8), (6, 8))
    assert not network.modes[-1][0]


def test_a_model_in_training_is_refused():
    network = Filter()
    network.training = True
    with pytest.raises(ValueError, match=r"call \.eval\(\)"):
        Predictor(network).scores(images(6, 8), (6, 8))


MAPS = {"normal": Map("normal"), "edge": Map("edge"), "rgb": Map("rgb")}


@pytest.mark.parametrize(
    ("rules", "resize"),
    [
        (Protocol("p", "s", flip=True, scales=(0.75, 1.0, 1.5)), cv2.INTER_LINEAR),
        (Protocol("p", "s", flip=True, flip_sum="logits", logits_to_label="bicubic"), cv2.INTER_CUBIC),
        (Protocol("p", "s", scales=(0.75, 1.0), resized="scores", sum_of="softmax"), cv2.INTER_LINEAR),
    ],
    ids=["scales", "mirror", "scores"],
)
def test_maps_are_the_mean_of_their_views(rules, resize):
    """Of every view, turned back and resized, as images: normals in the mirror turn their x."""
    inputs, size, network = {"rgb": images(16, 24)["rgb"]}, (20, 30), Filter(tasks=MAPS)
    truth = {name: Target(torch.zeros(1, task.channels, *size)) for name, task in MAPS.items()}
    found = Predictor(network, rules).predict(inputs, truth)[0]["heads"]
    scaling = {"normal": (1.0, 0.0), "edge": (0.5, 0.5), "rgb": (127.5, 127.5)}
    for name, task in MAPS.items():
        views = []
        for scale in rules.scales:
            x = resized(inputs["rgb"][0].numpy(), (round(16 * scale), round(24 * scale)), cv2.INTER_LINEAR)
            for mirrored in (False, True)[: 1 + rules.flip]:
                view = np.tanh(filtered(x[..., ::-1] if mirrored else x, network.weight["rgb"])[: task.channels])
                if mirrored:
                    view = view[..., ::-1] * (np.array([-1.0, 1, 1])[:, None, None] if name == "normal" else 1)
                views.append(resized(view, size, resize))
        gain, shift = scaling[name]
        expected = gain * np.clip(np.mean(views, axis=0), -1, 1) + shift
        values = found[name].prediction["ensemble"].numpy()
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=2e-4 * gain)


def test_windows_average_maps_as_images():
    rules = dataclasses.replace(PROTOCOLS["rgbx-sliding"], window=(8, 8), stride=(8, 8))
    inputs, network = {"rgb": images(8, 16)["rgb"]}, Filter(tasks=MAPS)
    found = Predictor(network, rules).predict(inputs)[0]["heads"]["normal"].prediction["rgb"]
    halves = [filtered(inputs["rgb"][0, :, :, s : s + 8].numpy(), network.weight["rgb"])[:3] for s in (0, 8)]
    np.testing.assert_allclose(found.numpy(), np.tanh(np.concatenate(halves, 2)), rtol=1e-4, atol=1e-5)


def test_protocol_cen_keeps_dropout():
    heads = {name: dict(task="map") for name in ("rgb", "normal")}
    model = small(None, modalities=("depth", "edge"), heads=heads, backbone={**UNET, "dropout": 0.5}).eval()
    data = batch((16, 16))
    random = Predictor(model, "cen")
    state = torch.get_rng_state()
    first, second = random(data)[0]["heads"], random(data)[0]["heads"]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(equal(x.prediction, second[head].prediction) for head, x in first.items())
    renamed = random({**data, "sample_id": ["x", "y"]})[0]["heads"]
    plain = Predictor(model)(data)[0]["heads"]
    for head in heads:
        for other in (renamed, plain):
            assert not torch.equal(other[head].prediction["ensemble"], first[head].prediction["ensemble"])
        assert torch.equal(first[head].target, data[head][0])
    assert not any(module.training for module in model.modules())


class Spoilt(Filter):
    """Answers a value of its own in one place of a head's outputs."""

    def __init__(self, value, head, place, **options):
        super().__init__(**options)
        self.value, self.head, self.place = value, head, place

    def outputs(self, inputs, **options):
        found = super().outputs(inputs, **options)
        for name in ("rgb", "ensemble"):
            if self.head in found:
                found[self.head][name][self.place] = self.value
        return found


ANSWERS = {
    "NaN": (torch.nan, (1, 2)),
    "infinity": (torch.inf, (1, 0)),
    "all classes": (-torch.inf, (1,)),  # exp of which is 0, as of any small score
}
SPOILT = [(a, p) for a in ANSWERS for p in OF_CLASSES if PROTOCOLS[p].sum_of != "exp" or a != "all classes"]


@pytest.mark.parametrize(("answer", "protocol"), SPOILT)
@pytest.mark.parametrize("classes", [CLASSES, 300])  # found in two ways
def test_an_answer_that_is_no_number_is_an_error(answer, protocol, classes):
    value, place = ANSWERS[answer]
    rules = PROTOCOLS[protocol]
    rules = dataclasses.replace(rules, **SMALL) if rules.pad_to else rules
    task = Classes("labels", num_classes=CLASSES)
    task.channels = classes
    network = Spoilt(value, "labels", place, classes=classes, tasks={"labels": task})
    inputs = images(9, 12, count=2)
    with pytest.raises(ValueError, match="head 'labels': the network answers NaN or infinity for sample 'b'"):
        Predictor(network, rules).predict(inputs, sample_id=["a", "b"])


def test_so_is_that_of_any_head_that_is_asked_for():
    tasks = {"labels": Classes("labels", num_classes=CLASSES), "depth": Map("depth"), "normal": Map("normal")}
    inputs = images(9, 12, count=3)
    network = Spoilt(torch.nan, "depth", ([0, 2], 0, 3, 4), tasks=tasks)
    with pytest.raises(ValueError, match="head 'depth': the network answers NaN or infinity for sample '0', '2'"):
        Predictor(network).predict(inputs)
    assert list(Predictor(network, heads=["labels", "normal"]).predict(inputs)[0]["heads"]) == ["labels", "normal"]


def test_only_the_heads_that_are_asked_for_are_decoded():
    model, data, run = small("three").eval(), batch(), []
    for name, head in model.named_heads():
        head.register_forward_hook(lambda *_, name=name: run.append(name))
    expected = model.predict(data)[0]["heads"]["dense"]
    run.clear()
    found = model.predict(data, heads=["dense"])[0]
    assert run == ["dense"] and equal(found["prediction"], expected.prediction)


@pytest.mark.parametrize("protocol", ["rgbx", "dformer-ms"])
def test_inputs_of_other_sizes_are_not_resized_to_the_first(protocol):
    inputs = images(9, 12, count=2)
    for depth, message in (
        (inputs["depth"][..., 1:, :], r"input depth has batch and size \[2, 8, 12\], rgb has \[2, 9, 12\]"),
        (inputs["depth"][:1], r"input depth has batch and size \[1, 9, 12\]"),
        (inputs["depth"][:, 0], r"input depth is float32 \[2, 9, 12\]; expected normalised values"),
        (inputs["depth"].byte(), "input depth is uint8 .*; expected normalised values"),
    ):
        with pytest.raises(ValueError, match=message):
            Predictor(Filter(), protocol).predict({**inputs, "depth": depth})
        for mode in ("predict", "tensor"):
            with pytest.raises(ValueError, match=message):
                small("classes").eval()({**inputs, "depth": depth}, mode=mode)


def test_where_an_input_was_damaged_is_not_looked_at():
    model, data = small("classes").eval(), batch()
    damaged = {**data, "depth_corrupted": data["depth"] > 3}
    assert equal(Predictor(model).totals(damaged), Predictor(model).totals(data))
    for found, expected in zip(Predictor(model)(damaged), Predictor(model)(data), strict=True):
        assert found.keys() == expected.keys() and "corrupted" not in found
