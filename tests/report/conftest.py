import json

import numpy as np
import pytest
from made_result import make_joint_result, make_map_result, make_result
from PIL import Image

MAKERS = {"classes": make_result, "map": make_map_result, "joint": make_joint_result}


@pytest.fixture(scope="session")
def framed():
    """A page that shows another in a frame of so many pixels' width, and what that one posts in `found`."""

    def write(place, file, width):
        place.write_text(
            f"""<!doctype html><body><iframe src="{file}" style="width:{width}px;height:800px;border:0"></iframe>
<script>addEventListener("message", (event) => {{
  const pre = document.createElement("pre");
  pre.id = "found";
  pre.textContent = JSON.stringify(event.data);
  document.body.append(pre);
}});</script>"""
        )
        return place

    return write


@pytest.fixture
def write_result(tmp_path):
    """Writes a made-up result, changed by a function if given, with pictures of noise unless told otherwise."""

    def write(change=None, pictures=True, kind="classes", **options):
        result = MAKERS[kind](**options)
        for name, head in result["heads"].items() if pictures else ():
            kinds = enumerate(("best", "median", "worst"))
            head["pictures"] = [entry(tmp_path, f"{name}_{kind}", kind, i) for i, kind in kinds]
        if change:
            change(result)
        path = tmp_path / "results.json"
        path.write_text(json.dumps(result))
        return path

    return write


def entry(folder, stem, kind, seed):
    titles = ("input/rgb", "input/depth", "truth", "RGB branch", "depth branch", "ensemble", "errors of the ensemble")
    files = {}
    for i, title in enumerate(titles):
        noise = np.random.default_rng([seed, i]).integers(0, 256, (6, 8, 3), np.uint8)
        files[title] = f"pictures/{stem}_{i}.png"
        (folder / "pictures").mkdir(exist_ok=True)
        Image.fromarray(noise).save(folder / files[title])
    return {"sample_id": f"frame/00{seed}", "kind": kind, "value": 0.9 - 0.3 * seed, "files": files}
