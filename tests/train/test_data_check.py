from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from small_models import small
from tiny import Halves, tiny_segmentor
from torch.utils.data import DataLoader

from rgbx.datasets import EveryKth, FolderDataset
from rgbx.models import multimodal_translator
from rgbx.train.data_check import (
    MOST_FRAMES,
    check_classes,
    check_damage,
    check_labels,
    check_maps,
    check_norms,
    check_sizes,
    look_at,
)


def model(modalities=("rgb",), target="depth", **ranges):
    ranges = {name: {"low": low, "high": high} for name, (low, high) in ranges.items()}
    options = dict(generator=dict(name="unet", width=4, depth=3), discriminator=None, ranges=ranges)
    return multimodal_translator(modalities=modalities, target=target, **options)


def samples(**maps):
    return [{"sample_id": "a", "rgb": torch.zeros(3, 2, 2), **maps}]


def test_a_map_that_the_dataset_does_not_give_is_named():
    dataset = samples(depth=torch.ones(1, 2, 2))
    assert check_maps(model(), dataset) == []
    with pytest.raises(ValueError, match=r"the model takes 'dpth', but list .*rgb, depth; did you mean 'depth'\?"):
        check_maps(model(("rgb", "dpth"), dpth=(0, 1)), dataset)
    with pytest.raises(ValueError, match="the model takes 'normal', but"):
        check_maps(model(("depth",), target="normal"), dataset)
    with pytest.raises(ValueError, match="the model takes 'label', but"):
        check_maps(tiny_segmentor(("rgb", "depth"), 3), dataset)


def test_gates_are_told_of_damage_and_truth_is_left_whole():
    gated = small("classes", purification="cross")
    damaged = {"depth_corrupted": torch.zeros(1, 2, 2, dtype=torch.bool)}
    with pytest.raises(
        ValueError, match=r"no training sample has rgb_corrupted or depth_corrupted: put dict\(type=Dam"
    ):
        check_damage(gated, samples())
    check_damage(gated, samples(**damaged))
    check_damage(small("classes", purification={"supervision": "literal"}), samples())
    check_damage(small("classes"), samples())
    with pytest.raises(ValueError, match=r"head 'depth' predicts 'depth', whose truth the training transforms damage"):
        check_damage(model(), samples(**damaged))


def test_class_counts_must_agree():
    check_classes(tiny_segmentor(("rgb",), 3), Halves())
    check_classes(model(), Halves())
    with pytest.raises(ValueError, match=r"num_classes=4 \(head 'labels'\), but Halves has 3 classes"):
        check_classes(tiny_segmentor(("rgb",), 4), Halves())


def test_a_changed_declaration_asks_for_another_plan():
    samples = Path(__file__).parents[2] / "data/samples"
    for dataset in (FolderDataset(samples, "test"), EveryKth(FolderDataset(samples, "test"), every=2)):
        with pytest.raises(ValueError, match=r"init \S+/data/samples --overwrite`, which keeps that file, plans anew"):
            check_classes(tiny_segmentor(("rgb",), 4), dataset)


def test_values_outside_the_range_are_told():
    depth = torch.linspace(0, 20, 101).view(1, 1, 101)
    (warning,) = check_maps(model(depth=(0, 10)), samples(depth=depth))
    assert warning.startswith("50 % of depth in the first sample lies outside 0..10, from 0 to 20")
    assert check_maps(model(depth=(0, 19)), samples(depth=depth)) == []  # a twentieth


def test_only_what_was_measured_counts():
    depth = torch.tensor([[[0.0, 0.0, 5.0, 30.0]]])
    valid = torch.tensor([[[False, False, True, True]]])
    (warning,) = check_maps(model(depth=(1, 10)), samples(depth=depth, depth_valid=valid))
    assert warning.startswith("50 %")
    struck = torch.tensor([[[False, False, False, True]]])
    assert check_maps(model(depth=(1, 10)), samples(depth=depth, depth_valid=valid, depth_corrupted=struck)) == []
    (warning,) = check_maps(model(depth=(1, 10)), samples(depth=depth, depth_corrupted=struck))
    assert warning.startswith("67 %")
    nothing = samples(depth=depth, depth_valid=torch.zeros_like(valid))
    assert check_maps(model(depth=(1, 10)), nothing) == []


class Visited:
    def __init__(self, length):
        self.length, self.visits = length, []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.visits.append(index)
        return {"sample_id": str(index)}


@pytest.mark.parametrize("length", [1, 5, MOST_FRAMES, 1000])
def test_frames_of_all_parts_are_looked_at(length):
    dataset = Visited(length)
    assert len(look_at(dataset)) == min(length, MOST_FRAMES)
    assert dataset.visits[0] == 0 and dataset.visits[-1] >= length * (1 - 1 / MOST_FRAMES) - 1
    assert dataset.visits == sorted(set(dataset.visits))


def test_no_more_than_there_is_time_for(monkeypatch):
    monkeypatch.setattr("rgbx.train.data_check.PATIENCE", -1.0)
    assert len(look_at(Visited(1000))) == 1


def of_sizes(*sizes):
    return [{"sample_id": f"f{i}", "rgb": torch.zeros(3, *size)} for i, size in enumerate(sizes)]


def test_frames_of_several_sizes_need_batches_of_one():
    mixed = of_sizes((4, 6), (4, 6), (5, 6))
    with pytest.raises(
        ValueError, match=r"val_dataloader has batch_size=2, .*'f0' and 'f2' is 4×6 and 5×6: .*batch_size=1"
    ):
        check_sizes(DataLoader(mixed, batch_size=2), mixed, "val_dataloader")
    check_sizes(DataLoader(mixed, batch_size=1), mixed, "val_dataloader")
    check_sizes(DataLoader(mixed[:2], batch_size=2), mixed[:2], "val_dataloader")


def labelled(*labels):
    return [{"sample_id": f"f{i}", "label": torch.tensor([label])} for i, label in enumerate(labels)]


def test_labels_without_a_class_are_refused_and_absent_classes_told():
    network = tiny_segmentor(("rgb",), 3)
    void = labelled([255, 255], [255, 255])
    with pytest.raises(
        ValueError, match=r"nothing to learn: of the 2 training samples .* class of 0\.\.2, they hold \[255\]"
    ):
        check_labels(network, void, void)
    (warning,) = check_labels(network, void * 9, void)
    assert warning == "3 of 3 classes have no pixel in 2 of the 18 training samples, which may lie in others: 0, 1, 2"
    some = labelled([0, 255], [2, 0])
    assert check_labels(network, some, some) == ["1 of 3 classes have no pixel in the 2 training samples: 1"]
    every = labelled([0, 1], [2, 255])
    assert check_labels(network, every, every) == []


@pytest.mark.parametrize(
    ("count", "batch_size", "drop_last", "size", "message"),
    [
        (3, 2, False, 32, "the last batch of an epoch has one sample of 32×32, of which stride 32 leaves one value"),
        (3, 1, False, 32, "a batch has one sample of 32×32"),
        (3, 2, True, 32, None),
        (4, 2, False, 32, None),
        (3, 2, False, 33, None),
    ],
)
def test_batch_norm_needs_more_than_one_value(count, batch_size, drop_last, size, message):
    network = small("classes")
    samples = of_sizes(*[(size, size)] * count)
    loader = DataLoader(samples, batch_size=batch_size, drop_last=drop_last)
    refused = pytest.raises(ValueError, match=message) if message else nullcontext()
    with refused:
        check_norms(network, loader, samples)
    check_norms(small("classes", norm_eval=True), loader, samples)
