"""From a checkpoint to the model that was trained.

`models_0.1.0` holds, of twenty models that version 0.1.0 built, the recipe and the names and shapes of the tensors in
its checkpoints, and every fifth pixel of what it answered to `maps` with the tensors that `filled` draws. What no
checkpoint draws (statistics, ranges, class weights, vectors of spectral norms) is kept by value.
"""

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from rgbx.models.checkpoint import to_plain
from rgbx.models.load import load

FOLDER = Path(__file__).parent / "models_0.1.0"
CASES = json.loads(gzip.decompress((FOLDER / "cases.json.gz").read_bytes()))
OUTPUTS = np.load(FOLDER / "outputs.npz")


def filled(name, shape):
    """A tensor that its name alone determines; a backbone's may stand under several names."""
    rng = np.random.RandomState(zlib.crc32(name[max(name.find("backbone."), 0) :].encode()))
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    x = rng.standard_normal(shape)
    if name.endswith("running_var"):
        return (0.5 + np.abs(x)).astype(np.float32)
    if len(shape) >= 2:
        return (x * np.prod(shape[1:]) ** -0.5).astype(np.float32)
    return np.asarray(float(name.endswith("weight")) + 0.2 * x, np.float32)


def maps(size=(34, 40)):
    rng = np.random.RandomState(0)
    return {
        "rgb": torch.as_tensor(rng.randint(0, 256, (1, 3, *size)).astype(np.uint8)),
        "depth": torch.as_tensor((9 * rng.random_sample((1, 1, *size)) - 1).astype(np.float32)),
        "edge": torch.as_tensor(rng.random_sample((1, 1, *size)).astype(np.float32)),
        "normal": torch.as_tensor((2 * rng.random_sample((1, 3, *size)) - 1).astype(np.float32)),
    }


def written(case, path):
    """The checkpoint that 0.1.0 would have written."""
    tensors = {name: torch.as_tensor(filled(name, shape)) for name, shape in case["tensors"].items()}
    own = {name: torch.tensor(value) for name, value in case["own"].items()}
    torch.save({"state_dict": {**tensors, **own}, "model": to_plain(case["model"])}, path)
    return path


@pytest.mark.parametrize("name", CASES)
def test_checkpoints_of_the_first_version_answer_as_they_did(name, tmp_path):
    model = load(written(CASES[name], tmp_path / "old.pth"))
    assert not model.training
    with torch.no_grad():
        found = model(model.data_preprocessor(maps())["inputs"])
    if not name.startswith("joint"):
        found = {"": found}
    else:
        found = {"segmentation": found.pop("labels"), "translation": found.popitem()[1]}
    answers = {f"{name}/{head}/{branch}": x for head, by_name in found.items() for branch, x in by_name.items()}
    assert set(answers) == {key for key in OUTPUTS if key.startswith(f"{name}/")}
    for key, x in answers.items():
        torch.testing.assert_close(x[..., ::5, ::5], torch.from_numpy(OUTPUTS[key]), rtol=0, atol=1e-5, msg=key)
