"""Training and testing of a run as processes of their own, which can be stopped."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import rgbx
from rgbx._files import open_own
from rgbx.study.declaration import as_options
from rgbx.study.runs import DAMAGED, Run, last_line, read_state, write_note

GIT_PATIENCE = 10.0  # seconds
SAME_CODE = """
import sys
from importlib import util
sys.path[:] = {path!r}
spec = util.spec_from_file_location("rgbx", {package!r})
sys.modules["rgbx"] = util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["rgbx"])
from rgbx.study.child import end_with
end_with({pipe})
"""
ENTRY = "from rgbx.cli.main import run; raise SystemExit(run({name!r}, sys.argv[1:]))"
BEAT = 30.0  # seconds between two notes of the time that a run has taken
PATIENCE = 30.0  # seconds between asking a process to stop, and making it
NO_RESULT = "the config changed while the run went on, or its test gave no result"
ASKED_TO_END = (os.EX_TEMPFAIL, -signal.SIGTERM)  # exit codes of a training that has saved its step, and of the others
Call = Callable[[str, Sequence[str], Path], int]


class RunError(Exception):
    """A run that ended without its result; the message is the last thing it said."""


class PutOffError(RunError):
    """A command that was asked to end by another than its study, such as a scheduler, and has saved its state."""


class StoppedError(Exception):
    """A run that was not begun or not finished, as the study is being stopped."""


class Commands:
    """Starts the project's commands and can stop them all.

    Each runs in a session of its own, so that it hears of a Ctrl-C from here, and only once, and ends when this process
    does, however that ends. It imports this very package, and looks for all others where this process does.

    Args:
        environment: of the commands.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock, self._stopping = threading.Lock(), False

    def __call__(
        self, name: str, arguments: Sequence[str], log: Path | None = None, keep_open: int | None = None
    ) -> int:
        """Runs `rgbx NAME` and returns its exit code.

        Args:
            name: of the command.
            arguments: of the same.
            log: to which its output is appended; None leaves it where this process's goes.
            keep_open: a file descriptor that it inherits, such as a lock's, which stays held as long as it lives.

        Raises:
            StoppedError: `stop` was called.
        """
        ends = os.pipe()
        with os.fdopen(ends[1], "wb"):  # is held until the run ends, or this process
            output = contextlib.nullcontext() if log is None else open_own(log, "ab")
            with os.fdopen(ends[0], "rb") as watched, output as file, self._lock:
                if self._stopping:
                    raise StoppedError
                process = subprocess.Popen(
                    [sys.executable, "-P", "-c", _entry(name, watched.fileno()), *arguments],
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(watched.fileno(), *(() if keep_open is None else (keep_open,))),
                )
                self._running.add(process)
            code = process.wait()
        with self._lock:
            self._running.discard(process)
            if self._stopping:
                raise StoppedError
        return code

    def stop(self, patience: float = PATIENCE) -> None:
        """Asks what runs to end, as a scheduler would: a training saves its next step first.

        Args:
            patience: seconds after which what has not ended is interrupted, with its workers, and after as many again
                killed.
        """
        with self._lock:
            self._stopping = True
            running = list(self._running)
        try:
            for process in running:
                process.send_signal(signal.SIGTERM)  # does nothing where it has ended
            if not _wait(running, patience):
                _send_to_sessions(running, signal.SIGINT)
                _wait(running, patience)
        finally:
            _send_to_sessions(running, signal.SIGKILL)


def _entry(name: str, pipe: int) -> str:
    """The Python of a process that carries out a command with the very code of this one."""
    path = [str(folder) or str(Path.cwd()) for folder in sys.path]
    return SAME_CODE.format(path=path, package=rgbx.__file__, pipe=pipe) + ENTRY.format(name=name)


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
        PutOffError: a command was asked to end by another.
        StoppedError: the study is being stopped.
    """
    state, start, failure = read_state(run), time.monotonic(), None
    commits = tuple(dict.fromkeys([*state.commits, *filter(None, [find_commit()])]))

    def note() -> None:
        write_note(run, seconds=state.seconds + time.monotonic() - start, failure=failure, commits=commits)

    note()
    options = [*common, "--cfg-options", *as_options(run.overrides)]
    test = [config, str(run.folder), "--work-dir", str(run.folder / "test"), "--json", str(run.results)]
    commands = {
        "train": [config, "--work-dir", str(run.folder), "--resume", *options],
        "test": [*test, "--modalities", *run.subsets, *options],
    }
    try:
        with _again_and_again(note):
            for name, arguments in commands.items():
                _run_command(run, call, name, arguments)
        after = read_state(run)
        if after.result is None:
            raise RunError("; ".join(after.notes) if after.kind == DAMAGED else NO_RESULT)
    except PutOffError:
        raise
    except RunError as error:
        failure = str(error)
        raise
    finally:
        note()


@contextlib.contextmanager
def _again_and_again(note: Callable[[], None]) -> Iterator[None]:
    """Calls in a thread of its own, so that a study that is killed has noted all but the last 30 s of its runs."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            with contextlib.suppress(OSError):  # such as a full disk, of which the run itself will tell
                note()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _run_command(run: Run, call: Call, name: str, arguments: Sequence[str]) -> None:
    with open_own(run.log, "a") as file:
        file.write(f"$ rgbx {name} {shlex.join(arguments)}\n")
    start = run.log.stat().st_size
    code = call(name, arguments, run.log)
    if code in ASKED_TO_END:
        raise PutOffError(f"{name} was asked to end: {last_line(run.log, start)}")
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
