"""Embeddings: pooling against loops, what is counted against rankings by hand, losses, drawing, and what is refused."""

import json
import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_models import batch, run, small

from rgbx.evaluate.result import plain
from rgbx.losses import contrastive_loss
from rgbx.models import multimodal, multimodal_embedder
from rgbx.objectives import OBJECTIVES
from rgbx.tasks import PROTOCOLS, Embedding, Prediction, Target
from rgbx.tasks.embedding import NONE, STEP, components, pool_regions

pytestmark = pytest.mark.filterwarnings("ignore:depth. .* is below 0")
META = {"classes": ("a", "b", "c", "d", "e"), "palette": [[k, 0, 0] for k in range(5)]}


def label(count=2, size=(12, 20), seed=0):
    g = torch.Generator().manual_seed(seed)
    coarse = torch.randint(-1, 4, (count, 1, 3, 5), generator=g).float()
    return F.interpolate(coarse, size=size).long()[:, 0]


def test_pooling_is_the_mean_of_the_pixels():
    regions, x = label(), torch.randn(2, 3, 12, 20, generator=torch.Generator().manual_seed(1))
    found = pool_regions({"a": x, "b": 2 * x}, regions, least=5)
    rows = [(n, k) for n in range(2) for k in range(4) if (regions[n] == k).sum() >= 5]
    assert list(zip(found.images.tolist(), found.classes.tolist(), strict=True)) == rows
    for row, (n, k) in enumerate(rows):
        expected = x[n][:, regions[n] == k].mean(1)
        torch.testing.assert_close(found.codes["a"][row], expected)
        torch.testing.assert_close(found.codes["b"][row], 2 * expected)
    assert pool_regions({"a": x}, torch.full_like(regions, NONE)).codes["a"].shape == (0, 3)


@pytest.mark.parametrize("size", [(12, 20), (11, 18)])
def test_pooling_of_cells_counts_their_pixels(size):
    """Cells of 4 by 4 pixels, of which the network padded the last."""
    regions, x = label(size=size), torch.randn(2, 3, 3, 5, generator=torch.Generator().manual_seed(1))
    whole = x.repeat_interleave(4, 2).repeat_interleave(4, 3)[..., : size[0], : size[1]]
    found, expected = pool_regions({"a": x}, regions), pool_regions({"a": whole}, regions)
    torch.testing.assert_close(found.codes["a"], expected.codes["a"])
    assert torch.equal(found.classes, expected.classes)


@pytest.mark.parametrize("side", [5, 9, 33, 40, 66])
@pytest.mark.parametrize("stride", [4, 8, 32])
def test_pooling_of_cells_of_a_padded_image(side, stride):
    """Cells of an image that was padded to multiples of 32, and not at all to its other side of 64."""
    g = torch.Generator().manual_seed(side)
    cells = (side + -side % 32) // stride
    x = torch.randn(2, 3, cells, 64 // stride, generator=g)
    regions = label(size=(side, 64), seed=side)
    whole = x.repeat_interleave(stride, 2).repeat_interleave(stride, 3)[:, :, :side]
    expected = pool_regions({"a": whole}, regions).codes["a"]
    torch.testing.assert_close(pool_regions({"a": x}, regions, stride=stride).codes["a"], expected)
    if side > 16:  # or cells may hold none of its pixels
        torch.testing.assert_close(pool_regions({"a": x}, regions).codes["a"], expected)


@pytest.mark.parametrize(
    ("options", "stride"),
    [
        ({}, 32),
        ({"decoder": {"name": "codes", "stages": (2, 3)}}, 8),
        ({"decoder": {"name": "light", "width": 16, "dropout": 0.0}}, 4),
        ({"decoder": {"name": "image", "width": 16, "dropout": 0.0}}, 1),
    ],
)
@pytest.mark.parametrize("size", [(5, 9), (33, 40)])
def test_training_pools_over_the_pixels_of_a_location(options, stride, size):
    """What training computes at 5 of 32 padded pixels, against codes repeated over the pixels they are of."""
    model = small(heads={"codes": dict(task="embedding", dim=3, smallest=0.0, **options)}, fusion="late").train()
    task = model.tasks["codes"]
    data = model.data_preprocessor(batch(size), training=True)
    target = Target(label(size=size))
    outputs = {name: x for name, x in model.outputs(data["inputs"])["codes"].items() if name != "ensemble"}
    whole = {
        name: x.repeat_interleave(stride, 2).repeat_interleave(stride, 3)[..., : size[0], : size[1]]
        for name, x in outputs.items()
    }
    assert whole["rgb"].shape[2:] == size and task.stride == stride
    found, expected = task.regions(outputs, target), pool_regions(whole, target.truth)
    torch.testing.assert_close(found.codes, expected.codes)


def test_a_label_of_another_size_than_the_images_is_refused():
    model = small(heads={"codes": dict(task="embedding", dim=3)}, fusion="late").train()
    data = {**batch(), "label": label(size=(17, 25)).clamp(min=0)}
    with pytest.raises(ValueError, match=r"head 'codes' has size \[17, 25\], the inputs have \[34, 50\]"):
        run(model, data, "loss")


def test_the_docstring_names_objectives_that_there_are():
    assert all(name in OBJECTIVES for name in re.findall(r"such as\s+``(\w+)``", Embedding.__doc__))
    assert "common_codes" in Embedding.__doc__


def test_pooling_passes_gradients():
    regions = label(size=(6, 10))
    for size in ((3, 5), (6, 10)):
        x = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: pool_regions({"a": x}, regions).codes["a"], x)


def test_components_are_the_connected_parts_of_a_class():
    regions = torch.tensor([[[0, 0, 1, 0], [1, -1, -1, 0], [1, -1, 0, -1]]])
    parts = torch.tensor([[[1, 1, 2, 3], [4, 0, 0, 3], [4, 0, 3, 0]]]).flatten()
    found = components(regions)
    assert torch.equal(found.flatten()[:, None] == found.flatten(), parts[:, None] == parts)
    assert torch.equal(torch.where(found < 0, found, found % STEP), regions)
    assert pool_regions({"a": torch.zeros(1, 1, 3, 4)}, found).classes.tolist() == [0, 1, 0, 1]


def test_targets_of_every_kind():
    data = {"rgb": torch.zeros(2, 3, 12, 20), "label": label().where(label() >= 0, 255).to(torch.uint8)}
    assert torch.equal(Embedding("codes").read_target(data).truth, label())
    assert torch.equal(Embedding("codes", by="component").read_target(data).truth, components(label()))
    assert (Embedding("codes", by="frame").read_target({"rgb": data["rgb"]}).truth == torch.zeros(2, 12, 20)).all()
    assert Embedding("codes").read_target({"rgb": data["rgb"]}) is None
    with pytest.raises(ValueError, match=r"label is float32 \[2, 12, 20\]; expected class ids"):
        Embedding("codes").read_target({"label": torch.zeros(2, 12, 20)})


def counted(task, codes, regions):
    """An evaluation of codes {modality: [N, D, H, W]}."""
    counter = task.counter(PROTOCOLS["rgbx"], META)
    images = []
    for n in range(len(regions)):
        maps = {name: x[n] for name, x in codes.items()}
        found = Prediction({**maps, "ensemble": sum(maps.values())}, regions[n])
        images.append(counter.count(f"s{n}", found, {}))
    return counter.evaluation(images)


def by_hand(queries, items, relevant):
    """mAP, recall@1 and MRR of rows, by sorting."""
    precisions, firsts, reciprocals = [], [], []
    for i, query in enumerate(queries):
        order = sorted(range(len(items)), key=lambda j: -F.cosine_similarity(query, items[j], dim=0).item())
        hits = [place for place, j in enumerate(order, 1) if relevant(i, j)]
        precisions.append(sum((n + 1) / place for n, place in enumerate(hits)) / len(hits))
        firsts.append(float(hits[0] == 1))
        reciprocals.append(1 / hits[0])
    return [sum(values) / len(values) for values in (precisions, firsts, reciprocals)]


@pytest.mark.parametrize("by", ["class", "frame"])
def test_scores_are_those_of_rankings_by_hand(by):
    g = torch.Generator().manual_seed(2)
    codes = {name: torch.randn(6, 4, 12, 20, generator=g) for name in ("rgb", "depth", "thermal")}
    task = Embedding("codes", by=by, smallest=0.0)
    regions = label(6) if by == "class" else torch.zeros(6, 12, 20, dtype=torch.int64)
    evaluation = counted(task, codes, regions)
    pooled = pool_regions(codes, regions)
    own = pooled.classes if by == "class" else pooled.images
    names = list(codes)
    assert evaluation.names == ["ensemble", *names]
    means = []
    for name in names:
        each = [
            by_hand(pooled.codes[name], pooled.codes[other], lambda i, j: bool(own[i] == own[j]))
            for other in names
            if other != name
        ]
        expected = [sum(column) / 2 for column in zip(*each, strict=True)]
        found = evaluation.scores(name)
        assert [found[key] for key in ("mAP", "recall@1", "MRR")] == pytest.approx(expected, abs=1e-6)
        means.append(expected[0])
    assert evaluation.scores("ensemble")["mAP"] == pytest.approx(sum(means) / 3, abs=1e-6)
    assert [score.name for score in evaluation.table] == list(evaluation.scores("rgb")) or by == "frame"
    images = [evaluation.image_scores(image) for image in evaluation.images]
    total = sum(x["mAP"] * x["values"] for x in images) / sum(x["values"] for x in images)
    assert total == pytest.approx(evaluation.scores("ensemble")["mAP"], abs=1e-6)


def test_auc_of_frames_counts_pairs():
    g = torch.Generator().manual_seed(3)
    codes = {name: torch.randn(5, 4, 2, 2, generator=g) for name in ("rgb", "depth")}
    evaluation = counted(Embedding("codes", by="frame"), codes, torch.zeros(5, 2, 2, dtype=torch.int64))
    a, b = (F.normalize(x.mean((2, 3)), dim=1) for x in codes.values())
    cosine = (a @ b.T).tolist()
    won = [cosine[i][i] > cosine[j][k] for i in range(5) for j in range(5) for k in range(5) if j != k]
    assert evaluation.scores("ensemble")["AUC"] == pytest.approx(sum(won) / len(won))


def test_one_modality_alone_is_searched_without_the_query():
    g = torch.Generator().manual_seed(4)
    codes = {"rgb": torch.randn(4, 3, 12, 20, generator=g)}
    evaluation = counted(Embedding("codes", smallest=0.0), codes, label(4))
    pooled = pool_regions(codes, label(4))
    expected = []
    for i in range(len(pooled.classes)):
        others = [j for j in range(len(pooled.classes)) if j != i]
        items = [pooled.codes["rgb"][j] for j in others]
        same = [bool(pooled.classes[i] == pooled.classes[j]) for j in others]
        if any(same):
            expected.append(by_hand([pooled.codes["rgb"][i]], items, lambda _, j, same=same: same[j])[0])
    assert evaluation.scores("ensemble")["mAP"] == pytest.approx(sum(expected) / len(expected), abs=1e-6)
    frames = counted(Embedding("codes", by="frame"), codes, torch.zeros(4, 12, 20, dtype=torch.int64))
    assert math.isnan(frames.scores("ensemble")["mAP"]) and math.isnan(frames.scores("rgb")["AUC"])
    assert "-" in Embedding("codes", by="frame").counter(PROTOCOLS["rgbx"], META).report({"RGB": frames.scores("rgb")})


def test_fingerprints_are_of_the_truth_alone():
    task, regions = Embedding("codes"), label(3)
    codes = {name: torch.randn(3, 4, 12, 20) for name in ("rgb", "depth")}
    first, second = counted(task, codes, regions), counted(task, {n: -x for n, x in codes.items()}, regions)
    assert first.fingerprint() == second.fingerprint() != counted(task, codes, label(3, seed=9)).fingerprint()
    assert first.about() == {"by": "class", "classes": list(META["classes"]), "palette": META["palette"]}
    assert json.dumps(plain(first.image_scores(first.images[0])))


@pytest.mark.parametrize("positives", ["pair", "class", None])
def test_the_loss_is_infonce_of_every_two_modalities(positives):
    g = torch.Generator().manual_seed(5)
    outputs = {name: torch.randn(2, 4, 3, 5, generator=g) for name in ("a", "b", "c", "ensemble")}
    task = Embedding("codes", dim=4, positives=positives, temperature=0.2, contrast=0.5)
    target = Target(label())
    pooled = task.regions({name: outputs[name] for name in "abc"}, target)
    same = pooled.classes[:, None] == pooled.classes if positives != "pair" else None
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    terms = [contrastive_loss(pooled.codes[x], pooled.codes[y], 0.2, same) for x, y in pairs]
    torch.testing.assert_close(task.losses(outputs, target)["loss_contrast"], 0.5 * torch.stack(terms).mean())
    assert task.losses({"a": outputs["a"], "ensemble": outputs["ensemble"]}, target) == {"loss_contrast": 0}
    assert Embedding("codes", dim=4, contrast=0.0).losses(outputs, target) == {}


def test_colours_are_those_of_the_codes_that_training_saw():
    task = Embedding("codes", dim=4).train()
    g = torch.Generator().manual_seed(6)
    outputs = {name: torch.randn(4, 4, 12, 20, generator=g) for name in ("a", "b")}
    regions = label(4)
    task.losses(outputs, Target(regions))
    units = F.normalize(torch.cat(list(task.regions(outputs, Target(regions)).codes.values())), dim=1)
    torch.testing.assert_close(task.mean, units.mean(0))
    torch.testing.assert_close(task.moment, units.T @ units / len(units))
    values = outputs["a"][0].numpy()
    whole = task.draw(values, META)
    assert whole.shape == (12, 20, 3) and whole.dtype == np.uint8 and whole.std() > 10
    part = task.draw(values[:, :5], META)
    np.testing.assert_array_equal(part, whole[:5])  # what else is in the picture does not matter
    np.testing.assert_array_equal(task.draw(3 * values, META), whole)  # nor do lengths
    drawn = task.draw(regions[0].numpy(), META)
    np.testing.assert_array_equal(drawn[..., 0][regions[0] >= 0], regions[0][regions[0] >= 0])
    assert list(task.legend([regions[0].numpy(), values], META)) == ["a", "b", "c", "d", "not labelled"]
    assert Embedding("codes", by="frame").legend([regions[0].numpy()], META) == {}


def test_a_model_trains_coarse_and_answers_at_the_images_size():
    heads = {"codes": dict(task="embedding", dim=6), "labels": dict(task="classes", num_classes=5)}
    model = small(heads=heads, fusion="late")
    data = batch()
    losses = run(model.train(), data, "loss")
    assert {"loss_codes_contrast", "loss_labels_rgb"} <= set(losses)
    inputs = model.data_preprocessor(data)["inputs"]
    assert model.outputs(inputs)["codes"]["rgb"].shape == (2, 6, 2, 2)
    assert model.eval().outputs(inputs)["codes"]["rgb"].shape == (2, 6, 34, 50)


def test_what_predict_gives():
    model = multimodal_embedder(modalities=("rgb", "depth"), backbone="test_resnet", dim=6, by="frame").eval()
    image = np.random.default_rng(0).integers(0, 256, (34, 50, 3), dtype=np.uint8)
    answer = model.predict(rgb=image)["codes"]
    values = answer.values
    assert values.shape == (34, 50, 6) and answer.picture().shape == (34, 50, 3)
    expected = values.mean((0, 1))
    np.testing.assert_allclose(answer.code, expected / np.linalg.norm(expected), atol=1e-5)
    regions = np.full((34, 50), -1)
    regions[:9], regions[20:, :30] = 7, 3
    codes = answer.codes_of(regions)
    for code, place in zip(codes, (regions == 3, regions == 7), strict=True):
        expected = values[place].mean(0)
        np.testing.assert_allclose(code, expected / np.linalg.norm(expected), atol=1e-5)
    with pytest.raises(ValueError, match=r"regions are \[3, 4\]; expected \[34, 50\]"):
        answer.codes_of(np.zeros((3, 4), int))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"by": "pixel"}, "by is 'pixel'; expected one of class, component, frame"),
        ({"positives": "all"}, "positives is 'all'; expected one of pair, class"),
        ({"positives": "class", "by": "frame"}, "frames have none; expected 'pair'"),
        ({"dim": 0}, "dim is 0"),
        ({"temperature": 0}, "expected contrast >= 0, temperature > 0"),
    ],
)
def test_errors_name_what_was_found(options, found):
    with pytest.raises(ValueError, match=found):
        Embedding("codes", **options)


@pytest.mark.parametrize(
    "options", [{"fusion": "asymmetric"}, {"fusion": "early"}, {"purification": "cross"}, {"hallucinate": True}]
)
def test_models_that_let_modalities_see_each_other_are_refused(options):
    heads = {"codes": dict(task="embedding")}
    with pytest.raises(ValueError, match="head 'codes' of task 'embedding' compares modalities"):
        multimodal(modalities=("rgb", "depth"), backbone="test_resnet", heads=heads, **{"fusion": "late", **options})
    allowed = {"fusion": None, "purification": "own"}
    assert multimodal(modalities=("rgb", "depth"), backbone="test_resnet", heads=heads, **allowed).heads
