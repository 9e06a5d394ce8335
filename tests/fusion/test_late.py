"""Late fusion: branches that know nothing of each other, and the mean of their probabilities."""

import numpy as np
import pytest
import torch
from small_models import decoder_logits, labelled

from rgbx.fusion import build_fusion
from rgbx.models import multimodal_segmentor

NAMES = ("rgb", "depth", "thermal")


def make(**options):
    torch.manual_seed(0)
    thermal = {"thermal": {"mean": [0.0], "std": [1.0]}}
    defaults = dict(num_classes=5, backbone="test_resnet", decoder={"width": 16, "dropout": 0.0}, statistics=thermal)
    model = multimodal_segmentor(modalities=NAMES, **defaults, **options)
    for parameter in model.parameters():
        parameter.data.add_(0.02 * torch.randn_like(parameter))  # branches differ
    return model.eval()


def maps(names=NAMES):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(2, 3 if name == "rgb" else 1, 64, 64, generator=generator) for name in names}


@pytest.mark.parametrize(
    ("names", "weights"),
    [(NAMES, "separate"), (NAMES, "shared"), (("rgb", "thermal"), "shared"), (("depth",), "shared")],
)
def test_the_ensemble_is_the_logarithm_of_the_mean_probability(names, weights):
    with torch.no_grad():
        logits = decoder_logits(make(fusion="late", weights=weights), maps(names))
    assert list(logits) == [*names, "ensemble"]
    probabilities = []
    for name in names:
        exponents = np.exp(logits[name].double().numpy())
        probabilities.append(exponents / exponents.sum(axis=1, keepdims=True))
    expected = np.log(np.mean(probabilities, axis=0))
    np.testing.assert_allclose(logits["ensemble"].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_branches_are_those_without_exchange():
    late, alone = make(fusion="late"), make(fusion=None)
    weights = {name: x for name, x in alone.state_dict().items() if ".alpha." not in name}
    late.load_state_dict(weights)
    with torch.no_grad():
        found, expected = decoder_logits(late, maps()), decoder_logits(alone, maps())
    assert all(torch.equal(found[name], expected[name]) for name in NAMES)
    assert not late.heads["labels"].alpha


def test_each_branch_is_trained_by_its_own_loss_alone():
    label = torch.randint(0, 5, (2, 64, 64), generator=torch.Generator().manual_seed(0))
    model = make(fusion="late").train()
    losses = model(maps(), labelled(label), mode="loss")
    losses["loss_ensemble"].backward(retain_graph=True)
    assert not [name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    (losses["loss_rgb"] + losses["loss_depth"] + losses["loss_thermal"]).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    attached = make(fusion="late", detach_ensemble=False).train()
    attached(maps(), labelled(label), mode="loss")["loss_ensemble"].backward()
    assert attached.heads["labels"].decoder.classifier.weight.grad.abs().sum() > 0


def test_stages_are_refused():
    with pytest.raises(ValueError, match=r"stages=\(2,\)"):
        build_fusion({"name": "late", "stages": [2]})
