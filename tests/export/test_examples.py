"""The programs of examples/ that run an exported file answer as the model does."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from openvino.utils import get_cmake_path
from small_models import UNET, diverse, small

from rgbx.export.onnx import write_onnx
from rgbx.export.program import Deployed, described, trace

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model that has not learned anything, but says several classes, and its file."""
    file = tmp_path_factory.mktemp("exported") / "rgb+depth.onnx"
    model = diverse(small("classes", backbone=UNET)).eval()
    palette = [[0, 0, 0], [250, 0, 0], [0, 250, 0], [0, 0, 250], [100, 100, 100]]
    model.describe({"classes": list("abcde"), "palette": palette, "stored": {"depth": {}}})
    deployed = Deployed(model, ("rgb", "depth"))
    about = {**described(deployed, {"file": "a.pth", "sha256": "0"}), "opset": 20}
    write_onnx(trace(deployed), file, about)
    return SimpleNamespace(model=model, file=file, palette=np.array(palette))


@pytest.fixture(scope="module")
def frame(exported, tmp_path_factory):
    """A folder with a photo and a depth map in millimetres that has holes, and ids.png: the model's classes."""
    folder, rng = tmp_path_factory.mktemp("frame"), np.random.default_rng(0)
    rgb = cv2.resize(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8), (70, 50))
    depth = cv2.resize(rng.integers(500, 9000, (5, 7), dtype=np.uint16), (70, 50), interpolation=cv2.INTER_NEAREST)
    depth[:9] = 0
    for name, pixels in (("rgb.ppm", rgb), ("depth.pgm", depth), ("rgb.png", rgb), ("depth.png", depth)):
        assert cv2.imwrite(str(folder / name), pixels)
    found = exported.model.predict(rgb=str(folder / "rgb.png"), depth=str(folder / "depth.png"))
    assert cv2.imwrite(str(folder / "ids.png"), found["labels"].ids) and len(found["labels"].areas) > 2
    return folder


def agree(first, second):
    """Two files of class ids are equal but for pixels where two classes are equally likely."""
    ids = [cv2.imread(str(file), cv2.IMREAD_UNCHANGED) for file in (first, second)]
    return ids[0].shape == ids[1].shape and np.mean(ids[0] == ids[1]) > 0.999


def in_python(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["predict_onnx.py", *map(str, words)])
    runpy.run_path(str(EXAMPLES / "predict_onnx.py"), run_name="__main__")


def test_python(exported, frame, tmp_path, monkeypatch, capsys):
    model, maps = exported.file, [f"{name}={frame / name}.png" for name in ("rgb", "depth")]
    in_python(monkeypatch, model, *maps, "--out", tmp_path / "overlay.png", "--ids", tmp_path / "ids.png")
    assert agree(tmp_path / "ids.png", frame / "ids.png")
    ids = cv2.imread(str(tmp_path / "ids.png"), cv2.IMREAD_UNCHANGED)
    printed = {line[0]: line[-1] for line in map(str.split, capsys.readouterr().out.splitlines())}
    assert printed == {name: f"{np.mean(ids == index):.1%}" for index, name in enumerate("abcde")}
    expected = (cv2.imread(str(frame / "rgb.png"))[..., ::-1] + 1.0 * exported.palette[ids]) / 2
    overlay = cv2.imread(str(tmp_path / "overlay.png"))[..., ::-1]
    assert np.abs(overlay - expected).max() < 1
    with pytest.raises(SystemExit, match="takes rgb, depth; found rgb"):
        in_python(monkeypatch, model, maps[0])
    with pytest.raises(SystemExit, match=r"rgb\.png holds uint8 \(50, 70, 3\); this example reads one channel"):
        in_python(monkeypatch, model, maps[0], f"depth={frame / 'rgb.png'}")


def test_cpp(exported, frame, tmp_path):
    """Built as the example's CMake file says, against the libraries of OpenVINO's wheel."""
    for program in ("cmake", "c++"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}, which builds examples/cpp")
    found = ["-DCMAKE_BUILD_TYPE=Debug", f"-DOpenVINO_DIR={get_cmake_path()}"]
    for command in (["-S", EXAMPLES / "cpp", "-B", tmp_path, *found], ["--build", tmp_path]):
        done = subprocess.run(["cmake", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    program, model, maps = tmp_path / "predict", exported.file, (frame / "rgb.ppm", frame / "depth.pgm")
    done = subprocess.run([program, model, *maps, "1000", tmp_path / "ids.pgm"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert agree(tmp_path / "ids.pgm", frame / "ids.png")
    ids = cv2.imread(str(tmp_path / "ids.pgm"), cv2.IMREAD_UNCHANGED)
    shares = {int(word[1].strip(":")): float(word[2]) for word in map(str.split, done.stdout.splitlines())}
    assert shares == pytest.approx({int(k): 100 * np.mean(ids == k) for k in np.unique(ids)}, rel=1e-4)
    done = subprocess.run([program, model, *maps[::-1], "1000", "x"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr == f"error: {maps[1]}: expected a whole binary file of kind P6\n"


@pytest.mark.parametrize("file", ["predict_onnx.py", "cpp/predict.cpp"])
def test_they_are_short(file):
    assert len((EXAMPLES / file).read_text().splitlines()) <= 60
