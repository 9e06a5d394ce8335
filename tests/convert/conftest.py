import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # authors_network.py
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def reference(shared_dir):
    """The folder with the authors' reference answers."""
    folder = shared_dir / "reference"
    if not (folder / "asymfusion_resnet50.npz").is_file():
        pytest.skip(f"no reference answers of the authors' code in {folder}")
    return folder


@pytest.fixture(scope="session")
def keys(reference):
    return json.loads((reference / "asymfusion_resnet50_keys.json").read_text())


@pytest.fixture(scope="session")
def seeded(reference):
    """seeded.py's tensor(name, shape), as a torch tensor."""
    make = runpy.run_path(str(reference / "seeded.py"))["tensor"]
    return lambda name, shape: torch.from_numpy(np.asarray(make(name, shape)))


@pytest.fixture(scope="session")
def weights(keys, seeded):
    """The weights of the reference network."""
    return {key: seeded(key, shape) for key, shape in keys.items()}


@pytest.fixture(scope="session")
def narrow_keys(keys):
    """{key: shape} of a network with a decoder of an eighth of the width, for tests of names alone."""
    narrow = dict(keys)
    for key, shape in keys.items():
        if key.startswith(("p_ims", "adapt", "mflow", "clf")):
            out, into = 1 if key.startswith("clf") else 8, 1 if key.startswith("p_ims") else 8
            narrow[key] = [n // by for n, by in zip(shape, (out, into, 1, 1), strict=False)]
    return narrow


@pytest.fixture
def make_checkpoint(narrow_keys):
    """The content of a file in the authors' format of almost no size: every tensor repeats one value.

    Keyword arguments replace tensors by name, or remove them where None.
    """

    def make(entries=None, names=narrow_keys, **changes):
        state = {key: torch.full((1,) * len(shape), 0.5).expand(shape) for key, shape in names.items()}
        state |= {key: torch.tensor(7) for key in state if key.endswith("num_batches_tracked")}
        state = {key: x for key, x in (state | changes).items() if x is not None}
        return {"segmenter": {f"module.{key}": x for key, x in state.items()}, **(entries or {})}

    return make
