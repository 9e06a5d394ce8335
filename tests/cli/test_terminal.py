"""What a command prints moves no cursor and ends no line, whatever the names of others hold."""

import sys

import pytest

from rgbx._text import visible
from rgbx.cli.errors import run_command


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc\r", "a\tb\nc\r"),
        ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
        ("\x1b[2Ja", "\\x1b[2Ja"),
        ("\x1b[1;1Ha", "\\x1b[1;1Ha"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("a\udcffb", "a\\udcffb"),
        ("\u202eabc", "\\u202eabc"),
        ("é夜 ×", "é夜 ×"),
    ],
)
def test_only_text_and_colours_reach_a_terminal(text, shown):
    assert visible(text) == shown


def test_all_that_a_command_prints_is_visible(capsys):
    def command(_):
        print("file \x1b[2J", "\udcff")
        sys.stderr.write("told \x1b]0;x\x07\n")
        assert sys.stdout.fileno is not None
        assert not sys.stdout.isatty()
        raise ValueError("no \x1b[1A file")

    before = sys.stdout
    assert run_command(command) == 2
    assert sys.stdout is before
    out, err = capsys.readouterr()
    assert out == "file \\x1b[2J \\udcff\n"
    assert err == "told \\x1b]0;x\\x07\nerror: no \\x1b[1A file\n"
