"""Every command that a page prints has the options that stand there, and every file named exists; Python blocks run."""

import argparse
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from rgbx.cli.arguments import ALIASES, COMMANDS, build_parser
from rgbx.models import multimodal_segmentor

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "data/README.md",
    ROOT / "examples/README.md",
]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
COMMAND = re.compile(r"(?:tools/(\w+)\.py|\brgbx ([a-z-]+))((?:[^\n`#]|(?<=\\)\n)*)")
TABLES = {
    "training": "train",
    "evaluation": "test",
    "studies": "study",
    "doctor": "doctor",
    "weights": "convert",
    "serve": "serve",
    "deploy": "export",
    "scale": "submit",
}


def printed(page):
    """(command, option) of every command line and table of options of a page."""
    text = page.read_text()
    for tool, command, rest in COMMAND.findall(text):
        name = tool.replace("_", "-") or command
        own, _, inner = rest.partition(" -- ")  # of what a job does
        for each, words in ((name, own), (inner.partition(" ")[0], inner)):
            if tool or each in COMMANDS:
                yield from ((each, option) for option in OPTION.findall(words))
    for row in re.findall(r"^\| (`--[^|]*)\|", text, re.MULTILINE):
        yield from ((TABLES[page.stem], option) for option in OPTION.findall(row))


def options_of(name):
    """The options that a command knows, also those of its datasets or formats."""
    parsers, known = [build_parser(name)], set()
    while parsers:
        for action in parsers.pop()._actions:
            known.update(action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
    return known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_exist(page):
    found = list(printed(page))
    assert [(name, option) for name, option in found if option not in options_of(name)] == []
    assert found or page.stem not in TABLES, "the pattern finds none of this page's commands"


def test_commands_have_the_names_of_the_help():
    """On pages and in messages: another name works, but `rgbx --help` does not show it."""
    texts = [*PAGES, *sorted((ROOT / "rgbx").rglob("*.py"))]
    aliases = re.compile(rf"\brgbx ({'|'.join(ALIASES)})\b")
    assert [str(path) for path in texts if aliases.search(path.read_text())] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_of_the_project_exist(page):
    text = page.read_text()
    mine = set(re.findall(r"^```\w+ (\S+)", text, re.MULTILINE))  # what the page itself writes
    named = set(re.findall(r"(?<![\w./-])(?:configs|tools|benchmarks|rgbx|docs)/[\w./-]+\.\w+", text))
    assert sorted(name for name in named - mine if not (ROOT / name).is_file()) == []


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """A folder with a checkpoint where the README's demo has it."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = multimodal_segmentor(modalities=("rgb", "depth"), num_classes=3, backbone="test_resnet").eval()
    Path("work_dirs/demo").mkdir(parents=True)
    torch.save(
        {"state_dict": model.state_dict(), "model": model.recipe, "meta": {"epoch": 1}}, "work_dirs/demo/epoch_1.pth"
    )
    return model


def test_readme_in_python(tmp_path, monkeypatch):
    """The blocks of the README, one after the other, on the samples that it names and on files of the names it has."""
    for name in ("data", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    samples = ROOT / "data/samples"
    cv2.imwrite("a.jpg", cv2.imread(str(samples / "rgb/test_001.png")))
    start, use, build = blocks("README.md")
    names: dict = {}
    exec(start, names)
    overlay = cv2.imread("overlay.png")
    assert overlay.shape == (120, 160, 3) and (overlay[..., ::-1] == names["result"]["labels"].overlay()).all()
    exec(use, names)
    expected = names["model"].predict(rgb="a.jpg", depth=np.full((120, 160), 2.5, np.float32))["labels"]
    assert (cv2.imread("out/labels/a.png", cv2.IMREAD_UNCHANGED) == expected.ids).all()
    assert list(names["alone"].inputs) == ["rgb"] and (names["alone"]["labels"].ids != expected.ids).any()
    exec(build, names)
    assert list(names["model"].tasks) == ["labels", "normal"]


def test_quick_start_in_python(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    (block,) = blocks("docs/index.md")
    names: dict = {}
    exec(block, names)
    assert "depth" in names["both"].inputs and list(names["alone"].inputs) == ["rgb"]
    assert capsys.readouterr().out.count("'floor'") == 2


def test_evaluation_in_python(demo):
    (block,) = blocks("docs/evaluation.md")
    names = {"model": demo, "batch": {"rgb": torch.randint(0, 256, (1, 3, 48, 64), dtype=torch.uint8)}}
    exec(block, names)
    assert names["labels"].dtype == torch.uint8 and names["labels"].shape == (48, 64)
    torch.testing.assert_close(names["probability"].sum(0), torch.ones(48, 64))
    assert torch.equal(names["probability"].argmax(0), names["labels"].long())
