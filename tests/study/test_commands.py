"""Processes that are started and stopped; small scripts stand for the project's commands."""

import os
import threading
import time

import pytest

import rgbx.study.commands as module
from rgbx.study.commands import Commands, StoppedError

POLITE = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
print("{}", sys.argv[1:], flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("saved", flush=True)
    raise SystemExit(130)
"""
STUBBORN = """
import signal, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
print("{}", flush=True)
time.sleep(60)
"""


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def start(commands, log):
    ended = []

    def run():
        try:
            ended.append(commands("train", ["a b", "--x"], log))
        except StoppedError:
            ended.append("stopped")

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ended


def test_output_and_exit_code(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ENTRY", "import os, sys; print('{}', sys.argv[1:], os.environ['A']); sys.exit(3)")
    log = tmp_path / "log.txt"
    log.write_text("before\n")
    commands = Commands({**os.environ, "A": "of ours"})
    assert commands("test", ["c,d", "x='y z'"], log) == 3
    assert log.read_text() == """before\nevaluate ['c,d', "x='y z'"] of ours\n"""


@pytest.mark.parametrize(("script", "end"), [(POLITE, "saved\n"), (STUBBORN, "train\n")], ids=["polite", "stubborn"])
def test_stop(tmp_path, monkeypatch, script, end):
    """A child is asked to stop as by Ctrl-C, and killed where it does not; nothing is started afterwards."""
    monkeypatch.setattr(module, "ENTRY", script)
    monkeypatch.setattr(module, "PATIENCE", 30.0 if script is POLITE else 0.1)
    log, commands = tmp_path / "log.txt", Commands(os.environ)
    thread, ended = start(commands, log)
    wait_for(lambda: log.is_file() and "train" in log.read_text())
    commands.stop()
    thread.join(timeout=30)
    assert ended == ["stopped"] and log.read_text().endswith(end)
    with pytest.raises(StoppedError):
        commands("test", [], log)


def test_children_hold_the_lock(tmp_path, monkeypatch):
    """So that a run that outlives its study keeps others out of its folder."""
    from rgbx._lock import locked

    monkeypatch.setattr(module, "ENTRY", POLITE)
    log = tmp_path / "log.txt"
    with locked(tmp_path / "work", "another study") as lock:
        commands = Commands(os.environ, lock.fileno())
        thread, _ = start(commands, log)
        wait_for(lambda: log.is_file() and "train" in log.read_text())
    with pytest.raises(ValueError, match="is still at work"), locked(tmp_path / "work", "another study"):
        pass
    commands.stop()
    thread.join(timeout=30)
    with locked(tmp_path / "work", "another study"):
        pass
