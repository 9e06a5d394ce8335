"""rgbx export refuses in one sentence what it cannot do, before anything is traced."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import small

from rgbx.cli import export
from rgbx.cli.main import main
from rgbx.cli.subsets import usual_subsets
from rgbx.models.checkpoint import to_plain

SAMPLES = str(Path(__file__).parents[2] / "data/samples")
REFUSED = {
    "unknown map": (["--modalities", "rgb+dept"], "this model knows rgb, depth; did you mean 'depth'?"),
    "int8 without frames": (["--int8"], "--int8 needs --data CONFIG or FOLDER"),
    "int8 of torch": (
        ["--int8", "--format", "torch", "--data", "data"],
        "--int8 is of ONNX files; found --format torch",
    ),
    "frames of nothing": (["--frames", "3"], "--frames is of the frames of --data, which is not given"),
    "no such data": (["--data", "dat"], "dat: neither a config (*.py) nor a folder; did you mean 'data'?"),
    "options of a folder": (["--data", "data", "--cfg-options", "a=1"], "are of a config; --data data is a folder"),
    "taken": (["--modalities", "rgb"], "rgb.onnx is there already: choose another --out, or pass --overwrite"),
    "misspelt": (["--modalitys", "rgb"], "did you mean '--modalities'?"),
    "a file": (["--out", "a.pth"], "--out a.pth is a file; expected a folder to write"),
}


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A folder with a checkpoint."""
    monkeypatch.chdir(tmp_path)
    model = small("classes")
    (tmp_path / "work_dirs/a").mkdir(parents=True)
    torch.save({"state_dict": model.state_dict(), "model": to_plain(model.recipe)}, "work_dirs/a/epoch_1.pth")


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=REFUSED)
def test_refused(words, said, tmp_path, capsys):
    for name in ("a.pth", "out/rgb.onnx"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "data").mkdir()
    try:
        code = main(["export", "work_dirs/a", *(["--out", "out"] if "--out" not in words else []), *words])
    except SystemExit as end:
        code = end.code
    told = capsys.readouterr().err
    assert code == 2 and said in told and told.count("\n") == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["rgb.onnx"]


@pytest.fixture
def given(trained, monkeypatch):
    """The names of what a file that answers 0 was given, in place of one that takes seconds to be traced."""
    found = []

    def run(maps):
        found.append(set(maps))
        size = next(iter(maps.values())).shape
        zeros = np.zeros((size[0], *size[2:]), np.float32)
        return {"labels": zeros.astype(np.uint8), "labels_confidence": zeros}

    monkeypatch.setattr(export, "trace", lambda deployed: None)
    monkeypatch.setattr(export, "write_onnx", lambda program, file, about: file.write_bytes(b"new"))
    monkeypatch.setattr(export, "restate", lambda file, about: None)
    monkeypatch.setattr(export, "run_onnx", lambda file, about: run)
    return found


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize("interrupted", [False, True])
def test_a_file_that_is_wrong_or_not_ready_replaces_none(interrupted, tmp_path, monkeypatch, capsys):
    old = {name: tmp_path / "out" / name for name in ("rgb.json", "rgb.onnx")}
    for file in old.values():
        file.parent.mkdir(exist_ok=True)
        file.write_text("old")

    def interrupt(file, about):
        raise KeyboardInterrupt

    if interrupted:
        monkeypatch.setattr(export, "run_onnx", interrupt)
    code = main(["export", "work_dirs/a", "--modalities", "rgb", "--out", "out", "--overwrite"])
    told = capsys.readouterr().err
    assert (
        (code, told) == (130, "Interrupted.\n")
        if interrupted
        else (code, "is not kept: confidence" in told) == (2, True)
    )
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == dict.fromkeys(old, "old")


def test_each_subset_is_given_its_maps_of_the_data(given, monkeypatch):
    monkeypatch.setattr(export.Parity, "failures", lambda self: [])
    words = ["--modalities", "depth", "rgb", "--data", SAMPLES, "--frames", "1"]
    assert main(["export", "work_dirs/a", *words, "--out", "new"]) == 0
    assert given == [{"depth"}, {"rgb"}]
    assert {path.name for path in Path("new").iterdir()} == {
        f"{n}.{s}" for n in ("rgb", "depth") for s in ("onnx", "json")
    }


def test_subsets_that_nobody_named():
    assert usual_subsets(("a", "b")) == [("a", "b"), ("a",), ("b",)]
    assert len(usual_subsets(("a", "b", "c"))) == 7
    assert usual_subsets(("a", "b", "c", "d")) == [("a", "b", "c", "d"), ("a",), ("b",), ("c",), ("d",)]
