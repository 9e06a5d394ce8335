"""What a terminal shows of a run; the log file keeps all records."""

from __future__ import annotations

import logging
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, TextIO

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from tqdm import tqdm

from rgbx._text import visible

LONG_RECORDS = (
    "Config:",
    "Hooks will be executed",
    "Exp name:",
    "Distributed training is not",
    "\n" + "-" * 60 + "\nSystem environment",
)


class BarFriendlyStream:
    """Writes above a progress bar instead of through it."""

    closed = False  # mmengine's backend of MLflow asks

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> None:
        tqdm.write(text, file=self.stream, end="")

    def flush(self) -> None:
        self.stream.flush()


def shorten_console(logger: logging.Logger) -> None:
    """Keeps mmengine's page-long opening records (environment, config, hooks) off the terminal."""
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.addFilter(lambda record: not record.getMessage().startswith(LONG_RECORDS))
            handler.setStream(BarFriendlyStream(handler.stream))


def tell_full_disks_once(logger: logging.Logger) -> None:
    """A log file that finds no room for a record is told of once, rather than by a traceback for each record."""
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = _told_once(handler)  # type: ignore[method-assign, assignment]


def _told_once(handler: logging.FileHandler) -> Callable[[logging.LogRecord], None]:
    usual, told = handler.handleError, list[OSError]()

    def tell(record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            usual(record)
        elif not told:
            told.append(error)
            print(f"warning: {handler.baseFilename}: {error.strerror}; records are missing there", file=sys.stderr)

    return tell


def show_control_characters(logger: logging.Logger) -> None:
    """Names of files and classes move no cursor when a log file is shown in a terminal, and can all be written."""
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.setFormatter(_Visible(handler.formatter))


class _Visible(logging.Formatter):
    """Formats as another does, see `visible`."""

    def __init__(self, formatter: logging.Formatter | None) -> None:
        super().__init__()
        self._formatter = formatter or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        return visible(self._formatter.format(record))


@contextmanager
def writers_closed() -> Iterator[None]:
    """Where a run fails in this block, its scalars are written to the end: TensorBoard writes them in a thread.

    That thread would end with a traceback of its own once the run's folder is removed.
    """
    try:
        yield
    except Exception:
        for visualizer in Visualizer._instance_dict.values():
            visualizer.close()
        raise


def progress(batches: Sized, title: str) -> Iterator[Any]:
    """The batches, with a bar over them where stderr is a terminal, of the first process."""
    bar = _bar(title, len(batches))
    for batch in typing.cast(Iterable[Any], batches):
        yield batch
        if bar is not None:
            bar.update()
    if bar is not None:
        bar.close()


def _bar(title: str, batches: int) -> tqdm | None:
    shown = is_main_process() and sys.stderr.isatty()
    return tqdm(total=batches, desc=title, unit="batch", leave=False) if shown else None


class ProgressBarHook(Hook):
    """A bar over the batches of each epoch, only where stderr is a terminal."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.bar: tqdm | None = None

    def before_train_epoch(self, runner: Runner) -> None:
        self.bar = _bar(f"epoch {runner.epoch + 1}/{runner.max_epochs}", len(runner.train_dataloader))

    def before_val_epoch(self, runner: Runner) -> None:
        self.bar = _bar("validation", len(runner.val_dataloader))

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.update()

    after_val_iter = after_train_iter

    def after_train_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    after_val_epoch = after_train_epoch
