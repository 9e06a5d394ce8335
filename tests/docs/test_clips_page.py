"""docs/clips.md does what it says: its files are written, its commands and code are run, one after the other."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from rgbx.cli.config import load_config
from rgbx.datasets.sample import build_from
from rgbx.transforms import collate

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "clips.md").read_text()
FENCED = re.compile(r"^```(\w+)(?: ([^\n]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page(tmp_path, monkeypatch, run_tools, capsys):
    monkeypatch.chdir(tmp_path)
    names, kinds = {}, []
    shutil.copytree(ROOT / "configs" / "_base_", "configs/_base_")
    for kind, file, text in FENCED.findall(PAGE):
        kinds.append(kind)
        path, _, more = file.partition(" ")
        if path:
            Path(path).write_text(Path(path).read_text() + text if more else text)
        elif kind == "bash":
            run_tools(text, code=1)  # a warning
            said = " ".join(capsys.readouterr().out.split())
            form = r"depth lags by (\d+) ms behind rgb \((\d+) to (\d+) ms; a frame of depth takes 67 ms\)"
            late = re.search(form, said)
            assert abs(int(late[1]) - 150) <= 15 and int(late[2]) <= 150 <= int(late[3])
        elif kind == "python":
            exec(text.replace('"resnet18"', '"test_resnet"'), names)
    assert kinds == ["python", "toml", "bash", "text", "python", "toml", "python", "python", "python", "python"]
    config = load_config("configs/clips.py", options=["model.backbone=test_resnet"])
    train, val = (build_from(config[f"{name}_dataloader"].dataset) for name in ("train", "val"))
    assert len(train) + len(val) <= len(names["clips"]) and len(val) == 1
    model = build_from(config.model)
    batch = model.data_preprocessor(collate([train[0], train[1]]), training=True)
    assert batch["inputs"]["depth"].shape == (2, 5, 1, 48, 64) and "loss_fusion" in model(**batch, mode="loss")
    assert train.metainfo["times"] == {"max_gap": 0.05, "delays": {"depth": 0.15}}
    printed = capsys.readouterr().out
    assert re.search(r"^0\.1\d s, from 0\.1\d+ to 0\.1\d+ decided$", printed, re.M)
    assert "(1, 48, 64, 3) (5, 48, 64)" in printed and "['depth', 'depth_valid']" in printed
    assert "(7, 60, 80)" in printed and "loss" in printed
    assert names["dataset"].stamps and len(names["clips"]) > 3
    apart = names["sample"]["depth_time"] - names["sample"]["time"]
    assert abs(apart[2]) <= 0.5 / 15 + 1e-6


def test_the_bars_are_those_of_the_benchmark():
    """Every figure of the page's table stands in the result that the benchmark wrote."""
    result = (Path(__file__).parents[2] / "benchmarks" / "results" / "delay.md").read_text()
    rows = [line for line in PAGE.splitlines() if line.startswith(("| rooms", "| nyu"))]
    assert rows and all(row in result for row in rows)


def test_the_words_about_the_bars_are_those_of_the_benchmark():
    """Decided runs, and the undecided that were right all the same, summed over the rows of the result."""
    result = (Path(__file__).parents[2] / "benchmarks" / "results" / "delay.md").read_text()
    rows = [line.split("|") for line in result.splitlines() if line.startswith(("| rooms,", "| nyu,"))]
    decided, close = (
        [sum(column) for column in zip(*(map(int, row[k].split(" of ")) for row in rows), strict=True)] for k in (7, 9)
    )
    errors = [float(error) for row in rows for error in row[5].split("/")]
    (far,) = [error for error in errors if error > 0.5]
    words = " ".join(PAGE.split())
    assert f"of {decided[1]} runs {decided[0]} were decided, and {decided[0] - 1} of these lie within half" in words
    assert f"is off by {far:.2f} of a frame of 33 ms, which is {far / 30 * 1000:.0f} ms" in words
    assert f"{close[1]} stay undecided; the best guess of {close[0]} of them lies within half a frame" in words
