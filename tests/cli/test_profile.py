import json
import subprocess
import sys
from pathlib import Path

import pytest

from rgbx.cli.config import load_config
from rgbx.cli.model import config_model
from rgbx.cli.profile import all_subsets, main, profile_table
from rgbx.models.checkpoint import save_atomically, to_plain
from rgbx.profile.measure import Profile

ROOT = Path(__file__).parents[2]
CONFIG = """
from rgbx.models import multimodal_segmentor

model = dict(
    type=multimodal_segmentor, modalities=("rgb", "depth"), num_classes=5, pretrained="absent.pth",
    decoder=dict(width=16))
"""

JUDGED = """
from rgbx.models import multimodal_translator

model = dict(
    type=multimodal_translator, modalities=("rgb", "normal"), target="depth",
    generator=dict(name="unet", width=4, depth=3), discriminator=dict(width=4, layers=2))
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
    assert sum(line.startswith(("both ", "RGB alone ", "depth alone ")) for line in printed) == 12
    assert "without the kernels' own scratch" in printed[-1]


def test_a_checkpoint_is_measured_as_its_config(config, tmp_path, capsys):
    """Also by its work directory, and of a translator, whose discriminator is told apart."""
    options = ["--size", "64x64", "--repeats", "1", "--device", "cpu"]
    judged = tmp_path / "judged.py"
    judged.write_text(JUDGED)
    for source in (config, str(judged)):
        model = config_model(load_config(source))
        folder = tmp_path / Path(source).stem
        save_atomically({"model": to_plain(model.recipe), "state_dict": model.state_dict()}, folder / "epoch_1.pth")
        printed = []
        for path in (source, str(folder), str(folder / "epoch_1.pth")):
            assert main([path, *options]) == 0
            lines = capsys.readouterr().out.splitlines()
            printed.append([lines[1], *(line.split()[:5] for line in lines[4:7])])
        assert printed[0] == printed[1] == printed[2]
        assert ("opponents" in printed[0][0]) == (source == str(judged))
    assert main([str(folder), "--cfg-options", "model.fusion=None"]) == 2
    assert "--cfg-options are of a config" in capsys.readouterr().err


def test_subsets_can_be_chosen(config, capsys):
    assert main([config, "--size", "64x64", "--repeats", "1", "--modalities", "depth", "depth+rgb"]) == 0
    names = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()[4:6]]
    assert names == ["depth alone", "both"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--modalities", "thermal"], "this model knows rgb, depth"),
        (["--cfg-options", "model.backbone=resnet18x"], "is no timm model; did you mean 'resnet18'?"),
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
        "given      batch     dtype  M params  GFLOP  peak MiB  median ms  p95 ms  images/s",
        "---------  -----  --------  --------  -----  --------  ---------  ------  --------",
        "both           2   float32     11.50  45.60       300     200.00  290.00      10.0",
        "RGB alone     64  bfloat16     11.40  22.80         -          -       -         -",
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
