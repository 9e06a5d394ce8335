import json
import subprocess
import sys
from pathlib import Path

import pytest

from rgbx.cli.profile import all_subsets, main, profile_table
from rgbx.profile.measure import Profile

ROOT = Path(__file__).parents[2]
CONFIG = """
from rgbx.models import multimodal_segmentor

model = dict(
    type=multimodal_segmentor, modalities=("rgb", "depth"), num_classes=5, pretrained="absent.pth",
    decoder=dict(width=16))
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(CONFIG)
    return str(path)


def test_every_combination_is_measured(config, tmp_path, capsys):
    """Without datasets or pretrained weights."""
    report = tmp_path / "out/profile.json"
    options = ["--size", "64x96", "--batches", "1", "2", "--dtypes", "float32", "bfloat16", "--repeats", "1"]
    assert main([config, *options, "--device", "cpu", "--json", str(report)]) == 0
    found = json.loads(report.read_text())
    assert (found["format"], found["device"], found["size"]) == ("rgbx-profile/1", "cpu", [64, 96])
    rows = [("+".join(row["modalities"]), row["batch"], row["dtype"]) for row in found["rows"]]
    assert rows == [
        (subset, batch, dtype)
        for subset in ("rgb+depth", "rgb", "depth")
        for batch in (1, 2)
        for dtype in ("float32", "bfloat16")
    ]
    assert all(row["median_ms"] > 0 and row["peak_bytes"] > 0 for row in found["rows"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith(found["machine"])
    assert sum(line.startswith(("rgb", "depth")) for line in printed) == 12
    assert "without the kernels' own scratch" in printed[-1]


def test_subsets_can_be_chosen(config, capsys):
    assert main([config, "--size", "64x64", "--repeats", "1", "--modalities", "depth", "depth+rgb"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()[3:5]]
    assert names == ["depth", "rgb+depth"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--modalities", "thermal"], "this model knows ['rgb', 'depth']"),
        (["--cfg-options", "model.backbone=resnet"], "is no timm model"),
        (["--cfg-options", "model.decoder.widht=3"], "did you mean 'width'?"),
    ],
)
def test_mistakes_are_one_sentence(config, capsys, options, message):
    assert main([config, "--size", "64x64", *options]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.parametrize("option", [["--size", "64"], ["--batches", "0"], ["--dtypes", "int8"]])
def test_wrong_arguments_are_refused(config, option, capsys):
    with pytest.raises(SystemExit):
        main([config, *option])
    assert option[1] in capsys.readouterr().err


def test_subsets_come_largest_first():
    assert all_subsets("abc") == [tuple(x) for x in ("abc", "ab", "ac", "bc", "a", "b", "c")]


def test_table():
    rows = [
        Profile(("rgb", "depth"), 2, "float32", 11_500_000, 45_600_000_000, 300 * 2**20, (0.1, 0.2, 0.3)),
        Profile(("rgb",), 64, "bfloat16", 11_400_000, 22_800_000_000, None, ()),
    ]
    assert profile_table(rows).splitlines() == [
        "modalities  batch     dtype  M params  GFLOP  peak MiB  median ms  p95 ms  images/s",
        "----------  -----  --------  --------  -----  --------  ---------  ------  --------",
        "rgb+depth       2   float32     11.50  45.60       300     200.00  290.00      10.0",
        "rgb            64  bfloat16     11.40  22.80         -          -       -         -",
    ]


def test_the_script_does_not_hide_the_standard_module():
    """Beside a script in tools/, `import profile` finds tools/profile.py; cProfile needs the standard library's."""
    code = (
        "import sys; sys.path.insert(0, 'tools'); import cProfile, profile; cProfile.run('1'); print(profile.__file__)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not done.stdout.splitlines()[-1].startswith(str(ROOT))
    done = subprocess.run([sys.executable, "tools/profile.py", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, "--batches" in done.stdout) == (0, True), done.stderr
