"""docs/evaluation.md does what it says: predicting in Python, and what a batch must hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from small_models import small

from rgbx.maps import STANDARD_MAPS

ROOT = Path(__file__).parents[2]
EVALUATION = re.split(r"^## In Python$", (ROOT / "docs/evaluation.md").read_text(), flags=re.M)[1]
ROWS = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", EVALUATION, re.M))


def batch_of(model, size=(24, 32)):
    return {"rgb": torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8), "depth": 1 + 3 * torch.rand(1, 1, *size)}


def test_probabilities():
    model = small("classes").eval()
    found = {"model": model, "batch": batch_of(model)}
    exec(re.search(r"```python\n(.*?)```", EVALUATION, re.S)[1], found)
    assert found["labels"].dtype == torch.uint8 and found["labels"].shape == (24, 32)
    assert found["probability"].shape == (5, 24, 32)
    torch.testing.assert_close(found["probability"].sum(0), torch.ones(24, 32))
    assert torch.equal(found["probability"].argmax(0), found["labels"].long())


@pytest.mark.parametrize("name", ["rgb", "hha", "depth", "normal"])
def test_a_batch_holds_what_the_table_says(name):
    (words,) = (words for names, words in ROWS.items() if f"`{name}`" in names)
    dtype, channels = re.match(r"(\w+) \[N, (\d), H, W\]", words).groups()
    spec = STANDARD_MAPS[name]
    assert (spec.dtype, spec.channels) == (dtype, int(channels))
    model = small("classes", modalities=(name,)).eval()
    x = torch.full((1, spec.channels, 24, 32), 2, dtype=getattr(torch, dtype))
    assert model.predict({name: x})[0]["prediction"]["ensemble"].shape == (24, 32)
    other = torch.float32 if dtype == "uint8" else torch.int32
    for wrong in (x.to(other), x[0], x.permute(0, 2, 3, 1), x[:, :1].repeat(1, 5, 1, 1)):
        with pytest.raises(ValueError, match=rf"^{name} is a tensor"):
            model.predict({name: wrong})
