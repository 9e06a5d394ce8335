"""Samples that do not go into one batch are named by their ids, sizes and types; all others are left alone."""

import pickle
import socket
import sys
import time
from multiprocessing import resource_sharer

import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate
from torch.utils.data import DataLoader, Dataset

from rgbx.datasets.collation import Collation, WorkerStart, difference, end_workers


def sample(number, size=(4, 6), channels=3, dtype=torch.uint8, **more):
    maps = {"rgb": torch.zeros(channels, *size, dtype=dtype), "label": torch.zeros(size, dtype=torch.int64)}
    return {**maps, "sample_id": f"frame/{number}", "paths": {"rgb": f"{number}.png"}, **more}


def test_equal_samples_are_collated_as_ever():
    samples = [sample(0), sample(1)]
    found, expected = Collation(default_collate)(samples), default_collate(samples)
    assert torch.equal(found.pop("rgb"), expected.pop("rgb")) and torch.equal(found.pop("label"), expected.pop("label"))
    assert found == expected
    assert pickle.loads(pickle.dumps(Collation(default_collate)))(samples)["sample_id"] == ["frame/0", "frame/1"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            sample(2, size=(4, 8)),
            r"rgb of 'frame/0' and 'frame/2' is 4×6 and 4×8: .*batch_size=1, or a Resize or RandomC",
        ),
        (sample(2, dtype=torch.float32), r"rgb of 'frame/0' and 'frame/2' is of torch\.uint8 and torch\.float32"),
        (
            sample(2, channels=1),
            r"rgb of 'frame/0' and 'frame/2' is \[3, 4, 6\] and \[1, 4, 6\]; expected one number of",
        ),
        (
            {**sample(2), "label": torch.zeros(4, 7, dtype=torch.int64)},
            "label of 'frame/0' and 'frame/2' is 4×6 and 4×7",
        ),
    ],
)
def test_what_differs_is_named_with_both_ids(other, message):
    with pytest.raises(ValueError, match=f"samples of a batch differ: {message}"):
        Collation(default_collate)([sample(0), sample(1), other])


def test_lists_of_samples_may_be_of_any_size():
    samples = [sample(0), sample(1, size=(9, 9))]
    assert [x.shape[-1] for x in Collation(pseudo_collate)(samples)["rgb"]] == [6, 9]
    with pytest.raises(ValueError, match="expected one type for all samples"):
        Collation(pseudo_collate)([sample(0), sample(1, dtype=torch.float32)])


def test_other_errors_are_their_own():
    def broken(samples):
        raise KeyError("other")

    with pytest.raises(KeyError, match="other"):
        Collation(broken)([sample(0), sample(1)])
    assert difference([]) == difference([sample(0)]) == difference(["a", "b"]) == ""


class Addresses(Dataset):
    """Where the worker's thread that hands batches over can be reached; sample 1 shows an error of another kind."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        if index:
            sys.excepthook(RuntimeError, RuntimeError("of another kind"), None)
        return resource_sharer.DupFd(0)._id[0] if sys.platform != "win32" else None


def started(worker):
    print(f"worker {worker} started", file=sys.stderr)


def test_a_worker_whose_batch_nobody_takes_is_silent(capfd):
    loader = DataLoader(Addresses(), batch_size=None, num_workers=1, worker_init_fn=WorkerStart(started))
    batches = iter(loader)
    for address in (next(batches), next(batches)):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(address)
    time.sleep(0.3)
    del batches
    error = capfd.readouterr().err
    assert "worker 0 started" in error and "RuntimeError: of another kind" in error
    assert "resource_sharer" not in error


def test_kept_workers_end_when_told():
    loader = DataLoader([0, 1, 2], batch_size=None, num_workers=2, persistent_workers=True)
    assert list(loader) == [0, 1, 2]
    workers = loader._iterator._workers
    assert all(worker.is_alive() for worker in workers)
    start = time.monotonic()
    end_workers(loader)
    assert not any(worker.is_alive() for worker in workers) and time.monotonic() - start < 4
    assert list(loader) == [0, 1, 2]  # with others
    end_workers(loader)
    end_workers(DataLoader([0]))
