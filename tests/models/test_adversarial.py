"""Heads with an opponent: losses of both sides and the alternating step, against plain loops."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper, OptimWrapperDict
from small_models import UNET, batch, equal, part, run

from rgbx.models import multimodal, multimodal_translator
from rgbx.models.build import build_complete
from rgbx.tasks.adversarial import Opponent
from rgbx.train.loops import training_step

SIZE = (16, 16)


def build(modalities=("rgb", "edge"), target="depth", generator=UNET, **options):
    torch.manual_seed(0)
    options.setdefault("discriminator", dict(width=4, layers=2))
    return multimodal_translator(modalities=modalities, target=target, generator=generator, **options)


def pairs(inputs, image, filled):
    """[input, image] of every modality, three channels each."""
    return {name: torch.cat([x.expand(-1, 3, -1, -1), filled(image(name))], 1) for name, x in inputs.items()}


@pytest.mark.parametrize("fusion", ["asymmetric", "early"])
def test_losses_are_those_of_a_loop(fusion):
    model = build(l1=7.0, adversarial_weight=0.5, matching=3.0, fusion=fusion)
    head, single = model.heads["depth"], fusion == "early"
    if not single:
        head.alpha["edge"].data.fill_(1.5)
    data = model.data_preprocessor(batch(SIZE))
    losses, shown = model(**data, mode="generator")
    images = model(data["inputs"])
    valid = data["targets"]["depth"].valid
    truth = (data["targets"]["depth"].truth / 5 - 1).clamp(-1, 1).where(valid, -1)
    expected = {f"loss_l1_{n}": 7 * (x - truth)[valid].abs().mean() for n, x in images.items() if n != "ensemble"}
    joint = images["ensemble"]
    if not single:
        weights = torch.tensor([0.0, 1.5]).softmax(0)
        joint = sum(w * images[name].detach() for w, name in zip(weights, ("rgb", "edge"), strict=True))
    expected["loss_l1_ensemble"] = 7 * (joint - truth)[valid].abs().mean()
    discriminator, bce = head.opponent.discriminator, F.binary_cross_entropy_with_logits
    filled = lambda x: x.where(valid, -1).expand(-1, 3, -1, -1)  # noqa: E731
    fakes = pairs(data["inputs"], lambda name: images["ensemble" if single else name], filled)
    reals = pairs(data["inputs"], lambda name: truth, filled)
    adversarial = matching = judged = 0
    share = 0.5 if single else 1.0  # one image beside each of two inputs counts once
    for name in fakes:
        fake, real = discriminator(fakes[name]), discriminator(reals[name])
        adversarial += share * bce(fake[-1], torch.ones_like(fake[-1]))
        judged += share * 0.5 * (bce(real[-1], torch.ones_like(real[-1])) + bce(fake[-1], torch.zeros_like(fake[-1])))
        matching += share * sum((a - b).abs().mean() for a, b in zip(fake[:-1], real[:-1], strict=True))
    expected |= {"loss_adversarial": 0.5 * adversarial, "loss_matching": 3 * matching}
    assert set(losses) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-4, atol=1e-6)
    found = model(**data, shown=shown, mode="discriminator")
    torch.testing.assert_close(found["loss_discriminator"], judged, rtol=1e-4, atol=1e-6)
    assert not valid.all()


def test_channel_exchange_adds_its_penalty_in_training():
    model = build(fusion={"name": "channel_exchange", "penalty_weight": 0.5})
    rgb, edge = (model.backbone.encoder[1].norm.norms[name].weight for name in ("rgb", "edge"))  # depth 3: one norm
    expected = 0.5 * (rgb[:4].abs().sum() + edge[4:].abs().sum())
    torch.testing.assert_close(run(model, batch(SIZE), "loss")["loss_fusion"], expected)


def test_each_loss_trains_its_own_side():
    model = build()
    data = model.data_preprocessor(batch(SIZE))
    _, shown = model(**data, mode="generator")
    model(**data, shown=shown, mode="discriminator")["loss_discriminator"].backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {name for name, _ in model.named_parameters() if ".opponent." in name}


def wrappers(model, **options):
    parts = {True: [], False: []}
    for name, p in model.named_parameters():
        parts[".opponent." in name].append(p)
    make = lambda found: OptimWrapper(torch.optim.SGD(found, lr=0.05), **options)  # noqa: E731
    return OptimWrapperDict(generator=make(parts[False]), discriminator=make(parts[True]))


def single(model):
    return OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))


def test_a_step_is_two_plain_updates():
    model = build()
    expected = copy.deepcopy(model)
    logged = training_step(model, batch(SIZE), wrappers(model))
    assert {"loss", "discriminator", "loss_l1_rgb"} <= set(logged)
    data = expected.data_preprocessor(batch(SIZE))
    losses, shown = expected(**data, mode="generator")
    names, parameters = zip(*expected.named_parameters(), strict=True)
    own = [".opponent." not in name for name in names]
    gradients = torch.autograd.grad(sum(losses.values()), parameters, allow_unused=True)
    judged = expected(**data, shown=shown, mode="discriminator")["loss_discriminator"]
    others = torch.autograd.grad(judged, parameters, allow_unused=True)
    with torch.no_grad():
        for p, generator, first, second in zip(parameters, own, gradients, others, strict=True):
            gradient = first if generator else second
            if gradient is not None:
                p -= 0.05 * gradient
    for (name, p), q in zip(model.named_parameters(), parameters, strict=True):
        torch.testing.assert_close(p, q, msg=name)
        assert p.requires_grad


def test_accumulated_batches_equal_one_large_batch():
    """Without measurements missing, all losses are means over images, so two halves make a whole."""
    whole = batch(SIZE, count=4)
    whole["depth"] = whole["depth"].abs() + 0.1
    halves = [part(whole, slice(i, i + 2)) for i in (0, 2)]
    first, second = build(), build()
    training_step(first, whole, wrappers(first))
    pair = wrappers(second, accumulative_counts=2)
    pair.initialize_count_status(second, 0, 2)
    for half in halves:
        training_step(second, half, pair)
    for (name, p), q in zip(first.named_parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    "options",
    [
        dict(fusion=None),
        dict(fusion="early"),
        dict(fusion="channel_exchange"),
        dict(generator=dict(name="resnet", width=4, blocks=2)),
        dict(generator=dict(name="backbone", backbone="test_resnet", width=16), normalization="range"),
        dict(
            generator=dict(name="backbone", backbone="test_resnet"), statistics={"edge": {"mean": [0.2], "std": [0.4]}}
        ),
        dict(modalities=("rgb",), fusion=None),
        dict(modality_dropout=0.9),
        dict(target="normal", modalities=("rgb", "edge", "depth")),
        dict(discriminator=None),
        dict(adversarial="hinge", discriminator=dict(width=4, layers=1, spectral_norm=True)),
    ],
    ids=str,
)
def test_every_kind_trains_and_is_rebuilt(options):
    model, data = build(**options), batch((32, 48))
    training_step(model, data, wrappers(model) if model.alternates else single(model))
    again = build_complete(model.recipe["parameters"])
    again.load_state_dict(model.state_dict())
    first, second = (m.eval().predict(data) for m in (model, again))
    for a, b in zip(first, second, strict=True):
        assert equal(a["prediction"], b["prediction"])
        assert list(a["prediction"]) == [*([] if model.backbone.single_branch else model.modalities), "ensemble"]


def test_opponents_beside_other_heads():
    """Of two heads with an opponent and one without, each plays its own game; a step leaves the others' alone."""
    opponent = {"discriminator": {"width": 4, "layers": 2}}
    heads = {
        "depth": dict(task="map", adversarial=opponent),
        "normal": dict(task="map", adversarial={**opponent, "loss": "lsgan"}),
        "labels": dict(task="classes", num_classes=5),
    }
    model = multimodal(modalities=("rgb", "edge"), heads=heads, backbone=UNET)
    data = model.data_preprocessor(batch(SIZE))
    losses, shown = model(**data, mode="generator")
    assert {"loss_depth_adversarial", "loss_normal_adversarial", "loss_labels_rgb"} <= set(losses)
    judged = model(**data, shown=shown, mode="discriminator")
    assert set(judged) == {"loss_depth_discriminator", "loss_normal_discriminator"}
    judged["loss_depth_discriminator"].backward()
    assert {name.split(".")[1] for name, p in model.named_parameters() if p.grad is not None} == {"depth"}
    logged = training_step(model, batch(SIZE), wrappers(model))
    assert logged["discriminator"].isfinite() and logged["loss"].isfinite()


def test_dropped_modalities_are_not_judged():
    model = build(modality_dropout=1.0)
    data = model.data_preprocessor(batch(SIZE))
    for _ in range(6):
        losses, shown = model(**data, mode="generator")
        (name,) = (key.removeprefix("loss_l1_") for key in losses if key.startswith("loss_l1_"))
        assert list(shown.inputs) == list(shown.images["depth"]) == [name]
        model(**data, shown=shown, mode="discriminator")["loss_discriminator"].backward()


def test_what_contradicts_is_refused():
    model = build()
    data = model.data_preprocessor(batch(SIZE))
    with pytest.raises(ValueError, match="AdversarialConstructor"):
        training_step(model, batch(SIZE), single(model))
    with pytest.raises(ValueError, match="needs what mode 'generator' has shown"):
        model(**data, mode="discriminator")
    with pytest.raises(ValueError, match="built without a discriminator"):
        run(build(discriminator=None), batch(SIZE), "discriminator")
    for options, message in (
        (dict(generator="vae"), "generator is 'vae'"),
        (dict(generator=dict(name="backbone", widht=4)), "'widht'"),
        (dict(discriminator=dict(name="pixel")), "discriminator is 'pixel'"),
        (dict(discriminator=None, matching=1.0), "needs a discriminator"),
        (dict(adversarial_weight=-1.0), "must be >= 0"),
        (dict(pretrained="x.pth"), "has no such weights"),
        (dict(l1=-1.0), "must be >= 0"),
        (dict(perceptual=dict(weights="vgg.pth", weight=-1.0)), "a weight >= 0"),
        (dict(perceptual=dict(weight=1.0)), "needs 'weights', a VGG file"),
        (dict(perceptual=dict(weights="vgg.pth", layer={})), r"unknown options \['layer'\]"),
        (dict(modalities=("ensemble", "rgb"), ranges={"ensemble": {"low": 0, "high": 1}}), "no modality may be called"),
        (dict(modalities=("rgb", "depth")), "beside the target 'depth'"),
        (dict(ranges={"dept": {"low": 0, "high": 1}}), r"ranges are given for \['dept'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            build(**options)
    with pytest.raises(ValueError, match=r"adversarial has no option 'losss'; it has .*; did you mean 'loss'"):
        multimodal(modalities=("rgb",), heads={"depth": dict(task="map", adversarial={"losss": 1})}, backbone=UNET)
    with pytest.raises(ValueError, match="wasserstein"):
        Opponent(loss="wasserstein")
