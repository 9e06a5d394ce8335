"""Errors that a user can cause, told in one sentence instead of a traceback."""

from __future__ import annotations

import _thread
import argparse
import functools
import logging
import os
import re
import shutil
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rgbx._types import InputWarning
from rgbx._whole import FULL
from rgbx.cli.arguments import ConfigError, parse
from rgbx.cli.terminal import plain_terminal

USER_ERRORS = (ValueError, OSError, ImportError)
ARGUMENT_ERRORS = (TypeError, KeyError, AttributeError, AssertionError)
FAILED, STOPPED, INTERRUPTED = 2, 75, 130  # 75 is EX_TEMPFAIL of sysexits.h: the same again goes on
OUT_OF_MEMORY = re.compile(
    r"out of memory|can(?:'|no)t allocate memory|failed to allocate|insufficient memory|ALLOC_FAILED", re.IGNORECASE
)
LESS_MEMORY = {  # by command, what needs less
    "predict": "a smaller --batch-size, --dtype auto, or windows by --protocol rgbx-sliding need less",
    "translate": "windows by --protocol rgbx-sliding need less",
    "test": "--cfg-options test_dataloader.batch_size=1, --dtype auto, or windows by --protocol rgbx-sliding need less",
    "train": "a smaller --cfg-options train_dataloader.batch_size=N, or a smaller crop in the config, needs less",
}
OF_A_RUN = re.compile(
    r"\d{8}_\d{6}(_\d+)?|.+\.py|class_counts\.json|trackers\.json|mlruns"
)  # what it writes before its first step


Given = Sequence[str] | argparse.Namespace | None  # a command line; None for that of the process


@plain_terminal()
def run_command(function: Callable[[Given], int], given: Given = None, name: str = "") -> int:
    """Runs a function of a command line, and turns what a user can cause into a sentence on stderr and an exit code.

    RGBX_DEBUG=1 in the environment lets errors through with their traceback.

    Args:
        function: of the command line.
        given: its argument.
        name: of the command, for advice.
    """
    try:
        with interrupts_repeated(), full_disks_told_once(), warnings_in_sentences():
            return function(given)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        memory = no_memory(error, name)
        if os.environ.get("RGBX_DEBUG", "0") not in ("", "0") or not (memory or isinstance(error, USER_ERRORS)):
            raise
        print(f"error: {memory or sentence(error)}", file=sys.stderr)
        return FAILED
    finally:  # a log that a run had is no more, and its folder may be gone when the process says something else
        own = logging.getLogger("rgbx")
        own.handlers, own.propagate = [], True


def no_memory(error: Exception, name: str) -> str:
    """What is told where memory was not enough, of a GPU or of the machine; "" for other errors.

    Args:
        error: PyTorch's, OpenCV's or Python's own.
        name: of the command, for advice.
    """
    if isinstance(error, USER_ERRORS) or not (isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error))):
        return ""
    size = re.search(r"tried to allocate ([\d.]+ \w+)", str(error), re.IGNORECASE)
    where = " of the GPU" if re.search("CUDA|CUBLAS|CUDNN", str(error)) else ""
    more, advice = f" for another {size[1]}" if size else "", LESS_MEMORY.get(name, "")
    return f"the memory{where} was not enough{more}{advice and f': {advice}'}"


def command(name: str) -> Callable[[Callable[[argparse.Namespace], int]], Callable[..., int]]:
    """Decorator of a command's `main`, which gets its arguments; see `run_command`.

    What is decorated also takes the words of a command line, or None for those of the process, which
    `rgbx.cli.arguments.parse` reads.

    Args:
        name: of the command, a key of `rgbx.cli.arguments.COMMANDS`.
    """

    def decorate(body: Callable[[argparse.Namespace], int]) -> Callable[..., int]:
        def carried_out(given: Given) -> int:
            return body(given if isinstance(given, argparse.Namespace) else parse(name, given))

        def main(given: Given = None) -> int:
            return run_command(carried_out, given, name)

        functools.update_wrapper(main, body)
        return main

    return decorate


@contextmanager
def leaving_nothing(work_dir: str | Path, unless: Callable[[], bool]) -> Iterator[None]:
    """A run that fails at its beginning leaves no log, nor a folder that was made for it.

    Args:
        work_dir: of the run.
        unless: whether what lies there by now is worth keeping.
    """
    folder = Path(work_dir)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    before = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    try:
        yield
    except Exception:
        if os.environ.get("RANK", "0") == "0" and folder.is_dir() and not unless():
            for path in folder.iterdir():
                if path.name not in before and OF_A_RUN.fullmatch(path.name):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            with suppress(OSError):  # where another run has written there
                for path in made:
                    path.rmdir()
        raise


@contextmanager
def interrupts_repeated() -> Iterator[None]:
    """Repeats a Ctrl-C that came where Python cannot raise it, as while a data loader starts its workers.

    Python prints "Exception ignored in" there and goes on.
    """
    report = sys.unraisablehook

    def repeat(ignored: sys.UnraisableHookArgs) -> None:
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            threading.Timer(0.1, _thread.interrupt_main).start()
        else:
            report(ignored)

    sys.unraisablehook = repeat
    try:
        yield
    finally:
        sys.unraisablehook = report


@contextmanager
def full_disks_told_once() -> Iterator[None]:
    """A thread that finds no room for what it writes, as TensorBoard's, shows no traceback of its own.

    Raises:
        OSError: the thread's, where nothing else has ended the block.
    """
    report, found = threading.excepthook, list[BaseException]()

    def keep(failed: threading.ExceptHookArgs) -> None:
        if isinstance(failed.exc_value, OSError) and failed.exc_value.errno in FULL:
            found.append(failed.exc_value)
        else:
            report(failed)

    threading.excepthook = keep
    try:
        yield
    finally:
        threading.excepthook = report
    if found:
        raise found[0]


@contextmanager
def warnings_in_sentences() -> Iterator[None]:
    """Shows warnings of this package, also those that point elsewhere, without a line of code."""
    usual, package = warnings.formatwarning, Path(__file__).parents[1]

    def shown(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if Path(filename).is_relative_to(package) or issubclass(category, InputWarning):
            return f"warning: {message}\n"
        return usual(message, category, filename, lineno, line)

    warnings.formatwarning = shown
    try:
        yield
    finally:
        warnings.formatwarning = usual


@contextmanager
def building(what: str) -> Iterator[None]:
    """While objects are built from a config, its file is named, and also wrong arguments are the user's errors."""
    try:
        yield
    except ValueError as error:
        if what in str(error):
            raise
        raise ConfigError(f"{what}: {sentence(error)}") from error
    except ARGUMENT_ERRORS as error:
        raise ConfigError(f"{what}: {sentence(error)} (RGBX_DEBUG=1 shows where)") from error


def sentence(error: BaseException) -> str:
    """The message of an error on one line; of a data loader's worker, the original error."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
    if "in DataLoader worker process" in text:
        text = re.split(r"^[\w.]*(?:Error|Exception): ", text, flags=re.MULTILINE)[-1]
    return " ".join(text.split()) or type(error).__name__
