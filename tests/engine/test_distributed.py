"""Two processes on one machine: the same gradients and scores as one, and one writer."""

import os
import socket

import pytest
import torch
import torch.multiprocessing as mp
from tiny import Halves, tiny_segmentor

from rgbx.engine.runner import Runner
from rgbx.engine.segmentation_metric import SegmentationMetric
from rgbx.transforms import PackSample

MODEL = dict(modalities=("rgb", "depth"), num_classes=3, norm="group", dropout=0.0)
CLASSES = {"classes": ("left", "right", "far"), "ignore_index": 255}


def batch(indices):
    dataset = Halves(transforms=[PackSample()])
    samples = [dataset[i] for i in indices]
    return {key: torch.stack([s[key] for s in samples]) for key in ("rgb", "depth", "label")}


def gradients(model, data):
    inputs = (model.module if hasattr(model, "module") else model).data_preprocessor(data)
    sum(model(**inputs, mode="loss").values()).backward()
    return {name.removeprefix("module."): p.grad for name, p in model.named_parameters()}


def predictions(index):
    generator = torch.Generator().manual_seed(index)
    draw = lambda: torch.randint(0, 3, (5, 5), generator=generator)  # noqa: E731
    return [{"sample_id": str(index), "label": draw(), "prediction": {"ensemble": draw()}}]


def score(indices):
    metric = SegmentationMetric(table=False)
    metric.dataset_meta = CLASSES
    for index in indices:
        metric.process(None, predictions(index))
    return metric.evaluate(3)


def process(rank, port, folder):
    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE="2",
        LOCAL_RANK=str(rank),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        OMP_NUM_THREADS="1",
    )
    torch.manual_seed(0)
    runner = Runner.from_cfg(
        dict(model=tiny_segmentor(**MODEL), work_dir=str(folder / "run"), launcher="pytorch", log_level="ERROR")
    )
    found = gradients(runner.model, batch([0, 1] if rank == 0 else [2, 3]))
    # one process scores all samples, the other none at all
    scores = [score([0, 1, 2] if rank == 0 else []), score([0] if rank == 0 else [1, 2])]
    torch.save({"gradients": found, "scores": scores}, folder / f"{rank}.pth")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(process, (port, folder), nprocs=2)
    return [torch.load(folder / f"{rank}.pth") for rank in range(2)]


def test_gradients_are_those_of_the_joined_batch(results):
    torch.manual_seed(0)
    expected = gradients(tiny_segmentor(**MODEL), batch([0, 1, 2, 3]))
    for result in results:
        for name, gradient in expected.items():
            torch.testing.assert_close(result["gradients"][name], gradient, rtol=1e-4, atol=1e-7)


def test_scores_are_those_of_one_process(results):
    expected = score([0, 1, 2])
    assert all(found == expected for result in results for found in result["scores"])
