"""What a terminal shows of a run; the log file keeps everything."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tqdm import tqdm

LONG_RECORDS = (
    "Config:",
    "Hooks will be executed",
    "Exp name:",
    "Distributed training is not",
    "\n" + "-" * 60 + "\nSystem environment",
)


class BarFriendlyStream:
    """Writes above a progress bar instead of through it."""

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


class ProgressBarHook(Hook):
    """A bar over the batches of each epoch, only where stderr is a terminal."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.bar: tqdm | None = None

    def _open(self, title: str, batches: int) -> None:
        if is_main_process() and sys.stderr.isatty():
            self.bar = tqdm(total=batches, desc=title, unit="batch", leave=False)

    def _advance(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def before_train_epoch(self, runner: Runner) -> None:
        title = f"epoch {runner.epoch + 1}/{runner.max_epochs}"
        self._open(title, len(runner.train_dataloader))

    def before_val_epoch(self, runner: Runner) -> None:
        self._open("validation", len(runner.val_dataloader))

    def before_test_epoch(self, runner: Runner) -> None:
        self._open("test", len(runner.test_dataloader))

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self._advance()

    def after_val_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self._advance()

    def after_test_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self._advance()

    def after_train_epoch(self, runner: Runner) -> None:
        self._close()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._close()

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._close()
