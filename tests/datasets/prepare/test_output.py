"""Writing: whole files only, resumed runs equal to undisturbed ones, checksums that sha256sum accepts."""

from __future__ import annotations

import subprocess

import pytest

from rgbx.datasets.prepare import CHECKSUMS, Job, Summary, write_jobs


def make_jobs(count=5, stop_at=None, calls=None):
    """Job k makes a/k and b/k; making job `stop_at` is interrupted."""

    def make(k):
        if calls is not None:
            calls.append(k)
        if k == stop_at:
            raise KeyboardInterrupt
        return {f"a/{k}": b"a%d" % k, f"b/{k}": b"b%d" % k}

    return [Job((f"a/{k}", f"b/{k}"), lambda k=k: make(k)) for k in range(count)]


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check(folder):
    return subprocess.run(["sha256sum", "--strict", "-c", CHECKSUMS], cwd=folder, capture_output=True, text=True)


def test_writes_and_keeps(tmp_path):
    assert write_jobs(tmp_path / "out", make_jobs()) == Summary(10, 0)
    first = tree(tmp_path / "out")
    assert first["a/3"] == b"a3" and set(first) == {CHECKSUMS, *(f"{x}/{k}" for x in "ab" for k in range(5))}
    calls = []
    assert write_jobs(tmp_path / "out", make_jobs(calls=calls)) == Summary(0, 10)
    assert tree(tmp_path / "out") == first and calls == []


def test_resumed_is_as_undisturbed(tmp_path):
    write_jobs(tmp_path / "whole", make_jobs())
    with pytest.raises(KeyboardInterrupt):
        write_jobs(tmp_path / "out", make_jobs(stop_at=3))
    assert len(tree(tmp_path / "out")) == 7  # six files and the journal
    (tmp_path / "out" / "b" / "2").unlink()
    with (tmp_path / "out" / ".checksums.partial").open("a") as journal:
        journal.write("\n0123abc")  # as if killed while writing the line
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "a").iterdir()}
    calls = []
    assert write_jobs(tmp_path / "out", make_jobs(calls=calls)) == Summary(5, 5)
    assert calls == [2, 3, 4]
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_killed_before_the_rename(tmp_path, monkeypatch):
    """The checksum is noted, the file is not there: it is written in the next run."""
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        write_jobs(tmp_path, make_jobs())
    monkeypatch.undo()
    assert set(tree(tmp_path)) == {".checksums.partial"}
    assert write_jobs(tmp_path, make_jobs()) == Summary(10, 0)


def test_checksums_verify(tmp_path):
    write_jobs(tmp_path, make_jobs())
    assert check(tmp_path).returncode == 0
    assert check(tmp_path).stdout.count(": OK") == 10
    (tmp_path / "a" / "1").write_bytes(b"else")
    assert "a/1: FAILED" in check(tmp_path).stdout


def test_a_second_set_adds_to_the_checksums(tmp_path):
    write_jobs(tmp_path, make_jobs(2))
    write_jobs(tmp_path, [Job(("train.txt",), lambda: {"train.txt": b"0\n"})])
    assert check(tmp_path).stdout.count(": OK") == 5


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "4").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"b.4 is in the way: no earlier run wrote it"):
        write_jobs(tmp_path, make_jobs())
    assert tree(tmp_path) == {"b/4": b"mine"}


def test_changed_files_are_left_alone(tmp_path):
    write_jobs(tmp_path, make_jobs())
    (tmp_path / "a" / "1").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"a.1 has changed since it was written; delete it"):
        write_jobs(tmp_path, make_jobs())
    assert (tmp_path / "a" / "1").read_bytes() == b"mine"
    (tmp_path / "a" / "1").unlink()
    assert write_jobs(tmp_path, make_jobs()) == Summary(1, 9)


def test_exception(tmp_path):
    (tmp_path / CHECKSUMS).write_text("my notes\n")
    with pytest.raises(ValueError, match=r"checksums\.sha256:1: expected a checksum.*'my notes'"):
        write_jobs(tmp_path, make_jobs())
    for name, message in (("../a", "leads out of .*out"), ("/tmp/a", "is no plain name"), ("a//b", "is no plain name")):
        with pytest.raises(ValueError, match=message):
            write_jobs(tmp_path / "out", [Job((name,), dict)])
