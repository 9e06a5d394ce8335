"""Processes that are started and stopped; small scripts stand for the project's commands."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from killed import has_ended, wait_for
from processes import FORKS

import rgbx
import rgbx.study.commands as module
from rgbx._lock import locked
from rgbx.study.commands import Commands, StoppedError

POLITE = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    print({name!r}, sys.argv[1:], flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("saved", flush=True)
    raise SystemExit(75)
"""
STUBBORN = """
import signal, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
print({name!r}, flush=True)
time.sleep(60)
"""


def start(commands, log, keep_open=None):
    ended = []

    def run():
        try:
            ended.append(commands("train", ["a b", "--x"], log, keep_open))
        except StoppedError:
            ended.append("stopped")

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ended


def test_output_and_exit_code(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ENTRY", "import os, sys; print({name!r}, sys.argv[1:], os.environ['A']); sys.exit(3)")
    log = tmp_path / "log.txt"
    log.write_text("before\n")
    commands = Commands({**os.environ, "A": "of ours"})
    assert commands("test", ["c,d", "x='y z'"], log) == 3
    assert log.read_text() == """before\ntest ['c,d', "x='y z'"] of ours\n"""


@pytest.mark.parametrize(("script", "end"), [(POLITE, "saved\n"), (STUBBORN, "train\n")], ids=["polite", "stubborn"])
def test_stop(tmp_path, monkeypatch, script, end):
    """A child is asked to stop as by a scheduler, and killed where it does not; nothing is started afterwards."""
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
    """So that a run that outlives its study keeps others away from it."""
    monkeypatch.setattr(module, "ENTRY", POLITE)
    log = tmp_path / "log.txt"
    with locked(tmp_path / "work", "another study") as lock:
        commands = Commands(os.environ)
        thread, _ = start(commands, log, lock.fileno())
        wait_for(lambda: log.is_file() and "train" in log.read_text())
    with pytest.raises(ValueError, match="is still at work"), locked(tmp_path / "work", "another study"):
        pass
    commands.stop()
    thread.join(timeout=30)
    with locked(tmp_path / "work", "another study"):
        pass


WITH_WORKER = """
import multiprocessing, os, time
worker = multiprocessing.Process(target=time.sleep, args=(60,))
worker.start()
print(os.getpid(), worker.pid, flush=True)
time.sleep(60)
"""


def study_of(log):
    """Stands for a study, in whose pool a run goes on."""
    module.ENTRY = WITH_WORKER
    with locked(log.parent, "another study") as lock:
        thread, _ = start(Commands(os.environ), log, lock.fileno())
        thread.join()


def test_children_and_their_workers_end_with_a_killed_study(tmp_path):
    """As by kill -9 or the system's lack of memory: nobody is left to stop them, and the folder is free again."""
    log = tmp_path / "work/log.txt"
    study = FORKS.Process(target=study_of, args=(log,))
    study.start()
    wait_for(lambda: log.is_file() and log.read_text().endswith("\n"))
    with pytest.raises(ValueError, match=rf"still at work \(process {study.pid} on "), locked(log.parent, "a study"):
        pass
    children = [int(number) for number in log.read_text().split()]
    assert len(children) == 2 and all(Path(f"/proc/{number}").exists() for number in children)
    os.kill(study.pid, signal.SIGKILL)
    study.join()
    wait_for(lambda: all(has_ended(number) for number in children))
    with locked(log.parent, "a study"):
        pass


def test_children_import_what_the_study_does(tmp_path, monkeypatch):
    """Also where the current folder, or one of those of modules, has another package of that name."""
    here, early, mine = (tmp_path / name for name in ("here", "early", "mine"))
    for folder in (here, early):
        (folder / "rgbx").mkdir(parents=True)
        (folder / "rgbx/__init__.py").write_text("raise ImportError('of another')\n")
    mine.mkdir()
    (mine / "of_mine.py").touch()
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [str(early), "", *sys.path, str(mine)])
    monkeypatch.setattr(module, "ENTRY", "import rgbx.study, of_mine; print(rgbx.study.__file__, rgbx.__path__)")
    log = tmp_path / "log.txt"
    assert Commands({**os.environ, "PYTHONPATH": str(early)})("train", [], log) == 0, log.read_text()
    folder = Path(rgbx.__file__).parent
    assert log.read_text() == f"{folder / 'study/__init__.py'} ['{folder}']\n"
