import json

import pytest
from made_result import make_joint_result, make_result

from rgbx.cli.compare import main


@pytest.fixture
def files(tmp_path):
    """Two result files that can be compared, and one that cannot."""
    for name, right in (("a", 0.5), ("b", 0.7)):
        (tmp_path / f"{name}.json").write_text(json.dumps(make_result(right=right)))
    other = make_result()
    other["protocol"]["flip"] = True
    (tmp_path / "c.json").write_text(json.dumps(other))
    return [str(tmp_path / f"{name}.json") for name in "abc"]


def test_table_and_json(files, tmp_path, capsys):
    a, b, _ = files
    assert main([a, b, "--draws", "50", "--json", str(tmp_path / "out/found.json")]) == 0
    found = json.loads((tmp_path / "out/found.json").read_text())
    assert (found["a"], found["b"], found["forced"], found["draws"]) == (a, b, [], 50)
    last = capsys.readouterr().out.splitlines()[-1].split()
    (mean,) = found["heads"]["labels"]["scores"]
    assert last[:2] == ["mean", f"{100 * mean['a']:.1f}"]


def test_refusal_is_one_sentence(files, capsys):
    a, _, c = files
    assert main([a, c]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: these results cannot be compared (protocol.flip: False against True)")
    assert main([a, c, "--force", "--draws", "20"]) == 0
    assert "COMPARED BY FORCE although protocol.flip" in capsys.readouterr().out


def test_heads_can_be_chosen(tmp_path, capsys):
    file = tmp_path / "joint.json"
    file.write_text(json.dumps(make_joint_result()))
    assert main([str(file), str(file), "--heads", "depth", "--draws", "10"]) == 0
    out = capsys.readouterr().out
    assert "depth (rgb+thermal): scores of the ensemble" in out
    assert "labels" not in out
    assert main([str(file), str(file), "--heads", "edges"]) == 2
    assert "no head 'edges' in both" in capsys.readouterr().err


def test_a_file_that_is_not_there(files, capsys):
    assert main([files[0], "nowhere.json"]) == 2
    assert capsys.readouterr().err == "error: result file nowhere.json: no such file\n"
