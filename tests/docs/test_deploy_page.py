"""docs/deploy.md does what it says: its commands write files, whose figures are right, and its code runs one."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from session_data import made

from rgbx.cli.main import main
from rgbx.datasets import SyntheticRooms, build_dataset
from rgbx.models.checkpoint import to_plain
from rgbx.models.load import load

PAGE = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()
PLAIN, INT8 = (shlex.split(line)[1:] for line in re.findall(r"^    (rgbx export .*)$", PAGE, re.MULTILINE))
(CODE,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SIZE, FRAMES = (24, 32), 3
META = {"epoch": 1, "dataset_meta": {"stored": {"depth": {}}}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a checkpoint and data, in which both commands of the page have run; and what they printed."""
    folder = tmp_path_factory.mktemp("deploy")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        model = made("classes", depth=2)  # tracing takes seconds for each level
        Path("work_dirs/rooms").mkdir(parents=True)
        state = {"state_dict": model.state_dict(), "model": to_plain(model.recipe), "meta": META}
        torch.save(state, "work_dirs/rooms/epoch_1.pth")
        for split in ("train", "test"):
            rooms = SyntheticRooms(split=split, num_frames=FRAMES, size=SIZE, root="data/rooms")
            for index in range(FRAMES):
                rooms.write(index)
        assert main(PLAIN) == 0 and main(INT8) == 0
    return folder


def test_files_of_the_page(place):
    written = {str(path.relative_to(place)) for folder in place.glob("exported*") for path in folder.iterdir()}
    stems = ["exported/rgb+depth", "exported/depth", "exported_int8/rgb+depth", "exported_int8/rgb+depth.int8"]
    assert written == {f"{stem}{suffix}" for stem in stems for suffix in (".onnx", ".json")}
    for stem in stems:
        session = onnxruntime.InferenceSession(place / f"{stem}.onnx")
        words = (place / f"{stem}.json").read_text()
        about = json.loads(session.get_modelmeta().custom_metadata_map["rgbx"])
        assert json.loads(words) == about and about["parity"]["frames"] == FRAMES
        assert all(f"`{key}`" in PAGE for key in about)


def test_what_8_bits_lose_is_counted_right(place):
    about = json.loads((place / "exported_int8/rgb+depth.int8.json").read_text())
    lost = about["int8"]["heads"]["labels"]
    data = build_dataset(place / "data/rooms", "test", modalities=("rgb", "depth"))
    for stem, key in (("rgb+depth", "float"), ("rgb+depth.int8", "int8")):
        session = onnxruntime.InferenceSession(place / f"exported_int8/{stem}.onnx")
        right, found, true = (np.zeros(10) for _ in range(3))
        for sample in map(data.read, range(FRAMES)):
            maps = {"rgb": sample["rgb"].transpose(2, 0, 1)[None], "depth": sample["depth"][None, None]}
            ids = session.run(["labels"], maps)[0][0]
            for k in range(10):
                right[k] += ((ids == k) & (sample["label"] == k)).sum()
                found[k] += ((ids == k) & (sample["label"] < 10)).sum()
                true[k] += (sample["label"] == k).sum()
        union = found + true - right
        assert lost[key] == pytest.approx((right[union > 0] / union[union > 0]).mean(), abs=1e-6)
    assert lost["loss"] == pytest.approx(lost["float"] - lost["int8"])
    assert about["int8"]["calibrated"]["frames"] == FRAMES


def test_code_of_the_page(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    rng = np.random.default_rng(0)
    rgb, depth = rng.integers(0, 256, (*SIZE, 3), np.uint8), rng.integers(500, 5000, SIZE, np.uint16)
    cv2.imwrite("a.png", rgb[..., ::-1])
    cv2.imwrite("b.png", depth)
    names: dict = {}
    exec(CODE, names)
    expected = load("work_dirs/rooms").predict(rgb="a.png", depth="b.png", depth_scale=1000)["labels"]
    assert (names["labels"][0] == expected.ids).mean() >= 0.999
    np.testing.assert_allclose(names["confidence"][0], expected.confidence, atol=1e-4)
    capsys.readouterr()
