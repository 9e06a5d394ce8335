"""Common codes: every reference answer, the game's gradients, wrong partners, and what a training step does."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_models import batch
from torch import nn

import rgbx
from rgbx.heads.code_encoder import CommonEncoder
from rgbx.losses import contrastive_loss
from rgbx.models import multimodal
from rgbx.objectives import Site, Step, build_objective, complete_objectives
from rgbx.objectives.common_codes import Items, Judges, Layered, verdict, wrong_partners
from rgbx.tasks import Embedding, Target
from rgbx.train.loops import training_step
from rgbx.train.optim import EncoderDecoderConstructor

NAMES, SIZES, CODE, HIDDEN, JUDGE, K = ("image", "text"), {"image": 11, "text": 6}, 10, 14, 9, 4
PLACES = {  # of the reference's modules in ours
    "encoder.shared.": "encoder.shared.linear.",
    "encoder.shared_bn.": "encoder.shared.norm.",
    **{f"encoder_{m}.shared_bn.": f"encoder.shared.norm.norms.{m}." for m in NAMES},
    **{f"encoder_{m}.private.": f"encoder.copies.{m}.0." for m in NAMES},
    **{f"encoder_{m}.private_bn.": f"encoder.copies.{m}.1." for m in NAMES},
    **{f"{part}_{m}.": f"{place}.{m}." for m in NAMES for part, place in (
        ("decoder", "game.decoders"), ("classifier", "game.classifiers"),
        ("intra", "game.opponent.intra"), ("inter", "game.opponent.inter"),
    )},
}  # fmt: skip


class Parts(nn.Module):
    """The encoder, and the objective with its decoders, class heads and judges, at the reference's sizes."""

    def __init__(self, wrong="mismatched", class_head="private"):
        super().__init__()
        self.encoder = CommonEncoder(SIZES, CODE, hidden=HIDDEN)
        site = Site(NAMES, (SIZES["image"],), {"codes": Embedding("codes", dim=CODE, smallest=0.0)})
        options = {"num_classes": K, "class_head": class_head, "wrong": wrong, "hidden": HIDDEN}
        self.game = build_objective(complete_objectives([{"name": "common_codes", **options}])[0], site)
        self.game.decoders = nn.ModuleDict({m: Layered(CODE, HIDDEN, SIZES[m]) for m in NAMES})
        self.game.opponent = Judges(SIZES, CODE, JUDGE)


def place_of(key):
    start = max((start for start in PLACES if key.startswith(start)), key=len)
    return PLACES[start] + key.removeprefix(start)


@pytest.fixture(scope="module")
def reference(companion):
    """Answers, and the model of seeded weights with each parameter by the reference's name."""
    stored, keys, tensor = companion("cmgans")
    weights = {place_of(key): torch.from_numpy(tensor(key, shape)) for key, shape in keys.items()}
    answers = {key: torch.from_numpy(np.asarray(x)) for key, x in stored.items()}

    def made(mode="train"):
        parts = Parts()
        absent = parts.load_state_dict(weights, strict=False)
        assert not absent.unexpected_keys
        assert all(key.endswith("num_batches_tracked") or ".task" in key for key in absent.missing_keys)
        return parts.double().train(mode == "train")

    return answers, made


pytestmark = pytest.mark.filterwarnings("ignore:depth. .* is below 0")


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def items_of(parts, answers):
    wrong = torch.zeros(8, dtype=torch.int64)
    return {m: Items(parts.encoder(answers[f"input/x_{m}"], m), answers[f"input/x_{m}"], wrong) for m in NAMES}


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_answers_of_every_network(reference, mode):
    answers, made = reference
    parts = made(mode)
    game, judges = parts.game, parts.game.opponent
    x = {m: answers[f"input/x_{m}"] for m in NAMES}
    codes = {m: parts.encoder(x[m], m) for m in NAMES}
    wrong = {m: parts.encoder(answers[f"input/wrong_{m}"], m) for m in NAMES}
    seen = set()

    def check(key, found):
        seen.add(f"{mode}/{key}")
        close(found, answers[f"{mode}/{key}"])

    for m, other in (NAMES, NAMES[::-1]):
        decoded = game.decoders[m](codes[m])
        check(f"code_{m}", codes[m])
        check(f"decoded_{m}", decoded)
        check(f"class_log_prob_{m}", game.classifiers[m](codes[m]).log_softmax(1))
        check(f"intra_fake_{m}", judges.feature(m, decoded).sigmoid())
        check(f"intra_real_{m}", judges.feature(m, x[m]).sigmoid())
        check(f"inter_own_{m}", judges.pair(m, codes[m], x[m]).sigmoid())
        check(f"inter_other_{m}", judges.pair(m, codes[other], x[m]).sigmoid())
        check(f"inter_wrong_released_{m}", judges.pair(m, wrong[m], answers[f"input/wrong_{m}"]).sigmoid())
        check(f"inter_wrong_mismatched_{m}", judges.pair(m, wrong[m], x[m]).sigmoid())
    check("cosine", F.normalize(codes["image"], dim=1) @ F.normalize(codes["text"], dim=1).T)
    named = {key for key in answers if key.startswith(f"{mode}/") and "map_" not in key}  # those: test_retrieval.py
    assert named == seen


def test_answers_of_every_loss_and_gradient(reference):
    answers, made = reference
    parts = made()
    game, judges = parts.game, parts.game.opponent
    items, label = items_of(parts, answers), answers["input/labels"]
    found = {"code_l1": (items["image"].codes - items["text"].codes).abs().mean()}
    for m, other in (NAMES, NAMES[::-1]):
        x, code = items[m].features, items[m].codes
        decoded = game.decoders[m](code)
        found[f"generator_inter_{m}"] = game.inter_loss(m, items)
        found[f"generator_intra_{m}"] = verdict(judges.feature(m, decoded), 1)
        found[f"generator_class_{m}"] = game.class_loss(m, code, label)
        terms = [found[f"generator_{part}_{m}"] for part in ("inter", "intra", "class")]
        found[f"generator_{m}"] = torch.stack(terms).sum()
        found[f"intra_{m}"] = judges.intra_loss(m, decoded.detach(), x)
        wrong = parts.encoder(answers[f"input/wrong_{m}"], m).detach()
        own, foreign = code.detach(), [items[other].codes.detach()]
        for kind, beside in (("released", answers[f"input/wrong_{m}"]), ("mismatched", x)):
            found[f"inter_{kind}_{m}"] = judges.inter_loss(m, x, own, foreign, (wrong, beside))
    assert {f"loss/{key}" for key in found} == {key for key in answers if key.startswith("loss/")}
    for key, value in found.items():
        close(value, answers[f"loss/{key}"])
    parameters = dict(parts.named_parameters())
    for key in [key for key in answers if key.startswith("gradnorm/")]:
        _, loss, name = key.split("/")
        (gradient,) = torch.autograd.grad(found[loss], parameters[place_of(name)], retain_graph=True)
        close(gradient.norm(), answers[key])


def test_the_objective_asks_what_the_reference_does(reference):
    """Its losses on maps of one location, where items are images: the sum of both generators."""
    answers, made = reference
    parts = made()
    items = items_of(parts, answers)
    step = Step(
        {m: torch.zeros(8, 1, 1, 1) for m in NAMES},
        [{m: items[m].features[:, :, None, None] for m in NAMES}],
        {"codes": {m: items[m].codes[:, :, None, None] for m in NAMES}},
        {"codes": Target(answers["input/labels"][:, None, None])},
        {"codes": Embedding("codes", dim=CODE, smallest=0.0)},
    )
    found = parts.game(step)
    for part in ("class", "inter", "intra"):
        close(found[part], sum(answers[f"loss/generator_{part}_{m}"] for m in NAMES))
    judged = parts.game.opponent_losses(step.detached())
    close(judged["intra"], sum(answers[f"loss/intra_{m}"] for m in NAMES))


def test_wrong_partners_are_of_another_label():
    label = torch.tensor([0, 0, 1, 2, 1, 0])
    partners = torch.stack([wrong_partners(label) for _ in range(50)])
    assert (label[partners] != label).all()
    assert all(len(column.unique()) > 1 for column in partners.T)
    assert wrong_partners(torch.zeros(3, dtype=torch.int64)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("wrong", ["mismatched", "released"])
def test_wrong_pairs_of_a_step(wrong):
    """What the judge sees of the wrong pairs, where every item has one possible partner."""
    torch.manual_seed(0)
    game = Parts(wrong).game
    game.opponent = Judges(dict.fromkeys(NAMES, 5), CODE, JUDGE)
    codes, x = torch.randn(2, 4, CODE), torch.randn(2, 4, 5)
    label = torch.tensor([0, 1, 0, 1])
    partner = torch.tensor([1, 0, 3, 2])
    items = {m: Items(codes[i], x[i], partner) for i, m in enumerate(NAMES)}
    assert (label[partner] != label).all()
    beside = x[0][partner] if wrong == "released" else x[0]
    expected = game.opponent.inter_loss("image", x[0], codes[0], [codes[1]], (codes[0][partner], beside))
    torch.testing.assert_close(game._judged("image", items), expected)
    alone = {m: each._replace(wrong=torch.arange(4)) for m, each in items.items()}
    without = game.opponent.inter_loss("image", x[0], codes[0], [codes[1]], None)
    torch.testing.assert_close(game._judged("image", alone), without)


def build(by="class", head=(), **options):
    torch.manual_seed(0)
    heads = {"codes": dict(task="embedding", dim=8, by=by, **dict(head))}
    objectives = [dict(name="common_codes", hidden=8, **options)]
    return multimodal(
        modalities=("rgb", "depth"), backbone="test_resnet", fusion="late", heads=heads, objectives=objectives
    )


@pytest.mark.parametrize("class_head", ["shared", "private"])
@pytest.mark.parametrize("by", ["class", "frame"])
def test_a_step_trains_all_parts_but_those_of_the_other_side(by, class_head):
    model = build(by, {"contrast": 0.0}, class_head=class_head, num_classes=None if by == "frame" else 5)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    wrapper = EncoderDecoderConstructor({"optimizer": {"type": "Adam", "lr": 1e-3}})(model)
    for _ in range(2):  # residual blocks begin as the identity
        logged = training_step(model, batch(count=4), wrapper)
    expected = {"loss_common_codes_inter", "loss_common_codes_intra", "loss", "discriminator"}
    assert set(logged) == expected | ({"loss_common_codes_class"} if by == "class" else set())
    still = [name for name, p in model.named_parameters() if torch.equal(p, before[name])]
    assert still == []
    groups = {
        part: {id(p) for g in wrapper[part].optimizer.param_groups for p in g["params"]}
        for part in ("generator", "discriminator")
    }
    judges = {id(p) for p in model.objectives["common_codes"].opponent.parameters()}
    assert groups["discriminator"] == judges and not groups["generator"] & judges


def test_features_that_judges_see_get_no_gradient():
    model = build(head={"contrast": 0.0}).train()
    data = model.data_preprocessor(batch(count=4), training=True)
    step = model._step(data["inputs"], model.run(data["inputs"]), data["targets"])
    items = model.objectives["common_codes"]._items(step)[1].values()
    assert all(each.codes.requires_grad and not each.features.requires_grad for each in items)


def test_one_modality_alone_has_classes_and_no_game():
    model = build(num_classes=5)
    data = batch(count=4)
    del data["depth"]
    losses = model(**model.data_preprocessor(data), mode="loss")
    assert set(losses) == {"loss_common_codes_class", "loss_contrast"} and losses["loss_contrast"] == 0


def test_nothing_of_it_is_in_a_model_that_predicts(tmp_path):
    model = build(num_classes=5)
    state = {"state_dict": model.state_dict(), "model": model.recipe, "meta": {"epoch": 1}}
    torch.save(state, tmp_path / "a.pth")
    loaded = rgbx.load(tmp_path / "a.pth")
    names = set(loaded.state_dict())
    assert not [name for name in names if "opponent" in name or "objectives" in name]
    assert names == {name for name in model.state_dict() if not name.startswith("objectives.")}
    assert "heads.codes.decoder.encoder.shared.linear.weight" in names
    data = batch()
    data.pop("label")
    for name in ("rgb", "depth", "ensemble"):
        a, b = (each.eval().predict(data)[0]["prediction"][name] for each in (model, loaded))
        assert torch.equal(a, b) and a.shape == (8, 34, 50)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"wrong": "other"}, "wrong is 'other'; expected one of mismatched, released"),
        ({"class_head": "both"}, "class_head is 'both'"),
        ({"adversary": False}, "nothing to ask: give num_classes"),
        ({"stages": [9]}, "stage 9 does not exist"),
        ({"num_classes": 0}, "num_classes is 0; expected 1 to 255, or None"),
        ({"num_classes": 5, "by": "frame"}, "num_classes is 5, but head 'codes' embeds frames"),
    ],
)
def test_errors_name_what_was_found(options, found):
    with pytest.raises(ValueError, match=found):
        build(**options)


def test_a_class_beyond_the_head_is_refused_by_its_sample():
    model = build(num_classes=4)
    data = batch(count=3)
    data["label"] = data["label"].clamp(max=3)
    assert "loss_common_codes_class" in model(**model.data_preprocessor(data), mode="loss")
    data["label"][1, :20] = 6
    with pytest.raises(ValueError, match="sample 's1' has a region of class 6; expected 0 to 3, or 255 to ignore"):
        model(**model.data_preprocessor(data), mode="loss")


def test_features_are_pooled_over_the_pixels_of_their_own_stage():
    """Of images that were padded, with the codes at stride 32 and what is judged at stride 8."""
    model = build(stages=[2]).train()
    data = model.data_preprocessor(batch((40, 9), count=3), training=True)
    found = model.run(data["inputs"])
    step = model._step(data["inputs"], found, data["targets"])
    features = model.objectives["common_codes"]._items(step)[1]["depth"].features
    whole = step.features[1]["depth"].repeat_interleave(8, 2).repeat_interleave(8, 3)[..., :40, :9]
    expected = model.tasks["codes"].regions({"depth": whole}, data["targets"]["codes"]).codes["depth"]
    torch.testing.assert_close(features, expected.detach())


def test_it_needs_a_head_that_embeds():
    heads = {"labels": dict(task="classes", num_classes=3)}
    with pytest.raises(ValueError, match=r"of one head of task 'embedding'; the model has \[\]"):
        multimodal(modalities=("rgb",), backbone="test_resnet", heads=heads, objectives=["common_codes"])


def test_three_modalities_take_means_over_the_others():
    torch.manual_seed(0)
    names = ("a", "b", "c")
    site = Site(names, (5,), {"codes": Embedding("codes", dim=4)})
    game = build_objective(complete_objectives([{"name": "common_codes", "hidden": 6}])[0], site)
    items = {m: Items(torch.randn(6, 4), torch.randn(6, 5), torch.arange(6)) for m in names}
    judges = game.opponent
    terms = [verdict(judges.pair(m, items["a"].codes, items[m].features), 1) for m in ("b", "c")]
    torch.testing.assert_close(game.inter_loss("a", items), torch.stack(terms).mean())
    fake = [verdict(judges.pair("a", items[m].codes, items["a"].features), 0) for m in ("b", "c")]
    real = verdict(judges.pair("a", items["a"].codes, items["a"].features), 1)
    torch.testing.assert_close(game._judged("a", items), real + torch.stack(fake).mean() / 2)


def test_contrast_is_the_heads_own():
    model = build(num_classes=5)
    data = model.data_preprocessor(batch(count=3))
    losses = model(**data, mode="loss")
    outputs = model.train().outputs(data["inputs"])["codes"]
    task, target = model.tasks["codes"], data["targets"]["codes"]
    a, b = task.regions({m: outputs[m] for m in ("rgb", "depth")}, target).codes.values()
    own = task.regions({"rgb": outputs["rgb"]}, target).classes
    expected = contrastive_loss(a, b, 0.07, own[:, None] == own)
    torch.testing.assert_close(losses["loss_contrast"], expected)
