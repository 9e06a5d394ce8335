"""One network and its heads: what every mode gives, against plain computations and against models of one head."""

import copy
import threading
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from small_models import DECODER, HEADS, STATISTICS, UNET, batch, diverse, equal, part, run, small

from rgbx.fusion import FUSION_METHODS
from rgbx.heads import DECODERS
from rgbx.models import PROTOCOLS, Predictor, multimodal, multimodal_segmentor, multimodal_translator
from rgbx.models.build import build_complete

CHANNELS = {"labels": 5, "normal": 3, "dense": 1}
NAMES = ("rgb", "depth")
NETWORKS = {"backbone": {}, "generator": {"backbone": UNET}}


def without(data, *names):
    return {key: value for key, value in data.items() if key.removesuffix("_valid") not in names}


def trained(model):
    return {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", HEADS)
def test_modes(kind, network):
    model, data = diverse(small(kind, **NETWORKS[network])), batch()
    outputs = run(model, data)
    assert {head: list(found) for head, found in outputs.items()} == {h: [*NAMES, "ensemble"] for h in HEADS[kind]}
    for head, found in outputs.items():
        assert all(x.shape == (2, CHANNELS[head], 34, 50) and x.dtype == torch.float32 for x in found.values())
        assert head == "labels" or all(x.abs().max() <= 1 for x in found.values())
    losses = run(model, data, "loss")
    of = (lambda head: f"{head}_") if len(outputs) > 1 else (lambda head: "")
    expected = {f"loss_{of(h)}{'' if h == 'labels' else 'l1_'}{n}" for h in outputs for n in (*NAMES, "ensemble")}
    assert set(losses) == expected
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    model.eval()
    with torch.no_grad():  # else batch norm is computed in another way
        samples, outputs = run(model, data, "predict"), run(model, data)
    for i, sample in enumerate(samples):
        assert sample["sample_id"] == f"s{i}" and list(sample["heads"]) == list(outputs)
        assert ("prediction" in sample) is (len(outputs) == 1)
        for head, found in outputs.items():
            for name, x in found.items():
                values = sample["heads"][head].prediction[name]
                if head == "labels":
                    assert values.dtype == torch.uint8 and torch.equal(values.long(), x[i].argmax(0))
                elif head == "normal":
                    torch.testing.assert_close(values, x[i])
                else:  # 0 to 10 m, so that an error is five times that of x
                    torch.testing.assert_close(values, 5 * x[i] + 5, rtol=1e-5, atol=5e-5)
    assert equal(model.predict(data)[1]["heads"]["normal" if kind != "classes" else "labels"].prediction,
                 samples[1]["heads"]["normal" if kind != "classes" else "labels"].prediction)  # fmt: skip


def test_losses_by_hand():
    model, data = diverse(small("three")), batch()
    outputs, losses = run(model, data), run(model, data, "loss")
    valid = (data["dense"] > 0).expand(-1, 1, -1, -1)
    for name in (*NAMES, "ensemble"):
        expected = F.cross_entropy(outputs["labels"][name], data["label"])
        torch.testing.assert_close(losses[f"loss_labels_{name}"], expected)
        expected = (outputs["normal"][name] - data["normal"]).abs().mean()
        torch.testing.assert_close(losses[f"loss_normal_l1_{name}"], expected)
        truth = (data["dense"] / 5 - 1).clamp(-1, 1)
        expected = 3 * (outputs["dense"][name] - truth)[valid].abs().mean()
        torch.testing.assert_close(losses[f"loss_dense_l1_{name}"], expected)


@pytest.mark.parametrize("network", NETWORKS)
def test_each_head_answers_and_learns_as_if_it_were_alone(network):
    """With the same weights; the backbone runs once."""
    model, data = diverse(small("three", seed=1, head_weight=0.5, **NETWORKS[network])).eval(), batch()
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    outputs, losses = run(model, data), run(model, data, "loss")
    assert len(calls) == 2
    start = 0
    for head, options in HEADS["three"].items():
        alone = small(None, heads={head: options}, **NETWORKS[network]).eval()
        state = dict(model.state_dict())
        if network == "generator":  # whose last convolution makes the channels of one head after another
            last = f"backbone.decoder.{len(model.backbone.decoder) - 1}.conv"
            stop = start + CHANNELS[head]
            state |= {
                f"{last}.weight": state[f"{last}.weight"][:, start:stop],
                f"{last}.bias": state[f"{last}.bias"][start:stop],
            }
            start = stop
        alone.load_state_dict({name: x for name, x in state.items() if name in alone.state_dict()})
        found = run(alone, data)[head]
        for name, x in found.items():
            torch.testing.assert_close(x, outputs[head][name], rtol=1e-4, atol=1e-5)
        for name, loss in run(alone, data, "loss").items():
            torch.testing.assert_close(
                0.5 * loss, losses[name.replace("loss_", f"loss_{head}_", 1)], rtol=1e-4, atol=1e-6
            )


@pytest.mark.parametrize("kind", ["classes", "map"])
def test_ensemble_is_softmax_weighted_and_its_loss_trains_only_alpha(kind):
    model, data = small(kind), batch()
    head = model.heads[next(iter(HEADS[kind]))]
    for name, value in (("rgb", 1.0), ("depth", -0.5)):
        head.alpha[name].data.fill_(value)
    (outputs,) = run(model, data).values()
    w = torch.tensor([1.0, -0.5]).exp()
    expected = (w[0] * outputs["rgb"] + w[1] * outputs["depth"]) / w.sum()
    torch.testing.assert_close(outputs["ensemble"], expected, rtol=1e-4, atol=1e-5)
    prefix = "loss_" if kind == "classes" else "loss_l1_"
    run(model, data, "loss")[f"{prefix}ensemble"].backward()
    assert trained(model) == {f"heads.{name}.alpha.{m}" for name in HEADS[kind] for m in NAMES}
    attached = small(kind, head_detach_ensemble=False)
    run(attached, data, "loss")[f"{prefix}ensemble"].backward()
    assert "backbone.network.conv1.0.weight" in trained(attached)
    apart = small(kind, fusion=None)
    run(apart, data, "loss")[f"{prefix}rgb"].backward()
    names = trained(apart)
    assert any(".rgb." in name for name in names) and not any(".depth." in name for name in names)


def test_means_of_late_fusion():
    model, data = small("three", fusion="late", head_decoder={"name": "image", **DECODER}), batch((32, 64))
    assert not any(head.alpha for _, head in model.named_heads())
    outputs = run(model, data)
    rgb, depth = (outputs["labels"][name].softmax(1) for name in NAMES)
    torch.testing.assert_close(outputs["labels"]["ensemble"].softmax(1), (rgb + depth) / 2)
    for head in ("normal", "dense"):
        expected = (outputs[head]["rgb"] + outputs[head]["depth"]) / 2
        torch.testing.assert_close(outputs[head]["ensemble"], expected)
    sum(run(model, data, "loss").values()).backward()  # the ensemble's loss trains nothing and stops nothing


@pytest.mark.parametrize("kind", ["classes", "map"])
@pytest.mark.parametrize("fusion", ["asymmetric", None, "late"])
def test_a_single_modality_has_its_own_prediction_as_ensemble(kind, fusion):
    model = small(kind, modalities=("rgb",), fusion=fusion, head_decoder={"name": "image", **DECODER})
    (outputs,) = run(model, batch((32, 64))).values()
    assert list(outputs) == ["rgb", "ensemble"]
    if fusion == "late" and kind == "classes":
        torch.testing.assert_close(outputs["ensemble"], outputs["rgb"].log_softmax(1))
    else:
        assert torch.equal(outputs["ensemble"], outputs["rgb"])
    sum(run(model, batch(), "loss").values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


METHODS = [*FUSION_METHODS, None]


@pytest.mark.parametrize("fusion", METHODS)
def test_every_fusion_method_serves_every_head(fusion):
    model = diverse(small("three", fusion=fusion)).train()
    losses = run(model, batch(), "loss")
    total = sum(losses.values())
    total.backward()
    assert total.isfinite() and all(
        head in {n.split(".")[1] for n in trained(model) if n.startswith("heads.")} for head in HEADS["three"]
    )
    single = model.backbone.single_branch
    assert all(not head.alpha for _, head in model.named_heads()) if single else True
    model.eval()
    whole, data = model.predict(batch())[0]["heads"], batch()
    assert all(list(found.prediction) == ([] if single else [*NAMES]) + ["ensemble"] for found in whole.values())
    subset = model.predict(data, modalities=["depth"])[0]["heads"]
    absent = model.predict(without(data, "rgb"))[0]["heads"]
    for head, found in subset.items():
        assert list(found.prediction) == ([] if single else ["depth"]) + ["ensemble"]
        assert equal(found.prediction, absent[head].prediction)
        assert head == "labels" or not torch.equal(found.prediction["ensemble"], whole[head].prediction["ensemble"])
        assert single or head == "labels" or equal(found.prediction["depth"], found.prediction["ensemble"])
    again = build_complete(model.recipe["parameters"]).eval()
    again.load_state_dict(model.state_dict())
    assert equal(run(again, data), run(model, data))


@pytest.mark.parametrize("generator", [UNET, dict(name="resnet", width=4, blocks=2)], ids=lambda x: x["name"])
@pytest.mark.parametrize("fusion", [None, "asymmetric", "early", "late"])
def test_generators_serve_every_head(generator, fusion):
    model = diverse(small("three", backbone=generator, fusion=fusion))
    sum(run(model, batch(), "loss").values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None and ".alpha." not in name] == []
    found = model.eval().predict(batch((13, 17)), modalities=["rgb"])[0]["heads"]
    assert {head: x.prediction["ensemble"].shape[-2:] for head, x in found.items()} == dict.fromkeys(
        HEADS["three"], (13, 17)
    )


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", ["classes", "map"])
def test_every_decoder_serves_every_task(decoder, kind):
    model = small(kind, head_decoder={"name": decoder, "hidden" if decoder == "codes" else "width": 32})
    losses = run(model, batch(), "loss")
    sum(losses.values()).backward()
    head = next(iter(HEADS[kind]))
    assert [n for n, p in model.heads[head].decoder.named_parameters() if p.grad is None] == []
    assert model.eval().predict(batch())[0]["prediction"]["ensemble"].shape[-2:] == (34, 50)


@pytest.mark.parametrize(
    "options",
    [
        dict(norm="affine"),
        dict(norm="shared"),
        dict(norm_eval=True),
        dict(weights="separate"),
        dict(stems={"depth": "sum"}),
        dict(normalization="range", padding="reflect"),
        dict(padding="none"),
        dict(modalities=("rgb", "depth", "thermal"), modality_dropout=0.5),
        dict(backbone="test_convnext"),
    ],
    ids=str,
)
def test_every_option_serves_every_head(options):
    if options.get("modalities"):
        options = {**options, "statistics": STATISTICS}
    model = diverse(small("three", **options))
    total = sum(run(model, batch(), "loss").values())
    total.backward()
    assert total.isfinite()
    model.eval()
    again = build_complete(model.recipe["parameters"]).eval()
    again.load_state_dict(model.state_dict())
    data = batch()
    assert equal(run(again, data), run(model, data))
    subset, alone = model.predict(data, modalities=["rgb"]), model.predict(without(data, "depth", "thermal"))
    assert all(equal(subset[1]["heads"][head].prediction, x.prediction) for head, x in alone[1]["heads"].items())


def test_inputs_are_normalised_as_the_network_expects():
    assert type(small("map").data_preprocessor.inputs["rgb"]).__name__ == "Statistics"
    assert type(small("map", backbone=UNET).data_preprocessor.inputs["rgb"]).__name__ == "Range"
    assert (small("map").padding, small("map", backbone=UNET).padding) == ("zeros", "reflect")


def test_modality_dropout_draws_subsets_only_in_training():
    model = small("both", modality_dropout=1.0)
    seen = {frozenset(name.rsplit("_", 1)[-1] for name in run(model, batch(), "loss")) for _ in range(12)}
    assert seen == {frozenset(("rgb", "ensemble")), frozenset(("depth", "ensemble"))}
    assert len(run(model.eval(), batch(), "loss")) == 6
    assert model.needs_unused_parameter_search and not small("both").needs_unused_parameter_search
    model.train().set_epoch_seed(3)
    first = [tuple(run(model, batch(), "loss")) for _ in range(5)]
    model.set_epoch_seed(3)
    assert first == [tuple(run(model, batch(), "loss")) for _ in range(5)]


@pytest.mark.parametrize("size", [(64, 64), (33, 64), (34, 50), (3, 40)])
@pytest.mark.parametrize(
    "options", [{}, {"padding": "reflect"}, {"backbone": UNET}, {"backbone": UNET, "padding": "zeros"}], ids=str
)
def test_padding_does_not_move_predictions(size, options):
    """Whatever the size, the prediction equals that of the image padded by hand and cropped."""
    model = small("both", **options).eval()
    g = torch.Generator().manual_seed(2)
    x = {"rgb": torch.randn(1, 3, *size, generator=g), "depth": torch.randn(1, 1, *size, generator=g)}
    stride = model.backbone.multiple
    assert stride == model.stride
    bottom, right = (-side % stride for side in size)
    if model.padding == "zeros":
        padded = {name: F.pad(v, (0, right, 0, bottom)) for name, v in x.items()}
    else:
        mirrored = bottom < size[0] and right < size[1]
        axis = lambda n, more: [*range(n), *([n - 2 - i for i in range(more)] if mirrored else [n - 1] * more)]  # noqa: E731
        padded = {name: v[:, :, axis(size[0], bottom)][..., axis(size[1], right)] for name, v in x.items()}
    with torch.no_grad():
        found, large = model(x), model(padded)
    for head, by_name in found.items():
        for name, out in by_name.items():
            torch.testing.assert_close(out, large[head][name][..., : size[0], : size[1]])


def test_no_padding_sees_the_image_as_it_is():
    model = small("classes", padding="none").eval()
    seen = []
    model.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]["rgb"].shape[-2:]))
    run(model, batch())
    assert seen == [(34, 50)] and model.stride == 1


def test_batches_of_one():
    data = part(batch(), slice(1))
    total = sum(run(small("both"), data, "loss").values())
    total.backward()
    assert total.isfinite()
    with pytest.raises(ValueError, match="a batch of 1 image of 32×32 leaves one pixel at stride 32"):
        run(small("both"), part(batch((32, 32)), slice(1)), "loss")


def test_predictions_come_at_each_target_s_own_size():
    model, data = small("both").eval(), batch()
    data["label"] = torch.randint(0, 5, (2, 68, 100))
    outputs = run(model, data)
    (sample, _) = model.predict(data)
    expected = F.interpolate(outputs["labels"]["ensemble"], size=(68, 100), mode="bilinear", align_corners=False)
    assert torch.equal(sample["heads"]["labels"].prediction["ensemble"].long(), expected[0].argmax(0))
    assert sample["heads"]["normal"].prediction["ensemble"].shape == (3, 34, 50)


def test_threads_with_subsets_of_their_own():
    """One model, three subsets at once: each answer is that of its subset alone."""
    model, data = diverse(small("three", fusion="asymmetric")).eval(), batch((32, 32))
    subsets = [("rgb", "depth"), ("rgb",), ("depth",)]
    expected = [model.predict(data, modalities=names)[0]["heads"] for names in subsets]
    wrong = []

    def work(number):
        for turn in range(8):
            k = (number + turn) % 3
            found = model.predict(data, modalities=subsets[k])[0]["heads"]
            if not all(equal(found[head].prediction, x.prediction) for head, x in expected[k].items()):
                wrong.append((number, turn))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_two_subsets_before_one_backward_with_activations_computed_again():
    """Gradients are those without checkpointing: each part is computed again with the modalities it had."""
    models = [diverse(small("three", norm_eval=True)).train() for _ in range(2)]
    models[1].backbone.set_grad_checkpointing()
    data = batch()
    for model in models:
        losses = [run(model, x, "loss") for x in (data, without(data, "depth"), without(data, "rgb"))]
        sum(sum(found.values()) for found in losses).backward()
    for (name, p), q in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, msg=name)


def test_a_copy_has_everything_of_its_own():
    model, data = diverse(small("three")).eval(), batch()
    before, other = run(model, data), copy.deepcopy(model)
    for parameter in other.parameters():
        parameter.data.add_(0.1)
    assert equal(run(model, data), before)
    assert not any(equal(x, before[head]) for head, x in run(other, data).items())
    subset = run(other, without(data, "rgb"))
    assert equal(run(model, data), before) and list(subset["labels"]) == ["depth", "ensemble"]


NAN = float("nan")


@pytest.mark.parametrize("network", NETWORKS)
def test_what_lies_under_a_mask_changes_nothing(network):
    """Inputs and targets of every head: NaN where it was not measured, or in bytes something else."""
    heads = {**HEADS["three"], "depth_again": dict(HEADS["three"]["dense"], target="seen")}
    model, data = diverse(small(None, heads=heads, **NETWORKS[network])), batch()
    data["seen"] = data["dense"].abs() + 0.1
    g = torch.Generator().manual_seed(3)
    masks = {name: torch.rand(2, 1, 34, 50, generator=g) < 0.7 for name in ("rgb", "depth", "normal", "dense", "seen")}
    data |= {f"{name}_valid": mask for name, mask in masks.items()}
    spoilt = data | {n: data[n].masked_fill(~mask, 77 if n == "rgb" else NAN) for n, mask in masks.items()}
    other = data | {name: data[name].masked_fill(~mask, 1.0) for name, mask in masks.items()}
    found = [run(model.train(), x, "loss") for x in (data, spoilt, other)]
    assert found[0] == found[1] == found[2] and all(x.isfinite() for x in found[0].values())
    sum(found[1].values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    model.eval()
    first, second = (model.predict(x)[0]["heads"] for x in (data, spoilt))
    for head, x in first.items():
        assert equal(x.prediction, second[head].prediction)
        assert all(value.isfinite().all() for value in x.prediction.values())


def test_unmeasured_depth_needs_no_mask():
    model, data = small("three").eval(), batch()
    holes = {**data, "depth": data["depth"].clamp(min=0), "dense": data["dense"].where(data["dense"] > 0, NAN)}
    assert run(model, data, "loss") == run(model, holes, "loss")


def test_heads_that_a_protocol_is_for():
    model, data = small("three").eval(), batch((32, 32))
    for name, rules in PROTOCOLS.items():
        fitting = [h for h, task in model.tasks.items() if rules.tasks is None or task.kind in rules.tasks]
        assert list(model.predict(data, protocol=name)[0]["heads"]) == fitting and fitting
    assert list(model.predict(data, heads=["dense"])[0]) == [
        "sample_id",
        "heads",
        "prediction",
        "target",
        "valid",
        "probability",
        "confidence",
    ]
    with pytest.raises(ValueError, match="protocol 'cen' is for map, but head 'labels' is of task 'classes'"):
        Predictor(model, "cen", heads=["labels"])
    with pytest.raises(ValueError, match=r"heads \['depth'\] given; this model has \['labels', 'normal', 'dense'\]"):
        Predictor(model, heads=["depth"])
    with pytest.raises(ValueError, match=r"modalities \['thermal'\] given; this model knows rgb, depth"):
        Predictor(model, modalities=["thermal"])
    with pytest.raises(ValueError, match="protocol 'cmx-ss' is for classes, but head 'normal' is of task 'map'"):
        Predictor(small("map"), "cmx-ss")


def test_names_of_parameters():
    model = small("both")
    parts = {name.split(".")[0] for name in model.state_dict()}
    assert parts == {"backbone", "heads", "data_preprocessor"}
    assert {"heads.labels.alpha.rgb", "heads.normal.task.range.bounds"} <= set(model.state_dict())
    weight = model.backbone.network.layer2[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert len({id(p) for p in model.parameters()}) == len([name for name, _ in model.named_parameters()])


def test_flat_builders_make_the_same_models():
    decoder = {"name": "light", **DECODER}
    flat = multimodal_segmentor(modalities=NAMES, num_classes=5, backbone="test_resnet", decoder=DECODER)
    heads = {"labels": dict(task="classes", num_classes=5, decoder=decoder)}
    assert flat.recipe == multimodal(modalities=NAMES, heads=heads, backbone="test_resnet").recipe
    flat = multimodal_translator(modalities=NAMES, target="normal", generator=UNET, discriminator=None, l1=2.0)
    again = multimodal(modalities=NAMES, heads={"normal": dict(task="map", channels=3, l1=2.0)}, backbone=UNET)
    assert flat.recipe == again.recipe
    fraction = small("classes", fusion={"name": "asymmetric", "fraction": Fraction(1, 5)})
    assert fraction.recipe["parameters"]["fusion"]["fraction"] == 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(heads={}), "at least one head"),
        (dict(heads={"a b": HEADS["map"]["normal"]}), "head 'a b' is"),
        (dict(heads={"x": {}}), "task is None; expected one of classes, embedding, map"),
        (dict(heads={"x": dict(task="panoptic")}), "task is 'panoptic'"),
        (dict(heads={"x": dict(task="classes")}), "head 'x' lacks 'num_classes'"),
        (dict(heads={"x": dict(task="classes", num_class=3)}), "'num_class'.*did you mean 'num_classes'"),
        (dict(heads={"x": dict(task="classes", num_classes=300)}), "num_classes is 300"),
        (dict(heads={"x": dict(task="map", unit="inch")}), "unit is 'inch'"),
        (dict(heads={"x": dict(task="map")}), "no range for map 'x'"),
        (dict(heads={"x": dict(task="classes", num_classes=3, adversarial={})}), "adversarial is for maps"),
        (dict(heads={"x": dict(task="classes", num_classes=3, decoder="deeplab")}), "decoder is 'deeplab'"),
        (dict(modalities=("rgb", "ensemble"), statistics={"ensemble": {"mean": [0.0], "std": [1.0]}}), "'ensemble'"),
        (dict(modalities="rgb"), "modalities are 'rgb'"),
        (dict(modalities=("rgb", "lidar")), "no normalization statistics for modality 'lidar'"),
        (dict(ranges={"depth": {"high": 8}}), "ranges are given for inputs, but normalization is 'statistics'"),
        (dict(normalization="range", statistics={"rgb": {}, "depth": {}}), "statistics are given for inputs, but"),
        (dict(normalization="range", ranges={"dept": {"high": 8}}), r"ranges are given for \['dept'\]"),
        (dict(padding="same"), "padding is 'same'"),
        (dict(normalization="minmax"), "normalization is 'minmax'"),
        (dict(modality_dropout=2.0), "modality dropout has probability 2"),
        (dict(backbone=UNET, pretrained="timm"), "has no such weights"),
        (dict(backbone=UNET, weights="separate"), "weights='separate' is of a timm backbone"),
        (dict(backbone=UNET, heads={"labels": HEADS["both"]["labels"]}), "leave decoder out"),
        (dict(backbone=dict(name="unet", widht=3)), "'widht'.*did you mean 'width'"),
        (dict(fusion="concat"), "fusion is 'concat'"),
    ],
    ids=str,
)
def test_what_contradicts_is_refused(options, message):
    given = {"modalities": NAMES, "heads": HEADS["both"], "backbone": "test_resnet", **options}
    if "backbone" in options and "heads" not in options:
        given["heads"] = {"normal": dict(task="map")}
    with pytest.raises(ValueError, match=message):
        multimodal(**given)


def test_errors_name_what_was_found():
    model, data = small("both"), batch()
    with pytest.raises(ValueError, match="class id 7; expected 0 to 4"):
        run(model, {**data, "label": torch.full((2, 34, 50), 7)}, "loss")
    with pytest.raises(ValueError, match="expected at least one of"):
        run(model, {"thermal": data["depth"]})
    with pytest.raises(ValueError, match="expected at least one of"):
        model({"thermal": data["depth"]})
    with pytest.raises(ValueError, match="mode is 'train'"):
        run(model, data, "train")
    with pytest.raises(ValueError, match="no 'label'; training needs the target of head 'labels'"):
        run(model, without(data, "label"), "loss")
    with pytest.raises(ValueError, match="no 'normal'"):
        run(model, without(data, "normal"), "loss")
    with pytest.raises(ValueError, match=r"call \.eval\(\)"):
        model.predict(data)
    with pytest.raises(ValueError, match=r"none of the modalities \['depth'\]"):
        model.eval().predict(without(data, "depth"), modalities=["depth"])
