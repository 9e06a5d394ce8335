"""Samples that go into one batch, and what is said of those that do not."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from types import TracebackType

from torch import Tensor
from torch.utils.data import DataLoader

from rgbx._types import Batch
from rgbx.maps import MASKS

WAY_OUT = (
    "frames of several sizes need batch_size=1, or a Resize or RandomCrop among the transforms, which makes them equal"
)


class Collation:
    """A loader's collation, with a sentence in place of torch's where samples do not go into one batch.

    Args:
        collate: makes a batch of a list of samples.
    """

    def __init__(self, collate: Callable[[Sequence[Batch]], Batch]) -> None:
        self.collate = collate

    def __call__(self, samples: Sequence[Batch]) -> Batch:
        """The batch.

        Raises:
            ValueError: two samples differ in which maps they have, in the type of a map, or in a size where they should
                be stacked; the message names both.
        """
        if len(runs := runs_of(samples)) > 1:
            told = " and ".join(f"{run[0].get('sample_id')!r} has {', '.join(maps_of(run[0]))}" for run in runs[:2])
            raise ValueError(
                f"samples of a batch differ: {told}; expected the same maps in all of a batch, as "
                "train_dataloader.sampler=dict(type=EpochSampler, shuffle=True) of rgbx.datasets makes them"
            )
        if differing := difference(samples, of_sizes=False):
            raise ValueError(f"samples of a batch differ: {differing}")
        try:
            return self.collate(samples)
        except Exception:
            if differing := difference(samples):
                raise ValueError(f"samples of a batch differ: {differing}") from None
            raise


class Runs:
    """A collation for evaluations of frames that differ in what they have: neighbours that have the same are a batch.

    Args:
        collate: makes a batch of a list of samples.
    """

    def __init__(self, collate: Callable[[Sequence[Batch]], Batch]) -> None:
        self.collate = collate

    def __call__(self, samples: Sequence[Batch]) -> list[Batch]:
        """One batch, or several, in the order of the samples."""
        return [self.collate(run) for run in runs_of(samples)]


def maps_of(sample: Batch) -> tuple[str, ...]:
    """The names of the maps of a packed sample, in order; labels and masks are none."""
    maps = (name for name, x in sample.items() if isinstance(x, Tensor) and x.ndim > 2)
    return tuple(sorted(name for name in maps if not name.endswith(MASKS)))


def runs_of(samples: Sequence[Batch]) -> list[Sequence[Batch]]:
    """The samples cut where neighbours have other maps."""
    if not all(isinstance(sample, dict) for sample in samples):
        return [samples]
    return [list(run) for _, run in groupby(samples, maps_of)]


class WorkerStart:
    """What a data loader calls in each of its workers as they start: what it was given, and silence at an interrupt.

    A worker hands its batches over in a thread, which shows by `sys.excepthook` that nobody takes them any more. That
    is so where the main process was interrupted while it took one, and it says so itself.

    Signals that ask a whole group of processes to end are left to the main process, which needs its batches until it
    has saved: it ends its workers itself.
    """

    def __init__(self, initialise: Callable[[int], object] | None) -> None:
        self.initialise = initialise

    def __call__(self, worker: int) -> None:
        show = sys.excepthook

        def show_others(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            if not issubclass(kind, (ConnectionError, EOFError)):
                show(kind, error, trace)

        sys.excepthook = show_others
        for number in (signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        if hasattr(signal, "sigwaitinfo"):  # not on macOS
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            threading.Thread(target=_end_for, args=(os.getppid(),), daemon=True).start()
        if self.initialise is not None:
            self.initialise(worker)


def _end_for(parent: int) -> None:
    """Ends this process when that one sends SIGTERM, and not when another does."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


def end_workers(loader: DataLoader[Batch]) -> None:
    """Ends the workers that a loader keeps from epoch to epoch.

    Left to the garbage collector, which may take their queues first, each is waited for in vain for five seconds.
    """
    iterator = getattr(loader, "_iterator", None)
    if iterator is not None and loader.num_workers:
        iterator._shutdown_workers()
        loader._iterator = None


def difference(samples: Iterable[Batch], *, of_sizes: bool = True) -> str:
    """What keeps samples, name to [...], from being stacked: map, both ids and what they have; empty for nothing.

    Args:
        samples: packed.
        of_sizes: whether to compare sizes, and not only types and channels.
    """
    first: Batch = {}
    for sample in samples:
        if not isinstance(sample, dict):
            return ""
        first = first or sample
        ids = f"{first.get('sample_id')!r} and {sample.get('sample_id')!r}"
        for name, a in first.items():
            b = sample.get(name)
            if not isinstance(a, Tensor) or not isinstance(b, Tensor):
                continue
            if a.dtype != b.dtype:
                return f"{name} of {ids} is of {a.dtype} and {b.dtype}; expected one type for all samples"
            if a.ndim != b.ndim or (a.ndim > 2 and a.shape[:-2] != b.shape[:-2]):
                what = "frames and of channels" if max(a.ndim, b.ndim) > 3 else "channels"
                return f"{name} of {ids} is {list(a.shape)} and {list(b.shape)}; expected one number of {what}"
            if of_sizes and a.shape != b.shape:
                return f"{name} of {ids} is {_size(a)} and {_size(b)}: {WAY_OUT}"
    return ""


def _size(
    x: Tensor,  # [..., H, W]
) -> str:
    """ "480×640", height first."""
    return "×".join(map(str, x.shape[-2:]))
