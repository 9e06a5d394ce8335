"""Text and paths that users write: read as what they are, inside their folder, or refused with file and line."""

from __future__ import annotations

import os

import pytest

from rgbx._files import inside, read_json, read_lines, read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_unicode_with_any_mark_and_any_line_ending(tmp_path, encoding, ending):
    path = tmp_path / "train.txt"
    path.write_bytes(ending.join(["café/1", "夜\u3000/2", ""]).encode(encoding))
    assert read_text(path) == "café/1\n夜\u3000/2\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("a\ncafé\n".encode("cp1252"), r"train\.txt:2: not UTF-8, found the byte 0xe9; .*cp1252\? Save it as UTF-8"),
        ("a\nb\n".encode("utf-16-le"), r"train\.txt:1: a NUL character; is this UTF-16 without a byte-order mark"),
        (b"\xff\xfea", r"train\.txt:1: not UTF-16, found"),
        (b"a\nb\n\xe5\xa4", r"train\.txt:3: not UTF-8"),
        (b"x" * 100, r"train\.txt: the file has 100 bytes; at most 50"),
    ],
)
def test_what_is_no_text(tmp_path, data, message):
    path = tmp_path / "train.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_text(path, limit=50)


def test_only_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name, kind in (("pipe", "a named pipe"), ("link", "a named pipe"), (".", "a folder")):
        with pytest.raises(ValueError, match=f"expected a file, found {kind}"):
            read_text(tmp_path / name)
    with pytest.raises(ValueError, match="/dev/zero: expected a file, found a device"):
        read_text("/dev/zero")
    with pytest.raises(FileNotFoundError, match=r"none: no such file"):
        read_text(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a":\n 1,}', r"a\.json:2: not valid JSON"),
        ("[" * 200_000, r"a\.json: not valid JSON: nested too deeply"),
        ("[" + "9" * 5000 + "]", r"a\.json: not valid JSON: Exceeds the limit"),
    ],
)
def test_what_is_no_json(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": [1]}')
    assert read_json(tmp_path / "a.json") == {"a": [1]}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("rgb/0.png", "rgb/0.png"),
        (" rgb/0.png ", "rgb/0.png"),
        ("/rgb/0.png", "rgb/0.png"),
        ("rgb\\0.png", "rgb/0.png"),
        ("\\rgb\\0.png", "rgb/0.png"),
        ("./rgb//./0.png", "rgb/0.png"),
        ("rgb/../depth/0.png", "depth/0.png"),
        ("a b/夜.png", "a b/夜.png"),
        (".", "."),
    ],
)
def test_paths_stay_inside(tmp_path, text, path):
    assert inside(tmp_path, text, "train.txt:1") == path
    assert (tmp_path / path).resolve().is_relative_to(tmp_path.resolve())


def test_the_roots_own_path_may_stand_before(tmp_path):
    assert inside(tmp_path, f"{tmp_path}/rgb/0.png", "here") == "rgb/0.png"


@pytest.mark.parametrize(
    "text", ["../0.png", "a/../../0.png", "..\\0.png", "/../etc/passwd", "..", "C:\\rgb\\0.png", "c:/0.png",
             "\\\\server\\share\\0.png", "a\0b", "a\nb", "a\ud800", "", "  "],
)  # fmt: skip
def test_paths_that_lead_elsewhere(tmp_path, text):
    with pytest.raises(ValueError, match=r"^train\.txt:7: "):
        inside(tmp_path, text, "train.txt:7")


def test_lines_that_are_torn_are_left_out(tmp_path):
    path = tmp_path / "notes.jsonl"
    data = '{"a": "é\u2028"}\n{"b": "é'.encode()[:-1] + b'\n{"c": 1}\n[1]\n\n' + b"[" * 200_000 + b'\n{"d": 2}\n{"e'
    path.write_bytes(data)
    found = list(read_lines(path))
    assert [record for record, _ in found] == [{"a": "é\u2028"}, {"c": 1}, {"d": 2}]
    assert [data[at:].split(b"\n")[0] for _, at in found] == ['{"a": "é\u2028"}'.encode(), b'{"c": 1}', b'{"d": 2}']
