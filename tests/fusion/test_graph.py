"""Graph fusion: the reference's answers, naive loops for any number of modalities, and what it refuses."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from rgbx.backbones import SharedBackbone
from rgbx.fusion import build_fusion
from rgbx.fusion.graph import CodeGraph, graph_readout
from rgbx.layers import StackLayout

LAYERS = {"attention": "attention", "mix.0.0": "graph_fusion.0", "mix.0.2": "graph_fusion.2"}
LAYERS |= {"mix.1.0": "graph_fusion2.0", "mix.1.2": "graph_fusion2.2"}
READOUT = {"0": "bn2", "1": "linear_1", "3": "linear_2", "5": "linear_3"}


@pytest.fixture(scope="module")
def reference(companion):
    """The authors' graph in our modules, and the answers."""
    stored, keys, tensor = companion("argf")

    def filled(module, names):
        state = {}
        for own, theirs in names.items():
            for part, found in module.get_submodule(own).state_dict().items():
                key = f"graph.{theirs}.{part}"
                state[f"{own}.{part}"] = torch.from_numpy(tensor(key, keys[key])).view(found.shape)
        module.load_state_dict(state)
        return module

    width, hidden = keys["graph.attention.weight"][1], keys["graph.graph_fusion.0.weight"][0]
    graph = filled(CodeGraph(width, 3, hidden=hidden), LAYERS)
    inner, classes = keys["graph.linear_1.weight"][0], keys["graph.linear_3.weight"][0]
    readout = filled(graph_readout(3 * width, inner, classes), READOUT)
    answers = {name: torch.from_numpy(np.asarray(x)) for name, x in stored.items()}
    return graph, readout, answers


def close(found, expected):
    """Within 1e-5 of the largest value."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("mode", ["given", "train", "eval"])
def test_the_reference(reference, mode):
    graph, readout, answers = reference
    readout = copy.deepcopy(readout).train(mode == "train")
    codes = [answers[f"{mode}/code_{name}"][..., None, None] for name in "avl"]
    with torch.no_grad():
        fused = graph(codes)
        output = readout(fused.vector).softmax(1)
    close(fused.vector[..., 0, 0], answers[f"{mode}/graph_vector"])
    close(fused.weights[..., 0, 0], answers[f"{mode}/graph_weights"])
    close(output[..., 0, 0], answers[f"{mode}/graph_output"])


def softmax(values):
    exps = [math.exp(v - max(values)) for v in values]
    return [e / sum(exps) for e in exps]


def alike(a, b, kind):
    if kind == "literal":
        return sum(x * y for x, y in zip(softmax(a), softmax(b), strict=True))
    norms = [math.sqrt(sum(x * x for x in v)) for v in (a, b)]
    return (1 + sum(x * y for x, y in zip(a, b, strict=True)) / norms[0] / norms[1]) / 2


def order(pairs, p, q):
    """Two pairs in the order in which their values enter: of i < j < k as the authors have it ij-jk, ij-ik, jk-ik."""
    i, j, k = sorted({*pairs[p], *pairs[q]})
    for first, second in (((i, j), (j, k)), ((i, j), (i, k)), ((j, k), (i, k))):
        if {pairs[p], pairs[q]} == {first, second}:
            return pairs.index(first), pairs.index(second)
    raise AssertionError((pairs[p], pairs[q]))


def by_loops(graph, codes, kind):
    """The definition for one location: codes are lists of floats; returns the levels' sums and all weights."""

    def layer(conv, x):
        weight, bias = conv.weight.detach().double()[:, :, 0, 0], conv.bias.detach().double()
        return [
            b + sum(w * v for w, v in zip(row, x, strict=True))
            for row, b in zip(weight.tolist(), bias.tolist(), strict=True)
        ]

    def mixed(net, a, b):
        inner = [v if v > 0 else 0.2 * v for v in layer(net[0], a + b)]
        return [math.tanh(v) for v in layer(net[2], inner)]

    elu = lambda v: v if v > 0 else math.exp(v) - 1  # noqa: E731
    total = lambda rows: [sum(column) for column in zip(*rows, strict=True)]  # noqa: E731
    strengths = [1 / (1 + math.exp(-layer(graph.attention, e)[0])) for e in codes]
    u = [v / len(codes) for v in total([[s * x for x in e] for s, e in zip(strengths, codes, strict=True)])]
    pairs = list(itertools.combinations(range(len(codes)), 2))
    r = [(strengths[i] + strengths[j]) / (alike(codes[i], codes[j], kind) + 0.5) for i, j in pairs]
    weights = softmax(r) if r else []
    m = [mixed(graph.mix[0], codes[i], codes[j]) for i, j in pairs] if pairs else []
    v = [[elu(w * x) for x in row] for w, row in zip(weights, m, strict=True)]
    zero, second = [0.0] * len(u), None
    sums, shares = [u, total(v) if v else zero], [*strengths, *weights]
    ends = []
    for p, q in itertools.combinations(range(len(pairs)), 2):
        if set(pairs[p]) & set(pairs[q]):
            p, q = order(pairs, p, q)
            ends.append((v[p], v[q], r[p] + r[q], alike(m[p], m[q], kind)))
    for p, pair in enumerate(pairs):
        for k in set(range(len(codes))) - set(pair):
            ends.append((v[p], codes[k], r[p] + strengths[k], alike(m[p], codes[k], kind)))
    if len(graph.mix) > 1:
        second = softmax([s / (a + 0.5) for _, _, s, a in ends]) if ends else []
        third = [[elu(w * x) for x in mixed(graph.mix[1], a, b)] for w, (a, b, _, _) in zip(second, ends, strict=True)]
        sums.append(total(third) if third else zero)
    return sums, shares, second


@pytest.mark.parametrize("kind", ["literal", "cosine"])
@pytest.mark.parametrize(("count", "present"), [(2, 2), (3, 3), (3, 2), (3, 1), (4, 4)])
def test_levels_by_loops(count, present, kind):
    """Sums of all levels entry by entry, and all weights."""
    torch.manual_seed(count)
    graph = CodeGraph(5, count, kind, hidden=7)
    codes = [torch.rand(2, 5, 1, 3) * 2 - 1 for _ in range(present)]
    with torch.no_grad():
        fused = graph(codes)
    levels = min(count, 3)
    assert fused.vector.shape == (2, 5 * levels, 1, 3)
    for n, x in itertools.product(range(2), range(3)):
        sums, shares, second = by_loops(graph, [code[n, :, 0, x].tolist() for code in codes], kind)
        np.testing.assert_allclose(fused.vector[n, :, 0, x], np.concatenate(sums), atol=1e-5)
        np.testing.assert_allclose(fused.weights[n, : len(shares), 0, x], shares, atol=1e-5)
        found = fused.weights[n, len(shares) :, 0, x].tolist()
        np.testing.assert_allclose(sorted(found), sorted(second or []), atol=1e-5)
        assert len(second or []) == (6 * math.comb(present, 3) if count > 2 else 0)
        if levels == 3:
            assert bool(fused.vector[n, 10:, 0, x].any()) == (present > 2)


def test_what_alone_would_change_nothing_is_refused():
    layout = StackLayout(("rgb", "depth"))
    for similarity in ("literal", "cosine"):
        fusion = build_fusion({"name": "graph", "similarity": similarity})
        with pytest.raises(ValueError, match=r"similarity is .*with \['rgb', 'depth'\] there is no graph"):
            SharedBackbone("test_resnet", layout.modalities, fusion=fusion)
    with pytest.raises(ValueError, match=r"fusion field similarity is 'cosin'.*did you mean 'cosine'"):
        build_fusion({"name": "graph", "similarity": "cosin"})
    with pytest.raises(ValueError, match="fusion field width is 0; expected 1 to"):
        build_fusion({"name": "graph", "width": 0})
    assert CodeGraph(4, 2).levels == 2 and len(CodeGraph(4, 2).mix) == 1


def test_the_cosine_tells_more_than_the_literal_similarity():
    """On tanh codes of 100 entries the literal one is all but constant."""
    torch.manual_seed(0)
    codes = [torch.tanh(torch.randn(200, 100, 1, 1)) for _ in range(3)]
    codes[1] = (codes[0] + 0.1 * codes[1]).clamp(-1, 1)
    spread = {}
    for kind in ("literal", "cosine"):
        graph = CodeGraph(100, 3, kind)
        a, b, c = (graph._about(code) for code in codes)
        products = torch.cat([(a * b).sum(1), (a * c).sum(1)])
        spread[kind] = float(products.max() - products.min())
    assert spread["literal"] < 0.02 < 0.5 < spread["cosine"]


def test_stages_that_are_not_chosen_are_means():
    torch.manual_seed(0)
    names = ("rgb", "depth", "ir")
    backbone = SharedBackbone("test_resnet", names, fusion=build_fusion({"name": "graph", "stages": [3], "width": 8}))
    alone = SharedBackbone("test_resnet", names)
    alone.load_state_dict({k: x for k, x in backbone.state_dict().items() if not k.startswith("merge.")})
    x = {name: torch.randn(2, 3, 64, 64) for name in names}
    with torch.no_grad():
        found, stacks = backbone.eval()(x), alone.eval()(x)
    for number, (merged, stack) in enumerate(zip(found, stacks, strict=True), 1):
        mean = stack.unflatten(0, (3, 2)).mean(0)
        assert torch.allclose(merged, mean) == (number != 3)
    assert isinstance(backbone.merge.graphs["3"].mix[1][0], nn.Conv2d) and list(backbone.codes) == [3]
