"""Streams and codes of MEA against reference answers, naive loops over the paper's equations in double precision."""

import numpy as np
import pytest
import torch
from torch import nn

from rgbx.layers.decoupled import DecoupledGraph, DoubleDiscriminator, PooledEncoders, hsic
from rgbx.layers.streams import (
    FORMS,
    CrossAttention,
    Hierarchy,
    ModalityWeights,
    PredictiveChain,
)

FILES = {"mea": (("rgb", "depth", "thermal"), 2, 3, 10), "mea_two": (("rgb", "thermal"), 4, 2, 6)}
WORDS = {  # of our names in the reference's
    "feed_forward.first": "ffn1",
    "feed_forward.second": "ffn2",
    "first": "fc1",
    "second": "fc2",
    "norm": "norm1",
    "norm_out": "norm2",
    "predict": "conv",
}


class Reference:
    """The answers of one file, and modules filled with the weights they were computed with."""

    def __init__(self, companion, name):
        self.answers, self.shapes, self.tensor = companion(name)
        self.names, self.heads, self.layers, self.code = FILES[name]
        self.left = {key for key in self.answers if not key.startswith(("input/", "psa/mu"))}
        self.width = self.answers[f"input/z_{self.names[0]}"].shape[1]

    def fill(self, module, prefix):
        """The module in double precision with the weights under a prefix."""
        module = module.double()
        norms = {name for name, child in module.named_modules() if isinstance(child, nn.LayerNorm)}
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                layer, _, kind = name.rpartition(".")
                key = ".".join(part for part in (prefix, WORDS.get(layer, layer)) if part)
                stored = f"{key}.bn_weight" if layer in norms and kind == "weight" else f"{key}.{kind}"
                assert list(parameter.shape) == self.shapes[stored], stored
                value = self.tensor(stored.replace(".bn_weight", ".bn.weight"), parameter.shape)
                parameter.copy_(torch.from_numpy(np.asarray(value, np.float64)) * (4 if "query" in stored else 1))
        return module.eval()

    def input(self, key):
        return torch.from_numpy(self.answers[f"input/{key}"])

    def tokens(self):
        return {name: self.input(f"z_{name}")[None] for name in self.names}

    def check(self, key, found):
        self.left.discard(key)
        found = found.detach().numpy()
        np.testing.assert_allclose(found.reshape(self.answers[key].shape), self.answers[key], rtol=0, atol=1e-8)


@pytest.fixture(params=FILES)
def reference(request, companion):
    return Reference(companion, request.param)


def check_self_attention(reference):
    mu = float(reference.answers["psa/mu"])
    for form in FORMS:
        chain = PredictiveChain(reference.width, reference.heads, reference.layers, form, mu)
        z, logits = reference.input(f"z_{reference.names[0]}")[None], None
        given = z
        for i, layer in enumerate(chain.layers):
            reference.fill(layer, f"psa.{i}")
            before = logits
            z, logits = layer(z, before)
            reference.check(f"psa/{form}/{i}/logits", logits)
            reference.check(f"psa/{form}/{i}/attention", layer.attention(logits, before))
            reference.check(f"psa/{form}/{i}/output", z)
        torch.testing.assert_close(chain(given), z, rtol=0, atol=0)


def check_hierarchy(reference):
    tokens = reference.tokens()
    for name in reference.names:
        others = [other for other in reference.names if other != name]
        hierarchy = Hierarchy(others, reference.width)
        reference.fill(hierarchy.mixed, f"hca_{name}.mixed")
        reference.fill(hierarchy.coarse, f"hca_{name}.coarse")
        for other in others:
            reference.fill(hierarchy.fine[other], f"hca_{name}.fine_{other}")
        mixed = hierarchy.mixed(torch.cat(list(tokens.values()), 1), tokens[name])
        coarse = hierarchy.coarse(torch.cat([tokens[other] for other in others], 1), mixed)
        reference.check(f"hca/{name}/mixed", mixed)
        reference.check(f"hca/{name}/coarse", coarse)
        reference.check(f"hca/{name}/fine", hierarchy.double()(tokens, name, tokens[name]))
    first, second = reference.names[:2]
    unit = reference.fill(CrossAttention(reference.width), f"hca_{first}.fine_{second}")
    reference.check("mru/output", unit(tokens[second], tokens[first]))
    reference.check("mru/attention", unit.attention(tokens[second], tokens[first]))


def check_codes(reference):
    encoders = PooledEncoders(reference.names, reference.width, reference.code)
    for name in reference.names:
        reference.fill(encoders.copies[name], f"exclusive_{name}")
    reference.fill(encoders.agnostic, "agnostic")
    own, joint = ({name: reference.input(f"pooled_{kind}_{name}") for name in reference.names} for kind in "ea")
    exclusive, agnostic = encoders(own, joint)
    for name in reference.names:
        reference.check(f"code/exclusive_{name}", exclusive[name])
        reference.check(f"code/agnostic_{name}", agnostic[name])
        reference.check(f"hsic/{name}", hsic(exclusive[name], agnostic[name]))
    reference.check("loss/disparity", torch.stack([hsic(exclusive[n], agnostic[n]) for n in exclusive]).mean())
    discriminator = reference.fill(DoubleDiscriminator(reference.names, reference.code), "")
    for name, weight in discriminator.weights(agnostic).items():
        reference.check(f"importance/weight_{name}", weight)
    reference.check("loss/agnostic", discriminator.agnostic_loss(agnostic))
    reference.check("loss/exclusive", discriminator.exclusive_loss(exclusive))
    return {"exclusive": exclusive, "agnostic": agnostic}


def check_graph(reference, codes):
    for kind, found in codes.items():
        for own, word in ((True, "with_self"), (False, "without_self")):
            graph = reference.fill(DecoupledGraph(reference.code, own_neighbour=own), f"graph_{kind}")
            nodes = graph.project(torch.stack(list(found.values()), 1))
            reference.check(f"graph/{kind}/{word}/xi", graph.attention(nodes))
            reference.check(f"graph/{kind}/{word}/output", graph(list(found.values())))


def test_every_reference_answer(reference):
    check_self_attention(reference)
    check_hierarchy(reference)
    check_graph(reference, check_codes(reference))
    assert reference.left == set()


def test_weights_of_modalities_by_hand():
    torch.manual_seed(0)
    module = ModalityWeights(("a", "b", "c"), 4)
    tokens = {"a": torch.randn(2, 3, 4), "c": torch.randn(2, 5, 4)}
    assert all(torch.equal(x, tokens[name]) for name, x in module(tokens).items())  # 1 at first
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    found = module(tokens)
    for n in range(2):
        logits = {name: module.copies[name](x[n].sum(0) / len(x[n])).exp() for name, x in tokens.items()}
        for name, x in tokens.items():
            torch.testing.assert_close(found[name][n], 2 * logits[name] / (logits["a"] + logits["c"]) * x[n])


def test_tokens_of_a_modality_alone_pass_the_hierarchy():
    tokens = torch.randn(2, 3, 8)
    assert Hierarchy(("b",), 8)({"a": tokens}, "a", tokens) is tokens


def test_literal_attention_is_flat():
    """Two softmaxes on top of each other: each of 64 tokens attends nearly all."""
    torch.manual_seed(0)
    logits, previous, kept = 3 * torch.randn(1, 2, 64, 64), torch.randn(1, 2, 64, 64), {}
    for form in FORMS:
        attention = PredictiveChain(8, 2, 2, form).layers[1].attention(logits, previous)
        torch.testing.assert_close(attention.sum(-1), torch.ones(1, 2, 64))
        kept[form] = (1 / attention.square().sum(-1)).mean().item()
    assert kept["literal"] > 60 and kept["renormalised"] < 30


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CrossAttention(6, 4), "4 heads cannot share a width of 6"),
        (lambda: PredictiveChain(8, 2, 1, "plain"), "attention is 'plain'; expected one of renormalised, literal"),
        (lambda: PredictiveChain(8, 2, 1, mu=2.0), "mu is 2.0"),
    ],
)
def test_what_cannot_be_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
