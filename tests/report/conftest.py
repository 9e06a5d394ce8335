import json

import numpy as np
import pytest
from made_result import make_result
from PIL import Image


@pytest.fixture
def write_result(tmp_path):
    """Writes a made-up result, changed by a function if given, with pictures of noise unless told otherwise."""

    def write(change=None, pictures=True, **options):
        result = make_result(**options)
        if pictures:
            result["pictures"] = [entry(tmp_path, kind, i) for i, kind in enumerate(("best", "median", "worst"))]
        if change:
            change(result)
        path = tmp_path / "results.json"
        path.write_text(json.dumps(result))
        return path

    return write


def entry(folder, kind, seed):
    names = ("rgb", "depth", "label", "prediction/rgb", "prediction/depth", "prediction/ensemble", "error")
    files = {}
    for i, name in enumerate(names):
        noise = np.random.default_rng([seed, i]).integers(0, 256, (6, 8, 3), np.uint8)
        files[name] = f"pictures/{kind}_{name.replace('/', '_')}.png"
        (folder / "pictures").mkdir(exist_ok=True)
        Image.fromarray(noise).save(folder / files[name])
    return {"sample_id": f"frame/00{seed}", "kind": kind, "mIoU": 0.9 - 0.3 * seed, "files": files}
