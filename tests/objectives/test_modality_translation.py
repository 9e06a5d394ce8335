"""Modality translation: the authors' answers by our modules, naive losses, where gradients go, and what it refuses."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from small_models import LABELS, batch, run, small
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from rgbx.fusion.graph import CodeGraph, graph_readout
from rgbx.layers import StackLayout
from rgbx.layers.codes import Codes, code_decoder, code_encoder
from rgbx.objectives import Site, Step, build_objective, complete_objectives
from rgbx.objectives.modality_translation import (
    class_difference,
    class_shares,
    code_classifier,
    code_discriminator,
    difference,
)
from rgbx.tasks import Classes, Map, Target

ENCODER = {"0": "linear_1", "1": "bn2", "3": "linear_2", "4": "bn3", "6": "linear_3", "7": "bn", "9": "linear_4"}
DECODER = {"0": "model.0", "2": "model.3", "3": "model.5", "5": "model.7"}
JUDGE = {"0": "model.0", "2": "model.2", "4": "model.4"}
CLASSIFIER = {"0": "bn", "1": "linear_1", "3": "linear_2"}
GRAPH = {"attention": "attention", "mix.0.0": "graph_fusion.0", "mix.0.2": "graph_fusion.2"}
GRAPH |= {"mix.1.0": "graph_fusion2.0", "mix.1.2": "graph_fusion2.2"}
READOUT = {"0": "bn2", "1": "linear_1", "3": "linear_2", "5": "linear_3"}
NAMES = ("a", "v", "l")


def build(site, **options):
    return build_objective(complete_objectives([{"name": "modality_translation", **options}])[0], site)


class Reference:
    """The authors' networks in our modules: the objective of three modalities, the graph and its readout."""

    def __init__(self, companion):
        stored, self.keys, self.tensor = companion("argf")
        self.answers = {name: torch.from_numpy(np.asarray(x)) for name, x in stored.items()}
        shape = lambda key: self.keys[key]  # noqa: E731
        width, classes = shape("encoder_a.linear_4.weight")[0], shape("classifier.linear_2.weight")[0]
        site = Site(NAMES, (width,), {"labels": Classes("labels", num_classes=classes)}, strides=(1,))
        self.objective = build(site, form="released", width=width)
        codes = self.objective.codes["1"]
        for name in NAMES:
            encoder, decoder = f"encoder_{name}", f"decoder_{name}"
            hidden = [shape(f"{encoder}.linear_{i}.weight")[0] for i in (1, 2)]
            channels = shape(f"{encoder}.linear_1.weight")[1]
            codes.encode.copies[name] = self.filled(code_encoder(channels, width, hidden), encoder, ENCODER)
            hidden = [shape(f"{decoder}.model.{i}.weight")[0] for i in (0, 3)]
            back = code_decoder(width, channels, hidden, bounded=True)
            codes.decode.copies[name] = self.filled(back, decoder, DECODER)
        self.filled(self.objective.opponent["1"], "discriminator", JUDGE)
        self.filled(self.objective.classifiers["1_labels"], "classifier", CLASSIFIER)
        hidden, inner = shape("graph.graph_fusion.0.weight")[0], shape("graph.linear_1.weight")[0]
        self.graph = self.filled(CodeGraph(width, 3, hidden=hidden), "graph", GRAPH)
        self.readout = self.filled(graph_readout(3 * width, inner, classes), "graph", READOUT)
        self.codes = codes
        self.modules = nn.ModuleList([self.objective, self.graph, self.readout])

    def filled(self, module, theirs, names):
        state = {}
        for own, layer in names.items():
            for part, found in module.get_submodule(own).state_dict().items():
                key = f"{theirs}.{layer}.{part}"
                state[f"{own}.{part}"] = torch.from_numpy(self.tensor(key, self.keys[key])).view(found.shape)
        module.load_state_dict(state)
        return module

    def parameter(self, key):
        """Ours of a name of theirs, such as "encoder_a.linear_4.weight"."""
        module, layer, part = key.partition(".")[0], *key.partition(".")[2].rsplit(".", 1)
        kind, _, name = module.partition("_")
        tables = {"encoder": ENCODER, "decoder": DECODER, "discriminator": JUDGE, "classifier": CLASSIFIER}
        if kind == "graph":
            owner, table = (self.readout, READOUT) if layer.startswith(("linear", "bn")) else (self.graph, GRAPH)
        else:
            table = tables[kind]
            owner = {
                "encoder": lambda: self.codes.encode.copies[name],
                "decoder": lambda: self.codes.decode.copies[name],
                "discriminator": lambda: self.objective.opponent["1"],
                "classifier": lambda: self.objective.classifiers["1_labels"],
            }[kind]()
        own = next(ours for ours, theirs in table.items() if theirs == layer)
        return owner.get_parameter(f"{own}.{part}")

    def step(self):
        label = self.answers["input/y"].argmax(1)[:, None, None]
        features = {name: self.answers[f"input/x_{name}"][..., None, None] for name in NAMES}
        tasks = {"labels": Classes("labels", num_classes=self.answers["input/y"].shape[1])}
        return Step(features, [features], {}, {"labels": Target(label)}, tasks)


@pytest.fixture
def reference(companion):
    return Reference(companion)


def close(found, expected, tolerance=1e-5):
    """Within a share of the largest value."""
    bound = tolerance * max(float(expected.abs().max()), 1e-12)
    torch.testing.assert_close(found.reshape(expected.shape).to(expected.dtype), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("mode", ["train", "eval"])
@torch.no_grad()
def test_the_networks_of_the_reference(reference, mode):
    reference.modules.train(mode == "train")
    answers, codes = reference.answers, reference.codes
    found = codes.codes_of(reference.step().features[0])
    for name, code in found.items():
        close(code, answers[f"{mode}/code_{name}"])
        close(codes.decoded(code, name), answers[f"{mode}/decoded_{name}"])
        close(reference.objective.opponent["1"](code).sigmoid(), answers[f"{mode}/validity_{name}"])
        close(reference.objective.classifiers["1_labels"](code).softmax(1), answers[f"{mode}/classified_{name}"])
    fused = reference.graph(list(found.values()))
    close(fused.vector, answers[f"{mode}/graph_vector"])
    close(fused.weights, answers[f"{mode}/graph_weights"])
    close(reference.readout(fused.vector).softmax(1), answers[f"{mode}/graph_output"])


def test_the_losses_and_gradients_of_the_reference(reference):
    reference.modules.train()
    answers, step, alpha = reference.answers, reference.step(), reference.objective.alpha
    losses = reference.objective(step)
    of = lambda kind, names: sum(answers[f"loss/{kind}_{name}"] for name in names)  # noqa: E731
    close(losses["adversarial"], alpha * of("adversarial", "vl"))
    close(losses["reconstruction"], (1 - alpha) * of("reconstruction", NAMES))
    close(losses["classification"], answers["loss/classification"])
    own = {"generator": losses["adversarial"] + losses["reconstruction"], "classification": losses["classification"]}
    close(own["generator"], answers["loss/generator"])
    own["discriminator"] = reference.objective.opponent_losses(step.detached())["discriminator"]
    codes = reference.codes.codes_of(step.features[0])
    output = reference.readout(reference.graph(list(codes.values())).vector).softmax(1)[..., 0, 0]
    own["fusion"] = difference(output, answers["input/y"], "released")
    assert alpha == 0.05
    for kind, loss in own.items():
        close(loss, answers[f"loss/{kind}"])
        names = [key.split("/", 2)[2] for key in answers if key.startswith(f"gradnorm/{kind}/")]
        assert len(names) >= 2
        gradients = torch.autograd.grad(loss, [reference.parameter(name) for name in names], retain_graph=True)
        for name, gradient in zip(names, gradients, strict=True):
            close(gradient.norm(), answers[f"gradnorm/{kind}/{name}"], 1e-4)


def test_the_step_of_the_authors_is_ours(reference):
    """The discriminator sees codes of the stepped encoders, without gradient; their norms see each batch once."""
    reference.modules.train()
    step, objective = reference.step(), reference.objective
    norm = reference.codes.encode.copies["v"][1]
    count = int(norm.num_batches_tracked)
    before = objective.opponent_losses(step.detached())["discriminator"]
    assert int(norm.num_batches_tracked) == count
    sum(objective(step).values()).backward()
    assert int(norm.num_batches_tracked) == count + 1
    with torch.no_grad():
        for parameter in reference.codes.parameters():
            parameter -= 0.01 * parameter.grad.sign()
    objective.zero_grad()
    after = objective.opponent_losses(step.detached())["discriminator"]
    assert abs(float((after - before).detach())) > 1e-3
    after.backward()
    assert all(p.grad is not None for p in objective.opponent.parameters())
    assert all(p.grad is None for p in reference.codes.parameters())


def made(names=("rgb", "depth"), stages=((6, 4, 5), (8, 2, 3)), classes=4, seed=0):
    """A step of features that are leaves, labels of twice and four times their size, with pixels of no label."""
    g = torch.Generator().manual_seed(seed)
    features = [{name: torch.randn(3, *shape, generator=g).requires_grad_() for name in names} for shape in stages]
    label = torch.randint(0, classes, (3, 8, 10), generator=g)
    label[0] = 255
    label[1, :3] = 255
    tasks = {"labels": Classes("labels", num_classes=classes), "normal": Map("normal", unit="unit_vector")}
    inputs = {name: torch.zeros(3, 1, 8, 10) for name in names}
    return Step(inputs, features, {}, {"labels": Target(label)}, tasks)


def site(names=("rgb", "depth"), channels=(6, 8), classes=4, **more):
    return Site(names, channels, {"labels": Classes("labels", num_classes=classes)}, strides=(2, 4), **more)


def cells(label, classes, stride, size):
    """Shares of classes by a loop over locations."""
    found = np.zeros((len(label), classes, *size))
    for n, i, j in np.ndindex(len(label), *size):
        part = label[n, i * stride : (i + 1) * stride, j * stride : (j + 1) * stride]
        part = part[part < classes]
        for k in range(classes):
            found[n, k, i, j] = float((part == k).sum()) / len(part) if len(part) else 0
    return found


@pytest.mark.parametrize(("size", "stride"), [((4, 5), 2), ((2, 3), 4), ((3, 3), 4), ((1, 2), 8)])
def test_shares_of_classes_by_loops(size, stride):
    label = made().targets["labels"].truth
    np.testing.assert_allclose(class_shares(label, 4, size, stride), cells(label, 4, stride, size), atol=1e-6)


class Sizes(TorchDispatchMode):
    """The most bytes that one operation gives."""

    most = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for x in found if isinstance(found, (tuple, list)) else [found]:
            self.most = max(self.most, x.nbytes if isinstance(x, torch.Tensor) else 0)
        return found


@pytest.mark.parametrize(("size", "stride"), [((4, 5), 8), ((3, 6), 8), ((5, 4), 7)])
def test_shares_of_many_classes_take_the_room_of_labels(size, stride):
    """With void, ids of no class, and sides that are no multiples, or are longer than what is covered."""
    label = torch.randint(-2, 43, (2, 30, 37), generator=torch.Generator().manual_seed(0))
    label[torch.rand(label.shape, generator=torch.Generator().manual_seed(1)) < 0.3] = 255
    label[0, :8, :8] = 255
    with Sizes() as sizes:
        found = class_shares(label, 40, size, stride)
    counted = label.where(label >= 0, 255)
    np.testing.assert_allclose(found, cells(counted, 40, stride, size), atol=1e-7)
    assert found.dtype == torch.float32
    assert sizes.most <= max(label.nbytes, 2 * size[0] * size[1] * 41 * 8)


@pytest.mark.parametrize("names", [("rgb", "depth"), ("rgb", "depth", "ir")], ids=len)
def test_means_by_loops(names):
    torch.manual_seed(1)
    objective = build(site(names), stages=[1, 2], alpha=0.25, target="depth", width=5).eval()
    step = made(names)
    found = objective(step)
    expected = dict.fromkeys(("adversarial", "reconstruction", "classification"), 0.0)
    judged = 0.0
    for number, stride in ((1, 2), (2, 4)):
        codes, parts = objective.codes[f"{number}"], step.features[number - 1]
        e = codes.codes_of(parts)
        size = tuple(parts["rgb"].shape[-2:])
        shares = cells(step.targets["labels"].truth, 4, stride, size)
        for name, x in parts.items():
            norm = codes.scale.copies[name]
            mean, var = norm.running_mean[:, None, None], norm.running_var[:, None, None]
            target = (x - mean) / (var + norm.eps).sqrt()
            torch.testing.assert_close(codes.restored(target, name), x, rtol=1e-4, atol=1e-4)
            back = (codes.decoded(e[name], name) - target).abs().mean().item()
            expected["reconstruction"] += 0.75 * back / 2
            p = objective.opponent[f"{number}"](e[name]).sigmoid()
            judged += -(p.log() if name == "depth" else (1 - p).log()).mean().item() / 2 / 2
            if name != "depth":
                expected["adversarial"] += 0.25 * -p.log().mean().item() / 2
            logs = objective.classifiers[f"{number}_labels"](e[name]).log_softmax(1).detach().numpy()
            entropies = [
                -(shares[n, :, i, j] * logs[n, :, i, j]).sum()
                for n, i, j in np.ndindex(3, *size)
                if shares[n, :, i, j].any()
            ]
            expected["classification"] += np.mean(entropies) / 2
    assert {name: loss.item() for name, loss in found.items()} == pytest.approx(expected, rel=1e-5)
    assert objective.opponent_losses(step.detached())["discriminator"].item() == pytest.approx(judged, rel=1e-5)


def test_what_is_reproduced_has_no_gradient_but_what_codes_are_made_of_has():
    objective, step = build(site(), alpha=0.5), made()
    losses = objective(step)
    source, target = step.features[1]["depth"], step.features[1]["rgb"]
    for name, reached in (
        ("adversarial", (True, False)),
        ("reconstruction", (True, True)),
        ("classification", (True, True)),
    ):
        found = torch.autograd.grad(losses[name], [source, target], retain_graph=True, allow_unused=True)
        assert tuple(x is not None and bool(x.any()) for x in found) == reached
    perfect = Codes(3, StackLayout(("rgb",)), 2)
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    assert not perfect.wanted(x, "rgb").requires_grad


def test_steps_that_lack_a_modality():
    objective = build(site(("rgb", "depth", "ir")))
    for names, kinds in (
        (("depth", "ir"), {"reconstruction", "classification"}),
        (("rgb",), {"reconstruction", "classification"}),
        (("rgb", "ir"), {"reconstruction", "classification", "adversarial"}),
    ):
        step = made(names)
        assert set(objective(step)) == kinds
        assert set(objective.opponent_losses(step.detached())) == ({"discriminator"} if len(kinds) == 3 else set())
    assert objective.target == "rgb" and list(objective.codes) == ["2"]


def test_without_an_adversary_there_is_no_opponent():
    objective = build(site(), alpha=0)
    assert objective.opponent is None
    assert set(objective(made())) == {"reconstruction", "classification"}


@pytest.mark.parametrize(
    ("options", "more", "message"),
    [
        (dict(form="sums"), {}, "has form='sums'; expected one of mean, released"),
        (dict(alpha=1.5), {}, r"has alpha=1.5; expected a number in 0\.\.1"),
        (dict(alpha=True), {}, "has alpha=True"),
        (dict(target="thermal"), {}, "has target='thermal'; expected one of rgb, depth"),
        (dict(joint=1), {}, "has joint=1; expected True or False"),
        (dict(width=0), {}, "has width=0; expected 1 to"),
        (dict(hidden=2.5), {}, "has hidden=2.5; expected 1 to"),
        (dict(stages=[3]), {}, "stage 3 does not exist; this network has stages 1 to 2"),
        (dict(stages=[1, 1]), {}, "stages is .*; expected distinct numbers"),
        ({}, dict(joined=True), "the fusion method joins the inputs"),
        ({}, dict(names=("rgb",)), r"there is one: \['rgb'\]"),
    ],
    ids=str,
)
def test_what_is_refused(options, more, message):
    with pytest.raises(ValueError, match=rf"objective 'modality_translation'.*{message}"):
        build(site(**more), **options)


def test_the_adversary_makes_codes_alike():
    """Two modalities of one content, differently mixed and shifted: with the adversary a linear critic finds less."""
    distance = {}
    for alpha in (0.0, 0.5):
        torch.manual_seed(0)
        g = torch.Generator().manual_seed(0)
        mixing = [torch.randn(6, 4, generator=g) for _ in range(2)]
        objective = build(Site(("rgb", "depth"), (6,), {}, strides=(1,)), alpha=alpha, width=4)
        own = [p for name, p in objective.named_parameters() if not name.startswith("opponent")]
        optimizer = torch.optim.Adam(own, 3e-3, betas=(0.5, 0.999))
        critic = torch.optim.Adam(objective.opponent.parameters(), 3e-3, betas=(0.5, 0.999)) if alpha else None
        for _ in range(80):
            content = torch.randn(64, 4, generator=g)
            parts = {
                n: (content @ m.T + i)[..., None, None]
                for i, (n, m) in enumerate(zip(("rgb", "depth"), mixing, strict=True))
            }
            step = Step(parts, [parts], {}, {}, {})
            optimizer.zero_grad()
            sum(objective(step).values()).backward()
            optimizer.step()
            if critic:
                critic.zero_grad()
                objective.opponent_losses(step.detached())["discriminator"].backward()
                critic.step()
        with torch.no_grad():
            codes = objective.codes["1"].codes_of(parts)
        distance[alpha] = float((codes["rgb"].mean(0) - codes["depth"].mean(0)).square().sum())
        assert float(objective(step)["reconstruction"].detach()) < 0.75 * (1 - alpha) * 2  # 0.8 each of a constant
    assert distance[0.5] < 0.3 * distance[0.0]


GRAPH_HEADS = {"labels": LABELS}


@pytest.mark.parametrize("joint", [True, False])
def test_with_a_graph_it_trains_the_codes_that_are_fused(joint):
    """What the heads' losses reach: the encoders of the graph when joint, else the readout alone."""
    model = small(
        heads=GRAPH_HEADS,
        fusion={"name": "graph", "width": 6},
        objectives=[{"name": "modality_translation", "stages": [2, 4], "joint": joint, "alpha": 0.5}],
    )
    objective, merge = model.objectives["modality_translation"], model.backbone.merge
    assert {codes.width for codes in objective.codes.values()} == {6}
    assert not [name for name, _ in objective.named_parameters() if "encode" in name]
    losses, shown = run(model, batch(), "generator")
    assert {name for name in losses if "translation" in name} == {
        f"loss_modality_translation_{kind}" for kind in ("adversarial", "reconstruction", "classification")
    }
    encoders = [list(merge.codes[f"{i}"].encode.copies["depth"].parameters()) for i in (2, 3)]
    for parameters, expected in zip(encoders, (joint, True), strict=True):
        found = torch.autograd.grad(losses["loss_ensemble"], parameters, retain_graph=True, allow_unused=True)
        assert all(x is not None for x in found) == expected
    ours = sum(x for name, x in losses.items() if "translation" in name)
    assert all(x is not None for x in torch.autograd.grad(ours, encoders[0], retain_graph=True))
    norm = merge.codes["2"].encode.copies["depth"][1]
    assert int(norm.num_batches_tracked) == 1
    assert list(shown.step.own_features[3]) == ["rgb", "depth"] and list(shown.step.features[3]) == ["ensemble"]
    assert not shown.step.own_features[3]["rgb"].requires_grad
    assert set(model(targets=None, inputs={}, mode="discriminator", shown=shown)) == {
        "loss_modality_translation_discriminator"
    }


def test_modules_have_the_layers_that_they_say():
    """Counts of parameters by hand: weights, biases, scales and shifts of norms."""

    def layers(*sizes, norms=()):
        return sum(a * b + b for a, b in pairwise(sizes)) + 2 * sum(norms)

    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    assert count(code_encoder(7, 3)) == layers(7, 6, 6, 3, 3, norms=(6, 6, 3))
    assert count(code_decoder(3, 7, (4, 5))) == layers(3, 4, 5, 7, norms=(5,))
    assert count(code_discriminator(3)) == layers(3, 64, 16, 1)
    assert count(code_classifier(3, 4)) == layers(3, 3, 4, norms=(3,))


def test_a_location_without_a_label_says_nothing():
    logits, shares = torch.randn(1, 3, 1, 2), torch.zeros(1, 3, 1, 2)
    assert class_difference(logits, shares) == 0 and class_difference(logits, shares, "released") == 0
    shares[0, 1, 0, 1] = 1.0
    expected = -math.log(logits[0, :, 0, 1].softmax(0)[1].item())
    assert class_difference(logits, shares).item() == pytest.approx(expected, rel=1e-5)
    l1 = (logits[0, :, 0, 1].softmax(0) - shares[0, :, 0, 1]).abs().sum().item()
    assert class_difference(logits, shares, "released").item() == pytest.approx(l1, rel=1e-5)
