"""Batches whose modalities have frames and times of their own: folded, normalised and handed on."""

from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from torch import nn

from rgbx._protocol import PROTOCOLS
from rgbx._types import InputWarning
from rgbx.fusion import FUSION_METHODS, FusionMethod, fusion_method
from rgbx.models import Predictor, load, multimodal, multimodal_segmentor
from rgbx.models.checkpoint import to_plain

FRAMES = {"rgb": 2, "depth": 3}
VIEWS = replace(
    PROTOCOLS["cmx-ms"], pad_to=(40, 56), window=(40, 56), stride=(27, 38)
)  # scales, flips, margins, windows


class Nearest(nn.Module):
    """The features of the frame nearest to the label, by a loop over samples."""

    def __init__(self, layout):
        super().__init__()
        self.layout = layout

    def forward(self, features):
        times = self.layout.times
        stacks = []
        for stage in features:
            assert tuple(stage) == self.layout.present
            maps = []
            for name, x in stage.items():
                for i in range(len(x)):
                    maps.append(x[i, 0 if times is None else int(times[name][i].abs().argmin())])
            stacks.append(torch.stack(maps))
        return stacks


@pytest.fixture(scope="module", autouse=True)
def method():
    @fusion_method("nearest_of_tests")
    @dataclass(frozen=True, kw_only=True)
    class NearestFusion(FusionMethod):
        def fuse_frames(self, channels, layout):
            return Nearest(layout)

    yield
    del FUSION_METHODS["nearest_of_tests"]


@cache
def build(fusion="nearest_of_tests", **options):
    torch.manual_seed(0)
    return multimodal_segmentor(
        backbone="resnet10t", modalities=("rgb", "depth"), num_classes=3, fusion=fusion, **options
    ).eval()


def clips(samples=2, size=(33, 47)):
    """Frames at 10 and 30 Hz; of sample i the frame nearest to the label is i of depth, 1 of rgb."""
    torch.manual_seed(1)
    time = torch.tensor([1000.0 + i / 30 for i in range(samples)], dtype=torch.float64)
    return {
        "rgb": torch.randint(0, 256, (samples, 2, 3, *size), dtype=torch.uint8),
        "rgb_time": time[:, None] + torch.tensor([-0.1, 0.001], dtype=torch.float64),
        "depth": 1 + torch.rand(samples, 3, 1, *size),
        "depth_time": torch.tensor([[1000.0 + j / 30 for j in range(3)]] * samples, dtype=torch.float64),
        "time": time,
        "label": torch.randint(0, 3, (samples, *size)),
        "sample_id": [str(i) for i in range(samples)],
    }


def stills(batch):
    chosen = {
        name: [int((batch[f"{name}_time"][i] - batch["time"][i]).abs().argmin()) for i in range(2)] for name in FRAMES
    }
    return {
        **{name: torch.stack([batch[name][i, j] for i, j in enumerate(chosen[name])]) for name in FRAMES},
        "label": batch["label"],
        "sample_id": batch["sample_id"],
    }


@pytest.mark.parametrize("protocol", ["rgbx", VIEWS])
@pytest.mark.parametrize("names", [("rgb", "depth"), ("depth",)])
def test_a_clip_is_predicted_as_the_frames_that_the_method_takes(protocol, names):
    model, batch = build(), clips()
    found = Predictor(model, protocol, modalities=names)(batch)
    expected = Predictor(model, protocol, modalities=names)(stills(batch))
    for one, other in zip(found, expected, strict=True):
        assert set(one["prediction"]) == {*names, "ensemble"}
        for name, labels in one["prediction"].items():
            assert (labels == other["prediction"][name]).float().mean() > 0.999, name


def test_holes_of_a_frame_are_its_own():
    model, batch = build(), clips()
    batch["depth_valid"] = torch.rand(2, 3, 1, 33, 47) > 0.3
    given = model.data_preprocessor(batch)
    assert given["inputs"]["rgb"].shape == (2, 2, 3, 33, 47) and given["inputs"]["depth"].dtype == torch.float32
    for i in range(2):
        for j in range(3):
            alone = {"depth": batch["depth"][i, j][None], "depth_valid": batch["depth_valid"][i, j][None]}
            expected = model.data_preprocessor(alone)["inputs"]["depth"][0]
            torch.testing.assert_close(given["inputs"]["depth"][i, j], expected, rtol=0, atol=0)
    assert set(given["times"]) == set(FRAMES)
    torch.testing.assert_close(given["times"]["rgb"], torch.tensor([[-0.1, 0.001]] * 2), rtol=0, atol=1e-6)
    assert given["times"]["depth"].dtype == torch.float32  # of seconds since 1970, that would be off by a minute


def test_a_step_trains_what_the_frames_pass():
    model, batch = build(norm_eval=False).train(), clips()  # one of its own
    losses = model(**model.data_preprocessor(batch, training=True), mode="loss")
    sum(losses.values()).backward()
    norms = [module for name, module in model.backbone.network.named_modules() if name.endswith("norms.depth")]
    assert norms[0].weight.grad.abs().sum() > 0
    assert int(norms[0].num_batches_tracked) == 1


def test_one_modality_may_be_a_still():
    model, batch = build(), clips()
    batch["rgb"] = batch["rgb"][:, 1]
    del batch["rgb_time"]
    whole = model.predict({**clips(), "sample_id": ["0", "1"]})
    assert [
        (a["prediction"]["rgb"] != b["prediction"]["rgb"]).sum()
        for a, b in zip(model.predict(batch), whole, strict=True)
    ] == [0, 0]


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda b: b.pop("depth_time"), "depth_time is not in the batch; expected a tensor [2, 3] in seconds"),
        (lambda b: b.update(depth_time=b["rgb_time"]), "depth_time is [2, 2]; expected a tensor [2, 3]"),
        (lambda b: b.pop("time"), "time is not in the batch"),
        (lambda b: b["rgb_time"].fill_(torch.nan), "rgb_time or time of the batch is not finite"),
        (lambda b: b.update(depth_valid=torch.ones(2, 1, 33, 47)), "depth_valid is [2, 1, 33, 47]; expected"),
        (
            lambda b: b.update(depth=b["depth"][:1], depth_time=b["depth_time"][:1]),
            "time is [2]; expected a tensor [1]",
        ),
        (lambda b: b.update(depth=b["depth"][..., :-1]), "the maps of a batch must be registered"),
    ],
)
def test_what_no_clip_can_be(change, words):
    model, batch = build(), clips()
    change(batch)
    with pytest.raises(ValueError) as refused:
        model.data_preprocessor(batch)
    assert words in str(refused.value)


@pytest.mark.parametrize("fusion", ["asymmetric", "early", None])
def test_models_of_stills_say_the_ways_out(fusion):
    with pytest.raises(ValueError, match=r"input rgb is a clip of 2 frames.*NearestFrames.*FramesAsMaps.*'mea'"):
        build(fusion).predict(clips())


def test_times_go_with_the_clips():
    model, batch = build(), clips()
    given = model.data_preprocessor(batch)
    inputs, times = given["inputs"], given["times"]
    whole = model(inputs, times=times)
    still = {**inputs, "rgb": inputs["rgb"][:, 1]}
    found = model(still, times={"depth": times["depth"]})
    torch.testing.assert_close(found["depth"], whole["depth"], rtol=0, atol=0)
    for wrong in (None, {"rgb": times["rgb"]}, {**times, "depth": times["rgb"]}):
        with pytest.raises(
            ValueError, match=r"input (rgb|depth) is a clip \[2, ., ., 33, 47\] with times .*expected times="
        ):
            model(inputs, times=wrong)


@pytest.mark.parametrize("norm", ["affine", "shared"])
def test_statistics_of_all_modalities_need_one_stack(norm):
    model = build(norm=norm)
    assert len(model.predict(stills(clips()))) == 2
    with pytest.raises(ValueError, match=f"norm is '{norm}'.*need norm='private'"):
        model.predict(clips())


def test_gates_read_stills():
    with pytest.raises(ValueError, match="gates of purification read stills"):
        build(purification="cross").predict(clips())


def test_an_opponent_of_images_refuses_clips():
    torch.manual_seed(0)
    head = dict(task="map", unit="metre", target="dense", adversarial={"discriminator": {"name": "patch", "width": 4}})
    model = multimodal(
        modalities=("rgb", "depth"), backbone="test_resnet", fusion="nearest_of_tests", heads={"dense": head}
    ).train()
    batch = {**clips(size=(64, 64)), "dense": torch.rand(2, 1, 64, 64) + 1}
    for mode in ("loss", "generator"):
        with pytest.raises(ValueError, match=r"opponent of head 'dense' judges .* leave `adversarial` out, .*Nearest"):
            model(**model.data_preprocessor(batch), mode=mode)
    still = {**{k: x[:, 0] for k, x in batch.items() if k in FRAMES}, "dense": batch["dense"], "sample_id": ["0", "1"]}
    assert "loss_adversarial" in model(**model.data_preprocessor(still), mode="loss")


def saved(path, fusion="nearest_of_tests", **about):
    """A checkpoint of a training on clips of 2 frames of rgb and 3 of depth."""
    model = build(fusion)
    meta = {"dataset_meta": {"clips": FRAMES, **about}}
    torch.save({"state_dict": model.state_dict(), "model": to_plain(model.recipe), "meta": meta}, path)
    return path


def test_stills_are_not_what_a_training_on_clips_was_for(tmp_path, recwarn):
    path = saved(tmp_path / "model.pth", clips={"rgb": 1, "depth": 3, "odd": "x"})
    model, batch = load(path), stills(clips())
    assert model.trained_on["clips"] == {"rgb": 1, "depth": 3}
    model.predict(clips())
    model.data_preprocessor(batch, training=True)
    assert not [warning for warning in recwarn if issubclass(warning.category, InputWarning)]
    with pytest.warns(InputWarning) as told:
        model.predict(batch)
        model.predict(rgb=batch["rgb"][0], depth=batch["depth"][0])
    (text,) = [str(warning.message) for warning in told]
    assert text.startswith("depth: one frame, where the model was trained on clips of 3")


def test_a_model_of_stills_is_given_stills(tmp_path, recwarn):
    """Clips of its dataset were made stills by a transform that nobody here knows."""
    load(saved(tmp_path / "model.pth", "asymmetric")).predict(stills(clips()))
    assert not [warning for warning in recwarn if issubclass(warning.category, InputWarning)]
