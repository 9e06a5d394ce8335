"""One, two and four processes with batches of equal size in all: one curve of the loss, one model."""

import copy
import re
import socket
from unittest.mock import patch

import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.hooks import Hook
from processes import free_port, processes, set_rank
from tiny import Halves, TinyBackbone, tiny_segmentor
from torch import nn

from rgbx._processes import together
from rgbx.datasets import EpochSampler, ShardedDataset
from rgbx.datasets.prepare import write_shards
from rgbx.layers import ModalityNorm, stack_modalities, synchronise_norms
from rgbx.losses import build_loss, l1_loss
from rgbx.models.modality_dropout import ModalityDropout
from rgbx.objectives.knowledge_guidance import _mean
from rgbx.objectives.modality_translation import class_difference
from rgbx.train.agreement import check_agreement, data_statements
from rgbx.train.checkpoint_hook import CheckpointHook
from rgbx.train.data_check import check_synchronised
from rgbx.train.distributed import SharedLosses, finish_together
from rgbx.train.optim import AutocastOptimWrapper, EncoderDecoderConstructor
from rgbx.train.runner import Runner
from rgbx.transforms import HorizontalFlip, PackSample

BATCH, LENGTH, EPOCHS = 8, 40, 10  # in all: 5 batches an epoch, 50 in the run
WEIGHTED = {"name": "cross_entropy", "class_weights": [0.5, 1.0, 4.0]}


class Uneven(Halves):
    """From nearly no pixel without a class to nearly all; a folder with a + has one more, one with an @ others."""

    def __len__(self):
        return self.length + self.root.count("+")

    def name_of(self, index):
        return f"half/{index + 7 * self.root.count('@')}"

    def read(self, index):
        sample = super().read(index)
        sample["label"][:, : (index * 5) % 11] = 255
        return sample


class Named(Halves):
    """Other images under the same names."""

    def __init__(self, first, **options):
        super().__init__(**options)
        self.first = first

    def read(self, index):
        return {**super().read(index + self.first), "sample_id": f"{index}"}


class Deep(TinyBackbone):
    """Three convolutions, each with private norms."""

    def __init__(self, modalities, width=6):
        super().__init__(modalities, width, 0.0, "batch")
        self.convolutions = nn.ModuleList([nn.Conv2d(c, width, 3, padding=1) for c in (3, width, width)])
        self.norms = nn.ModuleList([ModalityNorm(nn.BatchNorm2d(width), self.layout) for _ in range(3)])
        del self.conv, self.norm

    def forward(self, inputs):
        x = stack_modalities(inputs, self.layout)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = torch.tanh(norm(convolution(x)))  # a ReLU that a rounding flips would part the curves
        return [x]


def private_segmentor(modalities, loss):
    model = tiny_segmentor(modalities, 3, width=6)
    model.backbone = Deep(modalities)
    model.layout = model.backbone.layout
    model.modality_dropout = ModalityDropout(modalities, 0.3)
    model.heads["labels"].task.loss = build_loss(loss)
    return model


class Curve(Hook):
    def __init__(self):
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({name: float(x.detach()) for name, x in outputs.items()})


def train(work_dir, count, *, epochs=EPOCHS, length=LENGTH, batch=None, root="here", **values):
    """The curve and the weights of a training by this process and the others."""
    curve = Curve()
    runner = Runner.from_cfg(
        dict(
            model=dict(type=private_segmentor, modalities=("rgb", "depth"), loss=WEIGHTED),
            work_dir=str(work_dir),
            launcher="pytorch" if count > 1 else "none",
            log_level="ERROR",
            train_dataloader=dict(
                batch_size=batch or BATCH // count,
                sampler=dict(type=EpochSampler, shuffle=True),
                collate_fn=dict(type=default_collate),
                dataset=dict(type=Uneven, root=root, length=length, transforms=[HorizontalFlip(), PackSample()]),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=dict(
                type=AutocastOptimWrapper,
                constructor=EncoderDecoderConstructor,
                accumulative_counts=2,
                optimizer=dict(type="SGD", lr=0.05, momentum=0.9),
                clip_grad=dict(max_norm=5.0),
            ),
            default_hooks=dict(checkpoint=dict(type=CheckpointHook, interval=epochs)),
            **values,
        )
    )
    runner.register_hook(curve)
    runner.train()
    return {"losses": curve.losses, "state": copy.deepcopy(runner.network.state_dict())}


def terms(share, whole):
    """Losses that are means over what counts, of a share of the images, and their gradients."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(4, 3, 6, 6, generator=generator)[share].requires_grad_()
    label = torch.randint(0, 3, (4, 6, 6), generator=generator)
    for index, columns in enumerate((0, 5, 3, 6)):
        label[index, :, :columns] = 255
    label, valid = label[share], label[share, None] != 255
    shares = torch.nn.functional.one_hot(label.where(label != 255, 3), 4)[..., :3].movedim(-1, 1).float()
    judged = torch.tensor([True, True, True, False])[share]
    calls = {
        "cross_entropy": lambda x: build_loss("cross_entropy")(x, label),
        "weighted": lambda x: build_loss(WEIGHTED)(x, label),
        "sum": lambda x: build_loss({"cross_entropy": 0.3})(x, label),
        "l1": lambda x: l1_loss(x, shares, valid),
        "l1 of all": lambda x: l1_loss(x, shares),
        "classes": lambda x: class_difference(x, shares),
        "images": lambda x: _mean(x.square().mean((1, 2, 3)), judged),
    }
    found = {}
    with together(whole):
        for name, call in calls.items():
            loss = call(logits)
            found[name] = loss.detach(), torch.autograd.grad(loss, logits)[0]
    return found


def told(rank):
    """Means of losses that only some processes have, and how often all talked."""
    shared, found = SharedLosses(torch.device("cpu")), []
    steps = [{"loss": 1.0, "a": 2.0}, {"loss": 3.0}, {"loss": 5.0, "b": 7.0} if rank else {"loss": 1.0}]
    with patch.object(torch.distributed, "all_reduce", wraps=torch.distributed.all_reduce) as reduced:
        for losses in [*steps, *steps]:
            losses = {name: torch.tensor(x + rank) for name, x in losses.items()}
            found.append({name: float(x) for name, x in shared.means(losses).items()})
    return found, reduced.call_count


def refused(call):
    with pytest.raises(ValueError, match="the processes differ") as caught:
        call()
    return str(caught.value)


def packed(folder, first):
    """Shards in a folder of a process's own, of which equally many samples have equal names."""
    root = folder / f"shards{first}"
    write_shards(root, {"train": Named(length=3, first=first)}, folder)
    return ShardedDataset(root)


def disagreements(rank, folder):
    """What is said where the processes differ in something."""
    own = folder / f"own{rank}"  # a folder of a node's own
    own.mkdir()
    (own / "epoch_1.pth").write_bytes(b"one" if rank else b"two")
    small = dict(epochs=1, length=4, batch=2)
    return {
        "config": refused(lambda: train(folder / "c", 2, **small, ema=bool(rank))),
        "checkpoint": refused(lambda: train(folder / "c", 2, **small, load_from=str(own / "epoch_1.pth"))),
        "none": refused(lambda: train(own, 2, **small, load_from=str(own / "epoch_1.pth") if rank else None)),
        "length": refused(lambda: train(folder / "c", 2, **small, root="here" + "+" * rank)),
        "names": refused(lambda: train(folder / "c", 2, **small, root="here" + "@" * rank)),
        "shards": refused(lambda: check_agreement("data", data_statements({"loader": packed(own, 9 if rank else 0)}))),
        "same shards": check_agreement("data", data_statements({"loader": packed(own, 5)})),
        "roots": len(train(own, 2, **small, root=str(own))["losses"]),
    }


def process(rank, count, port, folder):
    set_rank(rank, port, count)
    torch.manual_seed(0)
    found = {"curve": train(folder / "run", count)}
    if count == 2:
        share = slice(0, 1) if rank == 0 else slice(1, 4)
        found["terms"], found["own"] = terms(share, True), terms(share, False)
        found["apart"] = train(folder / "apart", count, epochs=1, sync_norm=False)
        found["told"] = told(rank)
        found["refused"] = disagreements(rank, folder)
        found["odd"] = train(folder / "odd", count, epochs=1, length=7, batch=2)
    torch.save(found, folder / f"{rank}.pth")
    finish_together()
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each process found, by the number of processes."""
    folder, found = tmp_path_factory.mktemp("several"), {}
    for count in (2, 4):
        (folder / f"{count}").mkdir()
        processes(count, process, count, free_port(), folder / f"{count}")
        found[count] = [torch.load(folder / f"{count}/{rank}.pth") for rank in range(count)]
    torch.manual_seed(0)
    found[1] = [{"curve": train(folder / "1", 1)}]
    return found


@pytest.mark.parametrize("count", [2, 4])
def test_the_curve_is_that_of_one_process(results, count):
    """Over 50 batches with private norms, uneven void, class weights, modality dropout and accumulation."""
    expected, found = results[1][0]["curve"], results[count][0]["curve"]
    assert len(expected["losses"]) == len(found["losses"]) == 50
    assert len({tuple(losses) for losses in expected["losses"]}) > 1  # modality dropout has left some out
    for one, several in zip(expected["losses"], found["losses"], strict=True):
        assert several == pytest.approx(one, abs=1e-5)
    assert expected["losses"][-1]["loss"] < 0.7 * expected["losses"][0]["loss"]
    for name, x in expected["state"].items():
        torch.testing.assert_close(found["state"][name], x, rtol=1e-4, atol=1e-4)


def test_all_processes_end_with_one_model(results):
    for count in (2, 4):
        first, *others = (found["curve"] for found in results[count])
        for other in others:
            assert other["losses"] == first["losses"]
            assert all(torch.equal(other["state"][name], x) for name, x in first["state"].items())


def test_losses_that_some_processes_lack_are_means_over_the_others(results):
    """In one reduction a step, but for a step with a new name."""
    first, second = (found["told"] for found in results[2])
    steps = [{"loss": 1.5, "a": 2.5}, {"loss": 3.5}, {"loss": 3.5, "b": 8.0}]
    assert first == second == ([*steps, *steps], 8)


def test_without_synchronised_norms_the_curve_is_another(results):
    """So the bars above are no formality: five batches are enough to see it."""
    expected, found = results[1][0]["curve"]["losses"], results[2][0]["apart"]["losses"]
    assert max(abs(one["loss"] - other["loss"]) for one, other in zip(expected[:5], found, strict=True)) > 1e-3


def test_means_over_what_counts_are_those_of_the_joined_batch(results):
    """The mean of the processes' losses, and of their gradients, is what a distributed wrapper makes."""
    expected = terms(slice(0, 4), True)
    first, second = (found["terms"] for found in results[2])
    for name, (loss, gradient) in expected.items():
        torch.testing.assert_close((first[name][0] + second[name][0]) / 2, loss, rtol=1e-5, atol=1e-7)
        joined = torch.cat([first[name][1], second[name][1]]) / 2
        torch.testing.assert_close(joined, gradient, rtol=1e-5, atol=1e-7)
    own = terms(slice(0, 1), False)
    assert all(torch.equal(found[0], own[name][0]) for name, found in results[2][0]["own"].items())


def test_a_dataset_that_does_not_divide_is_trained_on_to_its_end(results):
    """Seven images, two processes, batches of two: four each, one of them for the second time."""
    assert [len(found["odd"]["losses"]) for found in results[2]] == [2, 2]


def test_processes_that_differ_are_refused_before_anything_is_trained(results):
    """Each of them, with the first value that differs and who says it; where data lie does not count."""
    first, second = (found["refused"] for found in results[2])
    assert first == second
    host = re.escape(socket.gethostname())
    whose = rf"{{}} in process 0 on {host}; {{}} in process 1 on {host}"
    for name, (what, values) in {
        "config": ("ema", ("False", "True")),
        "checkpoint": ("checkpoint to start from", ("epoch_1.pth of 3 bytes, [0-9a-f]+", "epoch_1.pth of 3 bytes, .+")),
        "none": ("checkpoint to start from", ("nothing", "epoch_1.pth of 3 bytes, .+")),
        "length": ("train_dataloader: number of samples", ("4", "5")),
        "names": ("train_dataloader: sample 0", ("half/0", "half/7")),
    }.items():
        assert re.search(f"{what}: {whose.format(*values)}", first[name]), first[name]
    values = (r"1 of digest ([0-9a-f]{16})", r"1 of digest (?!\1)[0-9a-f]{16}")
    assert re.search(f"differ in data, loader: shards: {whose.format(*values)}", first["shards"]), first["shards"]
    assert first["same shards"] is None and first["roots"] == 1


@pytest.mark.parametrize(("processes", "batch", "expected"), [(2, 4, True), (1, 4, False), (2, 8, False)])
def test_few_images_to_a_norm_are_told(processes, batch, expected):
    model = private_segmentor(("rgb", "depth"), WEIGHTED)
    told = check_synchronised(model, batch, processes)
    assert bool(told) == expected
    if expected:
        assert "2 processes trains 6 batch norms on 4 images of a modality" in told[0] and "sync_norm=True" in told[0]
    model.backbone.norm_eval = True
    assert check_synchronised(model, batch, processes) == []
    model.backbone.norm_eval = False
    synchronise_norms(model)
    assert check_synchronised(model, batch, processes) == []
