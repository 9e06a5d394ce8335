"""Writing: whole files only, resumed runs equal to undisturbed ones, checksums that sha256sum accepts, no mixtures."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rgbx.datasets.prepare import CHECKSUMS, RECORD, Content, Job, Preparation, Summary, notes, write_preparation
from rgbx.maps.files import encode_png


def prepared(jobs, source="sources", dataset="letters", **options):
    return Preparation(dataset, Path(source), jobs, options)


def make_jobs(count=5, stop_at=None, calls=None):
    """Job k makes a/k and b/k, of which k pixels of the latter are saturated; making job `stop_at` is interrupted."""

    def make(k):
        if calls is not None:
            calls.append(k)
        if k == stop_at:
            raise KeyboardInterrupt
        return {f"a/{k}": Content(b"a%d" % k), f"b/{k}": Content(b"b%d" % k, k)}

    return [Job((f"a/{k}", f"b/{k}"), lambda k=k: make(k)) for k in range(count)]


def write_jobs(folder, jobs, *from_where, **options):
    return write_preparation(folder, prepared(jobs, *from_where, **options))


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check(folder):
    return subprocess.run(["sha256sum", "--strict", "-c", CHECKSUMS], cwd=folder, capture_output=True, text=True)


def test_writes_and_keeps(tmp_path):
    assert write_jobs(tmp_path / "out", make_jobs()) == Summary(10, 0, 10)
    first = tree(tmp_path / "out")
    assert first["a/3"] == b"a3" and set(first) == {CHECKSUMS, RECORD, *(f"{x}/{k}" for x in "ab" for k in range(5))}
    calls = []
    assert write_jobs(tmp_path / "out", make_jobs(calls=calls)) == Summary(0, 10, 10)
    assert tree(tmp_path / "out") == first and calls == []


def test_resumed_is_as_undisturbed(tmp_path):
    write_jobs(tmp_path / "whole", make_jobs())
    with pytest.raises(KeyboardInterrupt):
        write_jobs(tmp_path / "out", make_jobs(stop_at=3))
    assert len(tree(tmp_path / "out")) == 8  # six files, the journal and its lock
    (tmp_path / "out" / "b" / "2").unlink()
    with (tmp_path / "out" / ".preparing" / "journal").open("a") as journal:
        journal.write('{"name": "a/3", "sha2')  # as if killed while writing the line
    for name in ("b/.2.", f".{CHECKSUMS}."):
        (tmp_path / "out" / f"{name}{'0' * 32}.part").touch()  # and while writing others
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "a").glob("[0-9]")}
    calls = []
    assert write_jobs(tmp_path / "out", make_jobs(calls=calls)) == Summary(5, 5, 10)
    assert calls == [2, 3, 4]
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_stopped_before_the_rename(tmp_path, monkeypatch):
    """What the file is has been noted, the file is not there: it is written in the next run."""

    def replace(part, target, real=Path.replace):
        if target.parent.name == "b":
            raise OSError(28, "no space")
        return real(part, target)

    monkeypatch.setattr("pathlib.Path.replace", replace)
    with pytest.raises(OSError, match="no space"):
        write_jobs(tmp_path, make_jobs())
    monkeypatch.undo()
    assert set(tree(tmp_path)) == {"a/0", ".preparing/lock", ".preparing/journal"}
    assert '"b/0"' in (tmp_path / ".preparing/journal").read_text()
    assert write_jobs(tmp_path, make_jobs()) == Summary(9, 1, 10)


def test_checksums_verify(tmp_path):
    write_jobs(tmp_path, make_jobs())
    assert check(tmp_path).returncode == 0
    assert check(tmp_path).stdout.count(": OK") == 10
    (tmp_path / "a" / "1").write_bytes(b"else")
    assert "a/1: FAILED" in check(tmp_path).stdout


def test_a_second_set_adds_to_the_checksums(tmp_path):
    write_jobs(tmp_path, make_jobs(2))
    write_jobs(tmp_path, [Job(("train.txt",), lambda: {"train.txt": Content(b"0\n")})])
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
    assert write_jobs(tmp_path, make_jobs()) == Summary(1, 9, 10)


@pytest.fixture
def sources(tmp_path):
    """Two source files with their names, and what makes them plain files."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / name).write_text(name)
    return folder


def copies(folder, names=("one", "two"), dataset="letters", **options):
    """Every source in capitals; of each the last two letters are too large."""

    def make(name):
        return {f"{name}.txt": Content((folder / name).read_text().upper().encode(), 2)}

    jobs = [Job((f"{name}.txt",), lambda name=name: make(name), (folder / name,)) for name in names]
    return Preparation(dataset, folder, jobs, options)


def test_other_sources_are_not_mixed(sources, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    shutil.copytree(sources, other)
    assert write_preparation(out, copies(sources)) == Summary(2, 0, 4)
    whole = tree(out)
    assert write_preparation(out, copies(other)) == Summary(0, 2, 4)  # a copy is the same
    assert json.loads((out / RECORD).read_text())["origin"] == f"letters in {other}"
    (out / "one.txt").unlink()
    (other / "two").write_text("Two")  # which gives the same file, and is another source all the same
    before = tree(out)
    for preparation, now in (
        (copies(other), f"letters in {other}"),
        (copies(sources, dataset="words"), f"words in {sources}"),
        (copies(sources, depth_scale=256.0), f"letters in {sources}"),
    ):
        message = rf"out was prepared from letters in {other}; two.txt there is not what {now} gives now \(.*two\)"
        with pytest.raises(FileExistsError, match=message):
            write_preparation(out, preparation)
        assert tree(out) == before
    assert write_preparation(out, copies(sources)) == Summary(1, 1, 4)
    assert tree(out) == whole


def test_disjoint_sources_must_be_of_one_place(sources, tmp_path):
    """As two splits, of which one is prepared later."""
    other = tmp_path / "other"
    shutil.copytree(sources, other)
    write_preparation(tmp_path / "out", copies(sources, ["one"]))
    with pytest.raises(FileExistsError, match=rf"from letters in {sources}, and has no file in common with .*{other}"):
        write_preparation(tmp_path / "out", copies(other, ["two"]))
    assert write_preparation(tmp_path / "out", copies(sources, ["two"])) == Summary(1, 0, 4)
    assert write_preparation(tmp_path / "out", copies(other)) == Summary(0, 2, 4)


def test_folders_of_former_versions_are_compared(sources, tmp_path):
    """They noted no sources; a file of the same pixels, packed by another encoder, is the same."""
    out = tmp_path / "out"
    image = np.random.default_rng(0).integers(0, 9, (20, 30), np.uint8)
    job = Job(("image.png",), lambda: {"image.png": Content(encode_png(image), 3)}, (sources / "one",))
    preparation = Preparation("letters", sources, [*copies(sources).jobs, job])
    write_preparation(out, preparation)
    Image.fromarray(image).save(out / "image.png", compress_level=0)
    files = tree(out)
    del files[RECORD], files[CHECKSUMS]
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    for done, journal in ((lines, []), (lines[:1], lines[1:])):
        (out / RECORD).unlink()
        (out / CHECKSUMS).write_text("".join(done))
        (out / ".checksums.partial").write_text("\n".join(["", *journal, "0123abc"]))
        assert write_preparation(out, preparation) == Summary(0, 3, 7, 3)
        assert tree(out).keys() == {*files, RECORD, CHECKSUMS} and check(out).returncode == 0
        assert write_preparation(out, preparation) == Summary(0, 3, 7, 0)
    (out / RECORD).unlink()
    (sources / "two").write_text("three")
    with pytest.raises(FileExistsError, match=r"files of which no note was made; two.txt there is not what letters in"):
        write_preparation(out, preparation)


def test_large_sources_are_told_apart_by_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(notes, "PIECE", 16)
    path, copy = tmp_path / "a", tmp_path / "b"
    data = bytearray(np.random.default_rng(0).bytes(16 * 64 * 3 + 5))
    found = set()
    for place in (None, 0, 20 * (len(data) - 16) // 63, -1):
        changed = bytearray(data)
        if place is not None:
            changed[place] ^= 1
        for file in (path, copy):
            file.write_bytes(changed)
        assert notes.identity(path) == notes.identity(copy)
        found.add(notes.identity(path))
    path.write_bytes(data + b"0")
    assert len(found | {notes.identity(path)}) == 5
    path.write_bytes(b"small")
    assert notes.identity(path) == hashlib.sha256(b"small").hexdigest()


def test_two_at_once_are_refused(tmp_path):
    inside = []

    def make():
        with pytest.raises(ValueError, match=rf"another preparation is still at work \(process {os.getpid()} on "):
            write_jobs(tmp_path, make_jobs())
        inside.append(tree(tmp_path))
        return {"one": Content(b"")}

    write_jobs(tmp_path, [Job(("one",), make)])
    assert len(inside) == 1 and set(tree(tmp_path)) == {"one", CHECKSUMS, RECORD}


def test_what_is_noted_is_on_the_disk_before_the_file(tmp_path, monkeypatch):
    """The order of what reaches the disk: the note of a frame's files, then the files."""
    order = []

    def fsync(number, real=os.fsync):
        order.append(Path(f"/proc/self/fd/{number}").readlink().name)
        return real(number)

    def replace(part, target, real=Path.replace):
        order.append(str(target.relative_to(tmp_path)))
        return real(part, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr("pathlib.Path.replace", replace)
    write_jobs(tmp_path, make_jobs(2))
    known = [name for name in order if name in ("journal", "a/0", "b/0", "a/1", "b/1")]
    assert known[-6:] == ["journal", "a/0", "b/0", "journal", "a/1", "b/1"]


def test_exception(tmp_path):
    (tmp_path / CHECKSUMS).write_text("my notes\n")
    with pytest.raises(ValueError, match=r"checksums\.sha256:1: expected a checksum.*'my notes'"):
        write_jobs(tmp_path, make_jobs())
    (tmp_path / CHECKSUMS).unlink()
    good = {"format": "rgbx-prepared/1", "made_of": {}, "saturated": {}}
    for wrong, message in (
        ("{", "not valid JSON"),
        ('{"format": "x"}', "expected an object with the format 'rgbx-prepared/1'"),
        (json.dumps({**good, "made_of": {"a": 3}}), "'made_of' is {'a': 3}, expected an object of str"),
        (json.dumps({**good, "saturated": [1]}), r"'saturated' is \[1\], expected an object of int"),
    ):
        (tmp_path / RECORD).write_text(wrong)
        with pytest.raises(ValueError, match=rf"prepared\.json.*{message}"):
            write_jobs(tmp_path, make_jobs())
    for name, message in (("../a", "leads out of .*out"), ("/tmp/a", "is no plain name"), ("a//b", "is no plain name")):
        with pytest.raises(ValueError, match=message):
            write_jobs(tmp_path / "out", [Job((name,), dict)])
