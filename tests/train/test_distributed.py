"""Two processes on one machine: the same gradients and scores as one, and one writer."""

import pytest
import torch
from mmengine.dataset import default_collate
from processes import free_port, set_rank, two_processes
from tiny import Halves, tiny_segmentor

from rgbx.datasets import EpochSampler
from rgbx.evaluate.metric import gather_images, metrics_of
from rgbx.models import multimodal_segmentor
from rgbx.tasks import PROTOCOLS, Classes, Map, Prediction
from rgbx.train.checkpoint_hook import CheckpointHook
from rgbx.train.distributed import finish_together
from rgbx.train.optim import AutocastOptimWrapper, EncoderDecoderConstructor
from rgbx.train.runner import Runner
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
    probability = torch.rand(3, 5, 5, generator=generator).softmax(0)
    target = draw()
    return Prediction({"rgb": draw(), "ensemble": draw()}, target, None, {"ensemble": probability})


def score(indices, size=3):
    """Scores, and every sum behind them, to the last bit."""
    task = Classes("labels", num_classes=3)
    counter = task.counter(PROTOCOLS["rgbx"], CLASSES, boundary=True, calibration=True)
    images = gather_images([counter.count(str(index), predictions(index), {}) for index in indices], size)
    evaluation = counter.evaluation(images)
    found = evaluation.scores("ensemble")
    return {
        "order": [image.sample_id for image in evaluation.images],
        "metrics": metrics_of({"labels": evaluation}),
        "confusion": evaluation.confusion("rgb").tolist(),
        "boundary": found["boundary_f"],
        "reliability": str({key: value.tolist() for key, value in found["reliability"].items()}),
    }


def translated(indices, size, name="depth"):
    """Scores of translation, to the last bit."""
    counter = Map(name).counter(PROTOCOLS["rgbx"], {})
    records = []
    for index in indices:
        generator = torch.Generator().manual_seed(index)
        draw = lambda: torch.rand(3 if name == "rgb" else 1, 12, 13, generator=generator)  # noqa: E731, B023
        records.append(counter.count(str(index), Prediction({"rgb": draw(), "ensemble": draw()}, draw()), {}))
    evaluation = counter.evaluation(gather_images(records, size))
    return {**metrics_of({name: evaluation}), "order": [image.sample_id for image in evaluation.images]}


def refused(indices, size):
    """The error of samples that cannot be told apart."""
    counter = Classes("labels", num_classes=3).counter(PROTOCOLS["rgbx"], CLASSES)
    try:
        gather_images([counter.count("the same", predictions(index), {}) for index in indices], size)
    except ValueError as error:
        return str(error)


def join(rank, port):
    set_rank(rank, port)
    torch.manual_seed(0)


def counting(rank, port, folder):
    join(rank, port)
    runner = Runner.from_cfg(
        dict(model=tiny_segmentor(**MODEL), work_dir=str(folder / "run"), launcher="pytorch", log_level="ERROR")
    )
    found = gradients(runner.model, batch([0, 1] if rank == 0 else [2, 3]))
    # one process scores all samples, the other none at all
    scores = [score([0, 1, 2] if rank == 0 else []), score([0, 2] if rank == 0 else [1])]
    # a sampler that makes both shares equal by giving the second process the first image once more
    padded = score(range(rank, 5, 2) if rank == 0 else [1, 3, 0], size=5)
    shares = range(rank, 5, 2) if rank == 0 else [1, 3, 0]
    translations = [translated(shares, 5), translated(shares, 5, "rgb"), translated(range(5) if rank else [], 5)]
    message = refused([0, 2] if rank == 0 else [1, 0], 3)
    results = {"gradients": found, "scores": scores, "padded": padded, "message": message}
    torch.save({**results, "translations": translations}, folder / f"{rank}.pth")
    finish_together()
    torch.distributed.destroy_process_group()


def training(rank, port, folder):
    join(rank, port)
    dataset = dict(type=Halves, length=12, size=(32, 48), transforms=[PackSample()])
    runner = Runner.from_cfg(
        dict(
            model=dict(
                type=multimodal_segmentor,
                modalities=("rgb", "depth"),
                num_classes=3,
                backbone="test_resnet",
                modality_dropout=0.5,
            ),
            work_dir=str(folder / "run"),
            launcher="pytorch",
            log_level="ERROR",
            train_dataloader=dict(
                batch_size=2,
                sampler=dict(type=EpochSampler, shuffle=True),
                collate_fn=dict(type=default_collate),
                dataset=dataset,
            ),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            optim_wrapper=dict(
                type=AutocastOptimWrapper,
                constructor=EncoderDecoderConstructor,
                accumulative_counts=2,
                optimizer=dict(type="SGD", lr=0.01),
            ),
            default_hooks=dict(checkpoint=dict(type=CheckpointHook, interval=2)),
            ema=True,
        )
    )
    dropout, drawn = runner.network.modality_dropout, []
    draw = dropout.draw
    dropout.draw = lambda: drawn.append(draw()) or drawn[-1]
    runner.train()
    state = {name: x for name, x in runner.network.state_dict().items() if isinstance(x, torch.Tensor)}
    torch.save({"state": state, "drawn": drawn}, folder / f"{rank}.pth")
    finish_together()
    torch.distributed.destroy_process_group()


def process(rank, ports, folder):
    """Both, one after the other, as most of the time goes into starting."""
    counting(rank, ports[0], folder / "counted")
    training(rank, ports[1], folder / "trained")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes left in `counted` and in `trained`, each in a file by its rank."""
    folder = tmp_path_factory.mktemp("distributed")
    for name in ("counted", "trained"):
        (folder / name).mkdir()
    two_processes(process, (free_port(), free_port()), folder)
    return folder


@pytest.fixture(scope="module")
def results(folder):
    return [torch.load(folder / f"counted/{rank}.pth") for rank in range(2)]


def test_gradients_are_those_of_the_joined_batch(results):
    torch.manual_seed(0)
    expected = gradients(tiny_segmentor(**MODEL), batch([0, 1, 2, 3]))
    for result in results:
        for name, gradient in expected.items():
            torch.testing.assert_close(result["gradients"][name], gradient, rtol=1e-4, atol=1e-7)


def test_scores_are_those_of_one_process(results):
    expected = score([0, 1, 2])
    assert all(found == expected for result in results for found in result["scores"])


def test_images_that_a_sampler_repeats_count_once(results):
    expected = score(range(5), size=5)
    assert expected["order"] == ["0", "1", "2", "3", "4"]
    for result in results:
        assert result["padded"] == expected
        assert "4 images were evaluated of a dataset of 3, with 1 different sample_id" in result["message"]


def test_translation_scores_are_those_of_one_process(results):
    """With an image that both saw, and with a process that saw none."""
    depth, rgb = translated(range(5), 5), translated(range(5), 5, "rgb")
    assert depth["order"] == ["0", "1", "2", "3", "4"] and len(depth) == 13 and len(rgb) == 9
    for result in results:
        assert result["translations"] == [depth, rgb, depth]


def test_processes_train_one_model(folder):
    """With private norms, modality dropout, accumulation (3 batches in windows of 2) and an EMA."""
    first, second = (torch.load(folder / f"trained/{rank}.pth") for rank in range(2))
    assert len(first["drawn"]) == 6
    assert first["drawn"] == second["drawn"]
    assert len(set(first["drawn"])) > 1
    differing = [name for name, x in first["state"].items() if not torch.equal(x, second["state"][name])]
    assert differing == []
    saved = torch.load(folder / "trained/run/epoch_2.pth", weights_only=True)["state_dict"]
    statistics = [name for name in saved if name.endswith((".running_mean", ".running_var"))]
    assert statistics
    assert all(torch.equal(saved[name], first["state"][name]) for name in statistics)
