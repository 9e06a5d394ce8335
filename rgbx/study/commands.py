"""Training and testing of a run as processes of their own, which can be stopped."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import rgbx
from rgbx.study.declaration import as_options
from rgbx.study.runs import Run, last_line, read_state, write_note

GIT_PATIENCE = 10.0  # seconds
ENTRY = "from rgbx.cli.{} import main; raise SystemExit(main())"
MODULES = {"train": "train", "test": "evaluate"}  # of rgbx.cli, by the command's name
PATIENCE = 30.0  # seconds between asking a process to stop, and making it
Call = Callable[[str, Sequence[str], Path], int]


class RunError(Exception):
    """A run that ended without its result; the message is the last thing it said."""


class StoppedError(Exception):
    """A run that was not begun or not finished, as the study is being stopped."""


class Commands:
    """Starts the project's commands and can stop them all.

    Each runs in a session of its own, so that it hears of a Ctrl-C from here, and only once.

    Args:
        environment: of the commands.
        keep_open: a file descriptor that they inherit: while they hold it, the study's folder stays locked.
    """

    def __init__(self, environment: Mapping[str, str], keep_open: int | None = None) -> None:
        self.environment = dict(environment)
        self.keep_open = () if keep_open is None else (keep_open,)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock, self._stopping = threading.Lock(), False

    def __call__(self, name: str, arguments: Sequence[str], log: Path) -> int:
        """Runs `rgbx NAME` with its output appended to a log; returns its exit code.

        Raises:
            StoppedError: `stop` was called.
        """
        with log.open("ab") as file, self._lock:
            if self._stopping:
                raise StoppedError
            process = subprocess.Popen(
                [sys.executable, "-c", ENTRY.format(MODULES[name]), *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self.keep_open,
            )
            self._running.add(process)
        code = process.wait()
        with self._lock:
            self._running.discard(process)
            if self._stopping:
                raise StoppedError
        return code

    def stop(self) -> None:
        """Interrupts what runs, as Ctrl-C would, and waits for it; what does not end within 30 s is killed."""
        with self._lock:
            self._stopping = True
            running = list(self._running)
        try:
            for process in running:
                process.send_signal(signal.SIGINT)  # does nothing where it has ended
            if not _wait(running, PATIENCE):
                _send_to_sessions(running, signal.SIGTERM)
                _wait(running, PATIENCE)
        finally:
            _send_to_sessions(running, signal.SIGKILL)


def _send_to_sessions(processes: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, number)


def _wait(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while any(process.poll() is None for process in processes):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def carry_out(run: Run, call: Call, *, config: str, common: Sequence[str]) -> None:
    """Trains a run, from its last epoch where there is one, and tests it.

    Args:
        run: neither done nor changed.
        call: runs a command by its name.
        config: the study's config.
        common: arguments of both commands, such as --data-root.

    Raises:
        RunError: a command ended with an error, or the result is not that of this config.
        StoppedError: the study is being stopped.
    """
    state, start = read_state(run), time.monotonic()
    commits = tuple(dict.fromkeys([*state.commits, *filter(None, [find_commit()])]))
    note = partial(write_note, run, commits=commits)
    note(seconds=state.seconds)
    options = [*common, "--cfg-options", *as_options(run.overrides)]
    test = [config, str(run.folder), "--work-dir", str(run.folder / "test"), "--json", str(run.results)]
    commands = {
        "train": [config, "--work-dir", str(run.folder), "--resume", *options],
        "test": [*test, "--modalities", *run.subsets, *options],
    }
    try:
        for name, arguments in commands.items():
            _run_command(run, call, name, arguments)
        if read_state(run).result is None:
            raise RunError("the config changed while the run went on, or its test gave no result")
    except RunError as error:
        note(seconds=state.seconds + time.monotonic() - start, failure=str(error))
        raise
    except BaseException:
        note(seconds=state.seconds + time.monotonic() - start)
        raise
    note(seconds=state.seconds + time.monotonic() - start)


def _run_command(run: Run, call: Call, name: str, arguments: Sequence[str]) -> None:
    with run.log.open("a") as file:
        file.write(f"$ rgbx {name} {shlex.join(arguments)}\n")
    start = run.log.stat().st_size
    code = call(name, arguments, run.log)
    if code:
        how = f"was ended by a signal ({signal.strsignal(-code)})" if code < 0 else f"ended with exit code {code}"
        raise RunError(f"{name} {how}: {last_line(run.log, start)}")


def find_commit(package: Path | None = None) -> str | None:
    """Twelve or more digits of the commit, with "+changes" where tracked files differ from it.

    Args:
        package: a folder with an `__init__.py`; rgbx by default.

    Returns:
        None without git, outside a checkout, or for a package that merely lies inside another project's checkout.
    """
    folder = package or Path(rgbx.__file__).parent
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    return _git(folder, "describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*")


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_PATIENCE, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
