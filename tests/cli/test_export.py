"""rgbx export refuses in one sentence what it cannot do, before anything is traced."""

import pytest
from small_models import small
from test_arguments import save

from rgbx.cli.main import main
from rgbx.cli.subsets import usual_subsets

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


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=REFUSED)
def test_refused(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save("work_dirs/a/epoch_1.pth", small("classes"))
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


def test_subsets_that_nobody_named():
    assert usual_subsets(("a", "b")) == [("a", "b"), ("a",), ("b",)]
    assert len(usual_subsets(("a", "b", "c"))) == 7
    assert usual_subsets(("a", "b", "c", "d")) == [("a", "b", "c", "d"), ("a",), ("b",), ("c",), ("d",)]
