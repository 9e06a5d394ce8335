"""One command for all: arguments are read and checked before anything heavy is imported."""

import runpy
import subprocess
import sys

import pytest

from rgbx.cli.arguments import ALIASES, COMMANDS, parse, program
from rgbx.cli.main import main, overview

HEAVY = {"torch", "mmengine", "numpy", "cv2", "matplotlib", "timm"}
CONFIG = "configs/rooms/asymfusion_r18_rooms_160x120.py"
MISTAKES = [  # command lines below the root of the project, exit code 2, and what stands in their message
    ("tran", "rgbx has no command 'tran'; did you mean 'train'?"),
    ("render_rooms", "did you mean 'render-rooms'?"),
    ("sing", "rgbx has no command 'sing' (rgbx --help"),
    ("train configs/rooms/asymfusion_r18_rooms_160x12.py", "160x12.py does not exist; did you mean"),
    (f"train {CONFIG} --dataroot x", "unrecognized arguments: --dataroot x; did you mean '--data-root'?"),
    (f"train {CONFIG} --resume last.pth", "checkpoint last.pth: no such file"),
    (f"train {CONFIG} --load-from last.pth", "checkpoint last.pth: no such file"),
    (f"train {CONFIG} --cfg-options model.width", "--cfg-options takes A.B=VALUE, found 'model.width'"),
    (f"train {CONFIG} --data-root data/roms", "data root data/roms does not exist"),
    ("study configs/studies", "study configs/studies: expected a file, found a folder"),
    (f"train {CONFIG} --seed -1", "argument --seed: '-1' is not an integer of 0..2**32-1"),
    (f"test {CONFIG} work_dir/demo", "checkpoint work_dir/demo: no such file or work directory"),
    (f"test {CONFIG} docs", "the folder docs holds no checkpoint"),
    (f"test {CONFIG} docs --protocol cmx", "did you mean 'cmx-ss'?"),
    ("evaluate nowhere.py docs", "config nowhere.py does not exist"),
    ("predict doc rgb=README.md --out o", "checkpoint doc: no such file or work directory; did you mean"),
    ("predict README.md rgb=README.m --out o", "INPUT rgb=README.m: no such file or folder"),
    ("predict README.md rgb=docs --out docs", "docs lies in docs, which is an input"),
    ("predict README.md rgb=docs --out tools", "tools is there already, and not empty: choose another --out"),
    ("predict README.md rgb=docs --ouput o", "are required: --out; --ouput is no option; did you mean '--out'?"),
    ("predict README.md rgb=docs --out o --save overlays", "did you mean 'overlay'?"),
    ("predict README.md rgb=docs --out o --max-gap soon", "'soon' is not a number of seconds, such as 0.02"),
    (
        "translate doc --input rgb=a.png --out b.png",
        "checkpoint doc: no such file or work directory; did you mean",
    ),
    (f"translate {CONFIG} {CONFIG} docs --input rgb=a.png --out b.png", "expected a config and a checkpoint"),
    ("doctor nowhere", "nowhere: neither a config (*.py) nor a folder"),
    (
        "prepare nyudv3 a b",
        "'nyudv3' is none of nyudv2, cityscapes, mfnet, shards, resized, estimate; did you mean 'nyudv2'?",
    ),
    ("prepare mfnet nowhere out", "nowhere: no such folder"),
    ("profile nowhere.py", "config nowhere.py does not exist"),
    ("profile docs --dtypes bfloat", "did you mean 'bfloat16'?"),
    ("study configs/studies/room.py", "does not exist; did you mean 'rooms.py'?"),
    ("compare a.json b.json", "result file a.json: no such file"),
    ("report a.json out", "result file a.json: no such file"),
    ("convert asymfusion a.pth b.pth", "checkpoint a.pth: no such file"),
    ("render-rooms rooms --paints clas", "did you mean 'class'?"),
    ("render-rooms rooms --size 4x4", "the smallest size is 8x8"),
]
PROGRAM = """
import contextlib, io, sys
from rgbx.cli.main import main
sys.argv[0] = "/somewhere/bin/rgbx"
for line in sys.stdin.read().splitlines():
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            code = main(line.split())
        except SystemExit as ended:
            code = ended.code
    print(code, *said.getvalue().split())
print(*sys.modules)
"""


@pytest.fixture(autouse=True)
def called(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/rgbx"])


def test_mistakes_and_help_import_nothing_heavy(pytestconfig):
    helps = ["--help", "--version", *(f"{name} --help" for name in (*COMMANDS, *ALIASES))]
    lines = [line for line, _ in MISTAKES] + helps
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input="\n".join(lines), capture_output=True, text=True, check=True, cwd=pytestconfig.rootpath,
    )  # fmt: skip
    *answers, modules = done.stdout.splitlines()
    assert not HEAVY & set(modules.split())
    for (line, message), answer in zip(MISTAKES, answers, strict=False):
        assert answer.startswith("2 error: ") and message in answer, line
    for line, answer in zip(helps[2:], answers[len(MISTAKES) + 2 :], strict=True):
        assert answer.startswith(f"0 usage: rgbx {line.split()[0]} "), line


def test_the_list_of_commands_fits_a_screen(capsys):
    lines = overview().splitlines()
    assert {line.split()[0] for line in lines if line.startswith("  ")} == set(COMMANDS)
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    assert main([]) == 2
    assert "usage: rgbx COMMAND" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("rgbx ")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("/somewhere/bin/rgbx", ["/somewhere/bin/rgbx"]),
        ("tools/train.py", ["python", "tools/train.py"]),
        ("/lib/rgbx/__main__.py", ["python", "-m", "rgbx"]),
        ("/lib/rgbx/cli/main.py", ["python", "-m", "rgbx"]),
    ],
)
def test_the_words_that_started_the_process(monkeypatch, script, words):
    monkeypatch.setattr(sys, "argv", [script])
    assert program() == words


def test_the_command_line_is_kept(monkeypatch, pytestconfig):
    monkeypatch.chdir(pytestconfig.rootpath)
    arguments = parse("train", [CONFIG, "--seed", "3"], ["python", "-m", "rgbx", "train"])
    assert arguments.command_line == ["python", "-m", "rgbx", "train", CONFIG, "--seed", "3"]
    assert (arguments.seed, arguments.resume, arguments.cfg_options) == (3, None, [])


def test_a_module_is_a_command_too(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x", "train", "nowhere.py"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("rgbx", run_name="__main__", alter_sys=True)
    assert ended.value.code == 2 and "config nowhere.py does not exist" in capsys.readouterr().err
