"""The translator's losses, ensemble and alternating step against plain loops."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper, OptimWrapperDict

from rgbx.models import ModalityDropout, Translator, build_model, multimodal_translator
from rgbx.models.translation_predictor import TranslationPredictor, stretch

torch.set_num_threads(1)
UNET = dict(name="unet", width=4, depth=3, dropout=0.0)


def build(modalities=("rgb", "edge"), target="depth", generator=UNET, **options):
    torch.manual_seed(0)
    options.setdefault("discriminator", dict(width=4, layers=2))
    return multimodal_translator(modalities=modalities, target=target, generator=generator, **options)


def batch(size=(16, 16), count=2):
    g = torch.Generator().manual_seed(1)
    return {
        "rgb": torch.randint(0, 256, (count, 3, *size), generator=g, dtype=torch.uint8),
        "edge": torch.rand(count, 1, *size, generator=g),
        "depth": torch.rand(count, 1, *size, generator=g) * 9 - 1,  # a part is no measurement
        "sample_id": [f"s{i}" for i in range(count)],
    }


def test_late_fusion_is_the_mean_of_the_images():
    model = build(fusion="late").eval()
    assert not model.alpha
    with torch.no_grad():
        images = model.images(model.data_preprocessor(batch())["inputs"])
    torch.testing.assert_close(images["ensemble"], (images["rgb"] + images["edge"]) / 2)
    model.train()
    losses, _ = model(**model.data_preprocessor(batch()), mode="generator")
    sum(losses.values()).backward()  # the ensemble's loss trains nothing and stops nothing


def test_losses_are_those_of_a_loop():
    model = build(l1=7.0, adversarial_weight=0.5, matching=3.0)
    model.alpha["edge"].data.fill_(1.5)
    data = model.data_preprocessor(batch())
    losses, shown = model(**data, mode="generator")
    images = model.images(data["inputs"])
    target, valid = data["target"], data["valid"]
    weights = torch.tensor([0.0, 1.5]).softmax(0)
    ensemble = sum(w * images[name].detach() for w, name in zip(weights, ("rgb", "edge"), strict=True))
    expected = {f"loss_l1_{n}": 7 * (x - target)[valid].abs().mean() for n, x in images.items() if n != "ensemble"}
    expected["loss_l1_ensemble"] = 7 * (ensemble - target)[valid].abs().mean()
    adversarial = matching = judged = 0
    for name, x in data["inputs"].items():
        filled = torch.where(valid, images[name], torch.tensor(-1.0)).expand(-1, 3, -1, -1)
        condition = x.expand(-1, 3, -1, -1)
        fake = model.discriminator(torch.cat([condition, filled], 1))
        real = model.discriminator(torch.cat([condition, target.expand(-1, 3, -1, -1)], 1))
        adversarial += F.binary_cross_entropy_with_logits(fake[-1], torch.ones_like(fake[-1]))
        judged += 0.5 * (
            F.binary_cross_entropy_with_logits(real[-1], torch.ones_like(real[-1]))
            + F.binary_cross_entropy_with_logits(fake[-1], torch.zeros_like(fake[-1]))
        )
        matching += sum((a - b).abs().mean() for a, b in zip(fake[:-1], real[:-1], strict=True))
    expected |= {"loss_adversarial": 0.5 * adversarial, "loss_matching": 3 * matching}
    assert set(losses) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, rtol=1e-4, atol=1e-6)
    found = model(**data, images=shown, mode="discriminator")
    torch.testing.assert_close(found["loss_discriminator"], judged, rtol=1e-4, atol=1e-6)
    assert (shown["rgb"][~valid] == -1).all() and not valid.all()


def test_channel_exchange_adds_its_penalty():
    model = build(fusion={"name": "channel_exchange", "penalty_weight": 0.5})
    data = model.data_preprocessor(batch())
    rgb, edge = (model.generator.encoder[1].norm.norms[name].weight for name in ("rgb", "edge"))  # depth 3: one norm
    expected = 0.5 * (rgb[:4].abs().sum() + edge[4:].abs().sum())
    torch.testing.assert_close(model(**data, mode="loss")["loss_fusion"], expected)


def test_the_ensembles_loss_trains_alpha_alone():
    model = build(discriminator=None)
    data = model.data_preprocessor(batch())
    model(**data, mode="loss")["loss_l1_ensemble"].backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert trained == {"alpha.rgb", "alpha.edge"}


def test_the_discriminators_loss_trains_it_alone_and_the_generators_not_at_all():
    model = build()
    data = model.data_preprocessor(batch())
    _, shown = model(**data, mode="generator")
    model(**data, images=shown, mode="discriminator")["loss_discriminator"].backward()
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {"discriminator"}


def wrappers(model, **options):
    parts = {True: [], False: []}
    for name, p in model.named_parameters():
        parts[name.startswith("discriminator.")].append(p)
    make = lambda found: OptimWrapper(torch.optim.SGD(found, lr=0.05), **options)  # noqa: E731
    return OptimWrapperDict(generator=make(parts[False]), discriminator=make(parts[True]))


def test_a_step_is_two_plain_updates():
    model = build()
    expected = copy.deepcopy(model)
    logged = model.train_step(batch(), wrappers(model))
    assert {"loss", "discriminator", "loss_l1_rgb"} <= set(logged)
    data = expected.data_preprocessor(batch())
    losses, shown = expected(**data, mode="generator")
    names, parameters = zip(*expected.named_parameters(), strict=True)
    own = [not name.startswith("discriminator.") for name in names]
    gradients = torch.autograd.grad(sum(losses.values()), parameters, allow_unused=True)
    judged = expected(**data, images=shown, mode="discriminator")["loss_discriminator"]
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
    whole = {**batch(count=4), "depth": batch(count=4)["depth"].abs() + 0.1}
    halves = [{k: v[i : i + 2] for k, v in whole.items()} for i in (0, 2)]
    first, second = build(), build()
    first.train_step(whole, wrappers(first))
    pair = wrappers(second, accumulative_counts=2)
    pair.initialize_count_status(second, 0, 2)
    for half in halves:
        second.train_step(half, pair)
    for (name, p), q in zip(first.named_parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    "options",
    [
        dict(fusion=None),
        dict(fusion="channel_exchange"),
        dict(generator=dict(name="resnet", width=4, blocks=2)),
        dict(generator=dict(name="backbone", backbone="resnet18", width=8)),
        dict(modalities=("rgb",), fusion=None),
        dict(modality_dropout=0.9),
        dict(target="normal", modalities=("rgb", "edge", "depth")),
        dict(discriminator=None),
        dict(adversarial="hinge", discriminator=dict(width=4, layers=1, spectral_norm=True)),
    ],
    ids=str,
)
def test_every_kind_trains_and_is_rebuilt(options):
    model = build(**options)
    data = {**batch((32, 48)), "normal": torch.zeros(2, 3, 32, 48)}
    model.train_step(data, wrappers(model) if model.discriminator is not None else single(model))
    again = build_model(model.recipe)
    again.load_state_dict(model.state_dict())
    first, second = (TranslationPredictor(m.eval())(data) for m in (model, again))
    for a, b in zip(first, second, strict=True):
        assert list(a["prediction"]) == [*([] if model.generator.single_branch else model.modalities), "ensemble"]
        for name, image in a["prediction"].items():
            assert torch.equal(image, b["prediction"][name])
            assert image.shape == data[model.target].shape[1:]


def single(model):
    return OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))


def test_a_discriminator_needs_its_optimizer():
    model = build()
    with pytest.raises(ValueError, match="AdversarialConstructor"):
        model.train_step(batch(), single(model))


def test_subsets_and_their_ensemble():
    model = build().eval()
    data = batch()
    model.use_modalities(["edge"])
    (sample, _) = TranslationPredictor(model)(data)
    assert list(sample["prediction"]) == ["edge", "ensemble"]
    assert torch.equal(sample["prediction"]["edge"], sample["prediction"]["ensemble"])
    alone = TranslationPredictor(model)({k: v for k, v in data.items() if k != "rgb"})[0]
    assert torch.equal(alone["prediction"]["edge"], sample["prediction"]["edge"])
    model.use_modalities(None)
    with pytest.raises(ValueError, match="this model knows"):
        model.use_modalities(["thermal"])
    with pytest.raises(ValueError, match="needs the map to translate to"):
        model(**model.data_preprocessor({"rgb": data["rgb"]}), mode="loss")


def test_modality_dropout_sees_subsets_in_training_only():
    model = build(modality_dropout=1.0, discriminator=None)
    data = model.data_preprocessor(batch())
    seen = {tuple(n for n in model(**data, mode="loss") if n.startswith("loss_l1")) for _ in range(10)}
    assert seen == {("loss_l1_rgb",), ("loss_l1_edge",)}
    assert len(model.eval()(**data, mode="loss")) == 3
    assert isinstance(model.modality_dropout, ModalityDropout)


def test_predictions_are_in_units_with_truth_beside():
    model = build(ranges={"depth": {"low": 0, "high": 4}}).eval()
    data = batch((13, 17))
    sample = model.val_step(data)[1]
    assert sample["sample_id"] == "s1"
    assert torch.equal(sample["target"]["depth"], data["depth"][1])
    assert torch.equal(sample["valid"]["depth"], data["depth"][1] > 0)
    image = model(model.data_preprocessor(data)["inputs"])["rgb"][1]
    torch.testing.assert_close(sample["prediction"]["rgb"], 2 * image + 2)
    assert sample["prediction"]["rgb"].dtype == torch.float32 and image.shape == (1, 13, 17)


def test_protocol_cen_keeps_dropout_and_stretches_colours():
    model = build(("depth", "edge"), "rgb", dict(UNET, dropout=0.5)).eval()
    data = batch()
    calm, random = TranslationPredictor(model), TranslationPredictor(model, "cen")
    state = torch.get_rng_state()
    first, second = random(data)[0], random(data)[0]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first["prediction"]["ensemble"], second["prediction"]["ensemble"])
    renamed = random({**data, "sample_id": ["x", "y"]})[0]
    assert not torch.equal(renamed["prediction"]["ensemble"], first["prediction"]["ensemble"])
    plain = calm(data)[0]
    assert torch.equal(plain["target"]["rgb"], data["rgb"][0])
    assert not torch.equal(stretch(plain["prediction"]["ensemble"]), first["prediction"]["ensemble"])
    for image in (first["prediction"]["edge"], first["target"]["rgb"]):
        assert image.min() == 0 and image.max() == 255 and torch.equal(image, image.floor())
    assert not any(module.training for module in model.modules())
    with pytest.raises(ValueError, match="not one for translation; expected one of rgbx, cen"):
        TranslationPredictor(model, "cmx-ss")
    with pytest.raises(ValueError, match=r"call \.eval\(\)"):
        TranslationPredictor(model.train())(data)


def test_stretch_by_hand():
    assert stretch(torch.tensor([[[1.0, 2.0, 4.0]]])).tolist() == [[[0.0, 85.0, 255.0]]]
    assert stretch(torch.full((1, 2, 2), 3.0)).tolist() == [[[0.0, 0.0], [0.0, 0.0]]]


def test_an_unknown_ensemble_is_refused():
    model = build()
    with pytest.raises(ValueError, match="ensemble is 'median'"):
        Translator(model.generator, model.data_preprocessor, model.objective, ensemble="median")


def test_what_contradicts_is_refused():
    for options, message in (
        (dict(generator="vae"), "generator is 'vae'"),
        (dict(discriminator=dict(name="pixel")), "discriminator is 'pixel'"),
        (dict(discriminator=None, matching=1.0), "needs a discriminator"),
        (dict(pretrained="x.pth"), "has no such weights"),
        (dict(l1=-1.0), "must be >= 0"),
        (dict(perceptual=dict(weights="vgg.pth", weight=-1.0)), "a weight >= 0"),
        (dict(perceptual=dict(weight=1.0)), "needs 'weights', a VGG file"),
        (dict(perceptual=dict(weights="vgg.pth", layer={})), r"unknown options \['layer'\]"),
        (dict(modalities=("ensemble", "rgb"), ranges={"ensemble": {"low": 0, "high": 1}}), "no modality may be called"),
    ):
        with pytest.raises(ValueError, match=message):
            build(**options)
