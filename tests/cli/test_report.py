import json

from made_result import make_result

from rgbx.cli.report import main


def test_report_of_a_file(tmp_path, capsys):
    (tmp_path / "some.json").write_text(json.dumps(make_result()))
    assert main([str(tmp_path / "some.json"), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out/report.html'}\n"
    assert {"report.html", "results.json", "headline.csv"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_mistakes_are_one_sentence(tmp_path, capsys):
    (tmp_path / "some.json").write_text(json.dumps({"format": "other"}))
    assert main([str(tmp_path / "some.json"), str(tmp_path / "out")]) == 2
    assert "format: expected 'rgbx-result/1', found 'other'" in capsys.readouterr().err
