"""The commands of examples/README.md, which run an exported file: they answer as the model does."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
IN_PYTHON, CONFIGURE, BUILD, IN_CPP = re.findall(r"^    (\S.*)$", (EXAMPLES / "README.md").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def place(exported, tmp_path_factory):
    """A folder with an exported file, a photo and a depth map in millimetres with holes, and the model's classes."""
    folder, rng = tmp_path_factory.mktemp("place"), np.random.default_rng(0)
    for name, target in (("examples", EXAMPLES), ("exported", exported.files["onnx"].parent)):
        (folder / name).symlink_to(target)
    rgb = cv2.resize(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8), (70, 50))
    depth = cv2.resize(rng.integers(500, 9000, (5, 7), dtype=np.uint16), (70, 50), interpolation=cv2.INTER_NEAREST)
    depth[:9] = 0
    for name, pixels in (("photo.ppm", rgb), ("depth.pgm", depth), ("photo.png", rgb), ("depth.png", depth)):
        assert cv2.imwrite(str(folder / name), pixels)
    found = exported.model.predict(rgb=str(folder / "photo.png"), depth=str(folder / "depth.png"))
    assert cv2.imwrite(str(folder / "expected.png"), found["labels"].ids)
    assert sum(area > 0.02 for area in found["labels"].areas.values()) > 1
    return folder


def pixels_of(file):
    return cv2.imread(str(file), cv2.IMREAD_UNCHANGED)


def agree(ids, expected):
    """Class ids are equal but for pixels where two classes are equally likely."""
    return ids.shape == expected.shape and np.mean(ids == expected) > 0.999


def in_python(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", [str(word) for word in words])
    runpy.run_path(words[0], run_name="__main__")


def test_python(exported, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    python, *words = shlex.split(IN_PYTHON)
    in_python(monkeypatch, *words)
    ids = pixels_of("ids.png")
    assert python == "python" and agree(ids, pixels_of("expected.png"))
    printed = {line[0]: line[-1] for line in map(str.split, capsys.readouterr().out.splitlines())}
    assert printed == {name: f"{np.mean(ids == index):.1%}" for index, name in enumerate("abcde")}
    palette = np.array(exported.about["outputs"]["labels"]["palette"])
    expected = (pixels_of("photo.png")[..., ::-1] + 1.0 * palette[ids]) / 2
    assert np.abs(pixels_of("overlay.png")[..., ::-1] - expected).max() < 1
    with pytest.raises(SystemExit, match="takes rgb, depth; found rgb"):
        in_python(monkeypatch, *words[:2], "rgb=photo.png")
    with pytest.raises(SystemExit, match=r"photo\.png holds uint8 \(50, 70, 3\); this example reads one channel"):
        in_python(monkeypatch, *words[:2], "rgb=photo.png", "depth=photo.png")
    with pytest.raises(SystemExit, match=r"expected\.png holds uint8; depth files of the training had 16 bits"):
        in_python(monkeypatch, *words[:2], "rgb=photo.png", "depth=expected.png")
    cv2.imwrite("small.png", np.zeros((5, 7, 3), np.uint8))
    with pytest.raises(SystemExit, match="the maps of a frame have one size"):
        in_python(monkeypatch, *words[:2], "rgb=small.png", "depth=depth.png")


def test_cpp(place):
    for program in ("cmake", "c++"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}, which builds examples/cpp")

    def run(command):
        command = command.replace("$(python", f"$({shlex.quote(sys.executable)}")
        return subprocess.run(command, shell=True, cwd=place, capture_output=True, text=True)

    for command in (f"{CONFIGURE} -DCMAKE_BUILD_TYPE=Debug", BUILD, IN_CPP):
        done = run(command)
        assert done.returncode == 0, done.stdout + done.stderr
    ids = pixels_of(place / "labels.pgm")
    assert agree(ids, pixels_of(place / "expected.png"))
    shares = {int(word[1].strip(":")): float(word[2]) for word in map(str.split, done.stdout.splitlines())}
    assert shares == pytest.approx({int(k): 100 * np.mean(ids == k) for k in np.unique(ids)}, rel=1e-4)
    done = run(IN_CPP.replace("photo.ppm", "depth.pgm"))
    assert done.returncode == 2 and done.stderr == "error: depth.pgm: expected a whole binary file of kind P6\n"


@pytest.mark.parametrize("file", ["predict_onnx.py", "cpp/predict.cpp"])
def test_they_are_short(file):
    assert len((EXAMPLES / file).read_text().splitlines()) <= 60
