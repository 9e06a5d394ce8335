import json

import pytest
from small_models import small

from rgbx.models import PROTOCOLS, Predictor, Protocol
from rgbx.tasks import TASKS


def test_the_published_ones_have_names_and_sources():
    assert {"rgbx", "asymfusion", "cmx-ss", "cmx-ms", "dformer-ms", "cen"} <= set(PROTOCOLS)
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert protocol.source
        assert set(protocol.tasks or ()) <= set(TASKS)
        assert json.loads(json.dumps(protocol.as_dict()))["name"] == name


def test_a_misspelt_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'cmx' is not known; expected one of rgbx, .*cmx-ss"):
        Predictor(small("classes"), "cmx")


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (dict(scales=()), "scales must be positive"),
        (dict(scales=(1.0, -1.0)), "scales must be positive"),
        (dict(multiple=0), "multiple must be >= 1"),
        (dict(window=(8, 8), resized="scores"), "belong together"),
        (dict(window=(8, 8), stride=(8, 9), resized="scores"), "leaves gaps"),
        (dict(window=(8, 8), stride=(8, 8)), "need resized='scores'"),
        (dict(logits_to_label="bicubic", resized="scores"), "bicubic"),
    ],
)
def test_rules_that_contradict_each_other(rules, message):
    with pytest.raises(ValueError, match=message):
        Protocol("p", "s", **rules)
