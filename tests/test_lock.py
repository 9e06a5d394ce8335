"""Folders that one process at a time works in, tried by processes that live, fork and are killed."""

import errno
import fcntl
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest
from processes import FORKS

from rgbx import _lock
from rgbx._lock import locked

pytest_plugins = ["runner_of_tiny"]
TAKEN = "another training is still at work"


def hold(folder, alone, pipe):
    """Holds the lock, and has a forked child that outlives it, as a worker may."""
    with locked(folder, "another training", alone=alone):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        pipe.send(child)
        time.sleep(60)


@pytest.fixture(params=[True, False], ids=["alone", "with its children"])
def holder(request, tmp_path):
    here, there = FORKS.Pipe()
    process = FORKS.Process(target=hold, args=(tmp_path / "run", request.param, there))
    process.start()
    there.close()  # so that an end without a word is seen
    child = here.recv()
    yield process, child, request.param
    process.kill()
    process.join()
    os.kill(child, signal.SIGKILL)


def test_a_holder_is_named_and_a_killed_one_is_none(holder, tmp_path):
    process, _, alone = holder
    with pytest.raises(ValueError, match=TAKEN) as error, locked(tmp_path / "run", "another training", alone=True):
        pass
    said = (
        rf"{tmp_path}/run: {TAKEN} \(process {process.pid} on {re.escape(socket.gethostname())} since 20[\d: -]+: .+\)"
    )
    assert re.fullmatch(said, str(error.value))
    process.kill()
    process.join()
    if alone:
        with locked(tmp_path / "run", "another training", alone=True):
            assert str(os.getpid()) in (tmp_path / "run/lock").read_text()
        assert not (tmp_path / "run/lock").exists()
    else:
        with pytest.raises(ValueError, match=TAKEN), locked(tmp_path / "run", "another training"):
            pass


def test_a_training_by_the_runner_is_refused_where_another_is_at_work(holder, make_runner):
    runner = make_runner("run")
    before = sorted(Path(runner.work_dir).iterdir())
    with pytest.raises(ValueError, match=TAKEN):
        runner.train()
    assert sorted(Path(runner.work_dir).iterdir()) == before


def test_one_process_holds_a_lock_for_itself_as_often_as_it_wants(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with locked(tmp_path / "a/run", "another", alone=True), locked(Path("a/run"), "another", alone=True):
        assert (tmp_path / "a/run/lock").exists()
    assert list(tmp_path.iterdir()) == []  # folders that were made for it
    with locked(tmp_path / "a/run", "another", alone=True):
        (tmp_path / "a/run/log").touch()
    assert [path.name for path in (tmp_path / "a/run").iterdir()] == ["log"]


def test_a_lock_file_that_its_holder_has_just_removed_is_none(tmp_path, monkeypatch):
    real = fcntl.flock

    def late(file, how):
        monkeypatch.setattr(fcntl, "flock", real)
        (tmp_path / "lock").unlink()  # as the last holder does, between opening and locking
        real(file, how)

    monkeypatch.setattr(_lock.fcntl, "flock", late)
    with locked(tmp_path, "another", alone=True) as file:
        assert os.fstat(file.fileno()).st_ino == (tmp_path / "lock").stat().st_ino


def test_where_there_are_no_locks_the_run_goes_on_and_says_so(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(_lock.fcntl, "flock", none)
    with pytest.warns(UserWarning, match=r"cannot be locked \(Operation not supported\)"), locked(tmp_path, "another"):
        pass


def test_a_folder_on_a_full_disk_can_be_locked(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_lock.os, "write", full)
    with locked(tmp_path, "another"):
        pass
