"""One command for all: it imports only what was asked for."""

import subprocess
import sys

import pytest

from rgbx.cli.main import COMMANDS, main


@pytest.fixture(autouse=True)
def program(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/rgbx"])


def test_help_lists_every_command_and_imports_none():
    code = "import sys; from rgbx.cli.main import main; main(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *lines, modules = done.stdout.splitlines()
    assert {line.split()[0] for line in lines if line.startswith("  ")} == set(COMMANDS)
    assert not {"torch", "mmengine", "numpy", "cv2"} & set(eval(modules))


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_called_by_its_name(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: rgbx {name} ")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("tran", "error: rgbx has no command 'tran'; did you mean 'train'?"),
        ("render_rooms", "did you mean 'render-rooms'?"),
        ("sing", "error: rgbx has no command 'sing' (rgbx --help"),
    ],
)
def test_a_misspelt_command(given, message, capsys):
    assert main([given]) == 2
    assert message in capsys.readouterr().err


def test_without_a_command(capsys):
    assert main([]) == 2
    assert "usage: rgbx COMMAND" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("rgbx ")


def test_arguments_reach_the_command(capsys):
    assert main(["train", "nowhere.py"]) == 2
    assert "nowhere.py does not exist" in capsys.readouterr().err
