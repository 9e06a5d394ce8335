"""docs/predict.md does what it says: its code runs, on files, folders, arrays and a camera."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from small_models import LABELS, small

from rgbx.maps.palette import default_palette, seen_lab
from rgbx.models.checkpoint import to_plain
from rgbx.models.inputs import OPTIONS

PAGE = (Path(__file__).parents[2] / "docs" / "predict.md").read_text()
TRANSLATION = (Path(__file__).parents[2] / "docs" / "translation.md").read_text()
ONE, MANY, SAID, BRANCHES, GALLERY = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SIZE = (24, 32)
RNG = np.random.default_rng(0)


@pytest.fixture
def names(tmp_path, monkeypatch):
    """A folder with the files of the page, and what its code finds."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = small(None, heads={"labels": LABELS})
    meta = {"classes": ["wall", "floor", "box", "ball", "lamp"], "stored": {"depth": {"scale": 5000.0}}}
    state = {"state_dict": model.state_dict(), "model": to_plain(model.recipe), "meta": {"dataset_meta": meta}}
    torch.save(state, "best.pth")
    rgb, millimetres = RNG.integers(0, 256, (*SIZE, 3), np.uint8), RNG.integers(500, 5000, SIZE, np.uint16)
    for folder in ("rgb", "depth"):
        Path(folder).mkdir()
    cv2.imwrite("a.jpg", rgb[..., ::-1])
    cv2.imwrite("b.png", millimetres)
    for stem in ("x", "y"):
        shutil.copy("a.jpg", f"rgb/{stem}.jpg")
        cv2.imwrite(f"depth/{stem}.png", 5 * millimetres)  # as the checkpoint says
    mask = RNG.random(SIZE) < 0.5
    found = {"cv2": cv2, "rgb": rgb, "millimetres": millimetres, "metres": millimetres / np.float32(1000), "mask": mask}
    exec(ONE, found)
    return found


def test_one_frame(names):
    assert names["ids"].dtype == np.uint8 and names["ids"].shape == SIZE == names["sure"].shape
    assert np.array_equal(cv2.imread("out/labels/a.png", cv2.IMREAD_UNCHANGED), names["ids"])
    np.testing.assert_allclose(names["result"].inputs["depth"][0], names["metres"], rtol=1e-6)


def test_many_frames(names, capsys):
    exec(MANY, names)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["x", "y"]
    assert names["latest"].shape == (*SIZE, 3)
    (whole,) = names["model"].predict(rgb=[cv2.imread("a.jpg")[..., ::-1]])
    assert np.array_equal(whole.inputs["rgb"], names["result"].inputs["rgb"])


def test_what_is_said(names):
    exec(SAID.splitlines()[0], names)
    np.testing.assert_allclose(names["result"].inputs["depth"][0], names["metres"], rtol=1e-6)
    exec(SAID.splitlines()[1], names)
    assert np.array_equal(names["result"].inputs["depth_valid"][0], names["mask"])


def test_branches_and_the_strip(names, capsys):
    exec(BRANCHES, names)
    shares = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert list(shares) == ["rgb", "depth"] and all(0 <= float(share) <= 1 for share in shares.values())
    assert cv2.imread("strip.png").shape[1] > 4 * SIZE[1]


def test_the_gallery(names):
    exec(GALLERY, names)
    page = Path("out/index.html").read_text()
    assert len(re.findall("<article", page)) == 2 and Path("out/labels/y.png").is_file()


def test_every_attribute_that_the_page_names_is_there(names):
    head = names["result"]["labels"]
    first = PAGE.split("| of a head of classes | |")[1].split("| of a head that predicts a map | |")[0]
    for name in re.findall(r"`(\w+)", "\n".join(line.split("|")[1] for line in first.splitlines() if "|" in line)):
        assert hasattr(head, name), name
    assert all(hasattr(head, name) for name in ("branches", "picture", "legend", "panels"))


def test_the_options_of_files_are_listed_once_and_all():
    """Where both ways to predict refer to."""
    table = TRANSLATION.split("| option | of | |")[1].split("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == sorted(OPTIONS)
    assert (
        PAGE.count("options of\n[map files](translation.md#maps-as-files)")
        + PAGE.count("options of [map files](translation.md#maps-as-files)")
        == 2
    )


def test_how_far_colours_are_apart():
    count, all_cones, fewer = map(int, re.search(r"of (\d+) colours.*?at least (\d+).*?by (\d+)", PAGE, re.S).groups())
    seen = seen_lab(np.array(default_palette(count)))
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)[~np.eye(count, dtype=bool)].min(0)
    assert apart[0] >= all_cones and (apart[1:] >= fewer).all()
