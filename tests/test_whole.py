"""Files that are written whole: what stands there after kills, full disks and several writers."""

import errno
import fcntl
import json
import logging
import os
import re
import resource
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from made_result import make_result
from processes import FORKS

from rgbx import _whole
from rgbx._lock import LOCK, locked
from rgbx._whole import folder_beside, place_new, remove_left, writing
from rgbx.cli.errors import run_command
from rgbx.cli.outputs import Process, Progress, write_video
from rgbx.maps import replace_file
from rgbx.maps.files import append_line, encode_png
from rgbx.models.checkpoint import read_checkpoint, save_atomically, write_last
from rgbx.report import write_report
from rgbx.study.commands import Commands
from rgbx.train.console import tell_full_disks_once

MEBIBYTE = 1 << 20


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_for_ever(path, pipe):
    with writing(Path(path)) as file:
        file.write(b"half of it")
        file.flush()
        pipe.send(file.name)
        time.sleep(60)


@pytest.fixture
def writer(tmp_path):
    """A process in the midst of writing epoch_3.pth, and the part that it writes."""
    here, there = FORKS.Pipe()
    process = FORKS.Process(target=write_for_ever, args=(str(tmp_path / "epoch_3.pth"), there))
    process.start()
    there.close()  # so that an end without a word is seen
    yield process, Path(here.recv())
    process.kill()
    process.join()


def test_the_part_of_a_killed_writer_goes_and_that_of_a_living_one_stays(writer, tmp_path):
    process, part = writer
    assert part.parent == tmp_path and part.read_bytes() == b"half of it"
    assert remove_left(tmp_path) == [] and names(tmp_path) == [part.name]
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert names(tmp_path) == [part.name]
    assert remove_left(tmp_path) == [part.name] and names(tmp_path) == []


def test_the_next_writer_of_a_file_removes_what_a_dead_one_left(writer, tmp_path):
    process, part = writer
    replace_file(tmp_path / "epoch_3.pth", b"second")
    assert part.exists()  # its writer lives
    process.kill()
    process.join()
    replace_file(tmp_path / "other.pth", b"third")
    replace_file(tmp_path / "epoch_3.pth", b"many", many=True)
    assert part.exists()
    save_atomically({"epoch": 3}, tmp_path / "epoch_3.pth")
    assert names(tmp_path) == ["epoch_3.pth", "other.pth"]


def test_only_parts_are_removed(tmp_path):
    kept = [
        ".hidden",
        ".epoch_3.pth.part",
        ".notes.12.tmp",
        f"x.{'a' * 32}.part",
        f".x.{'a' * 32}.partly",
        ".e.pth.7.tmp",
    ]
    inner = tmp_path / "inner"
    for path in [tmp_path / name for name in kept] + [inner / f".deep.png.{'b' * 32}.part"]:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / f".link.{'c' * 32}.part").symlink_to(tmp_path / ".hidden")
    (tmp_path / ".old.pth.99.tmp").write_bytes(b"x")
    os.utime(tmp_path / ".old.pth.99.tmp", (time.time() - 4000,) * 2)  # of a version that locked nothing
    assert remove_left(tmp_path) == [".old.pth.99.tmp"]
    assert remove_left(tmp_path, deep=True) == [f".deep.png.{'b' * 32}.part"]
    assert names(tmp_path) == sorted([*kept, "inner", f".link.{'c' * 32}.part"])


def fill_for_ever(path, pipe):
    with folder_beside(path) as folder:
        (folder / "model.onnx").write_bytes(b"half of it")
        pipe.send(folder)
        time.sleep(60)


def test_a_folder_of_a_killed_process_goes_with_all_that_is_in_it(tmp_path):
    here, there = FORKS.Pipe()
    process = FORKS.Process(target=fill_for_ever, args=(tmp_path / "model.onnx", there))
    process.start()
    there.close()  # so that an end without a word is seen
    left = here.recv()
    with folder_beside(tmp_path / "model.onnx") as folder:
        assert left.exists() and folder.parent == left.parent == tmp_path
    assert names(tmp_path) == [left.name]
    process.kill()
    process.join()
    with pytest.raises(KeyError), folder_beside(tmp_path / "model.onnx"):
        raise KeyError
    assert names(tmp_path) == []


def test_one_who_removes_between_making_and_locking_a_part_takes_nothing_from_its_writer(tmp_path, monkeypatch):
    real = fcntl.flock

    def lock(file, how):
        monkeypatch.setattr(fcntl, "flock", real)
        assert remove_left(tmp_path)  # as another process might, just now
        return real(file, how)

    monkeypatch.setattr(_whole.fcntl, "flock", lock)
    replace_file(tmp_path / "a.json", b"{}")
    assert names(tmp_path) == ["a.json"] and (tmp_path / "a.json").read_bytes() == b"{}"


def test_without_locks_files_are_written_and_no_part_is_removed(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(_whole.fcntl, "flock", none)
    (tmp_path / f".a.json.{'a' * 32}.part").touch()
    replace_file(tmp_path / "a.json", b"{}")
    assert (tmp_path / "a.json").read_bytes() == b"{}" and len(names(tmp_path)) == 2


def test_a_file_and_its_name_are_synced_in_this_order(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: done.append(Path(f"/proc/self/fd/{fd}").readlink().name) or fsync(fd))
    monkeypatch.setattr(Path, "replace", lambda path, to: done.append("renamed") or replace(path, to))
    for write in (lambda: replace_file(tmp_path / "a", b"1"), lambda: save_atomically({}, tmp_path / "a")):
        write()
        assert re.fullmatch(r"\.a\.[0-9a-f]{32}\.part", done[0]) and done[1:] == ["renamed", tmp_path.name]
        done.clear()
    write_last(tmp_path, "epoch_1.pth")
    assert done[0].startswith(".last_checkpoint.") and done[1:] == ["renamed", tmp_path.name]
    done.clear()
    replace_file(tmp_path / "a", b"1", many=True)
    assert done == ["renamed"]


def fill(folder, pipe):
    """What a process says whose files may have one mebibyte."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEBIBYTE, MEBIBYTE))
    state = {"state_dict": {"w": torch.zeros(MEBIBYTE)}}  # four times as many bytes
    told = []
    for write in (
        lambda: save_atomically(state, folder / "epoch_3.pth"),
        lambda: replace_file(folder / "a.json", bytes(2 * MEBIBYTE)),
        lambda: replace_file(folder / "many.png", bytes(2 * MEBIBYTE), many=True),
    ):
        try:
            write()
            told.append("written")
        except OSError as error:
            told.append((error.errno, error.strerror, Path(error.filename).name))
    pipe.send(told)


def test_a_disk_that_fills_up_is_told_with_what_is_intact_and_leaves_nothing(tmp_path):
    for name in ("epoch_1.pth", "epoch_2.pth", "best_mIoU_epoch_1.pth"):
        save_atomically({"epoch": name}, tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    here, there = FORKS.Pipe()
    process = FORKS.Process(target=fill, args=(tmp_path, there))
    process.start()
    there.close()  # so that an end without a word is seen
    told = here.recv()
    process.join()
    assert process.exitcode == 0  # torch ends a process where a write fails in its midst
    assert [found[0] for found in told] == [errno.EFBIG] * 3
    assert [found[2] for found in told] == ["epoch_3.pth", "a.json", "many.png"]
    form = r"File too large: {} bytes are to be written, \d+ bytes are free"
    intact = "; intact in its folder: epoch_2.pth and best_mIoU_epoch_1.pth"
    assert re.fullmatch(form.format(4 * MEBIBYTE) + re.escape(intact), told[0][1])
    assert re.fullmatch(form.format(2 * MEBIBYTE), told[1][1])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def film(folder, pipe):
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        pipe.send(str(write_video(folder, "overlay", [str(number) for number in range(4)], 5.0)))
    except OSError as error:
        pipe.send(str(error))


def test_a_video_without_room_is_none(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):
        replace_file(tmp_path / f"overlay/{number}.png", encode_png(rng.integers(0, 255, (96, 128, 3), np.uint8)))
    here, there = FORKS.Pipe()
    process = FORKS.Process(target=film, args=(tmp_path, there))
    process.start()
    there.close()  # so that an end without a word is seen
    told = here.recv()
    process.join()
    assert re.search(r"No space left on device: \d+ bytes are free: '.*/overlay\.mp4'", told)
    assert names(tmp_path) == ["overlay"]


def test_room_is_looked_for_before_a_byte_is_written(tmp_path, monkeypatch):
    save_atomically({"epoch": 2}, tmp_path / "epoch_3.pth")  # of before the validation
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(_whole.shutil, "disk_usage", lambda _: usage._replace(free=3999))
    weights = torch.zeros(1000)
    state = {"state_dict": {"w": weights, "tied": weights[:10]}}
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", None)
        with pytest.raises(
            OSError, match=r"4000 bytes are to be written, 3999 bytes are free; .* folder: epoch_3\.pth"
        ) as told:
            save_atomically(state, tmp_path / "epoch_3.pth")
    assert (told.value.errno, told.value.filename) == (errno.ENOSPC, str(tmp_path / "epoch_3.pth"))
    assert names(tmp_path) == ["epoch_3.pth"] and read_checkpoint(tmp_path / "epoch_3.pth") == {"epoch": 2}


def test_a_log_without_room_is_told_once(capfd):
    logger = logging.Logger("full")
    logger.addHandler(logging.FileHandler("/dev/full"))
    tell_full_disks_once(logger)
    for number in range(3):
        logger.warning("record %s", number)
    logger.warning("wrong %d", "words")
    with suppress(OSError):
        logger.handlers[0].close()
    said = capfd.readouterr().err
    assert said.count("/dev/full: No space left on device; records are missing there") == 1
    assert said.count("Traceback") == 1 and "wrong %d" in said  # a mistake in a record is no full disk


@pytest.mark.parametrize("told", ["by the command", "by nobody"])
def test_a_thread_on_a_full_disk_shows_no_traceback(told, capfd):
    def write():
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"1")

    def command(_):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        if told == "by the command":
            raise OSError(errno.ENOSPC, "No space left on device", "epoch_3.pth")
        return 0

    assert run_command(command) == 2
    said = capfd.readouterr().err
    assert said.count("No space left on device") == 1 and "Traceback" not in said
    assert ("epoch_3.pth" in said) == (told == "by the command")


def test_links_in_the_place_of_files_are_replaced(tmp_path):
    """Nothing outside a folder of results is changed by what is written there."""
    foreign, out = tmp_path / "foreign", tmp_path / "out"
    foreign.write_bytes(b"theirs")
    out.mkdir()
    (tmp_path / "results.json").write_text(json.dumps(make_result(images=2)))
    written = list(write_report(tmp_path / "results.json", tmp_path / "first").parent.iterdir())
    for path in written:
        (out / path.name).symlink_to(foreign)
    write_report(tmp_path / "results.json", out)
    assert len(written) > 4 and all((out / path.name).read_bytes() == path.read_bytes() for path in written)
    (out / "map.png").symlink_to(foreign)
    replace_file(out / "map.png", b"new", many=True)
    assert foreign.read_bytes() == b"theirs"
    assert not any(path.is_symlink() for path in out.iterdir())


@pytest.mark.parametrize(
    ("name", "write"),
    [
        (LOCK, lambda folder: locked(folder, "another").__enter__()),
        ("predictions.jsonl", lambda folder: append_line(folder / "predictions.jsonl", "{}")),
        ("progress/0.jsonl", lambda folder: Progress(folder, Process(0, 1, "a"))),
        ("log.txt", lambda folder: Commands({})("train", [], folder / "log.txt")),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_links_in_the_place_of_files_that_grow_are_refused(name, write, there, tmp_path):
    foreign, link = tmp_path / "foreign", tmp_path / "out" / name
    if there:
        foreign.write_bytes(b"theirs")
    link.parent.mkdir(parents=True)
    link.symlink_to(foreign)
    with pytest.raises(OSError, match=rf"it is a link, which could lead anywhere: remove it: .*{name}"):
        write(tmp_path / "out")
    assert foreign.read_bytes() == b"theirs" if there else not foreign.exists()


def test_of_several_writers_one_is_first(tmp_path):
    """The others leave its file alone, and none leaves a part."""
    file, gate = tmp_path / "deep/a.json", threading.Barrier(8)

    def write(number):
        gate.wait()
        return place_new(file, str(number).encode() * 1000)

    with ThreadPoolExecutor(8) as pool:
        first = list(pool.map(write, range(8)))
    assert sum(first) == 1 and file.read_text() == str(first.index(True)) * 1000
    assert not place_new(file, b"later") and [path.name for path in file.parent.iterdir()] == ["a.json"]
